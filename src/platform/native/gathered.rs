//! Joins what has already come.
//!
//! hyper hands out each chunk of a body by way of the connection's task: read, woken, read, woken. A server that sends each
//! event in a chunk of its own would cost two wake-ups of a thread and one write to the client for each word, although
//! many have come with one packet. So before a piece is handed out, the connection's task gets its turn to bring more; and
//! where that has brought nothing for some pieces, as of a site that sends a word now and then, only now and then.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures::Stream;

use crate::platform::{ByteStream, FetchError, READ_SIZE};

/// In the first the connection's task may still stand behind in the queue; in the second it has run.
const TURNS: u8 = 2;

/// After so many pieces in a row that nothing joined, only one in [`SELDOM`] gets its turns.
const LONELY: u8 = 4;
const SELDOM: u8 = 8;

/// A body in as few pieces as its arrival allows.
pub(super) struct Gathered {
    inner: Option<ByteStream>,
    held: BytesMut,
    /// What came after the held bytes and ends the body.
    error: Option<FetchError>,
    /// The turns that the connection's task has had since the last piece came.
    turns: u8,
    /// How many pieces the held bytes are of.
    joined: u8,
    /// How many pieces in a row were handed out as they came; beyond [`LONELY`] it goes round.
    lonely: u8,
}

impl Gathered {
    pub(super) fn new(inner: ByteStream) -> Self {
        Self { inner: Some(inner), held: BytesMut::new(), error: None, turns: 0, joined: 0, lonely: 0 }
    }

    fn take(&mut self) -> Option<Result<Bytes, FetchError>> {
        self.turns = 0;
        if self.held.is_empty() {
            return self.error.take().map(Err);
        }
        self.lonely = match (std::mem::take(&mut self.joined), self.lonely.saturating_add(1)) {
            (2.., _) => 0,
            (_, lonely) if lonely >= LONELY.saturating_add(SELDOM) => LONELY,
            (_, lonely) => lonely,
        };
        Some(Ok(self.held.split().freeze()))
    }

    /// Whether the held bytes have had what turns they get.
    fn has_waited(&self) -> bool {
        self.turns >= TURNS || self.lonely > LONELY
    }
}

impl Stream for Gathered {
    type Item = Result<Bytes, FetchError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let Some(inner) = &mut this.inner else { return Poll::Ready(this.take()) };
            match inner.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(piece))) => {
                    this.turns = 0;
                    if this.held.is_empty() && piece.len() >= READ_SIZE {
                        return Poll::Ready(Some(Ok(piece)));
                    }
                    this.held.extend_from_slice(&piece);
                    this.joined = this.joined.saturating_add(1);
                    if this.held.len() >= READ_SIZE {
                        return Poll::Ready(this.take());
                    }
                }
                Poll::Ready(end) => {
                    this.inner = None;
                    this.error = end.and_then(Result::err);
                }
                Poll::Pending if this.held.is_empty() => return Poll::Pending,
                Poll::Pending if this.has_waited() => return Poll::Ready(this.take()),
                Poll::Pending => {
                    this.turns = this.turns.saturating_add(1);
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

    /// Plays the pieces: text comes, at `.` there is nothing to be had, `!` is a fault.
    fn pieces(script: &'static str) -> Vec<String> {
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
        let text = |piece: Result<Bytes, FetchError>| {
            piece.map_or_else(|_| "!".to_owned(), |piece| String::from_utf8(piece.to_vec()).unwrap())
        };
        block_on(Gathered::new(inner.boxed()).map(text).collect())
    }

    #[test]
    fn what_has_come_is_one_piece_and_what_has_not_is_not_waited_for() {
        for (script, expected) in [
            ("a b c", &["abc"][..]),
            ("a . b . . c", &["abc"]),
            ("a . . . b . . . c", &["a", "b", "c"]),
            ("a b . . . c d . . .", &["ab", "cd"]),
            ("a b !", &["ab", "!"]),
            ("!", &["!"]),
            (". a", &["a"]),
            // After five that came alone, seven are not waited with; the next is, and as it is joined, so is the one after.
            (
                "a . . . b . . . c . . . d . . . e . . . f . g . h . i . j . k . l . m . n . . . o . p",
                &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "mn", "op"],
            ),
        ] {
            assert_eq!(pieces(script), expected, "{script}");
        }
        let large: &'static str = "x".repeat(READ_SIZE).leak();
        assert_eq!(pieces(format!("{large} a").leak()), [large, "a"]);
    }
}
