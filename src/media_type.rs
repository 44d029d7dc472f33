//! What a file is: told by its first bytes, then by what its sender declares, then by its name.

use std::fmt;

use memchr::memmem;

/// The kinds of files that the site takes, each in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// A picture.
    Image,
    /// A film.
    Video,
    /// A sound.
    Audio,
    /// A text, a table, slides.
    Document,
}

impl MediaKind {
    /// The word that the site uses as `filetype` and `type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Document => "file",
        }
    }

    /// The kind that such a word means.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Image, Self::Video, Self::Audio, Self::Document].into_iter().find(|kind| kind.as_str() == word)
    }

    /// `file_class` of an entry of a message's files.
    #[must_use]
    pub const fn class(self) -> &'static str {
        match self {
            Self::Image => "vision",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Document => "document",
        }
    }

    /// What is taken of this kind, for a message.
    #[must_use]
    pub const fn formats(self) -> &'static str {
        match self {
            Self::Image => "JPEG, PNG, GIF, WebP, BMP, TIFF or SVG",
            Self::Video => "MP4, AVI, MOV, WebM, MKV, WMV, FLV, M4V, 3GP or M2TS",
            Self::Audio => "MP3, WAV, M4A, AAC, OGG, FLAC, AMR, WMA or AIFF",
            Self::Document => "PDF, Word, Excel, PowerPoint, OpenDocument, RTF, EPUB or text",
        }
    }
}

impl fmt::Display for MediaKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Image => "an image",
            Self::Video => "a video",
            Self::Audio => "an audio file",
            Self::Document => "a document",
        })
    }
}

/// A file's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MediaType {
    /// How the site treats it.
    pub kind: MediaKind,
    /// Its media type.
    pub content_type: &'static str,
}

const fn is(kind: MediaKind, content_type: &'static str) -> MediaType {
    MediaType { kind, content_type }
}

const TEXT: MediaType = is(MediaKind::Document, "text/plain");

/// Types by the endings of names. The first ending of a media type is its usual one.
const ENDINGS: &[(&str, MediaType)] = &[
    ("jpg", is(MediaKind::Image, "image/jpeg")),
    ("jpeg", is(MediaKind::Image, "image/jpeg")),
    ("png", is(MediaKind::Image, "image/png")),
    ("gif", is(MediaKind::Image, "image/gif")),
    ("webp", is(MediaKind::Image, "image/webp")),
    ("bmp", is(MediaKind::Image, "image/bmp")),
    ("tiff", is(MediaKind::Image, "image/tiff")),
    ("tif", is(MediaKind::Image, "image/tiff")),
    ("svg", is(MediaKind::Image, "image/svg+xml")),
    ("mp4", is(MediaKind::Video, "video/mp4")),
    ("avi", is(MediaKind::Video, "video/x-msvideo")),
    ("mov", is(MediaKind::Video, "video/quicktime")),
    ("qt", is(MediaKind::Video, "video/quicktime")),
    ("webm", is(MediaKind::Video, "video/webm")),
    ("mkv", is(MediaKind::Video, "video/x-matroska")),
    ("wmv", is(MediaKind::Video, "video/x-ms-wmv")),
    ("flv", is(MediaKind::Video, "video/x-flv")),
    ("m4v", is(MediaKind::Video, "video/x-m4v")),
    ("3gp", is(MediaKind::Video, "video/3gpp")),
    ("3g2", is(MediaKind::Video, "video/3gpp2")),
    ("m2ts", is(MediaKind::Video, "video/mp2t")),
    ("mts", is(MediaKind::Video, "video/mp2t")),
    ("ts", is(MediaKind::Video, "video/mp2t")),
    ("mpg", is(MediaKind::Video, "video/mpeg")),
    ("mpeg", is(MediaKind::Video, "video/mpeg")),
    ("ogv", is(MediaKind::Video, "video/ogg")),
    ("mp3", is(MediaKind::Audio, "audio/mpeg")),
    ("wav", is(MediaKind::Audio, "audio/wav")),
    ("flac", is(MediaKind::Audio, "audio/flac")),
    ("ogg", is(MediaKind::Audio, "audio/ogg")),
    ("oga", is(MediaKind::Audio, "audio/ogg")),
    ("opus", is(MediaKind::Audio, "audio/ogg")),
    ("m4a", is(MediaKind::Audio, "audio/mp4")),
    ("aac", is(MediaKind::Audio, "audio/aac")),
    ("amr", is(MediaKind::Audio, "audio/amr")),
    ("awb", is(MediaKind::Audio, "audio/amr-wb")),
    ("wma", is(MediaKind::Audio, "audio/x-ms-wma")),
    ("aiff", is(MediaKind::Audio, "audio/aiff")),
    ("aif", is(MediaKind::Audio, "audio/aiff")),
    ("weba", is(MediaKind::Audio, "audio/webm")),
    ("mka", is(MediaKind::Audio, "audio/x-matroska")),
    ("3ga", is(MediaKind::Audio, "audio/3gpp")),
    ("pdf", is(MediaKind::Document, "application/pdf")),
    ("docx", is(MediaKind::Document, "application/vnd.openxmlformats-officedocument.wordprocessingml.document")),
    ("xlsx", is(MediaKind::Document, "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")),
    ("pptx", is(MediaKind::Document, "application/vnd.openxmlformats-officedocument.presentationml.presentation")),
    ("doc", is(MediaKind::Document, "application/msword")),
    ("xls", is(MediaKind::Document, "application/vnd.ms-excel")),
    ("ppt", is(MediaKind::Document, "application/vnd.ms-powerpoint")),
    ("odt", is(MediaKind::Document, "application/vnd.oasis.opendocument.text")),
    ("ods", is(MediaKind::Document, "application/vnd.oasis.opendocument.spreadsheet")),
    ("odp", is(MediaKind::Document, "application/vnd.oasis.opendocument.presentation")),
    ("rtf", is(MediaKind::Document, "application/rtf")),
    ("epub", is(MediaKind::Document, "application/epub+zip")),
    ("txt", TEXT),
    ("log", TEXT),
    ("md", is(MediaKind::Document, "text/markdown")),
    ("markdown", is(MediaKind::Document, "text/markdown")),
    ("csv", is(MediaKind::Document, "text/csv")),
    ("tsv", is(MediaKind::Document, "text/tab-separated-values")),
    ("json", is(MediaKind::Document, "application/json")),
    ("jsonl", is(MediaKind::Document, "application/jsonl")),
    ("ipynb", is(MediaKind::Document, "application/x-ipynb+json")),
    ("html", is(MediaKind::Document, "text/html")),
    ("htm", is(MediaKind::Document, "text/html")),
    ("xml", is(MediaKind::Document, "application/xml")),
    ("yaml", is(MediaKind::Document, "application/yaml")),
    ("yml", is(MediaKind::Document, "application/yaml")),
    ("css", is(MediaKind::Document, "text/css")),
    ("js", is(MediaKind::Document, "text/javascript")),
    ("py", is(MediaKind::Document, "text/x-python")),
    ("c", is(MediaKind::Document, "text/x-c")),
    ("java", is(MediaKind::Document, "text/x-java")),
    ("sh", is(MediaKind::Document, "text/x-shellscript")),
];

/// Other names of the same media types.
const SYNONYMS: &[(&str, &str)] = &[
    ("image/jpg", "image/jpeg"),
    ("image/pjpeg", "image/jpeg"),
    ("image/x-png", "image/png"),
    ("image/x-ms-bmp", "image/bmp"),
    ("image/x-bmp", "image/bmp"),
    ("image/tif", "image/tiff"),
    ("image/svg", "image/svg+xml"),
    ("video/avi", "video/x-msvideo"),
    ("video/msvideo", "video/x-msvideo"),
    ("video/mov", "video/quicktime"),
    ("video/mkv", "video/x-matroska"),
    ("video/matroska", "video/x-matroska"),
    ("video/wmv", "video/x-ms-wmv"),
    ("video/x-ms-asf", "video/x-ms-wmv"),
    ("video/flv", "video/x-flv"),
    ("video/m4v", "video/x-m4v"),
    ("video/3gp", "video/3gpp"),
    ("video/m2ts", "video/mp2t"),
    ("video/vnd.dlna.mpeg-tts", "video/mp2t"),
    ("audio/mp3", "audio/mpeg"),
    ("audio/x-mp3", "audio/mpeg"),
    ("audio/x-wav", "audio/wav"),
    ("audio/wave", "audio/wav"),
    ("audio/vnd.wave", "audio/wav"),
    ("audio/x-flac", "audio/flac"),
    ("audio/opus", "audio/ogg"),
    ("audio/m4a", "audio/mp4"),
    ("audio/x-m4a", "audio/mp4"),
    ("audio/x-aac", "audio/aac"),
    ("audio/aacp", "audio/aac"),
    ("audio/x-aiff", "audio/aiff"),
    ("audio/wma", "audio/x-ms-wma"),
    ("application/x-pdf", "application/pdf"),
    ("text/rtf", "application/rtf"),
    ("text/json", "application/json"),
    ("text/xml", "application/xml"),
    ("text/yaml", "application/yaml"),
    ("application/x-yaml", "application/yaml"),
    ("text/x-markdown", "text/markdown"),
    ("application/csv", "text/csv"),
    ("application/javascript", "text/javascript"),
];

/// The type of a file that begins with `head`. `None` = nothing that the site takes.
#[must_use]
pub(crate) fn detect(head: &[u8], declared: Option<&str>, name: &str) -> Option<MediaType> {
    let said = || by_media_type(declared.unwrap_or_default()).or_else(|| by_name(name));
    match look(head) {
        Sniffed::Like(extension) => by_ending(extension),
        Sniffed::Other => None,
        Sniffed::Container => said().filter(|said| {
            said.content_type.starts_with("application/vnd.") || said.content_type == "application/msword"
        }),
        Sniffed::Text => {
            // What is text is none of the types that are not, whatever its sender says.
            let said =
                by_media_type(declared.unwrap_or_default()).filter(|said| *said != TEXT).or_else(|| by_name(name));
            Some(said.filter(is_text).unwrap_or(TEXT))
        }
        // A sender's word counts for what cannot be told by its bytes, and for nothing else.
        Sniffed::Unknown => said().filter(|said| !has_signature(*said)),
    }
}

/// Whether every file of this type begins in a way that [`look`] knows. QuickTime, MPEG streams, MP3 and AAC may begin with
/// anything.
fn has_signature(found: MediaType) -> bool {
    let MediaType { kind, content_type } = found;
    match kind {
        MediaKind::Image => true,
        MediaKind::Video => !matches!(content_type, "video/quicktime" | "video/mp2t" | "video/mpeg"),
        MediaKind::Audio => !matches!(content_type, "audio/mpeg" | "audio/aac"),
        MediaKind::Document => !is_text(&found),
    }
}

/// Whether the bytes by themselves, without a name or a declared type, are of this kind.
#[must_use]
pub fn matches_kind(head: &[u8], kind: MediaKind) -> bool {
    detect(head, None, "").is_some_and(|found| found.kind == kind)
}

/// The type as its sender tells it: by the media type, else by the name.
#[must_use]
pub(crate) fn declared_type(declared: Option<&str>, name: &str) -> Option<MediaType> {
    by_media_type(declared.unwrap_or_default()).or_else(|| by_name(name))
}

/// The type that a declared media type means, parameters left out.
fn by_media_type(declared: &str) -> Option<MediaType> {
    let declared = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let usual = SYNONYMS.iter().find(|(synonym, _)| *synonym == declared).map_or(declared.as_str(), |(_, usual)| usual);
    ENDINGS.iter().map(|(_, found)| *found).find(|found| found.content_type == usual)
}

fn by_name(name: &str) -> Option<MediaType> {
    name.rsplit_once('.').and_then(|(_, extension)| by_ending(extension))
}

fn by_ending(extension: &str) -> Option<MediaType> {
    ENDINGS.iter().find(|(known, _)| extension.eq_ignore_ascii_case(known)).map(|(_, found)| *found)
}

/// A usual ending for a declared media type, for files that come without a name.
#[must_use]
pub fn extension(content_type: &str) -> Option<&'static str> {
    let wanted = by_media_type(content_type)?;
    ENDINGS.iter().find(|(_, found)| *found == wanted).map(|(extension, _)| *extension)
}

fn is_text(found: &MediaType) -> bool {
    let MediaType { kind, content_type } = found;
    let other =
        ["application/json", "application/jsonl", "application/x-ipynb+json", "application/xml", "application/yaml"];
    *kind == MediaKind::Document && (content_type.starts_with("text/") || other.contains(content_type))
}

/// What the bytes themselves say.
#[derive(Debug, PartialEq, Eq)]
enum Sniffed {
    /// What files with this ending are.
    Like(&'static str),
    /// Something known that the site does not take.
    Other,
    /// An office document that does not tell which.
    Container,
    Text,
    Unknown,
}

/// How far into a file its tracks are looked for.
const TRACKS_WITHIN: usize = 256 * 1024;
/// How far into a text its root element is looked for, and whether it is text.
const TEXT_WITHIN: usize = 64 * 1024;

const ASF_VIDEO: &[u8] = b"\xC0\xEF\x19\xBC\x4D\x5B\xCF\x11\xA8\xFD\x00\x80\x5F\x5C\x44\x2B";
const ASF_AUDIO: &[u8] = b"\x40\x9E\x69\xF8\x4D\x5B\xCF\x11\xA8\xFD\x00\x80\x5F\x5C\x44\x2B";
/// Codecs of Matroska tracks.
const SOUNDS: &[&[u8]] =
    &[b"A_OPUS", b"A_VORBIS", b"A_AAC", b"A_MPEG", b"A_FLAC", b"A_PCM", b"A_AC3", b"A_EAC3", b"A_DTS", b"A_ALAC"];
const SIGHTS: &[&[u8]] =
    &[b"V_VP", b"V_AV1", b"V_MPEG", b"V_MS/", b"V_THEORA", b"V_FFV1", b"V_PRORES", b"V_UNCOMP", b"V_REAL", b"V_MJPEG"];

fn look(head: &[u8]) -> Sniffed {
    let early = head.get(..TRACKS_WITHIN).unwrap_or(head);
    let has = |what: &[u8]| memmem::find(early, what).is_some();
    let has_any = |what: &[&[u8]]| what.iter().any(|what| has(what));
    match head {
        [_, _, _, _, b'f', b't', b'y', b'p', b0, b1, b2, b3, ..] => return base_media(head, [*b0, *b1, *b2, *b3]),
        [0x30, 0x26, 0xB2, 0x75, 0x8E, 0x66, 0xCF, 0x11, ..] => {
            return Sniffed::Like(if has(ASF_AUDIO) && !has(ASF_VIDEO) { "wma" } else { "wmv" });
        }
        [0x1A, 0x45, 0xDF, 0xA3, ..] => {
            let is_webm = memmem::find(head.get(..128).unwrap_or(head), b"webm").is_some();
            return Sniffed::Like(match (is_webm, has_any(SOUNDS) && !has_any(SIGHTS)) {
                (true, false) => "webm",
                (true, true) => "weba",
                (false, false) => "mkv",
                (false, true) => "mka",
            });
        }
        [b'O', b'g', b'g', b'S', ..] => return Sniffed::Like(if has(b"\x80theora") { "ogv" } else { "ogg" }),
        [b'F', b'O', b'R', b'M', _, _, _, _, b'A', b'I', b'F', b'F' | b'C', ..] => return Sniffed::Like("aiff"),
        [0, 0, 1, 0xB3 | 0xBA, ..] => return Sniffed::Like("mpg"),
        [b'P', b'K', 3, 4, ..] => return zip(head),
        [0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1, ..] => return ole(head),
        [b'I', b'D', b'3', 2..=4, ..] => return tagged_sound(head),
        [b'{', b'\\', b'r', b't', b'f', ..] => return Sniffed::Like("rtf"),
        _ if head.starts_with(b"#!AMR-WB\n") => return Sniffed::Like("awb"),
        _ if head.starts_with(b"#!AMR\n") => return Sniffed::Like("amr"),
        _ if is_transport_stream(head) => return Sniffed::Like("m2ts"),
        _ if memmem::find(head.get(..1024).unwrap_or(head), b"%PDF-").is_some() => return Sniffed::Like("pdf"),
        _ => {}
    }
    if let Some(text) = text(head) {
        return match root(&text) {
            Some("svg") => Sniffed::Like("svg"),
            Some("html") => Sniffed::Like("html"),
            Some(_) if text.trim_start().starts_with("<?xml") => Sniffed::Like("xml"),
            _ => Sniffed::Text,
        };
    }
    if let Some(sound) = frame(head) {
        return Sniffed::Like(sound);
    }
    match head {
        // Two letters are little: the reserved fields and the length of the next header must fit too.
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, _, _, _, _, 12 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0, ..] => {
            return Sniffed::Like("bmp");
        }
        [b'B', b'M', ..] => return Sniffed::Unknown,
        _ => {}
    }
    let Some(found) = infer::get(head) else { return Sniffed::Unknown };
    let found = by_media_type(found.mime_type()).filter(|found| found.kind != MediaKind::Document);
    let extension = found.and_then(|found| ENDINGS.iter().find(|(_, known)| *known == found));
    extension.map_or(Sniffed::Other, |(extension, _)| Sniffed::Like(extension))
}

/// ISO base media (MP4 and its kin), by its brand and the tracks that show.
fn base_media(head: &[u8], brand: [u8; 4]) -> Sniffed {
    let is_sound = || {
        // A handler's box: its name, four bytes of version, four of nothing, the kind of the track.
        let kind = |at: usize| head.get(at.checked_add(12)?..at.checked_add(16)?);
        let mut tracks = memmem::find_iter(head, b"hdlr").filter_map(kind);
        let mut sounds = false;
        let sees = tracks.any(|kind| {
            sounds |= kind == b"soun";
            kind == b"vide"
        });
        sounds && !sees
    };
    Sniffed::Like(match &brand {
        b"M4V " | b"M4VH" | b"M4VP" => "m4v",
        b"M4A " | b"M4B " | b"M4P " => "m4a",
        b"qt  " => "mov",
        [b'3', b'g', b'2', _] => "3g2",
        [b'3', b'g', _, _] => {
            if is_sound() {
                "3ga"
            } else {
                "3gp"
            }
        }
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"msf1" | b"avif" | b"avis" | b"jxl "
        | b"jp2 " | b"crx " => return Sniffed::Other,
        _ if is_sound() => "m4a",
        _ => "mp4",
    })
}

/// Office documents are archives; the names of what is in them stand there as they are.
fn zip(head: &[u8]) -> Sniffed {
    if let Some(rest) = head.get(30..).and_then(|rest| rest.strip_prefix(b"mimetype"))
        && let Some((extension, _)) = ENDINGS.iter().find(|(_, found)| rest.starts_with(found.content_type.as_bytes()))
    {
        return Sniffed::Like(extension);
    }
    let has = |name: &[u8]| memmem::find(head, name).is_some();
    if !has(b"[Content_Types].xml") && !has(b"_rels/.rels") && !has(b"docProps/") {
        return Sniffed::Other;
    }
    match () {
        () if has(b"word/document") => Sniffed::Like("docx"),
        () if has(b"xl/workbook") => Sniffed::Like("xlsx"),
        () if has(b"ppt/presentation") => Sniffed::Like("pptx"),
        () => Sniffed::Container,
    }
}

/// Office documents before 2007, by the names of their streams.
fn ole(head: &[u8]) -> Sniffed {
    let holds = |name: &str| {
        let wide: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        memmem::find(head, &wide).is_some()
    };
    match () {
        () if holds("WordDocument") => Sniffed::Like("doc"),
        () if holds("PowerPoint Document") => Sniffed::Like("ppt"),
        () if holds("Workbook") => Sniffed::Like("xls"),
        () => Sniffed::Container,
    }
}

/// A sound behind an ID3 tag: MP3, or AAC where its frame shows.
fn tagged_sound(head: &[u8]) -> Sniffed {
    let sound = match head {
        [_, _, _, _, _, _, a, b, c, d, ..] => {
            let length = [a, b, c, d].iter().fold(0_usize, |length, byte| (length << 7) | usize::from(**byte & 0x7F));
            head.get(length.saturating_add(10)..).and_then(frame)
        }
        _ => None,
    };
    Sniffed::Like(sound.unwrap_or("mp3"))
}

/// A frame of MPEG audio: version, layer (0 = AAC in ADTS), bit rate and sampling rate that exist.
fn frame(head: &[u8]) -> Option<&'static str> {
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

/// MPEG transport stream: a packet of 188 bytes after the other, on discs with 4 bytes before each.
fn is_transport_stream(head: &[u8]) -> bool {
    let synced = |first: usize, length: usize| {
        let packets = head.len().saturating_sub(first).div_ceil(length).min(4);
        packets >= 2 && head.iter().skip(first).step_by(length).take(packets).all(|byte| *byte == 0x47)
    };
    synced(0, 188) || synced(4, 192)
}

/// The beginning of a file as text, if it is text: UTF-8 without control characters, or UTF-16 with its mark.
fn text(head: &[u8]) -> Option<String> {
    let start = head.get(..TEXT_WITHIN).unwrap_or(head);
    let wide = |order: fn([u8; 2]) -> u16| {
        let units = start.chunks_exact(2).skip(1).filter_map(|pair| pair.try_into().ok().map(order));
        let text: String = char::decode_utf16(units).map(|character| character.unwrap_or('\0')).collect();
        is_writing(&text).then_some(text)
    };
    match start {
        [0xFF, 0xFE, ..] => return wide(u16::from_le_bytes),
        [0xFE, 0xFF, ..] => return wide(u16::from_be_bytes),
        _ => {}
    }
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // The last character may be cut.
        Err(error) if error.error_len().is_none() => {
            start.get(..error.valid_up_to()).and_then(|valid| std::str::from_utf8(valid).ok())?
        }
        Err(_) => return None,
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    is_writing(text).then(|| text.to_owned())
}

fn is_writing(text: &str) -> bool {
    let odd = |character: char| {
        character.is_control() && !matches!(character, '\n' | '\r' | '\t' | '\u{c}' | '\u{8}' | '\u{1b}')
    };
    !text.is_empty() && !text.chars().any(odd)
}

/// Which element a text in XML or HTML begins with: `svg`, `html`, or another one (`""`).
fn root(text: &str) -> Option<&'static str> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value as Json;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_have_a_type_or_none(head in proptest::collection::vec(any::<u8>(), 0..600), start in 0_usize..12) {
            let starts: [&[u8]; 12] = [
                b"", b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"\0\0\0\x18ftypisom", b"OggS", b"BM", b"RIFF",
                b"\x1a\x45\xdf\xa3", b"<!DOCTYPE ", b"\xff\xfe<", b"ID3\x04", b"\xff\xfb",
            ];
            let whole = [starts[start], &head].concat();
            for name in ["", "a.png", "a.docx", "."] {
                let _ = detect(&whole, None, name);
                let _ = detect(&whole, Some("video/mp4"), name);
            }
        }
    }

    #[test]
    fn real_files_are_known_by_their_bytes() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files");
        let files: Json = serde_json::from_str(include_str!("../tests/files/files.json")).unwrap();
        let files = files.as_array().unwrap();
        assert!(files.len() > 100);
        for file in files {
            let name = file["file"].as_str().unwrap();
            let head = std::fs::read(format!("{folder}/{name}")).unwrap();
            let kind = file["kind"].as_str().map(|kind| if kind == "document" { "file" } else { kind });
            let expected = kind.map(|kind| (kind, file["content_type"].as_str().unwrap()));
            let found = |declared, name| {
                detect(&head, declared, name).map(|found: MediaType| (found.kind.as_str(), found.content_type))
            };
            let is_text = expected.is_some_and(|(_, content_type)| {
                is_text(&by_media_type(content_type).unwrap())
                    && !matches!(content_type, "text/html" | "application/xml")
            });
            if is_text || name == "random.bin" {
                // Bytes do not tell one text from the other; the name does.
                assert_eq!(found(Some("application/octet-stream"), name), expected, "{name}");
                continue;
            }
            for declared in [None, Some("image/png"), Some("video/mp4"), Some("application/pdf"), Some("text/plain")] {
                for named in [name, "x.png", "x.txt", ""] {
                    assert_eq!(found(declared, named), expected, "{name} declared {declared:?} named {named}");
                }
            }
        }
    }

    #[test]
    fn what_is_declared_and_named_counts_where_the_bytes_say_nothing() {
        let binary: &[u8] = &[0x80, 0x81, 0, 1, 2, 0x99, 0x81];
        for (head, declared, name, expected) in [
            (binary, Some("video/quicktime"), "x.png", Some("video/quicktime")),
            (binary, Some("audio/MP3; q=1"), "", Some("audio/mpeg")),
            (binary, Some("application/octet-stream"), "a.TS", Some("video/mp2t")),
            (binary, None, "a.b.Mp3", Some("audio/mpeg")),
            // These have a signature, and lack it here.
            (binary, Some("image/png"), "", None),
            (binary, Some("image/JPG; q=1"), "x.mp3", None),
            (binary, Some("video/mp4"), "x.png", None),
            (binary, Some("application/pdf"), "x.pdf", None),
            (binary, Some("audio/wav"), "", None),
            (binary, Some("application/octet-stream"), "a.PNG", None),
            (b"\0\0", Some("image/png"), "image.png", None),
            (binary, None, "noending", None),
            (b"hello", Some("image/png"), "x.png", Some("text/plain")),
            (b"hello", Some("text/plain"), "x.md", Some("text/markdown")),
            (b"a,b", Some("text/csv"), "x.txt", Some("text/csv")),
            (b"BMW makes cars", None, "", Some("text/plain")),
            (b"MZ, he said", None, "", Some("text/plain")),
            (b"caf\xe9 \x80", None, "x.txt", Some("text/plain")),
            (b"caf\xe9 \x80", None, "x", None),
            (b" <svg/>", None, "x", Some("image/svg+xml")),
            (b"<!-- svg --><!DOCTYPE svg [<!ENTITY a \">\">]><s:svg xmlns:s='x'/>", None, "x", Some("image/svg+xml")),
            (b"<?xml version='1.0'?><note>svg</note>", None, "x", Some("application/xml")),
            (b"<!DOCTYPE html><svg/>", None, "x.svg", Some("text/html")),
            (b"I like <svg> tags", None, "x.svg", Some("text/plain")),
            (b"\x1f\x8b\x08\0\0\0\0\0\0\x03", Some("image/png"), "x.png", None),
        ] {
            let found = detect(head, declared, name).map(|found| found.content_type);
            assert_eq!(found, expected, "{:?} {declared:?} {name}", String::from_utf8_lossy(head));
        }
    }
}
