//! Media types: what a file is, by its first bytes, then by its declared media type, then by its name.

mod sniff;
mod table;

use sniff::{Sniffed, sniff};
pub(crate) use table::MediaType;
pub use table::{MediaKind, extension};
use table::{TEXT, by_extension, by_media_type, by_name, is_text};

/// Returns the type of a file that begins with `head`, or `None` for a type that the site does not accept.
#[must_use]
pub(crate) fn detect(head: &[u8], declared: Option<&str>, name: &str) -> Option<MediaType> {
    match sniff(head) {
        Sniffed::Known(extension) => by_extension(extension),
        Sniffed::Unsupported => None,
        Sniffed::OfficeContainer => declared_type(declared, name).filter(|found| {
            found.content_type.starts_with("application/vnd.") || found.content_type == "application/msword"
        }),
        Sniffed::Text => {
            // Bytes that are text never have a binary type, whatever was declared.
            let found =
                by_media_type(declared.unwrap_or_default()).filter(|found| *found != TEXT).or_else(|| by_name(name));
            Some(found.filter(is_text).unwrap_or(TEXT))
        }
        // The declared type counts only if files of this type need not have a signature.
        Sniffed::Unknown => declared_type(declared, name).filter(|found| !has_signature(*found)),
    }
}

/// Whether [`sniff()`] recognizes every file of this type. QuickTime, MPEG streams, MP3 and AAC may begin with any bytes.
fn has_signature(media_type: MediaType) -> bool {
    let MediaType { kind, content_type } = media_type;
    match kind {
        MediaKind::Image => true,
        MediaKind::Video => !matches!(content_type, "video/quicktime" | "video/mp2t" | "video/mpeg"),
        MediaKind::Audio => !matches!(content_type, "audio/mpeg" | "audio/aac"),
        MediaKind::Document => !is_text(&media_type),
    }
}

/// Whether the bytes alone, without a name or a declared type, are of this kind.
///
/// ```
/// use qwen_edge::media_type::{MediaKind, matches_kind};
///
/// assert!(matches_kind(b"%PDF-1.7\n", MediaKind::Document));
/// assert!(!matches_kind(b"%PDF-1.7\n", MediaKind::Image));
/// ```
#[must_use]
pub fn matches_kind(head: &[u8], kind: MediaKind) -> bool {
    detect(head, None, "").is_some_and(|found| found.kind == kind)
}

/// Returns the type that the sender declared: by the media type, else by the name.
#[must_use]
pub(crate) fn declared_type(declared: Option<&str>, name: &str) -> Option<MediaType> {
    by_media_type(declared.unwrap_or_default()).or_else(|| by_name(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value as Json;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_detection_panic(head in proptest::collection::vec(any::<u8>(), 0..600), start in 0_usize..12) {
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
    fn real_files_are_detected_by_their_bytes() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files");
        let files: Json = serde_json::from_str(include_str!("../../tests/files/files.json")).unwrap();
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
                // Bytes do not distinguish text types, but the name does.
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
    fn declared_type_and_name_count_if_the_bytes_are_ambiguous() {
        let binary: &[u8] = &[0x80, 0x81, 0, 1, 2, 0x99, 0x81];
        for (head, declared, name, expected) in [
            (binary, Some("video/quicktime"), "x.png", Some("video/quicktime")),
            (binary, Some("audio/MP3; q=1"), "", Some("audio/mpeg")),
            (binary, Some("application/octet-stream"), "a.TS", Some("video/mp2t")),
            (binary, None, "a.b.Mp3", Some("audio/mpeg")),
            // These types have a signature, which the bytes lack.
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
