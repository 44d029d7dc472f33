//! Generated streams in the format of the upstream: JSON with Python's spacing and key order.

use std::fmt::Write as _;

use super::accounts::now;
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
    pub(super) answer: Vec<String>,
    pub(super) thinking: Vec<String>,
    /// Each answer delta repeats the whole text so far.
    pub(super) cumulative: bool,
    /// Whether deltas have a phase; a request without `output_schema` gets none.
    pub(super) phases: bool,
    pub(super) usage: bool,
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
    writer.thinking();
    let start = writer.events.len();
    let mut text = String::new();
    for piece in &shape.answer {
        text.push_str(piece);
        writer.answer_tokens += 1;
        writer.delta(if shape.cumulative { &text } else { piece }, Some("answer"));
    }
    let after = writer.events.len();
    for _ in 0..1 + shape.answer.len() % 2 {
        writer.delta(if shape.cumulative { &text } else { "" }, Some("answer"));
    }
    let phase = if shape.phases { r#", "phase": "answer""# } else { "" };
    writer.events.push(format!(
        r#"data: {{"choices": [{{"delta": {{"content": "", "role": "assistant", "status": "finished"{phase}}}}}], "response_id": "{}"}}"#,
        exchange.response_id
    ));
    Stream { events: writer.events, amid: (start + 2).min(after), after }
}

fn created(style: Style, exchange: &Exchange) -> String {
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
    fn thinking(&mut self) {
        if self.shape.thinking.is_empty() {
            return;
        }
        match self.shape.style {
            _ if !self.shape.phases => {
                for piece in &self.shape.thinking {
                    self.reasoning_tokens += 1;
                    self.delta(piece, None);
                }
            }
            Style::Think => {
                for piece in &self.shape.thinking {
                    self.reasoning_tokens += 1;
                    self.delta(piece, Some("think"));
                }
                self.events.push(format!(
                    r#"data: {{"choices": [{{"delta": {{"role": "assistant", "content": "", "phase": "think", "status": "finished"}}}}], {}}}"#,
                    self.tail()
                ));
            }
            Style::Summary => self.summary(),
        }
    }

    /// Two paragraphs; each event repeats the whole text so far.
    fn summary(&mut self) {
        let pieces = &self.shape.thinking;
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

    fn delta(&mut self, content: &str, phase: Option<&str>) {
        let content = self.quoted(content);
        let phase =
            phase.filter(|_| self.shape.phases).map_or_else(String::new, |phase| format!(r#""phase": "{phase}", "#));
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
        let quoted = serde_json::Value::from(text).to_string();
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
