//! Content codings: bodies that come packed as gzip, deflate or zstd (RFC 9110, 8.4.1), unpacked piece by piece within bounds.

use std::io::Write as _;

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status, write::MultiGzDecoder};
use futures::{Stream, StreamExt as _};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::platform::{FetchError, FetchErrorKind};

/// How much packed input is taken at once: a thousand times that comes out of it at most.
const STEP: usize = 1024;
/// How much is unpacked at once where the library lets us say.
const OUTPUT: usize = 64 * 1024;
/// The largest window of zstd. RFC 9659 lets nobody ask for more.
const MAX_WINDOW: u64 = 8 * 1024 * 1024;
/// The longest header of a zstd frame.
const MAX_ZSTD_HEADER: usize = 18;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// RFC 1952
    Gzip,
    /// RFC 1950, or RFC 1951 as some programs have it.
    Deflate,
    /// RFC 8878
    Zstd,
}

impl Coding {
    /// Reads a `Content-Encoding`; nothing for an absent one and for `identity`.
    ///
    /// # Errors
    /// A coding that is not known here, or more than one.
    pub(crate) fn of(header: Option<&str>) -> Result<Option<Self>, ()> {
        let header = header.unwrap_or_default().to_ascii_lowercase();
        let mut codings = header.split(',').map(str::trim).filter(|coding| !matches!(*coding, "" | "identity"));
        let coding = match codings.next() {
            None => return Ok(None),
            Some("gzip" | "x-gzip") => Self::Gzip,
            Some("deflate") => Self::Deflate,
            Some("zstd") => Self::Zstd,
            Some(_) => return Err(()),
        };
        if codings.next().is_some() { Err(()) } else { Ok(Some(coding)) }
    }
}

/// The bytes are not packed as they were said to be.
#[derive(Debug, PartialEq, Eq)]
struct Broken(String);

impl Broken {
    fn new(problem: impl ToString) -> Self {
        Self(problem.to_string())
    }

    fn off() -> Self {
        Self::new("it breaks off")
    }
}

/// Unpacks a body while it comes. A piece is a megabyte at most. One that is not packed as said ends with an error of the kind
/// [`FetchErrorKind::Undecodable`].
pub(crate) fn decoded<S>(body: S, coding: Coding) -> impl Stream<Item = Result<Bytes, FetchError>> + use<S>
where
    S: Stream<Item = Result<Bytes, FetchError>> + Unpin,
{
    let undecodable = |Broken(detail): Broken| FetchError { kind: FetchErrorKind::Undecodable, detail };
    futures::stream::unfold(Some((body, Decoder::new(coding))), move |state| async move {
        let (mut body, mut decoder) = state?;
        loop {
            match decoder.step() {
                Err(broken) => return Some((Err(undecodable(broken)), None)),
                Ok(Step::Output(piece)) => return Some((Ok(piece), Some((body, decoder)))),
                Ok(Step::End) => return None,
                Ok(Step::Hungry) => match body.next().await {
                    Some(Ok(piece)) => decoder.input = piece,
                    Some(Err(error)) => return Some((Err(error), None)),
                    None => decoder.ended = true,
                },
            }
        }
    })
}

enum Step {
    Output(Bytes),
    /// More input is wanted.
    Hungry,
    End,
}

struct Decoder {
    packed: Packed,
    /// What came and was not yet taken.
    input: Bytes,
    /// No more input comes.
    ended: bool,
    is_closed: bool,
}

enum Packed {
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Deflate(Deflate),
    Zstd(Box<Zstd>),
}

impl Decoder {
    fn new(coding: Coding) -> Self {
        let packed = match coding {
            Coding::Gzip => Packed::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
            Coding::Deflate => Packed::Deflate(Deflate::default()),
            Coding::Zstd => Packed::Zstd(Box::default()),
        };
        Self { packed, input: Bytes::new(), ended: false, is_closed: false }
    }

    /// Goes on until there is output, or nothing more can be done.
    fn step(&mut self) -> Result<Step, Broken> {
        loop {
            let output = match &mut self.packed {
                Packed::Gzip(decoder) => {
                    let piece = self.input.split_to(self.input.len().min(STEP));
                    decoder.write_all(&piece).map_err(Broken::new)?;
                    if self.ended && self.input.is_empty() && !std::mem::replace(&mut self.is_closed, true) {
                        decoder.try_finish().map_err(Broken::new)?;
                    }
                    std::mem::take(decoder.get_mut())
                }
                Packed::Deflate(decoder) => decoder.step(&mut self.input, self.ended)?,
                Packed::Zstd(decoder) => decoder.step(&mut self.input, self.ended)?,
            };
            if !output.is_empty() {
                return Ok(Step::Output(output.into()));
            }
            let is_done = match &self.packed {
                Packed::Gzip(_) => self.is_closed,
                Packed::Deflate(decoder) => decoder.is_over,
                Packed::Zstd(decoder) => decoder.frame == Frame::Over && decoder.pending.is_empty(),
            };
            match (self.input.is_empty(), self.ended) {
                (true, false) => return Ok(Step::Hungry),
                (true, true) if is_done => return Ok(Step::End),
                // What is at hand is taken further, or told to be broken.
                _ => {}
            }
        }
    }
}

#[derive(Default)]
struct Deflate {
    /// The first two bytes, which tell whether there is a header.
    start: Vec<u8>,
    decoder: Option<Decompress>,
    is_over: bool,
}

impl Deflate {
    fn step(&mut self, input: &mut Bytes, ended: bool) -> Result<Vec<u8>, Broken> {
        if self.is_over {
            return if input.is_empty() { Ok(Vec::new()) } else { Err(Broken::new("something follows its end")) };
        }
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            None => {
                let wanted = 2_usize.saturating_sub(self.start.len());
                self.start.extend(input.split_to(input.len().min(wanted)));
                let [first, second] = self.start[..] else {
                    return if ended { Err(Broken::off()) } else { Ok(Vec::new()) };
                };
                let is_zlib = first & 0x0F == 8 && u16::from_be_bytes([first, second]) % 31 == 0;
                self.decoder.insert(Decompress::new(is_zlib))
            }
        };
        let mut output = Vec::with_capacity(OUTPUT);
        // What was looked at comes first.
        let is_start = !self.start.is_empty();
        let piece = if is_start { &self.start[..] } else { &input[..] };
        let before = decoder.total_in();
        let status = decoder.decompress_vec(piece, &mut output, FlushDecompress::None).map_err(Broken::new)?;
        let taken = usize::try_from(decoder.total_in().saturating_sub(before)).unwrap_or(usize::MAX);
        if is_start {
            self.start.drain(..taken.min(self.start.len()));
        } else {
            drop(input.split_to(taken.min(input.len())));
        }
        self.is_over = status == Status::StreamEnd;
        let is_stuck = taken == 0 && output.is_empty() && !self.is_over;
        if is_stuck && (ended || !input.is_empty()) {
            return Err(Broken::off());
        }
        Ok(output)
    }
}

#[derive(Default)]
struct Zstd {
    decoder: FrameDecoder,
    /// What is not yet a whole block, or header.
    pending: Vec<u8>,
    frame: Frame,
}

/// Where in a frame it is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Frame {
    /// Before the first.
    #[default]
    None,
    Within {
        has_checksum: bool,
    },
    /// Behind one; another may follow.
    Over,
}

impl Zstd {
    fn step(&mut self, input: &mut Bytes, ended: bool) -> Result<Vec<u8>, Broken> {
        match self.frame {
            Frame::None | Frame::Over => {
                self.fill(input, MAX_ZSTD_HEADER);
                if self.pending.is_empty() && self.frame == Frame::Over {
                    return Ok(Vec::new());
                }
                if self.pending.len() < MAX_ZSTD_HEADER && !(ended && input.is_empty()) {
                    return Ok(Vec::new());
                }
                self.decoder.set_max_window_size(MAX_WINDOW);
                self.decoder.reset(&self.pending[..]).map_err(Broken::new)?;
                let has_checksum = self.pending.get(4).is_some_and(|descriptor| descriptor & 4 != 0);
                self.taken();
                self.frame = Frame::Within { has_checksum };
                Ok(Vec::new())
            }
            Frame::Within { has_checksum } => {
                self.fill(input, 3);
                let needed = self.block(has_checksum).unwrap_or(3);
                self.fill(input, needed);
                if self.block(has_checksum).is_none_or(|needed| self.pending.len() < needed) {
                    return if ended && input.is_empty() { Err(Broken::off()) } else { Ok(Vec::new()) };
                }
                let is_over = self
                    .decoder
                    .decode_blocks(&self.pending[..], BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(Broken::new)?;
                // The beginning of the next one may be at hand already.
                self.pending.drain(..needed);
                if is_over {
                    self.frame = Frame::Over;
                }
                Ok(self.decoder.collect().unwrap_or_default())
            }
        }
    }

    /// How many bytes the block that begins has, its header and the frame's end with it.
    fn block(&self, has_checksum: bool) -> Option<usize> {
        let [a, b, c] = *self.pending.first_chunk::<3>()?;
        let header = u32::from_le_bytes([a, b, c, 0]);
        let is_last = header & 1 == 1;
        let is_one_byte = header >> 1 & 3 == 1;
        let content = if is_one_byte { 1 } else { usize::try_from(header >> 3).unwrap_or(usize::MAX) };
        let checksum = if is_last && has_checksum { 4 } else { 0 };
        Some(content.saturating_add(3).saturating_add(checksum))
    }

    /// Takes input until so many bytes are at hand.
    fn fill(&mut self, input: &mut Bytes, wanted: usize) {
        let missing = wanted.saturating_sub(self.pending.len());
        self.pending.extend(input.split_to(input.len().min(missing)));
    }

    /// The header was read; a part of the first block may be at hand already.
    fn taken(&mut self) {
        let taken = usize::try_from(self.decoder.bytes_read_from_source()).unwrap_or(usize::MAX);
        self.pending.drain(..taken.min(self.pending.len()));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };
    use futures::executor::block_on;
    use proptest::prelude::*;

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    /// Each way to pack something.
    fn packed(content: &[u8]) -> [(Coding, Vec<u8>); 5] {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(content).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
        raw.write_all(content).unwrap();
        let mut checked = zstd::Encoder::new(Vec::new(), 3).unwrap();
        checked.include_checksum(true).unwrap();
        checked.write_all(content).unwrap();
        [
            (Coding::Gzip, gzip(content)),
            (Coding::Deflate, zlib.finish().unwrap()),
            (Coding::Deflate, raw.finish().unwrap()),
            (Coding::Zstd, zstd::encode_all(content, 3).unwrap()),
            (Coding::Zstd, checked.finish().unwrap()),
        ]
    }

    fn unpacked(coding: Coding, pieces: &[&[u8]], most: usize) -> Result<Vec<u8>, FetchErrorKind> {
        let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let mut body = Box::pin(decoded(futures::stream::iter(pieces), coding));
        block_on(async {
            let mut whole = Vec::new();
            while let Some(piece) = body.next().await {
                let piece = piece.map_err(|error| error.kind)?;
                assert!(!piece.is_empty() && piece.len() <= 1 << 20, "{}", piece.len());
                whole.extend_from_slice(&piece);
                if whole.len() > most {
                    break;
                }
            }
            Ok(whole)
        })
    }

    #[test]
    fn codings_are_read_from_their_header() {
        for (header, expected) in [
            (None, Ok(None)),
            (Some(""), Ok(None)),
            (Some("identity"), Ok(None)),
            (Some("GZip"), Ok(Some(Coding::Gzip))),
            (Some("x-gzip"), Ok(Some(Coding::Gzip))),
            (Some("identity, deflate"), Ok(Some(Coding::Deflate))),
            (Some(" zstd "), Ok(Some(Coding::Zstd))),
            (Some("br"), Err(())),
            (Some("gzip, zstd"), Err(())),
            (Some("gzip, gzip"), Err(())),
            (Some("compress"), Err(())),
        ] {
            assert_eq!(Coding::of(header), expected, "{header:?}");
        }
    }

    #[test]
    fn what_was_packed_comes_out_byte_by_byte_too() {
        let random: Vec<u8> = (0..300_000_u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
        for content in [&b""[..], b"x", b"hello hello hello hello", &vec![b'a'; 700_000], &random] {
            for (coding, bytes) in packed(content) {
                assert_eq!(unpacked(coding, &[&bytes], usize::MAX).unwrap(), content, "{coding:?}");
                let bytes: Vec<&[u8]> = bytes.chunks(if content.len() < 100 { 1 } else { 1013 }).collect();
                assert_eq!(unpacked(coding, &bytes, usize::MAX).unwrap(), content, "{coding:?} in pieces");
            }
        }
        let twice = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(unpacked(Coding::Gzip, &[&twice], usize::MAX).unwrap(), b"one two");
        let twice = [zstd::encode_all(&b"one "[..], 1).unwrap(), zstd::encode_all(&b"two"[..], 1).unwrap()].concat();
        assert_eq!(unpacked(Coding::Zstd, &[&twice], usize::MAX).unwrap(), b"one two");
    }

    #[test]
    fn what_breaks_off_or_is_something_else_is_told() {
        let content = b"{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}".repeat(50);
        for (coding, bytes) in packed(&content) {
            for end in 0..bytes.len() {
                let cut = unpacked(coding, &[&bytes[..end]], usize::MAX);
                assert_eq!(cut, Err(FetchErrorKind::Undecodable), "{coding:?} cut at {end} of {}", bytes.len());
            }
            assert_eq!(
                unpacked(coding, &[&bytes, b"more"], usize::MAX),
                Err(FetchErrorKind::Undecodable),
                "{coding:?}"
            );
        }
        for coding in [Coding::Gzip, Coding::Deflate, Coding::Zstd] {
            for bytes in [
                &b"{\"messages\":[]}"[..],
                b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            ] {
                assert_eq!(unpacked(coding, &[bytes], usize::MAX), Err(FetchErrorKind::Undecodable), "{coding:?}");
            }
        }
    }

    #[test]
    fn a_bomb_comes_out_piece_by_piece() {
        let bomb = vec![0; 16 << 20];
        for (coding, bytes) in packed(&bomb) {
            assert!(bytes.len() < 30_000, "{coding:?}");
            let out = unpacked(coding, &[&bytes], 1 << 20).unwrap();
            assert!(out.len() <= 2 << 20, "{coding:?}: {}", out.len());
        }
        // A window of gigabytes is asked for and not given.
        let window = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 0xA0, 0x03, 0x00, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(unpacked(Coding::Zstd, &[&window], 1), Err(FetchErrorKind::Undecodable));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(content in proptest::collection::vec(0_u8..4, 0..3000), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8)) {
            for (coding, bytes) in packed(&content) {
                let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
                cuts.sort_unstable();
                let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
                prop_assert_eq!(unpacked(coding, &pieces, usize::MAX).unwrap(), &content[..]);
            }
        }

        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for coding in [Coding::Gzip, Coding::Deflate, Coding::Zstd] {
                let _ = unpacked(coding, &[&bytes], 1 << 22);
                let zstd = [&[0x28, 0xB5, 0x2F, 0xFD], &bytes[..]].concat();
                let _ = unpacked(Coding::Zstd, &[&zstd], 1 << 22);
            }
        }
    }
}
