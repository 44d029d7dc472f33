//! A whole conversation as one text, for a new chat upstream.

use std::{borrow::Cow, fmt::Write as _};

use crate::{
    error::{Error, Result},
    openai::{Content, Message, Part, Role},
};

/// Checks that there is something to ask, of kinds that are known.
///
/// # Errors
/// `invalid_request` when there is no text at all, or a part of a kind that is not known.
pub fn check(messages: &[Message]) -> Result<()> {
    if messages.is_empty() {
        return Err(Error::invalid("messages", "The field 'messages' is empty; it needs at least one message."));
    }
    for (index, message) in messages.iter().enumerate() {
        let Some(Content::Parts(parts)) = &message.content else { continue };
        if let Some((at, part)) = parts.iter().enumerate().find(|(_, part)| part_text(part).is_none()) {
            let kind: String = part.kind.chars().take(40).collect();
            let problem = format!("Content parts of the type '{kind}' are not supported here; send text.");
            return Err(Error::invalid(format!("messages[{index}].content[{at}].type"), problem));
        }
    }
    if messages.iter().all(|message| message_text(message).trim().is_empty()) {
        return Err(Error::invalid("messages", "The messages hold no text."));
    }
    Ok(())
}

/// Folds messages into one text: a lone user message as it is, else each with its role in front, the newest last.
pub(super) fn fold<'a>(messages: impl IntoIterator<Item = &'a Message>) -> String {
    let mut texts: Vec<(&Message, Cow<'_, str>)> = messages
        .into_iter()
        .map(|message| (message, message_text(message)))
        .filter(|(_, text)| !text.trim().is_empty())
        .collect();
    if let [(Message { role: Role::User, .. }, text)] = &mut texts[..] {
        return std::mem::take(text).into_owned();
    }
    let mut folded = String::with_capacity(texts.iter().map(|(_, text)| text.len().saturating_add(16)).sum());
    for (message, text) in texts {
        if !folded.is_empty() {
            folded.push_str("\n\n");
        }
        folded.push_str(label(message.role));
        if let Some(name) = message.name.as_deref().filter(|name| !name.is_empty()) {
            // Writing to a String cannot fail.
            let _ = write!(folded, " ({})", name.replace(['\n', '\r'], " "));
        }
        folded.push_str(": ");
        folded.push_str(&text);
    }
    folded
}

const fn label(role: Role) -> &'static str {
    match role {
        Role::System | Role::Developer => "System",
        Role::User => "User",
        Role::Assistant => "Assistant",
        Role::Tool | Role::Function => "Tool result",
    }
}

/// What a message's content says. Parts of other kinds than text are left out.
pub(super) fn content_text(message: &Message) -> Cow<'_, str> {
    match &message.content {
        None => Cow::Borrowed(""),
        Some(Content::Text(text)) => Cow::Borrowed(text),
        Some(Content::Parts(parts)) => Cow::Owned(parts.iter().filter_map(part_text).collect::<Vec<_>>().join("\n")),
    }
}

/// All that a message says, with the tools it called.
fn message_text(message: &Message) -> Cow<'_, str> {
    let Message { role: _, content: _, name: _, tool_calls, tool_call_id: _, function_call } = message;
    let mut text = content_text(message);
    let calls = tool_calls.iter().flatten().filter_map(|call| call.function.as_ref()).chain(function_call);
    for call in calls {
        let name = call.name.as_deref().unwrap_or("?");
        let arguments = call.arguments.as_deref().unwrap_or("{}");
        let line = format!("{}[called the tool {name} with {arguments}]", if text.is_empty() { "" } else { "\n" });
        text.to_mut().push_str(&line);
    }
    text
}

fn part_text(part: &Part) -> Option<&str> {
    match part.kind.as_str() {
        "text" | "input_text" | "output_text" => Some(part.text.as_deref().unwrap_or_default()),
        "refusal" => Some(part.refusal.as_deref().unwrap_or_default()),
        // What a model thought earlier is not said again.
        "thinking" | "reasoning" | "redacted_thinking" => Some(""),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::ChatRequest;

    fn folded(messages: &str) -> Result<String> {
        let request = ChatRequest::from_json(format!(r#"{{"messages":{messages}}}"#).as_bytes()).unwrap();
        check(&request.messages).map(|()| fold(&request.messages))
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
                "User: a\n\nAssistant: [called the tool f with {}]\n\nTool result: 7",
            ),
            (
                r#"[{"role":"developer","content":"x"},{"role":"user","name":"Ann","content":"y"}]"#,
                "System: x\n\nUser (Ann): y",
            ),
        ] {
            assert_eq!(folded(messages).unwrap(), expected);
        }
    }

    #[test]
    fn without_text_there_is_nothing_to_ask() {
        for (messages, param) in [
            ("[]", "messages"),
            (r#"[{"role":"user","content":" "}]"#, "messages"),
            (r#"[{"role":"user","content":null}]"#, "messages"),
            (
                r#"[{"role":"user","content":[{"type":"text","text":"a"},{"type":"hologram"}]}]"#,
                "messages[0].content[1].type",
            ),
        ] {
            assert_eq!(folded(messages).unwrap_err().param(), Some(param));
        }
    }
}
