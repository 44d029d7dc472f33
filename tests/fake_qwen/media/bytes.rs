//! The bytes of pictures and videos: a real head of the real size, and padding that is made while it is sent.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};

use super::super::body::{FILL_BYTES, Step, fill};

/// A file: its head, then the padding of [`fill`] up to its size.
#[derive(Clone, Debug)]
pub(super) struct Content {
    head: Bytes,
    pub(super) size: u64,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Png,
    Jpeg,
    WebP,
    /// Not a picture.
    Text,
    Mp4,
}

impl Format {
    pub(super) fn named(name: &str) -> Option<Format> {
        Some(match name {
            "png" => Format::Png,
            "jpeg" => Format::Jpeg,
            "webp" => Format::WebP,
            "text" => Format::Text,
            "mp4" => Format::Mp4,
            _ => return None,
        })
    }
}

impl Content {
    /// A file of `width` × `height`; the name makes it differ from others. A `size` below that of the head is ignored.
    pub(super) fn new(format: Format, (width, height): (u32, u32), name: &str, size: Option<u64>) -> Content {
        let head = match format {
            Format::Png => png(width, height, name),
            Format::Jpeg => jpeg(width, height, name),
            Format::WebP => webp(width, height, name),
            Format::Text => format!("{name}: nothing was drawn\n").into_bytes(),
            Format::Mp4 => mp4(name, size.unwrap_or(4_096)),
        };
        let size = if format == Format::Mp4 { size.unwrap_or(4_096) } else { size.unwrap_or(0) };
        Content { size: size.max(head.len() as u64), head: head.into() }
    }

    /// The writes of the bytes from `from` to before `to`, with a pause before each 64 KiB.
    pub(super) fn steps(&self, from: u64, to: u64, pace: Duration) -> Vec<Step> {
        let end = self.head.len() as u64;
        let mut steps = Vec::new();
        let mut at = from;
        while at < to {
            if !pace.is_zero() {
                steps.push(Step::Pause(pace));
            }
            let piece_end = if at < end {
                to.min(end)
            } else if pace.is_zero() {
                to
            } else {
                to.min(at + FILL_BYTES)
            };
            steps.push(if at < end {
                let range = usize::try_from(at).unwrap()..usize::try_from(piece_end).unwrap();
                Step::Bytes(self.head.slice(range))
            } else {
                Step::Fill { from: at, length: piece_end - at }
            });
            at = piece_end;
        }
        steps
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = self.head.to_vec();
        while (bytes.len() as u64) < self.size {
            let at = bytes.len() as u64;
            bytes.extend_from_slice(&fill(at, self.size - at));
        }
        bytes
    }
}

/// A number that depends on the name.
fn hash(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Packed pixels, by width and height.
type Packed = HashMap<(u32, u32), Vec<u8>>;

/// Stripes of two colours.
fn png(width: u32, height: u32, name: &str) -> Vec<u8> {
    /// They take the most time.
    static STRIPES: OnceLock<Mutex<Packed>> = OnceLock::new();
    let mut all_stripes = STRIPES.get_or_init(Mutex::default).lock().unwrap();
    let stripes = all_stripes.entry((width, height)).or_insert_with(|| {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        let row = vec![0; 1 + width.div_ceil(8) as usize];
        let mut other = row.clone();
        other[1..].fill(255);
        for line in 0..height {
            encoder.write_all(if line / 64 % 2 == 0 { &row } else { &other }).unwrap();
        }
        encoder.finish().unwrap()
    });
    let [a, b, c, d] = hash(name).to_be_bytes();
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    // One bit a pixel, with a palette.
    header.extend([1, 3, 0, 0, 0]);
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    let title = format!("Title\0{name}");
    let chunks: [(&[u8; 4], &[u8]); 5] = [
        (b"IHDR", &header),
        (b"PLTE", &[a, b, c, b, c, d]),
        (b"tEXt", title.as_bytes()),
        (b"IDAT", stripes),
        (b"IEND", b""),
    ];
    for (kind, data) in chunks {
        let mut crc = Crc::new();
        crc.update(kind);
        crc.update(data);
        out.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        out.extend_from_slice(kind);
        out.extend_from_slice(data);
        out.extend(crc.sum().to_be_bytes());
    }
    out
}

/// A grey picture: each block takes two bits, "the same brightness" and "no more".
fn jpeg(width: u32, height: u32, name: &str) -> Vec<u8> {
    let mut out = vec![0xff, 0xd8];
    let mut segment = |marker: u8, data: &[u8]| {
        out.extend([0xff, marker]);
        out.extend(u16::try_from(data.len() + 2).unwrap().to_be_bytes());
        out.extend_from_slice(data);
    };
    let [_, _, w1, w0] = width.to_be_bytes();
    let [_, _, h1, h0] = height.to_be_bytes();
    segment(0xe0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0");
    segment(0xfe, name.as_bytes());
    segment(0xdb, &[[0].as_slice(), &[1; 64]].concat());
    segment(0xc0, &[8, h1, h0, w1, w0, 1, 1, 0x11, 0]);
    for table in [0x00, 0x10] {
        // One code of one bit, for the symbol 0.
        segment(0xc4, &[[table, 1].as_slice(), &[0; 16]].concat());
    }
    segment(0xda, &[1, 1, 0, 0, 63, 0]);
    let blocks = width.div_ceil(8) as usize * height.div_ceil(8) as usize;
    let mut data = vec![0; (blocks * 2).div_ceil(8)];
    // The last byte is filled up with ones.
    if let Some(last) = data.last_mut()
        && !blocks.is_multiple_of(4)
    {
        *last = 0xff >> (blocks % 4 * 2);
    }
    out.extend(data);
    out.extend([0xff, 0xd9]);
    out
}

/// A lossless picture of one colour: each of its five codes has one symbol, so that the pixels take no bits.
fn webp(width: u32, height: u32, name: &str) -> Vec<u8> {
    let [red, green, blue, _] = hash(name).to_be_bytes();
    let mut bits: Vec<bool> = Vec::new();
    let mut put = |value: u32, count: u32| bits.extend((0..count).map(|bit| value >> bit & 1 == 1));
    put(width - 1, 14);
    put(height - 1, 14);
    // No alpha, version 0; no transform, no colour cache, no meta codes.
    put(0, 1 + 3 + 3);
    for symbol in [green, red, blue, 255] {
        put(0b101, 3);
        put(u32::from(symbol), 8);
    }
    put(0b0001, 4);
    let mut image = vec![0x2f];
    image.extend(bits.chunks(8).map(|byte| byte.iter().rev().fold(0, |value, bit| value << 1 | u8::from(*bit))));
    let mut body = b"WEBP".to_vec();
    for (kind, data) in [(b"VP8L", image.as_slice()), (b"NAME", name.as_bytes())] {
        body.extend_from_slice(kind);
        body.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        body.extend_from_slice(data);
        body.extend(vec![0; data.len() % 2]);
    }
    [b"RIFF".as_slice(), &u32::try_from(body.len()).unwrap().to_le_bytes(), &body].concat()
}

/// The boxes before the frames, which are padding.
fn mp4(name: &str, size: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, data) in [(b"ftyp", b"isom\0\0\x02\0isomiso2avc1mp41".as_slice()), (b"free", name.as_bytes())] {
        out.extend(u32::try_from(data.len() + 8).unwrap().to_be_bytes());
        out.extend_from_slice(kind);
        out.extend_from_slice(data);
    }
    let left = size.saturating_sub(out.len() as u64).max(8);
    out.extend(u32::try_from(left).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(b"mdat");
    out
}
