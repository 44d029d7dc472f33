//! The site's ids are UUIDs.

use crate::{platform, upstream::Host};

/// A new id.
pub(super) fn uuid(platform: &impl Host) -> String {
    uuid::Builder::from_random_bytes(platform::unique(platform)).into_uuid().to_string()
}

/// Whether `text` looks like one of the site's ids (UUIDs): ids go into paths, so nothing else is passed on.
pub(super) fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_ids_go_into_paths() {
        assert!(is_id("11111111-1111-4111-8111-111111111111"));
        for id in ["", "a/b", "a?b", "..", "a b", "\u{e9}"] {
            assert!(!is_id(id), "{id}");
        }
    }
}
