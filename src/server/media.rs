//! `/v1/image/upload_and_chat` and `/v1/video/upload_and_chat`: a file and a question in one form.

use std::sync::Arc;

use http::Response;

use super::{
    App, chat_completions,
    files::{Received, receive},
};
use crate::{
    api::openai::{ChatRequest, Content, Message, Role, Whole},
    chat::Attachments,
    error::{Error, Result},
    media_type::MediaKind,
    platform::{Body, Platform, Request},
};

/// The model for questions about pictures when none is named.
pub(super) const DEFAULT_MODEL: &str = "qwen3-vl-plus";
/// What a form may say beside its file.
const FIELDS: &[&str] = &["prompt", "model", "stream", "enable_thinking", "thinking_budget", "conversation_id"];

pub(super) async fn image<P: Platform>(
    app: &Arc<App>,
    platform: &P,
    caller: &str,
    request: Request,
) -> Result<Response<Body>> {
    ask(app, platform, caller, request, ("image", MediaKind::Image), false).await
}

pub(super) async fn video<P: Platform>(
    app: &Arc<App>,
    platform: &P,
    caller: &str,
    request: Request,
) -> Result<Response<Body>> {
    ask(app, platform, caller, request, ("video", MediaKind::Video), true).await
}

async fn ask<P: Platform>(
    app: &Arc<App>,
    platform: &P,
    caller: &str,
    request: Request,
    (field, kind): (&str, MediaKind),
    streams: bool,
) -> Result<Response<Body>> {
    let headers = request.headers.clone();
    let mut received = receive(app, platform, caller, request, field, Some(kind), FIELDS).await?;
    let prompt = received.take("prompt").filter(|prompt| !prompt.trim().is_empty());
    let prompt =
        prompt.ok_or_else(|| Error::invalid("prompt", "The form needs a field 'prompt' with the question."))?;
    let message = Message {
        role: Role::User,
        content: Some(Content::Text(prompt)),
        name: None,
        tool_calls: None,
        tool_call_id: None,
        function_call: None,
    };
    let chat = ChatRequest {
        model: word(&mut received, "model"),
        stream: Some(switch(&mut received, "stream")?.unwrap_or(streams)),
        enable_thinking: Some(switch(&mut received, "enable_thinking")?.unwrap_or(false)),
        thinking_budget: number(&mut received, "thinking_budget")?,
        conversation_id: word(&mut received, "conversation_id"),
        messages: vec![message],
        ..ChatRequest::default()
    };
    let attachments = Attachments::uploaded(platform, &received.file);
    chat_completions::respond(
        app,
        platform,
        caller,
        &headers,
        chat,
        attachments,
        DEFAULT_MODEL,
        received.into_reservation(),
    )
    .await
}

/// A field's text, without blanks and without the quotes that some clients leave around it.
fn word(received: &mut Received, name: &str) -> Option<String> {
    let text = received.take(name)?;
    let text = text.trim();
    let plain = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text).trim();
    (!plain.is_empty()).then(|| plain.to_owned())
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
