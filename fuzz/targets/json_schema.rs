//! A schema and a value, separated by a zero byte: neither panics, what is said about them is short, and what a schema
//! excludes is what its opposite allows.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qwen_edge::chat::fuzzing::check_schema;

fuzz_target!(|text: &str| {
    let (schema, value) = text.split_once('\0').unwrap_or((text, "{}"));
    match check_schema(schema, value) {
        Ok(Ok(())) => assert!(serde_json::from_str::<serde_json::Value>(value).is_ok()),
        Ok(Err(fault)) => assert!((1..=300).contains(&fault.chars().count()), "{fault}"),
        Err(problem) => assert!((1..=200).contains(&problem.chars().count()), "{problem}"),
    }
    // References are resolved against the root, which is another one in the opposite.
    let Ok(checked) = check_schema(schema, value) else { return };
    let is_unknown = |said: &Result<(), String>| {
        said.as_ref()
            .is_err_and(|fault| ["takes too long", "too deep", "not valid JSON"].iter().any(|why| fault.contains(why)))
    };
    if let Ok(opposite) = check_schema(&format!("{{\"not\":{schema}}}"), value)
        && !is_unknown(&checked)
        && !is_unknown(&opposite)
        && !schema.contains("$")
    {
        assert_ne!(checked.is_ok(), opposite.is_ok());
    }
});
