//! A bounded reader of event streams: bytes in any pieces go in, the data of each event comes out.
//!
//! Follows the WHATWG rules for `text/event-stream` (line ends CR, LF or CRLF, a byte order mark, comments, several `data:`
//! lines in one event), plus what upstreams add: bare JSON or HTML without a field name is handed out as well, line by line.

use std::ops::ControlFlow;

use crate::error::{Error, ErrorKind};

/// The longest line or event. The cumulative thinking of the longest budget (81,920 tokens) stays well below.
const MAX_EVENT: usize = 8 * 1024 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Whether to read on, or why not: `Break(Ok(()))` = enough was read.
pub type Flow = ControlFlow<Result<(), Error>>;

/// Whether to read on, as decoders report it.
///
/// # Errors
/// Why not.
pub(in crate::upstream) fn settle(flow: Flow) -> Result<bool, Error> {
    match flow {
        Flow::Continue(()) => Ok(true),
        Flow::Break(Ok(())) => Ok(false),
        Flow::Break(Err(error)) => Err(error),
    }
}

/// One thing that a stream said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SseItem<'a> {
    /// The data of an event.
    Data(&'a [u8]),
    /// A line that is no field of an event stream but looks like JSON or HTML, or goes on after such a line.
    Raw(&'a [u8]),
}

/// The state between two pieces.
#[derive(Debug, Default)]
pub struct SseReader {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// The data lines of an event whose end has not come.
    data: Vec<u8>,
    has_data: bool,
    in_raw: bool,
    after_carriage_return: bool,
    started: bool,
}

impl SseReader {
    /// Reads one piece and hands out what it completes.
    pub fn feed(&mut self, piece: &[u8], mut each: impl FnMut(SseItem<'_>) -> Flow) -> Flow {
        let mut rest = piece;
        // The data line of the running event, as long as it lies whole within this piece: then nothing is copied.
        let mut whole: Option<&[u8]> = None;
        while !rest.is_empty() {
            if std::mem::take(&mut self.after_carriage_return)
                && let Some(after) = rest.strip_prefix(b"\n")
            {
                rest = after;
                continue;
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', rest) else { break };
            let (line, ended) = rest.split_at(end);
            self.after_carriage_return = ended.first() == Some(&b'\r');
            rest = ended.get(1..).unwrap_or_default();
            if self.line.is_empty() {
                self.line(line, &mut whole, &mut each)?;
            } else {
                self.check_size(line.len())?;
                let mut joined = std::mem::take(&mut self.line);
                joined.extend_from_slice(line);
                let mut kept = None;
                let flow = self.line(&joined, &mut kept, &mut each);
                if let Some(data) = kept {
                    self.keep(data)?;
                }
                joined.clear();
                self.line = joined;
                flow?;
            }
        }
        if let Some(data) = whole {
            self.keep(data)?;
        }
        self.check_size(rest.len())?;
        self.line.extend_from_slice(rest);
        Flow::Continue(())
    }

    /// The stream has ended: hands out what lacks only its blank line.
    pub fn finish(&mut self, mut each: impl FnMut(SseItem<'_>) -> Flow) -> Flow {
        let line = std::mem::take(&mut self.line);
        let mut whole = None;
        self.line(&line, &mut whole, &mut each)?;
        self.line(b"", &mut whole, &mut each)
    }

    fn line<'a>(
        &mut self,
        mut line: &'a [u8],
        whole: &mut Option<&'a [u8]>,
        each: &mut impl FnMut(SseItem<'_>) -> Flow,
    ) -> Flow {
        if !std::mem::replace(&mut self.started, true) {
            line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        }
        if line.is_empty() {
            if let Some(data) = whole.take() {
                return each(SseItem::Data(data));
            }
            if std::mem::take(&mut self.has_data) {
                let flow = each(SseItem::Data(&self.data));
                self.data.clear();
                return flow;
            }
        } else if let Some(value) = line.strip_prefix(b"data") {
            let value = match value {
                [b':', b' ', value @ ..] | [b':', value @ ..] => value,
                [] => b"",
                _ => return Flow::Continue(()),
            };
            self.in_raw = false;
            if let Some(earlier) = whole.take() {
                self.keep(earlier)?;
            }
            if self.has_data {
                self.keep(value)?;
            } else {
                *whole = Some(value);
            }
        } else if matches!(line.first(), Some(b'{' | b'<')) || (self.in_raw && line.first() != Some(&b':')) {
            self.in_raw = true;
            return each(SseItem::Raw(line));
        }
        Flow::Continue(())
    }

    /// Adds a data line to the running event.
    fn keep(&mut self, value: &[u8]) -> Flow {
        self.check_size(value.len())?;
        if std::mem::replace(&mut self.has_data, true) {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(value);
        Flow::Continue(())
    }

    fn check_size(&self, more: usize) -> Flow {
        if self.line.len().saturating_add(self.data.len()).saturating_add(more) > MAX_EVENT {
            let error =
                Error::new(ErrorKind::UpstreamInvalid, "The upstream sent an event that is too large to be real.");
            return Flow::Break(Err(error));
        }
        Flow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(pieces: &[&[u8]]) -> Vec<String> {
        let mut reader = SseReader::default();
        let mut item = Vec::new();
        let mut each = |what: SseItem<'_>| {
            item.push(match what {
                SseItem::Data(data) => format!("data {}", String::from_utf8_lossy(data)),
                SseItem::Raw(line) => format!("bare {}", String::from_utf8_lossy(line)),
            });
            Flow::Continue(())
        };
        for piece in pieces {
            assert!(reader.feed(piece, &mut each).is_continue());
        }
        assert!(reader.finish(&mut each).is_continue());
        item
    }

    #[test]
    fn events_are_separated() {
        for (stream, expected) in [
            ("data: a\n\ndata:b\n\n", vec!["data a", "data b"]),
            ("data: a\r\n\r\ndata: b\r\r", vec!["data a", "data b"]),
            ("\u{feff}data: a\n\n", vec!["data a"]),
            ("data: a\ndata: b\n\n", vec!["data a\nb"]),
            ("data\n\n", vec!["data "]),
            ("data: \ndata: \n\n", vec!["data \n"]),
            (": comment\nevent: x\nid: 1\nretry: 5\ndata:  two blanks\n\n", vec!["data  two blanks"]),
            ("database: x\n\n\n\n", vec![]),
            ("{\"error\":1}\n\n", vec!["bare {\"error\":1}"]),
            ("<html>\ndata: a\n\n", vec!["bare <html>", "data a"]),
            ("{\n \"error\": 1\n\n}\n: beat\n", vec!["bare {", "bare  \"error\": 1", "bare }"]),
            ("{}\ndata: a\n\nevent: x\n", vec!["bare {}", "data a"]),
            ("data: without its blank line", vec!["data without its blank line"]),
            ("data: a\n", vec!["data a"]),
            ("", vec![]),
        ] {
            assert_eq!(read(&[stream.as_bytes()]), expected, "{stream:?}");
        }
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut reader = SseReader::default();
        let piece = vec![b'x'; 1 << 20];
        let refused = (0..64).find(|_| reader.feed(&piece, |_| Flow::Continue(())).is_break());
        assert_eq!(refused, Some(8));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            stream in "(data: ?[a-z\u{e9}\u{4e2d}]{0,5}|: x|\\{b|event: y|\u{feff})?(\n|\r|\r\n|\n\n|\r\r|\r\n\r\n)(data: [a-z]{0,9}(\n\n|\r\n\r\n|\r\r|\n)){0,6}",
            cuts in proptest::collection::vec(0_usize..120, 0..12),
        ) {
            let bytes = stream.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(read(&pieces), read(&[bytes]));
        }
    }
}
