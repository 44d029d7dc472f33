//! The messages of a request: how clients write them, and what they are in neutral words.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};

use crate::{
    api::{
        lenient::{MAX_PARTS, bounded, too_many},
        openai::content::Content,
    },
    llm,
};

/// The most messages of a request.
pub(super) const MAX_MESSAGES: usize = 10_000;

/// Reads the messages of a request one by one: no second copy of all of them exists at any time.
pub(super) fn messages<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<llm::Message>, D::Error> {
    struct Messages;
    impl<'de> Visitor<'de> for Messages {
        type Value = Vec<llm::Message>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of messages")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<llm::Message>, A::Error> {
            let mut all = Vec::new();
            while let Some(message) = items.next_element::<Message>()? {
                if all.len() >= MAX_MESSAGES {
                    return Err(too_many(MAX_MESSAGES));
                }
                all.push(message.into_neutral(all.len()));
            }
            all.shrink_to_fit();
            Ok(all)
        }
    }
    deserializer.deserialize_seq(Messages)
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    /// Instructions.
    System,
    /// Newer name for instructions.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A tool's result.
    Tool,
    /// Older name for a tool's result.
    Function,
}

/// One turn's part of the conversation.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct Message {
    /// Who speaks.
    role: Role,
    /// What is said.
    #[cfg_attr(test, schema(value_type = Option<super::schema::Content>))]
    content: Option<Content>,
    /// Who exactly, or which function.
    name: Option<String>,
    /// The tools that the model called.
    #[serde(default, deserialize_with = "tool_calls")]
    tool_calls: Option<Vec<ToolCall>>,
    /// The call that this is the result of.
    tool_call_id: Option<String>,
    /// Older form of `tool_calls`.
    function_call: Option<Box<FunctionCall>>,
}

fn tool_calls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<ToolCall>>, D::Error> {
    struct Calls;
    impl<'de> Visitor<'de> for Calls {
        type Value = Option<Vec<ToolCall>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of tool calls")
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
            let mut calls: Vec<ToolCall> = bounded(items, MAX_PARTS)?;
            // One that says nothing takes more memory than text.
            calls.retain(|call| call.id.is_some() || call.function.is_some() || call.custom.is_some());
            calls.shrink_to_fit();
            Ok(Some(calls))
        }
    }
    deserializer.deserialize_any(Calls)
}

/// A tool call of an earlier turn.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct ToolCall {
    /// Its id.
    id: Option<String>,
    /// What was called.
    function: Option<Box<FunctionCall>>,
    /// The same of a tool that takes text.
    custom: Option<Box<CustomCall>>,
}

/// A tool that takes text, and its text.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct CustomCall {
    /// The tool.
    name: Option<String>,
    /// The text.
    input: Option<String>,
}

/// A function and its arguments.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct FunctionCall {
    /// The function.
    name: Option<String>,
    /// JSON text.
    arguments: Option<String>,
}

impl Message {
    /// The message in neutral words; `index` is its position in the request.
    pub(super) fn into_neutral(self, index: usize) -> llm::Message {
        let Self { role, content, name, tool_calls, tool_call_id, function_call } = self;
        let parts = content.map(|content| content.into_neutral(|at| format!("messages[{index}].content[{at}]")));
        let mut tool_calls: Vec<llm::ToolCall> =
            tool_calls.unwrap_or_default().into_iter().filter_map(ToolCall::into_neutral).collect();
        tool_calls.extend(
            function_call.and_then(|call| ToolCall { id: None, function: Some(call), custom: None }.into_neutral()),
        );
        tool_calls.shrink_to_fit();
        let role = match role {
            Role::System | Role::Developer => llm::Role::System,
            Role::User => llm::Role::User,
            Role::Assistant => llm::Role::Assistant,
            Role::Tool | Role::Function => llm::Role::Tool,
        };
        llm::Message { role, name, parts: parts.unwrap_or_default(), tool_calls, tool_call_id, is_error: false }
    }
}

impl ToolCall {
    /// The call in neutral words; `None` for one that says nothing, which would take more memory than text.
    fn into_neutral(self) -> Option<llm::ToolCall> {
        let Self { id, function, custom } = self;
        let said = |text: Option<String>| text.filter(|text| !text.is_empty()).map(String::into_boxed_str);
        let id = said(id);
        let called = function.map(|call| (call.name, call.arguments));
        let called = called.or_else(|| {
            // The model sees a tool that takes text as a function with the parameter `input`.
            let CustomCall { name, input } = *custom?;
            Some((name, input.map(|input| serde_json::json!({ "input": input }).to_string())))
        });
        let function = called.and_then(|(name, arguments)| {
            let (name, arguments) = (said(name), said(arguments));
            (name.is_some() || arguments.is_some()).then(|| Box::new(llm::FunctionCall { name, arguments }))
        });
        (id.is_some() || function.is_some()).then_some(llm::ToolCall { id, function })
    }
}

#[cfg(test)]
mod tests {
    use crate::api::openai::chat_completions::parse;

    #[test]
    fn calls_are_read_in_each_form() {
        let calls = |fields: &str| {
            let body = format!(r#"{{"messages":[{{"role":"assistant",{fields}}}]}}"#);
            let message = parse(body.as_bytes()).unwrap().request.messages.remove(0);
            message.calls().map(|call| (call.name.clone(), call.arguments.clone())).collect::<Vec<_>>()
        };
        let expected = |arguments: &str| vec![(Some(Box::<str>::from("f")), Some(Box::<str>::from(arguments)))];
        for (fields, arguments) in [
            (r#""tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]"#, "{}"),
            (r#""function_call":{"name":"f","arguments":"{}"}"#, "{}"),
            (r#""tool_calls":[{"type":"custom","custom":{"name":"f","input":"a \"b\""}}]"#, r#"{"input":"a \"b\""}"#),
        ] {
            assert_eq!(calls(fields), expected(arguments), "{fields}");
        }
    }
}
