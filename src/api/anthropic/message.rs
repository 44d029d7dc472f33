//! The messages of a request: how clients write them, and what they are in neutral words.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};

use super::content::{Block, Content, MessageBlock, ToolResult, ToolUse, append, append_block};
use crate::{api::lenient::too_many, llm};

/// The most messages of a request. A tool's result counts as one.
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
            let (mut all, mut index) = (Vec::new(), 0_usize);
            while let Some(message) = items.next_element::<Message>()? {
                message.append(index, &mut all);
                if all.len() > MAX_MESSAGES {
                    return Err(too_many(MAX_MESSAGES));
                }
                index = index.saturating_add(1);
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
#[cfg_attr(test, schema(as = MessageRole))]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    /// Instructions, also amid a conversation.
    System,
    /// The person, and results of tools.
    User,
    /// The model.
    Assistant,
}

/// One turn's part of the conversation.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = InputMessage))]
pub(super) struct Message {
    /// Who speaks.
    role: Role,
    /// What is said.
    #[cfg_attr(test, schema(value_type = Option<super::schema::BlockContent>))]
    content: Option<Content<MessageBlock>>,
}

impl Message {
    /// Appends the message in neutral words, in which each result of a tool is a message; `index` is its position in the
    /// request.
    fn append(self, index: usize, all: &mut Vec<llm::Message>) {
        let Self { role, content } = self;
        let path = format!("messages[{index}].content");
        let before = all.len();
        let (mut parts, mut answer, mut tool_calls) = (Vec::new(), String::new(), Vec::new());
        let blocks = match content {
            None => Vec::new(),
            Some(Content::Text(text)) => vec![MessageBlock::Said(Block::Text(text))],
            Some(Content::Blocks(blocks)) => blocks,
        };
        for (at, block) in blocks.into_iter().enumerate() {
            match (role, block) {
                (Role::User, MessageBlock::ToolResult(result)) => {
                    if !parts.is_empty() {
                        all.push(said(llm::Role::User, std::mem::take(&mut parts)));
                    }
                    all.push(result.into_neutral(&format!("{path}[{at}].content")));
                }
                (Role::Assistant, MessageBlock::ToolUse(call)) => tool_calls.extend(call.into_neutral()),
                // The texts of an answer are one text, wherever thinking or a citation divides it.
                (Role::Assistant, MessageBlock::Said(Block::Text(text))) if answer.is_empty() => answer = text,
                (Role::Assistant, MessageBlock::Said(Block::Text(text))) => answer.push_str(&text),
                (_, MessageBlock::Said(block)) => append_block(block, || format!("{path}[{at}]"), &mut parts),
                (_, MessageBlock::ToolUse(_) | MessageBlock::ToolResult(_)) => {}
            }
        }
        if !answer.is_empty() {
            parts.insert(0, llm::Part::Text(answer));
        }
        if !parts.is_empty() || !tool_calls.is_empty() || all.len() == before {
            let role = match role {
                Role::System => llm::Role::System,
                Role::User => llm::Role::User,
                Role::Assistant => llm::Role::Assistant,
            };
            tool_calls.shrink_to_fit();
            all.push(llm::Message { tool_calls, ..said(role, parts) });
        }
    }
}

fn said(role: llm::Role, mut parts: Vec<llm::Part>) -> llm::Message {
    parts.shrink_to_fit();
    llm::Message { role, name: None, parts, tool_calls: Vec::new(), tool_call_id: None, is_error: false }
}

impl ToolResult {
    /// The result in neutral words. `path` is the place of its content in the request.
    fn into_neutral(self, path: &str) -> llm::Message {
        let Self { tool_use_id, content, is_error } = self;
        let mut parts = Vec::new();
        if let Some(content) = content {
            append(content, path, &mut parts);
        }
        llm::Message { tool_call_id: tool_use_id, is_error, ..said(llm::Role::Tool, parts) }
    }
}

impl ToolUse {
    /// The call in neutral words; `None` for one that says nothing, which would take more memory than text.
    fn into_neutral(self) -> Option<llm::ToolCall> {
        let Self { id, name, input } = self;
        let given = |text: Option<String>| text.filter(|text| !text.is_empty()).map(String::into_boxed_str);
        let (id, name, arguments) = (given(id), given(name), input.map(Box::<str>::from));
        let function = (name.is_some() || arguments.is_some()).then(|| Box::new(llm::FunctionCall { name, arguments }));
        (id.is_some() || function.is_some()).then_some(llm::ToolCall { id, function })
    }
}
