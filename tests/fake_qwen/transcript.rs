//! Reads a stream back into the message that the chat stores.

use serde_json::{Value, json};

/// The stored content of an answer.
#[derive(Default)]
pub(super) struct Transcript {
    /// Whether the answer has begun.
    pub(super) begun: bool,
    pub(super) text: String,
    pub(super) thinking: String,
    pub(super) titles: Vec<String>,
    pub(super) thoughts: Vec<String>,
    pub(super) finished: bool,
    /// The calls and what the site answered, in their order.
    pub(super) tools: Vec<ToolPart>,
}

/// A call, or a frame with the role `function`.
pub(super) struct ToolPart {
    /// The length of the text before it.
    at: usize,
    name: String,
    phase: String,
    content: Content,
    /// The `extra` of a result with pictures.
    extra: Value,
}

enum Content {
    Arguments(String),
    Result(String),
}

impl ToolPart {
    /// Its entry in the `content_list` of the stored message.
    pub(super) fn entry(&self) -> Value {
        match &self.content {
            Content::Arguments(arguments) => json!({
                "phase": self.phase, "content": "", "status": "finished", "role": "assistant",
                "function_call": {"name": self.name, "arguments": arguments}
            }),
            Content::Result(_) if !self.extra.is_null() => json!({
                "phase": self.phase, "content": "", "status": "finished", "role": "function", "name": self.name,
                "extra": self.extra
            }),
            Content::Result(content) => json!({
                "phase": self.phase, "content": content, "status": "finished", "role": "function", "name": self.name
            }),
        }
    }

    fn text(&self) -> String {
        match &self.content {
            Content::Arguments(arguments) => {
                format!(r#"<tool_call>{{"name": {}, "arguments": {arguments}}}</tool_call>"#, Value::from(&*self.name))
            }
            Content::Result(content) => content.clone(),
        }
    }
}

impl Transcript {
    /// Reads the events of `stream` that have this response id or no id.
    pub(super) fn of(stream: &[u8], response_id: &str, incremental: bool) -> Transcript {
        let mut transcript = Transcript::default();
        for (_, event) in events(stream) {
            transcript.add(&event, response_id, incremental);
            if transcript.finished {
                break;
            }
        }
        transcript
    }

    fn add(&mut self, event: &Value, response_id: &str, incremental: bool) {
        self.begun |= event["response.created"].is_object();
        if event["response_id"].as_str().is_some_and(|id| id != response_id) {
            return;
        }
        let delta = &event["choices"][0]["delta"];
        if !delta.is_object() {
            return;
        }
        self.begun = true;
        if self.add_tool(delta) {
            return;
        }
        let content = delta["content"].as_str().unwrap_or_default();
        match delta["phase"].as_str() {
            Some("think") => self.thinking.push_str(content),
            Some("thinking_summary") => {
                if delta["extra"]["summary_thought"].is_object() {
                    self.titles = strings(&delta["extra"]["summary_title"]["content"]);
                    self.thoughts = strings(&delta["extra"]["summary_thought"]["content"]);
                }
            }
            None | Some("answer" | "image_gen" | "image_edit") => {
                if incremental {
                    self.text.push_str(content);
                } else if !content.is_empty() {
                    content.clone_into(&mut self.text);
                }
                self.finished |= delta["status"] == "finished";
            }
            Some(_) => {}
        }
    }
}

impl Transcript {
    /// Adds a frame of a call or with the role `function`; returns false for other deltas.
    fn add_tool(&mut self, delta: &Value) -> bool {
        let call = &delta["function_call"];
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let name = delta["name"].as_str().or_else(|| call["name"].as_str());
        let part = |transcript: &Transcript, content| ToolPart {
            at: transcript.text.len(),
            name: name.unwrap_or_default().to_owned(),
            phase: delta["phase"].as_str().unwrap_or("answer").to_owned(),
            content,
            extra: if delta["extra"]["image_list"].is_array() { delta["extra"].clone() } else { Value::Null },
        };
        if delta["role"] == "function" {
            let content = delta["content"].as_str().filter(|content| !content.is_empty());
            let content = content.map_or_else(|| delta["extra"]["tool_result"].to_string(), str::to_owned);
            self.tools.push(part(self, Content::Result(content)));
            return true;
        }
        if !call.is_object() {
            return false;
        }
        let new = text(&call["arguments"]);
        match self.tools.last_mut() {
            Some(ToolPart { name: open, content: Content::Arguments(arguments), .. })
                if name.is_none_or(|name| name == open) && !new.is_empty() =>
            {
                if new.starts_with(&*arguments) {
                    *arguments = new;
                } else {
                    arguments.push_str(&new);
                }
            }
            _ => self.tools.push(part(self, Content::Arguments(new))),
        }
        true
    }

    /// The text with the calls and results at their places.
    pub(super) fn with_calls(&self) -> String {
        let mut whole = String::new();
        let mut from = 0;
        for tool in &self.tools {
            let at = tool.at.clamp(from, self.text.len());
            whole.push_str(self.text.get(from..at).unwrap_or_default());
            whole.push_str(&tool.text());
            from = at;
        }
        whole.push_str(self.text.get(from..).unwrap_or_default());
        whole
    }
}

/// The offset in `stream` at which the finishing event of the main answer ends.
pub(super) fn end_of_answer(stream: &[u8], response_id: &str) -> Option<usize> {
    let mut transcript = Transcript::default();
    events(stream).find_map(|(end, event)| {
        transcript.add(&event, response_id, true);
        transcript.finished.then_some(end)
    })
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

/// The JSON events of a stream, each with the offset of the end of its last line.
fn events(stream: &[u8]) -> impl Iterator<Item = (usize, Value)> {
    let mut offset = 0;
    let mut data = Vec::new();
    stream.split_inclusive(|byte| *byte == b'\n').filter_map(move |line| {
        offset += line.len();
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).trim_ascii();
        if line.is_empty() {
            data.clear();
            return None;
        }
        data.extend_from_slice(line.strip_prefix(b"data:")?);
        data.push(b'\n');
        let event = serde_json::from_slice(&data).ok()?;
        data.clear();
        Some((offset, event))
    })
}
