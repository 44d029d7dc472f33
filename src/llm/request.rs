//! What a client asks for.

use std::{borrow::Cow, sync::Arc};

/// One request: a conversation whose next answer is wanted. Which bytes the client gets is not part of it.
#[derive(Debug, Default)]
pub struct Request {
    /// The model's name as the client wrote it.
    pub model: Option<String>,
    /// The conversation, newest turn last.
    pub messages: Vec<Message>,
    /// Whether to think; `None` = the client does not say.
    pub reasoning: Option<Reasoning>,
    /// Whether the model may search the web.
    pub search: bool,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// The most tokens of the answer, thinking included.
    pub max_tokens: Option<u64>,
    /// The tools that the answer may call.
    pub tools: Arc<[Tool]>,
    /// Which of them it has to call.
    pub tool_choice: ToolChoice,
    /// Which of them it may call; `None` = all.
    pub allowed_tools: Option<Vec<String>>,
    /// Whether it may call several.
    pub parallel_tool_calls: bool,
    /// What the text of the answer has to be; `None` = anything.
    pub format: Option<OutputFormat>,
    /// How the model chooses its words, for an upstream that takes it.
    pub sampling: Sampling,
    /// The conversation to continue, by the id that an earlier answer reported or the client chose.
    pub conversation_id: Option<String>,
}

/// A tool that a request declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// The JSON schema of its arguments, as JSON text.
    pub parameters: Option<Box<str>>,
    /// What it takes.
    pub kind: ToolKind,
    /// Whether its arguments have to fit the schema.
    pub strict: bool,
}

/// What a tool takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ToolKind {
    /// An object, as its schema says.
    #[default]
    Function,
    /// One text, which the model sees as the parameter `input`.
    Custom,
}

/// Which tools the answer has to call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// Those that the model likes, or none.
    #[default]
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(String),
}

/// How a model chooses its words, as the client wrote it: for upstreams that know these fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sampling {
    /// Values as JSON text, by OpenAI's names of the fields.
    pub fields: Vec<(&'static str, Box<str>)>,
    /// The client's word for how hard to think.
    pub effort: Option<String>,
    /// Whether the client calls the limit of tokens `max_completion_tokens`, as models that think have it, and not
    /// `max_tokens`.
    pub limits_completion: bool,
}

/// JSON that an answer has to be: one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputFormat {
    /// The JSON schema that it has to fit, as JSON text; `None` = any object.
    pub schema: Option<Box<str>>,
    /// The client's name of the schema.
    pub name: Option<String>,
    /// What the client says the schema is for.
    pub description: Option<String>,
    /// Whether the client wants the model held to the schema while it writes.
    pub strict: Option<bool>,
    /// The field of the client's request that errors name.
    pub param: &'static str,
}

/// What a model is to do otherwise, when it is asked once more because its answer cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Correction {
    /// It wrote a call that cannot be read.
    UnreadableCall,
    /// It wrote a call in its thinking, and no answer.
    CallInThinking,
    /// It did not call what it has to call: this tool, or any that it may call.
    CallOther {
        /// The tool.
        named: Option<String>,
    },
    /// The arguments of its call do not fit the tool's schema: the first fault.
    Arguments(String),
    /// Its JSON does not fit the schema: the first fault.
    Json(String),
    /// It called tools in a form that the upstream took for its own.
    Refused,
}

/// How much a model thinks before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reasoning {
    /// Not at all.
    Off,
    /// As the model decides.
    Auto,
    /// Always.
    On {
        /// The most tokens of the thinking.
        budget: Option<u32>,
    },
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A tool's result.
    Tool,
}

/// One message of a conversation.
#[derive(Debug)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// Who exactly, or which tool.
    pub name: Option<String>,
    /// The content.
    pub parts: Vec<Part>,
    /// The tools that the model called.
    pub tool_calls: Vec<ToolCall>,
    /// The call that this is the result of.
    pub tool_call_id: Option<String>,
    /// Whether the call failed that this is the result of.
    pub is_error: bool,
}

impl Message {
    /// A message of text alone.
    #[must_use]
    pub fn text(role: Role, text: String) -> Self {
        Self {
            role,
            name: None,
            parts: vec![Part::Text(text)],
            tool_calls: Vec::new(),
            tool_call_id: None,
            is_error: false,
        }
    }

    /// The text of the content, a line for each part; what is attached is left out.
    #[must_use]
    pub fn content_text(&self) -> Cow<'_, str> {
        let texts = || self.parts.iter().filter_map(Part::as_text);
        match texts().count() {
            0 => Cow::Borrowed(""),
            1 => Cow::Borrowed(texts().next().unwrap_or_default()),
            _ => Cow::Owned(texts().collect::<Vec<_>>().join("\n")),
        }
    }

    /// How many bytes of text the content has.
    #[must_use]
    pub fn text_length(&self) -> usize {
        self.parts.iter().filter_map(Part::as_text).map(str::len).fold(0, usize::saturating_add)
    }

    /// The functions that the model called.
    pub fn calls(&self) -> impl Iterator<Item = &FunctionCall> {
        self.tool_calls.iter().filter_map(|call| call.function.as_deref())
    }
}

impl Part {
    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Media(_) | Self::Unsupported(_) => None,
        }
    }
}

/// A part of a message's content. Small, as a request may have a million of them.
#[derive(Debug)]
pub enum Part {
    /// Text.
    Text(String),
    /// Something attached.
    Media(Box<Media>),
    /// A part of a type that is not supported.
    Unsupported(Box<Unsupported>),
}

/// A part of a type that is not supported.
#[derive(Debug)]
pub struct Unsupported {
    /// The type.
    pub kind: Box<str>,
    /// The path of the part in the request.
    pub param: String,
}

/// Something attached to a message.
#[derive(Debug)]
pub struct Media {
    /// What the client says it is.
    pub class: MediaClass,
    /// Where its content is.
    pub source: MediaSource,
    /// Its name.
    pub filename: Option<String>,
    /// The format of its content, such as `mp3`.
    pub format: Option<String>,
    /// The field of the client's request that errors name.
    pub param: String,
    /// The client's own word for the part, which errors name as well.
    pub word: Box<str>,
}

/// As what something is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaClass {
    /// A picture.
    Image,
    /// A video.
    Video,
    /// A sound.
    Audio,
    /// Whatever its content is.
    File,
}

/// Where the content of something attached is.
#[derive(Debug)]
pub enum MediaSource {
    /// A file that was uploaded before, by its id.
    Upload(String),
    /// The content itself, in base64 or as a `data:` link.
    Content(String),
    /// A link: `http:`, `https:` or `data:`; some clients leave the beginning of a `data:` link out.
    Link(String),
    /// An upstream's own description of an uploaded file, as JSON.
    Entry(Box<str>),
    /// Nowhere: the client names none.
    Missing,
}

/// A call of a tool, in an earlier answer. Small, as a request may have a million of them.
#[derive(Debug)]
pub struct ToolCall {
    /// Its id.
    pub id: Option<Box<str>>,
    /// What was called.
    pub function: Option<Box<FunctionCall>>,
}

/// A function and its arguments.
#[derive(Debug)]
pub struct FunctionCall {
    /// The function.
    pub name: Option<Box<str>>,
    /// Its arguments, as JSON text.
    pub arguments: Option<Box<str>>,
}
