//! Content codings (RFC 9110, 8.4.1): decodes bodies in gzip, deflate and zstd chunk by chunk, with bounded memory.

use std::io::Write as _;

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status, write::MultiGzDecoder};
use futures::{Stream, StreamExt as _};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::platform::{FetchError, FetchErrorKind};

/// How many encoded bytes gzip decodes in one step. Its output is at most about a thousand times as long.
const INPUT_STEP: usize = 1024;
/// How many bytes deflate returns in one step.
const OUTPUT_STEP: usize = 64 * 1024;
/// The largest window of zstd that RFC 9659 allows.
const MAX_WINDOW: u64 = 8 * 1024 * 1024;
/// The longest frame header of zstd.
const MAX_ZSTD_HEADER: usize = 18;

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950, or RFC 1951, which some programs send instead.
    Deflate,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// Parses `Content-Encoding`. Returns `None` if it is absent or `identity`.
    ///
    /// # Errors
    /// The coding is unsupported, or there is more than one.
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

/// The bytes are not valid in the declared coding.
#[derive(Debug, PartialEq, Eq)]
struct DecodeError(String);

impl DecodeError {
    fn new(problem: impl ToString) -> Self {
        Self(problem.to_string())
    }

    fn incomplete() -> Self {
        Self::new("the body is incomplete")
    }
}

/// Decodes a body as it arrives, in chunks of at most about 1 MiB. A body that is not valid in `coding` ends with a
/// [`FetchErrorKind::Undecodable`].
pub(crate) fn decoded<S>(body: S, coding: Coding) -> impl Stream<Item = Result<Bytes, FetchError>> + use<S>
where
    S: Stream<Item = Result<Bytes, FetchError>> + Unpin,
{
    let undecodable = |DecodeError(detail): DecodeError| FetchError { kind: FetchErrorKind::Undecodable, detail };
    futures::stream::unfold(Some((body, Decoder::new(coding))), move |state| async move {
        let (mut body, mut decoder) = state?;
        loop {
            match decoder.step() {
                Err(error) => return Some((Err(undecodable(error)), None)),
                Ok(Step::Output(chunk)) => return Some((Ok(chunk), Some((body, decoder)))),
                Ok(Step::End) => return None,
                Ok(Step::NeedsInput) => match body.next().await {
                    Some(Ok(chunk)) => decoder.input = chunk,
                    Some(Err(error)) => return Some((Err(error), None)),
                    None => decoder.has_input_ended = true,
                },
            }
        }
    })
}

enum Step {
    Output(Bytes),
    NeedsInput,
    End,
}

struct Decoder {
    codec: Codec,
    /// Encoded bytes that are not decoded yet.
    input: Bytes,
    has_input_ended: bool,
    /// Whether gzip has checked its trailer.
    is_finished: bool,
}

enum Codec {
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Deflate(Deflate),
    Zstd(Box<Zstd>),
}

impl Decoder {
    fn new(coding: Coding) -> Self {
        let codec = match coding {
            Coding::Gzip => Codec::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
            Coding::Deflate => Codec::Deflate(Deflate::default()),
            Coding::Zstd => Codec::Zstd(Box::default()),
        };
        Self { codec, input: Bytes::new(), has_input_ended: false, is_finished: false }
    }

    /// Decodes until there is output, or no more input.
    fn step(&mut self) -> Result<Step, DecodeError> {
        loop {
            let output = match &mut self.codec {
                Codec::Gzip(decoder) => {
                    let input = self.input.split_to(self.input.len().min(INPUT_STEP));
                    decoder.write_all(&input).map_err(DecodeError::new)?;
                    if self.has_input_ended && self.input.is_empty() && !std::mem::replace(&mut self.is_finished, true)
                    {
                        decoder.try_finish().map_err(DecodeError::new)?;
                    }
                    std::mem::take(decoder.get_mut())
                }
                Codec::Deflate(decoder) => decoder.step(&mut self.input, self.has_input_ended)?,
                Codec::Zstd(decoder) => decoder.step(&mut self.input, self.has_input_ended)?,
            };
            if !output.is_empty() {
                return Ok(Step::Output(output.into()));
            }
            let is_done = match &self.codec {
                Codec::Gzip(_) => self.is_finished,
                Codec::Deflate(decoder) => decoder.has_ended,
                Codec::Zstd(decoder) => decoder.position == Position::AfterFrame && decoder.pending.is_empty(),
            };
            match (self.input.is_empty(), self.has_input_ended) {
                (true, false) => return Ok(Step::NeedsInput),
                (true, true) if is_done => return Ok(Step::End),
                // The next round decodes the rest of the input, or reports that it is incomplete.
                _ => {}
            }
        }
    }
}

#[derive(Default)]
struct Deflate {
    /// The first two bytes, which show whether there is a zlib header.
    start: Vec<u8>,
    decoder: Option<Decompress>,
    has_ended: bool,
}

impl Deflate {
    fn step(&mut self, input: &mut Bytes, has_input_ended: bool) -> Result<Vec<u8>, DecodeError> {
        if self.has_ended {
            return if input.is_empty() { Ok(Vec::new()) } else { Err(DecodeError::new("bytes follow the end")) };
        }
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            None => {
                let missing = 2_usize.saturating_sub(self.start.len());
                self.start.extend(input.split_to(input.len().min(missing)));
                let [first, second] = self.start[..] else {
                    return if has_input_ended { Err(DecodeError::incomplete()) } else { Ok(Vec::new()) };
                };
                let is_zlib = first & 0x0F == 8 && u16::from_be_bytes([first, second]) % 31 == 0;
                self.decoder.insert(Decompress::new(is_zlib))
            }
        };
        let mut output = Vec::with_capacity(OUTPUT_STEP);
        // The inspected bytes come first.
        let is_start = !self.start.is_empty();
        let encoded = if is_start { &self.start[..] } else { &input[..] };
        let before = decoder.total_in();
        let status = decoder.decompress_vec(encoded, &mut output, FlushDecompress::None).map_err(DecodeError::new)?;
        let consumed = usize::try_from(decoder.total_in().saturating_sub(before)).unwrap_or(usize::MAX);
        if is_start {
            self.start.drain(..consumed.min(self.start.len()));
        } else {
            drop(input.split_to(consumed.min(input.len())));
        }
        self.has_ended = status == Status::StreamEnd;
        let is_stuck = consumed == 0 && output.is_empty() && !self.has_ended;
        if is_stuck && (has_input_ended || !input.is_empty()) {
            return Err(DecodeError::incomplete());
        }
        Ok(output)
    }
}

#[derive(Default)]
struct Zstd {
    decoder: FrameDecoder,
    /// Part of a header or of a block.
    pending: Vec<u8>,
    position: Position,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Position {
    /// Before the first frame.
    #[default]
    Start,
    InFrame {
        has_checksum: bool,
    },
    /// After a frame. Another one may follow.
    AfterFrame,
}

impl Zstd {
    fn step(&mut self, input: &mut Bytes, has_input_ended: bool) -> Result<Vec<u8>, DecodeError> {
        match self.position {
            Position::Start | Position::AfterFrame => {
                self.fill(input, MAX_ZSTD_HEADER);
                if self.pending.is_empty() && self.position == Position::AfterFrame {
                    return Ok(Vec::new());
                }
                if self.pending.len() < MAX_ZSTD_HEADER && !(has_input_ended && input.is_empty()) {
                    return Ok(Vec::new());
                }
                self.decoder.set_max_window_size(MAX_WINDOW);
                self.decoder.reset(&self.pending[..]).map_err(DecodeError::new)?;
                let has_checksum = self.pending.get(4).is_some_and(|descriptor| descriptor & 4 != 0);
                self.drop_header();
                self.position = Position::InFrame { has_checksum };
                Ok(Vec::new())
            }
            Position::InFrame { has_checksum } => {
                self.fill(input, 3);
                let needed = self.block_length(has_checksum).unwrap_or(3);
                self.fill(input, needed);
                if self.block_length(has_checksum).is_none_or(|needed| self.pending.len() < needed) {
                    let is_incomplete = has_input_ended && input.is_empty();
                    return if is_incomplete { Err(DecodeError::incomplete()) } else { Ok(Vec::new()) };
                }
                let has_ended = self
                    .decoder
                    .decode_blocks(&self.pending[..], BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(DecodeError::new)?;
                // The beginning of the next block may follow.
                self.pending.drain(..needed);
                if has_ended {
                    self.position = Position::AfterFrame;
                }
                Ok(self.decoder.collect().unwrap_or_default())
            }
        }
    }

    /// Returns the length of the next block with its header, and with the checksum after the last block.
    fn block_length(&self, has_checksum: bool) -> Option<usize> {
        let [a, b, c] = *self.pending.first_chunk::<3>()?;
        let header = u32::from_le_bytes([a, b, c, 0]);
        let is_last = header & 1 == 1;
        let is_one_byte = header >> 1 & 3 == 1;
        let content = if is_one_byte { 1 } else { usize::try_from(header >> 3).unwrap_or(usize::MAX) };
        let checksum = if is_last && has_checksum { 4 } else { 0 };
        Some(content.saturating_add(3).saturating_add(checksum))
    }

    /// Moves input to the pending bytes until there are `wanted`.
    fn fill(&mut self, input: &mut Bytes, wanted: usize) {
        let missing = wanted.saturating_sub(self.pending.len());
        self.pending.extend(input.split_to(input.len().min(missing)));
    }

    /// Removes the frame header from the pending bytes. Part of the first block may follow it.
    fn drop_header(&mut self) {
        let length = usize::try_from(self.decoder.bytes_read_from_source()).unwrap_or(usize::MAX);
        self.pending.drain(..length.min(self.pending.len()));
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

    /// Returns the content in every coding and variant.
    fn encoded(content: &[u8]) -> [(Coding, Vec<u8>); 5] {
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

    /// Decodes chunks until there are more than `limit` bytes.
    fn decode(coding: Coding, chunks: &[&[u8]], limit: usize) -> Result<Vec<u8>, FetchErrorKind> {
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        let mut body = Box::pin(decoded(futures::stream::iter(chunks), coding));
        block_on(async {
            let mut content = Vec::new();
            while let Some(chunk) = body.next().await {
                let chunk = chunk.map_err(|error| error.kind)?;
                assert!(!chunk.is_empty() && chunk.len() <= 1 << 20, "{}", chunk.len());
                content.extend_from_slice(&chunk);
                if content.len() > limit {
                    break;
                }
            }
            Ok(content)
        })
    }

    #[test]
    fn the_header_names_the_coding() {
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
    fn every_coding_is_decoded_whole_and_in_chunks() {
        let random: Vec<u8> = (0..300_000_u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
        for content in [&b""[..], b"x", b"hello hello hello hello", &vec![b'a'; 700_000], &random] {
            for (coding, bytes) in encoded(content) {
                assert_eq!(decode(coding, &[&bytes], usize::MAX).unwrap(), content, "{coding:?}");
                let bytes: Vec<&[u8]> = bytes.chunks(if content.len() < 100 { 1 } else { 1013 }).collect();
                assert_eq!(decode(coding, &bytes, usize::MAX).unwrap(), content, "{coding:?} in chunks");
            }
        }
        let twice = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(decode(Coding::Gzip, &[&twice], usize::MAX).unwrap(), b"one two");
        let twice = [zstd::encode_all(&b"one "[..], 1).unwrap(), zstd::encode_all(&b"two"[..], 1).unwrap()].concat();
        assert_eq!(decode(Coding::Zstd, &[&twice], usize::MAX).unwrap(), b"one two");
    }

    #[test]
    fn incomplete_and_invalid_bodies_are_reported() {
        let content = b"{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}".repeat(50);
        for (coding, bytes) in encoded(&content) {
            for end in 0..bytes.len() {
                let cut = decode(coding, &[&bytes[..end]], usize::MAX);
                assert_eq!(cut, Err(FetchErrorKind::Undecodable), "{coding:?} cut at {end} of {}", bytes.len());
            }
            assert_eq!(decode(coding, &[&bytes, b"more"], usize::MAX), Err(FetchErrorKind::Undecodable), "{coding:?}");
        }
        for coding in [Coding::Gzip, Coding::Deflate, Coding::Zstd] {
            for bytes in [
                &b"{\"messages\":[]}"[..],
                b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            ] {
                assert_eq!(decode(coding, &[bytes], usize::MAX), Err(FetchErrorKind::Undecodable), "{coding:?}");
            }
        }
    }

    #[test]
    fn a_decompression_bomb_is_decoded_in_bounded_chunks() {
        let bomb = vec![0; 16 << 20];
        for (coding, bytes) in encoded(&bomb) {
            assert!(bytes.len() < 30_000, "{coding:?}");
            let out = decode(coding, &[&bytes], 1 << 20).unwrap();
            assert!(out.len() <= 2 << 20, "{coding:?}: {}", out.len());
        }
        // A frame that asks for a window of gigabytes is refused.
        let window = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 0xA0, 0x03, 0x00, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(decode(Coding::Zstd, &[&window], 1), Err(FetchErrorKind::Undecodable));
    }

    proptest! {
        #[test]
        fn chunk_boundaries_do_not_matter(content in proptest::collection::vec(0_u8..4, 0..3000), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8)) {
            for (coding, bytes) in encoded(&content) {
                let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
                cuts.sort_unstable();
                let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
                prop_assert_eq!(decode(coding, &chunks, usize::MAX).unwrap(), &content[..]);
            }
        }

        #[test]
        fn decoding_of_any_bytes_ends(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for coding in [Coding::Gzip, Coding::Deflate, Coding::Zstd] {
                let _ = decode(coding, &[&bytes], 1 << 22);
                let zstd = [&[0x28, 0xB5, 0x2F, 0xFD], &bytes[..]].concat();
                let _ = decode(Coding::Zstd, &[&zstd], 1 << 22);
            }
        }
    }
}
