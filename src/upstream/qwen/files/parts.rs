//! The content of a file while it is uploaded: cut into parts, counted, hashed, and buffered for a second attempt while small.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use sha2::{Digest as _, Sha256};

use crate::{
    error::{Error, ErrorKind, Result},
    oss::PART,
    platform::{BoxStream, Payload},
};

/// The most parts in memory, including those that are being sent.
const MAX_PARTS: usize = 4;

/// Parts of a body. The stream yields each of them, and the first one again.
pub(super) struct Parts {
    body: BoxStream<Result<Bytes>>,
    ended: bool,
    /// What arrived and is not yet in a part.
    piece: Bytes,
    filling: BytesMut,
    first: Option<Bytes>,
    /// The last parts. While these are all parts, they can be sent a second time; later their memory is reused.
    recent: VecDeque<Bytes>,
    yielded: usize,
    size: u64,
    limit: u64,
    too_large: Option<(String, String)>,
    hash: Sha256,
}

impl Parts {
    pub(super) fn new(body: BoxStream<Result<Bytes>>, length: Option<u64>) -> Self {
        let room = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0).min(PART);
        Self {
            body,
            ended: false,
            piece: Bytes::new(),
            filling: BytesMut::with_capacity(room),
            first: None,
            recent: VecDeque::new(),
            yielded: 0,
            size: 0,
            limit: u64::MAX,
            too_large: None,
            hash: Sha256::new(),
        }
    }

    /// The first part; all of a small file.
    pub(super) async fn first(&mut self) -> Result<Bytes> {
        let first = self.next().await.transpose()?.unwrap_or_default();
        self.first = (!first.is_empty()).then(|| first.clone());
        Ok(first)
    }

    /// Whether the first part was all there is.
    pub(super) fn is_whole(&self, first: &Bytes) -> bool {
        self.ended && self.size == first.len() as u64 && first.len() < PART
    }

    /// Sets the largest length of the content, in bytes.
    pub(super) fn limit(&mut self, limit: u64, name: &str, param: &str) -> Result<()> {
        self.limit = limit;
        self.too_large = Some((name.to_owned(), param.to_owned()));
        self.check()
    }

    fn check(&self) -> Result<()> {
        if self.size <= self.limit {
            return Ok(());
        }
        let (name, param) = self.too_large.clone().unwrap_or_default();
        let message = format!(
            "The file '{name}' is larger than {}; send a smaller one.",
            if self.limit.is_multiple_of(1024 * 1024) {
                format!("{} MiB", self.limit / 1024 / 1024)
            } else {
                format!("{} bytes", self.limit)
            }
        );
        Err(Error::new(ErrorKind::RequestTooLarge, message).with_param(param))
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// SHA-256 of what has arrived so far, in hex.
    pub(super) fn hash(&self) -> String {
        hex(&self.hash.clone().finalize())
    }

    /// The whole content, if it is still buffered. Reads the rest as far as it fits.
    pub(super) async fn buffered_content(&mut self) -> Result<Option<Payload>> {
        while self.yielded < MAX_PARTS {
            if self.next().await.transpose()?.is_none() {
                return Ok(Some(self.recent.drain(..).collect()));
            }
        }
        Ok(None)
    }

    /// Memory for the next part: that of a part which was sent, if there is one.
    fn buffer(&mut self) -> BytesMut {
        if self.yielded >= MAX_PARTS {
            for _ in 0..self.recent.len() {
                match self.recent.pop_front().map(Bytes::try_into_mut) {
                    Some(Ok(mut room)) if room.capacity() >= PART => {
                        room.clear();
                        return room;
                    }
                    Some(Err(part)) => self.recent.push_back(part),
                    _ => {}
                }
            }
        }
        BytesMut::with_capacity(PART)
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            if self.filling.is_empty() && self.piece.len() >= PART {
                return Poll::Ready(Some(Ok(self.piece.split_to(PART))));
            }
            if self.filling.capacity() == 0 && self.yielded > 0 && !self.piece.is_empty() {
                self.filling = self.buffer();
            }
            let room = PART.saturating_sub(self.filling.len());
            let some = self.piece.split_to(room.min(self.piece.len()));
            self.filling.extend_from_slice(&some);
            if self.filling.len() >= PART {
                return Poll::Ready(Some(Ok(std::mem::take(&mut self.filling).freeze())));
            }
            if self.ended {
                let last = std::mem::take(&mut self.filling).freeze();
                return Poll::Ready((!last.is_empty()).then_some(Ok(last)));
            }
            match ready!(self.body.poll_next_unpin(cx)) {
                Some(Ok(piece)) => {
                    self.size = self.size.saturating_add(piece.len() as u64);
                    self.check()?;
                    self.hash.update(&piece);
                    self.piece = piece;
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.ended = true,
            }
        }
    }
}

impl Stream for Parts {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let part = ready!(this.poll_part(cx)).transpose()?;
        if let Some(part) = &part {
            this.yielded = this.yielded.saturating_add(1);
            this.recent.push_back(part.clone());
            if this.recent.len() > MAX_PARTS {
                this.recent.pop_front();
            }
        }
        Poll::Ready(part.map(Ok))
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, executor::block_on, stream};

    use super::*;

    fn parts(pieces: &[usize]) -> Parts {
        let pieces: Vec<_> = pieces.iter().map(|length| Ok(Bytes::from(vec![b'a'; *length]))).collect();
        Parts::new(Box::pin(stream::iter(pieces)), None)
    }

    #[test]
    fn a_body_is_cut_into_parts_however_it_comes() {
        for (pieces, expected) in [
            (vec![], vec![]),
            (vec![1, 2, 3], vec![6]),
            (vec![PART - 1, 1], vec![PART]),
            (vec![PART, 1], vec![PART, 1]),
            (vec![PART * 3 + 7], vec![PART, PART, PART, 7]),
            (vec![7, PART * 2, PART - 6], vec![PART, PART, PART, 1]),
            (vec![0, PART / 2, 0, PART / 2, PART / 2], vec![PART, PART / 2]),
        ] {
            let mut parts = parts(&pieces);
            let first = block_on(parts.first()).unwrap();
            assert_eq!(first.len(), expected.first().copied().unwrap_or(0));
            let whole = parts.is_whole(&first);
            let lengths: Vec<usize> = block_on((&mut parts).map(|part| part.unwrap().len()).collect());
            assert_eq!(lengths, expected, "{pieces:?}");
            assert_eq!(whole, expected.len() <= 1 && first.len() < PART);
            let all = vec![b'a'; pieces.iter().sum()];
            assert_eq!((parts.size(), parts.hash()), (all.len() as u64, super::super::content_hash(&all)));
        }
    }

    #[test]
    fn small_content_stays_buffered() {
        for (pieces, read, buffered) in [
            (vec![5], 0, true),
            (vec![PART, 5], 1, true),
            (vec![PART, PART, PART], 2, true),
            (vec![PART, PART, PART], 3, true),
            (vec![PART, PART, PART, 1], 1, false),
        ] {
            let mut parts = parts(&pieces);
            block_on(parts.first()).unwrap();
            for _ in 0..read {
                block_on(parts.next()).unwrap().unwrap();
            }
            let all = parts.buffered_content().now_or_never().unwrap().unwrap();
            assert_eq!(all.map(|all| all.len()), buffered.then(|| pieces.iter().sum()), "{pieces:?}");
        }
    }

    #[test]
    fn any_length_needs_the_memory_of_four_parts() {
        let pieces: Vec<_> = (0..200_u8).map(|number| Ok(Bytes::from(vec![number; PART / 10]))).collect();
        let mut parts = Parts::new(Box::pin(stream::iter(pieces)), None);
        let mut buffers = std::collections::HashSet::new();
        let mut in_flight = VecDeque::new();
        while let Some(part) = block_on(parts.next()) {
            let part = part.unwrap();
            buffers.insert(part.as_ptr());
            in_flight.push_back(part);
            if in_flight.len() == MAX_PARTS {
                in_flight.pop_front();
            }
        }
        assert_eq!(buffers.len(), MAX_PARTS);
    }

    #[test]
    fn content_above_the_limit_is_an_error_at_once() {
        let mut parts = parts(&[5, 5]);
        block_on(parts.first()).unwrap();
        let error = parts.limit(9, "a.png", "file").unwrap_err();
        assert_eq!((error.kind(), error.param()), (ErrorKind::RequestTooLarge, Some("file")));
        assert!(parts.limit(10, "a.png", "file").is_ok());
    }
}
