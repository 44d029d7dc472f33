//! What comes of asking for a picture or a video.

use std::ops::ControlFlow;

use crate::{
    error::Error,
    llm::{Event, Usage},
    upstream::qwen::decoder::EventSink,
};

/// How much of the text beside a picture is kept.
const MAX_TEXT: usize = 4 * 1024;

/// A picture that the site drew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrawnPicture {
    /// The site's link to it, which may be relative. Never for clients or logs: it holds the account's id.
    pub link: String,
    /// Its width and height in pixels, when known.
    pub size: Option<(u32, u32)>,
}

/// What came of asking for a picture.
#[derive(Debug, Default)]
pub struct Drawing {
    /// The pictures.
    pub pictures: Vec<DrawnPicture>,
    /// The answer's node in the chat, once it was announced.
    pub response_id: Option<String>,
    /// The token counts that the site reported.
    pub usage: Usage,
    /// What the model said beside the pictures, or in their place.
    pub text: String,
    /// Why there is no more.
    pub error: Option<Error>,
}

/// A video in the making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilmTask {
    /// The site's id of the task.
    pub task_id: String,
    /// The answer's node in the chat.
    pub response_id: String,
}

impl EventSink for Drawing {
    fn accept(&mut self, event: Event<'_>) -> ControlFlow<()> {
        match event {
            Event::Picture(picture) => {
                self.pictures.push(DrawnPicture { link: picture.link.to_owned(), size: picture.size });
            }
            Event::Text(text) if self.text.len() < MAX_TEXT => self.text.push_str(text),
            Event::Text(_) | Event::Reasoning(_) | Event::ToolCall(_) | Event::OutputTokens(_) => {}
        }
        ControlFlow::Continue(())
    }

    fn counts_tokens(&self) -> bool {
        false
    }

    fn takes_calls(&self) -> bool {
        false
    }

    fn has_tool_with(&self, _: &str) -> bool {
        false
    }
}
