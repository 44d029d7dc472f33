//! Names of tools, as the server takes them.

use std::borrow::Cow;

/// The longest name that OpenAI takes, in bytes.
const MAX_TOOL_NAME: usize = 64;

/// The name under which the model sees a tool: OpenAI takes letters, digits, `_` and `-`, and at most 64 of them.
#[must_use]
pub fn shown_tool_name(name: &str) -> Cow<'_, str> {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    if !name.is_empty() && name.len() <= MAX_TOOL_NAME && name.chars().all(is_plain) {
        return Cow::Borrowed(name);
    }
    let plain = |character| if is_plain(character) { character } else { '_' };
    let shown: String = name.chars().map(plain).take(MAX_TOOL_NAME).collect();
    Cow::Owned(if shown.is_empty() { "_".to_owned() } else { shown })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tools_become_plain() {
        let long = "x".repeat(70);
        for (name, expected) in [
            ("run", "run"),
            ("mcp__a-b", "mcp__a-b"),
            ("a.b c", "a_b_c"),
            ("搜索", "__"),
            ("", "_"),
            (&long, &long[..64]),
        ] {
            assert_eq!(shown_tool_name(name), expected);
        }
    }
}
