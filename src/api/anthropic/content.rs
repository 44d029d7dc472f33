//! Content of messages, as Anthropic's clients write it: a text, or blocks.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

use crate::{
    api::lenient::{MAX_PARTS, bounded},
    llm::{self, MediaClass, MediaSource},
};

/// The content of a message, of a tool's result or of a document.
#[derive(Debug)]
pub(super) enum Content {
    /// Plain text.
    Text(String),
    /// Typed blocks.
    Blocks(Vec<Block>),
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrBlocks;
        impl<'de> Visitor<'de> for TextOrBlocks {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, an array of content blocks, or one of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Content, E> {
                Ok(Content::Text(text.to_owned()))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Content, E> {
                Ok(Content::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Content, A::Error> {
                bounded(items, MAX_PARTS).map(Content::Blocks)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, block: A) -> Result<Content, A::Error> {
                Block::deserialize(MapAccessDeserializer::new(block)).map(|block| Content::Blocks(vec![block]))
            }
        }
        deserializer.deserialize_any(TextOrBlocks)
    }
}

/// A content block. Small, as a request may have a million of them.
#[derive(Debug, Deserialize)]
#[serde(from = "BlockFields")]
pub(super) enum Block {
    /// Text.
    Text(String),
    /// A picture.
    Image(Option<Box<Source>>),
    /// A document.
    Document(Box<Document>),
    /// What a search found.
    SearchResult(Box<Document>),
    /// A call of a tool.
    ToolUse(Box<ToolUse>),
    /// A tool's result.
    ToolResult(Box<ToolResult>),
    /// What is not said upstream: earlier thinking, and blocks of kinds that mean nothing here.
    Nothing,
}

/// A document, or what a search found.
#[derive(Debug)]
pub(super) struct Document {
    title: Option<String>,
    context: Option<String>,
    source: Option<Source>,
    content: Option<Content>,
}

/// A call of a tool.
#[derive(Debug)]
pub(super) struct ToolUse {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) input: Option<Box<RawValue>>,
}

/// A tool's result.
#[derive(Debug)]
pub(super) struct ToolResult {
    pub(super) tool_use_id: Option<String>,
    pub(super) content: Option<Content>,
    pub(super) is_error: bool,
}

/// A block of any type.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = ContentBlock))]
pub(super) struct BlockFields {
    /// `text`, `image`, `document`, `search_result`, `tool_use` or `tool_result`. `thinking` and `redacted_thinking` are
    /// accepted and not sent; other types are ignored.
    #[serde(rename = "type")]
    kind: String,
    /// The text of a `text` block.
    text: Option<String>,
    /// Where the content of an `image` or a `document` is; of a `search_result`, its address.
    #[cfg_attr(test, schema(value_type = Option<super::schema::SourceOrText>))]
    source: Option<Source>,
    /// The name of a `document` or a `search_result`.
    title: Option<String>,
    /// What a `document` is about.
    context: Option<String>,
    /// The id of a `tool_use`.
    id: Option<String>,
    /// The tool of a `tool_use`.
    name: Option<String>,
    /// The arguments of a `tool_use`.
    #[cfg_attr(test, schema(value_type = Option<crate::api::lenient::Object>))]
    input: Option<Box<RawValue>>,
    /// The call that a `tool_result` answers.
    tool_use_id: Option<String>,
    /// The content of a `tool_result` or a `search_result`.
    #[cfg_attr(test, schema(value_type = Option<super::schema::NestedContent>))]
    content: Option<Content>,
    /// Whether the call of a `tool_result` failed.
    is_error: Option<bool>,
    /// The tool of a `tool_reference`.
    tool_name: Option<String>,
}

/// Where the content of a block is: an object, or an address as text.
#[derive(Debug, Default)]
pub(super) struct Source {
    kind: Option<String>,
    media_type: Option<String>,
    data: Option<String>,
    url: Option<String>,
    file_id: Option<String>,
    content: Option<Content>,
}

/// The fields of a source.
#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = BlockSource))]
pub(super) struct SourceFields {
    /// `base64`, `url`, `file`, `text` or `content`.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Such as `image/png` or `application/pdf`.
    media_type: Option<String>,
    /// The content: base64, or of a `text` source the text.
    data: Option<String>,
    /// Where it is: `http:`, `https:` or `data:`.
    url: Option<String>,
    /// A file that was uploaded to this server.
    file_id: Option<String>,
    /// The content of a `content` source.
    #[cfg_attr(test, schema(value_type = Option<super::schema::NestedContent>))]
    content: Option<Content>,
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrFields;
        impl<'de> Visitor<'de> for TextOrFields {
            type Value = Source;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or a string")
            }

            fn visit_str<E: de::Error>(self, url: &str) -> Result<Source, E> {
                Ok(Source { url: Some(url.to_owned()), ..Source::default() })
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Source, A::Error> {
                let SourceFields { kind, media_type, data, url, file_id, content } =
                    SourceFields::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Source { kind, media_type, data, url, file_id, content })
            }
        }
        deserializer.deserialize_any(TextOrFields)
    }
}

impl From<BlockFields> for Block {
    fn from(block: BlockFields) -> Self {
        let BlockFields {
            kind,
            text,
            source,
            title,
            context,
            id,
            name,
            input,
            tool_use_id,
            content,
            is_error,
            tool_name,
        } = block;
        match &*kind {
            "text" => Self::Text(text.unwrap_or_default()),
            "image" => Self::Image(source.map(Box::new)),
            "document" => Self::Document(Box::new(Document { title, context, source, content })),
            "search_result" => Self::SearchResult(Box::new(Document { title, context, source, content })),
            "tool_use" => Self::ToolUse(Box::new(ToolUse { id, name, input })),
            "tool_result" => {
                Self::ToolResult(Box::new(ToolResult { tool_use_id, content, is_error: is_error.unwrap_or(false) }))
            }
            // A search for tools found this one. All tools are offered from the beginning.
            "tool_reference" => tool_name.map_or(Self::Nothing, |name| Self::Text(format!("Found the tool {name}."))),
            _ => Self::Nothing,
        }
    }
}

/// The parts of a message, as they are collected from its blocks.
pub(super) struct Parts<'a> {
    pub(super) all: Vec<llm::Part>,
    /// How many attachments the request has so far.
    pub(super) attached: &'a mut usize,
}

/// The most attachments of a request, in all its messages: each takes more memory than its JSON.
const MAX_ATTACHED: usize = 1_000;

impl Parts<'_> {
    /// Appends content in neutral words. `path` is the content's place in the request.
    ///
    /// # Errors
    /// There are too many attachments.
    pub(super) fn content(&mut self, content: Content, path: &str) -> Result<(), String> {
        match content {
            Content::Text(text) => {
                self.all.push(llm::Part::Text(text));
                Ok(())
            }
            Content::Blocks(blocks) => {
                blocks.into_iter().enumerate().try_for_each(|(at, block)| self.block(block, || format!("{path}[{at}]")))
            }
        }
    }

    /// Appends a block; `path` returns its place in the request. Calls and results are no parts.
    ///
    /// # Errors
    /// There are too many attachments.
    pub(super) fn block(&mut self, block: Block, path: impl FnOnce() -> String) -> Result<(), String> {
        match block {
            Block::Text(text) => self.all.push(llm::Part::Text(text)),
            Block::Image(source) => {
                let source = source.map(|source| *source).unwrap_or_default();
                self.media(MediaClass::Image, "image", None, source, path())?;
            }
            Block::Document(document) => self.document(*document, path)?,
            Block::SearchResult(result) => {
                let Document { title, context: _, source, content } = *result;
                let source = source.and_then(|source| source.url.or(source.data));
                self.all.extend(title.into_iter().chain(source).map(llm::Part::Text));
                if let Some(content) = content {
                    self.content(content, &format!("{}.content", path()))?;
                }
            }
            Block::ToolUse(_) | Block::ToolResult(_) | Block::Nothing => {}
        }
        Ok(())
    }

    fn document(&mut self, document: Document, path: impl FnOnce() -> String) -> Result<(), String> {
        let Document { title, context, source, content } = document;
        let source = source.unwrap_or_default();
        self.all.extend(context.filter(|text| !text.trim().is_empty()).map(llm::Part::Text));
        match (source.kind.as_deref(), source.data.is_some(), content) {
            (Some("text"), true, _) => {
                self.all.extend(title.into_iter().chain(source.data).map(llm::Part::Text));
            }
            (Some("content"), ..) => {
                self.all.extend(title.map(llm::Part::Text));
                if let Some(content) = source.content {
                    self.content(content, &format!("{}.source.content", path()))?;
                }
            }
            _ => self.media(MediaClass::File, "document", title, source, path())?,
        }
        Ok(())
    }

    fn media(
        &mut self,
        class: MediaClass,
        word: &str,
        title: Option<String>,
        source: Source,
        param: String,
    ) -> Result<(), String> {
        *self.attached = self.attached.saturating_add(1);
        if *self.attached > MAX_ATTACHED {
            return Err(format!("a request has at most {MAX_ATTACHED} images and documents"));
        }
        let Source { kind, media_type, data, url, file_id, content: _ } = source;
        let given = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        let (data, url, file_id) = (given(data), given(url), given(file_id));
        let is_content = data.is_some();
        let source = match (kind.as_deref(), data, url, file_id) {
            (Some("file"), _, _, Some(id)) | (_, None, None, Some(id)) => MediaSource::Upload(id),
            (Some("url"), _, Some(link), _) | (_, None, Some(link), _) => MediaSource::Link(link),
            (_, Some(content), ..) => MediaSource::Content(content),
            (_, None, None, None) => MediaSource::Missing,
        };
        let filename = file_name(word, given(title), media_type.as_deref().filter(|_| is_content));
        let media = llm::Media { class, source, filename, format: None, param, word: word.into() };
        self.all.push(llm::Part::Media(Box::new(media)));
        Ok(())
    }
}

/// A name whose end tells the type of a content in base64, which has no other place for it.
fn file_name(word: &str, title: Option<String>, media_type: Option<&str>) -> Option<String> {
    let extension = match media_type.map(|media_type| media_type.split(';').next().unwrap_or_default().trim()) {
        Some("image/png") => ".png",
        Some("image/jpeg") => ".jpg",
        Some("image/gif") => ".gif",
        Some("image/webp") => ".webp",
        Some("application/pdf") => ".pdf",
        Some("text/plain") => ".txt",
        _ => return title,
    };
    let title = title.unwrap_or_else(|| word.to_owned());
    Some(if title.ends_with(extension) { title } else { format!("{title}{extension}") })
}
