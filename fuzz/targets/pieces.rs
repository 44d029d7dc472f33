//! Splits a fuzz input: its first byte is the number of cut lengths that follow, the rest is the data.

/// Splits `data` into chunks whose lengths `cuts` repeats.
pub fn pieces<'a>(cuts: &[u8], mut data: &'a [u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for cut in cuts.iter().cycle().take(if cuts.is_empty() { 0 } else { 4096 }) {
        if data.is_empty() {
            break;
        }
        let (piece, rest) = data.split_at(usize::from(*cut).clamp(1, data.len()));
        pieces.push(piece);
        data = rest;
    }
    pieces.push(data);
    pieces
}

/// Splits an input into cut lengths and data.
pub fn parts(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (count, rest) = input.split_first()?;
    rest.split_at_checked(usize::from(count % 16))
}

/// Splits a text into pieces whose lengths `cuts` repeats, each at a character.
#[allow(dead_code, reason = "not of each target")]
pub fn text_pieces<'a>(cuts: &[u8], text: &'a str) -> Vec<&'a str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    for cut in cuts.iter().cycle().take(if cuts.is_empty() { 0 } else { 4096 }) {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at(rest.ceil_char_boundary(usize::from(*cut).max(1)));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}
