//! The one JSON object that an answer is to be, without the prose and the fences around it.

use super::{
    repair::{Repaired, repair},
    scanner::{JsonScanner, Scan, ScanState},
};

/// How many places are tried at which the object may begin.
const MAX_CANDIDATES: usize = 64;

/// Finds the object in a text that comes in pieces, and passes it on while it is strict JSON.
#[derive(Debug, Default)]
pub(in crate::chat) struct ObjectFilter {
    /// All of the text.
    text: String,
    beginning: Beginning,
    place: Place,
    scanner: JsonScanner,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before the object.
    #[default]
    Before,
    /// In it: it begins at `begin`, and is passed on up to `at`.
    Inside { begin: usize, at: usize },
    /// It stopped being JSON at `at`, up to where it was passed on.
    Damaged { begin: usize, at: usize },
    /// It is complete, and was passed on.
    Complete { begin: usize, end: usize },
}

/// What the end of a text shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::chat) struct Found {
    /// The object.
    pub(in crate::chat) json: String,
    /// How many bytes of it were passed on.
    pub(in crate::chat) sent: usize,
}

impl ObjectFilter {
    /// Takes a piece of the text, and hands out what is surely part of the object.
    pub(in crate::chat) fn push(&mut self, piece: &str, each: impl FnOnce(&str)) {
        self.text.push_str(piece);
        if self.place == Place::Before
            && let Some(begin) = self.beginning.find(&self.text)
        {
            self.place = Place::Inside { begin, at: begin };
        }
        let Place::Inside { begin, at } = self.place else { return };
        let fresh = self.text.get(at..).unwrap_or_default();
        let valid = match self.scanner.feed(fresh.as_bytes()) {
            Scan::More => fresh.len(),
            Scan::Complete(length) | Scan::Invalid(length) => length,
        };
        let end = at.saturating_add(valid);
        self.place = match self.scanner.state() {
            ScanState::Open => Place::Inside { begin, at: end },
            ScanState::Complete => Place::Complete { begin, end },
            ScanState::Invalid => Place::Damaged { begin, at: end },
        };
        if let Some(sure) = fresh.get(..valid).filter(|sure| !sure.is_empty()) {
            each(sure);
        }
    }

    /// The text so far.
    pub(in crate::chat) fn text(&self) -> &str {
        &self.text
    }

    /// How many bytes came behind the complete object.
    pub(in crate::chat) fn trailing(&self) -> usize {
        match self.place {
            Place::Complete { end, .. } => self.text.len().saturating_sub(end),
            Place::Before | Place::Inside { .. } | Place::Damaged { .. } => 0,
        }
    }

    /// The text has ended: the object in it, repaired where it is damaged. `None` = it has none.
    pub(in crate::chat) fn finish(&self) -> Option<Found> {
        match self.place {
            Place::Complete { begin, end } => {
                let json = self.text.get(begin..end)?.to_owned();
                let sent = json.len();
                Some(Found { json, sent })
            }
            Place::Inside { begin, at } | Place::Damaged { begin, at } => {
                let sent = self.text.get(begin..at)?;
                let Repaired { json, was_cut, .. } = repair(self.text.get(begin..)?)?;
                (!was_cut && json.starts_with(sent)).then_some(Found { json, sent: sent.len() })
            }
            Place::Before => None,
        }
    }
}

/// Looks for where an object begins: at a brace with a key or its end behind it.
#[derive(Debug, Default)]
struct Beginning {
    /// How far the text is looked through.
    at: usize,
    /// A brace with nothing but white space behind it so far.
    brace: Option<usize>,
}

impl Beginning {
    /// Looks on in a text that has become longer.
    fn find(&mut self, text: &str) -> Option<usize> {
        loop {
            let rest = text.get(self.at..).unwrap_or_default();
            let Some(brace) = self.brace else {
                let found = rest.find('{').map(|found| self.at.saturating_add(found));
                self.at = found.map_or(text.len(), |found| found.saturating_add(1));
                self.brace = Some(found?);
                continue;
            };
            let inside = rest.trim_start();
            self.at = text.len().saturating_sub(inside.len());
            if inside.is_empty() {
                return None;
            }
            if inside.starts_with(['"', '}']) {
                return Some(brace);
            }
            self.brace = None;
        }
    }
}

/// The outermost object of a whole text that `is_good`, else the first one, repaired where no strict one is in it.
pub(in crate::chat) fn outermost(text: &str, is_good: impl Fn(&str) -> bool) -> Option<String> {
    let mut first = None;
    let mut from = 0_usize;
    for _ in 0..MAX_CANDIDATES {
        let Some(found) = text.get(from..).and_then(|rest| rest.find('{')) else { break };
        let begin = from.saturating_add(found);
        let rest = text.get(begin..).unwrap_or_default();
        match JsonScanner::default().feed(rest.as_bytes()) {
            Scan::Complete(length) => {
                let json = rest.get(..length).unwrap_or_default();
                if is_good(json) {
                    return Some(json.to_owned());
                }
                first.get_or_insert_with(|| json.to_owned());
                from = begin.saturating_add(length);
            }
            Scan::More | Scan::Invalid(_) => from = begin.saturating_add(1),
        }
    }
    let repaired = || {
        let begin = Beginning::default().find(text).or_else(|| text.find('{'))?;
        let Repaired { json, was_cut, .. } = repair(text.get(begin..)?)?;
        (!was_cut).then_some(json)
    };
    match (first, repaired()) {
        (_, Some(repaired)) if is_good(&repaired) => Some(repaired),
        (Some(first), _) => Some(first),
        (None, repaired) => repaired,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(pieces: &[&str]) -> (String, Option<String>) {
        let mut filter = ObjectFilter::default();
        let mut out = String::new();
        for piece in pieces {
            filter.push(piece, |sure| out.push_str(sure));
        }
        let found = filter.finish();
        if let Some(Found { json, sent }) = &found {
            assert_eq!(&json[..*sent], out);
        }
        (out, found.map(|found| found.json))
    }

    #[test]
    fn the_object_is_passed_on_while_it_is_valid() {
        for (text, sent, json) in [
            (r#"{"a":1}"#, r#"{"a":1}"#, Some(r#"{"a":1}"#)),
            ("Here:\n```json\n{\n \"a\": {}\n}\n```\nDone {\"b\":2}.", "{\n \"a\": {}\n}", Some("{\n \"a\": {}\n}")),
            ("{x} then {}", "{}", Some("{}")),
            (r#"{"a":1,}"#, r#"{"a":1,"#, None),
            (r#"{"a":"x" y", "b":1}"#, r#"{"a":"x" "#, None),
            (r#"{"a":1"#, r#"{"a":1"#, None),
            ("none", "", None),
        ] {
            assert_eq!(run(&[text]), (sent.to_owned(), json.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn a_whole_text_has_its_object_found_and_repaired() {
        let find = |text| outermost(text, |json| json.contains("ok"));
        for (text, json) in [
            (r#"{"a":1} and {"ok":1}"#, Some(r#"{"ok":1}"#)),
            (r#"{"a":1} and {"b":1}"#, Some(r#"{"a":1}"#)),
            ("```json\n{'ok': True,}\n```", Some(r#"{"ok":true}"#)),
            (r#"{"a": {"ok": "say "hi"", }, }"#, Some(r#"{"a":{"ok":"say \"hi\""}}"#)),
            ("[1]", None),
            (r#"{"ok": 1"#, None),
        ] {
            assert_eq!(find(text).as_deref(), json, "{text}");
        }
        assert_eq!(find(&"{".repeat(100_000)), None);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(parts in proptest::collection::vec(proptest::sample::select(vec!["{", "}", "\"a\"", ":", "1", ",", "[", "]", "x", " ", "```", "\n"]), 0..16), size in 1_usize..4) {
            let text = parts.concat();
            let pieces: Vec<&str> = text.as_bytes().chunks(size).map(|piece| str::from_utf8(piece).unwrap()).collect();
            prop_assert_eq!(run(&pieces), run(&[&text]));
        }
    }
}
