//! Requests whose form takes as much time and memory as any form can.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

/// As many of `item` as make up `bytes`, in lists of at most `most`, each between `open` and `close`.
fn lists(item: &str, most: usize, open: &str, close: &str, bytes: usize) -> String {
    let list = format!("{open}{}{close}", vec![item; most].join(","));
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

fn picture(bytes: usize) -> Vec<u8> {
    [include_bytes!("../files/jfif.jpg").to_vec(), vec![0; (bytes / 4 * 3).saturating_sub(64 * 1024)]].concat()
}

/// Makes a body of some bytes.
pub type Form = fn(usize) -> String;

/// Forms of bodies, by their names.
pub const FORMS: &[(&str, Form)] = &[
    ("one text", |bytes| user(fill(bytes, "a"))),
    ("line ends", |bytes| user(fill(bytes, "\\n"))),
    ("escapes", |bytes| user(fill(bytes, "\\u0001"))),
    ("quotes", |bytes| user(fill(bytes, "\\\""))),
    ("halves", |bytes| user(fill(bytes, "\\ud83d"))),
    ("letters and marks", |bytes| user(fill(bytes, "e\u{301}"))),
    ("marks", |bytes| user(fill(bytes, "\u{301}"))),
    ("words", |bytes| user(fill(bytes, "a "))),
    ("entities", |bytes| user(fill(bytes, "&amp;"))),
    ("marks of sources", |bytes| user(fill(bytes, "[[1"))),
    ("open blocks", |bytes| user(fill(bytes, "<think>"))),
    ("blocks", |bytes| user(fill(bytes, "<tool_use></tool_use>"))),
    ("blanks", |bytes| user(fill(bytes, " "))),
    ("brackets", |bytes| user(fill(bytes, "[["))),
    ("times", |bytes| messages(format!(r#"{{"role":"system","content":"{}"}}"#, fill(bytes, "1 ")))),
    ("dates", |bytes| messages(format!(r#"{{"role":"system","content":"{}"}}"#, fill(bytes, "may ")))),
    ("messages", |bytes| messages(lists(r#"{"role":"user","content":"a"}"#, 9_000, "", "", bytes.min(9_000 * 30)))),
    ("long messages", |bytes| {
        messages(
            vec![format!(r#"{{"role":"user","content":"{}"}}"#, "a".repeat((bytes / 9_000).saturating_sub(40))); 9_000]
                .join(","),
        )
    }),
    ("answers in a row", |bytes| {
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
    ("empty calls", |bytes| {
        messages(lists("{}", 1_000, r#"{"role":"assistant","content":"a","tool_calls":["#, "]}", bytes))
    }),
    ("short calls", |bytes| {
        messages(lists(
            r#"{"id":"","function":{}}"#,
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
    ("a picture", |bytes| {
        format!(
            r#"{{"messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"data:image/jpeg;base64,{}"}}}}]}}]}}"#,
            BASE64.encode(picture(bytes))
        )
    }),
    ("metadata", |bytes| {
        format!(r#"{{"messages":[{LAST}],"metadata":{{{}}}}}"#, fill(bytes, r#""a":[[]],"#) + r#""b":1"#)
    }),
    ("unknown fields", |bytes| format!(r#"{{"messages":[{LAST}],{}"z":0}}"#, fill(bytes, r#""a":{"b":[0,""]},"#))),
    ("a long number", |bytes| format!(r#"{{"messages":[{LAST}],"seed":{}}}"#, fill(bytes, "9"))),
    ("a ready entry", |bytes| {
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
    ("no end", |bytes| format!(r#"{{"messages":[{{"role":"user","content":"{}"#, fill(bytes, "a"))),
    ("too deep", |bytes| fill(bytes, "[")),
];
