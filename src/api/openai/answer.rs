//! What clients get: `chat.completion` and its chunks.

use bytes::BytesMut;
use serde::Serialize;

use crate::json::write_line;

/// What all chunks of one answer share.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `chatcmpl-…`
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// What the client asked for.
    pub model: String,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model was done, or a stop text was hit.
    Stop,
    /// The token limit was reached.
    Length,
    /// Content inspection ended it.
    ContentFilter,
}

impl FinishReason {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ContentFilter => "content_filter",
        }
    }
}

/// Token counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens in.
    pub prompt: u64,
    /// Tokens out, thinking included.
    pub completion: u64,
    /// Both.
    pub total: u64,
    /// Thinking, when known.
    pub reasoning: Option<u64>,
    /// Tokens in that came from a cache, when known.
    pub cached: Option<u64>,
}

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

/// A web source of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// Its address.
    pub url: String,
    /// Its title.
    pub title: String,
    /// Where the mark that cites it begins, in characters; 0 when it is not cited.
    pub start: usize,
    /// Where that mark ends.
    pub end: usize,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = Annotation))]
pub(super) struct AnnotationObject<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    url_citation: Citation<'a>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
struct Citation<'a> {
    start_index: usize,
    end_index: usize,
    url: &'a str,
    title: &'a str,
}

fn annotation_objects(annotations: &[Annotation]) -> Vec<AnnotationObject<'_>> {
    annotations
        .iter()
        .map(|Annotation { url, title, start, end }| AnnotationObject {
            kind: "url_citation",
            url_citation: Citation { start_index: *start, end_index: *end, url, title },
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
    finish_reason: &'static str,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = AnswerMessage))]
struct Message<'a> {
    role: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reasoning_content: &'a str,
    content: &'a str,
    refusal: (),
    #[serde(skip_serializing_if = "Vec::is_empty")]
    annotations: Vec<AnnotationObject<'a>>,
}

/// Writes the chunks of one answer into a buffer. The part that is the same in each is made once.
#[derive(Debug)]
pub struct ChunkWriter {
    /// Up to and with `"delta":`.
    head: Vec<u8>,
    /// After the `finish_reason`'s value.
    tail: &'static [u8],
    identity: Identity,
}

const TAIL: &[u8] = b"}]}\n\n";
const TAIL_WITH_USAGE: &[u8] = b"}],\"usage\":null}\n\n";

impl ChunkWriter {
    /// A writer for one answer; `with_usage` when a usage chunk will end it.
    #[must_use]
    pub fn new(identity: Identity, with_usage: bool) -> Self {
        let mut head = BytesMut::from(&b"data: {\"id\":"[..]);
        write_line(&mut head, &identity.id);
        head.extend_from_slice(b",\"object\":\"chat.completion.chunk\",\"created\":");
        write_line(&mut head, &identity.created);
        head.extend_from_slice(b",\"model\":");
        write_line(&mut head, &identity.model);
        head.extend_from_slice(b",\"choices\":[{\"index\":0,\"delta\":");
        Self { head: head.to_vec(), tail: if with_usage { TAIL_WITH_USAGE } else { TAIL }, identity }
    }

    fn chunk(&self, out: &mut BytesMut, delta: impl FnOnce(&mut BytesMut), finish: Option<FinishReason>) {
        out.extend_from_slice(&self.head);
        delta(out);
        out.extend_from_slice(b",\"finish_reason\":");
        match finish {
            None => out.extend_from_slice(b"null"),
            Some(reason) => write_line(out, reason.as_str()),
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

    /// The last chunk with a choice: the reason, and the sources if there are any.
    pub fn finish(&self, out: &mut BytesMut, reason: FinishReason, annotations: &[Annotation]) {
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
            id: &self.identity.id,
            object: "chat.completion.chunk",
            created: self.identity.created,
            model: &self.identity.model,
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

/// A whole answer as one object, in JSON.
#[must_use]
pub fn completion(
    identity: &Identity,
    content: &str,
    reasoning: &str,
    annotations: &[Annotation],
    finish: FinishReason,
    usage: Usage,
) -> String {
    let message = Message {
        role: "assistant",
        reasoning_content: reasoning,
        content,
        refusal: (),
        annotations: annotation_objects(annotations),
    };
    let completion = Completion {
        id: &identity.id,
        object: "chat.completion",
        created: identity.created,
        model: &identity.model,
        choices: [Choice { index: 0, message, logprobs: (), finish_reason: finish.as_str() }],
        usage: usage.into(),
    };
    // Text and numbers cannot fail to become JSON.
    serde_json::to_string(&completion).unwrap_or_default()
}
