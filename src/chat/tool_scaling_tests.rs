//! The same for what reads calls, JSON and schemas, and for what describes tools to the site.

use std::{hint::black_box, ops::ControlFlow};

use serde_json::json;

use super::{
    Attachments, ToolRules, TurnTools,
    check::check,
    conversations::digest::History,
    filters::{ObjectFilter, Schema, ToolReader, ToolSet, outermost, repair},
    scaling_tests::{MIB, Times, assert_linear, read_request},
    test_requests::request,
    translator::Translator,
};
use crate::{
    api::{AnswerMeta, Delivery, Encoder, openai::chat_completions::ChatDelivery},
    llm::Tool,
    unix_time::UnixSeconds,
    upstream::{Decoder, shown_tool_name},
};

/// A text of about so many bytes.
type Text = fn(usize) -> String;

/// `unit` again and again behind `begin`.
fn after(begin: &str, unit: &str, bytes: usize) -> String {
    format!("{begin}{}", unit.repeat(bytes / unit.len()))
}

/// Numbered units.
fn numbered(bytes: usize, begin: &str, unit: impl Fn(usize) -> String) -> String {
    let mut text = begin.to_owned();
    for at in 0.. {
        if text.len() >= bytes {
            break;
        }
        text.push_str(&unit(at));
    }
    text
}

fn call(at: usize) -> String {
    format!("[TOOL CALL]\n{{\"name\": \"run\", \"arguments\": {{\"command\": \"{at}\"}}}}\n[END TOOL CALL]\n")
}

const ARGUMENTS: &str = "[TOOL CALL]\n{\"name\": \"run\", \"arguments\": {\"command\": \"";
const DAMAGED: &str = "[TOOL CALL]\n{name: \"run\", \"arguments\": {\"command\": \"";

/// Answers that are the most expensive to read.
const ANSWERS: &[(&str, Text)] = &[
    ("plain text", |bytes| after("", "Let me look at it. ", bytes)),
    ("brackets", |bytes| after("", "[", bytes)),
    ("markers' beginnings", |bytes| after("", "[TOOL CALL\n", bytes)),
    ("markers without calls", |bytes| after("", "[TOOL CALL] x\n", bytes)),
    ("doubled markers", |bytes| after("", "<tool_call>", bytes)),
    ("markers in markers", |bytes| after("", "[TOOL CALL]<tool_call>\n", bytes)),
    ("end markers", |bytes| after("", "[END TOOL CALL]", bytes)),
    ("backticks", |bytes| after("", "`", bytes)),
    ("fences", |bytes| after("", "```\n", bytes)),
    ("fences that open", |bytes| after("", "```json\n\n", bytes)),
    ("white space", |bytes| after("", " ", bytes)),
    ("lines", |bytes| after("a", "\n \t", bytes)),
    ("braces", |bytes| after("", "{", bytes)),
    ("a brace and white space", |bytes| after("{", " ", bytes)),
    ("a name without an end", |bytes| after("{\"name\":\"", "a", bytes)),
    ("an argument without an end", |bytes| after(ARGUMENTS, "a", bytes)),
    ("an argument of escapes", |bytes| after(ARGUMENTS, "\\\"", bytes)),
    ("an argument of markers", |bytes| after(ARGUMENTS, "[END TOOL CALL]", bytes)),
    ("arguments within each other", |bytes| after("[TOOL CALL]{\"name\":\"run\",\"arguments\":", "{\"a\":", bytes)),
    ("a damaged argument", |bytes| after(DAMAGED, "a", bytes)),
    ("damage: brackets", |bytes| after(DAMAGED, "[", bytes)),
    ("damage: quotes", |bytes| after(DAMAGED, "\", ", bytes) + "\n[END TOOL CALL]"),
    ("damage: markers' beginnings", |bytes| after(DAMAGED, "[END TOOL \n", bytes)),
    ("damage: lines and brackets", |bytes| after(DAMAGED, "        \t [", bytes)),
    ("calls", |bytes| numbered(bytes, "", call)),
    ("calls in code", |bytes| numbered(bytes, "```\n", call)),
    ("an array of calls", |bytes| {
        numbered(bytes, "[TOOL CALL]\n[{\"name\":\"run\"}", |_| ",{\"name\":\"RUN\",\"arguments\":\"\"}".to_owned())
            + "]"
    }),
    ("damaged calls in a row", |bytes| {
        after("[TOOL CALL]\n", "{\"name\":\"run\",\"arguments\":{\"command\":\"a\",}}", bytes) + "\n[END TOOL CALL]"
    }),
    ("blocks that cannot be read", |bytes| after("", "[TOOL CALL]\n{\"a\":1}\n[END TOOL CALL]\n", bytes)),
    ("white space behind a call", |bytes| after(&call(0), "\n", bytes)),
    ("closers behind a block", |bytes| after("[TOOL CALL]{}", "}", bytes)),
    ("tags and white space", |bytes| after("<function=run>", " ", bytes)),
    ("tags of no function", |bytes| after("<function=run\n", "<b>", bytes)),
    ("a value of tags", |bytes| after("<function=run><parameter=command>", "<", bytes)),
    ("a value of closing tags", |bytes| after("<function=run><parameter=command>", "</parameter> x", bytes)),
    ("a value of lines and tags", |bytes| after("<function=run><parameter=command>", "\n     </function> x", bytes)),
    ("parameters", |bytes| after("<function=run>", "<parameter=command>x</parameter>", bytes)),
    ("functions", |bytes| {
        numbered(bytes, "", |at| format!("<function=run><parameter=command>{at}</parameter></function>"))
    }),
    ("thinking", |bytes| after("<think>", "</thin", bytes)),
    ("white space behind thinking", |bytes| after("<think></think>", " ", bytes)),
];

fn tools() -> std::sync::Arc<[Tool]> {
    let schema = json!({"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]});
    let function = |name: String| json!({"type": "function", "function": {"name": name, "parameters": schema}});
    let all: Vec<_> =
        ["run".to_owned()].into_iter().chain((1..100).map(|at| format!("Tool_{at}"))).map(function).collect();
    request(&json!({"messages": [], "tools": all}).to_string()).tools
}

fn read_answer(reader: &ToolSet, pieces: impl Iterator<Item = impl AsRef<str>>) -> usize {
    let mut reader = ToolReader::new(reader.clone());
    let mut pieces_out = 0_usize;
    let mut each = |piece: super::filters::Piece<'_>| {
        black_box(&piece);
        pieces_out += 1;
        ControlFlow::Continue(())
    };
    for piece in pieces {
        if reader.push(piece.as_ref(), &mut each).is_break() {
            break;
        }
        assert!(reader.kept_of_plain_text() <= 1024);
    }
    let _ = reader.finish(&mut each);
    pieces_out
}

#[test]
fn answers_with_tools_take_time_in_proportion() {
    let set = ToolSet::new(tools(), shown_tool_name);
    for (form, make) in ANSWERS {
        let in_bytes = |text: &str| {
            let times = Times::default();
            times.of("in bytes", || {
                read_answer(&set, text.as_bytes().chunks(1).map(|byte| str::from_utf8(byte).unwrap()))
            });
            times
        };
        let at_once = |text: &str| {
            let times = Times::default();
            times.of("at once", || read_answer(&set, [text].into_iter()));
            times
        };
        assert_linear(form, MIB / 16, make, in_bytes);
        assert_linear(form, MIB / 2, make, at_once);
    }
}

/// JSON as it comes, for what repairs it and what looks for an object.
const JSON: &[(&str, Text)] = &[
    ("prose", |bytes| after("", "no object ", bytes)),
    ("braces", |bytes| after("", "{", bytes)),
    ("braces and white space", |bytes| after("", "{ \n", bytes)),
    ("a brace and white space", |bytes| after("{", " ", bytes)),
    ("an object", |bytes| numbered(bytes, "{\"a\":1", |at| format!(",\"{at}\":[{at}]")) + "}"),
    ("objects", |bytes| after("", "{\"a\":1} ", bytes)),
    ("a text", |bytes| after("{\"a\":\"", "b", bytes)),
    ("quotes", |bytes| after("{\"a\":\"", "\"", bytes)),
    ("quotes and commas", |bytes| after("{\"a\":\"", "\",", bytes)),
    ("quotes and keys", |bytes| after("{\"a\":\"", "\", \"b", bytes)),
    ("quotes and white space", |bytes| after("{\"a\":\"", "\"      ", bytes)),
    ("quotes and closers", |bytes| after(&"{\"a\":".repeat(50), "\"}}}}", bytes)),
    ("closers at the end", |bytes| after("{\"a\":\"", "\\n}", bytes)),
    ("escapes", |bytes| after("{\"a\":\"", "\\u12", bytes)),
    ("unknown escapes", |bytes| after("{a:\"", "\\d", bytes)),
    ("comments", |bytes| after("{", "/**/", bytes)),
    ("comments that are not closed", |bytes| after("{", "/*", bytes)),
    ("line comments", |bytes| after("{", "//\n", bytes)),
    ("commas", |bytes| after("{", ",", bytes)),
    ("lists", |bytes| after("[", "[1,],", bytes)),
    ("words", |bytes| after("[", "True ", bytes)),
    ("a number", |bytes| after("[", "1", bytes)),
    ("keys", |bytes| after("{", "a:1 ", bytes)),
    ("a key", |bytes| after("{", "a", bytes)),
];

#[test]
fn damaged_json_takes_time_in_proportion() {
    for (form, make) in JSON {
        let at_once = |text: &str| {
            let times = Times::default();
            times.of("repair", || repair(text).is_some());
            times.of("object", || {
                let mut filter = ObjectFilter::default();
                filter.push(text, |_| {});
                filter.finish().is_some()
            });
            times.of("outermost", || outermost(text, |_| false).is_some());
            times
        };
        let in_bytes = |text: &str| {
            let times = Times::default();
            times.of("object", || {
                let mut filter = ObjectFilter::default();
                for byte in text.as_bytes().chunks(1) {
                    filter.push(str::from_utf8(byte).unwrap(), |sure| {
                        black_box(sure);
                    });
                }
                filter.finish().is_some()
            });
            times
        };
        assert_linear(form, MIB / 16, make, at_once);
        assert_linear(form, MIB / 16, make, in_bytes);
    }
}

/// Schemas, in bytes of up to 256 KiB, and values for them.
const SCHEMAS: &[(&str, Text)] = &[
    ("an enum", |bytes| numbered(bytes, "{\"enum\":[0", |at| format!(",\"value {at}\"")) + "]}"),
    ("forms", |bytes| after("{\"anyOf\":[{}", ",{\"type\":\"null\"}", bytes) + "]}"),
    ("forms of items", |bytes| after("{\"items\":{\"anyOf\":[{\"type\":\"null\"}", ",{\"minimum\":2}", bytes) + "]}}"),
    ("properties", |bytes| {
        numbered(bytes, "{\"properties\":{\"a\":{}", |at| format!(",\"{at}\":{{\"type\":\"null\"}}")) + "}}"
    }),
    ("references", |bytes| {
        numbered(bytes, "{\"$defs\":{\"a\":{}", |at| format!(",\"{at}\":{{\"items\":{{\"$ref\":\"#/$defs/{at}\"}}}}"))
            + "},\"$ref\":\"#/$defs/1\"}"
    }),
    ("a row of references", |bytes| {
        let rows =
            numbered(bytes, "{\"$defs\":{\"a\":{}", |at| format!(",\"{at}\":{{\"$ref\":\"#/$defs/{}\"}}", at + 1));
        let last = rows.matches("$ref").count();
        rows + &format!(",\"{last}\":{{}}}},\"$ref\":\"#/$defs/0\"}}")
    }),
    ("a loop of references", |bytes| {
        numbered(bytes, "{\"$defs\":{\"a\":{}", |at| {
            format!(",\"{at}\":{{\"anyOf\":[{{\"$ref\":\"#\"}},{{\"$ref\":\"#/$defs/{at}\"}}]}}")
        }) + "},\"$ref\":\"#/$defs/1\"}"
    }),
    ("required names", |bytes| numbered(bytes, "{\"required\":[\"a\"", |at| format!(",\"{at}\"")) + "]}"),
    ("a pattern", |bytes| after("{\"pattern\":\"a", "(a*)*", bytes) + "\"}"),
    ("patterns", |bytes| after("{\"allOf\":[{}", ",{\"pattern\":\"^(a|aa)+$\"}", bytes.min(64 * 24)) + "]}"),
];

#[test]
fn schemas_take_time_in_proportion() {
    let text = format!("\"{}b\"", "a".repeat(1000));
    let list = format!("[{}]", vec!["1"; 100].join(","));
    for (form, make) in SCHEMAS {
        let read = |schema: &str| {
            let times = Times::default();
            let Ok(schema) = times.of("compile", || Schema::new(schema)) else { return times };
            for value in [&*text, &*list, "{\"a\":1}"] {
                times.of("check", || schema.check(value).is_ok());
            }
            times
        };
        assert_linear(form, 100 * 1024, make, read);
    }
    // The value grows.
    let schema = Schema::new(
        r#"{"items":{"anyOf":[{"enum":["x","y"]},{"pattern":"^(a+)+$"},{"required":["a"]}]},"uniqueItems":true}"#,
    )
    .unwrap();
    for unit in ["\"aaaaaaaaaaaab\"", "{\"a\":[]}", "1", "[[]]"] {
        let make = |bytes| after("[0", &format!(",{unit}"), bytes) + "]";
        let read = |value: &str| {
            let times = Times::default();
            times.of("check", || schema.check(value).is_ok());
            times
        };
        assert_linear(unit, MIB / 4, make, read);
    }
}

/// Requests with tools, calls and results.
const REQUESTS: &[(&str, Text)] = &[
    ("turns of tools", |bytes| {
        let turn = |at| {
            format!(
                r#"{{"role":"assistant","tool_calls":[{{"id":"{at}","function":{{"name":"run","arguments":"{{}}"}}}}]}},{{"role":"tool","tool_call_id":"{at}","content":"x"}},"#
            )
        };
        let messages = numbered(bytes.min(4_900 * 130), "", turn);
        format!(r#"{{"messages":[{messages}{{"role":"user","content":"x"}}]}}"#)
    }),
    ("calls of few messages", |bytes| {
        let call = |at| format!(r#",{{"id":"{at}","function":{{"name":"run","arguments":"{{}}"}}}}"#);
        let answer = |from: usize| {
            let calls: String = (from..from + 900).map(call).collect();
            format!(r#"{{"role":"assistant","tool_calls":[{{}}{calls}]}},"#)
        };
        let answers = numbered(bytes / 2, "", |at| answer(at * 900));
        let result = |at| format!(r#"{{"role":"tool","tool_call_id":"{at}","content":""}},"#);
        let results = numbered(bytes.min(9_000 * 50) / 2, "", result);
        format!(r#"{{"messages":[{answers}{results}{{"role":"user","content":"x"}}]}}"#)
    }),
    ("a result of markers", |bytes| result(&after("", "[TOOL CALL] ", bytes))),
    ("a result of brackets", |bytes| result(&after("", "[", bytes))),
    ("a result of separators", |bytes| result(&after("", "[end -_ ", bytes))),
    ("a result of refusals", |bytes| result(&after("", "Tool a does not exists.", bytes))),
    ("an answer of refusals", |bytes| answer(&after("", "Tool a does not exist", bytes))),
    ("an answer of a long name", |bytes| answer(&after("Tool ", "a", bytes))),
    ("a large description", |bytes| tool(&format!(r#""description":"{}""#, after("", "[[TOOL CALL", bytes)))),
    ("a large schema", |bytes| {
        tool(&format!(r#""parameters":{{{}"b":1}}"#, after("", "\"a\": [{ }], ", bytes.min(MIB - 99))))
    }),
    ("a schema of schemas", |bytes| {
        tool(&format!(r#""parameters":{{{}"b":1}}"#, after("", "\"$schema\": 1, ", bytes.min(MIB - 99))))
    }),
    ("a schema within itself", |bytes| {
        tool(&format!(r#""parameters":{{"a":"{}"}}"#, after("", "\\\"$schema\\\": ", bytes.min(MIB - 99))))
    }),
    ("many tools", |bytes| {
        let tools: Vec<_> = (0..500).map(|at| json!({"type": "function", "function": {"name": format!("t{at}"), "description": "x".repeat(bytes / 600)}})).collect();
        json!({"messages": [{"role": "user", "content": "x"}], "tools": tools}).to_string()
    }),
];

fn result(text: &str) -> String {
    json!({"messages": [{"role": "user", "content": "x"}, {"role": "tool", "content": text}]}).to_string()
}

fn answer(text: &str) -> String {
    let messages = json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": text}, {"role": "user", "content": "y"}]);
    json!({ "messages": messages }).to_string()
}

fn tool(fields: &str) -> String {
    format!(
        r#"{{"messages":[{{"role":"user","content":"x"}}],"tools":[{{"type":"function","function":{{"name":"run",{fields}}}}}]}}"#
    )
}

#[test]
fn requests_with_tools_take_time_in_proportion() {
    let read = |body: &str| {
        let times = read_request(body);
        let Ok(parsed) = crate::api::openai::chat_completions::parse(body.as_bytes()) else { panic!("{}", body.len()) };
        let mut parsed = parsed.request;
        times.of("rules", || ToolRules::new(&parsed, "", shown_tool_name).is_some());
        let tools = times.of("catalogue's digest", || TurnTools::new(&parsed, false));
        let text = times.of("catalogue", || tools.text(""));
        times.of("reminder", || tools.text("other"));
        let attachments = Attachments::take(&mut parsed.messages).unwrap();
        check("messages", &parsed.messages, &attachments).unwrap();
        let messages = parsed.messages;
        times.of("taught", || super::scaling_tests::render(&messages, &attachments, &text));
        let history = History::new(("scope", ""), &messages, &attachments);
        times.of("with_answer and calls", || history.with_answer("x", ["run"; 24]));
        times
    };
    for (form, make) in REQUESTS {
        assert_linear(form, MIB / 2, make, read);
    }
}

/// A call of the site's own form, reported so many times.
#[test]
fn native_calls_take_time_in_proportion() {
    let translate = |body: &str| {
        let times = Times::default();
        let meta = AnswerMeta { id: String::new(), created: UnixSeconds::new(1), model: String::new() };
        let encoder = Encoder::new(meta, Delivery::ChatCompletions(ChatDelivery::WHOLE));
        let request = llm_request();
        let translator = Translator::new(Decoder::qwen(), encoder, Vec::new(), None)
            .with_tools(ToolRules::new(&request, "", shown_tool_name).unwrap(), false);
        times.of("translate", || translator.run(body.as_bytes().chunks(64)).is_ok());
        times
    };
    let event = |name: &str, arguments: &str| {
        let call = json!({"name": name, "arguments": arguments});
        format!("data: {}\n\n", json!({"choices": [{"delta": {"role": "assistant", "function_call": call}}]}))
    };
    let pieces = |bytes: usize| after(&event("run", "{"), &event("", " "), bytes);
    let cut = |bytes: usize| after("", &(event("run", "{\"a\"") + &event("other", "{\"a\"")), bytes);
    let same = |bytes: usize| after("", &(event("run", "{\"command\":\"a\"}") + &event("Tool_5", "{}")), bytes);
    assert_linear("pieces", MIB, pieces, translate);
    assert_linear("calls that are cut", MIB, cut, translate);
    assert_linear("the same calls", MIB, same, translate);
}

fn llm_request() -> crate::llm::Request {
    crate::llm::Request { tools: tools(), ..crate::llm::Request::default() }
}
