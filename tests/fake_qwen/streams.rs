//! Generated streams in the format of the upstream: JSON with Python's spacing and key order.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::accounts::now;
use super::tools::{self, Call, Part, Refusal};
use super::turn::Exchange;

/// The format of thinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// 2026: `thinking_summary`, cumulative.
    Summary,
    /// 2025: `think`, incremental.
    Think,
}

/// The content and format of a stream.
pub(super) struct Shape {
    pub(super) style: Style,
    pub(super) answer: Vec<Part>,
    pub(super) thinking: Vec<String>,
    /// Each answer delta repeats the whole text so far.
    pub(super) cumulative: bool,
    /// Whether deltas have a phase; a request without `output_schema` gets none.
    pub(super) phases: bool,
    pub(super) usage: bool,
    /// Whether the answer has a finishing event.
    pub(super) end: bool,
    /// `\uXXXX` instead of UTF-8.
    pub(super) ascii: bool,
    pub(super) input_tokens: usize,
}

/// Events without their line ends, and the positions for errors.
pub(super) struct Stream {
    pub(super) events: Vec<String>,
    /// Index after two deltas of the answer.
    pub(super) amid: usize,
    /// Index after all deltas of the answer.
    pub(super) after: usize,
    /// Pauses, each with the index of the event after it.
    pub(super) pauses: Vec<(usize, Duration)>,
}

struct Writer<'a> {
    shape: &'a Shape,
    response_id: &'a str,
    events: Vec<String>,
    reasoning_tokens: usize,
    answer_tokens: usize,
}

pub(super) fn generate(shape: &Shape, exchange: &Exchange) -> Stream {
    let mut writer = Writer {
        shape,
        response_id: &exchange.response_id,
        events: vec![created(shape.style, exchange)],
        reasoning_tokens: 0,
        answer_tokens: 0,
    };
    writer.thinking(&shape.thinking);
    let start = writer.events.len();
    let mut text = String::new();
    let mut pauses = Vec::new();
    for part in &shape.answer {
        match part {
            Part::Text(piece) => {
                text.push_str(piece);
                writer.answer_tokens += 1;
                writer.delta(if shape.cumulative { &text } else { piece }, Some("answer"));
            }
            Part::Thinking(pieces) => writer.thinking(pieces),
            Part::Call(call) => writer.call(call),
            Part::Refusal(refusal) => writer.refusal(refusal),
            Part::Events(events) => writer.events.extend(events.iter().cloned()),
            Part::Pause(pause) => pauses.push((writer.events.len(), *pause)),
        }
    }
    let after = writer.events.len();
    let amid = (start + 2).min(after);
    if !shape.end {
        return Stream { events: writer.events, amid, after, pauses };
    }
    for _ in 0..1 + shape.answer.len() % 2 {
        writer.delta(if shape.cumulative { &text } else { "" }, Some("answer"));
    }
    let phase = if shape.phases { r#", "phase": "answer""# } else { "" };
    writer.events.push(format!(
        r#"data: {{"choices": [{{"delta": {{"content": "", "role": "assistant", "status": "finished"{phase}}}}}], "response_id": "{}"}}"#,
        exchange.response_id
    ));
    Stream { events: writer.events, amid, after, pauses }
}

/// The first event.
pub(super) fn created(style: Style, exchange: &Exchange) -> String {
    let index = if style == Style::Summary { r#","response_index":"0""# } else { "" };
    format!(
        r#"data: {{"response.created":{{"chat_id":"{}","parent_id":"{}","response_id":"{}"{index}}}}} "#,
        exchange.chat_id, exchange.user_id, exchange.response_id
    )
}

/// The keep-alive event of a long job.
pub(super) fn keep_alive(exchange: &Exchange) -> String {
    format!(
        r#"data: {{"response.info": {{"action": "keep_alive", "chat_id": "{}", "response_id": "{}", "timestamp": {}}}}}"#,
        exchange.chat_id,
        exchange.response_id,
        now()
    )
}

impl Writer<'_> {
    fn thinking(&mut self, pieces: &[String]) {
        if pieces.is_empty() {
            return;
        }
        match self.shape.style {
            _ if !self.shape.phases => {
                for piece in pieces {
                    self.reasoning_tokens += 1;
                    self.delta(piece, None);
                }
            }
            Style::Think => {
                for piece in pieces {
                    self.reasoning_tokens += 1;
                    self.delta(piece, Some("think"));
                }
                self.events.push(format!(
                    r#"data: {{"choices": [{{"delta": {{"role": "assistant", "content": "", "phase": "think", "status": "finished"}}}}], {}}}"#,
                    self.tail()
                ));
            }
            Style::Summary => self.summary(pieces),
        }
    }

    /// Two paragraphs; each event repeats the whole text so far.
    fn summary(&mut self, pieces: &[String]) {
        let half = pieces.len().div_ceil(2);
        let titles = [self.quoted("Reading the question"), self.quoted("Preparing the answer")];
        for count in 1..=pieces.len() {
            self.reasoning_tokens += 1;
            let mut thoughts = self.quoted(&pieces[..count.min(half)].concat());
            let mut shown = titles[0].clone();
            if count > half {
                let _ = write!(thoughts, ", {}", self.quoted(&pieces[half..count].concat()));
                let _ = write!(shown, ", {}", titles[1]);
            }
            self.events.push(format!(
                r#"data: {{"choices": [{{"delta": {{"role": "assistant", "content": "", "phase": "thinking_summary", "extra": {{"summary_title": {{"content": [{shown}]}}, "summary_thought": {{"content": [{thoughts}]}}}}, "status": "typing"}}}}], {}}}"#,
                self.tail()
            ));
        }
        self.events.push(format!(
            r#"data: {{"choices": [{{"delta": {{"role": "assistant", "content": "", "phase": "thinking_summary", "status": "finished"}}}}], "response_id": "{}", "timestamp": {}}}"#,
            self.response_id,
            now()
        ));
    }

    /// The frames of a call, and the result if the site runs the tool. Only those have an id and a phase of their own.
    fn call(&mut self, call: &Call) {
        let id = call.result.as_ref().map(|_| tools::new_id());
        let (phase, place) = if id.is_some() { (call.name.as_str(), "think") } else { ("answer", "answer") };
        let phase = self.phase(phase);
        let id_field = id.as_ref().map_or_else(String::new, |id| format!(r#""function_id": "{id}", "#));
        for frame in call.frames() {
            self.answer_tokens += 1;
            let name = frame.name.map_or_else(String::new, |name| format!(r#""name": {}, "#, self.quoted(name)));
            let arguments = if frame.is_object { frame.arguments } else { self.quoted(&frame.arguments) };
            let status = if frame.is_object { "running" } else { "typing" };
            self.events.push(format!(
                r#"data: {{"choices": [{{"delta": {{"role": "assistant", "content": "", {phase}"status": "{status}", "function_call": {{{name}"arguments": {arguments}}}, {id_field}"extra": {{"display_position": "{place}"}}}}}}], {}}}"#,
                self.tail()
            ));
        }
        if let (Some(result), Some(id)) = (&call.result, &id) {
            let name = self.quoted(&call.name);
            self.events.push(format!(
                r#"data: {{"choices": [{{"delta": {{"role": "function", "name": {name}, {id_field}"content": "", {phase}"status": "finished", "extra": {{"display_position": "{place}", "function_id": "{id}", "tool_result": {result}}}}}}}], {}}}"#,
                self.tail()
            ));
        }
    }

    fn refusal(&mut self, refusal: &Refusal) {
        let (name, sentence) = (self.quoted(&refusal.name), self.quoted(&refusal.sentence));
        let status = if refusal.is_finished { "finished" } else { "typing" };
        let phase = self.phase("answer");
        self.events.push(format!(
            r#"data: {{"choices": [{{"delta": {{"role": "function", "content": {sentence}, {phase}"status": "{status}", "name": {name}}}}}], {}}}"#,
            self.tail()
        ));
    }

    fn phase(&self, phase: &str) -> String {
        if self.shape.phases { format!(r#""phase": "{phase}", "#) } else { String::new() }
    }

    fn delta(&mut self, content: &str, phase: Option<&str>) {
        let content = self.quoted(content);
        let phase = phase.map_or_else(String::new, |phase| self.phase(phase));
        self.events.push(format!(
            r#"data: {{"choices": [{{"delta": {{"role": "assistant", "content": {content}, {phase}"status": "typing"}}}}], {}}}"#,
            self.tail()
        ));
    }

    fn tail(&self) -> String {
        let id = self.response_id;
        let (input, reasoning, answer) = (self.shape.input_tokens, self.reasoning_tokens, self.answer_tokens);
        let output = reasoning + answer;
        let usage = if self.shape.usage {
            format!(
                r#""usage": {{"input_tokens": {input}, "output_tokens": {output}, "characters": 0, "total_tokens": {}, "input_tokens_details": {{"text_tokens": {input}}}, "output_tokens_details": {{"reasoning_tokens": {reasoning}, "text_tokens": {answer}}}, "prompt_tokens_details": {{"cached_tokens": 0}}}}, "#,
                input + output
            )
        } else {
            String::new()
        };
        format!(r#""response_id": "{id}", {usage}"timestamp": {}"#, now())
    }

    fn quoted(&self, text: &str) -> String {
        let quoted = Value::from(text).to_string();
        if !self.shape.ascii {
            return quoted;
        }
        let mut escaped = String::with_capacity(quoted.len());
        for c in quoted.chars() {
            if c.is_ascii() {
                escaped.push(c);
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(escaped, "\\u{unit:04x}");
                }
            }
        }
        escaped
    }
}
