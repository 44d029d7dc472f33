//! What clients get: `chat.completion` and its chunks.

use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};
use serde::Serialize;

use super::ChatDelivery;
use crate::{
    api::{AnswerMeta, openai::error::write_error_event},
    error::Error,
    json::write_line,
    llm::{Answer, Call, CallEvent, Citation, Event, FinishReason, ToolKind, Usage},
};

#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = Usage))]
pub(super) struct UsageObject {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
struct PromptDetails {
    cached_tokens: u64,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
struct CompletionDetails {
    reasoning_tokens: u64,
}

impl From<Usage> for UsageObject {
    fn from(usage: Usage) -> Self {
        let Usage { prompt, completion, total, reasoning, cached } = usage;
        Self {
            prompt_tokens: prompt,
            completion_tokens: completion,
            total_tokens: total,
            prompt_tokens_details: cached.map(|cached_tokens| PromptDetails { cached_tokens }),
            completion_tokens_details: reasoning.map(|reasoning_tokens| CompletionDetails { reasoning_tokens }),
        }
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = Annotation))]
pub(super) struct AnnotationObject<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    url_citation: UrlCitation<'a>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = Citation))]
struct UrlCitation<'a> {
    start_index: usize,
    end_index: usize,
    url: &'a str,
    title: &'a str,
}

fn annotation_objects(annotations: &[Citation]) -> Vec<AnnotationObject<'_>> {
    annotations
        .iter()
        .map(|Citation { url, title, start, end }| AnnotationObject {
            kind: "url_citation",
            url_citation: UrlCitation { start_index: *start, end_index: *end, url, title },
        })
        .collect()
}

#[derive(Serialize)]
struct LastDelta<'a> {
    annotations: Vec<AnnotationObject<'a>>,
}

#[derive(Serialize)]
struct UsageChunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: [(); 0],
    usage: UsageObject,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = ChatCompletion))]
pub(crate) struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: [Choice<'a>; 1],
    usage: UsageObject,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
struct Choice<'a> {
    index: u8,
    message: Message<'a>,
    logprobs: (),
    /// `stop`, `length`, `tool_calls`, `function_call` or `content_filter`.
    finish_reason: &'static str,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = AnswerMessage))]
struct Message<'a> {
    role: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reasoning_content: &'a str,
    /// `null` beside calls without a text.
    content: Option<&'a str>,
    /// Why the model answers nothing, where content inspection ended an answer that was to be JSON.
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCallObject<'a>>,
    /// The older form of `tool_calls`, where the request has `functions`.
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<NamedArguments<'a>>,
    /// The pictures in the text, for clients that do not read its Markdown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<ImagePart<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    annotations: Vec<AnnotationObject<'a>>,
}

/// A picture in an answer.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = AnswerImage))]
struct ImagePart<'a> {
    /// `image_url`
    #[serde(rename = "type")]
    kind: &'static str,
    image_url: ImageUrl<'a>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = AnswerImageUrl))]
struct ImageUrl<'a> {
    /// A link to this server, `/v1/media/…`.
    url: &'a str,
}

/// A call of a tool.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = AnswerToolCall))]
struct ToolCallObject<'a> {
    id: &'a str,
    /// `function` or `custom`.
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<NamedArguments<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom: Option<NamedInput<'a>>,
}

/// A function and its arguments.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = AnswerFunctionCall))]
struct NamedArguments<'a> {
    name: &'a str,
    /// JSON text.
    arguments: &'a str,
}

/// A custom tool and its input.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = AnswerCustomCall))]
struct NamedInput<'a> {
    name: &'a str,
    input: &'a str,
}

impl<'a> From<&'a Call> for NamedArguments<'a> {
    fn from(call: &'a Call) -> Self {
        Self { name: &call.name, arguments: &call.arguments }
    }
}

impl<'a> From<&'a Call> for ToolCallObject<'a> {
    fn from(call: &'a Call) -> Self {
        let Call { id, name, arguments, kind } = call;
        match kind {
            ToolKind::Function => {
                Self { id, kind: "function", function: Some(NamedArguments { name, arguments }), custom: None }
            }
            ToolKind::Custom => {
                Self { id, kind: "custom", function: None, custom: Some(NamedInput { name, input: arguments }) }
            }
        }
    }
}

/// Writes the chunks of one answer into a buffer. The part that is the same in each is made once.
#[derive(Clone, Debug)]
pub struct ChunkWriter {
    /// Up to and with `"delta":`. Shared, for a repeat begins with a fresh encoder.
    head: Arc<[u8]>,
    /// After the `finish_reason`'s value.
    tail: &'static [u8],
    meta: Arc<AnswerMeta>,
}

const TAIL: &[u8] = b"}]}\n\n";
const TAIL_WITH_USAGE: &[u8] = b"}],\"usage\":null}\n\n";

impl ChunkWriter {
    /// A writer for one answer; `with_usage` when a usage chunk will end it.
    #[must_use]
    pub fn new(meta: Arc<AnswerMeta>, with_usage: bool) -> Self {
        let mut head = BytesMut::from(&b"data: {\"id\":"[..]);
        write_line(&mut head, &meta.id);
        head.extend_from_slice(b",\"object\":\"chat.completion.chunk\",\"created\":");
        write_line(&mut head, &meta.created.get());
        head.extend_from_slice(b",\"model\":");
        write_line(&mut head, &meta.model);
        head.extend_from_slice(b",\"choices\":[{\"index\":0,\"delta\":");
        Self { head: head.to_vec().into(), tail: if with_usage { TAIL_WITH_USAGE } else { TAIL }, meta }
    }

    fn chunk(&self, out: &mut BytesMut, delta: impl FnOnce(&mut BytesMut), finish: Option<&'static str>) {
        out.extend_from_slice(&self.head);
        delta(out);
        out.extend_from_slice(b",\"finish_reason\":");
        match finish {
            None => out.extend_from_slice(b"null"),
            Some(reason) => write_line(out, reason),
        }
        out.extend_from_slice(self.tail);
    }

    /// The first chunk: who speaks.
    pub fn role(&self, out: &mut BytesMut) {
        self.chunk(out, |out| out.extend_from_slice(b"{\"role\":\"assistant\",\"content\":\"\"}"), None);
    }

    /// A piece of the answer.
    pub fn content(&self, out: &mut BytesMut, text: &str) {
        self.delta(out, b"{\"content\":", text);
    }

    /// A piece of the thinking.
    pub fn reasoning(&self, out: &mut BytesMut, text: &str) {
        self.delta(out, b"{\"reasoning_content\":", text);
    }

    fn delta(&self, out: &mut BytesMut, key: &[u8], text: &str) {
        self.chunk(
            out,
            |out| {
                out.extend_from_slice(key);
                write_line(out, text);
                out.extend_from_slice(b"}");
            },
            None,
        );
    }

    /// A call, in two chunks: which tool, and its arguments.
    pub fn tool_call(&self, out: &mut BytesMut, call: &CallEvent<'_>) {
        let CallEvent { index, id, name, arguments, kind } = call;
        let (kind, key) = match kind {
            ToolKind::Function => ("function", "arguments"),
            ToolKind::Custom => ("custom", "input"),
        };
        let head = |out: &mut BytesMut| {
            out.extend_from_slice(b"{\"tool_calls\":[{\"index\":");
            write_line(out, index);
            out.extend_from_slice(b",\"id\":");
            write_line(out, id);
            out.extend_from_slice(format!(",\"type\":\"{kind}\",\"{kind}\":{{\"name\":").as_bytes());
            write_line(out, name);
            out.extend_from_slice(format!(",\"{key}\":\"\"}}}}]}}").as_bytes());
        };
        self.chunk(out, head, None);
        let rest = |out: &mut BytesMut| {
            out.extend_from_slice(b"{\"tool_calls\":[{\"index\":");
            write_line(out, index);
            out.extend_from_slice(format!(",\"{kind}\":{{\"{key}\":").as_bytes());
            write_line(out, arguments);
            out.extend_from_slice(b"}}]}");
        };
        self.chunk(out, rest, None);
    }

    /// A call in the old form, of which an answer has one.
    pub fn function_call(&self, out: &mut BytesMut, call: &CallEvent<'_>) {
        let CallEvent { name, arguments, .. } = call;
        let delta = |out: &mut BytesMut| {
            out.extend_from_slice(b"{\"function_call\":");
            write_line(out, &NamedArguments { name, arguments });
            out.extend_from_slice(b"}");
        };
        self.chunk(out, delta, None);
    }

    /// The last chunk with a choice: the reason, and the sources if there are any.
    pub fn finish(&self, out: &mut BytesMut, reason: &'static str, annotations: &[Citation]) {
        self.chunk(
            out,
            |out| {
                if annotations.is_empty() {
                    out.extend_from_slice(b"{}");
                } else {
                    write_line(out, &LastDelta { annotations: annotation_objects(annotations) });
                }
            },
            Some(reason),
        );
    }

    /// The usage chunk.
    pub fn usage(&self, out: &mut BytesMut, usage: Usage) {
        out.extend_from_slice(b"data: ");
        let chunk = UsageChunk {
            id: &self.meta.id,
            object: "chat.completion.chunk",
            created: self.meta.created.get(),
            model: &self.meta.model,
            choices: [],
            usage: usage.into(),
        };
        write_line(out, &chunk);
        out.extend_from_slice(b"\n\n");
    }

    /// `[DONE]`
    pub fn done(out: &mut BytesMut) {
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    /// A comment that keeps proxies and clients waiting. No `event:`, `id:` or `retry:` line may ever be sent beside it:
    /// openai-python would then take the comment for an event.
    pub fn heartbeat(out: &mut BytesMut) {
        out.extend_from_slice(b": keep-alive\n\n");
    }
}

/// Writes an answer as a client of chat completions expects it.
#[derive(Clone, Debug)]
pub struct Encoder {
    meta: Arc<AnswerMeta>,
    /// What writes the chunks of a stream; `None` = one object at the end.
    writer: Option<ChunkWriter>,
    include_usage: bool,
    legacy_functions: bool,
}

impl Encoder {
    /// An encoder for one answer.
    #[must_use]
    pub fn new(meta: AnswerMeta, delivery: ChatDelivery) -> Self {
        let meta = Arc::new(meta);
        let ChatDelivery { is_stream, include_usage, legacy_functions } = delivery;
        let writer = is_stream.then(|| ChunkWriter::new(Arc::clone(&meta), include_usage));
        Self { meta, writer, include_usage, legacy_functions }
    }

    pub(in crate::api) fn is_stream(&self) -> bool {
        self.writer.is_some()
    }

    pub(in crate::api) fn begin(&self, out: &mut BytesMut) {
        if let Some(writer) = &self.writer {
            writer.role(out);
        }
    }

    pub(in crate::api) fn event(&self, event: Event<'_>, out: &mut BytesMut) {
        let Some(writer) = &self.writer else { return };
        match event {
            Event::Reasoning(text) => writer.reasoning(out, text),
            Event::Text(text) => writer.content(out, text),
            Event::ToolCall(call) if self.legacy_functions => writer.function_call(out, &call),
            Event::ToolCall(call) => writer.tool_call(out, &call),
            Event::Picture(_) | Event::OutputTokens(_) => {}
        }
    }

    pub(in crate::api) fn finish(&self, answer: &Answer<'_>, out: &mut BytesMut) {
        match &self.writer {
            Some(writer) => {
                if let Some(refusal) = answer.refusal {
                    writer.delta(out, b"{\"refusal\":", refusal);
                }
                writer.finish(out, finish_word(answer.finish, self.legacy_functions), answer.citations);
                if self.include_usage {
                    writer.usage(out, answer.usage);
                }
                ChunkWriter::done(out);
            }
            // A buffer takes whatever is written, and texts and numbers become JSON.
            None => drop(serde_json::to_writer(out.writer(), &completion(&self.meta, answer, self.legacy_functions))),
        }
    }

    pub(in crate::api) fn fail(error: &Error, out: &mut BytesMut) {
        write_error_event(out, error);
    }

    pub(in crate::api) fn keep_alive(out: &mut BytesMut) {
        ChunkWriter::heartbeat(out);
    }
}

/// OpenAI's word for why an answer ended.
const fn finish_word(reason: FinishReason, legacy_functions: bool) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls if legacy_functions => "function_call",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
    }
}

/// A whole answer as one object.
fn completion<'a>(meta: &'a AnswerMeta, answer: &Answer<'a>, legacy_functions: bool) -> Completion<'a> {
    let Answer { text, reasoning, calls, pictures, citations, refusal, finish, stop_text: _, usage } = answer;
    let message = Message {
        role: "assistant",
        reasoning_content: reasoning,
        content: Some(*text).filter(|text| refusal.is_none() && (calls.is_empty() || !text.is_empty())),
        refusal: *refusal,
        tool_calls: if legacy_functions { Vec::new() } else { calls.iter().map(ToolCallObject::from).collect() },
        function_call: calls.first().filter(|_| legacy_functions).map(NamedArguments::from),
        images: pictures.iter().map(|url| ImagePart { kind: "image_url", image_url: ImageUrl { url } }).collect(),
        annotations: annotation_objects(citations),
    };
    Completion {
        id: &meta.id,
        object: "chat.completion",
        created: meta.created.get(),
        model: &meta.model,
        choices: [Choice { index: 0, message, logprobs: (), finish_reason: finish_word(*finish, legacy_functions) }],
        usage: (*usage).into(),
    }
}
