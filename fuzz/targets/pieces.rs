//! Bytes in arbitrary pieces: the first byte of an input tells how many of the next say where to cut the rest.

/// Cuts `data` at places that `cuts` tells.
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

/// Takes an input apart into cuts and data.
pub fn parts(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (count, rest) = input.split_first()?;
    rest.split_at_checked(usize::from(count % 16))
}
