//! Responses as a list of steps: bytes, pauses, silence, a cut.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};
use serde_json::Value;
use tokio::time::Sleep;

use super::log::OutcomeGuard;
use super::stop;
use super::turn::Turn;

/// When the response headers are sent.
pub(crate) enum Start {
    After(Duration),
    Never,
    /// The connection is closed instead.
    Reset,
}

pub(crate) enum Step {
    /// One write.
    Bytes(Bytes),
    /// Padding of a large file, which is made while it is sent.
    Fill {
        from: u64,
        length: u64,
    },
    Pause(Duration),
    /// The same write, repeated with a pause before each, until the client disconnects.
    Repeat(Bytes, Duration),
    /// Nothing until the client disconnects.
    Stall,
    /// Closes the connection without a proper end of the body.
    Abort,
}

/// The length of one write of padding.
pub(crate) const FILL_BYTES: u64 = 64 << 10;

/// At most 64 KiB of the padding of a file, from the offset `from` on. It tells the offset, so that a wrong range is seen.
pub(crate) fn fill(from: u64, length: u64) -> Bytes {
    static PATTERN: OnceLock<Bytes> = OnceLock::new();
    let pattern = PATTERN.get_or_init(|| (0..2 * FILL_BYTES).map(|at| (at ^ at >> 8).to_le_bytes()[0]).collect());
    let start = usize::try_from(from % FILL_BYTES).expect("below 64 KiB");
    pattern.slice(start..start + usize::try_from(length.min(FILL_BYTES)).expect("at most 64 KiB"))
}

pub(crate) struct Reply {
    pub(crate) start: Start,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) steps: Vec<Step>,
    /// Whether the length is declared; otherwise the body is chunked.
    pub(crate) sized: bool,
    pub(super) turn: Option<Turn>,
}

impl Reply {
    /// A response with the whole body in one write.
    pub(crate) fn whole(status: u16, content_type: &str, body: impl Into<Bytes>) -> Reply {
        Reply {
            start: Start::After(Duration::ZERO),
            status,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            steps: vec![Step::Bytes(body.into())],
            sized: true,
            turn: None,
        }
    }

    /// A response whose length is not declared.
    pub(crate) fn chunked(status: u16, content_type: &str, body: impl Into<Bytes>) -> Reply {
        Reply { sized: false, ..Reply::whole(status, content_type, body) }
    }

    /// JSON whose length is not declared.
    pub(crate) fn json(status: u16, body: &Value) -> Reply {
        Reply::chunked(status, "application/json", body.to_string())
    }

    pub(crate) fn never() -> Reply {
        Reply { start: Start::Never, ..Reply::whole(200, "text/plain", "") }
    }

    pub(crate) fn reset() -> Reply {
        Reply { start: Start::Reset, ..Reply::whole(200, "text/plain", "") }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Reply {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// Closes the connection without a response.
#[derive(Debug)]
pub(crate) struct NoResponse;

impl fmt::Display for NoResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no response to this request")
    }
}

impl std::error::Error for NoResponse {}

impl Reply {
    /// Waits until the response is due.
    pub(crate) async fn begin(self, outcome: OutcomeGuard) -> Result<Response<StepBody>, NoResponse> {
        let Reply { start, status, headers, steps, sized, turn } = self;
        let delay = match start {
            Start::After(delay) => delay,
            Start::Never => match std::future::pending::<Infallible>().await {},
            Start::Reset => {
                outcome.closed_by_fake();
                return Err(NoResponse);
            }
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(name, value);
        }
        outcome.answered();
        response.body(StepBody::new(steps, sized, turn, outcome)).map_err(|_| NoResponse)
    }
}

/// A body that runs the steps. It is dropped when the client disconnects, which sets the outcome of the request.
pub(crate) struct StepBody {
    steps: VecDeque<Step>,
    pause: Option<Pin<Box<Sleep>>>,
    /// Yield once, so that hyper writes its buffer before the next step.
    yield_once: bool,
    length: Option<u64>,
    turn: Option<Turn>,
    outcome: OutcomeGuard,
}

impl StepBody {
    fn new(steps: Vec<Step>, sized: bool, turn: Option<Turn>, outcome: OutcomeGuard) -> StepBody {
        let of_step = |step: &Step| match step {
            Step::Bytes(bytes) => bytes.len() as u64,
            Step::Fill { length, .. } => *length,
            _ => 0,
        };
        let length = sized.then(|| steps.iter().map(of_step).sum());
        StepBody { steps: steps.into(), pause: None, yield_once: false, length, turn, outcome }
    }
}

impl Body for StepBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.length.is_none()
            && let Some(turn) = &mut self.turn
            && turn.poll_stopped(cx)
        {
            let event = stop::event(turn.exchange());
            self.pause = None;
            self.steps = VecDeque::from([Step::Bytes(event.into())]);
        }
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
                    if let Some(turn) = &mut self.turn {
                        turn.sending(&bytes);
                    }
                    // hyper does not poll a body of known length after its last frame.
                    let is_last = self.steps.iter().all(|step| matches!(step, Step::Fill { length: 0, .. }));
                    if self.length.is_some() && is_last {
                        self.outcome.finished();
                    }
                    self.yield_once = true;
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Step::Fill { length: 0, .. }) => {}
                Some(Step::Fill { from, length }) => {
                    let bytes = fill(from, length);
                    let sent = bytes.len() as u64;
                    self.steps.push_front(Step::Fill { from: from + sent, length: length - sent });
                    self.steps.push_front(Step::Bytes(bytes));
                }
                Some(Step::Pause(pause)) => self.pause = Some(Box::pin(tokio::time::sleep(pause))),
                Some(Step::Repeat(bytes, pause)) => {
                    self.pause = (!pause.is_zero()).then(|| Box::pin(tokio::time::sleep(pause)));
                    self.steps.extend([Step::Bytes(bytes.clone()), Step::Repeat(bytes, pause)]);
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
                    self.turn = None;
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
