//! The streams of an HTTP/2 connection, each in its own task.
//!
//! A client can answer pings and grant no flow-control window, so writes to the socket do not show whether it reads. Therefore
//! each stream records when hyper last polled its response body.

use std::{
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    body::{Frame, SizeHint},
    rt::Executor,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use crate::platform::{Body, FetchError};

tokio::task_local! {
    /// The state of this task's stream.
    static STREAM: Arc<StallClock>;
}

/// The time since which data has waited for the client; `None` while the client waits for data.
#[derive(Default)]
struct StallClock(Mutex<Option<Instant>>);

impl StallClock {
    fn stalled_since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

/// Runs the streams of one connection, and ends a stream that the client does not read for `stall_timeout`.
#[derive(Clone)]
pub(super) struct Streams {
    open: watch::Sender<usize>,
    stall_timeout: Duration,
}

impl Streams {
    pub(super) fn new(stall_timeout: Duration) -> Self {
        Self { open: watch::Sender::new(0), stall_timeout }
    }

    /// Resolves when no stream has been open for `limit`.
    pub(super) async fn idle(&self, limit: Duration) {
        let mut open = self.open.subscribe();
        loop {
            let changed = if *open.borrow_and_update() > 0 {
                open.changed().await
            } else {
                match timeout(limit, open.changed()).await {
                    Ok(changed) => changed,
                    Err(_) => return,
                }
            };
            // Cannot happen: `self` holds a sender.
            if changed.is_err() {
                return;
            }
        }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let open = OpenGuard::new(self.open.clone());
        let stall_timeout = self.stall_timeout;
        tokio::spawn(async move {
            let _open = open;
            run_until_stalled(stream, stall_timeout).await;
        });
    }
}

/// Runs a stream to its end, or until data has waited for the client for `stall_timeout`.
async fn run_until_stalled(stream: impl Future<Output = ()>, stall_timeout: Duration) {
    let clock = Arc::<StallClock>::default();
    let mut stream = pin!(STREAM.scope(Arc::clone(&clock), stream));
    loop {
        let now = Instant::now();
        let end = clock.stalled_since().unwrap_or(now).checked_add(stall_timeout);
        let Some(end) = end.filter(|end| *end > now) else {
            tracing::debug!("a stream ended early: its client does not read");
            return;
        };
        tokio::select! {
            () = &mut stream => return,
            () = sleep_until(end) => {}
        }
    }
}

/// Counts an open stream until it is dropped.
struct OpenGuard(watch::Sender<usize>);

impl OpenGuard {
    fn new(open: watch::Sender<usize>) -> Self {
        open.send_modify(|open| *open = open.saturating_add(1));
        Self(open)
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open = open.saturating_sub(1));
    }
}

/// The body of an answer, which records when hyper last polled it.
pub(super) struct StallTrackedBody {
    body: Body,
    /// `None` in HTTP/1.1.
    clock: Option<Arc<StallClock>>,
}

impl From<Body> for StallTrackedBody {
    fn from(body: Body) -> Self {
        let clock = STREAM.try_with(Arc::clone).ok();
        if let Some(clock) = &clock {
            clock.set(Some(Instant::now()));
        }
        Self { body, clock }
    }
}

impl hyper::body::Body for StallTrackedBody {
    type Data = Bytes;
    type Error = FetchError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, FetchError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Some(clock) = &self.clock {
            clock.set(frame.is_ready().then(Instant::now));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
