//! Reads a stream back into the message that the chat stores.

use serde_json::Value;

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
