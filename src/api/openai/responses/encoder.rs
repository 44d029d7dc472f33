//! What clients get: a response, or its events.
//!
//! The order of the events is OpenAI's: `response.created`, `response.in_progress`, for each item `output_item.added`, its parts and
//! their deltas, `output_item.done`, and last `response.completed`, `.incomplete` or `.failed`. Each has the next number.

use std::sync::Arc;

use bytes::BytesMut;

use super::{
    delivery::ResponsesDelivery,
    object::{self, Status, call_item, message_item, reasoning_item},
};
use crate::{
    api::AnswerMeta,
    error::Error,
    json::write_line,
    llm::{Answer, CallEvent, Citation, Event, ToolKind},
};

/// Writes an answer as a client of `/v1/responses` expects it.
#[derive(Clone, Debug)]
pub struct Encoder {
    meta: Arc<AnswerMeta>,
    delivery: ResponsesDelivery,
    /// The number of the next event.
    sequence: u64,
    began: bool,
    /// The place of the next item.
    next: usize,
    reasoning: Option<Open>,
    /// How many items of thinking there were.
    thoughts: usize,
    message: Option<Open>,
    /// What was thought since the text began: an item of its own behind the text, as items do not overlap.
    late: String,
    /// The items that are complete, as JSON, in their order.
    done: Vec<String>,
}

/// An item that grows.
#[derive(Clone, Debug)]
struct Open {
    index: usize,
    id: String,
    text: String,
    /// What each of its deltas begins with, behind the number.
    head: Arc<str>,
}

impl Encoder {
    /// An encoder for one answer.
    #[must_use]
    pub fn new(meta: AnswerMeta, delivery: ResponsesDelivery) -> Self {
        Self {
            meta: Arc::new(meta),
            delivery,
            sequence: 0,
            began: false,
            next: 0,
            reasoning: None,
            thoughts: 0,
            message: None,
            late: String::new(),
            done: Vec::new(),
        }
    }

    pub(in crate::api) fn is_stream(&self) -> bool {
        self.delivery.is_stream
    }

    pub(in crate::api) fn begin(&mut self, out: &mut BytesMut) {
        if !self.is_stream() || std::mem::replace(&mut self.began, true) {
            return;
        }
        let response = self.response(&Status::IN_PROGRESS, "");
        self.event_with(out, "response.created", "response", &response);
        self.event_with(out, "response.in_progress", "response", &response);
    }

    pub(in crate::api) fn event(&mut self, event: Event<'_>, out: &mut BytesMut) {
        if !self.is_stream() {
            return;
        }
        match event {
            Event::Reasoning(text) if self.message.is_some() => self.late.push_str(text),
            Event::Reasoning(text) => {
                if self.reasoning.is_none() {
                    self.open_reasoning(out);
                }
                delta(&mut self.sequence, self.reasoning.as_mut(), out, REASONING_DELTA, text, "");
            }
            Event::Text(text) => {
                self.close_reasoning(out);
                if self.message.is_none() {
                    self.open_message(out);
                }
                delta(&mut self.sequence, self.message.as_mut(), out, TEXT_DELTA, text, ",\"logprobs\":[]");
            }
            Event::ToolCall(call) => {
                self.close_reasoning(out);
                self.close_message(out, "completed", &[], None);
                self.call(out, &call);
            }
            Event::Picture(_) | Event::OutputTokens(_) => {}
        }
    }

    pub(in crate::api) fn finish(&mut self, answer: &Answer<'_>, out: &mut BytesMut) {
        if !self.is_stream() {
            out.extend_from_slice(self.whole(answer).as_bytes());
            return;
        }
        let response = self.end(answer, out);
        self.event_with(out, Status::of(answer).event, "response", &response);
    }

    /// Writes what comes before the last event, and returns the response of that.
    fn end(&mut self, answer: &Answer<'_>, out: &mut BytesMut) -> String {
        self.close_reasoning(out);
        match answer.refusal {
            Some(refusal) if self.message.is_none() => self.refuse(out, refusal),
            refusal => self.close_message(out, object::message_status(answer), answer.citations, refusal),
        }
        self.response(&Status::of(answer), &self.done.join(","))
    }

    /// The response as the client gets it, as one object. The answer is not finished yet.
    pub(in crate::api) fn kept(&self, answer: &Answer<'_>) -> String {
        if self.is_stream() { self.clone().end(answer, &mut BytesMut::new()) } else { self.whole(answer) }
    }

    /// The whole response, as one object.
    fn whole(&self, answer: &Answer<'_>) -> String {
        let ids = object::Ids::of(&self.meta.id);
        let mut output = Vec::new();
        if !answer.reasoning.is_empty() {
            output.push(reasoning_item(&ids.reasoning(0), answer.reasoning));
        }
        if !answer.text.is_empty() || answer.refusal.is_some() {
            let status = object::message_status(answer);
            output.push(message_item(&ids.message(), status, answer.text, answer.citations, answer.refusal));
        }
        for (index, call) in answer.calls.iter().enumerate() {
            let event =
                CallEvent { index, id: &call.id, name: &call.name, arguments: &call.arguments, kind: call.kind };
            output.push(call_item(&ids.call(index, call.kind), "completed", &event, &self.delivery.namespaced));
        }
        self.response(&Status::of(answer), &output.join(","))
    }

    pub(in crate::api) fn fail(&mut self, error: &Error, out: &mut BytesMut) {
        self.begin(out);
        let status = Status::failed(error);
        let response = self.response(&status, &self.done.join(","));
        self.event_with(out, status.event, "response", &response);
    }

    /// An event that says again how far the response is: clients of this dialect count events, not comments.
    pub(in crate::api) fn keep_alive(&mut self, out: &mut BytesMut) {
        if !self.began {
            self.begin(out);
            return;
        }
        let response = self.response(&Status::IN_PROGRESS, "");
        self.event_with(out, "response.in_progress", "response", &response);
    }

    fn response(&self, status: &Status, output: &str) -> String {
        object::response(&self.meta, &self.delivery.echo, status, output)
    }

    /// Writes an event with one more field, which is JSON already.
    fn event_with(&mut self, out: &mut BytesMut, kind: &str, field: &str, json: &str) {
        self.begin_event(out, kind);
        out.extend_from_slice(format!(",\"{field}\":{json}}}\n\n").as_bytes());
    }

    /// Writes the beginning of an event, up to and with its number.
    fn begin_event(&mut self, out: &mut BytesMut, kind: &str) {
        begin_event(&mut self.sequence, out, kind);
    }

    fn take_place(&mut self) -> usize {
        let index = self.next;
        self.next = index.saturating_add(1);
        index
    }

    fn open_reasoning(&mut self, out: &mut BytesMut) {
        let index = self.take_place();
        let id = object::Ids::of(&self.meta.id).reasoning(self.thoughts);
        self.thoughts = self.thoughts.saturating_add(1);
        let item = object::open_reasoning_item(&id);
        self.added(out, index, &item);
        let place = format!(",\"item_id\":\"{id}\",\"output_index\":{index},\"summary_index\":0");
        self.event_of(out, "response.reasoning_summary_part.added", &place, "part", SUMMARY_PART);
        self.reasoning = Some(Open { index, id, text: String::new(), head: format!("{place},\"delta\":").into() });
    }

    fn close_reasoning(&mut self, out: &mut BytesMut) {
        let Some(Open { index, id, text, .. }) = self.reasoning.take() else { return };
        let place = format!(",\"item_id\":\"{id}\",\"output_index\":{index},\"summary_index\":0");
        let part = object::summary_part(&text);
        self.event_of(out, "response.reasoning_summary_text.done", &place, "text", &object::json(&text));
        self.event_of(out, "response.reasoning_summary_part.done", &place, "part", &part);
        self.item_done(out, index, reasoning_item(&id, &text));
    }

    fn open_message(&mut self, out: &mut BytesMut) {
        let index = self.take_place();
        let id = object::Ids::of(&self.meta.id).message();
        self.added(out, index, &object::open_message_item(&id));
        let place = format!(",\"item_id\":\"{id}\",\"output_index\":{index},\"content_index\":0");
        self.event_of(out, "response.content_part.added", &place, "part", TEXT_PART);
        self.message = Some(Open { index, id, text: String::new(), head: format!("{place},\"delta\":").into() });
    }

    fn close_message(&mut self, out: &mut BytesMut, status: &str, citations: &[Citation], refusal: Option<&str>) {
        let Some(Open { index, id, text, .. }) = self.message.take() else { return };
        let place = format!(",\"item_id\":\"{id}\",\"output_index\":{index},\"content_index\":0");
        for (at, citation) in citations.iter().enumerate() {
            let place = format!("{place},\"annotation_index\":{at}");
            let annotation = object::annotation(citation);
            self.event_of(out, "response.output_text.annotation.added", &place, "annotation", &annotation);
        }
        let json = object::json(&text);
        self.event_of(out, "response.output_text.done", &format!("{place},\"logprobs\":[]"), "text", &json);
        let part = object::text_part(&text, citations);
        self.event_of(out, "response.content_part.done", &place, "part", &part);
        if let Some(refusal) = refusal {
            self.refusal_part(
                out,
                &format!(",\"item_id\":\"{id}\",\"output_index\":{index},\"content_index\":1"),
                refusal,
            );
        }
        self.item_done(out, index, message_item(&id, status, &text, citations, refusal));
        let late = std::mem::take(&mut self.late);
        if !late.is_empty() {
            self.open_reasoning(out);
            delta(&mut self.sequence, self.reasoning.as_mut(), out, REASONING_DELTA, &late, "");
            self.close_reasoning(out);
        }
    }

    /// Writes a message that is a refusal alone. An empty text beside it would be read as what was asked for.
    fn refuse(&mut self, out: &mut BytesMut, refusal: &str) {
        let index = self.take_place();
        let id = object::Ids::of(&self.meta.id).message();
        self.added(out, index, &object::open_message_item(&id));
        self.refusal_part(out, &format!(",\"item_id\":\"{id}\",\"output_index\":{index},\"content_index\":0"), refusal);
        self.item_done(out, index, message_item(&id, "incomplete", "", &[], Some(refusal)));
    }

    fn refusal_part(&mut self, out: &mut BytesMut, place: &str, refusal: &str) {
        let (part, json) = (object::refusal_part(refusal), object::json(refusal));
        self.event_of(out, "response.content_part.added", place, "part", &object::refusal_part(""));
        self.event_of(out, "response.refusal.delta", place, "delta", &json);
        self.event_of(out, "response.refusal.done", place, "refusal", &json);
        self.event_of(out, "response.content_part.done", place, "part", &part);
    }

    fn call(&mut self, out: &mut BytesMut, call: &CallEvent<'_>) {
        let index = self.take_place();
        let id = object::Ids::of(&self.meta.id).call(call.index, call.kind);
        let empty = CallEvent { arguments: "", ..*call };
        let item = call_item(&id, "in_progress", &empty, &self.delivery.namespaced);
        self.added(out, index, &item);
        let (delta, done, field) = match call.kind {
            ToolKind::Function => {
                ("response.function_call_arguments.delta", "response.function_call_arguments.done", "arguments")
            }
            ToolKind::Custom => {
                ("response.custom_tool_call_input.delta", "response.custom_tool_call_input.done", "input")
            }
        };
        let place = format!(",\"item_id\":\"{id}\",\"output_index\":{index}");
        let arguments = object::json(call.arguments);
        self.event_of(out, delta, &place, "delta", &arguments);
        let name = match call.kind {
            ToolKind::Function => format!("{place},\"name\":{}", object::json(call.name)),
            ToolKind::Custom => place,
        };
        self.event_of(out, done, &name, field, &arguments);
        let item = call_item(&id, "completed", call, &self.delivery.namespaced);
        self.item_done(out, index, item);
    }

    fn added(&mut self, out: &mut BytesMut, index: usize, item: &str) {
        self.event_of(out, "response.output_item.added", &format!(",\"output_index\":{index}"), "item", item);
    }

    fn item_done(&mut self, out: &mut BytesMut, index: usize, item: String) {
        self.event_of(out, "response.output_item.done", &format!(",\"output_index\":{index}"), "item", &item);
        self.done.push(item);
    }

    fn event_of(&mut self, out: &mut BytesMut, kind: &str, place: &str, field: &str, json: &str) {
        self.begin_event(out, kind);
        out.extend_from_slice(format!("{place},\"{field}\":{json}}}\n\n").as_bytes());
    }
}

const SUMMARY_PART: &str = "{\"type\":\"summary_text\",\"text\":\"\"}";
const TEXT_PART: &str = "{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":\"\"}";
/// The beginning of each delta of the thinking, up to its number.
const REASONING_DELTA: &str = "event: response.reasoning_summary_text.delta\ndata: {\"type\":\"response.reasoning_summary_text.delta\",\"sequence_number\":";
/// The beginning of each delta of the text, up to its number.
const TEXT_DELTA: &str =
    "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":";

fn begin_event(sequence: &mut u64, out: &mut BytesMut, kind: &str) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\ndata: {\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"sequence_number\":");
    write_line(out, sequence);
    *sequence = sequence.saturating_add(1);
}

/// Writes a piece of an item's text.
fn delta(sequence: &mut u64, item: Option<&mut Open>, out: &mut BytesMut, start: &str, text: &str, rest: &str) {
    let Some(item) = item else { return };
    item.text.push_str(text);
    out.extend_from_slice(start.as_bytes());
    write_line(out, sequence);
    *sequence = sequence.saturating_add(1);
    out.extend_from_slice(item.head.as_bytes());
    write_line(out, text);
    out.extend_from_slice(rest.as_bytes());
    out.extend_from_slice(b"}\n\n");
}
