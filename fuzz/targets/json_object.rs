//! JSON as models write it: what is repaired is JSON, JSON stays what it is, and the object within an answer does not depend on
//! the pieces.
#![no_main]

mod pieces;

use libfuzzer_sys::fuzz_target;
use qwen_edge::chat::fuzzing::{object, outermost, repair};
use serde_json::Value;

/// Keys that may be longer than what is looked through for one, as escapes, are left aside.
const MAX_KEY: usize = 30;

fn has_long_key(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_long_key),
        Value::Object(members) => members.iter().any(|(key, value)| key.len() > MAX_KEY || has_long_key(value)),
        _ => false,
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok()
}

fuzz_target!(|input: &[u8]| {
    let Some((cuts, data)) = pieces::parts(input) else { return };
    let Ok(text) = str::from_utf8(data) else { return };
    let repaired = repair(text);
    if let Some((json, length, was_cut)) = &repaired {
        assert!(is_json(json), "{json}");
        assert!(text.is_char_boundary(*length) && (!was_cut || *length == text.len()), "{length} {was_cut}");
        let value: Value = serde_json::from_str(json).expect("JSON");
        if !has_long_key(&value) {
            let again = repair(json);
            assert_eq!(again.map(|(json, _, was_cut)| (json, was_cut)), Some((json.clone(), false)));
        }
    }
    if let (Ok(value @ (Value::Object(_) | Value::Array(_))), Some((json, _, was_cut))) =
        (serde_json::from_str(text), &repaired)
        && !has_long_key(&value)
    {
        assert_eq!((serde_json::from_str::<Value>(json).ok(), *was_cut), (Some(value), false));
    }
    let at_once = object([text]);
    assert_eq!(at_once, object(pieces::text_pieces(cuts, text)));
    assert_eq!(at_once, object(pieces::text_pieces(&[1], text)));
    // Halves of surrogate pairs and numbers out of range are JSON, whatever a reader makes of them.
    let is_json = |text: &str| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    for found in [at_once.1, outermost(text, is_json), outermost(text, |_| false)].into_iter().flatten() {
        assert!(found.starts_with('{') && is_json(&found), "{found}");
    }
});
