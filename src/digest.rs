//! Chained digests: what keys of scopes and conversations are made of.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

/// SHA-256 over what came before, a byte that says what the text is, and the text with its length.
pub(crate) fn link(before: [u8; 32], role: u8, text: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(before);
    hash.update([role]);
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text);
    hash.finalize().into()
}

/// The first half of a digest as text: 128 bits are plenty, and a third of the text that all would be.
pub(crate) fn key(digest: [u8; 32]) -> String {
    let (half, _) = digest.split_at(16);
    URL_SAFE_NO_PAD.encode(half)
}
