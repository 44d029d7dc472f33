use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
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
