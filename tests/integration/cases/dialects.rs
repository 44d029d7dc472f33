//! The three dialects of conversations as one: how each asks, and what a client reads of the answer. Reading checks the form.

use serde_json::{Value, json};

use super::{
    agent::{self, Answer},
    messages,
    response_reader::{self, Response},
};
use crate::{
    http::{EVENT_STREAM, Reply, with},
    server::{KEY, Server},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Chat,
    Responses,
    Messages,
}

/// All dialects, each whole and as a stream.
pub const ALL: [(Dialect, bool); 6] = [
    (Dialect::Chat, false),
    (Dialect::Chat, true),
    (Dialect::Responses, false),
    (Dialect::Responses, true),
    (Dialect::Messages, false),
    (Dialect::Messages, true),
];

/// What a client reads of an answer, in the words of chat completions.
#[derive(Debug, PartialEq)]
pub struct Seen {
    pub text: String,
    pub thinking: String,
    /// Id, name and arguments.
    pub calls: Vec<(String, String, Value)>,
    pub finish: String,
    /// Tokens of the request and of the answer.
    pub usage: (u64, u64),
}

impl Seen {
    /// Names and arguments of the calls.
    pub fn called(&self) -> Vec<(&str, &Value)> {
        self.calls.iter().map(|(_, name, arguments)| (name.as_str(), arguments)).collect()
    }
}

impl Dialect {
    pub const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Responses => "/v1/responses",
            Self::Messages => "/v1/messages",
        }
    }

    /// A request with one question.
    pub fn question(self, prompt: &str) -> Value {
        self.history(&[("user", prompt)])
    }

    /// A request with these messages of users and assistants.
    pub fn history(self, messages: &[(&str, &str)]) -> Value {
        let messages = messages.iter().map(|(role, text)| json!({ "role": role, "content": text })).collect::<Value>();
        match self {
            Self::Chat => json!({ "model": "qwen3-max", "messages": messages }),
            Self::Responses => json!({ "model": "qwen3-max", "input": messages }),
            Self::Messages => json!({ "model": "qwen3-max", "max_tokens": 4_000, "messages": messages }),
        }
    }

    /// A tool that was declared as chat completions declare it.
    pub fn tool(self, tool: &Value) -> Value {
        match self {
            Self::Chat => tool.clone(),
            Self::Responses => response_reader::flat(tool),
            Self::Messages => {
                let mut function = tool["function"].clone();
                let schema = function.as_object_mut().unwrap().remove("parameters").unwrap();
                with(function, json!({ "input_schema": schema }))
            }
        }
    }

    /// Adds an answer to a request that has a history, and the results of its calls.
    pub fn with_results(self, mut request: Value, reply: &Reply, results: &[&str]) -> Value {
        let field = if self == Self::Responses { "input" } else { "messages" };
        let messages = request[field].as_array_mut().unwrap();
        let calls = self.read(reply).calls;
        assert_eq!(calls.len(), results.len(), "{reply:?}");
        let answered = calls.iter().map(|(id, ..)| id).zip(results);
        match self {
            Self::Chat => {
                messages.push(Answer::read(reply).message());
                let result = |(id, text)| json!({ "role": "tool", "tool_call_id": id, "content": text });
                messages.extend(answered.map(result));
            }
            Self::Responses => {
                messages.extend_from_slice(Response::read(reply).output());
                messages.extend(answered.map(|(id, text)| response_reader::result(id, text)));
            }
            Self::Messages => {
                messages.push(json!({ "role": "assistant", "content": messages::message(reply)["content"] }));
                let result = |(id, text)| json!({ "type": "tool_result", "tool_use_id": id, "content": text });
                messages.push(json!({ "role": "user", "content": answered.map(result).collect::<Value>() }));
            }
        }
        request
    }

    pub async fn ask(self, server: &Server, request: &Value, stream: bool) -> Reply {
        self.ask_with(server, request, stream, &[]).await
    }

    pub async fn ask_with(self, server: &Server, request: &Value, stream: bool, headers: &[(&str, &str)]) -> Reply {
        let mut body = with(request.clone(), json!({ "stream": stream }));
        if self == Self::Chat && stream {
            body["stream_options"] = json!({ "include_usage": true });
        }
        let authorization = format!("Bearer {KEY}");
        let own = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let headers = [&own, headers].concat();
        server.http.send("POST", self.path(), &headers, body.to_string()).await
    }

    #[track_caller]
    pub fn read(self, reply: &Reply) -> Seen {
        let usage = |usage: &Value, names: [&str; 2]| {
            let count = |name: &str| usage[name].as_u64().unwrap_or_default();
            (count(names[0]), count(names[1]))
        };
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{reply:?}")).to_owned();
        let arguments = |value: &Value| serde_json::from_str(&text(value)).unwrap_or_else(|_| panic!("{reply:?}"));
        match self {
            Self::Chat => {
                let answer = Answer::read(reply);
                let call = |call: &Value| {
                    let function = &call["function"];
                    (text(&call["id"]), text(&function["name"]), arguments(&function["arguments"]))
                };
                Seen {
                    calls: answer.calls.iter().map(call).collect(),
                    text: answer.content.unwrap_or_default(),
                    thinking: answer.reasoning,
                    finish: answer.finish,
                    usage: usage(&answer.usage, ["prompt_tokens", "completion_tokens"]),
                }
            }
            Self::Responses => {
                let response = Response::read(reply);
                let call = |item: &&Value| (text(&item["call_id"]), text(&item["name"]), arguments(&item["arguments"]));
                let calls: Vec<_> = response.of_kind("function_call").iter().map(call).collect();
                let finish = match response.body["incomplete_details"]["reason"].as_str() {
                    Some("max_output_tokens") => "length",
                    Some(reason) => reason,
                    None if calls.is_empty() => "stop",
                    None => "tool_calls",
                };
                Seen {
                    text: response.text(),
                    thinking: response.reasoning(),
                    finish: finish.to_owned(),
                    calls,
                    usage: usage(&response.body["usage"], ["input_tokens", "output_tokens"]),
                }
            }
            Self::Messages => {
                let message = messages::message(reply);
                let blocks = message["content"].as_array().unwrap();
                let of = |kind: &str, field: &str| {
                    let blocks = blocks.iter().filter(|block| block["type"] == kind);
                    blocks.map(|block| text(&block[field])).collect::<String>()
                };
                let calls = blocks.iter().filter(|block| block["type"] == "tool_use");
                let finish = match message["stop_reason"].as_str().unwrap_or_else(|| panic!("{reply:?}")) {
                    "end_turn" | "stop_sequence" => "stop",
                    "max_tokens" => "length",
                    "tool_use" => "tool_calls",
                    "refusal" => "content_filter",
                    other => other,
                };
                Seen {
                    text: of("text", "text"),
                    thinking: of("thinking", "thinking"),
                    calls: calls
                        .map(|block| (text(&block["id"]), text(&block["name"]), block["input"].clone()))
                        .collect(),
                    finish: finish.to_owned(),
                    usage: usage(&message["usage"], ["input_tokens", "output_tokens"]),
                }
            }
        }
    }

    /// The error of an answer: its status, code and message. That of a stream that has begun has the status 200.
    #[track_caller]
    pub fn error(self, reply: &Reply) -> (u16, String, String) {
        let error = if reply.header("content-type") != Some(EVENT_STREAM) {
            assert_ne!(reply.status, 200, "no error: {reply:?}");
            reply.json()["error"].clone()
        } else {
            match self {
                Self::Chat => {
                    let events = reply.events();
                    assert!(!events.iter().any(|event| event == "[DONE]"), "no error: {reply:?}");
                    serde_json::from_str::<Value>(events.last().unwrap()).unwrap()["error"].clone()
                }
                Self::Responses => Response::read(reply).body["error"].clone(),
                Self::Messages => {
                    let last = messages::events(reply).pop().unwrap();
                    assert_eq!(last["type"], "error", "{reply:?}");
                    last["error"].clone()
                }
            }
        };
        let text = |name: &str| error[name].as_str().unwrap_or_else(|| panic!("{name}: {reply:?}")).to_owned();
        (reply.status.as_u16(), text("code"), text("message"))
    }
}

/// Checks which upstream an answer names.
#[track_caller]
pub fn assert_upstream(reply: &Reply, name: &str) {
    assert_eq!(reply.header("x-upstream"), Some(name), "{reply:?}");
}

/// `get_weather`, as this dialect declares it.
pub fn weather(dialect: Dialect) -> Value {
    dialect.tool(&agent::weather())
}
