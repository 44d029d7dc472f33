use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    place::{MAX_BLANKS, MAX_CALL},
    *,
};
use crate::llm::{Tool, ToolKind};

#[derive(Deserialize)]
struct Case {
    id: String,
    tools: Vec<Value>,
    raw: String,
    content: Option<String>,
    tool_calls: Vec<Value>,
}

pub(super) fn tool(value: &Value) -> Tool {
    Tool {
        name: value["name"].as_str().unwrap().to_owned(),
        description: None,
        parameters: value.get("parameters").map(|schema| schema.to_string().into()),
        kind: ToolKind::Function,
        strict: false,
    }
}

fn set(tools: &[Value]) -> ToolSet {
    let tools: Vec<Tool> = tools.iter().map(tool).collect();
    ToolSet::new(tools.into(), |name| name.into())
}

/// What was read of an answer.
#[derive(Debug, Default, PartialEq)]
struct Read {
    content: String,
    reasoning: String,
    calls: Vec<Value>,
    was_cut: bool,
    is_unreadable: bool,
}

fn read_in(tools: &ToolSet, pieces: &[&str]) -> Read {
    let mut read = Read::default();
    let mut reader = ToolReader::new(tools.clone());
    let mut each = |piece: Piece<'_>| {
        match piece {
            Piece::Text(text) => read.content.push_str(text),
            Piece::Unreadable(text) => {
                read.is_unreadable = true;
                read.content.push_str(text);
            }
            Piece::Reasoning(text) => read.reasoning.push_str(text),
            Piece::Call(ReadCall { name, arguments }) => {
                let arguments: Value = serde_json::from_str(arguments).unwrap();
                assert!(arguments.is_object());
                read.calls.push(json!({"name": name, "arguments": arguments}));
            }
        }
        ControlFlow::Continue(())
    };
    for piece in pieces {
        if reader.push(piece, &mut each).is_break() {
            break;
        }
    }
    let Ended { was_cut } = reader.finish(&mut each);
    Read { was_cut, ..read }
}

/// The text in pieces of at most so many bytes, cut at characters.
fn pieces(text: &str, size: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut end = size.min(rest.len());
        while !rest.is_char_boundary(end) {
            end += 1;
        }
        pieces.push(&rest[..end]);
        rest = &rest[end..];
    }
    pieces
}

fn cases() -> Vec<Case> {
    let lines = include_str!("../../../../tests/tools/cases.jsonl");
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_case_of_the_table_is_read_at_every_split() {
    let cases = cases();
    assert!(cases.len() > 50);
    let mut wrong = Vec::new();
    for Case { id, tools, raw, content, tool_calls } in &cases {
        let tools_set = set(tools);
        let expected = (content.clone().unwrap_or_default(), tool_calls.clone());
        if tools.is_empty() {
            continue;
        }
        let whole = read_in(&tools_set, &[raw]);
        if (&whole.content, &whole.calls) != (&expected.0, &expected.1) {
            wrong.push(format!("{id}: {whole:?}"));
            continue;
        }
        for size in [1, 3, 7] {
            let read = read_in(&tools_set, &pieces(raw, size));
            if read != whole {
                wrong.push(format!("{id} by {size}: {read:?}"));
            }
        }
        for (cut, _) in raw.char_indices() {
            let read = read_in(&tools_set, &[&raw[..cut], &raw[cut..]]);
            if read != whole {
                wrong.push(format!("{id} cut at {cut}: {read:?}"));
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn weather() -> ToolSet {
    set(&[
        json!({"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}}),
        json!({"name": "run", "parameters": {"type": "object", "properties": {"command": {"type": "string"}, "timeout": {"type": "number"}}, "required": ["command"]}}),
        json!({"name": "list_files", "parameters": {"type": "object", "properties": {}}}),
    ])
}

const OSLO: &str = r#"{"name": "get_weather", "arguments": {"city": "Oslo"}}"#;
const ROME: &str = r#"{"name": "get_weather", "arguments": {"city": "Rome"}}"#;

fn marked(call: &str) -> String {
    format!("[TOOL CALL]\n{call}\n[END TOOL CALL]")
}

#[test]
fn what_follows_a_call_ends_the_answer() {
    let one = vec![json!({"name": "get_weather", "arguments": {"city": "Oslo"}})];
    let both = vec![one[0].clone(), json!({"name": "get_weather", "arguments": {"city": "Rome"}})];
    let (oslo, rome) = (marked(OSLO), marked(ROME));
    for (text, calls) in [
        (format!("{oslo}\nIt is fine.\n{rome}"), &one),
        (format!("{oslo}\n[TOOL RESULT #1: get_weather]\nfine\n[END TOOL RESULT]\n{rome}"), &one),
        (format!("{oslo}\n{oslo}\n{rome}"), &one),
        (format!("{oslo}\n\n{rome}"), &both),
        (format!("{oslo}[END TOOL CALL]\n{rome}"), &both),
        (format!("```\n{oslo}\n```\n```\n{rome}\n```"), &both),
        (format!("{oslo}\n[TOOL CALL]\n{{\"name\": \"get_wea"), &one),
        (format!("[TOOL CALL]\n{{\"broken\": 1}}\n[END TOOL CALL]\n{oslo}"), &one),
        (format!("[TOOL CALL]\nget_weather\n{OSLO}\n[END TOOL CALL]"), &one),
        (format!("```json\n{OSLO}\n```"), &one),
        (format!("{OSLO}\n[END TOOL CALL]\nfine"), &one),
    ] {
        for size in [1, 5, text.len()] {
            let read = read_in(&weather(), &pieces(&text, size));
            assert_eq!((&read.calls, read.content.as_str(), read.was_cut), (calls, "", false), "{text}");
        }
    }
    let many: String =
        (0..30).map(|n| marked(&format!(r#"{{"name":"run","arguments":{{"command":"{n}"}}}}"#))).collect();
    assert_eq!(read_in(&weather(), &[&many]).calls.len(), MAX_CALLS);
}

#[test]
fn what_is_no_call_is_text() {
    for text in [
        format!("Write `[TOOL CALL]` and then {OSLO}, done."),
        format!("Like `{}` here.", marked(OSLO)),
        format!("Look:\n```\nx\n{}\n```\nSo it is.", marked(OSLO)),
        format!("{OSLO} is the JSON."),
        "{\"name\": \"Bob\", \"age\": 3}".to_owned(),
        "{\n  \"a\": 1\n}".to_owned(),
        "```json\n{\"name\": \"x\"}\n```\n".to_owned(),
        "<tool_use><name>get_weather</name></tool_use>".to_owned(),
        "[TOOL CALL] blocks look like {\"name\": \"get_weather\", \"arguments\": {}} here".to_owned(),
        "  Hello,\n\n world \n".to_owned(),
        "a `b` [c](d) <e> f".to_owned(),
    ] {
        for size in [1, 4, text.len()] {
            let read = read_in(&weather(), &pieces(&text, size));
            assert_eq!((read.content.as_str(), read.calls.len()), (text.as_str(), 0));
        }
    }
}

#[test]
fn what_was_cut_or_cannot_be_read_is_reported() {
    for text in [
        "[TOOL CALL]\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Os",
        "[TOOL CALL]\n",
        "[TOOL CALL]\n{\"name\": \"run\", \"arguments\": {\"command\": \"echo \"hi\" and",
        "<function=get_weather><parameter=city>Os",
    ] {
        let read = read_in(&weather(), &pieces(text, 3));
        assert_eq!(read, Read { was_cut: true, ..Read::default() }, "{text}");
    }
    for text in [
        marked(r#"{"city": "Oslo"}"#),
        marked(r#"{"name": "run", "arguments": {"command": maybe}}"#),
        marked(r#"{"name": "no_such", "arguments": {"a": 1,}}"#),
        marked(r#"{"name": "run", "arguments": {timeout: 1}}"#),
    ] {
        let read = read_in(&weather(), &pieces(&text, 3));
        assert!(read.is_unreadable && read.calls.is_empty() && read.content == text, "{text} {read:?}");
    }
}

#[test]
fn what_is_longer_than_usual_is_read_the_same_at_every_split() {
    let (blanks, ticks, oslo) = (" ".repeat(100), "`".repeat(100), marked(OSLO));
    let wide = "\u{4e2d}".repeat(90);
    for text in [
        format!("a{blanks}\n{oslo}"),
        format!("{blanks}{oslo}"),
        format!("```\n{blanks}{oslo}\n```"),
        format!("{ticks}\n{oslo}\n{ticks}\nb"),
        format!("{blanks}{ticks} b"),
        format!("{{{blanks}\"name\": \"get_weather\", \"arguments\": {{}}}}"),
        format!("{{\"name\": \"{wide}\"}}"),
        format!("<function={wide}>\n</function>"),
        format!("<function=run{wide}{wide}>\n</function>"),
        format!("<function=run>\n<parameter={wide}>\n1</parameter>{blanks}</function>"),
        format!("<think>a</think>{blanks}{oslo}"),
    ] {
        let whole = read_in(&weather(), &[&text]);
        for size in [1, 2, 7, 64] {
            assert_eq!(read_in(&weather(), &pieces(&text, size)), whole, "{text} by {size}");
        }
    }
}

#[test]
fn a_call_of_more_than_a_mebibyte_is_none() {
    let fits = |length: usize| {
        let text = marked(&format!(r#"{{"name":"run","arguments":{{"command":"{}"}}}}"#, "x".repeat(length)));
        let whole = read_in(&weather(), &[&text]);
        assert_eq!(read_in(&weather(), &pieces(&text, 1000)), whole);
        if whole.calls.is_empty() {
            assert!(whole.is_unreadable && whole.content.len() > MAX_CALL && text.starts_with(&whole.content));
        }
        whole.calls.len() == 1
    };
    assert!(fits(MAX_CALL - 100) && !fits(MAX_CALL) && !fits(2 * MAX_CALL));
}

#[test]
fn what_cannot_be_a_call_without_a_marker_is_not_kept_back() {
    for text in [format!("{{{}", " ".repeat(65)), format!("{{\"name\": \"{}", "x".repeat(256))] {
        let mut reader = ToolReader::new(weather());
        let mut length = 0;
        for piece in pieces(&text, 1) {
            let _ = reader.push(piece, &mut |piece| {
                if let Piece::Text(text) = piece {
                    length += text.len();
                }
                ControlFlow::Continue(())
            });
        }
        assert!(text.len() - length <= MAX_BLANKS, "{length}");
    }
}

#[test]
fn of_a_thousand_calls_in_one_block_the_first_are_read() {
    let calls: Vec<String> =
        (0..1000).map(|n| format!(r#"{{"name":"run","arguments":{{"command":"{n}"}}}}"#)).collect();
    for text in [marked(&format!("[{}]", calls.join(","))), marked(&format!("[{},]", calls.join(",")))] {
        assert_eq!(read_in(&weather(), &[&text]).calls.len(), MAX_CALLS);
    }
}

/// A call, as a model may write it: its name and arguments, and its text.
fn written() -> impl Strategy<Value = (Value, String)> {
    let text = "[a-z \"'\\\\{}\\[\\]<>,:\n\u{e9}\u{4e2d}]{0,12}";
    (text, 0..9_u8, any::<bool>(), proptest::option::of(-9..9_i32)).prop_map(|(command, form, pretty, timeout)| {
        let mut arguments = json!({"command": command});
        if let Some(timeout) = timeout {
            arguments["timeout"] = json!(timeout);
        }
        let call = json!({"name": "run", "arguments": arguments});
        let json = if pretty { serde_json::to_string_pretty(&call) } else { serde_json::to_string(&call) }.unwrap();
        let tags = || {
            let timeout = timeout.map(|timeout| format!("<parameter=timeout>\n{timeout}\n</parameter>\n"));
            format!(
                "<function=run>\n<parameter=command>\n{command}\n</parameter>\n{}</function>",
                timeout.unwrap_or_default()
            )
        };
        // What would be another call, or end the value, cannot be told from one.
        let is_plain = !command.contains(['<', '[']);
        let text = match form {
            0 => format!("[TOOL CALL]\n{json}\n[END TOOL CALL]"),
            1 => format!("[tool_call]{json}[/tool_call]"),
            2 => format!("[TOOL CALL]\n{json}\n"),
            3 => format!("\u{3010}TOOL CALL\u{3011}\n```json\n{json}\n```\n\u{3010}END TOOL CALL\u{3011}"),
            4 => format!("<tool_call>\n{json}\n</tool_call>"),
            5 => format!("<tool_call\n{json}\n</tool_call>\n</tool_call>"),
            6 if is_plain => format!("<tool_call>\n{}\n</tool_call>", tags()),
            7 if is_plain => tags(),
            // A comma too many, and a comment.
            8 if is_plain => {
                format!("[TOOL CALL]\n{},}} // so\n[END TOOL CALL]", json.trim_end().strip_suffix('}').unwrap())
            }
            _ => format!("[TOOL CALL #2]\n{json}}}\n[END TOOL CALL #2]"),
        };
        (call, text)
    })
}

#[test]
fn native_calls_that_end_too_early_are_cut() {
    for (arguments, expected) in [
        ("", Native::Cut),
        ("{", Native::Cut),
        ("{\"city\":", Native::Cut),
        ("{\"city\": \"Os", Native::Cut),
        ("{\"city\": \"Oslo\"", Native::Cut),
        ("{\"city\": \"Oslo\"}", Native::Read),
        ("{\"city\": \"Oslo\",}", Native::Read),
        ("{{:: what}", Native::Unreadable),
    ] {
        let mut calls = 0;
        let mut each = |piece: Piece<'_>| {
            calls += usize::from(matches!(piece, Piece::Call(_)));
            ControlFlow::Continue(())
        };
        let found = ToolReader::new(weather()).native("get_weather", arguments, &mut each);
        assert_eq!(found, ControlFlow::Continue(expected), "{arguments}");
        assert_eq!(calls, usize::from(expected == Native::Read), "{arguments}");
    }
}

#[test]
fn a_call_is_found_in_a_whole_text() {
    let call = "[TOOL CALL]\n{\"name\":\"get_weather\",\"arguments\":{\"city\":\"Oslo\"}}\n[END TOOL CALL]";
    assert!(has_call(&format!("Hm. {call} So."), &weather()));
    assert!(!has_call("Hm. I call get_weather.", &weather()));
}

proptest! {
    #[test]
    fn calls_come_out_as_they_went_in(calls in proptest::collection::vec(written(), 1..4), before in "[a-z ,.\u{4e2d}]{0,20}", size in 1_usize..40) {
        let mut expected: Vec<Value> = Vec::new();
        for (call, _) in &calls {
            if expected.contains(call) {
                break;
            }
            expected.push(call.clone());
        }
        let text = format!("{before}\n{}", calls.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("\n"));
        let read = read_in(&weather(), &pieces(&text, size));
        prop_assert_eq!(read.content, before.trim_end());
        prop_assert_eq!(read.calls, expected, "{}", text);
    }

    #[test]
    fn text_without_a_marker_passes_at_once(text in "[a-zA-Z0-9 .,\n\\[\\]()<>/{}*#\u{ff0c}\u{3001}\u{4e2d}\u{1f600}]{0,200}", size in 1_usize..20) {
        let mut reader = ToolReader::new(weather());
        let (mut pushed, mut out) = (0, String::new());
        prop_assume!(!text.trim_start().starts_with('{'));
        for piece in pieces(&text, size) {
            let mut each = |piece: Piece<'_>| {
                if let Piece::Text(text) = piece {
                    out.push_str(text);
                }
                ControlFlow::Continue(())
            };
            prop_assert!(reader.push(piece, &mut each).is_continue());
            pushed += piece.len();
            let held = &text[..pushed][out.len()..];
            prop_assert!(held.len() <= 64 && (held.trim().is_empty() || held.trim_start().starts_with(['[', '<'])), "{:?}", held);
        }
        let _ = reader.finish(&mut |piece| {
            if let Piece::Text(text) = piece {
                out.push_str(text);
            }
            ControlFlow::Continue(())
        });
        prop_assert_eq!(out, text);
    }

    #[test]
    fn any_split_reads_the_same(parts in proptest::collection::vec(proptest::sample::select(vec![
        "[TOOL CALL]", "[END TOOL CALL]", "[TOOL RESULT #1: run]", "<tool_call>", "</tool_call>", "<function=run>", "</function>",
        "<parameter=command>", "</parameter>", "<invoke name=\"run\">", "</invoke>", "{\"name\":\"run\",\"arguments\":{\"command\":\"x\"}}",
        "{\"name\":\"run\",", "\"arguments\":{\"command\":\"", "\"}}", "{", "}", "\"", "```", "```json\n", "`", "\n", " ", "x", "<think>", "</think>",
        "\u{3010}", "[", "<", "\u{4e2d}", "Let me look. ",
    ]), 0..14), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6), size in 1_usize..5) {
        let text = parts.concat();
        let whole = read_in(&weather(), &[&text]);
        prop_assert_eq!(&read_in(&weather(), &pieces(&text, size)), &whole);
        let boundaries: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let mut at: Vec<usize> = cuts.iter().map(|cut| boundaries[cut.index(boundaries.len())]).chain([0, text.len()]).collect();
        at.sort_unstable();
        let split: Vec<&str> = at.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        prop_assert_eq!(read_in(&weather(), &split), whole);
    }
}
