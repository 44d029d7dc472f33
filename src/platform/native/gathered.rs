//! Joins chunks that have already arrived.
//!
//! hyper passes each chunk of a body through the connection's task. If a server sends each event in its own chunk, each delta
//! costs two wake-ups of a thread and one write to the client, although one packet brought many deltas.
//! Therefore this stream yields to the connection's task before it returns a chunk, so that the task can deliver more. If that
//! has joined nothing for some chunks, as with a server that sends one delta now and then, it yields only for some of them.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures::Stream;

use crate::platform::{ByteStream, FetchError, READ_SIZE};

/// After the first yield the connection's task may still be behind this task in the queue; after the second it has run.
const MAX_YIELDS: u8 = 2;

/// After more than this many chunks in a row that were not joined, only one in [`YIELD_EVERY`] waits for others.
const MAX_UNJOINED: u8 = 4;
const YIELD_EVERY: u8 = 8;

/// A body in as few chunks as their arrival allows.
pub(super) struct Gathered {
    inner: Option<ByteStream>,
    buffer: BytesMut,
    /// The error that ends the body after the buffered bytes.
    error: Option<FetchError>,
    /// The number of yields since the last chunk arrived.
    yields: u8,
    /// The number of chunks in the buffer.
    joined: u8,
    /// The number of chunks in a row that were not joined. Wraps around to [`MAX_UNJOINED`].
    unjoined: u8,
}

impl Gathered {
    pub(super) fn new(inner: ByteStream) -> Self {
        Self { inner: Some(inner), buffer: BytesMut::new(), error: None, yields: 0, joined: 0, unjoined: 0 }
    }

    fn take(&mut self) -> Option<Result<Bytes, FetchError>> {
        self.yields = 0;
        if self.buffer.is_empty() {
            return self.error.take().map(Err);
        }
        self.unjoined = match (std::mem::take(&mut self.joined), self.unjoined.saturating_add(1)) {
            (2.., _) => 0,
            (_, unjoined) if unjoined >= MAX_UNJOINED.saturating_add(YIELD_EVERY) => MAX_UNJOINED,
            (_, unjoined) => unjoined,
        };
        Some(Ok(self.buffer.split().freeze()))
    }

    /// Whether the buffered bytes need not wait for others any more.
    fn has_waited(&self) -> bool {
        self.yields >= MAX_YIELDS || self.unjoined > MAX_UNJOINED
    }
}

impl Stream for Gathered {
    type Item = Result<Bytes, FetchError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let Some(inner) = &mut this.inner else { return Poll::Ready(this.take()) };
            match inner.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(chunk))) => {
                    this.yields = 0;
                    if this.buffer.is_empty() && chunk.len() >= READ_SIZE {
                        return Poll::Ready(Some(Ok(chunk)));
                    }
                    this.buffer.extend_from_slice(&chunk);
                    this.joined = this.joined.saturating_add(1);
                    if this.buffer.len() >= READ_SIZE {
                        return Poll::Ready(this.take());
                    }
                }
                Poll::Ready(end) => {
                    this.inner = None;
                    this.error = end.and_then(Result::err);
                }
                Poll::Pending if this.buffer.is_empty() => return Poll::Pending,
                Poll::Pending if this.has_waited() => return Poll::Ready(this.take()),
                Poll::Pending => {
                    this.yields = this.yields.saturating_add(1);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, executor::block_on, stream};

    use super::*;
    use crate::platform::FetchErrorKind;

    /// Plays a script: a word is a chunk, `.` is pending, `!` is an error. Returns the chunks that come out.
    fn chunks(script: &'static str) -> Vec<String> {
        let mut words = script.split(' ');
        let inner = stream::poll_fn(move |cx| match words.next() {
            None => Poll::Ready(None),
            Some(".") => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some("!") => Poll::Ready(Some(Err(FetchError { kind: FetchErrorKind::Broken, detail: String::new() }))),
            Some(word) => Poll::Ready(Some(Ok(Bytes::from(word)))),
        });
        let text = |chunk: Result<Bytes, FetchError>| {
            chunk.map_or_else(|_| "!".to_owned(), |chunk| String::from_utf8(chunk.to_vec()).unwrap())
        };
        block_on(Gathered::new(inner.boxed()).map(text).collect())
    }

    #[test]
    fn only_chunks_that_have_arrived_are_joined() {
        for (script, expected) in [
            ("a b c", &["abc"][..]),
            ("a . b . . c", &["abc"]),
            ("a . . . b . . . c", &["a", "b", "c"]),
            ("a b . . . c d . . .", &["ab", "cd"]),
            ("a b !", &["ab", "!"]),
            ("!", &["!"]),
            (". a", &["a"]),
            // After five chunks that were not joined, seven do not wait. The next one waits and is joined, so its successor waits.
            (
                "a . . . b . . . c . . . d . . . e . . . f . g . h . i . j . k . l . m . n . . . o . p",
                &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "mn", "op"],
            ),
        ] {
            assert_eq!(chunks(script), expected, "{script}");
        }
        let large: &'static str = "x".repeat(READ_SIZE).leak();
        assert_eq!(chunks(format!("{large} a").leak()), [large, "a"]);
    }
}
