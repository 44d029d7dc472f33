//! Paths, header sets and bodies of chat.qwen.ai, all in one place: they change with each release of its frontend.
//!
//! The shapes are those of the browser of September 2026 (frontend 0.3.12), as public clients of the site describe them.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Serialize;
use serde_json::json;
use time::OffsetDateTime;

use super::{FileEntry, Qwen, Thinking, Turn};
use crate::{
    error::{Error, ErrorKind, Result},
    platform::{Payload, Platform},
};

pub(super) const MODELS: &str = "/api/models";
pub(super) const STS_TOKEN: &str = "/api/v2/files/getstsToken";
pub(super) const FILE_LINK: &str = "/api/v2/files/getfilelink";
pub(super) const PARSE: &str = "/api/v2/files/parse";
pub(super) const PARSE_STATUS: &str = "/api/v2/files/parse/status";

pub(super) fn chat(chat_id: &str) -> String {
    format!("/api/v2/chats/{chat_id}")
}

pub(super) const NEW_CHAT: &str = "/api/v2/chats/new";
/// A larger body is answered with the captcha page of the site's firewall.
pub(super) const MAX_BODY: usize = 128 * 1024;

pub(super) fn completions(chat_id: &str) -> String {
    format!("/api/v2/chat/completions?chat_id={chat_id}")
}

pub(super) fn uuid(platform: &impl Platform) -> String {
    uuid::Builder::from_random_bytes(platform.random()).into_uuid().to_string()
}

/// The body of `chats/new`.
pub(super) fn new_chat_body(model: &str, now: u64) -> Bytes {
    json!({
        "chatId": "",
        "models": [model],
        "project_id": "",
        "timestamp": now,
        "chat_type": "t2t",
        "chat_mode": "normal",
    })
    .to_string()
    .into()
}

/// The body of a turn.
///
/// # Errors
/// `request_too_large` when it would reach 128 KiB: the site answers such a body with its captcha page.
pub(super) fn turn_body(turn: &Turn<'_>, platform: &impl Platform) -> Result<Bytes> {
    let seconds = platform.now() / 1000;
    let (thinking_enabled, auto_thinking, thinking_mode, thinking_budget) = match turn.thinking {
        Thinking::Off => (false, false, "Fast", None),
        Thinking::Auto => (true, true, "Auto", None),
        Thinking::On { budget } => (true, false, "Thinking", budget),
    };
    let feature_config = Features {
        thinking_enabled,
        output_schema: "phase",
        research_mode: "normal",
        auto_thinking,
        thinking_mode,
        thinking_format: thinking_enabled.then_some("summary"),
        thinking_budget,
        auto_search: turn.search,
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
        chat_type: "t2t",
        sub_chat_type: "t2t",
        feature_config,
        extra: Extra { meta: Meta { sub_chat_type: "t2t" } },
    };
    let body = TurnBody {
        stream: true,
        version: "2.1",
        incremental_output: true,
        chat_id_camel: turn.chat_id,
        chat_id: turn.chat_id,
        parent_id_camel: turn.parent_id.unwrap_or_default(),
        parent_id: turn.parent_id,
        chat_mode: "normal",
        model: turn.model,
        messages: [message],
        timestamp: seconds,
    };
    // Text and numbers cannot fail to become JSON.
    let body = serde_json::to_string(&body).unwrap_or_default();
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
    extra: Extra,
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
}

#[derive(Serialize)]
struct Extra {
    meta: Meta,
}

#[derive(Serialize)]
struct Meta {
    #[serde(rename = "subChatType")]
    sub_chat_type: &'static str,
}

/// What a request is for; decides the headers that differ.
#[derive(Clone, Copy)]
pub(super) enum Purpose<'a> {
    /// Reading or writing an account's data.
    Data,
    /// A turn of this chat.
    Turn { chat_id: &'a str },
}

impl Qwen {
    /// A request in the shape of the browser's, with the user's own cookies and headers and nothing made up.
    pub(super) fn request(
        &self,
        platform: &impl Platform,
        method: Method,
        path: &str,
        purpose: Purpose<'_>,
        body: Bytes,
    ) -> Result<http::Request<Payload>> {
        let uri = format!("{}{path}", self.base_url);
        let mut request = http::Request::new(Payload::from(body));
        *request.uri_mut() = uri.parse().map_err(|_| {
            Error::new(ErrorKind::Configuration, "QWEN_BASE_URL does not make a valid address together with the path.")
        })?;
        let has_body = method != Method::GET;
        *request.method_mut() = method;
        let headers = request.headers_mut();
        let referer = match purpose {
            Purpose::Data => format!("{}/c/new-chat", self.base_url),
            Purpose::Turn { chat_id } => format!("{}/c/{chat_id}", self.base_url),
        };
        put(
            headers,
            "accept",
            if matches!(purpose, Purpose::Turn { .. }) {
                "application/json"
            } else {
                "application/json, text/plain, */*"
            },
        );
        put(headers, "accept-language", "en-US,en;q=0.9");
        if has_body {
            put(headers, "content-type", "application/json");
        }
        if matches!(purpose, Purpose::Turn { .. }) {
            put(headers, "x-accel-buffering", "no");
        }
        put(headers, "user-agent", &self.user_agent);
        put(headers, "source", "web");
        put(headers, "version", &self.web_version);
        put(headers, "x-request-id", &uuid(platform));
        put(headers, "timezone", &timezone(platform.now()));
        put(headers, "origin", &self.base_url);
        put(headers, "referer", &referer);
        put(headers, "sec-fetch-dest", "empty");
        put(headers, "sec-fetch-mode", "cors");
        put(headers, "sec-fetch-site", "same-origin");
        if let Some(cookie) = self.session.cookie() {
            put_secret(headers, "cookie", cookie.expose());
        }
        if let Some(token) = self.session.token().filter(|_| self.bearer) {
            put_secret(headers, "authorization", &format!("Bearer {}", token.expose()));
        }
        for (name, value) in &self.extra_headers {
            put_secret(headers, name, value.expose());
        }
        Ok(request)
    }
}

fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    put_value(headers, name, HeaderValue::from_str(value).ok());
}

fn put_secret(headers: &mut HeaderMap, name: &str, value: &str) {
    let value = HeaderValue::from_str(value).ok().map(|mut value| {
        value.set_sensitive(true);
        value
    });
    put_value(headers, name, value);
}

fn put_value(headers: &mut HeaderMap, name: &str, value: Option<HeaderValue>) {
    // The configuration has checked what comes from the user; the rest is ours.
    if let (Ok(name), Some(value)) = (HeaderName::from_bytes(name.as_bytes()), value) {
        headers.insert(name, value);
    }
}

/// The text of JavaScript's `Date` in UTC, such as `Tue Sep 22 2026 04:13:35 GMT+0000`.
fn timezone(now: u64) -> String {
    let seconds = i64::try_from(now / 1000).unwrap_or(0);
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

/// Whether `text` looks like one of the site's ids (UUIDs): ids go into paths, so nothing else is passed on.
pub(super) fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
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
        assert_eq!(timezone(1_790_050_415_000), "Tue Sep 22 2026 04:13:35 GMT+0000");
        assert_eq!(timezone(0), "Thu Jan 01 1970 00:00:00 GMT+0000");
    }

    #[test]
    fn only_harmless_ids_go_into_paths() {
        assert!(is_id("11111111-1111-4111-8111-111111111111"));
        for id in ["", "a/b", "a?b", "..", "a b", "\u{e9}"] {
            assert!(!is_id(id), "{id}");
        }
    }
}
