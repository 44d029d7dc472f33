//! Paths, header sets and bodies of chat.qwen.ai, all in one place: they change with each release of its frontend.
//!
//! The shapes are those of the browser of September 2026 (frontend 0.3.12), as public clients of the site describe them.

use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use time::OffsetDateTime;

use super::{
    files::FileEntry,
    ids::uuid,
    turn::{Turn, Work},
};
use crate::{
    error::{Error, ErrorKind, Result},
    llm::Reasoning,
    unix_time::UnixMillis,
    upstream::Host,
};

pub(super) const MODELS: &str = "/api/models";
/// Returns who is signed in.
pub(super) const WHO: &str = "/api/v1/auths/";
/// Returns a new access token; at the auth host.
pub(super) const REFRESH: &str = "/api/v2/auths/refresh";
pub(super) const STS_TOKEN: &str = "/api/v2/files/getstsToken";
pub(super) const FILE_LINK: &str = "/api/v2/files/getfilelink";
pub(super) const PARSE: &str = "/api/v2/files/parse";
pub(super) const PARSE_STATUS: &str = "/api/v2/files/parse/status";

pub(super) fn chat(chat_id: &str) -> String {
    format!("/api/v2/chats/{chat_id}")
}

#[cfg(not(target_arch = "wasm32"))]
pub(super) fn chats(page: u32) -> String {
    format!("/api/v2/chats/?page={page}")
}

pub(super) const NEW_CHAT: &str = "/api/v2/chats/new";
pub(super) const STOP: &str = "/api/v2/chat/completions/stop";

/// The body of a stop.
pub(super) fn stop_body(chat_id: &str, response_id: Option<&str>) -> Bytes {
    match response_id {
        Some(response_id) => json!({"chat_id": chat_id, "response_id": response_id}),
        None => json!({"chat_id": chat_id}),
    }
    .to_string()
    .into()
}

/// A larger body is answered with the captcha page of the site's firewall.
pub(super) const MAX_BODY: usize = 128 * 1024;

pub(super) fn completions(chat_id: &str) -> String {
    format!("/api/v2/chat/completions?chat_id={chat_id}")
}

/// The state of a task, by its id: the newer route and the older one, of which either may be missing.
pub(super) fn task_routes(task_id: &str) -> [String; 2] {
    [format!("/api/v2/task/status/{task_id}"), format!("/api/v1/tasks/status/{task_id}")]
}

/// Where relative links of a chat lead.
pub(super) fn chat_folder(chat_id: &str) -> String {
    format!("/api/v2/chat/{chat_id}/")
}

/// The body of `chats/new`.
pub(super) fn new_chat_body(model: &str, chat_type: &str, now: UnixMillis) -> Bytes {
    json!({
        "chatId": "",
        "models": [model],
        "project_id": "",
        "timestamp": now,
        "chat_type": chat_type,
        "chat_mode": "normal",
    })
    .to_string()
    .into()
}

/// The body of a turn.
///
/// # Errors
/// `request_too_large` when it would reach 128 KiB: the site answers such a body with its captcha page.
pub(super) fn turn_body(turn: &Turn<'_>, platform: &impl Host) -> Result<Bytes> {
    let seconds = platform.now().seconds().get();
    let (thinking_enabled, auto_thinking, thinking_mode, thinking_budget) = match turn.reasoning {
        Reasoning::Off => (false, false, "Fast", None),
        Reasoning::Auto => (true, true, "Auto", None),
        Reasoning::On { budget } => (true, false, "Thinking", budget),
    };
    let feature_config = Features {
        thinking_enabled,
        output_schema: "phase",
        research_mode: "normal",
        auto_thinking,
        thinking_mode,
        thinking_format: thinking_enabled.then_some("summary"),
        thinking_budget,
        // With pictures and videos it makes no difference, and the browser leaves it on.
        auto_search: turn.search || turn.work != Work::Talk,
        function_calling: turn.has_tools.then_some(false),
    };
    let chat_type = turn.work.chat_type();
    let image_model = match turn.work {
        Work::Draw { model, .. } => model,
        Work::Talk | Work::Film { .. } => None,
    };
    let message = Message {
        id: None,
        fid: uuid(platform),
        parent_id_camel: turn.parent_id,
        parent_id: turn.parent_id,
        children: [uuid(platform)],
        role: "user",
        content: turn.text,
        user_action: "chat",
        files: turn.files,
        timestamp: seconds,
        models: [turn.model],
        model: "",
        chat_type,
        sub_chat_type: chat_type,
        feature_config,
        extra: Extra { meta: Meta { sub_chat_type: chat_type, size: turn.work.size(), model: image_model } },
    };
    let body = TurnBody {
        stream: !turn.work.is_whole(),
        version: "2.1",
        incremental_output: true,
        chat_id_camel: turn.chat_id,
        chat_id: turn.chat_id,
        parent_id_camel: turn.parent_id.unwrap_or_default(),
        parent_id: turn.parent_id,
        chat_mode: "normal",
        model: turn.model,
        messages: [message],
        size: turn.work.size(),
        timestamp: seconds,
    };
    let body = serde_json::to_string(&body).map_err(|error| {
        Error::new(ErrorKind::UpstreamError, "The message could not be written as JSON.").with_source(error)
    })?;
    if body.len() >= MAX_BODY {
        return Err(too_large(body.len()));
    }
    Ok(body.into())
}

/// The body of a turn, as the browser sends it: some names twice, in both spellings.
#[derive(Serialize)]
struct TurnBody<'a> {
    stream: bool,
    version: &'static str,
    incremental_output: bool,
    #[serde(rename = "chatId")]
    chat_id_camel: &'a str,
    chat_id: &'a str,
    #[serde(rename = "parentId")]
    parent_id_camel: &'a str,
    parent_id: Option<&'a str>,
    chat_mode: &'static str,
    model: &'a str,
    messages: [Message<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<&'static str>,
    timestamp: u64,
}

#[derive(Serialize)]
struct Message<'a> {
    id: Option<&'a str>,
    fid: String,
    #[serde(rename = "parentId")]
    parent_id_camel: Option<&'a str>,
    parent_id: Option<&'a str>,
    #[serde(rename = "childrenIds")]
    children: [String; 1],
    role: &'static str,
    content: &'a str,
    user_action: &'static str,
    files: &'a [FileEntry],
    timestamp: u64,
    models: [&'a str; 1],
    model: &'static str,
    chat_type: &'static str,
    sub_chat_type: &'static str,
    feature_config: Features,
    extra: Extra<'a>,
}

#[derive(Serialize)]
struct Features {
    thinking_enabled: bool,
    /// Without it the thinking comes mixed with the answer.
    output_schema: &'static str,
    research_mode: &'static str,
    auto_thinking: bool,
    thinking_mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_format: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_budget: Option<u32>,
    auto_search: bool,
    /// `false` beside tools of the client's, which the site would take for its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    function_calling: Option<bool>,
}

#[derive(Serialize)]
struct Extra<'a> {
    meta: Meta<'a>,
}

#[derive(Serialize)]
struct Meta<'a> {
    #[serde(rename = "subChatType")]
    sub_chat_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<&'static str>,
    /// The image model.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
}

/// The text of JavaScript's `Date` in UTC, such as `Tue Sep 22 2026 04:13:35 GMT+0000`.
pub(super) fn timezone(now: UnixMillis) -> String {
    let seconds = i64::try_from(now.seconds().get()).unwrap_or(0);
    let date = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let short = |name: String| name.chars().take(3).collect::<String>();
    format!(
        "{} {} {:02} {} {:02}:{:02}:{:02} GMT+0000",
        short(date.weekday().to_string()),
        short(date.month().to_string()),
        date.day(),
        date.year(),
        date.hour(),
        date.minute(),
        date.second()
    )
}

fn too_large(bytes: usize) -> Error {
    Error::new(
        ErrorKind::RequestTooLarge,
        format!(
            "The conversation is too long for chat.qwen.ai: {} KiB, and it takes less than {} KiB. Shorten it or begin a new one.",
            bytes.div_ceil(1024),
            MAX_BODY / 1024
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_looks_like_javascripts() {
        assert_eq!(timezone(UnixMillis::new(1_790_050_415_000)), "Tue Sep 22 2026 04:13:35 GMT+0000");
        assert_eq!(timezone(UnixMillis::default()), "Thu Jan 01 1970 00:00:00 GMT+0000");
    }
}
