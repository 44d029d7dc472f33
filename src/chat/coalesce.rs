//! When deltas go out together.

use std::{
    task::{Context, Poll, ready},
    time::Duration,
};

use crate::platform::{BoxFuture, Platform};

/// A platform takes so long at the most to give what has come.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(5);

/// Between two writes: what the site sends within `COALESCE_MS` goes out together.
///
/// On the edge each timer and each read is an entry into the isolate, and these are most of what a stream costs there. So a
/// site that is slower than that is simply read. One that is faster is read late: its events gather in the platform, which
/// gives them as one piece.
#[derive(Default)]
pub(super) struct Coalescer {
    /// What comes before (milliseconds since 1970) waits for more. A timer for the last quarter would cost more than it saves.
    pub(super) early_until: u64,
    /// Nothing waits longer than this.
    quiet_until: u64,
    pause: Option<BoxFuture<()>>,
    /// How long what gathered is waited for, and how much was read before it.
    drain: Option<(BoxFuture<()>, usize)>,
    /// How much was read since the last write.
    pub(super) bytes: usize,
}

impl Coalescer {
    /// Something was written; `is_fast`: it was more than one delta.
    pub(super) fn begin(&mut self, platform: &impl Platform, now: u64, time: Duration, is_fast: bool) {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.quiet_until = now.saturating_add(time);
        self.early_until = self.quiet_until.saturating_sub(time / 4);
        if is_fast {
            self.sleep(platform, now);
        }
    }

    pub(super) fn sleep(&mut self, platform: &impl Platform, now: u64) {
        self.pause = Some(platform.sleep(Duration::from_millis(self.quiet_until.saturating_sub(now))));
        self.early_until = 0;
    }

    /// `is_waiting`: something was written before the pause.
    pub(super) fn poll_pause(&mut self, platform: &impl Platform, is_waiting: bool, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
            self.drain = is_waiting.then(|| (platform.sleep(DRAIN_TIMEOUT), self.bytes));
        }
        Poll::Ready(())
    }

    /// Whether what gathered during a pause has come, if there is any.
    pub(super) fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some((limit, before)) = &mut self.drain {
            if self.bytes == *before {
                ready!(limit.as_mut().poll(cx));
            }
            self.drain = None;
        }
        Poll::Ready(())
    }
}
