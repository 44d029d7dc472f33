//! What the server is asked.

use bytes::Bytes;
use url::Url;

use crate::{
    llm::{Message, OutputFormat, Reasoning, Sampling, Tool, ToolChoice},
    media_type::MediaKind,
};

/// A whole conversation, of which the next answer is wanted.
#[derive(Clone, Copy, Debug)]
pub struct WholeAsk<'a> {
    /// The server's name of the model.
    pub model: &'a str,
    /// The messages, without what is attached.
    pub messages: &'a [Message],
    /// What is attached, in the order of the messages.
    pub attached: &'a [Attached],
    /// The tools.
    pub tools: &'a [Tool],
    /// Which of them the answer has to call.
    pub tool_choice: &'a ToolChoice,
    /// Which of them it may call; `None` = all.
    pub allowed_tools: Option<&'a [String]>,
    /// Whether it may call several.
    pub parallel_tool_calls: bool,
    /// What the text of the answer has to be.
    pub format: Option<&'a OutputFormat>,
    /// How the model chooses its words.
    pub sampling: &'a Sampling,
    /// Whether to think, where the client says.
    pub reasoning: Option<Reasoning>,
    /// Whether the model may search the web.
    pub search: bool,
    /// Texts that end the answer. None where the client is to know which of them it was: the server does not say.
    pub stop: &'a [String],
    /// The most tokens of the answer.
    pub max_tokens: Option<u64>,
}

/// Something attached to a message.
#[derive(Clone, Debug)]
pub struct Attached {
    /// The index of its message.
    pub message: usize,
    /// How many texts of its message come before it.
    pub texts_before: usize,
    /// Its name.
    pub name: String,
    /// What it is attached as; `None` = whatever its content is.
    pub kind: Option<MediaKind>,
    /// Where its content is.
    pub content: AttachedContent,
}

/// Where the content of something attached is.
#[derive(Clone, Debug)]
pub enum AttachedContent {
    /// At an address.
    Link(Url),
    /// Here, with the media type that the client declares.
    Bytes(Bytes, Option<String>),
}
