//! Leaves out the sentence with which the site refuses a tool that it does not know: `Tool NAME does not exist(s).`
//!
//! The site writes it into the chat, and the model repeats it later as its own text.

use std::borrow::Cow;

/// How the sentence begins.
const BEGIN: &str = "Tool ";
/// How it ends, in both spellings.
const ENDS: [&str; 2] = [" does not exists.", " does not exist."];
/// The longest sentence with a name that no tool of the request has, in bytes.
const MAX_SENTENCE: usize = 64;

/// Removes refusals from a text that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct RefusalFilter {
    /// What may be the beginning of a refusal.
    held: String,
    /// The character before it.
    before: Option<char>,
    /// How many were left out.
    removed: u32,
}

/// What a text begins with.
enum Begins {
    /// A refusal of so many bytes.
    Refusal(usize),
    /// It ends too early to say.
    Maybe,
    Other,
}

impl RefusalFilter {
    /// Whether a piece surely holds no part of a refusal: it may then go on as it is.
    pub(super) fn is_plain(&mut self, piece: &str) -> bool {
        let may_begin = |(at, _): (usize, &str)| {
            let rest = piece.get(at..).unwrap_or_default();
            rest.starts_with(BEGIN) || BEGIN.starts_with(rest)
        };
        let is_plain = self.held.is_empty() && !piece.match_indices('T').any(may_begin);
        if is_plain {
            self.before = piece.chars().next_back().or(self.before);
        }
        is_plain
    }

    /// Takes a piece and hands out what is surely no refusal. `is_name`: whether a tool's name begins so; such a sentence may
    /// be longer.
    pub(super) fn push(&mut self, piece: &str, is_name: impl Fn(&str) -> bool, mut each: impl FnMut(&str)) {
        if self.is_plain(piece) {
            return each(piece);
        }
        self.held.push_str(piece);
        let held = std::mem::take(&mut self.held);
        let mut rest = held.as_str();
        let mut sure = String::new();
        while let Some(at) = rest.find('T') {
            let (plain, candidate) = rest.split_at(at);
            sure.push_str(plain);
            self.before = plain.chars().next_back().or(self.before);
            match begins(candidate, self.before, &is_name) {
                Begins::Refusal(length) => {
                    self.removed = self.removed.saturating_add(1);
                    // What follows is glued to it.
                    self.before = Some('.');
                    rest = candidate.get(length..).unwrap_or_default();
                }
                Begins::Maybe => {
                    rest = candidate;
                    break;
                }
                Begins::Other => {
                    sure.push('T');
                    self.before = Some('T');
                    rest = candidate.get(1..).unwrap_or_default();
                }
            }
        }
        if !rest.starts_with('T') {
            sure.push_str(rest);
            self.before = rest.chars().next_back().or(self.before);
            rest = "";
        }
        self.held = rest.to_owned();
        if !sure.is_empty() {
            each(&sure);
        }
    }

    /// The text has ended: what was held back belongs to it.
    pub(super) fn flush(&mut self, each: impl FnOnce(&str)) {
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            self.before = held.chars().next_back();
            each(&held);
        }
    }

    /// How many refusals were left out.
    pub(super) fn removed(&self) -> u32 {
        self.removed
    }
}

fn begins(text: &str, before: Option<char>, is_name: impl Fn(&str) -> bool) -> Begins {
    let Some(rest) = text.strip_prefix(BEGIN) else {
        return if BEGIN.starts_with(text) { Begins::Maybe } else { Begins::Other };
    };
    let is_part = |character: char| !character.is_whitespace();
    let name_length = rest.find(|character| !is_part(character)).unwrap_or(rest.len());
    let (name, after) = rest.split_at(name_length);
    let is_long = |length: usize| length > MAX_SENTENCE && !is_name(name.trim_matches(['"', '\'', '`']));
    if after.is_empty() {
        return if is_long(text.len().saturating_add(1)) { Begins::Other } else { Begins::Maybe };
    }
    if name.is_empty() {
        return Begins::Other;
    }
    for end in ENDS {
        if after.starts_with(end) {
            // The misspelt one is never anything else.
            let is_word = before.is_some_and(|before| before.is_alphanumeric());
            let length = text.len().saturating_sub(after.len()).saturating_add(end.len());
            let is_refusal = (!is_word || end == " does not exists.") && !is_long(length);
            return if is_refusal { Begins::Refusal(length) } else { Begins::Other };
        }
    }
    let may_end = ENDS.iter().any(|end| end.starts_with(after));
    if may_end && !is_long(text.len().saturating_add(1)) { Begins::Maybe } else { Begins::Other }
}

/// Whether a text is the site's refusal of a tool: `Tool NAME does not exist(s).`, perhaps several.
pub(super) fn is_refusal(text: &str) -> bool {
    let mut rest = text.trim();
    if rest.is_empty() {
        return false;
    }
    while let Some(after) = rest.strip_prefix("Tool ") {
        let Some((_, after)) = after.split_once(" does not exist") else { return false };
        let after = after.strip_prefix('s').unwrap_or(after);
        rest = after.strip_prefix('.').unwrap_or(after).trim_start();
    }
    rest.is_empty()
}

/// The text without refusals, for what is sent to the site again.
pub(super) fn without_refusals(text: &str) -> Cow<'_, str> {
    if !text.contains(BEGIN) {
        return Cow::Borrowed(text);
    }
    let mut filter = RefusalFilter::default();
    let mut out = String::new();
    filter.push(text, |_| true, |piece| out.push_str(piece));
    filter.flush(|piece| out.push_str(piece));
    if filter.removed() == 0 { Cow::Borrowed(text) } else { Cow::Owned(out.trim().to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(pieces: &[&str]) -> String {
        let mut filter = RefusalFilter::default();
        let mut out = String::new();
        for piece in pieces {
            filter.push(piece, |_| false, |text| out.push_str(text));
        }
        filter.flush(|text| out.push_str(text));
        out
    }

    #[test]
    fn refusals_are_left_out() {
        for (text, expected) in [
            ("Tool Bash does not exists.", ""),
            ("Tool read_file does not exist.", ""),
            ("Tool a does not exists.Tool b does not exists.Sorry.", "Sorry."),
            ("I look. Tool a.b-c does not exists. Hm.", "I look.  Hm."),
            ("meTool a does not exists.", "me"),
            ("The requested tool does not exist.", "The requested tool does not exist."),
            ("Tool use does not exist in it.", "Tool use does not exist in it."),
            ("A Tool box does not exists", "A Tool box does not exists"),
            ("MyTool a does not exist.", "MyTool a does not exist."),
            ("Tool", "Tool"),
            ("The Tool TTool a does not exists.", "The Tool T"),
        ] {
            assert_eq!(run(&[text]), expected, "{text}");
        }
        let long = format!("Tool {} does not exists.", "n".repeat(64));
        assert_eq!(run(&[&long]), long);
        assert_eq!(without_refusals(&long), "");
    }

    #[test]
    fn refusals_are_recognised() {
        for text in
            ["Tool a does not exists.", "Tool a.b does not exist.", " Tool a does not exists.Tool b does not exist. "]
        {
            assert!(is_refusal(text), "{text}");
        }
        for text in ["", "Tool a", "The tool a does not exist.", "Tool a does not exists. Sorry"] {
            assert!(!is_refusal(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(parts in proptest::collection::vec(prop_oneof![Just("Tool "), Just("read"), Just(" does not exist"), Just("s."), Just("."), Just(" "), Just("T"), Just("\u{e9}")], 0..12), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..5)) {
            let text = parts.concat();
            let boundaries: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            let mut at: Vec<usize> = cuts.iter().map(|cut| boundaries[cut.index(boundaries.len())]).chain([0, text.len()]).collect();
            at.sort_unstable();
            let pieces: Vec<&str> = at.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            prop_assert_eq!(run(&pieces), run(&[&text]));
        }
    }
}
