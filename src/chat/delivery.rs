//! Pacing towards one client: the status line waits for the first word, deltas are coalesced, silence is filled with
//! heartbeats.

use std::{
    pin::Pin,
    sync::{Arc, atomic::AtomicBool},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, future::poll_fn};

use super::{
    coalesce::Coalescer,
    engine::{Engine, MAX_UNSENT},
    opening::{Plan, Services},
};
use crate::{
    api::Encoder,
    config::Config,
    error::{Error, Result},
    platform::{BoxFuture, FetchError, Platform},
    unix_time::UnixMillis,
};

/// The waits of a turn.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long the status line of a stream waits for the first word.
    pub first_byte: Duration,
    /// How long a stream may be silent towards the client.
    pub heartbeat: Duration,
    /// How long deltas are coalesced after the first word.
    pub coalesce: Duration,
    /// How long the site may be silent.
    pub idle: Duration,
}

impl From<&Config> for Timing {
    fn from(config: &Config) -> Self {
        Self {
            first_byte: config.first_byte,
            heartbeat: config.heartbeat,
            coalesce: config.coalesce,
            idle: config.upstream_idle,
        }
    }
}

/// An answer on its way to one client. As a [`Stream`] it yields the bytes of the response.
pub struct Answer<P> {
    platform: P,
    engine: Engine<P>,
    timing: Timing,
    coalescer: Coalescer,
    /// When the turn began, by [`crate::platform::Clock::elapsed`].
    began_at: Duration,
    first_token_recorded: bool,
    /// When the client last got something.
    flushed_at: UnixMillis,
    timer: Option<BoxFuture<()>>,
}

impl<P: Platform> Answer<P> {
    /// Prepares the answer to a turn; nothing is sent before it is polled.
    pub fn new(platform: P, services: Services, plan: Plan, encoder: Encoder, timing: Timing) -> Self {
        Self {
            engine: Engine::new(platform.clone(), services, plan, encoder, timing.idle),
            timing,
            coalescer: Coalescer::default(),
            began_at: platform.elapsed(),
            first_token_recorded: false,
            flushed_at: platform.now(),
            timer: None,
            platform,
        }
    }

    /// The upstream that the answer comes from, as the header `x-upstream` names it; `None` where the status line does not wait
    /// for the first word and another upstream may still be asked.
    #[must_use]
    pub fn upstream_name(&self) -> Option<&'static str> {
        self.engine.upstream_name()
    }

    /// Becomes true when the client gets a part of the answer: nobody else is asked any more.
    #[must_use]
    pub fn is_committed(&self) -> Arc<AtomicBool> {
        self.engine.is_committed()
    }

    /// Waits until the stream has its first word, so that a refusal can still be a status; at most `first_byte`.
    ///
    /// # Errors
    /// Any refusal that comes before the first word.
    pub async fn head(&mut self) -> Result<()> {
        let mut limit = self.platform.sleep(self.timing.first_byte);
        poll_fn(|cx| {
            if let Poll::Ready(done) = self.engine.poll(cx, self.coalescer.early_until()) {
                return Poll::Ready(done);
            }
            if self.engine.waiting() > 0 {
                return Poll::Ready(Ok(()));
            }
            if self.poll_timer(cx, false)? || limit.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            Poll::Pending
        })
        .await
        .inspect_err(|error| self.engine.note(error))?;
        // From here on heartbeats count, from the status line.
        self.flushed_at = self.platform.now();
        self.timer = None;
        Ok(())
    }

    /// Waits for the whole answer.
    ///
    /// # Errors
    /// Any refusal, and an answer without an end.
    pub async fn whole(&mut self) -> Result<Bytes> {
        poll_fn(|cx| {
            loop {
                match self.engine.poll(cx, UnixMillis::default()) {
                    Poll::Ready(Ok(())) if !self.engine.has_ended() => {}
                    Poll::Ready(done) => return Poll::Ready(done),
                    Poll::Pending => break,
                }
            }
            self.poll_timer(cx, false)?;
            Poll::Pending
        })
        .await
        .inspect_err(|error| self.engine.note(error))?;
        Ok(self.engine.translator().take())
    }

    /// Looks whether the site or we have been silent for too long. `true` = a heartbeat was written.
    fn poll_timer(&mut self, cx: &mut Context<'_>, heartbeats: bool) -> Result<bool> {
        loop {
            let rings = self.timer.as_mut().map(|timer| timer.as_mut().poll(cx));
            if rings == Some(Poll::Pending) {
                return Ok(false);
            }
            self.timer = None;
            let now = self.platform.now();
            let silent = now.since(self.flushed_at);
            let heartbeat_left = self.timing.heartbeat.saturating_sub(silent);
            let idle_left = self.engine.idle_left(now);
            if rings.is_some() {
                if idle_left.is_zero() {
                    self.engine.give_up()?;
                    // Another upstream is asked, or the answer has its end.
                    cx.waker().wake_by_ref();
                    return Ok(false);
                }
                if heartbeats && heartbeat_left.is_zero() {
                    self.engine.translator().keep_alive();
                    return Ok(true);
                }
            }
            let wait = if heartbeats { idle_left.min(heartbeat_left) } else { idle_left };
            // A timer may fire a little early; a wait of nothing would then spin.
            self.timer = Some(self.platform.sleep(wait.max(Duration::from_millis(1))));
        }
    }

    /// Whether what is written may wait for more.
    fn is_coalescing(&self) -> bool {
        self.engine.is_reading()
            && self.engine.received_at() < self.coalescer.early_until()
            && self.engine.waiting() < MAX_UNSENT
    }

    fn flush(&mut self) -> Poll<Option<Result<Bytes, FetchError>>> {
        self.flushed_at = self.platform.now();
        let received = self.engine.received();
        // What comes while the answer is recorded is its end, which waits for nothing.
        let is_reading = self.engine.is_reading();
        if self.engine.translator().began() {
            self.engine.commit();
            if !self.first_token_recorded {
                self.first_token_recorded = true;
                let took = self.platform.elapsed().saturating_sub(self.began_at);
                self.platform.request_metrics().record().first_token = Some(took);
            }
            let is_fast = self.engine.translator().deltas() > 1;
            let was_all = self.coalescer.flushed(received);
            if was_all && is_reading && !self.timing.coalesce.is_zero() {
                self.coalescer.begin(&self.platform, self.flushed_at, self.timing.coalesce, is_fast);
            }
        }
        Poll::Ready(Some(Ok(self.engine.translator().take())))
    }

    fn fail(&mut self, error: &Error) {
        self.engine.fail(error);
    }
}

impl<P: Platform> Stream for Answer<P> {
    type Item = Result<Bytes, FetchError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let received = this.engine.received();
        ready!(this.coalescer.poll_pause(&this.platform, received, this.engine.waiting() > 0, cx));
        let mut progress = this.engine.poll(cx, this.coalescer.early_until());
        while progress.is_ready() && this.is_coalescing() {
            // The rest of the time in which nothing need go out is slept through, and the site is read afterwards.
            this.coalescer.sleep(&this.platform, this.engine.received_at());
            let received = this.engine.received();
            ready!(this.coalescer.poll_pause(&this.platform, received, true, cx));
            progress = this.engine.poll(cx, this.coalescer.early_until());
        }
        if let Poll::Ready(Err(error)) = &progress {
            this.fail(error);
        }
        if this.engine.waiting() > 0 {
            if progress.is_pending() {
                ready!(this.coalescer.poll_drained(this.engine.received(), cx));
            }
            return this.flush();
        }
        if progress.is_ready() {
            return Poll::Ready(None);
        }
        match this.poll_timer(cx, true) {
            Ok(false) => Poll::Pending,
            Ok(true) => this.flush(),
            Err(error) => {
                this.fail(&error);
                this.flush()
            }
        }
    }
}
