//! Content of messages, as Anthropic's clients write it: a text, or blocks.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

use crate::{
    api::lenient::{MAX_PARTS, bounded, count_attached},
    llm::{self, MediaClass, MediaSource},
};

/// The content of a message, of a tool's result or of a document.
#[derive(Debug)]
pub(super) enum Content<B = Block> {
    /// Plain text.
    Text(String),
    /// Typed blocks.
    Blocks(Vec<B>),
}

impl<'de, B: Deserialize<'de>> Deserialize<'de> for Content<B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrBlocks<B>(PhantomData<B>);
        impl<'de, B: Deserialize<'de>> Visitor<'de> for TextOrBlocks<B> {
            type Value = Content<B>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, an array of content blocks, or one of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Content<B>, E> {
                Ok(Content::Text(text.to_owned()))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Content<B>, E> {
                Ok(Content::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Content<B>, A::Error> {
                bounded(items, MAX_PARTS).map(Content::Blocks)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, block: A) -> Result<Content<B>, A::Error> {
                B::deserialize(MapAccessDeserializer::new(block)).map(|block| Content::Blocks(vec![block]))
            }
        }
        deserializer.deserialize_any(TextOrBlocks(PhantomData))
    }
}

/// A block of a message. A message has at most a thousand.
#[derive(Debug, Deserialize)]
#[serde(try_from = "BlockFields")]
pub(super) enum MessageBlock {
    /// A piece of what is said.
    Said(Block),
    /// A call of a tool.
    ToolUse(Box<ToolUse>),
    /// A tool's result.
    ToolResult(Box<ToolResult>),
}

/// A content block. Small, as a request may have a million of them.
#[derive(Debug, Deserialize)]
#[serde(try_from = "BlockFields")]
pub(super) enum Block {
    /// Text.
    Text(String),
    /// A picture.
    Image(Option<Box<Source>>),
    /// A document.
    Document(Box<Document>),
    /// What a search found.
    SearchResult(Box<Document>),
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

impl TryFrom<BlockFields> for MessageBlock {
    type Error = String;

    fn try_from(mut block: BlockFields) -> Result<Self, String> {
        match &*block.kind {
            "tool_use" => {
                let (id, name, input) = (block.id.take(), block.name.take(), block.input.take());
                Ok(Self::ToolUse(Box::new(ToolUse { id, name, input })))
            }
            "tool_result" => {
                let (tool_use_id, content) = (block.tool_use_id.take(), block.content.take());
                let is_error = block.is_error.unwrap_or(false);
                Ok(Self::ToolResult(Box::new(ToolResult { tool_use_id, content, is_error })))
            }
            _ => Block::try_from(block).map(Self::Said),
        }
    }
}

impl TryFrom<BlockFields> for Block {
    type Error = String;

    fn try_from(block: BlockFields) -> Result<Self, String> {
        let BlockFields { kind, text, source, title, context, content, tool_name, .. } = block;
        match &*kind {
            "text" => return Ok(Self::Text(text.unwrap_or_default())),
            // A search for tools found this one. All tools are offered from the beginning.
            "tool_reference" => {
                return Ok(tool_name.map_or(Self::Nothing, |name| Self::Text(format!("Found the tool {name}."))));
            }
            "image" | "document" | "search_result" => count_attached()?,
            _ => return Ok(Self::Nothing),
        }
        Ok(match &*kind {
            "image" => Self::Image(source.map(Box::new)),
            "document" => Self::Document(Box::new(Document { title, context, source, content })),
            _ => Self::SearchResult(Box::new(Document { title, context, source, content })),
        })
    }
}

/// Appends content in neutral words. `path` is the content's place in the request.
pub(super) fn append(content: Content, path: &str, parts: &mut Vec<llm::Part>) {
    match content {
        Content::Text(text) => parts.push(llm::Part::Text(text)),
        Content::Blocks(blocks) => {
            for (at, block) in blocks.into_iter().enumerate() {
                append_block(block, || format!("{path}[{at}]"), parts);
            }
        }
    }
}

/// Appends a block in neutral words. `path` returns its place in the request.
pub(super) fn append_block(block: Block, path: impl FnOnce() -> String, parts: &mut Vec<llm::Part>) {
    match block {
        Block::Text(text) => parts.push(llm::Part::Text(text)),
        Block::Image(source) => {
            let source = source.map(|source| *source).unwrap_or_default();
            parts.push(media(MediaClass::Image, "image", None, source, path()));
        }
        Block::Document(document) => append_document(*document, path, parts),
        Block::SearchResult(result) => {
            let Document { title, context: _, source, content } = *result;
            let source = source.and_then(|source| source.url.or(source.data));
            parts.extend(title.into_iter().chain(source).map(llm::Part::Text));
            if let Some(content) = content {
                append(content, &format!("{}.content", path()), parts);
            }
        }
        Block::Nothing => {}
    }
}

fn append_document(document: Document, path: impl FnOnce() -> String, parts: &mut Vec<llm::Part>) {
    let Document { title, context, source, content: _ } = document;
    let source = source.unwrap_or_default();
    parts.extend(context.filter(|text| !text.trim().is_empty()).map(llm::Part::Text));
    match (source.kind.as_deref(), source.data.is_some()) {
        (Some("text"), true) => parts.extend(title.into_iter().chain(source.data).map(llm::Part::Text)),
        (Some("content"), _) => {
            parts.extend(title.map(llm::Part::Text));
            if let Some(content) = source.content {
                append(content, &format!("{}.source.content", path()), parts);
            }
        }
        _ => parts.push(media(MediaClass::File, "document", title, source, path())),
    }
}

fn media(class: MediaClass, word: &str, title: Option<String>, source: Source, param: String) -> llm::Part {
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
    llm::Part::Media(Box::new(llm::Media { class, source, filename, format: None, param, word: word.into() }))
}

/// A file name whose extension is the media type of base64 content.
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
