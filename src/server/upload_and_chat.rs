//! `/v1/image/upload_and_chat` and `/v1/video/upload_and_chat`: a file and a question in one form.

use std::sync::Arc;

use http::Response;

use super::{
    App, address,
    files::{Received, receive},
    turn::{ChatTurn, respond},
};
use crate::{
    accounts::KeyHolder,
    api::{Delivery, Parsed, Whole, openai::chat_completions::ChatDelivery, reasoning_switch},
    chat::Attachments,
    error::{Error, Result},
    llm::{self, Message, Role},
    media_type::MediaKind,
    platform::{Body, Platform, Request},
};

/// The model of requests that name none.
pub(super) const DEFAULT_MODEL: &str = "qwen3-vl-plus";
/// The text fields of a form.
const FIELDS: &[&str] = &["prompt", "model", "stream", "enable_thinking", "thinking_budget", "conversation_id"];

pub(super) async fn image<P: Platform>(
    app: &Arc<App>,
    platform: &P,
    key: KeyHolder,
    request: Request,
) -> Result<Response<Body>> {
    ask(app, platform, key, request, ("image", MediaKind::Image), false).await
}

pub(super) async fn video<P: Platform>(
    app: &Arc<App>,
    platform: &P,
    key: KeyHolder,
    request: Request,
) -> Result<Response<Body>> {
    ask(app, platform, key, request, ("video", MediaKind::Video), true).await
}

async fn ask<P: Platform>(
    app: &Arc<App>,
    platform: &P,
    key: KeyHolder,
    request: Request,
    (field, kind): (&str, MediaKind),
    streams: bool,
) -> Result<Response<Body>> {
    let (headers, base) = (request.headers.clone(), address::base(&app.config, &request));
    let mut received = receive(app, platform, key.clone(), request, field, Some(kind), FIELDS).await?;
    let prompt = received.take("prompt").filter(|prompt| !prompt.trim().is_empty());
    let prompt =
        prompt.ok_or_else(|| Error::invalid("prompt", "The form needs a field 'prompt' with the question."))?;
    let is_stream = switch(&mut received, "stream")?.unwrap_or(streams);
    let thinks = switch(&mut received, "enable_thinking")?.unwrap_or(false);
    let chat = llm::Request {
        model: word(&mut received, "model"),
        messages: vec![Message::text(Role::User, prompt)],
        reasoning: reasoning_switch(Some(thinks), number(&mut received, "thinking_budget")?),
        conversation_id: word(&mut received, "conversation_id"),
        ..llm::Request::default()
    };
    let delivery = if is_stream { ChatDelivery::stream(false) } else { ChatDelivery::WHOLE };
    let turn = ChatTurn {
        key,
        // The file was uploaded for this caller's account, whoever replaced the session meanwhile.
        caller: Some(received.caller.clone()),
        headers: &headers,
        base,
        parsed: Parsed { request: chat, delivery: Delivery::ChatCompletions(delivery) },
        attachments: Attachments::uploaded(platform, &received.file),
        default_model: DEFAULT_MODEL,
        reservation: received.into_reservation(),
        resumed: None,
        keep: None,
        refused: None,
        has_files: true,
    };
    respond(app, platform, turn).await
}

/// Takes the text of a field, without blanks and without the quotes that some clients leave around it.
fn word(received: &mut Received, name: &str) -> Option<String> {
    let text = received.take(name)?;
    let text = text.trim();
    let unquoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text).trim();
    (!unquoted.is_empty()).then(|| unquoted.to_owned())
}

fn switch(received: &mut Received, name: &str) -> Result<Option<bool>> {
    let Some(text) = word(received, name) else { return Ok(None) };
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(Some(true)),
        "false" | "0" | "no" | "off" => Ok(Some(false)),
        _ => Err(Error::invalid(name, format!("The field '{name}' must be 'true' or 'false'."))),
    }
}

fn number(received: &mut Received, name: &str) -> Result<Option<Whole>> {
    let Some(text) = word(received, name) else { return Ok(None) };
    let wrong = || Error::invalid(name, format!("The field '{name}' must be a whole number."));
    Whole::from_text(&text).map(Some).ok_or_else(wrong)
}
