//! The streams of a connection in HTTP/2, each with a task of its own.
//!
//! A client can answer pings and grant no flow-control window, so writes to the socket do not show whether it reads. Each
//! stream therefore records when hyper last polled its response body.

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
    /// The stream whose task this is.
    static STREAM: Arc<Taken>;
}

/// Since when a client has not taken what there is for it; nothing while it waits for us.
#[derive(Default)]
struct Taken(Mutex<Option<Instant>>);

impl Taken {
    fn waits_since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

/// Runs the streams of one connection, and ends those whose client takes nothing for `patience`.
#[derive(Clone)]
pub(super) struct Streams {
    open: watch::Sender<usize>,
    patience: Duration,
}

impl Streams {
    pub(super) fn new(patience: Duration) -> Self {
        Self { open: watch::Sender::new(0), patience }
    }

    /// Resolves when no stream has been open for `limit`.
    pub(super) async fn idle(&self, limit: Duration) {
        let mut open = self.open.subscribe();
        loop {
            let news = if *open.borrow_and_update() > 0 {
                open.changed().await
            } else {
                match timeout(limit, open.changed()).await {
                    Ok(news) => news,
                    Err(_) => return,
                }
            };
            // It holds a sender itself.
            if news.is_err() {
                return;
            }
        }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let open = Open::new(self.open.clone());
        let patience = self.patience;
        tokio::spawn(async move {
            let _open = open;
            watched(stream, patience).await;
        });
    }
}

/// Runs a stream to its end, or until its client has taken nothing for `patience`.
async fn watched(stream: impl Future<Output = ()>, patience: Duration) {
    let taken = Arc::<Taken>::default();
    let mut stream = pin!(STREAM.scope(Arc::clone(&taken), stream));
    loop {
        let now = Instant::now();
        let end = taken.waits_since().unwrap_or(now).checked_add(patience);
        let Some(end) = end.filter(|end| *end > now) else {
            tracing::debug!("a stream ended early: its client takes nothing");
            return;
        };
        tokio::select! {
            () = &mut stream => return,
            () = sleep_until(end) => {}
        }
    }
}

/// Counts a stream for as long as it is there.
struct Open(watch::Sender<usize>);

impl Open {
    fn new(open: watch::Sender<usize>) -> Self {
        open.send_modify(|open| *open = open.saturating_add(1));
        Self(open)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open = open.saturating_sub(1));
    }
}

/// The body of an answer that knows when it was last asked for more.
pub(super) struct Watched {
    body: Body,
    /// Nothing in HTTP/1.1.
    taken: Option<Arc<Taken>>,
}

impl From<Body> for Watched {
    fn from(body: Body) -> Self {
        let taken = STREAM.try_with(Arc::clone).ok();
        if let Some(taken) = &taken {
            taken.set(Some(Instant::now()));
        }
        Self { body, taken }
    }
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = FetchError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, FetchError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Some(taken) = &self.taken {
            taken.set(frame.is_ready().then(Instant::now));
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
