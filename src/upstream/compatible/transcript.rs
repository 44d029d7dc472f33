//! The messages of a request, in the form of chat completions.
//!
//! The server is strict where clients are not: each call has an id and an answer, each result belongs to a call, and only a
//! person's message has pictures. What does not fit is told in the nearest form that does.

use std::{borrow::Cow, collections::VecDeque};

use base64::{Engine as _, display::Base64Display, engine::general_purpose::STANDARD as BASE64};
use serde::{Serialize, Serializer, ser::SerializeSeq};

use super::{
    ask::{Attached, AttachedContent},
    names::shown_tool_name,
};
use crate::{
    llm::{self, FunctionCall, Message, Role},
    media_type::{self, MediaKind},
};

/// What a call says that was never answered.
const NO_RESULT: &str = "There is no result of this call.";
/// The longest name of a speaker that OpenAI takes, in bytes.
const MAX_NAME: usize = 64;

pub(super) struct Transcript<'a> {
    messages: &'a [Message],
    attached: &'a [Attached],
}

#[derive(Serialize)]
struct Item<'a> {
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    content: Content<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<Part<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text { text: Cow<'a, str> },
    ImageUrl { image_url: Link },
    VideoUrl { video_url: Link },
    InputAudio { input_audio: Audio },
    File { file: File<'a> },
}

#[derive(Serialize)]
struct Link {
    url: String,
}

#[derive(Serialize)]
struct Audio {
    data: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<String>,
}

#[derive(Serialize)]
struct File<'a> {
    filename: &'a str,
    file_data: String,
}

#[derive(Serialize)]
struct Call<'a> {
    id: Cow<'a, str>,
    #[serde(rename = "type")]
    kind: &'static str,
    function: CalledFunction<'a>,
}

#[derive(Serialize)]
struct CalledFunction<'a> {
    name: Cow<'a, str>,
    arguments: Cow<'a, str>,
}

/// A call whose result has not come.
struct Pending<'a> {
    id: String,
    name: &'a str,
}

impl<'a> Transcript<'a> {
    pub(super) fn new(messages: &'a [Message], attached: &'a [Attached]) -> Self {
        Self { messages, attached }
    }

    fn attached(&self, message: usize) -> &'a [Attached] {
        let start = self.attached.partition_point(|attached| attached.message < message);
        let end = self.attached.partition_point(|attached| attached.message <= message);
        self.attached.get(start..end).unwrap_or_default()
    }
}

impl Serialize for Transcript<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = serializer.serialize_seq(None)?;
        let mut pending: VecDeque<Pending<'_>> = VecDeque::new();
        // What is attached to results, which take none, follows them in a message of its own; so do results without a call.
        let mut of_results: Vec<Part<'_>> = Vec::new();
        // Templates of models want one system message, at the beginning.
        let begins =
            self.messages.iter().position(|message| message.role != Role::System).unwrap_or(self.messages.len());
        let (instructions, _) = self.messages.split_at_checked(begins).unwrap_or_default();
        if !instructions.is_empty() {
            let text = instructions.iter().map(Message::content_text).collect::<Vec<_>>().join("\n\n");
            all.serialize_element(&item("system", None, Content::Text(Cow::Owned(text))))?;
        }
        for (index, message) in self.messages.iter().enumerate().skip(begins) {
            let attached = self.attached(index);
            if message.role == Role::Tool {
                if let Some(id) = answered(&mut pending, message) {
                    all.serialize_element(&Item {
                        role: "tool",
                        name: None,
                        content: Content::Text(message.content_text()),
                        tool_calls: Vec::new(),
                        tool_call_id: Some(&id),
                    })?;
                } else {
                    let name = message.name.as_deref().unwrap_or("a tool");
                    let text = format!("The result of {name}:\n{}", message.content_text());
                    of_results.push(Part::Text { text: Cow::Owned(text) });
                }
                of_results.extend(attached.iter().map(part));
                continue;
            }
            unanswered(&mut all, &mut pending)?;
            if !of_results.is_empty() {
                all.serialize_element(&item("user", None, Content::Parts(std::mem::take(&mut of_results))))?;
            }
            let role = match message.role {
                Role::System => "system",
                Role::User | Role::Tool => "user",
                Role::Assistant => "assistant",
            };
            let name = message.name.as_deref().filter(|name| is_speaker(name));
            if message.role == Role::Assistant {
                let tool_calls = calls(index, message, &mut pending);
                let content = Content::Text(message.content_text());
                all.serialize_element(&Item { role, name, content, tool_calls, tool_call_id: None })?;
            } else if attached.is_empty() || message.role == Role::System {
                all.serialize_element(&item(role, name, Content::Text(message.content_text())))?;
            } else {
                all.serialize_element(&item(role, name, Content::Parts(parts(message, attached))))?;
            }
        }
        unanswered(&mut all, &mut pending)?;
        if !of_results.is_empty() {
            all.serialize_element(&item("user", None, Content::Parts(of_results)))?;
        }
        all.end()
    }
}

/// Writes a result for each call that has none.
fn unanswered<S: SerializeSeq>(all: &mut S, pending: &mut VecDeque<Pending<'_>>) -> Result<(), S::Error> {
    pending.drain(..).try_for_each(|Pending { id, .. }| {
        all.serialize_element(&Item {
            role: "tool",
            name: None,
            content: Content::Text(Cow::Borrowed(NO_RESULT)),
            tool_calls: Vec::new(),
            tool_call_id: Some(&id),
        })
    })
}

/// Texts and attachments of a message, in the order in which the client sent them.
fn parts<'a>(message: &'a Message, attached: &'a [Attached]) -> Vec<Part<'a>> {
    let texts = || message.parts.iter().filter_map(llm::Part::as_text);
    let mut rest = attached.iter().peekable();
    let mut all = Vec::new();
    for (index, text) in texts().enumerate() {
        while let Some(before) = rest.next_if(|attached| attached.texts_before <= index) {
            all.push(part(before));
        }
        if !text.is_empty() {
            all.push(Part::Text { text: Cow::Borrowed(text) });
        }
    }
    all.extend(rest.map(part));
    all
}

fn item<'a>(role: &'static str, name: Option<&'a str>, content: Content<'a>) -> Item<'a> {
    Item { role, name, content, tool_calls: Vec::new(), tool_call_id: None }
}

fn is_speaker(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// The calls of an answer, which wait for their results from now on.
fn calls<'a>(index: usize, message: &'a Message, pending: &mut VecDeque<Pending<'a>>) -> Vec<Call<'a>> {
    let mut all = Vec::new();
    for (at, call) in message.tool_calls.iter().enumerate() {
        let Some(FunctionCall { name, arguments }) = call.function.as_deref() else { continue };
        let Some(name) = name.as_deref().filter(|name| !name.is_empty()) else { continue };
        let id = call.id.as_deref().filter(|id| !id.is_empty());
        let id = id.map_or_else(|| Cow::Owned(format!("call_{index}_{at}")), Cow::Borrowed);
        pending.push_back(Pending { id: id.clone().into_owned(), name });
        let function = CalledFunction { name: shown_tool_name(name), arguments: json_of(arguments.as_deref()) };
        all.push(Call { id, kind: "function", function });
    }
    all
}

/// Arguments as a JSON object: the input of a custom tool is a text of any form.
fn json_of(arguments: Option<&str>) -> Cow<'_, str> {
    let text = arguments.unwrap_or_default().trim();
    if text.is_empty() {
        return Cow::Borrowed("{}");
    }
    if text.starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(serde_json::json!({ "input": arguments.unwrap_or_default() }).to_string())
}

/// The call that a result answers: by its id, else by the tool's name, else the first without a result.
fn answered(pending: &mut VecDeque<Pending<'_>>, result: &Message) -> Option<String> {
    let id = result.tool_call_id.as_deref().filter(|id| !id.is_empty());
    let by_id = |call: &Pending<'_>| id == Some(call.id.as_str());
    let by_name = |call: &Pending<'_>| result.name.as_deref() == Some(call.name);
    let at = match id {
        Some(_) => pending.iter().position(by_id)?,
        None => pending.iter().position(by_name).unwrap_or(0),
    };
    pending.remove(at).map(|call| call.id)
}

fn part(attached: &Attached) -> Part<'_> {
    let Attached { message: _, texts_before: _, name, kind, content } = attached;
    let found = match content {
        AttachedContent::Link(_) => media_type::declared_type(None, name),
        AttachedContent::Bytes(bytes, declared) => media_type::detect(bytes, declared.as_deref(), name),
    };
    let kind = kind.or_else(|| found.map(|found| found.kind)).unwrap_or(MediaKind::Document);
    let url = match content {
        AttachedContent::Link(url) => url.to_string(),
        AttachedContent::Bytes(bytes, declared) => {
            let known = found.map(|found| found.content_type);
            let content_type = known.or(declared.as_deref()).unwrap_or("application/octet-stream");
            format!("data:{content_type};base64,{}", Base64Display::new(bytes, &BASE64))
        }
    };
    match kind {
        MediaKind::Image => Part::ImageUrl { image_url: Link { url } },
        MediaKind::Video => Part::VideoUrl { video_url: Link { url } },
        MediaKind::Audio => {
            let format = found.and_then(|found| media_type::extension(found.content_type)).map(str::to_owned);
            let data = match content {
                AttachedContent::Link(_) => url,
                AttachedContent::Bytes(bytes, _) => BASE64.encode(bytes),
            };
            Part::InputAudio { input_audio: Audio { data, format } }
        }
        MediaKind::Document => Part::File { file: File { filename: name, file_data: url } },
    }
}
