//! Requests as clients write them, and what they are in neutral words; answers as events and as one object.

use bytes::BytesMut;
use serde_json::{Value as Json, json};

use super::*;
use crate::{
    api::{
        AnswerMeta, Delivery,
        lenient::{MAX_PARTS, MAX_STOPS, MAX_TOOLS},
    },
    error::{Error, ErrorKind, Result},
    llm::{self, Answer, CallEvent, Citation, Event, FinishReason, Part, Reasoning, Role, ToolChoice, ToolKind, Usage},
    unix_time::UnixSeconds,
};

fn request(fields: &str) -> Result<llm::Request> {
    parse(format!("{{{fields}}}").as_bytes()).map(|parsed| parsed.request)
}

/// One line for each message.
fn shown(messages: &str) -> Vec<String> {
    let request = request(&format!(r#""messages":[{messages}]"#)).unwrap();
    request.messages.iter().map(shown_message).collect()
}

fn shown_message(message: &llm::Message) -> String {
    let llm::Message { role, name, parts, tool_calls, tool_call_id, is_error } = message;
    assert_eq!(*name, None);
    let mut line = format!("{role:?}");
    if let Some(id) = tool_call_id {
        line.push_str(&format!(" #{id}"));
    }
    if *is_error {
        line.push_str(" error");
    }
    for part in parts {
        line.push_str(&match part {
            Part::Text(text) => format!(" {text:?}"),
            Part::Media(media) => {
                let llm::Media { class, source, filename, format: None, param, word } = &**media else {
                    panic!("{media:?}")
                };
                format!(" {class:?} {word} {source:?} {} at {param}", filename.as_deref().unwrap_or("-"))
            }
            Part::Unsupported(part) => panic!("{}", part.kind),
        });
    }
    for llm::ToolCall { id, function } in tool_calls {
        let function = function.as_ref().unwrap();
        let (id, name) = (id.as_deref().unwrap_or("-"), function.name.as_deref().unwrap_or("-"));
        line.push_str(&format!(" {id}={name}({})", function.arguments.as_deref().unwrap_or("-")));
    }
    line
}

#[test]
fn messages_are_read_block_by_block() {
    for (messages, expected) in [
        (r#"{"role":"user","content":"q"}"#, &[r#"User "q""#][..]),
        (
            r#"{"role":"user","content":[{"type":"text","text":"q","cache_control":{"type":"ephemeral"}}]}"#,
            &[r#"User "q""#],
        ),
        (r#"{"role":"user","content":{"type":"text","text":"q"}}"#, &[r#"User "q""#]),
        (r#"{"role":"user","content":null}"#, &["User"]),
        (r#"{"role":"user"}"#, &["User"]),
        (r#"{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#, &[r#"User "a" "b""#]),
        (
            r#"{"role":"system","content":[{"type":"text","text":"s"}],"output_config":{"effort":"low"}}"#,
            &[r#"System "s""#],
        ),
        (
            r#"{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"x"},{"type":"text","text":"a"},{"type":"redacted_thinking","data":"x"},{"type":"text","text":"b","citations":null},{"type":"tool_use","id":"toolu_1","name":"f","input":{"x": 1}},{"type":"tool_use","id":"toolu_2","name":"g","input":{}}]}"#,
            &[r#"Assistant "ab" toolu_1=f({"x": 1}) toolu_2=g({})"#],
        ),
        (r#"{"role":"assistant","content":[{"type":"thinking","thinking":"hm"}]}"#, &["Assistant"]),
        (r#"{"role":"assistant","content":[{"type":"tool_use"}]}"#, &["Assistant"]),
        (
            r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":"x"},{"type":"tool_result","tool_use_id":"2","is_error":true,"content":[{"type":"text","text":"y"},{"type":"text","text":"z"}]},{"type":"tool_result","tool_use_id":"3"},{"type":"text","text":"next"}]}"#,
            &[r#"Tool #1 "x""#, r#"Tool #2 error "y" "z""#, "Tool #3", r#"User "next""#],
        ),
        (
            r#"{"role":"user","content":[{"type":"text","text":"a"},{"type":"tool_result","tool_use_id":"1","content":[{"type":"tool_reference","tool_name":"f"}]}]}"#,
            &[r#"User "a""#, r#"Tool #1 "Found the tool f.""#],
        ),
        // What means nothing here, or stands where it means nothing.
        (
            r#"{"role":"user","content":[{"type":"container_upload","file_id":"f"},{"type":"hologram","content":[{"type":"x"}]},{"type":"tool_use","id":"1","name":"f","input":{}}]}"#,
            &["User"],
        ),
        (
            r#"{"role":"assistant","content":[{"type":"server_tool_use","id":"s","name":"web_search","input":{"query":"x"}},{"type":"web_search_tool_result","tool_use_id":"s","content":[{"type":"web_search_result","url":"u","title":"t","encrypted_content":"e"}]},{"type":"web_search_tool_result","content":{"type":"web_search_tool_result_error","error_code":"x"}},{"type":"text","text":"a"}]}"#,
            &[r#"Assistant "a""#],
        ),
    ] {
        assert_eq!(shown(messages), expected, "{messages}");
    }
}

#[test]
fn attachments_are_told_by_their_place() {
    let user = |block: &str| shown(&format!(r#"{{"role":"user","content":[{{"type":"text","text":"q"}},{block}]}}"#));
    const AT: &str = "at messages[0].content[1]";
    for (block, expected) in [
        (
            r#"{"type":"image","source":{"type":"base64","media_type":"image/jpeg","data":"aGk="}}"#,
            format!(r#"Image image Content("aGk=") image.jpg {AT}"#),
        ),
        (
            r#"{"type":"image","source":{"type":"url","url":"https://x/"}}"#,
            format!(r#"Image image Link("https://x/") - {AT}"#),
        ),
        (r#"{"type":"image","source":{"type":"file","file_id":"f"}}"#, format!(r#"Image image Upload("f") - {AT}"#)),
        (
            r#"{"type":"image","source":"data:image/png;base64,aGk="}"#,
            format!(r#"Image image Link("data:image/png;base64,aGk=") - {AT}"#),
        ),
        (r#"{"type":"image"}"#, format!("Image image Missing - {AT}")),
        (
            r#"{"type":"document","title":"Plan","source":{"type":"base64","media_type":"application/pdf","data":"aGk="}}"#,
            format!(r#"File document Content("aGk=") Plan.pdf {AT}"#),
        ),
        (
            r#"{"type":"document","title":"a.pdf","context":"It is about a.","citations":{"enabled":true},"source":{"type":"url","url":"https://x/a"}}"#,
            format!(r#""It is about a." File document Link("https://x/a") a.pdf {AT}"#),
        ),
        (
            r#"{"type":"document","title":"T","source":{"type":"text","media_type":"text/plain","data":"body"}}"#,
            r#""T" "body""#.to_owned(),
        ),
        (
            r#"{"type":"document","source":{"type":"content","content":[{"type":"text","text":"x"},{"type":"image","source":{"type":"file","file_id":"f"}}]}}"#,
            format!(r#""x" Image image Upload("f") - {AT}.source.content[1]"#),
        ),
        (r#"{"type":"document","source":{"type":"content","content":"x"}}"#, r#""x""#.to_owned()),
        (
            r#"{"type":"search_result","source":"https://x/","title":"T","content":[{"type":"text","text":"x"}],"citations":{"enabled":true}}"#,
            r#""T" "https://x/" "x""#.to_owned(),
        ),
    ] {
        assert_eq!(user(block), [format!(r#"User "q" {expected}"#)], "{block}");
    }
    let nested = r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":[{"type":"text","text":"x"},{"type":"image","source":{"type":"file","file_id":"f"}}]}]}"#;
    assert_eq!(shown(nested), [r#"Tool #1 "x" Image image Upload("f") - at messages[0].content[0].content[1]"#]);
}

#[test]
fn the_system_text_comes_first() {
    let line = "x-anthropic-billing-header: cc_version=2.1.332.a1b; cc_entrypoint=cli; cch=00000;";
    for (system, expected) in [
        (r#""s""#.to_owned(), Some(r#"System "s""#)),
        (
            r#"[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}},{"type":"text","text":"t"}]"#
                .to_owned(),
            Some(r#"System "s" "t""#),
        ),
        (format!(r#"[{{"type":"text","text":"{line}"}},{{"type":"text","text":"s"}}]"#), Some(r#"System "s""#)),
        (format!(r#""{line}\ns""#), Some(r#"System "s""#)),
        (format!(r#""{line}""#), None),
        (r#""""#.to_owned(), None),
        ("[]".to_owned(), None),
        ("null".to_owned(), None),
    ] {
        for fields in [
            format!(r#""system":{system},"messages":[{{"role":"user","content":"q"}}]"#),
            format!(r#""messages":[{{"role":"user","content":"q"}}],"system":{system}"#),
        ] {
            let messages: Vec<String> = request(&fields).unwrap().messages.iter().map(shown_message).collect();
            let expected: Vec<&str> = expected.into_iter().chain([r#"User "q""#]).collect();
            assert_eq!(messages, expected, "{fields}");
        }
    }
    assert!(request(r#""messages":[],"system":"s""#).unwrap().messages.is_empty());
}

#[test]
fn a_wrong_type_is_told_by_the_path_of_its_field() {
    let block = |block: &str| format!(r#""messages":[{{"role":"user","content":[{{"type":"text"}},{block}]}}]"#);
    let with = |field: &str| format!(r#""messages":[],{field}"#);
    for (fields, param) in [
        (String::new(), "messages"),
        (r#""messages":"x""#.to_owned(), "messages"),
        (r#""messages":[{}]"#.to_owned(), "messages[0].role"),
        (r#""messages":[{"role":"tool"}]"#.to_owned(), "messages[0].role"),
        (r#""messages":[{"role":"user","content":5}]"#.to_owned(), "messages[0].content"),
        (block("5"), "messages[0].content[1]"),
        (block("{}"), "messages[0].content[1].type"),
        (block(r#"{"type":"text","text":5}"#), "messages[0].content[1].text"),
        (block(r#"{"type":"image","source":[]}"#), "messages[0].content[1].source"),
        (block(r#"{"type":"image","source":{"data":5}}"#), "messages[0].content[1].source.data"),
        (block(r#"{"type":"tool_result","tool_use_id":5}"#), "messages[0].content[1].tool_use_id"),
        (block(r#"{"type":"tool_result","is_error":5}"#), "messages[0].content[1].is_error"),
        (
            block(r#"{"type":"tool_result","content":[{"type":"text","text":[]}]}"#),
            "messages[0].content[1].content[0].text",
        ),
        (with(r#""system":5"#), "system"),
        (with(r#""system":[{"text":"x"}]"#), "system[0].type"),
        (with(r#""max_tokens":"5""#), "max_tokens"),
        (with(r#""max_tokens":1.5"#), "max_tokens"),
        (with(r#""stream":"yes""#), "stream"),
        (with(r#""stop_sequences":["a",5]"#), "stop_sequences[1]"),
        (with(&format!(r#""stop_sequences":["{}"]"#, "a".repeat(1025))), "stop_sequences"),
        (with(r#""tools":{}"#), "tools"),
        (with(r#""tools":[{"name":5}]"#), "tools[0].name"),
        (with(r#""tools":[{}]"#), "tools[0].name"),
        (with(r#""tools":[{"name":"f","input_schema":5}]"#), "tools[0].input_schema"),
        (with(r#""tools":[{"name":"f"},{"name":"g"},{"name":"f"}]"#), "tools[2].name"),
        (with(&format!(r#""tools":[{{"name":"{}"}}]"#, "n".repeat(129))), "tools[0].name"),
        (
            with(&format!(r#""tools":[{{"name":"f","input_schema":{}1{}}}]"#, r#"{"a":"#.repeat(121), "}".repeat(121))),
            "tools[0].input_schema",
        ),
        (with(r#""tool_choice":"auto""#), "tool_choice"),
        (with(r#""tool_choice":{}"#), "tool_choice.type"),
        (with(r#""tool_choice":{"type":"any"}"#), "tool_choice"),
        (with(r#""tools":[{"name":"f"}],"tool_choice":{"type":"some"}"#), "tool_choice.type"),
        (with(r#""tools":[{"name":"f"}],"tool_choice":{"type":"tool"}"#), "tool_choice.name"),
        (with(r#""tools":[{"name":"f"}],"tool_choice":{"type":"tool","name":"g"}"#), "tool_choice.name"),
        (with(r#""thinking":{"budget_tokens":"x"}"#), "thinking.budget_tokens"),
        (with(r#""output_config":{"effort":5}"#), "output_config.effort"),
        (with(r#""output_config":{"format":{"type":"xml"}}"#), "output_config.format.type"),
        (with(r#""output_config":{"format":{"type":"json_schema"}}"#), "output_config.format.schema"),
        (with(r#""output_format":{"type":"json_schema"}"#), "output_format.schema"),
        (with(r#""temperature":"hot""#), "temperature"),
        (with(r#""top_k":true"#), "top_k"),
        (with(r#""metadata":[]"#), "metadata"),
        (with(r#""service_tier":5"#), "service_tier"),
        (with(r#""context_management":5"#), "context_management"),
    ] {
        let error = request(&fields).unwrap_err();
        assert_eq!((error.kind(), error.param()), (ErrorKind::InvalidRequest, Some(param)), "{fields}: {error}");
    }
    assert_eq!(parse(b"{").unwrap_err().kind(), ErrorKind::InvalidJson);
    assert_eq!(parse(b"[]").unwrap_err().kind(), ErrorKind::InvalidRequest);
}

#[test]
fn what_means_nothing_is_accepted() {
    let fields = r#""messages":[],"model":null,"max_tokens":null,"system":null,"tools":null,"tool_choice":null,"stop_sequences":null,
        "metadata":{"user_id":"{}"},"temperature":1,"top_p":0.5,"top_k":1e999,"service_tier":"auto","speed":"fast","betas":["a"],
        "inference_geo":"us","cache_control":{"type":"ephemeral"},"context_management":{"edits":[]},"container":"c",
        "mcp_servers":[{"type":"url"}],"made_up":[1]"#;
    let request = request(fields).unwrap();
    assert_eq!((request.model, request.max_tokens, request.reasoning, request.search), (None, None, None, false));
}

#[test]
fn what_there_is_much_of_is_bounded() {
    for (item, before, after, most, param) in [
        (r#"{"role":"user"}"#, r#""messages":["#, "]", super::message::MAX_MESSAGES, "messages"),
        (r#"{"type":"text"}"#, r#""messages":[{"role":"user","content":["#, "]}]", MAX_PARTS, "messages[0].content"),
        (
            r#"{"type":"text"}"#,
            r#""messages":[{"role":"user","content":[{"type":"tool_result","content":["#,
            "]}]}]",
            MAX_PARTS,
            "messages[0].content[0].content",
        ),
        (r#"{"type":"text"}"#, r#""messages":[],"system":["#, "]", MAX_PARTS, "system"),
        (r#"{"type":"x"}"#, r#""messages":[],"tools":["#, "]", MAX_TOOLS, "tools"),
        (r#""a""#, r#""messages":[],"stop_sequences":["#, "]", MAX_STOPS, "stop_sequences"),
    ] {
        let body = |count: usize| format!("{before}{}{after}", vec![item; count].join(","));
        assert!(request(&body(most)).is_ok(), "{param}");
        let error = request(&body(most + 1)).unwrap_err();
        assert_eq!((error.kind(), error.param()), (ErrorKind::InvalidRequest, Some(param)), "{error:?}");
        assert!(error.message().contains(&most.to_string()), "{error}");
    }
    // Results of tools are messages, and attachments count in all messages together.
    let message = |block: &str| format!(r#"{{"role":"user","content":[{}]}}"#, vec![block; 1000].join(","));
    for (block, most) in [(r#"{"type":"tool_result"}"#, 10), (r#"{"type":"image"}"#, 1)] {
        let body = |count: usize| format!(r#""messages":[{}]"#, vec![message(block); count].join(","));
        assert!(request(&body(most)).is_ok(), "{block}");
        assert_eq!(request(&body(most + 1)).unwrap_err().kind(), ErrorKind::InvalidRequest, "{block}");
    }
    let deep = format!("{}{}", r#"{"type":"tool_result","content":["#.repeat(5000), "]}".repeat(5000));
    assert!(request(&format!(r#""messages":[{{"role":"user","content":[{deep}]}}]"#)).is_err());
}

#[test]
fn tools_and_choices_are_read() {
    const TOOLS: &str = r#"[{"name":"f","description":"d","input_schema":{"type":"object"},"strict":true,"defer_loading":true,"input_examples":[{}]},
        {"type":"custom","name":"g"},{"type":"web_search_20260209","name":"web_search","max_uses":5},{"type":"code_execution_20250825","name":"code_execution"},
        {"type":"bash_20250124","name":"bash"},{"type":"text_editor_20250728","name":"str_replace_based_edit_tool","max_characters":5}]"#;
    let with = |choice: &str| request(&format!(r#""messages":[],"tools":{TOOLS},"tool_choice":{choice}"#)).unwrap();
    let request_with = with("null");
    assert!(request_with.search && request_with.parallel_tool_calls);
    let names: Vec<&str> = request_with.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["f", "g", "bash", "str_replace_based_edit_tool"]);
    let llm::Tool { name: _, description, parameters, kind, strict } = &request_with.tools[0];
    assert_eq!((description.as_deref(), parameters.as_deref()), (Some("d"), Some(r#"{"type":"object"}"#)));
    assert_eq!((*kind, *strict), (ToolKind::Function, true));
    for tool in &request_with.tools[2..] {
        let schema: Json = serde_json::from_str(tool.parameters.as_deref().unwrap()).unwrap();
        assert!(schema["properties"]["command"].is_object() && tool.description.is_some(), "{}", tool.name);
    }
    for (choice, expected, parallel) in [
        (r#"{"type":"auto"}"#, ToolChoice::Auto, true),
        (r#"{"type":"auto","disable_parallel_tool_use":true}"#, ToolChoice::Auto, false),
        (r#"{"type":"any","disable_parallel_tool_use":false}"#, ToolChoice::Required, true),
        (r#"{"type":"none"}"#, ToolChoice::None, true),
        (r#"{"type":"tool","name":"g"}"#, ToolChoice::Named("g".to_owned()), true),
        // The site decides itself when it searches.
        (r#"{"type":"tool","name":"web_search"}"#, ToolChoice::Auto, true),
    ] {
        let request = with(choice);
        assert_eq!((request.tool_choice, request.parallel_tool_calls), (expected, parallel), "{choice}");
    }
    let search =
        r#""messages":[],"tools":[{"type":"web_search_20250305","name":"web_search"}],"tool_choice":{"type":"any"}"#;
    assert_eq!(request(search).unwrap().tool_choice, ToolChoice::Auto);
}

#[test]
fn thinking_formats_and_limits_are_read() {
    let with = |fields: &str| request(&format!(r#""messages":[],{fields}"#)).unwrap();
    for (fields, expected) in [
        (r#""thinking":null"#, None),
        (r#""thinking":{"type":"disabled"}"#, Some(Reasoning::Off)),
        (
            r#""thinking":{"type":"adaptive","display":"updates"},"output_config":{"effort":"high"}"#,
            Some(Reasoning::Auto),
        ),
        (r#""thinking":{"type":"enabled","budget_tokens":2048}"#, Some(Reasoning::On { budget: Some(2048) })),
        (r#""output_config":{"effort":"low"}"#, Some(Reasoning::On { budget: None })),
        (r#""output_config":{"effort":"none"}"#, Some(Reasoning::Off)),
    ] {
        assert_eq!(with(fields).reasoning, expected, "{fields}");
    }
    for (fields, schema, param) in [
        (
            r#""output_config":{"format":{"type":"json_schema","schema":{ }}}"#,
            Some("{ }"),
            "output_config.format.schema",
        ),
        (r#""output_format":{"type":"json_schema","schema":{}}"#, Some("{}"), "output_format.schema"),
        (r#""output_config":{"format":{"type":"json_object"}}"#, None, "output_config.format"),
    ] {
        let format = with(fields).format.unwrap();
        assert_eq!((format.schema.as_deref(), format.param), (schema, param), "{fields}");
    }
    assert_eq!(with(r#""output_config":{"format":null},"output_format":{"type":"text"}"#).format, None);
    assert_eq!(with(r#""max_tokens":5.0"#).max_tokens, Some(5));
    assert_eq!(with(r#""max_tokens":0"#).max_tokens, None);
    assert_eq!(with(r#""stop_sequences":["a","","b"]"#).stop, ["a", "b"]);
    let Delivery::Messages(delivery) =
        parse(br#"{"messages":[{"role":"user","content":"hello"}],"stream":true}"#).unwrap().delivery
    else {
        panic!("another dialect")
    };
    assert!(delivery.is_stream && delivery.input_tokens > 0);
}

const USAGE: Usage = Usage { prompt: 30, completion: 9, total: 39, reasoning: Some(4), cached: Some(20) };
const CALL: CallEvent<'static> =
    CallEvent { index: 0, id: "call_abc00", name: "f", arguments: r#"{"x": 1}"#, kind: ToolKind::Function };

fn encoder(is_stream: bool) -> Encoder {
    let meta = AnswerMeta { id: "msg_1".to_owned(), created: UnixSeconds::new(1), model: "m".to_owned() };
    Encoder::new(meta, MessagesDelivery { is_stream, input_tokens: 7 })
}

fn answer<'a>(finish: FinishReason, stop_text: Option<&'a str>) -> Answer<'a> {
    Answer {
        text: "",
        reasoning: "",
        calls: &[],
        pictures: &[],
        citations: &[],
        refusal: None,
        finish,
        stop_text,
        usage: USAGE,
    }
}

fn events(write: impl FnOnce(&mut Encoder, &mut BytesMut)) -> Vec<Json> {
    let (mut encoder, mut out) = (encoder(true), BytesMut::new());
    write(&mut encoder, &mut out);
    let text = String::from_utf8(out.to_vec()).unwrap();
    let event = |event: &str| {
        let (name, data) = event.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        let data: Json = serde_json::from_str(data).unwrap();
        assert_eq!(data["type"], name);
        data
    };
    text.split_terminator("\n\n").map(event).collect()
}

#[test]
fn a_stream_has_its_blocks_one_after_the_other() {
    let citation = Citation { url: "https://x/".to_owned(), title: "X".to_owned(), start: 0, end: 5 };
    let events = events(|encoder, out| {
        encoder.begin(out);
        encoder.event(Event::Reasoning("hm"), out);
        encoder.event(Event::Text(""), out);
        encoder.event(Event::Text("a"), out);
        encoder.event(Event::Text("\u{2028}b"), out);
        encoder.event(Event::ToolCall(CALL), out);
        encoder.event(Event::Text("[[1]]"), out);
        let citations = [citation];
        encoder.finish(&Answer { citations: &citations, ..answer(FinishReason::ToolCalls, None) }, out);
    });
    let usage = |input: u64, output: u64| json!({"input_tokens": input, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": output});
    let start =
        |index: usize, block: Json| json!({"type": "content_block_start", "index": index, "content_block": block});
    let delta = |index: usize, delta: Json| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let stop = |index: usize| json!({"type": "content_block_stop", "index": index});
    let expected = [
        json!({"type": "message_start", "message": {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": usage(7, 0),
        }}),
        start(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, json!({"type": "thinking_delta", "thinking": "hm"})),
        delta(0, json!({"type": "signature_delta", "signature": "cXdlbi1lZGdl"})),
        stop(0),
        start(1, json!({"type": "text", "text": ""})),
        delta(1, json!({"type": "text_delta", "text": "a"})),
        delta(1, json!({"type": "text_delta", "text": "\u{2028}b"})),
        stop(1),
        start(2, json!({"type": "tool_use", "id": "toolu_abc00", "name": "f", "input": {}})),
        delta(2, json!({"type": "input_json_delta", "partial_json": r#"{"x": 1}"#})),
        stop(2),
        start(3, json!({"type": "text", "text": ""})),
        delta(3, json!({"type": "text_delta", "text": "[[1]]"})),
        delta(
            3,
            json!({"type": "citations_delta", "citation": {
                "type": "web_search_result_location", "url": "https://x/", "title": "X", "cited_text": "", "encrypted_index": "",
            }}),
        ),
        stop(3),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null}, "usage": usage(30, 9)}),
        json!({"type": "message_stop"}),
    ];
    assert_eq!(events.len(), expected.len());
    for (event, expected) in events.iter().zip(&expected) {
        assert_eq!(event, expected);
    }
}

#[test]
fn heartbeats_begin_a_message_once() {
    let events = events(|encoder, out| {
        encoder.keep_alive(out);
        encoder.keep_alive(out);
        // A repeated attempt goes on with the encoder of the first, and begins again.
        let mut encoder = encoder.clone();
        encoder.begin(out);
        encoder.event(Event::Text("a"), out);
        encoder.keep_alive(out);
        Encoder::fail(&Error::new(ErrorKind::Overloaded, "Busy."), out);
    });
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let expected = ["message_start", "ping", "ping", "content_block_start", "content_block_delta", "ping", "error"];
    assert_eq!(kinds, expected);
    assert_eq!(events[6]["error"]["type"], "overloaded_error");
}

#[test]
fn an_answer_tells_why_it_ended() {
    for (finish, stop_text, reason, sequence) in [
        (FinishReason::Stop, None, "end_turn", None),
        (FinishReason::Stop, Some("END"), "stop_sequence", Some("END")),
        (FinishReason::Length, Some("END"), "max_tokens", None),
        (FinishReason::ToolCalls, None, "tool_use", None),
        (FinishReason::ContentFilter, None, "refusal", None),
    ] {
        let answer = answer(finish, stop_text);
        let events = events(|encoder, out| {
            encoder.begin(out);
            encoder.finish(&answer, out);
        });
        let mut out = BytesMut::new();
        encoder(false).finish(&answer, &mut out);
        let whole: Json = serde_json::from_slice(&out).unwrap();
        assert_eq!((whole["stop_reason"].as_str(), whole["stop_sequence"].as_str()), (Some(reason), sequence));
        // An answer without a word has a block all the same.
        assert_eq!(whole["content"], json!([{"type": "text", "text": ""}]));
        assert_eq!(events.len(), 5);
        assert_eq!(
            events[3]["delta"],
            json!({"stop_reason": whole["stop_reason"], "stop_sequence": whole["stop_sequence"]})
        );
    }
}

#[test]
fn a_whole_answer_has_its_blocks_in_order() {
    let calls = [llm::Call {
        id: "call_abc00".to_owned(),
        name: "f".to_owned(),
        arguments: r#"{"x": 1.0}"#.to_owned(),
        kind: ToolKind::Function,
    }];
    let answer = Answer { text: "a", reasoning: "hm", calls: &calls, ..answer(FinishReason::ToolCalls, None) };
    let mut out = BytesMut::new();
    let mut encoder = encoder(false);
    encoder.begin(&mut out);
    encoder.event(Event::Text("a"), &mut out);
    encoder.finish(&Answer { usage: Usage::default(), ..answer }, &mut out);
    assert_eq!(
        std::str::from_utf8(&out).unwrap(),
        concat!(
            r#"{"id":"msg_1","type":"message","role":"assistant","model":"m","content":["#,
            r#"{"type":"thinking","thinking":"hm","signature":"cXdlbi1lZGdl"},{"type":"text","text":"a"},"#,
            r#"{"type":"tool_use","id":"toolu_abc00","name":"f","input":{"x": 1.0}}],"stop_reason":"tool_use","stop_sequence":null,"#,
            r#""usage":{"input_tokens":7,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}"#
        )
    );
}

#[test]
fn statuses_are_those_of_the_other_dialects() {
    for kind in [
        ErrorKind::Configuration,
        ErrorKind::MissingApiKey,
        ErrorKind::InvalidApiKey,
        ErrorKind::NotFound,
        ErrorKind::MethodNotAllowed,
        ErrorKind::RequestTooLarge,
        ErrorKind::UnsupportedEncoding,
        ErrorKind::Challenge,
        ErrorKind::QuotaExceeded,
        ErrorKind::Overloaded,
        ErrorKind::ModelNotFound,
        ErrorKind::UpstreamError,
        ErrorKind::UpstreamTimeout,
    ] {
        assert_eq!(wire_form(kind).status, crate::api::openai::wire_form(kind).status, "{kind:?}");
    }
}

#[test]
fn a_role_of_each_message_is_kept() {
    let request = request(
        r#""messages":[{"role":"user","content":"a"},{"role":"system","content":"s"},{"role":"assistant","content":"b"}]"#,
    );
    let roles: Vec<Role> = request.unwrap().messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::User, Role::System, Role::Assistant]);
}
