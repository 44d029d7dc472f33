//! What the server refuses, as this server's errors. Each message begins with its host, so that nobody looks for the fault at
//! chat.qwen.ai.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde_json::Value as Json;

use crate::{
    error::{Error, ErrorKind},
    platform::{FetchError, FetchErrorKind},
    secret::Secret,
    upstream::words::words,
};

/// No wait that the server names is passed on as longer than this.
const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);
/// What to tell clients of a busy server that names no time.
const BUSY_PAUSE: Duration = Duration::from_secs(30);
/// A shorter key is not looked for in texts: it might be any word.
const MIN_KEY: usize = 4;

/// Codes and types of refusals, in lower case and without marks: quotas and debts, …
const QUOTA: &[&str] = &[
    "insufficientquota",
    "quotaexceeded",
    "billing",
    "arrearage",
    "insufficientbalance",
    "allocationquota",
    "creditlimit",
];
/// … texts that are refused, …
const FILTERED: &[&str] = &["contentfilter", "contentpolicy", "datainspection", "moderation", "inappropriate"];
/// … servers that are busy, …
const BUSY: &[&str] = &["ratelimit", "toomanyrequests", "throttl"];
/// … and models that are not known.
const UNKNOWN_MODEL: &[&str] = &["modelnotfound", "modelnotexist"];

/// Who answers.
#[derive(Debug)]
pub(super) struct Server {
    /// Its host, with a port that is not the usual one.
    pub(super) host: String,
    /// What it is asked with.
    pub(super) key: Option<Secret>,
}

/// What a refusal says of itself.
#[derive(Debug, Default)]
struct Said {
    /// Code and type.
    code: String,
    message: String,
    /// A status in the place of a code.
    status: Option<u16>,
}

impl Server {
    /// An answer with a status that is no success.
    pub(super) fn refusal(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        let wait = headers.get("retry-after").and_then(|wait| wait.to_str().ok()?.trim().parse().ok());
        if status.is_redirection() {
            let message = "redirects, which is not followed with a key. Set FALLBACK_BASE_URL to where it leads.";
            return self.error(ErrorKind::UpstreamInvalid, message);
        }
        let said = crate::json::from_bytes(body).map(|json| said(&json)).unwrap_or_default();
        self.classify(status.as_u16(), wait.map(Duration::from_secs), &said)
    }

    /// An error object amid a stream, or in the place of an answer.
    pub(super) fn reported(&self, json: &Json) -> Error {
        let said = said(json);
        self.classify(said.status.unwrap_or(200), None, &said)
    }

    fn classify(&self, status: u16, wait: Option<Duration>, said: &Said) -> Error {
        let Said { code, message, status: _ } = said;
        let has = |marks: &[&str]| marks.iter().any(|mark| code.contains(mark));
        let words = self.words(message);
        let reason = if words.is_empty() { "without a reason".to_owned() } else { format!("with: {words}") };
        let answered = |kind, rest: &str| self.error(kind, &format!("refused the request {reason}{rest}"));
        match status {
            401 => self.error(
                ErrorKind::FallbackRefused,
                "does not accept this server's key (401). Check FALLBACK_API_KEY and FALLBACK_BASE_URL.",
            ),
            403 => self.error(
                ErrorKind::FallbackRefused,
                &format!("does not allow the request (403) {reason}. Check what FALLBACK_API_KEY may do."),
            ),
            _ if has(FILTERED) => answered(ErrorKind::ContentFilter, ". Change the wording and send it again."),
            402 => answered(ErrorKind::QuotaExceeded, "").with_retry_after(wait.unwrap_or(MAX_WAIT).min(MAX_WAIT)),
            _ if has(QUOTA) => {
                answered(ErrorKind::QuotaExceeded, "").with_retry_after(wait.unwrap_or(MAX_WAIT).min(MAX_WAIT))
            }
            _ if has(UNKNOWN_MODEL) => {
                answered(ErrorKind::ModelNotFound, ". FALLBACK_MODELS says which models it has.")
            }
            404 => answered(ErrorKind::ModelNotFound, ". Check the model, FALLBACK_MODELS and FALLBACK_BASE_URL."),
            413 => answered(ErrorKind::RequestTooLarge, ". Shorten the request."),
            408 | 504 => self.error(
                ErrorKind::UpstreamTimeout,
                &format!("took too long and answered {reason}. Send the request again."),
            ),
            429 => self
                .error(ErrorKind::RateLimited, &format!("is busy or limits the rate; it answered {reason}."))
                .with_retry_after(wait.unwrap_or(BUSY_PAUSE).min(MAX_WAIT)),
            400..500 => answered(ErrorKind::UpstreamRejected, "."),
            200..300 if has(BUSY) => self
                .error(ErrorKind::RateLimited, &format!("is busy or limits the rate; it answered {reason}."))
                .with_retry_after(BUSY_PAUSE),
            200..300 if code.starts_with("invalid") => answered(ErrorKind::UpstreamRejected, "."),
            _ => self
                .error(
                    ErrorKind::UpstreamError,
                    &format!("reports a fault of its own {reason}. Send the request again."),
                )
                .with_detail(format!("status {status}")),
        }
    }

    /// Something that is no answer.
    pub(super) fn not_the_protocol(&self) -> Error {
        self.error(
            ErrorKind::UpstreamInvalid,
            "answered with something that is not OpenAI's protocol. Check FALLBACK_BASE_URL, which ends in /v1 at most servers.",
        )
    }

    /// An answer without an end.
    pub(super) fn truncated(&self) -> Error {
        self.error(ErrorKind::UpstreamTruncated, "broke the answer off before its end. Send the request again.")
    }

    /// An answer without a word.
    pub(super) fn empty(&self) -> Error {
        self.error(ErrorKind::UpstreamEmpty, "sent an empty answer. Send the request again.")
    }

    /// An answer that was ended because of what it says, before its first word.
    pub(super) fn filtered(&self) -> Error {
        self.error(ErrorKind::ContentFilter, "refused this text. Change the wording and send it again.")
    }

    /// No answer within `idle`.
    pub(super) fn silent(&self, idle: Duration) -> Error {
        let message = format!("sent nothing for {} s. Send the request again.", idle.as_secs());
        self.error(ErrorKind::UpstreamTimeout, &message)
    }

    /// The connection did not come about or broke.
    pub(super) fn unreachable(&self, error: &FetchError) -> Error {
        let (kind, message) = match error.kind {
            FetchErrorKind::Timeout => {
                (ErrorKind::UpstreamTimeout, "did not take the connection in time. Send the request again.")
            }
            FetchErrorKind::Cancelled => (ErrorKind::UpstreamError, "was not waited for: the client left."),
            FetchErrorKind::Connect | FetchErrorKind::Forbidden => {
                (ErrorKind::UpstreamError, "cannot be reached. Check FALLBACK_BASE_URL and this server's connection.")
            }
            FetchErrorKind::Broken | FetchErrorKind::Undecodable => {
                (ErrorKind::UpstreamError, "broke the connection. Send the request again.")
            }
        };
        self.error(kind, message).with_detail(error.detail.clone())
    }

    /// The address cannot be asked.
    pub(super) fn wrong_address(&self) -> Error {
        Error::new(ErrorKind::Configuration, "FALLBACK_BASE_URL or FALLBACK_API_KEY cannot be used in a request.")
    }

    fn error(&self, kind: ErrorKind, message: &str) -> Error {
        Error::new(kind, format!("{}: {message}", self.host)).of_fallback()
    }

    /// The server's words, as [`words`], without the key.
    fn words(&self, text: &str) -> String {
        let key = self.key.as_ref().map(Secret::expose).filter(|key| key.len() >= MIN_KEY);
        let text = key.map_or_else(|| text.to_owned(), |key| text.replace(key, "…"));
        words(&text).trim().trim_end_matches('.').to_owned()
    }
}

/// The forms in which servers report errors: OpenAI's object, a text in its place, and Model Studio's and FastAPI's fields at
/// the top.
fn said(json: &Json) -> Said {
    let inner = match json.get("error") {
        Some(error @ (Json::Object(_) | Json::String(_))) => error,
        _ => json,
    };
    let field = |name: &str| inner.get(name).or_else(|| json.get(name));
    let text = |name: &str| field(name).and_then(Json::as_str).unwrap_or_default();
    let message = match inner {
        Json::String(text) => text.as_str(),
        _ => ["message", "detail", "error_description"]
            .into_iter()
            .map(text)
            .find(|text| !text.is_empty())
            .unwrap_or_default(),
    };
    let plain = |text: &str| {
        text.chars()
            .filter(char::is_ascii_alphanumeric)
            .take(80)
            .map(|letter| letter.to_ascii_lowercase())
            .collect::<String>()
    };
    let status = ["code", "status", "status_code"].into_iter().find_map(|name| {
        let value = field(name)?;
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
        u16::try_from(number).ok().filter(|status| (400..600).contains(status))
    });
    let code = plain(text("code"));
    let kind = plain(text("type"));
    Said {
        code: if code.is_empty() { kind } else { format!("{code} {kind}") }.trim().to_owned(),
        message: message.to_owned(),
        status,
    }
}

/// Whether JSON reports an error and no answer.
pub(super) fn is_refusal(json: &Json) -> bool {
    let is_set = |name: &str| json.get(name).is_some_and(|value| !value.is_null());
    is_set("error") || (!is_set("choices") && (is_set("code") || is_set("detail") || is_set("message")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_become_the_errors_of_this_server() {
        let server = Server { host: "api.test".to_owned(), key: Some(Secret::new("sk-very-secret")) };
        for (status, body, code) in [
            (
                400,
                r#"{"error":{"message":"'temperature' is wrong","type":"invalid_request_error","param":"temperature","code":null}}"#,
                "upstream_rejected",
            ),
            (
                400,
                r#"{"error":{"message":"This model's maximum context length is 8192 tokens","code":"context_length_exceeded"}}"#,
                "upstream_rejected",
            ),
            (
                400,
                r#"{"error":{"code":"data_inspection_failed","message":"Input data may contain inappropriate content."}}"#,
                "content_filter",
            ),
            (400, r#"{"code":"DataInspectionFailed","message":"no","request_id":"x"}"#, "content_filter"),
            (400, r#"{"error":{"code":"Arrearage","message":"Access denied"}}"#, "quota_exceeded"),
            (400, r#"{"error":{"code":"model_not_found","message":"no"}}"#, "model_not_found"),
            (401, r#"{"error":{"message":"Incorrect API key provided: sk-very-secret"}}"#, "fallback_refused"),
            (402, r#"{"error":{"message":"Insufficient credits","code":402}}"#, "quota_exceeded"),
            (403, r#"{"error":{"message":"sk-very-secret may not use this model"}}"#, "fallback_refused"),
            (404, "<html>", "model_not_found"),
            (404, r#"{"error":{"message":"The model x does not exist","code":"model_not_found"}}"#, "model_not_found"),
            (408, "", "upstream_timeout"),
            (413, "", "request_too_large"),
            (422, r#"{"detail":"no"}"#, "upstream_rejected"),
            (429, r#"{"error":{"code":"rate_limit_exceeded","message":"slow down"}}"#, "rate_limit_exceeded"),
            (429, r#"{"error":{"code":"insufficient_quota","message":"pay"}}"#, "quota_exceeded"),
            (429, r#"{"error":{"type":"insufficient_quota","message":"pay"}}"#, "quota_exceeded"),
            (429, "", "rate_limit_exceeded"),
            (302, "", "upstream_invalid"),
            (500, r#"{"error":"sk-very-secret broke"}"#, "upstream_error"),
            (502, "<html>bad gateway</html>", "upstream_error"),
            (503, "", "upstream_error"),
            (529, "", "upstream_error"),
        ] {
            let error = server.refusal(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes());
            assert_eq!(error.kind().code(), code, "{status} {body}: {error}");
            assert!(error.message().starts_with("api.test: "), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
            assert_eq!(error.upstream(), Some("fallback"));
        }
    }

    #[test]
    fn errors_amid_a_stream_are_read() {
        let server = Server { host: "api.test".to_owned(), key: None };
        for (json, code) in [
            (
                r#"{"error":{"message":"The server had an error","type":"server_error","param":null,"code":null}}"#,
                "upstream_error",
            ),
            (
                r#"{"id":"x","choices":[{"delta":{"content":""},"finish_reason":"error"}],"error":{"code":429,"message":"busy"}}"#,
                "rate_limit_exceeded",
            ),
            (r#"{"error":{"code":"502","message":"provider"}}"#, "upstream_error"),
            (r#"{"code":"Throttling","message":"slow"}"#, "rate_limit_exceeded"),
            (r#"{"error":{"code":"insufficient_quota","message":"pay"}}"#, "quota_exceeded"),
            (r#"{"error":{"code":"invalid_parameter_error","message":"no"}}"#, "upstream_rejected"),
            (r#"{"error":"overloaded"}"#, "upstream_error"),
            (r#"{"error":{"code":401,"message":"no"}}"#, "fallback_refused"),
        ] {
            let json = serde_json::from_str(json).unwrap();
            assert!(is_refusal(&json), "{json}");
            assert_eq!(server.reported(&json).kind().code(), code, "{json}");
        }
        for json in [r#"{"choices":[],"usage":{}}"#, r#"{"error":null,"choices":[{}]}"#, r#"{"id":"x"}"#] {
            assert!(!is_refusal(&serde_json::from_str(json).unwrap()), "{json}");
        }
    }
}
