//! The pages of `web/`, in the binary: `build.rs` packs them.

use std::io::Read as _;

use bytes::Bytes;

use crate::platform::{Asset, Body};

struct Packed {
    path: &'static str,
    etag: &'static str,
    gzip: &'static [u8],
}

const PACKED: &[Packed] = include!(concat!(env!("OUT_DIR"), "/web.rs"));

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
    let Packed { path, etag, gzip } = PACKED.iter().find(|packed| packed.path == path)?;
    let body = if accepts_gzip {
        Bytes::from_static(gzip)
    } else {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(*gzip).read_to_end(&mut plain).ok()?;
        plain.into()
    };
    Some(Asset {
        content_type: content_type(path).to_owned(),
        etag: Some((*etag).to_owned()),
        is_gzip: accepts_gzip,
        body: Body::Full(body),
    })
}
