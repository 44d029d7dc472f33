//! What the site asks of a completion that makes a picture or a video (upstream-protocol 8).

use serde_json::Value;

use super::super::catalogue;
use super::super::chats::ChatKind;
use super::super::routes::NEW_CHAT_MODEL;

/// The image models of `extra.meta.model`.
const IMAGE_MODELS: [&str; 4] = ["qwen-image", "qwen-image-3.0-pro", "qwen-image-3.0", "qwen-image-2.0-pro"];
const RATIOS: [&str; 5] = ["1:1", "3:4", "4:3", "9:16", "16:9"];
const PICTURE_TYPES: [&str; 2] = ["t2i", "image_edit"];
const VIDEO_TYPES: [&str; 2] = ["t2v", "i2v"];

/// Whether completions of this type make pictures or videos. The site knows no `image_gen`, which clients take for one.
pub(in super::super) fn is_media(chat_type: &str) -> bool {
    PICTURE_TYPES.contains(&chat_type) || is_video(chat_type) || chat_type == "image_gen"
}

pub(super) fn is_video(chat_type: &str) -> bool {
    VIDEO_TYPES.contains(&chat_type)
}

pub(in super::super) fn is_image_model(model: &str) -> bool {
    IMAGE_MODELS.contains(&model) || model.starts_with("qwen-image")
}

/// What is to be made.
pub(super) struct Order {
    pub(super) chat_type: String,
    /// `extra.meta.model`
    pub(super) model: Option<String>,
    /// A ratio, `auto`, or what the client wrote in pixels.
    pub(super) size: Option<String>,
    /// The links of its files.
    pub(super) files: Vec<String>,
    /// The number of files that the site drops in silence.
    pub(super) dropped_files: usize,
}

/// Why an order is refused.
pub(super) enum Refusal {
    /// `Bad_Request`, by a fault of the client's.
    Misuse(String),
    /// "Model not found", by a fault of the client's.
    ImageModelOnTop(String),
    /// "Model not found": a text model, or an image model, which the site does not have.
    UnknownModel,
}

/// Reads and checks the one message of a body. `continues` = whether the chat has a picture already.
pub(super) fn order(body: &Value, chat: &ChatKind, continues: bool) -> Result<Order, Refusal> {
    let message = &body["messages"][0];
    let meta = &message["extra"]["meta"];
    let misuse = |text: String| Err(Refusal::Misuse(text));
    models(body, chat)?;

    let chat_type = message["chat_type"].as_str().unwrap_or_default();
    for (place, found) in [
        ("sub_chat_type", message["sub_chat_type"].as_str()),
        ("extra.meta.subChatType", meta["subChatType"].as_str()),
        ("the chat's chat_type", Some(chat.chat_type.as_str())),
    ] {
        if found != Some(chat_type) {
            return misuse(format!("{place} is {found:?}, but chat_type is {chat_type:?}"));
        }
    }
    let is_video = is_video(chat_type);
    if !is_video && !PICTURE_TYPES.contains(&chat_type) {
        return misuse(format!("chat_type {chat_type:?} makes no pictures"));
    }
    if body["stream"] != !is_video {
        return misuse(format!("stream is {} for {chat_type}", body["stream"]));
    }
    let mode = body["chat_mode"].as_str().unwrap_or("normal");
    if mode != chat.chat_mode || is_video && mode != "normal" {
        return misuse(format!("chat_mode is {mode:?} in a chat with {:?}", chat.chat_mode));
    }
    let features = &message["feature_config"];
    if features["thinking_enabled"] != false || features["auto_thinking"] == true {
        return misuse(format!("feature_config has thinking on: {features}"));
    }
    if message["role"] != "user" || message["content"].as_str().is_none_or(|text| text.trim().is_empty()) {
        return misuse("the message is no text of the user".to_owned());
    }

    let model = text(&meta["model"]);
    let known = |model: &str| if is_video { model.starts_with("wan") } else { IMAGE_MODELS.contains(&model) };
    if model.as_deref().is_some_and(|model| !known(model)) {
        return Err(Refusal::UnknownModel);
    }
    let size = size(chat_type, model.as_deref(), body, meta)?;

    let files = message["files"].as_array().map_or(&[][..], Vec::as_slice);
    let mut order = Order {
        chat_type: chat_type.to_owned(),
        model,
        size,
        files: files.iter().filter_map(|file| text(&file["url"])).collect(),
        dropped_files: 0,
    };
    match chat_type {
        "t2v" => order.dropped_files = std::mem::take(&mut order.files).len(),
        _ if files.iter().any(|file| file["type"] != "image") => {
            return misuse(format!("a file for {chat_type} is no picture"));
        }
        "i2v" if files.len() != 1 => return misuse(format!("i2v has {} pictures", files.len())),
        "image_edit" if files.is_empty() && !continues => {
            return misuse("image_edit has no picture, and the chat has none".to_owned());
        }
        _ => {}
    }
    Ok(order)
}

/// Text models belong in three places, and image models in none of them.
fn models(body: &Value, chat: &ChatKind) -> Result<(), Refusal> {
    let own = body["model"].as_str().unwrap_or_default();
    let in_message = body["messages"][0]["models"].as_array().map_or(&[][..], Vec::as_slice);
    let in_chat = chat.models.as_array().map_or(&[][..], Vec::as_slice);
    let others = in_message.iter().chain(in_chat).filter_map(Value::as_str);
    if let Some(image) = std::iter::once(own).chain(others).find(|model| is_image_model(model)) {
        return Err(Refusal::ImageModelOnTop(format!("the image model {image} stands where a text model belongs")));
    }
    if catalogue::find(own).is_none() && !own.starts_with(NEW_CHAT_MODEL) {
        return Err(Refusal::UnknownModel);
    }
    if in_message.is_empty() {
        return Err(Refusal::Misuse("messages[0].models is empty".to_owned()));
    }
    Ok(())
}

fn size(chat_type: &str, model: Option<&str>, body: &Value, meta: &Value) -> Result<Option<String>, Refusal> {
    let (top, inner) = (text(&body["size"]), text(&meta["size"]));
    let misuse = |text: String| Err(Refusal::Misuse(text));
    if top != inner {
        return misuse(format!("size is {top:?}, but extra.meta.size is {inner:?}"));
    }
    match (chat_type, top.as_deref()) {
        ("image_edit", None) => {}
        ("image_edit", Some(size)) => return misuse(format!("image_edit has the size {size}")),
        (_, None) => return misuse(format!("{chat_type} has no size")),
        ("t2i", Some("auto")) if model == Some("qwen-image-2.0-pro") => {
            return misuse("qwen-image-2.0-pro has no size auto".to_owned());
        }
        ("t2i", Some("auto")) => {}
        ("t2i", Some(size)) if pixels(size).is_some() => {}
        (_, Some(size)) if RATIOS.contains(&size) => {}
        (_, Some(size)) => return misuse(format!("{chat_type} has the size {size}")),
    }
    Ok(top)
}

/// A size in pixels, such as `2688*1536`.
pub(super) fn pixels(size: &str) -> Option<(u32, u32)> {
    let (width, height) = size.split_once(['*', 'x'])?;
    Some((width.parse().ok()?, height.parse().ok()?))
}

/// The size of a picture (upstream-protocol 8.1, table *Sizes*).
pub(super) fn picture_size(order: &Order, prompt: &str) -> (u32, u32) {
    let is_pro = order.model.as_deref() == Some("qwen-image-3.0-pro");
    if order.chat_type == "image_edit" {
        return (1024, 1024);
    }
    match order.size.as_deref() {
        Some("1:1") => (2048, 2048),
        Some("16:9") => (2688, 1536),
        Some("9:16") => (1536, 2688),
        Some("4:3") => (2368, 1728),
        Some("3:4") => (1728, 2368),
        _ if !is_pro => (1024, 1024),
        _ if prompt.contains("9:16") => (1536, 2752),
        _ if prompt.contains("16:9") => (2752, 1536),
        _ => (1792, 2400),
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}
