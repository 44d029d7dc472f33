//! Recognizes files by their signatures and content.

use memchr::memmem;

use super::table::{MediaKind, by_media_type, extension_of_prefix, usual_extension};

/// What the bytes of a file show.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sniffed {
    /// The type with this extension.
    Known(&'static str),
    /// A type that the site does not accept.
    Unsupported,
    /// An office document of an unknown application.
    OfficeContainer,
    Text,
    Unknown,
}

/// How many bytes are searched for tracks and codecs.
const MAX_TRACK_SEARCH: usize = 256 * 1024;
/// How many bytes are checked for text, and searched for a root element.
const MAX_TEXT_SEARCH: usize = 64 * 1024;

const ASF_VIDEO: &[u8] = b"\xC0\xEF\x19\xBC\x4D\x5B\xCF\x11\xA8\xFD\x00\x80\x5F\x5C\x44\x2B";
const ASF_AUDIO: &[u8] = b"\x40\x9E\x69\xF8\x4D\x5B\xCF\x11\xA8\xFD\x00\x80\x5F\x5C\x44\x2B";
/// Codecs of Matroska tracks.
const AUDIO_CODECS: &[&[u8]] =
    &[b"A_OPUS", b"A_VORBIS", b"A_AAC", b"A_MPEG", b"A_FLAC", b"A_PCM", b"A_AC3", b"A_EAC3", b"A_DTS", b"A_ALAC"];
const VIDEO_CODECS: &[&[u8]] =
    &[b"V_VP", b"V_AV1", b"V_MPEG", b"V_MS/", b"V_THEORA", b"V_FFV1", b"V_PRORES", b"V_UNCOMP", b"V_REAL", b"V_MJPEG"];

/// Recognizes a file by its first bytes.
pub(super) fn sniff(head: &[u8]) -> Sniffed {
    let early = head.get(..MAX_TRACK_SEARCH).unwrap_or(head);
    let has = |needle: &[u8]| memmem::find(early, needle).is_some();
    let has_any = |needles: &[&[u8]]| needles.iter().any(|needle| has(needle));
    match head {
        [_, _, _, _, b'f', b't', b'y', b'p', b0, b1, b2, b3, ..] => return base_media(head, [*b0, *b1, *b2, *b3]),
        [0x30, 0x26, 0xB2, 0x75, 0x8E, 0x66, 0xCF, 0x11, ..] => {
            return Sniffed::Known(if has(ASF_AUDIO) && !has(ASF_VIDEO) { "wma" } else { "wmv" });
        }
        [0x1A, 0x45, 0xDF, 0xA3, ..] => {
            let is_webm = memmem::find(head.get(..128).unwrap_or(head), b"webm").is_some();
            return Sniffed::Known(match (is_webm, has_any(AUDIO_CODECS) && !has_any(VIDEO_CODECS)) {
                (true, false) => "webm",
                (true, true) => "weba",
                (false, false) => "mkv",
                (false, true) => "mka",
            });
        }
        [b'O', b'g', b'g', b'S', ..] => return Sniffed::Known(if has(b"\x80theora") { "ogv" } else { "ogg" }),
        [b'F', b'O', b'R', b'M', _, _, _, _, b'A', b'I', b'F', b'F' | b'C', ..] => return Sniffed::Known("aiff"),
        [0, 0, 1, 0xB3 | 0xBA, ..] => return Sniffed::Known("mpg"),
        [b'P', b'K', 3, 4, ..] => return zip(head),
        [0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1, ..] => return ole(head),
        [b'I', b'D', b'3', 2..=4, ..] => return id3_audio(head),
        [b'{', b'\\', b'r', b't', b'f', ..] => return Sniffed::Known("rtf"),
        _ if head.starts_with(b"#!AMR-WB\n") => return Sniffed::Known("awb"),
        _ if head.starts_with(b"#!AMR\n") => return Sniffed::Known("amr"),
        _ if is_transport_stream(head) => return Sniffed::Known("m2ts"),
        _ if memmem::find(head.get(..1024).unwrap_or(head), b"%PDF-").is_some() => return Sniffed::Known("pdf"),
        _ => {}
    }
    if let Some(text) = text(head) {
        return match root_element(&text) {
            Some("svg") => Sniffed::Known("svg"),
            Some("html") => Sniffed::Known("html"),
            Some(_) if text.trim_start().starts_with("<?xml") => Sniffed::Known("xml"),
            _ => Sniffed::Text,
        };
    }
    if let Some(extension) = mpeg_audio_frame(head) {
        return Sniffed::Known(extension);
    }
    match head {
        // Two letters are a weak signature, so the reserved fields and the length of the next header must match as well.
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, _, _, _, _, 12 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0, ..] => {
            return Sniffed::Known("bmp");
        }
        [b'B', b'M', ..] => return Sniffed::Unknown,
        _ => {}
    }
    let Some(found) = infer::get(head) else { return Sniffed::Unknown };
    let found = by_media_type(found.mime_type()).filter(|found| found.kind != MediaKind::Document);
    found.and_then(usual_extension).map_or(Sniffed::Unsupported, Sniffed::Known)
}

/// Distinguishes files of the ISO base media format (MP4 and its relatives) by brand and tracks.
fn base_media(head: &[u8], brand: [u8; 4]) -> Sniffed {
    let is_audio = || {
        // `hdlr`, version and flags (4 bytes), predefined (4 bytes), handler type (4 bytes).
        let handler = |at: usize| head.get(at.checked_add(12)?..at.checked_add(16)?);
        let mut tracks = memmem::find_iter(head, b"hdlr").filter_map(handler);
        let mut has_audio = false;
        let has_video = tracks.any(|handler| {
            has_audio |= handler == b"soun";
            handler == b"vide"
        });
        has_audio && !has_video
    };
    Sniffed::Known(match &brand {
        b"M4V " | b"M4VH" | b"M4VP" => "m4v",
        b"M4A " | b"M4B " | b"M4P " => "m4a",
        b"qt  " => "mov",
        [b'3', b'g', b'2', _] => "3g2",
        [b'3', b'g', _, _] => {
            if is_audio() {
                "3ga"
            } else {
                "3gp"
            }
        }
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"msf1" | b"avif" | b"avis" | b"jxl "
        | b"jp2 " | b"crx " => return Sniffed::Unsupported,
        _ if is_audio() => "m4a",
        _ => "mp4",
    })
}

/// Distinguishes ZIP archives. Office documents are archives with uncompressed entry names.
fn zip(head: &[u8]) -> Sniffed {
    if let Some(rest) = head.get(30..).and_then(|rest| rest.strip_prefix(b"mimetype"))
        && let Some(extension) = extension_of_prefix(rest)
    {
        return Sniffed::Known(extension);
    }
    let has = |name: &[u8]| memmem::find(head, name).is_some();
    if !has(b"[Content_Types].xml") && !has(b"_rels/.rels") && !has(b"docProps/") {
        return Sniffed::Unsupported;
    }
    match () {
        () if has(b"word/document") => Sniffed::Known("docx"),
        () if has(b"xl/workbook") => Sniffed::Known("xlsx"),
        () if has(b"ppt/presentation") => Sniffed::Known("pptx"),
        () => Sniffed::OfficeContainer,
    }
}

/// Distinguishes office documents of before 2007 by the names of their streams.
fn ole(head: &[u8]) -> Sniffed {
    let has = |name: &str| {
        let utf16: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        memmem::find(head, &utf16).is_some()
    };
    match () {
        () if has("WordDocument") => Sniffed::Known("doc"),
        () if has("PowerPoint Document") => Sniffed::Known("ppt"),
        () if has("Workbook") => Sniffed::Known("xls"),
        () => Sniffed::OfficeContainer,
    }
}

/// Distinguishes audio after an ID3 tag: AAC if a frame of it follows, else MP3.
fn id3_audio(head: &[u8]) -> Sniffed {
    let extension = match head {
        [_, _, _, _, _, _, a, b, c, d, ..] => {
            let length = [a, b, c, d].iter().fold(0_usize, |length, byte| (length << 7) | usize::from(**byte & 0x7F));
            head.get(length.saturating_add(10)..).and_then(mpeg_audio_frame)
        }
        _ => None,
    };
    Sniffed::Known(extension.unwrap_or("mp3"))
}

/// Returns the extension for a frame of MPEG audio, which has a valid version, layer (0 is AAC in ADTS), bit rate and sampling
/// rate.
fn mpeg_audio_frame(head: &[u8]) -> Option<&'static str> {
    match head {
        [0xFF, second, third, ..] if second & 0xF6 == 0xF0 && third & 0x3C <= 0x30 => Some("aac"),
        [0xFF, second, third, ..]
            if second & 0xE0 == 0xE0
                && second & 0x18 != 0x08
                && second & 0x06 != 0
                && third & 0xF0 != 0xF0
                && third & 0x0C != 0x0C =>
        {
            Some("mp3")
        }
        _ => None,
    }
}

/// Whether this is an MPEG transport stream: packets of 188 bytes, on discs with 4 bytes before each.
fn is_transport_stream(head: &[u8]) -> bool {
    let is_synced = |first: usize, length: usize| {
        let packets = head.len().saturating_sub(first).div_ceil(length).min(4);
        packets >= 2 && head.iter().skip(first).step_by(length).take(packets).all(|byte| *byte == 0x47)
    };
    is_synced(0, 188) || is_synced(4, 192)
}

/// Returns the beginning of a file as text, if it is UTF-8 without control characters, or UTF-16 with a byte order mark.
fn text(head: &[u8]) -> Option<String> {
    let start = head.get(..MAX_TEXT_SEARCH).unwrap_or(head);
    let utf16 = |order: fn([u8; 2]) -> u16| {
        let units = start.chunks_exact(2).skip(1).filter_map(|pair| pair.try_into().ok().map(order));
        let text: String = char::decode_utf16(units).map(|character| character.unwrap_or('\0')).collect();
        is_printable(&text).then_some(text)
    };
    match start {
        [0xFF, 0xFE, ..] => return utf16(u16::from_le_bytes),
        [0xFE, 0xFF, ..] => return utf16(u16::from_be_bytes),
        _ => {}
    }
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // The last character may be incomplete.
        Err(error) if error.error_len().is_none() => {
            start.get(..error.valid_up_to()).and_then(|valid| std::str::from_utf8(valid).ok())?
        }
        Err(_) => return None,
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    is_printable(text).then(|| text.to_owned())
}

/// Whether a text is not empty and has no control characters except those of text files.
fn is_printable(text: &str) -> bool {
    let is_binary = |character: char| {
        character.is_control() && !matches!(character, '\n' | '\r' | '\t' | '\u{c}' | '\u{8}' | '\u{1b}')
    };
    !text.is_empty() && !text.chars().any(is_binary)
}

/// Returns the root element of XML or HTML: `svg`, `html`, or `""` for any other one.
fn root_element(text: &str) -> Option<&'static str> {
    let mut rest = text.trim_start();
    loop {
        let end = match rest {
            _ if rest.starts_with("<?") => "?>",
            _ if rest.starts_with("<!--") => "-->",
            _ if rest.get(..9).is_some_and(|start| start.eq_ignore_ascii_case("<!doctype")) => {
                let declaration = rest.split_once('>').map_or(rest, |(declaration, _)| declaration);
                let name = declaration.get(9..).unwrap_or_default().trim_start();
                if name.get(..4).is_some_and(|name| name.eq_ignore_ascii_case("html")) {
                    return Some("html");
                }
                if declaration.contains('[') { "]>" } else { ">" }
            }
            _ => break,
        };
        rest = rest.split_once(end).map(|(_, after)| after.trim_start())?;
    }
    let ends = |character: char| character.is_whitespace() || "/>".contains(character);
    let name = rest.strip_prefix('<')?.split(ends).next()?.rsplit(':').next()?;
    match name {
        _ if name.eq_ignore_ascii_case("svg") => Some("svg"),
        _ if name.eq_ignore_ascii_case("html") => Some("html"),
        _ if name.starts_with(|first: char| first.is_alphabetic()) => Some(""),
        _ => None,
    }
}
