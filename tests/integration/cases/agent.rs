//! A client that declares tools, and what it reads of an answer. Reading checks the form of chat completions.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    fake_qwen::{Fake, encoded, steps},
    http::{EVENT_STREAM, Reply, concat_deltas, with},
    server::{Case, Server, unique},
};

/// A whole answer or the sum of a stream.
#[derive(Debug)]
pub struct Answer {
    pub content: Option<String>,
    pub reasoning: String,
    pub refusal: Option<String>,
    /// As they stand in a message: `id`, `type`, `function` or `custom`.
    pub calls: Vec<Value>,
    /// The older form of a call.
    pub function_call: Value,
    pub finish: String,
    pub usage: Value,
}

impl Answer {
    #[track_caller]
    pub fn read(reply: &Reply) -> Self {
        assert_eq!(reply.status, 200, "{reply:?}");
        if reply.header("content-type") == Some(EVENT_STREAM) { Self::of_stream(reply) } else { Self::of_whole(reply) }
    }

    #[track_caller]
    fn of_whole(reply: &Reply) -> Self {
        let answer = reply.json();
        let choice = &answer["choices"][0];
        let message = &choice["message"];
        let text = |name: &str| message[name].as_str().map(str::to_owned);
        assert!(message.get("tool_calls") != Some(&json!([])), "an empty list of calls: {answer}");
        assert_eq!(message["role"], "assistant");
        Self {
            content: text("content"),
            reasoning: text("reasoning_content").unwrap_or_default(),
            refusal: text("refusal"),
            calls: message["tool_calls"].as_array().cloned().unwrap_or_default(),
            function_call: message["function_call"].clone(),
            finish: choice["finish_reason"].as_str().unwrap().to_owned(),
            usage: answer["usage"].clone(),
        }
    }

    #[track_caller]
    fn of_stream(reply: &Reply) -> Self {
        assert_eq!(reply.events().last().map(String::as_str), Some("[DONE]"), "{reply:?}");
        let mut chunks = reply.chunks();
        let usage = match chunks.last() {
            Some(last) if last["choices"] == json!([]) => chunks.pop().unwrap()["usage"].clone(),
            _ => Value::Null,
        };
        let first = &chunks[0]["choices"][0]["delta"];
        assert_eq!((&first["role"], &first["content"]), (&json!("assistant"), &json!("")), "{reply:?}");
        let (last, others) = chunks.split_last().unwrap();
        assert!(others.iter().all(|chunk| chunk["choices"][0]["finish_reason"].is_null()), "{reply:?}");
        let finish = last["choices"][0]["finish_reason"].as_str().unwrap_or_else(|| panic!("{reply:?}")).to_owned();
        let mut calls: Vec<Value> = Vec::new();
        let mut function_call = Value::Null;
        for chunk in &chunks {
            let delta = &chunk["choices"][0]["delta"];
            let is_late = !calls.is_empty() && (delta["content"].is_string() || delta["reasoning_content"].is_string());
            assert!(!is_late, "text after a call: {reply:?}");
            if delta["function_call"].is_object() {
                add(&mut function_call, &delta["function_call"]);
            }
            let Some(pieces) = delta["tool_calls"].as_array() else { continue };
            assert_eq!(pieces.len(), 1, "one call a chunk: {delta}");
            let mut piece = pieces[0].clone();
            let index = piece.as_object_mut().unwrap().remove("index").unwrap().as_u64().unwrap() as usize;
            let kind = if piece.get("custom").is_some() { "custom" } else { "function" };
            let named = piece["id"].is_string() && piece["type"] == kind && piece[kind]["name"].is_string();
            if index == calls.len() {
                assert!(named, "the first piece of a call has its id, type and name: {delta}");
                calls.push(piece);
            } else {
                assert_eq!(index + 1, calls.len(), "the calls come one after the other: {delta}");
                assert!(piece.get("id").is_none() && piece[kind].get("name").is_none(), "{delta}");
                add(&mut calls[index][kind], &piece[kind]);
            }
        }
        let content = concat_deltas(&chunks, "content");
        let refusal = concat_deltas(&chunks, "refusal");
        let has_call = !calls.is_empty() || function_call.is_object();
        Self {
            content: Some(content).filter(|text| !(text.is_empty() && (has_call || !refusal.is_empty()))),
            reasoning: concat_deltas(&chunks, "reasoning_content"),
            refusal: Some(refusal).filter(|text| !text.is_empty()),
            calls,
            function_call,
            finish,
            usage,
        }
    }

    /// Name and arguments of each call.
    #[track_caller]
    pub fn called(&self) -> Vec<(&str, Value)> {
        let call = |call: &'_ Value| serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
        self.calls.iter().map(|each| (each["function"]["name"].as_str().unwrap(), call(each))).collect()
    }

    #[track_caller]
    pub fn id(&self, index: usize) -> &str {
        self.calls[index]["id"].as_str().unwrap()
    }

    /// Checks that the answer is one call of `get_weather` with this city, and no text.
    #[track_caller]
    pub fn assert_weather(&self, city: &str) {
        assert_eq!(self.called(), [("get_weather", json!({ "city": city }))], "{self:?}");
        assert_eq!((self.finish.as_str(), &self.content), ("tool_calls", &None), "{self:?}");
    }

    /// Checks that the answer is this text, and no call.
    #[track_caller]
    pub fn assert_text(&self, text: &str) {
        assert_eq!((self.content.as_deref(), self.finish.as_str()), (Some(text), "stop"), "{self:?}");
        assert!(self.calls.is_empty() && self.function_call.is_null(), "{self:?}");
    }

    /// The message that a client keeps of it.
    pub fn message(&self) -> Value {
        let mut message = json!({ "role": "assistant", "content": self.content });
        if !self.calls.is_empty() {
            message["tool_calls"] = self.calls.clone().into();
        }
        message
    }
}

/// Appends the texts of a delta.
fn add(sum: &mut Value, delta: &Value) {
    for (name, piece) in delta.as_object().unwrap() {
        let before = sum[name].as_str().unwrap_or_default().to_owned();
        sum[name] = format!("{before}{}", piece.as_str().unwrap()).into();
    }
}

/// A client that sends its whole history with each request.
pub struct Agent {
    server: Arc<Server>,
    pub messages: Vec<Value>,
    /// Of each request: the tools, for instance.
    pub fields: Value,
    pub stream: bool,
}

impl Agent {
    pub fn new(server: &Arc<Server>, fields: Value, stream: bool) -> Self {
        Self { server: Arc::clone(server), messages: Vec::new(), fields, stream }
    }

    pub fn say(&mut self, role: &str, text: &str) {
        self.messages.push(json!({ "role": role, "content": text }));
    }

    pub fn result(&mut self, id: &str, text: &str) {
        self.messages.push(json!({ "role": "tool", "tool_call_id": id, "content": text }));
    }

    pub async fn reply(&self) -> Reply {
        let body = json!({ "model": "qwen3-max", "messages": self.messages });
        self.server.chat(&with(with(body, self.fields.clone()), streaming(self.stream))).await
    }

    /// Sends the history, and appends the answer to it.
    pub async fn send(&mut self) -> Answer {
        let answer = Answer::read(&self.reply().await);
        self.messages.push(answer.message());
        answer
    }

    /// Sends a question, and appends it and its answer to the history.
    pub async fn ask(&mut self, question: &str) -> Answer {
        self.say("user", question);
        self.send().await
    }
}

fn streaming(stream: bool) -> Value {
    if stream { json!({ "stream": true, "stream_options": { "include_usage": true } }) } else { json!({}) }
}

pub async fn reply(server: &Server, request: &Value, stream: bool) -> Reply {
    server.chat(&with(request.clone(), streaming(stream))).await
}

/// A tool with this schema of its arguments.
pub fn tool(name: &str, parameters: Value) -> Value {
    json!({ "type": "function", "function": { "name": name, "description": format!("Runs {name}."), "parameters": parameters } })
}

/// `get_weather`, which needs a city.
pub fn weather() -> Value {
    let properties = json!({ "city": { "type": "string" }, "days": { "type": "integer" } });
    tool("get_weather", json!({ "type": "object", "properties": properties, "required": ["city"] }))
}

/// A request with one question, `get_weather` and these fields.
pub fn weather_request(prompt: &str, fields: Value) -> Value {
    with(with(crate::http::chat(prompt), json!({ "tools": [weather()] })), fields)
}

/// A call as the model is taught to write it.
pub fn call_text(name: &str, arguments: &Value) -> String {
    format!("[TOOL CALL]\n{{\"name\": \"{name}\", \"arguments\": {arguments}}}\n[END TOOL CALL]")
}

pub fn weather_text(city: &str) -> String {
    call_text("get_weather", &json!({ "city": city }))
}

/// A directive with which the fake says this text.
pub fn says(text: &str) -> String {
    format!("[[fake say={}]]", encoded(text))
}

/// A turn that the upstream received.
#[derive(Debug)]
pub struct Turn {
    pub chat: String,
    pub parent: Option<String>,
    pub text: String,
    /// The body.
    pub body: Value,
}

pub fn turns(fake: &Fake) -> Vec<Turn> {
    let completions =
        fake.requests().into_iter().filter(|request| request.path_and_query.starts_with("/api/v2/chat/completions?"));
    completions.map(|request| turn(request.json())).collect()
}

/// The turns with this marker.
pub fn turns_with(fake: &Fake, marker: &str) -> Vec<Turn> {
    let requests = fake.requests_containing(marker).into_iter();
    let completions = requests.filter(|request| request.path_and_query.starts_with("/api/v2/chat/completions?"));
    completions.map(|request| turn(request.json())).collect()
}

fn turn(body: Value) -> Turn {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Turn {
        chat: text(&body["chat_id"]).unwrap(),
        parent: text(&body["parent_id"]),
        text: text(&body["messages"][0]["content"]).unwrap(),
        body,
    }
}

/// Checks that an answer was asked for once more: in the same chat, from the same node, with a further line.
#[track_caller]
pub fn assert_repeated(turns: &[Turn]) {
    let [first, second] = turns else { panic!("not two turns: {turns:#?}") };
    assert_eq!((&first.chat, &first.parent), (&second.chat, &second.parent));
    let added = second.text.strip_prefix(first.text.as_str()).unwrap_or_else(|| panic!("{turns:#?}")).trim();
    assert!(!added.is_empty() && !added.contains('\n'), "{added}");
}

/// The id of the newest answer in a chat.
pub fn newest_answer(fake: &Fake, chat: &str) -> String {
    fake.chat_nodes(chat).into_iter().rfind(|node| node.role == "assistant").unwrap().id
}

/// Asks a server for the answer, whole and as a stream, and checks both.
pub async fn both(server: &Server, request: &Value, check: impl Fn(&Answer)) {
    for stream in [false, true] {
        check(&Answer::read(&reply(server, request, stream).await));
    }
}

/// Sends a request whose answers are these steps; returns its turns and the reply.
pub async fn ask_steps(
    case: &Case,
    server: &Server,
    answers: &[&str],
    fields: Value,
    stream: bool,
) -> (Vec<Turn>, Reply) {
    let marker = unique("steps");
    // Thinking that was sent cannot be taken back.
    let fields = with(json!({ "enable_thinking": !stream }), fields);
    let request = weather_request(&format!("[[fake {}]] {marker}", steps(answers)), fields);
    let reply = reply(server, &request, stream).await;
    (turns_with(&case.fake, &marker), reply)
}
