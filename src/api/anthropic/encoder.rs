//! What clients get: a message, or the events that it is made of.

use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{MessagesDelivery, error::write_error_event};
use crate::{
    api::AnswerMeta,
    error::Error,
    json::write_line,
    llm::{Answer, Call, CallEvent, Citation, Event, FinishReason, Usage},
};

/// The signature of each thinking block. Clients send it back and cannot read it; it needs to say nothing.
const SIGNATURE: &str = "cXdlbi1lZGdl";
/// How the id of a call begins in this dialect, and in neutral words.
const CALL: &str = "toolu_";
const NEUTRAL_CALL: &str = "call_";

/// A whole answer.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = MessagesAnswer))]
pub(crate) struct MessageObject<'a> {
    id: &'a str,
    /// `message`
    #[serde(rename = "type")]
    kind: &'static str,
    /// `assistant`
    role: &'static str,
    /// As the client named it.
    model: &'a str,
    content: Vec<BlockObject<'a>>,
    /// `end_turn`, `tool_use`, `max_tokens`, `stop_sequence` or `refusal`; null at the beginning of a stream.
    stop_reason: Option<&'static str>,
    /// The stop sequence that was found.
    stop_sequence: Option<&'a str>,
    usage: UsageObject,
}

/// Token counts.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = MessagesUsage))]
pub(super) struct UsageObject {
    /// At the beginning of a stream an estimate.
    input_tokens: u64,
    /// 0
    cache_creation_input_tokens: u64,
    /// 0
    cache_read_input_tokens: u64,
    /// Thinking included.
    output_tokens: u64,
}

/// A block of an answer.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = AnswerBlock))]
#[serde(tag = "type", rename_all = "snake_case")]
enum BlockObject<'a> {
    /// The thinking.
    Thinking {
        thinking: &'a str,
        /// Means nothing.
        signature: &'static str,
    },
    /// The text.
    Text {
        text: &'a str,
        /// The web pages that the marks `[[1]]`, `[[2]]` … refer to.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        citations: Vec<CitationObject<'a>>,
    },
    /// A call of a tool.
    ToolUse {
        id: String,
        name: &'a str,
        /// The arguments.
        #[cfg_attr(test, schema(value_type = crate::api::lenient::Object))]
        input: Box<RawValue>,
    },
}

/// A page that the text cites.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = AnswerCitation))]
struct CitationObject<'a> {
    /// `web_search_result_location`
    #[serde(rename = "type")]
    kind: &'static str,
    url: &'a str,
    title: &'a str,
    /// Empty.
    cited_text: &'static str,
    /// Empty.
    encrypted_index: &'static str,
}

impl<'a> From<&'a Citation> for CitationObject<'a> {
    fn from(citation: &'a Citation) -> Self {
        let Citation { url, title, start: _, end: _ } = citation;
        Self { kind: "web_search_result_location", url, title, cited_text: "", encrypted_index: "" }
    }
}

/// The end of an answer, as an event has it.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct MessageDelta<'a> {
    /// `message_delta`
    #[serde(rename = "type")]
    kind: &'static str,
    delta: StopObject<'a>,
    usage: UsageObject,
}

/// Why an answer ended.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = MessageStop))]
struct StopObject<'a> {
    stop_reason: &'static str,
    stop_sequence: Option<&'a str>,
}

/// A block that is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Thinking,
    Text,
}

/// Writes an answer as a client of Messages expects it.
#[derive(Clone, Debug)]
pub struct Encoder {
    meta: Arc<AnswerMeta>,
    delivery: MessagesDelivery,
    has_begun: bool,
    /// The block that is being written.
    open: Option<Open>,
    /// The index of that block, or of the next one.
    index: usize,
}

impl Encoder {
    /// An encoder for one answer.
    #[must_use]
    pub fn new(meta: AnswerMeta, delivery: MessagesDelivery) -> Self {
        Self { meta: Arc::new(meta), delivery, has_begun: false, open: None, index: 0 }
    }

    pub(in crate::api) const fn is_stream(&self) -> bool {
        self.delivery.is_stream
    }

    /// Writes `message_start`, unless a heartbeat did.
    pub(in crate::api) fn begin(&mut self, out: &mut BytesMut) {
        if !self.is_stream() || std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        out.extend_from_slice(b"event: message_start\ndata: {\"type\":\"message_start\",\"message\":");
        let usage = self.usage(Usage::default());
        write_line(out, &self.message(Vec::new(), None, None, usage));
        out.extend_from_slice(b"}\n\n");
    }

    pub(in crate::api) fn event(&mut self, event: Event<'_>, out: &mut BytesMut) {
        if !self.is_stream() {
            return;
        }
        match event {
            Event::Reasoning("") | Event::Text("") | Event::Picture(_) | Event::OutputTokens(_) => {}
            Event::Reasoning(text) => {
                self.open(Open::Thinking, out);
                self.delta(b"{\"type\":\"thinking_delta\",\"thinking\":", text, out);
            }
            Event::Text(text) => {
                self.open(Open::Text, out);
                self.delta(b"{\"type\":\"text_delta\",\"text\":", text, out);
            }
            Event::ToolCall(call) => self.tool_use(&call, out),
        }
    }

    pub(in crate::api) fn finish(&mut self, answer: &Answer<'_>, out: &mut BytesMut) {
        let (stop_reason, stop_sequence) = stop(answer);
        let usage = self.usage(answer.usage);
        if !self.is_stream() {
            let message = self.message(blocks(answer), Some(stop_reason), stop_sequence, usage);
            // A buffer takes whatever is written, and texts and numbers become JSON.
            drop(serde_json::to_writer(out.writer(), &message));
            return;
        }
        if self.open == Some(Open::Text) {
            for citation in answer.citations {
                self.delta_of(out, |out| {
                    out.extend_from_slice(b"{\"type\":\"citations_delta\",\"citation\":");
                    write_line(out, &CitationObject::from(citation));
                });
            }
        }
        if self.open.is_none() && self.index == 0 {
            // Clients take the first block for granted.
            self.open(Open::Text, out);
        }
        self.close(out);
        out.extend_from_slice(b"event: message_delta\ndata: ");
        write_line(
            out,
            &MessageDelta { kind: "message_delta", delta: StopObject { stop_reason, stop_sequence }, usage },
        );
        out.extend_from_slice(b"\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    }

    pub(in crate::api) fn fail(error: &Error, out: &mut BytesMut) {
        write_error_event(out, error);
    }

    /// Writes a `ping`. Some clients take nothing but `message_start` for the first event.
    pub(in crate::api) fn keep_alive(&mut self, out: &mut BytesMut) {
        self.begin(out);
        out.extend_from_slice(b"event: ping\ndata: {\"type\":\"ping\"}\n\n");
    }

    fn message<'a>(
        &'a self,
        content: Vec<BlockObject<'a>>,
        stop_reason: Option<&'static str>,
        stop_sequence: Option<&'a str>,
        usage: UsageObject,
    ) -> MessageObject<'a> {
        let AnswerMeta { id, created: _, model } = &*self.meta;
        MessageObject { id, kind: "message", role: "assistant", model, content, stop_reason, stop_sequence, usage }
    }

    /// Token counts: the upstream's own, or the estimate where it has none.
    fn usage(&self, usage: Usage) -> UsageObject {
        let Usage { prompt, completion, total: _, reasoning: _, cached: _ } = usage;
        UsageObject {
            input_tokens: if prompt == 0 { self.delivery.input_tokens } else { prompt },
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: 0,
            output_tokens: completion,
        }
    }

    /// Begins a block of this kind, unless it is being written.
    fn open(&mut self, kind: Open, out: &mut BytesMut) {
        if self.open == Some(kind) {
            return;
        }
        self.close(out);
        self.block_start(out, |out| {
            out.extend_from_slice(match kind {
                Open::Thinking => &b"{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}"[..],
                Open::Text => b"{\"type\":\"text\",\"text\":\"\"}",
            });
        });
        self.open = Some(kind);
    }

    /// Ends the block that is being written.
    fn close(&mut self, out: &mut BytesMut) {
        match self.open.take() {
            None => return,
            Some(Open::Thinking) => {
                self.delta(b"{\"type\":\"signature_delta\",\"signature\":", SIGNATURE, out);
            }
            Some(Open::Text) => {}
        }
        self.block_stop(out);
    }

    fn tool_use(&mut self, call: &CallEvent<'_>, out: &mut BytesMut) {
        self.close(out);
        let CallEvent { index: _, id, name, arguments, kind: _ } = call;
        self.block_start(out, |out| {
            out.extend_from_slice(b"{\"type\":\"tool_use\",\"id\":");
            write_line(out, &call_id(id));
            out.extend_from_slice(b",\"name\":");
            write_line(out, name);
            out.extend_from_slice(b",\"input\":{}}");
        });
        self.delta(b"{\"type\":\"input_json_delta\",\"partial_json\":", arguments, out);
        self.block_stop(out);
    }

    fn block_start(&self, out: &mut BytesMut, block: impl FnOnce(&mut BytesMut)) {
        out.extend_from_slice(b"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":");
        write_line(out, &self.index);
        out.extend_from_slice(b",\"content_block\":");
        block(out);
        out.extend_from_slice(b"}\n\n");
    }

    fn delta(&self, head: &[u8], text: &str, out: &mut BytesMut) {
        self.delta_of(out, |out| {
            out.extend_from_slice(head);
            write_line(out, text);
        });
    }

    /// A delta of the block that is being written; `delta` writes it but for its last brace.
    fn delta_of(&self, out: &mut BytesMut, delta: impl FnOnce(&mut BytesMut)) {
        out.extend_from_slice(b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":");
        write_line(out, &self.index);
        out.extend_from_slice(b",\"delta\":");
        delta(out);
        out.extend_from_slice(b"}}\n\n");
    }

    fn block_stop(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(b"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":");
        write_line(out, &self.index);
        out.extend_from_slice(b"}\n\n");
        self.index = self.index.saturating_add(1);
    }
}

/// Anthropic's word for why an answer ended, and the stop sequence that did it.
const fn stop<'a>(answer: &Answer<'a>) -> (&'static str, Option<&'a str>) {
    match (answer.finish, answer.stop_text) {
        (FinishReason::Stop, stop @ Some(_)) => ("stop_sequence", stop),
        (FinishReason::Stop, None) => ("end_turn", None),
        (FinishReason::Length, _) => ("max_tokens", None),
        (FinishReason::ToolCalls, _) => ("tool_use", None),
        (FinishReason::ContentFilter, _) => ("refusal", None),
    }
}

/// The id of a call in this dialect: the same but for its beginning, so that an answer's calls are found by either.
fn call_id(id: &str) -> String {
    format!("{CALL}{}", id.strip_prefix(NEUTRAL_CALL).unwrap_or(id))
}

/// The blocks of a whole answer.
fn blocks<'a>(answer: &Answer<'a>) -> Vec<BlockObject<'a>> {
    let Answer { text, reasoning, calls, pictures: _, citations, refusal: _, finish: _, stop_text: _, usage: _ } =
        answer;
    let mut blocks = Vec::new();
    if !reasoning.is_empty() {
        blocks.push(BlockObject::Thinking { thinking: reasoning, signature: SIGNATURE });
    }
    if !text.is_empty() || (blocks.is_empty() && calls.is_empty()) {
        let citations = citations.iter().map(CitationObject::from).collect();
        blocks.push(BlockObject::Text { text, citations });
    }
    blocks.extend(calls.iter().map(tool_use));
    blocks
}

fn tool_use(call: &Call) -> BlockObject<'_> {
    let Call { id, name, arguments, kind: _ } = call;
    // The arguments of a call that was read are JSON.
    let input = RawValue::from_string(arguments.clone()).unwrap_or_else(|_| RawValue::NULL.to_owned());
    BlockObject::ToolUse { id: call_id(id), name, input }
}
