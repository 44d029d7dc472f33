//! `data:` URLs (RFC 2397) and base64, as leniently as clients write them.

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use percent_encoding::percent_decode;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) fn strip_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    text.get(..scheme.len()).filter(|start| start.eq_ignore_ascii_case(scheme))?;
    text.get(scheme.len()..)
}

/// Returns type and content of a `data:` URL (RFC 2397) whose scheme is removed.
pub(super) fn data_link(link: &str) -> Option<(Option<String>, Bytes)> {
    let (head, body) = link.split_once(',')?;
    let declared = head.split(';').next().map(str::trim).filter(|declared| declared.contains('/')).map(str::to_owned);
    let is_base64 = head.split(';').skip(1).any(|parameter| parameter.trim().eq_ignore_ascii_case("base64"));
    let content = if is_base64 && body.contains('%') {
        base64(&percent_decode(body.as_bytes()).decode_utf8().ok()?)?
    } else if is_base64 {
        base64(body)?
    } else {
        Bytes::from(percent_decode(body.as_bytes()).collect::<Vec<u8>>())
    };
    Some((declared, content))
}

/// Decodes base64 as clients write it: either alphabet, with or without line breaks and padding.
pub(super) fn base64(text: &str) -> Option<Bytes> {
    let is_unusual = |byte: u8| matches!(byte, b'-' | b'_') || byte.is_ascii_whitespace();
    let decoded = if text.bytes().any(is_unusual) {
        let plain: Vec<u8> = text
            .bytes()
            .filter(|byte| !byte.is_ascii_whitespace())
            .map(|byte| match byte {
                b'-' => b'+',
                b'_' => b'/',
                byte => byte,
            })
            .collect();
        BASE64.decode(plain)
    } else {
        BASE64.decode(text)
    };
    decoded.ok().map(Bytes::from)
}
