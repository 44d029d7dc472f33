//! JSON with pictures in base64, made piece by piece while it is sent: a picture has up to 32 MiB, and its base64 is a third
//! larger.

use std::collections::VecDeque;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};

/// How many bytes of a picture become one piece; without a rest when divided by three, so that no padding comes in between.
const PIECE: usize = 48 * 1024;

/// What is left to send.
#[derive(Debug, Default)]
pub struct Pieces {
    rest: VecDeque<Part>,
    /// The text behind the last part.
    text: BytesMut,
}

#[derive(Debug)]
enum Part {
    Text(Bytes),
    Picture(Bytes),
}

impl Pieces {
    /// The text that is being written.
    pub(super) fn text(&mut self) -> &mut BytesMut {
        &mut self.text
    }

    /// Adds a picture behind the text.
    pub(super) fn picture(&mut self, bytes: Bytes) {
        self.rest.push_back(Part::Text(self.text.split().freeze()));
        self.rest.push_back(Part::Picture(bytes));
    }

    /// The length of all that is left, in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        let part = |part: &Part| match part {
            Part::Text(text) => text.len(),
            Part::Picture(bytes) => base64::encoded_len(bytes.len(), true).unwrap_or(usize::MAX),
        };
        self.rest.iter().map(part).fold(self.text.len(), usize::saturating_add)
    }
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        loop {
            let piece = match self.rest.pop_front() {
                None if self.text.is_empty() => return None,
                None => self.text.split().freeze(),
                Some(Part::Text(text)) => text,
                Some(Part::Picture(mut bytes)) => {
                    let piece = bytes.split_to(bytes.len().min(PIECE));
                    if !bytes.is_empty() {
                        self.rest.push_front(Part::Picture(bytes));
                    }
                    STANDARD.encode(&piece).into()
                }
            };
            if !piece.is_empty() {
                return Some(piece);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_together_are_the_whole() {
        for length in [0, 1, 2, 3, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 5] {
            let picture: Bytes = (0..length).map(|index| (index % 251) as u8).collect();
            let mut pieces = Pieces::default();
            pieces.text().extend_from_slice(b"[\"");
            pieces.picture(picture.clone());
            pieces.text().extend_from_slice(b"\"]");
            let expected = format!("[\"{}\"]", STANDARD.encode(&picture));
            assert_eq!(pieces.length(), expected.len(), "{length}");
            let all: Vec<Bytes> = pieces.collect();
            assert!(all.iter().all(|piece| !piece.is_empty() && piece.len() <= PIECE / 3 * 4));
            assert!(all.concat() == expected.as_bytes(), "{length}");
        }
    }
}
