//! When deltas go out together.

use std::{
    task::{Context, Poll, ready},
    time::Duration,
};

use crate::platform::{BoxFuture, Clock, READ_SIZE};
use crate::unix_time::UnixMillis;

/// The longest time that a platform takes to hand over bytes it has already received.
const HAND_OVER: Duration = Duration::from_millis(5);

/// Between two writes: what the site sends within `COALESCE_MS` goes out together.
///
/// In the Worker each timer and each read is an entry into the isolate, and these are most of what a stream costs there. So a
/// site that is slower than that is simply read. One that is faster is read late: its events gather in the platform, which
/// hands them over as one piece.
#[derive(Default)]
pub(super) struct Coalescer {
    /// What comes earlier waits for more. A timer for the last quarter would cost more than it
    /// saves.
    early_until: UnixMillis,
    /// Nothing waits longer than this.
    quiet_until: UnixMillis,
    pause: Option<BoxFuture<()>>,
    /// How long what gathered is waited for, and how many bytes had been received before it.
    drain: Option<(BoxFuture<()>, u64)>,
    /// How many bytes had been received at the last write.
    flushed: u64,
}

impl Coalescer {
    /// What comes earlier waits for more.
    pub(super) fn early_until(&self) -> UnixMillis {
        self.early_until
    }

    /// Something was written, when `received` bytes had come. Returns whether that was all that the platform had: if not, the
    /// rest need not wait.
    pub(super) fn flushed(&mut self, received: u64) -> bool {
        let since = received.saturating_sub(std::mem::replace(&mut self.flushed, received));
        since < READ_SIZE as u64
    }

    /// A pause begins `now`; `is_fast`: more than one delta was written.
    pub(super) fn begin(&mut self, platform: &impl Clock, now: UnixMillis, time: Duration, is_fast: bool) {
        self.quiet_until = now.saturating_add(time);
        self.early_until = self.quiet_until.saturating_sub(time.checked_div(4).unwrap_or_default());
        if is_fast {
            self.sleep(platform, now);
        }
    }

    /// Reads nothing for the rest of the pause.
    pub(super) fn sleep(&mut self, platform: &impl Clock, now: UnixMillis) {
        self.pause = Some(platform.sleep(self.quiet_until.since(now)));
        self.early_until = UnixMillis::default();
    }

    /// Waits for the end of the pause. `received` bytes had come before it; `is_waiting`: something was written before it.
    pub(super) fn poll_pause(
        &mut self,
        platform: &impl Clock,
        received: u64,
        is_waiting: bool,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
            self.drain = is_waiting.then(|| (platform.sleep(HAND_OVER), received));
        }
        Poll::Ready(())
    }

    /// Waits until what gathered during a pause has come, if there is any; `received` bytes have come by now.
    pub(super) fn poll_drained(&mut self, received: u64, cx: &mut Context<'_>) -> Poll<()> {
        if let Some((limit, before)) = &mut self.drain {
            if received == *before {
                ready!(limit.as_mut().poll(cx));
            }
            self.drain = None;
        }
        Poll::Ready(())
    }
}
