//! Request bodies that are the most expensive to read.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

/// Repeats `item` to about `bytes` bytes, in lists of `max_items`, each between `open` and `close`.
fn lists(item: &str, max_items: usize, open: &str, close: &str, bytes: usize) -> String {
    let list = format!("{open}{}{close}", vec![item; max_items].join(","));
    let count = bytes / (list.len() + 1);
    vec![list; count.max(1)].join(",")
}

const LAST: &str = r#"{"role":"user","content":"x"}"#;

fn messages(messages: String) -> String {
    format!(r#"{{"model":"qwen3-max","messages":[{messages},{LAST}]}}"#)
}

fn user(content: String) -> String {
    messages(format!(r#"{{"role":"user","content":"{content}"}}"#))
}

fn fill(bytes: usize, text: &str) -> String {
    text.repeat(bytes / text.len())
}

fn image(bytes: usize) -> Vec<u8> {
    [include_bytes!("../files/jfif.jpg").to_vec(), vec![0; (bytes / 4 * 3).saturating_sub(64 * 1024)]].concat()
}

/// Builds a request body of about that many bytes.
pub type Form = fn(usize) -> String;

/// Body builders by name.
pub const FORMS: &[(&str, Form)] = &[
    ("one text", |bytes| user(fill(bytes, "a"))),
    ("line ends", |bytes| user(fill(bytes, "\\n"))),
    ("escapes", |bytes| user(fill(bytes, "\\u0001"))),
    ("quotes", |bytes| user(fill(bytes, "\\\""))),
    ("lone surrogates", |bytes| user(fill(bytes, "\\ud83d"))),
    ("letters with combining marks", |bytes| user(fill(bytes, "e\u{301}"))),
    ("combining marks", |bytes| user(fill(bytes, "\u{301}"))),
    ("words", |bytes| user(fill(bytes, "a "))),
    ("entities", |bytes| user(fill(bytes, "&amp;"))),
    ("citation markers", |bytes| user(fill(bytes, "[[1"))),
    ("unclosed blocks", |bytes| user(fill(bytes, "<think>"))),
    ("blocks", |bytes| user(fill(bytes, "<tool_use></tool_use>"))),
    ("spaces", |bytes| user(fill(bytes, " "))),
    ("brackets", |bytes| user(fill(bytes, "[["))),
    ("times of day", |bytes| messages(format!(r#"{{"role":"system","content":"{}"}}"#, fill(bytes, "1 ")))),
    ("dates", |bytes| messages(format!(r#"{{"role":"system","content":"{}"}}"#, fill(bytes, "may ")))),
    ("messages", |bytes| messages(lists(r#"{"role":"user","content":"a"}"#, 9_000, "", "", bytes.min(9_000 * 30)))),
    // So few that their texts are proportional to the size, too.
    ("long messages", |bytes| {
        messages(
            vec![format!(r#"{{"role":"user","content":"{}"}}"#, "a".repeat((bytes / 2_000).saturating_sub(40))); 2_000]
                .join(","),
        )
    }),
    ("consecutive answers", |bytes| {
        messages(
            vec![
                format!(r#"{{"role":"assistant","content":"{}"}}"#, "a".repeat((bytes / 9_000).saturating_sub(40)));
                9_000
            ]
            .join(","),
        )
    }),
    ("empty parts", |bytes| messages(lists(r#"{"type":"text"}"#, 1_000, r#"{"role":"user","content":["#, "]}", bytes))),
    ("short parts", |bytes| {
        messages(lists(r#"{"type":"text","text":"a"}"#, 1_000, r#"{"role":"user","content":["#, "]}", bytes))
    }),
    ("empty tool calls", |bytes| {
        messages(lists("{}", 1_000, r#"{"role":"assistant","content":"a","tool_calls":["#, "]}", bytes))
    }),
    ("short tool calls", |bytes| {
        messages(lists(
            r#"{"id":"","function":{}}"#,
            1_000,
            r#"{"role":"assistant","content":"a","tool_calls":["#,
            "]}",
            bytes,
        ))
    }),
    ("named tool calls", |bytes| {
        messages(lists(
            r#"{"id":"c","function":{"name":"f"}}"#,
            1_000,
            r#"{"role":"assistant","content":"a","tool_calls":["#,
            "]}",
            bytes,
        ))
    }),
    ("unknown parts", |bytes| messages(lists(r#"{"type":"x"}"#, 1_000, r#"{"role":"user","content":["#, "]}", bytes))),
    ("empty attachments", |bytes| {
        messages(lists(r#"{"type":"file"}"#, 1_000, r#"{"role":"user","content":["#, "]}", bytes))
    }),
    ("attachments", |bytes| {
        messages(lists(r#"{"type":"file","file_id":""}"#, 1_000, r#"{"role":"user","content":["#, "]}", bytes))
    }),
    ("an image", |bytes| {
        format!(
            r#"{{"messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"data:image/jpeg;base64,{}"}}}}]}}]}}"#,
            BASE64.encode(image(bytes))
        )
    }),
    ("metadata", |bytes| {
        format!(r#"{{"messages":[{LAST}],"metadata":{{{}}}}}"#, fill(bytes, r#""a":[[]],"#) + r#""b":1"#)
    }),
    ("unknown fields", |bytes| format!(r#"{{"messages":[{LAST}],{}"z":0}}"#, fill(bytes, r#""a":{"b":[0,""]},"#))),
    ("a long number", |bytes| format!(r#"{{"messages":[{LAST}],"seed":{}}}"#, fill(bytes, "9"))),
    ("a file entry", |bytes| {
        format!(
            r#"{{"messages":[{{"role":"user","content":[{{"type":"file","file_info":[{}0]}}]}}]}}"#,
            fill(bytes, "0,")
        )
    }),
    ("a wrong type behind a long key", |bytes| {
        format!(r#"{{"{}":[{}1],"n":"x"}}"#, "A".repeat(bytes / 2), "1,".repeat(bytes / 4))
    }),
    ("a wrong type at the end", |bytes| {
        format!(r#"{{"messages":[{{"role":"user","content":"{}"}}],"n":"x"}}"#, fill(bytes, "a"))
    }),
    ("a wrong role", |bytes| format!(r#"{{"messages":[{{"role":"{}"}}]}}"#, fill(bytes, "a"))),
    ("an unterminated string", |bytes| format!(r#"{{"messages":[{{"role":"user","content":"{}"#, fill(bytes, "a"))),
    ("deep nesting", |bytes| fill(bytes, "[")),
];

fn blocks(role: &str, item: &str, bytes: usize) -> String {
    messages(lists(item, 1_000, &format!(r#"{{"role":"{role}","content":["#), "]}", bytes))
}

/// Blocks in results of tools, all in one message.
fn nested(item: &str, bytes: usize) -> String {
    let results = lists(item, 1_000, r#"{"type":"tool_result","content":["#, "]}", bytes);
    messages(format!(r#"{{"role":"user","content":[{results}]}}"#))
}

/// The same for requests of Anthropic's Messages.
pub const MESSAGES_FORMS: &[(&str, Form)] = &[
    ("text blocks", |bytes| blocks("user", r#"{"type":"text"}"#, bytes)),
    ("text blocks of an answer", |bytes| blocks("assistant", r#"{"type":"text","text":"a"}"#, bytes)),
    ("thinking blocks", |bytes| blocks("assistant", r#"{"type":"thinking","thinking":"a","signature":"b"}"#, bytes)),
    ("unknown blocks", |bytes| blocks("user", r#"{"type":"x"}"#, bytes)),
    ("calls", |bytes| blocks("assistant", r#"{"type":"tool_use"}"#, bytes)),
    ("named calls", |bytes| blocks("assistant", r#"{"type":"tool_use","id":"c","name":"f","input":{}}"#, bytes)),
    ("results", |bytes| blocks("user", r#"{"type":"tool_result","tool_use_id":"c","content":"x"}"#, bytes)),
    ("pictures", |bytes| blocks("user", r#"{"type":"image","source":{}}"#, bytes)),
    ("results of texts", |bytes| nested(r#"{"type":"text"}"#, bytes)),
    ("results of calls", |bytes| nested(r#"{"type":"tool_use","id":"c"}"#, bytes)),
    ("results of pictures", |bytes| nested(r#"{"type":"image","source":{"url":""}}"#, bytes)),
    ("results of findings", |bytes| nested(r#"{"type":"search_result"}"#, bytes)),
    ("nested results", |bytes| {
        nested(&format!("{}{}", r#"{"type":"x","content":["#.repeat(40), "]}".repeat(40)), bytes)
    }),
    ("arguments", |bytes| {
        let call = format!(r#"{{"type":"tool_use","id":"c","name":"f","input":{{"a":"{}"}}}}"#, fill(bytes, "a"));
        messages(format!(r#"{{"role":"assistant","content":[{call}]}}"#))
    }),
    ("a picture", |bytes| {
        let source =
            format!(r#"{{"type":"base64","media_type":"image/jpeg","data":"{}"}}"#, BASE64.encode(image(bytes)));
        format!(r#"{{"messages":[{{"role":"user","content":[{{"type":"image","source":{source}}}]}}]}}"#)
    }),
    ("a system text", |bytes| format!(r#"{{"system":"{}","messages":[{LAST}]}}"#, fill(bytes, "1 may "))),
];
