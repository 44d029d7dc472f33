//! Names of tools, as the server takes them.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

/// The longest name that OpenAI takes, in bytes.
const MAX_TOOL_NAME: usize = 64;
/// How many hexadecimal digits of a digest tell names apart that were changed.
const MARK: usize = 6;

/// The name under which the model sees a tool: OpenAI takes letters, digits, `_` and `-`, and at most 64 of them.
#[must_use]
pub fn shown_tool_name(name: &str) -> Cow<'_, str> {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    if !name.is_empty() && name.len() <= MAX_TOOL_NAME && name.chars().all(is_plain) {
        return Cow::Borrowed(name);
    }
    let plain = |character| if is_plain(character) { character } else { '_' };
    let head: String = name.chars().map(plain).take(MAX_TOOL_NAME.saturating_sub(MARK + 1)).collect();
    // Two names may become the same.
    let digest = Sha256::digest(name.as_bytes());
    let mark: String = digest.iter().take(MARK / 2).map(|byte| format!("{byte:02x}")).collect();
    Cow::Owned(format!("{head}_{mark}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tools_become_plain() {
        for name in ["run", "mcp__a-b", &"x".repeat(64)] {
            assert_eq!(shown_tool_name(name), name);
        }
        let (long, longer) = ("x".repeat(70), "x".repeat(71));
        let changed = ["a.b", "a b", "搜索", "查询", "", &long, &longer].map(shown_tool_name);
        for (index, name) in changed.iter().enumerate() {
            assert!(
                name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
                "{name}"
            );
            assert!(!changed[..index].contains(name), "{name}");
        }
        assert!(changed[0].starts_with("a_b_"), "{}", changed[0]);
    }
}
