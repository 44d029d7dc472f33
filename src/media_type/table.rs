//! The media types that the site accepts, their file name extensions and synonyms.

use std::fmt;

/// The kinds of files that the site accepts. It treats each kind differently.
///
/// ```
/// use qwen_edge::media_type::MediaKind;
///
/// assert_eq!(MediaKind::from_word("image"), Some(MediaKind::Image));
/// assert_eq!(MediaKind::Document.as_str(), "file");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// Images.
    Image,
    /// Videos.
    Video,
    /// Audio files.
    Audio,
    /// Text files, office documents and PDF.
    Document,
}

impl MediaKind {
    /// Returns the value of the site's `filetype` and `type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Document => "file",
        }
    }

    /// Returns the kind with this value of `filetype`.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Image, Self::Video, Self::Audio, Self::Document].into_iter().find(|kind| kind.as_str() == word)
    }

    /// Returns `file_class` of an entry of a message's files.
    #[must_use]
    pub const fn class(self) -> &'static str {
        match self {
            Self::Image => "vision",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Document => "document",
        }
    }

    /// Returns the accepted formats of this kind, for error messages.
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

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MediaType {
    /// The kind, by which the site treats the file.
    pub kind: MediaKind,
    /// The media type.
    pub content_type: &'static str,
}

const fn media_type(kind: MediaKind, content_type: &'static str) -> MediaType {
    MediaType { kind, content_type }
}

pub(super) const TEXT: MediaType = media_type(MediaKind::Document, "text/plain");

/// Types by file name extension. The first extension of a media type is its usual one.
const EXTENSIONS: &[(&str, MediaType)] = &[
    ("jpg", media_type(MediaKind::Image, "image/jpeg")),
    ("jpeg", media_type(MediaKind::Image, "image/jpeg")),
    ("png", media_type(MediaKind::Image, "image/png")),
    ("gif", media_type(MediaKind::Image, "image/gif")),
    ("webp", media_type(MediaKind::Image, "image/webp")),
    ("bmp", media_type(MediaKind::Image, "image/bmp")),
    ("tiff", media_type(MediaKind::Image, "image/tiff")),
    ("tif", media_type(MediaKind::Image, "image/tiff")),
    ("svg", media_type(MediaKind::Image, "image/svg+xml")),
    ("mp4", media_type(MediaKind::Video, "video/mp4")),
    ("avi", media_type(MediaKind::Video, "video/x-msvideo")),
    ("mov", media_type(MediaKind::Video, "video/quicktime")),
    ("qt", media_type(MediaKind::Video, "video/quicktime")),
    ("webm", media_type(MediaKind::Video, "video/webm")),
    ("mkv", media_type(MediaKind::Video, "video/x-matroska")),
    ("wmv", media_type(MediaKind::Video, "video/x-ms-wmv")),
    ("flv", media_type(MediaKind::Video, "video/x-flv")),
    ("m4v", media_type(MediaKind::Video, "video/x-m4v")),
    ("3gp", media_type(MediaKind::Video, "video/3gpp")),
    ("3g2", media_type(MediaKind::Video, "video/3gpp2")),
    ("m2ts", media_type(MediaKind::Video, "video/mp2t")),
    ("mts", media_type(MediaKind::Video, "video/mp2t")),
    ("ts", media_type(MediaKind::Video, "video/mp2t")),
    ("mpg", media_type(MediaKind::Video, "video/mpeg")),
    ("mpeg", media_type(MediaKind::Video, "video/mpeg")),
    ("ogv", media_type(MediaKind::Video, "video/ogg")),
    ("mp3", media_type(MediaKind::Audio, "audio/mpeg")),
    ("wav", media_type(MediaKind::Audio, "audio/wav")),
    ("flac", media_type(MediaKind::Audio, "audio/flac")),
    ("ogg", media_type(MediaKind::Audio, "audio/ogg")),
    ("oga", media_type(MediaKind::Audio, "audio/ogg")),
    ("opus", media_type(MediaKind::Audio, "audio/ogg")),
    ("m4a", media_type(MediaKind::Audio, "audio/mp4")),
    ("aac", media_type(MediaKind::Audio, "audio/aac")),
    ("amr", media_type(MediaKind::Audio, "audio/amr")),
    ("awb", media_type(MediaKind::Audio, "audio/amr-wb")),
    ("wma", media_type(MediaKind::Audio, "audio/x-ms-wma")),
    ("aiff", media_type(MediaKind::Audio, "audio/aiff")),
    ("aif", media_type(MediaKind::Audio, "audio/aiff")),
    ("weba", media_type(MediaKind::Audio, "audio/webm")),
    ("mka", media_type(MediaKind::Audio, "audio/x-matroska")),
    ("3ga", media_type(MediaKind::Audio, "audio/3gpp")),
    ("pdf", media_type(MediaKind::Document, "application/pdf")),
    (
        "docx",
        media_type(MediaKind::Document, "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ),
    ("xlsx", media_type(MediaKind::Document, "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")),
    (
        "pptx",
        media_type(MediaKind::Document, "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    ),
    ("doc", media_type(MediaKind::Document, "application/msword")),
    ("xls", media_type(MediaKind::Document, "application/vnd.ms-excel")),
    ("ppt", media_type(MediaKind::Document, "application/vnd.ms-powerpoint")),
    ("odt", media_type(MediaKind::Document, "application/vnd.oasis.opendocument.text")),
    ("ods", media_type(MediaKind::Document, "application/vnd.oasis.opendocument.spreadsheet")),
    ("odp", media_type(MediaKind::Document, "application/vnd.oasis.opendocument.presentation")),
    ("rtf", media_type(MediaKind::Document, "application/rtf")),
    ("epub", media_type(MediaKind::Document, "application/epub+zip")),
    ("txt", TEXT),
    ("log", TEXT),
    ("md", media_type(MediaKind::Document, "text/markdown")),
    ("markdown", media_type(MediaKind::Document, "text/markdown")),
    ("csv", media_type(MediaKind::Document, "text/csv")),
    ("tsv", media_type(MediaKind::Document, "text/tab-separated-values")),
    ("json", media_type(MediaKind::Document, "application/json")),
    ("jsonl", media_type(MediaKind::Document, "application/jsonl")),
    ("ipynb", media_type(MediaKind::Document, "application/x-ipynb+json")),
    ("html", media_type(MediaKind::Document, "text/html")),
    ("htm", media_type(MediaKind::Document, "text/html")),
    ("xml", media_type(MediaKind::Document, "application/xml")),
    ("yaml", media_type(MediaKind::Document, "application/yaml")),
    ("yml", media_type(MediaKind::Document, "application/yaml")),
    ("css", media_type(MediaKind::Document, "text/css")),
    ("js", media_type(MediaKind::Document, "text/javascript")),
    ("py", media_type(MediaKind::Document, "text/x-python")),
    ("c", media_type(MediaKind::Document, "text/x-c")),
    ("java", media_type(MediaKind::Document, "text/x-java")),
    ("sh", media_type(MediaKind::Document, "text/x-shellscript")),
];

/// Synonyms of media types.
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

/// Returns the type of a declared media type, whose parameters are ignored.
pub(super) fn by_media_type(declared: &str) -> Option<MediaType> {
    let declared = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let usual = SYNONYMS.iter().find(|(synonym, _)| *synonym == declared).map_or(declared.as_str(), |(_, usual)| usual);
    EXTENSIONS.iter().map(|(_, found)| *found).find(|found| found.content_type == usual)
}

/// Returns the type of a file name, by its extension.
pub(super) fn by_name(name: &str) -> Option<MediaType> {
    name.rsplit_once('.').and_then(|(_, extension)| by_extension(extension))
}

/// Returns the type of a file name extension in any case.
pub(super) fn by_extension(extension: &str) -> Option<MediaType> {
    EXTENSIONS.iter().find(|(known, _)| extension.eq_ignore_ascii_case(known)).map(|(_, found)| *found)
}

/// Returns the usual extension of a declared media type, for files without a name.
///
/// ```
/// use qwen_edge::media_type::extension;
///
/// assert_eq!(extension("image/JPG; q=1"), Some("jpg"));
/// assert_eq!(extension("application/octet-stream"), None);
/// ```
#[must_use]
pub fn extension(content_type: &str) -> Option<&'static str> {
    usual_extension(by_media_type(content_type)?)
}

/// Returns the usual extension of a type.
pub(super) fn usual_extension(wanted: MediaType) -> Option<&'static str> {
    EXTENSIONS.iter().find(|(_, found)| *found == wanted).map(|(extension, _)| *extension)
}

/// Returns the extension of the type whose media type `text` begins with.
pub(super) fn extension_of_prefix(text: &[u8]) -> Option<&'static str> {
    EXTENSIONS
        .iter()
        .find(|(_, found)| text.starts_with(found.content_type.as_bytes()))
        .map(|(extension, _)| *extension)
}

/// Whether files of this type are text.
pub(super) fn is_text(media_type: &MediaType) -> bool {
    let MediaType { kind, content_type } = media_type;
    let other =
        ["application/json", "application/jsonl", "application/x-ipynb+json", "application/xml", "application/yaml"];
    *kind == MediaKind::Document && (content_type.starts_with("text/") || other.contains(content_type))
}
