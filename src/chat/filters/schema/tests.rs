//! What is said about schemas and values, and that hostile ones do no harm.

use std::time::Duration;

use cpu_time::ThreadTime;
use proptest::prelude::*;

use super::{MAX_FAULT, MAX_SCHEMA, MAX_SCHEMA_ERROR, Schema};

/// What is said about a value, or an empty text if it is right.
fn fault(schema: &str, value: &str) -> String {
    Schema::new(schema).unwrap().check(value).err().unwrap_or_default()
}

#[test]
fn faults_are_told_in_plain_words() {
    let person = r##"{"type":"object","properties":{"name":{"type":"string","maxLength":5},"age":{"type":["integer","null"],"minimum":0},
        "tags":{"type":"array","items":{"enum":["a","b",1]},"maxItems":3,"uniqueItems":true},"next":{"anyOf":[{"$ref":"#"},{"type":"null"}]}},
        "required":["name","age"],"additionalProperties":false}"##;
    for (schema, value, expected) in [
        (person, r#"{"name":"Ada","age":36,"tags":["a",1.0],"next":{"name":"Bo","age":null,"next":null}}"#, ""),
        (person, "[]", "the whole value must be of type object, and is an array"),
        (person, r#"{"name":"Ada"}"#, r#"the whole value must have the property "age""#),
        (person, r#"{"name":"Ada","age":"x"}"#, "/age must be of type integer or null, and is a string"),
        (person, r#"{"name":"Ada","age":1.5}"#, "/age must be of type integer or null, and is a number"),
        (person, r#"{"name":"Ada","age":-1}"#, "/age must be at least 0, and is -1"),
        (person, r#"{"name":"Ada Lovelace","age":1}"#, "/name must have at most 5 characters, and has 12"),
        (person, r#"{"name":"Ada","age":1,"x~/\n":1}"#, "/x~0~1  is not allowed here"),
        (person, r#"{"name":"Ada","age":1,"tags":["a","c"]}"#, r#"/tags/1 must be one of "a", "b", 1, and is "c""#),
        (person, r#"{"name":"Ada","age":1,"tags":["a","b",1,1]}"#, "/tags must have at most 3 items, and has 4"),
        (
            person,
            r#"{"name":"Ada","age":1,"tags":["a","a"]}"#,
            "/tags must not have equal items, and item 1 repeats an earlier one",
        ),
        (
            person,
            r#"{"name":"Ada","age":1,"next":{"name":7,"age":1}}"#,
            "/next/name must be of type string, and is an integer",
        ),
        (person, r#"{"name":"Ada","age":1,"next":7}"#, "/next is an integer and matches none of the 2 forms of anyOf"),
        (person, "{", "the text is not valid JSON: EOF while parsing an object at line 1 column 1"),
        (r#"{"const":{"a":[1,{}]}}"#, r#"{"a":[1.0,{}]}"#, ""),
        (
            r#"{"const":{"a":[1,{}]}}"#,
            r#"{"a":[1]}"#,
            r#"the whole value must be one of {"a":[1,{}]}, and is an object"#,
        ),
        (
            r#"{"oneOf":[{"type":"integer"},{"minimum":2}]}"#,
            "3",
            "the whole value matches 2 forms of oneOf, and must match one only",
        ),
        (r#"{"not":{"type":"null"}}"#, "null", "the whole value matches a form that the schema excludes"),
        (r#"{"items":{"multipleOf":0.01}}"#, "[0.07,0.075]", "/1 must be a multiple of 0.01, and is 0.075"),
        (r#"{"pattern":"^[a-z]+$"}"#, r#""Ada""#, r#"the whole value must match the pattern "^[a-z]+$", and is "Ada""#),
        (
            r#"{"maximum":9007199254740992}"#,
            "9007199254740993",
            "the whole value must be at most 9007199254740992, and is 9007199254740993",
        ),
        // Not asserted.
        (r#"{"format":"email","x-unknown":{"type":"null"}}"#, r#""no address""#, ""),
        (r#"{"pattern":"^(?!x)\\p{L}"}"#, r#""x""#, ""),
        // As older drafts have it.
        (
            r##"{"definitions":{"a":{"type":"null"}},"items":[{"$ref":"#/definitions/a"}],"additionalItems":false}"##,
            "[null,1]",
            "/1 is not allowed here",
        ),
    ] {
        assert_eq!(fault(schema, value), expected, "{schema} {value}");
    }
}

#[test]
fn wrong_schemas_are_told_in_plain_words() {
    for (schema, expected) in [
        ("{", "the schema is not valid JSON: EOF while parsing an object at line 1 column 1"),
        ("1", "the schema is wrong at its root: a schema must be an object or a boolean"),
        (
            r#"{"type":"text"}"#,
            "the schema is wrong at /type: must be the name of a JSON type, or an array of such names",
        ),
        (
            r#"{"properties":{"a":{"items":{"minLength":-1}}}}"#,
            "the schema is wrong at /properties/a/items/minLength: must be an integer of at least 0",
        ),
        (r#"{"properties":[]}"#, "the schema is wrong at /properties: must be an object"),
        (
            r#"{"properties":{"a":null}}"#,
            "the schema is wrong at /properties/a: a schema must be an object or a boolean",
        ),
        (r#"{"required":true}"#, "the schema is wrong at /required: must be an array of strings"),
        (r#"{"anyOf":[]}"#, "the schema is wrong at /anyOf: must not be empty"),
        (r#"{"enum":"a"}"#, "the schema is wrong at /enum: must be an array"),
        (r#"{"multipleOf":0}"#, "the schema is wrong at /multipleOf: must be greater than 0"),
        (
            r#"{"patternProperties":{"(":{}}}"#,
            "the schema is wrong at /patternProperties: the expression \"(\" cannot be used",
        ),
        (r##"{"$ref":"#/$defs/a"}"##, "the schema is wrong at /$ref: \"#/$defs/a\" refers to nothing in the schema"),
        (
            r#"{"items":{"$ref":"https://example.com/a.json"}}"#,
            "the schema is wrong at /items/$ref: \"https://example.com/a.json\" refers to a document outside of the schema, and none is fetched",
        ),
        (r#"{"$id":"http://["}"#, "the schema is wrong: the $id \"http://[\" is not a URI"),
        (r##"{"$ref":"#"}"##, CYCLE),
        (r##"{"allOf":[{"$ref":"#/$defs/a"}],"$defs":{"a":{"anyOf":[{},{"$ref":"#"}]}}}"##, CYCLE),
        (r##"{"items":{"if":{"not":{"$ref":"#/items"}}}}"##, CYCLE),
        (
            r##"{"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}},"properties":{"x":{"$ref":"#/$defs/a"}}}"##,
            CYCLE,
        ),
    ] {
        assert_eq!(Schema::new(schema).unwrap_err(), expected, "{schema}");
    }
}

const CYCLE: &str = "the schema is wrong: one of its parts refers to itself without an end";

/// Runs with the stack that the Worker has. What it checks takes some seconds of the processor, or would never end.
fn on_a_small_stack(run: impl FnOnce() + Send + 'static) {
    let measured = move || {
        let begun = ThreadTime::now();
        run();
        begun.elapsed()
    };
    let took = std::thread::Builder::new().stack_size(1024 * 1024).spawn(measured).unwrap().join().unwrap();
    assert!(took < Duration::from_secs(60), "{took:?}");
}

/// What is said about a schema, or else about a value.
fn said(schema: &str, value: &str) -> String {
    Schema::new(schema).and_then(|schema| schema.check(value)).err().unwrap_or_default()
}

#[test]
fn deep_and_large_schemas_are_refused() {
    on_a_small_stack(|| {
        for depth in [65, 127, 5000] {
            let deep = format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
            let error = Schema::new(&deep).unwrap_err();
            assert!(error.contains("nested deeper") || error.contains("recursion limit"), "{error}");
        }
        let nested = format!("{}{{}}{}", r#"{"items":"#.repeat(63), "}".repeat(63));
        assert_eq!(said(&nested, &format!("{}{}", "[".repeat(63), "]".repeat(63))), "");
        assert_eq!(said(&" ".repeat(MAX_SCHEMA + 1), ""), "the schema is larger than 256 KiB");
        let many = (0..101).map(|_| r#"{"pattern":"a"}"#).collect::<Vec<_>>().join(",");
        assert_eq!(said(&format!(r#"{{"allOf":[{many}]}}"#), "1"), "the schema has more than 100 regular expressions");
    });
}

#[test]
fn deep_values_do_not_overflow_the_stack() {
    on_a_small_stack(|| {
        let tree = r##"{"$ref":"#/$defs/a","$defs":{"a":{"oneOf":[{"not":{"not":{"$ref":"#/$defs/b"}}},{"type":"null"}]},
            "b":{"if":true,"then":{"type":"array","contains":{"$ref":"#/$defs/a"},"items":{"$ref":"#/$defs/a"},"maxItems":1}}}}"##;
        for (depth, expected) in [(1, ""), (10, ""), (120, "too deep"), (127, "too deep"), (5000, "recursion limit")] {
            let value = format!("{}null{}", "[".repeat(depth), "]".repeat(depth));
            let said = said(tree, &value);
            assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{depth}: {said}");
        }
        // A list in the usual form may be as deep as JSON may be here.
        let list = r##"{"type":"object","properties":{"next":{"anyOf":[{"$ref":"#"},{"type":"null"}]}}}"##;
        assert_eq!(said(list, &format!("{}null{}", r#"{"next":"#.repeat(80), "}".repeat(80))), "");
        // References in a long row.
        let rows: Vec<String> = (0..5000).map(|at| format!(r##""{at}":{{"$ref":"#/$defs/{}"}}"##, at + 1)).collect();
        let row = format!(r##"{{"$ref":"#/$defs/0","$defs":{{{},"5000":{{}}}}}}"##, rows.join(","));
        assert!(said(&row, "1").contains("too deep"), "{}", said(&row, "1"));
    });
}

#[test]
fn checks_that_would_not_end_are_given_up() {
    on_a_small_stack(|| {
        let forms = |keyword: &str| {
            let all: Vec<String> = (0..60)
                .map(|at| {
                    format!(r##""{at}":{{"{keyword}":[{{"$ref":"#/$defs/{0}"}},{{"$ref":"#/$defs/{0}"}}]}}"##, at + 1)
                })
                .collect();
            format!(r##"{{"$ref":"#/$defs/0","$defs":{{{},"60":{{"type":"null"}}}}}}"##, all.join(","))
        };
        for keyword in ["anyOf", "oneOf", "allOf"] {
            let value = if keyword == "allOf" { "null" } else { "1" };
            assert!(said(&forms(keyword), value).contains("takes too long"), "{keyword}");
        }
        // Against each of many items.
        let ones = format!("[{}]", vec!["1"; 300_000].join(","));
        let texts = format!("[{}]", vec![r#""aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa""#; 20_000].join(","));
        let names: Vec<String> = (0..20_000).map(|at| format!(r#""{at}""#)).collect();
        let list = names.join(",");
        let _ = said(&format!(r#"{{"items":{{"enum":[{list}]}}}}"#), &ones);
        let _ = said(&format!(r#"{{"items":{{"required":[{list}]}}}}"#), &ones);
        assert!(
            said(&format!(r#"{{"allOf":[{}]}}"#, vec!["{\"uniqueItems\":true}"; 9000].join(",")), "[1,2,3]").is_empty()
        );
        for pattern in [
            "(a*)*b",
            "(a|a)*b",
            "(a{1,50}){1,50}b",
            "(?:(?:){1000}){1000}b",
            "(?:){4294967295}",
            "a{99999}",
            "((((a+)+)+)+)+$b",
        ] {
            let schema = format!(r#"{{"items":{{"pattern":"{pattern}"}}}}"#);
            let _ = said(&schema, &texts);
            let _ = said(&schema, &format!(r#"["{}"]"#, "a".repeat(1_000_000)));
        }
        let address = "a".repeat(900);
        let ids: Vec<String> = (0..5000).map(|at| format!(r#""{at}":{{"$id":"{at}"}}"#)).collect();
        assert_eq!(said(&format!(r#"{{"$id":"http://x/{address}/","$defs":{{{}}}}}"#, ids.join(",")), "1"), "");
        assert!(said(&format!(r#"{{"$id":"{}"}}"#, "a".repeat(200_000)), "1").contains("too long an address"));
        let key = "k".repeat(200_000);
        let parts = vec![r#"{"items":{"items":{}}}"#; 2000].join(",");
        assert_eq!(said(&format!(r#"{{"properties":{{"{key}":{{"allOf":[{parts}]}}}}}}"#), "1"), "");
    });
}

#[test]
fn faults_are_short_and_show_little_of_the_text() {
    let long = "\u{4e2d}".repeat(100_000);
    let schema = format!(
        r#"{{"items":{{"additionalProperties":{{"enum":["{0}","{0}"]}},"maxProperties":1,"required":["{0}"]}}}}"#,
        "s".repeat(9000)
    );
    for value in [format!(r#"[{{"{long}":"{long}"}}]"#), format!(r#"[{{"{long}":1,"b":2}}]"#), "[{}]".to_owned()] {
        let fault = fault(&schema, &value);
        assert!((1..=MAX_FAULT).contains(&fault.chars().count()), "{fault}");
        assert!(fault.matches('\u{4e2d}').count() <= 100, "{fault}");
    }
    for schema in [
        format!(r#"{{"properties":{{"{long}":{{"items":{{"type":1}}}}}}}}"#),
        format!(r##"{{"$ref":"#/{long}"}}"##),
        format!(r#"{{"$ref":"{long}"}}"#),
        format!(r#"{{"{long}""#),
    ] {
        let error = Schema::new(&schema[..]).unwrap_err();
        assert!((1..=MAX_SCHEMA_ERROR).contains(&error.chars().count()), "{error}");
    }
}

proptest! {
    #[test]
    fn no_schema_and_no_value_panics(
        schema in r##"(\{|\}|\[|\]|:|,|"(\$ref|#|#/items|items|anyOf|type|null|string|enum|const|properties|a|\$id|required|pattern|minItems)"|1|-0\.0|1e308|null|true){0,24}"##,
        keyword in "(type|enum|const|minimum|multipleOf|minLength|maxItems|pattern|items|prefixItems|contains|uniqueItems|required|properties|patternProperties|additionalProperties|propertyNames|dependentRequired|dependentSchemas|allOf|anyOf|oneOf|not|if|\\$id|\\$ref|\\$anchor)",
        held in r##"(1|-1|1e308|0\.1|true|false|null|"[a#/:(*]{0,4}"|\[\]|\{\}|\["a"\]|\[\{\}\]|\{"a":\{"type":"null"\}\}|\{"a":\["a"\]\})"##,
        value in r#"(1|-0\.0|1e308|18446744073709551615|true|null|"[a#/]{0,4}"|\[\]|\{\}|\["a","a"\]|\{"a":1\})"#,
    ) {
        let _ = said(&schema, &value);
        let _ = said(&format!("{{\"{keyword}\":{held}}}"), &value);
    }
}
