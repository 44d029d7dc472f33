//! Messages as one text: the site takes one message of the user's at a time.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use bytes::Bytes;

use super::{
    files::NewFile,
    tool_prompt::{self, EMPTY_RESULT, ToolText},
};
use crate::llm::{Message, Role};

/// A message with what is attached to it.
#[derive(Clone, Debug)]
pub struct PromptMessage<'a> {
    /// The message.
    pub message: &'a Message,
    /// Who exactly speaks, or which call this is the result of.
    pub name: Option<&'a str>,
    /// Of a tool's result, which call it answers.
    pub answers: Option<&'a Answers>,
    /// The names of what is attached.
    pub attached: Vec<&'a str>,
}

/// Which call a tool's result answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// The place of the call among those of its answer, from 1 on.
    pub number: usize,
    /// The tool, if it is known.
    pub tool: Option<String>,
}

/// A text for one message to the site, and the text of a file that goes along because it would have been too long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RenderedPrompt {
    /// The message.
    pub text: String,
    /// The file.
    pub file: Option<Bytes>,
}

/// The name of that file.
const FILE_NAME: &str = "conversation.txt";
/// Longer texts go along as a file: from 128 KiB on the site's firewall answers with its captcha page, and the body holds
/// more than the text.
const MAX_INLINE: usize = 94 * 1024;
/// What stays in the message then.
const KEPT_INLINE: usize = 48 * 1024;
const EARLIER_IN_FILE: &str = "[The earlier part of this conversation is in the attached file conversation.txt. Read it first; its newest part follows.]";
const ALL_IN_FILE: &str = "[This message is too long to be sent as text, so all of it is in the attached file conversation.txt. Read it and answer its last message.]";

/// The longest name that stands beside a message, in characters.
const MAX_NAME: usize = 100;

/// What an attachment's entry takes of the body, in bytes.
const ROOM_PER_FILE: usize = 3 * 1024;

/// Renders messages as one text: a lone user message as it is, else each with its role in front, the newest last. `files` =
/// how many attachments go along, `tools` = what goes along because of tools.
#[must_use]
pub fn render<'a>(
    messages: impl IntoIterator<Item = PromptMessage<'a>>,
    files: usize,
    tools: &ToolText,
) -> RenderedPrompt {
    let with_text = |prompt: PromptMessage<'a>| {
        let text = message_text(prompt.message, tools.is_taught);
        // A tool's empty result is a result too.
        let is_empty_result = is_result(prompt.message) && text.trim().is_empty() && prompt.attached.is_empty();
        (prompt, if is_empty_result { Cow::Borrowed(EMPTY_RESULT) } else { text })
    };
    let mut texts = messages
        .into_iter()
        .map(with_text)
        .filter(|(prompt, text)| !text.trim().is_empty() || !prompt.attached.is_empty())
        .peekable();
    let taken = files.saturating_mul(ROOM_PER_FILE);
    let mut pieces: Vec<String> = Vec::new();
    let mut follows_result = false;
    // One by one: of a long history there is one copy at a time.
    while let Some((prompt, text)) = texts.next() {
        let is_alone = pieces.is_empty() && prompt.message.role == Role::User && texts.peek().is_none();
        if is_alone && tools.head.is_empty() {
            return fit(vec![text.into_owned()], taken, tools);
        }
        let is_result = tools.is_taught && is_result(prompt.message);
        let piece = if is_result { taught_result(&prompt, &text) } else { labelled(&prompt, &text) };
        match pieces.last_mut() {
            // All results of one turn are one message.
            Some(last) if is_result && follows_result => {
                last.push('\n');
                last.push_str(&piece);
            }
            _ => pieces.push(piece),
        }
        follows_result = is_result;
    }
    fit(pieces, taken, tools)
}

fn taught_result(prompt: &PromptMessage<'_>, text: &str) -> String {
    let PromptMessage { message, answers, attached, .. } = prompt;
    let text = with_attached(text.to_owned(), attached);
    let (number, tool) = answers.map_or((1, None), |answers| (answers.number, answers.tool.as_deref()));
    let name = tool.or(message.name.as_deref()).map(plain);
    tool_prompt::result(number, name.as_deref(), &text, message.is_error)
}

fn labelled(prompt: &PromptMessage<'_>, text: &str) -> String {
    let PromptMessage { message, name, attached, .. } = prompt;
    let label = label(message.role);
    let line = match name {
        Some(name) if is_result(message) => format!("[{name}] {label}: {text}"),
        Some(name) => format!("{label} ({name}): {text}"),
        None => format!("{label}: {text}"),
    };
    with_attached(line, attached)
}

fn with_attached(mut line: String, attached: &[&str]) -> String {
    for attachment in attached {
        if !line.ends_with(' ') && !line.is_empty() {
            line.push('\n');
        }
        line.push_str(&format!("[attached: {attachment}]"));
    }
    line
}

/// The file that goes along with a prompt, if one does.
#[must_use]
pub fn prompt_file(prompt: &RenderedPrompt) -> Option<NewFile> {
    let (media_type, param) = ("text/plain".to_owned(), "messages".to_owned());
    Some(NewFile::whole(FILE_NAME.to_owned(), Some(media_type), prompt.file.clone()?, param))
}

/// Joins the pieces, oldest first; moves what is too much into the file. `taken` = bytes that something else needs. What goes
/// along because of tools stays in the message.
fn fit(pieces: Vec<String>, taken: usize, tools: &ToolText) -> RenderedPrompt {
    const BETWEEN: &str = "\n\n";
    let ToolText { head, file: catalogue, tail, is_taught: _ } = tools;
    let sent = |piece: &String| json_length(piece).saturating_add(json_length(BETWEEN));
    let framed = |inner: &[&str]| {
        let parts = [head.trim_end()].into_iter().chain(inner.iter().copied()).chain([tail.as_str()]);
        parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(BETWEEN)
    };
    let around = if head.is_empty() && tail.is_empty() { 0 } else { sent(head).saturating_add(sent(tail)) };
    let most = MAX_INLINE.saturating_sub(taken).saturating_sub(around);
    let is_inline = pieces.iter().map(sent).fold(0, usize::saturating_add) <= most;
    if is_inline && catalogue.is_empty() {
        let inner = pieces.join(BETWEEN);
        let text = if around == 0 { inner } else { framed(&[&inner]) };
        return RenderedPrompt { text, file: None };
    }
    let mut room = if is_inline { most } else { KEPT_INLINE.min(most) };
    let fits = |piece: &&String| room.checked_sub(sent(piece)).inspect(|left| room = *left).is_some();
    let kept = pieces.iter().rev().take_while(fits).count();
    let mut older = pieces;
    let newest = older.split_off(older.len().saturating_sub(kept));
    let newest_text = newest.join(BETWEEN);
    let text = match (&newest[..], &older[..]) {
        ([], _) => framed(&[ALL_IN_FILE]),
        (_, []) => framed(&[&newest_text]),
        _ => framed(&[EARLIER_IN_FILE, &newest_text]),
    };
    // Of a single huge message there is one copy.
    let history = if let [only] = &mut older[..] { std::mem::take(only) } else { older.join(BETWEEN) };
    let file = match (catalogue.is_empty(), history.is_empty()) {
        (true, _) => history,
        (false, true) => catalogue.clone(),
        (false, false) => format!("{catalogue}{BETWEEN}{history}"),
    };
    RenderedPrompt { text, file: Some(file.into()) }
}

/// The text, with the names of attachments of earlier messages in front that are no longer available.
#[must_use]
pub fn without_missing<'a>(text: &'a str, missing: &[String]) -> Cow<'a, str> {
    if missing.is_empty() {
        return Cow::Borrowed(text);
    }
    let names = missing.join(", ");
    Cow::Owned(format!("[Attachments of earlier messages that are no longer available: {names}]\n\n{text}"))
}

/// How many bytes a text has as a JSON string, without its quotes.
fn json_length(text: &str) -> usize {
    text.bytes()
        .map(|byte| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0C => 2,
            0..=0x1F => 6,
            _ => 1,
        })
        .fold(0, usize::saturating_add)
}

const fn label(role: Role) -> &'static str {
    match role {
        Role::System => "System",
        Role::User => "User",
        Role::Assistant => "Assistant",
        Role::Tool => "Tool result",
    }
}

fn is_result(message: &Message) -> bool {
    message.role == Role::Tool
}

/// The names that stand beside messages: who speaks, and of a tool's result which call it answers, by the tool's name and the
/// call's id as far as they are known.
#[must_use]
pub fn speaker_names(messages: &[Message]) -> Vec<Option<String>> {
    let wanted = answered_ids(messages);
    let mut tools: HashMap<&str, &str> = HashMap::new();
    let name = |message: &Message, tool: Option<&str>| {
        let given = |text: Option<&str>| text.map(str::trim).filter(|text| !text.is_empty()).map(plain);
        let id = message.tool_call_id.as_deref().filter(|_| is_result(message));
        match (given(message.name.as_deref().or(tool)), given(id)) {
            (Some(name), Some(id)) => Some(format!("{name} {id}")),
            (name, id) => name.or(id),
        }
    };
    let mut names = Vec::with_capacity(messages.len());
    for message in messages {
        let calls = message.tool_calls.iter();
        let named = calls.filter_map(|call| Some((call.id.as_deref()?, call.function.as_ref()?.name.as_deref()?)));
        tools.extend(named.filter(|(id, _)| wanted.contains(id)));
        let tool = message.tool_call_id.as_deref().and_then(|id| tools.get(id).copied());
        names.push(name(message, tool));
    }
    names
}

/// The ids of the calls that have results. There are at most as many as messages, but a hundred times as many calls.
fn answered_ids(messages: &[Message]) -> HashSet<&str> {
    messages.iter().filter_map(|message| message.tool_call_id.as_deref()).collect()
}

/// Of each message that is a tool's result, which call it answers.
#[must_use]
pub fn answered_calls(messages: &[Message]) -> Vec<Option<Answers>> {
    let wanted = answered_ids(messages);
    let mut calls: HashMap<&str, (usize, Option<&str>)> = HashMap::new();
    let mut results = 0_usize;
    let mut all = Vec::with_capacity(messages.len());
    for message in messages {
        for (index, call) in message.tool_calls.iter().enumerate() {
            if let Some(id) = call.id.as_deref().filter(|id| wanted.contains(id)) {
                let tool = call.function.as_ref().and_then(|function| function.name.as_deref());
                calls.insert(id, (index.saturating_add(1), tool));
            }
        }
        results = if is_result(message) { results.saturating_add(1) } else { 0 };
        let found = message.tool_call_id.as_deref().and_then(|id| calls.get(id).copied());
        let (number, tool) = found.unwrap_or((results, message.name.as_deref()));
        let tool = tool.or(message.name.as_deref()).map(str::to_owned);
        all.push(is_result(message).then_some(Answers { number, tool }));
    }
    all
}

/// A name on one line, of a bounded length, that closes no bracket.
fn plain(name: &str) -> String {
    name.chars().take(MAX_NAME).map(|character| if "\n\r[]()".contains(character) { ' ' } else { character }).collect()
}

/// All that a message says, with the tools it called. `is_taught`: in the form that the model was taught.
fn message_text(message: &Message, is_taught: bool) -> Cow<'_, str> {
    let is_answer = message.role == Role::Assistant;
    let quote = |text: &str| match tool_prompt::quoted(text, is_answer, is_taught) {
        Cow::Borrowed(_) => None,
        Cow::Owned(text) => Some(text),
    };
    let mut text = message.content_text();
    if !is_result(message)
        && let Some(quoted) = quote(&text)
    {
        text = Cow::Owned(quoted);
    }
    for call in message.calls() {
        let line = if is_taught {
            tool_prompt::call(call)
        } else {
            let name = call.name.as_deref().unwrap_or("?");
            let arguments = call.arguments.as_deref().unwrap_or("{}");
            format!("[called the tool {name} with {arguments}]")
        };
        let text = text.to_mut();
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&line);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(messages: &str) -> String {
        let body = format!(r#"{{"messages":{messages}}}"#);
        let messages = crate::api::openai::chat_completions::parse(body.as_bytes()).unwrap().request.messages;
        let names = speaker_names(&messages);
        let prompts = messages.iter().zip(&names).map(|(message, name)| PromptMessage {
            message,
            name: name.as_deref(),
            answers: None,
            attached: Vec::new(),
        });
        let RenderedPrompt { text, file } = render(prompts, 0, &ToolText::default());
        assert_eq!(file, None);
        text
    }

    #[test]
    fn messages_become_one_text() {
        for (messages, expected) in [
            (r#"[{"role":"user","content":"hi"}]"#, "hi"),
            (r#"[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]"#, "a\nb"),
            (
                r#"[{"role":"system","content":"be brief"},{"role":"user","content":"hi"}]"#,
                "System: be brief\n\nUser: hi",
            ),
            (
                r#"[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}]"#,
                "User: a\n\nAssistant: b\n\nUser: c",
            ),
            (
                r#"[{"role":"user","content":"a"},{"role":"assistant","content":null},{"role":"user","content":""}]"#,
                "a",
            ),
            (
                r#"[{"role":"user","content":"a"},{"role":"assistant","content":null,"tool_calls":[{"id":"1","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"1","content":"7"}]"#,
                "User: a\n\nAssistant: [called the tool f with {}]\n\n[f 1] Tool result: 7",
            ),
            (
                r#"[{"role":"user","content":"a"},{"role":"assistant","content":"","tool_calls":[{"id":"1","function":{"name":"f"}},{"id":"2","function":{"name":"g"}}]},{"role":"tool","tool_call_id":"2","content":""},{"role":"tool","tool_call_id":"1","content":null},{"role":"tool","tool_call_id":"9","content":[]},{"role":"function","name":"h\n]","content":" "},{"role":"tool","content":""}]"#,
                "User: a\n\nAssistant: [called the tool f with {}]\n[called the tool g with {}]\n\n[g 2] Tool result: (empty)\n\n[f 1] Tool result: (empty)\n\n[9] Tool result: (empty)\n\n[h  ] Tool result: (empty)\n\nTool result: (empty)",
            ),
            (
                r#"[{"role":"developer","content":"x"},{"role":"user","name":"Ann","content":"y"}]"#,
                "System: x\n\nUser (Ann): y",
            ),
        ] {
            assert_eq!(rendered(messages), expected);
        }
    }

    #[test]
    fn what_is_too_long_goes_along_as_a_file() {
        let piece = |letter: char, kib: usize| letter.to_string().repeat(kib * 1024);
        let file = |folded: &RenderedPrompt| folded.file.as_ref().map(|file| String::from_utf8(file.to_vec()).unwrap());
        let all = |folded: &RenderedPrompt| format!("{}{}", file(folded).unwrap_or_default(), folded.text);
        for (pieces, in_file, inline) in [
            (vec![piece('a', 93)], None, "a"),
            (vec![piece('a', 40), piece('b', 40)], None, "ab"),
            (vec![piece('a', 60), piece('b', 40)], Some("a"), "b"),
            (vec![piece('a', 60), piece('b', 20), piece('c', 20)], Some("a"), "bc"),
            (vec![piece('a', 200), piece('b', 1)], Some("a"), "b"),
            (vec![piece('a', 10), piece('b', 100)], Some("ab"), ""),
            (vec![piece('a', 300)], Some("a"), ""),
            (vec![piece('"', 60)], Some("\""), ""),
            (vec!["\u{1}".repeat(20 * 1024)], Some("\u{1}"), ""),
        ] {
            let folded = fit(pieces.clone(), 0, &ToolText::default());
            for (text, letters) in [(file(&folded), in_file), (Some(folded.text.clone()), Some(inline))] {
                assert_eq!(text.is_some(), letters.is_some());
                for letter in letters.unwrap_or_default().chars() {
                    assert!(
                        text.as_ref().unwrap().contains(&letter.to_string().repeat(1024)),
                        "{in_file:?} {inline:?}"
                    );
                }
            }
            assert!(pieces.iter().all(|piece| all(&folded).contains(piece)), "nothing is cut");
            assert!(serde_json::to_string(&folded.text).unwrap().len() < 126 * 1024);
        }
    }

    #[test]
    fn a_json_length_is_what_it_says() {
        for text in ["", "abc", "\"\\\n\r\t\u{8}\u{c}", "\u{0}\u{1f}\u{7f}", "\u{4e2d}\u{1f600}"] {
            assert_eq!(json_length(text) + 2, serde_json::to_string(text).unwrap().len(), "{text:?}");
        }
    }
}
