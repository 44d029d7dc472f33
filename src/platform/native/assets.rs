//! The pages of `web/`, in the binary: `build.rs` packs them. Who takes no gzip gets what was unpacked for the first of those:
//! no answer has memory of its own.

use std::{io::Read as _, sync::OnceLock};

use bytes::Bytes;

use crate::platform::{Asset, Body};

struct Packed {
    path: &'static str,
    etag: &'static str,
    gzip: &'static [u8],
}

const PACKED: &[Packed] = include!(concat!(env!("OUT_DIR"), "/web.rs"));

/// The same unpacked, once somebody wants it so.
static PLAIN: [OnceLock<Option<Bytes>>; PACKED.len()] = [const { OnceLock::new() }; PACKED.len()];

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        _ => "text/plain; charset=utf-8",
    }
}

pub(super) fn find(path: &str, accepts_gzip: bool) -> Option<Asset> {
    let at = PACKED.iter().position(|packed| packed.path == path)?;
    let Packed { path, etag, gzip } = PACKED.get(at)?;
    let body =
        if accepts_gzip { Bytes::from_static(gzip) } else { PLAIN.get(at)?.get_or_init(|| unpacked(gzip)).clone()? };
    Some(Asset {
        content_type: content_type(path).to_owned(),
        etag: Some((*etag).to_owned()),
        is_gzip: accepts_gzip,
        body: Body::Full(body),
    })
}

fn unpacked(gzip: &[u8]) -> Option<Bytes> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(gzip).read_to_end(&mut plain).ok()?;
    plain.shrink_to_fit();
    Some(plain.into())
}
