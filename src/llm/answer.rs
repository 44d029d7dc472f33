//! What a model answers.

use super::request::ToolKind;

/// A piece of an answer, as it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A piece of the thinking.
    Reasoning(&'a str),
    /// A piece of the text.
    Text(&'a str),
    /// A complete call of a tool.
    ToolCall(CallEvent<'a>),
    /// A picture that the model drew.
    Picture(PictureEvent<'a>),
    /// How many tokens the answer has so far.
    OutputTokens(u64),
}

/// A picture that the model drew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureEvent<'a> {
    /// The upstream's own link to it, which may be relative. Not for clients.
    pub link: &'a str,
    /// Its width and height in pixels, when known.
    pub size: Option<(u32, u32)>,
}

/// A complete call of a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallEvent<'a> {
    /// Its place among the calls of the answer; 0 where nobody has counted them yet.
    pub index: usize,
    /// Its id; empty where nobody has given it one yet.
    pub id: &'a str,
    /// The tool's name.
    pub name: &'a str,
    /// Its arguments as JSON text; of a custom tool its input.
    pub arguments: &'a str,
    /// What the tool takes.
    pub kind: ToolKind,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model was done, or a stop sequence was found.
    Stop,
    /// The token limit was reached.
    Length,
    /// The model called tools.
    ToolCalls,
    /// Content inspection ended it.
    ContentFilter,
}

/// Token counts; zeros where the upstream reports none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens in.
    pub prompt: u64,
    /// Tokens out, thinking included.
    pub completion: u64,
    /// Both.
    pub total: u64,
    /// Tokens of the thinking, when known.
    pub reasoning: Option<u64>,
    /// Tokens in that came from a cache, when known.
    pub cached: Option<u64>,
}

/// A page that the model found on the web.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its address.
    pub url: String,
    /// Its title.
    pub title: String,
}

/// A source and where the text cites it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Citation {
    /// The source's address.
    pub url: String,
    /// The source's title.
    pub title: String,
    /// Where the first mark that cites it begins, in characters; 0 when nothing cites it.
    pub start: usize,
    /// Where that mark ends.
    pub end: usize,
}

/// A call in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its id.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// Its arguments as JSON text; of a custom tool its input.
    pub arguments: String,
    /// What the tool takes.
    pub kind: ToolKind,
}

/// A complete answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The text.
    pub text: &'a str,
    /// The thinking; empty where the encoder does not keep it.
    pub reasoning: &'a str,
    /// The tools that it calls.
    pub calls: &'a [Call],
    /// This server's links to the pictures in it.
    pub pictures: &'a [String],
    /// The sources, in the order of their marks.
    pub citations: &'a [Citation],
    /// Why the model answers nothing, where content inspection ended an answer that was to be JSON.
    pub refusal: Option<&'a str>,
    /// Why it ended.
    pub finish: FinishReason,
    /// The stop text that was found, if that ended it.
    pub stop_text: Option<&'a str>,
    /// Token counts.
    pub usage: Usage,
}
