//! The text of an answer, and calls in the site's own form between: what is read does not depend on the pieces, each call is a
//! JSON object, and a call in the taught form is read whatever stands behind it.
#![no_main]

mod pieces;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use qwen_edge::{
    api::openai,
    chat::fuzzing::{Part, Read, read_tools},
    llm::Request,
};

/// Separates texts and native calls; the name of a native call ends with the second.
const NATIVE: char = '\u{1}';
const ARGUMENTS: char = '\u{2}';
/// The most calls of an answer.
const MAX_CALLS: usize = 24;
/// How much of plain text may be kept back: markers within each other, or the head of an object.
const MAX_KEPT: usize = 1024;
const CALL: &str = "[TOOL CALL]\n{\"name\": \"run\", \"arguments\": {\"command\": \"x\"}}\n[END TOOL CALL]";

static REQUEST: LazyLock<Request> = LazyLock::new(|| {
    let body = r#"{"messages":[],"tools":[
        {"type":"function","function":{"name":"run","parameters":{"type":"object","properties":{"command":{"type":"string"},"timeout":{"type":"number"},"all":{"type":"boolean"}},"required":["command"]}}},
        {"type":"function","function":{"name":"edit","parameters":{"type":"object","properties":{"lines":{"type":"array"},"options":{"type":["object","null"]}}}}},
        {"type":"function","function":{"name":"one","parameters":{"type":"object","properties":{"n":{"enum":[1,2]}}}}},
        {"type":"function","function":{"name":"web_search"}}]}"#;
    openai::parse(body.as_bytes()).expect("a request").request
});

fn read(data: &str, split: impl Fn(&str) -> Vec<&str>) -> Read {
    let mut parts = Vec::new();
    for (at, section) in data.split(NATIVE).enumerate() {
        let text = match section.split_once(ARGUMENTS) {
            Some((name, rest)) if at > 0 => {
                let (arguments, text) = rest.split_once(ARGUMENTS).unwrap_or((rest, ""));
                parts.push(Part::Native(name, arguments));
                text
            }
            _ => section,
        };
        parts.extend(split(text).into_iter().map(Part::Text));
    }
    let (read, _) = read_tools(&REQUEST, parts);
    read
}

fuzz_target!(|input: &[u8]| {
    let Some((cuts, data)) = pieces::parts(input) else { return };
    let Ok(data) = str::from_utf8(data) else { return };
    let at_once = read(data, |text| vec![text]);
    assert_eq!(at_once, read(data, |text| pieces::text_pieces(cuts, text)));
    assert_eq!(at_once, read(data, |text| pieces::text_pieces(&[1], text)));
    assert!(at_once.calls.len() <= MAX_CALLS);
    for (name, arguments) in &at_once.calls {
        assert!(!name.is_empty());
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(arguments).is_ok();
        assert!(is_json && arguments.starts_with('{'), "{arguments}");
    }
    // No text comes out that did not go in.
    assert!(at_once.text.len() + at_once.reasoning.len() <= data.len());
    let one_by_one = data.char_indices().map(|(at, one)| Part::Text(&data[at..at + one.len_utf8()]));
    let (_, kept) = read_tools(&REQUEST, one_by_one);
    assert!(kept <= MAX_KEPT, "{kept} bytes");
    // Of a call behind plain text nothing is shown.
    let before: String = data.chars().take_while(|one| !"[]<>{}`".contains(*one) && one.is_ascii()).collect();
    let text = format!("{before}\n{CALL}{}", &data[before.len()..]);
    let (called, _) = read_tools(&REQUEST, [Part::Text(&text)]);
    assert_eq!((called.text.trim_end(), called.calls[0].0.as_str()), (before.trim_end(), "run"), "{text}");
});
