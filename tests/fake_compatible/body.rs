//! Responses as a list of steps: bytes, pauses, silence, a cut.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use serde_json::Value;
use tokio::time::Sleep;

use crate::fake_qwen::log::OutcomeGuard;

/// When the response headers are sent.
pub(super) enum Start {
    After(Duration),
    Never,
    /// The connection is closed instead.
    Reset,
}

pub(super) enum Step {
    /// One write.
    Bytes(Bytes),
    Pause(Duration),
    /// The same write again and again, until the client disconnects.
    Repeat(Bytes),
    /// Nothing until the client disconnects.
    Stall,
    /// Closes the connection without a proper end of the body.
    Abort,
}

pub(super) struct Reply {
    pub(super) start: Start,
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) steps: Vec<Step>,
}

impl Reply {
    pub(super) fn new(status: u16, content_type: &str, body: impl Into<Bytes>) -> Reply {
        Reply {
            start: Start::After(Duration::ZERO),
            status,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            steps: vec![Step::Bytes(body.into())],
        }
    }

    pub(super) fn json(status: u16, body: &Value) -> Reply {
        Reply::new(status, "application/json", body.to_string())
    }

    pub(super) fn never() -> Reply {
        Reply { start: Start::Never, ..Reply::new(200, "text/plain", "") }
    }

    pub(super) fn reset() -> Reply {
        Reply { start: Start::Reset, ..Reply::new(200, "text/plain", "") }
    }

    pub(super) fn header(mut self, name: &str, value: impl Into<String>) -> Reply {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// A body that runs the steps. It is dropped when the client disconnects, which sets the outcome of the request.
pub(super) struct StepBody {
    steps: VecDeque<Step>,
    pause: Option<Pin<Box<Sleep>>>,
    /// Yield once, so that hyper writes its buffer before the next step.
    yield_once: bool,
    outcome: OutcomeGuard,
}

impl StepBody {
    pub(super) fn new(steps: Vec<Step>, outcome: OutcomeGuard) -> StepBody {
        StepBody { steps: steps.into(), pause: None, yield_once: false, outcome }
    }
}

impl Body for StepBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            if self.yield_once {
                self.yield_once = false;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match self.steps.pop_front() {
                Some(Step::Bytes(bytes)) if bytes.is_empty() => {}
                Some(Step::Bytes(bytes)) => {
                    self.yield_once = true;
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Step::Pause(pause)) => self.pause = Some(Box::pin(tokio::time::sleep(pause))),
                Some(Step::Repeat(bytes)) => {
                    self.steps = VecDeque::from([Step::Bytes(bytes.clone()), Step::Repeat(bytes)]);
                }
                Some(Step::Stall) => {
                    self.steps.push_front(Step::Stall);
                    return Poll::Pending;
                }
                Some(Step::Abort) => {
                    self.outcome.closed_by_fake();
                    return Poll::Ready(Some(Err(io::Error::other("the directive cuts the response"))));
                }
                None => {
                    self.outcome.finished();
                    return Poll::Ready(None);
                }
            }
        }
    }
}
