//! A message to a chat.

use super::files::FileEntry;
use crate::llm::{Ratio, Reasoning};

/// What the site is to do with a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Work<'a> {
    /// Answer it.
    #[default]
    Talk,
    /// Draw a picture.
    Draw {
        /// The site's name of the image model; `None` = its default.
        model: Option<&'a str>,
        /// The shape; `None` = `auto`.
        ratio: Option<Ratio>,
        /// Whether pictures go along, or an earlier picture of the chat is to be changed.
        is_edit: bool,
    },
    /// Make a video.
    Film {
        /// The shape.
        ratio: Ratio,
        /// Whether a picture goes along, which is its first frame.
        has_frame: bool,
    },
}

impl Work<'_> {
    /// The site's word for it: `chat_type` of the chat and of its messages.
    #[must_use]
    pub const fn chat_type(self) -> &'static str {
        match self {
            Self::Talk => "t2t",
            Self::Draw { is_edit: false, .. } => "t2i",
            Self::Draw { is_edit: true, .. } => "image_edit",
            Self::Film { has_frame: false, .. } => "t2v",
            Self::Film { has_frame: true, .. } => "i2v",
        }
    }

    /// The shape as the site has it, where it takes one.
    pub(super) fn size(self) -> Option<&'static str> {
        match self {
            Self::Talk | Self::Draw { is_edit: true, .. } => None,
            Self::Draw { ratio, .. } => Some(ratio.map_or("auto", Ratio::as_str)),
            Self::Film { ratio, .. } => Some(ratio.as_str()),
        }
    }

    /// Whether the answer is one object instead of a stream.
    pub(super) const fn is_whole(self) -> bool {
        matches!(self, Self::Film { .. })
    }
}

/// One message to a chat.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// The chat.
    pub chat_id: &'a str,
    /// The answer to go on from; `None` in a new chat.
    pub parent_id: Option<&'a str>,
    /// The upstream id of the model.
    pub model: &'a str,
    /// What the user says.
    pub text: &'a str,
    /// Uploaded files that go along.
    pub files: &'a [FileEntry],
    /// Whether to think.
    pub reasoning: Reasoning,
    /// Whether the model may search the web.
    pub search: bool,
    /// Whether the client has tools: the site's own are then switched off.
    pub has_tools: bool,
    /// What the site is to do.
    pub work: Work<'a>,
}
