//! The names of accounts.

use std::{fmt, sync::Arc};

/// The longest name, in characters.
const MAX_LENGTH: usize = 40;
/// The name of the account that `QWEN_COOKIES` and `QWEN_AUTH_TOKEN` configure.
const DEFAULT: &str = "default";

/// The name of an account of this server: 1 to 40 of `a-z`, `0-9`, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountName(Arc<str>);

impl AccountName {
    /// What a name may look like, for error messages.
    pub const RULE: &'static str = "1 to 40 of the characters a-z, 0-9, '-' and '_'";

    /// Reads a name; `None` if it may not be one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
        let is_name = (1..=MAX_LENGTH).contains(&text.len()) && text.bytes().all(is_allowed);
        is_name.then(|| Self(text.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, for whoever keeps it.
    #[must_use]
    pub fn to_shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// Whether it is the account of `QWEN_COOKIES` and `QWEN_AUTH_TOKEN`.
    #[must_use]
    pub fn is_default(&self) -> bool {
        &*self.0 == DEFAULT
    }
}

/// The account of keys that name none.
impl Default for AccountName {
    fn default() -> Self {
        Self(DEFAULT.into())
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_lower_case() {
        let longest = "a".repeat(MAX_LENGTH);
        for name in ["a", "anna", "0", "-", "_", "anna-2_b", "default", &longest] {
            assert_eq!(AccountName::parse(name).unwrap().as_str(), name);
        }
        for name in ["", "Anna", "an na", "anna/", "ännä", "a.b", "a:b", "a%2e", "a\0", " a", &format!("{longest}a")]
        {
            assert_eq!(AccountName::parse(name), None, "{name}");
        }
        assert!(AccountName::default().is_default() && AccountName::parse("default").unwrap().is_default());
        assert!(!AccountName::parse("defaults").unwrap().is_default());
    }
}
