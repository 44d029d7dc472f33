//! The pages in `web/`, which `build.rs` compresses into the binary. The first client without gzip makes this module
//! decompress a page; later answers share that memory.

use std::{io::Read as _, sync::OnceLock};

use bytes::Bytes;

use crate::platform::{Asset, Body};

struct Page {
    path: &'static str,
    etag: &'static str,
    gzip: &'static [u8],
}

const PAGES: &[Page] = include!(concat!(env!("OUT_DIR"), "/web.rs"));

/// The decompressed pages, by their index in [`PAGES`].
static DECOMPRESSED: [OnceLock<Option<Bytes>>; PAGES.len()] = [const { OnceLock::new() }; PAGES.len()];

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
    let index = PAGES.iter().position(|page| page.path == path)?;
    let Page { path, etag, gzip } = PAGES.get(index)?;
    let body = if accepts_gzip {
        Bytes::from_static(gzip)
    } else {
        DECOMPRESSED.get(index)?.get_or_init(|| decompress(gzip)).clone()?
    };
    Some(Asset {
        content_type: content_type(path).to_owned(),
        etag: Some((*etag).to_owned()),
        is_gzip: accepts_gzip,
        body: Body::Full(body),
    })
}

fn decompress(gzip: &[u8]) -> Option<Bytes> {
    let mut content = Vec::new();
    flate2::read::GzDecoder::new(gzip).read_to_end(&mut content).ok()?;
    content.shrink_to_fit();
    Some(content.into())
}
