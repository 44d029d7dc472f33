//! Every way in which the site says no, turned into one error. The only place that reads such answers.
//!
//! It is asked only about bodies that are no answer stream, and about stream events that carry no answer: the text of an
//! ordinary answer, which may mention any of these words, never comes here.

use std::time::Duration;

use http::HeaderMap;
use serde_json::Value as Json;

use crate::error::{Error, ErrorKind};

/// How long no request is sent after the site asked for a check by its click page.
const CHALLENGE_PAUSE: Duration = Duration::from_secs(120);
/// The same after its slider page, whose penalty lasts longer.
const SLIDER_PAUSE: Duration = Duration::from_secs(600);
/// What to tell clients of a busy site that names no time.
const BUSY_PAUSE: Duration = Duration::from_secs(30);
const HOUR: u64 = 60 * 60;
/// The most of the site's own words that is passed on.
const MAX_WORDS: usize = 300;

const SLIDER_MARKS: &[&str] = &["aliyun_waf", "aliyuncaptcha", "baxia"];
const CHALLENGE_MARKS: &[&str] =
    &["rgv587", "fail_sys_user_validate", "_____tmd_____", "punish", "x5secdata", "captcha"];

fn challenge(pause: Duration, link: Option<&str>) -> Error {
    let error = Error::new(
        ErrorKind::Challenge,
        "chat.qwen.ai asks for a human check. Open the link (or chat.qwen.ai) in the browser of this account, pass the check, send one message there, then give this server the fresh cookies.",
    )
    .with_retry_after(pause);
    match link.filter(|link| link.starts_with("https://") || link.starts_with("http://")) {
        Some(link) => error.with_link(link),
        None => error.with_link("https://chat.qwen.ai/"),
    }
}

/// The site's words, made safe to pass on: one line, of a bounded length.
fn words(text: &str) -> String {
    let mut words = String::new();
    for character in text.chars().filter(|character| !character.is_control()) {
        if words.len() >= MAX_WORDS {
            words.push('…');
            break;
        }
        words.push(character);
    }
    words
}

fn told(text: &str) -> String {
    let words = words(text);
    if words.is_empty() { "without a reason".to_owned() } else { format!("with: {words}") }
}

/// An answer that is no stream: its status (the real one, if a header tells it), head and body.
pub(super) fn from_answer(status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let actual = text("x-actual-status-code").and_then(|code| code.trim().parse().ok()).unwrap_or(status);
    if headers.contains_key("bxpunish") {
        return challenge(CHALLENGE_PAUSE, challenge_link(body).as_deref());
    }
    if let Some(target) = text("location").filter(|_| (300..400).contains(&status)) {
        return if has_mark(&target.to_lowercase(), CHALLENGE_MARKS) {
            challenge(CHALLENGE_PAUSE, Some(target))
        } else {
            Error::new(ErrorKind::UpstreamInvalid, "chat.qwen.ai answered with a redirect instead of an answer.")
                .with_detail(format!("status {status}"))
                .retryable()
        };
    }
    let wait = text("retry-after").and_then(|wait| wait.trim().parse().ok()).map(Duration::from_secs);
    let error = from_body(actual, wait, body);
    let detail = format!("status {status}, actual {actual}, {} bytes", body.len());
    error.with_detail(detail)
}

/// A body, or an event of a stream, that is a refusal in any of its forms.
pub(super) fn from_body(status: u16, wait: Option<Duration>, body: &[u8]) -> Error {
    match serde_json::from_slice::<Json>(body) {
        Ok(json) if json.is_object() => from_json(status, wait, &json),
        _ => from_text(status, wait, &String::from_utf8_lossy(body)),
    }
}

fn challenge_link(body: &[u8]) -> Option<String> {
    let json: Json = serde_json::from_slice(body).ok()?;
    json.pointer("/data/url")?.as_str().map(str::to_owned)
}

fn has_mark(lower: &str, marks: &[&str]) -> bool {
    marks.iter().any(|mark| lower.contains(mark))
}

fn from_text(status: u16, wait: Option<Duration>, text: &str) -> Error {
    let lower = text.to_lowercase();
    if has_mark(&lower, SLIDER_MARKS) {
        return challenge(SLIDER_PAUSE, None);
    }
    if has_mark(&lower, CHALLENGE_MARKS) {
        return challenge(CHALLENGE_PAUSE, None);
    }
    if text.trim().is_empty() && (200..300).contains(&status) {
        return super::stream::empty_answer();
    }
    by_status(status, wait, "").unwrap_or_else(not_the_protocol)
}

fn from_json(status: u16, wait: Option<Duration>, json: &Json) -> Error {
    if let Some(ret) = json.get("ret") {
        let marks = ret.to_string().to_lowercase();
        if has_mark(&marks, CHALLENGE_MARKS) {
            return challenge(CHALLENGE_PAUSE, json.pointer("/data/url").and_then(Json::as_str));
        }
    }
    if json.as_object().is_some_and(serde_json::Map::is_empty) {
        return by_status(status, wait, "").unwrap_or_else(super::stream::empty_answer);
    }
    // The three places where code and words stand: in `data`, in `error`, or at the top.
    let inner = match (json.get("data"), json.get("error")) {
        (_, Some(error)) if !error.is_null() => error,
        (Some(data), _) if data.is_object() => data,
        _ => json,
    };
    let field = |names: &[&str]| {
        names.iter().find_map(|name| inner.get(name).or_else(|| json.get(name))).map(|value| match value {
            Json::String(text) => text.clone(),
            other => other.to_string(),
        })
    };
    let code = field(&["code"]).unwrap_or_default();
    let text = match inner {
        Json::String(text) => text.clone(),
        _ => field(&["details", "detail", "message", "template"]).unwrap_or_default(),
    };
    let hours = inner.get("num").or_else(|| json.get("num")).and_then(Json::as_u64);
    by_code(&code, &text, hours, wait).or_else(|| by_status(status, wait, &text)).unwrap_or_else(|| {
        let words = format!("{code} {text}");
        if words.trim().is_empty() { not_the_protocol() } else { rejected(&words) }
    })
}

fn not_the_protocol() -> Error {
    Error::new(
        ErrorKind::UpstreamInvalid,
        "chat.qwen.ai answered with something that is not its protocol. Send the request again later; if it goes on, look at chat.qwen.ai in the browser.",
    )
    .retryable()
}

fn rejected(text: &str) -> Error {
    Error::new(ErrorKind::UpstreamRejected, format!("chat.qwen.ai refused the request {}.", told(text.trim())))
}

fn expired() -> Error {
    Error::new(
        ErrorKind::SessionExpired,
        "The Qwen session has ended. Sign in at chat.qwen.ai, copy the cookies again and give them to this server (QWEN_COOKIES).",
    )
}

fn fault(text: &str) -> Error {
    Error::new(
        ErrorKind::UpstreamError,
        format!("chat.qwen.ai reports a fault of its own {}. Send the request again.", told(text)),
    )
    .retryable()
}

fn busy(wait: Option<Duration>, text: &str) -> Error {
    Error::new(
        ErrorKind::RateLimited,
        format!("chat.qwen.ai is busy or limits the rate of this account; it answered {}.", told(text)),
    )
    .with_retry_after(wait.unwrap_or(BUSY_PAUSE))
}

fn quota(hours: Option<u64>, text: &str) -> Error {
    let hours = hours.unwrap_or(1).clamp(1, 24 * 31);
    Error::new(
        ErrorKind::QuotaExceeded,
        format!("A quota of this Qwen account is used up for about {hours} h; chat.qwen.ai answered {}.", told(text)),
    )
    .with_retry_after(Duration::from_secs(hours.saturating_mul(HOUR)))
}

fn by_code(code: &str, text: &str, hours: Option<u64>, wait: Option<Duration>) -> Option<Error> {
    let code = code.to_lowercase();
    let lower = text.to_lowercase();
    let says = |any: &[&str]| any.iter().any(|part| lower.contains(part));
    let chat_gone = code == "chat_not_found"
        || code == "parent_not_found"
        || (code == "not_found" && !says(&["model", "task", "file"]))
        || (says(&["chat"]) && says(&["not exist", "not found", "has been deleted"]));
    Some(match code.as_str() {
        _ if chat_gone => {
            Error::new(ErrorKind::ChatGone, "The chat is no longer at chat.qwen.ai. Send the request again.")
                .with_detail(words(text))
                .retryable()
        }
        _ if says(&["chat is in progress"]) => Error::new(
            ErrorKind::ChatBusy,
            "chat.qwen.ai is still busy with an earlier turn of this chat. Send the request again in a moment.",
        )
        .with_retry_after(Duration::from_secs(5))
        .retryable(),
        _ if says(&["model not found", "model not exist"]) || code == "model_not_found" => Error::new(
            ErrorKind::ModelNotFound,
            "chat.qwen.ai does not know this model. GET /v1/models lists those it has.",
        ),
        "data_inspection_failed" => Error::new(
            ErrorKind::ContentFilter,
            "The content inspection of chat.qwen.ai refused this text. Change the wording and send it again.",
        ),
        "ratelimited" => {
            let of_quota = says(&["quota", "daily", "today", "usage limit", "hour"]);
            let of_moment = says(&["busy", "retry later", "try again later", "稍后"]);
            let counted = hours.is_some_and(|hours| hours > 0) && !of_moment;
            if of_quota || counted { quota(hours, text) } else { busy(wait, text) }
        }
        "quotalimited" | "quota_limit" | "exceedlimit" | "quota_exhausted" => quota(hours, text),
        "parallellimited" | "too_many_requests" | "toomanyrequests" => busy(wait, text),
        "unauthorized" | "invalid token" | "invalid_token" | "forbidden" | "token_expired" => expired(),
        "internal_error" | "internal_server_error" | "internalerror" => fault(text),
        _ if says(&["allocated quota exceeded", "quota exceeded", "token-limit"]) => quota(hours, text),
        _ if says(&["invalid token", "token has expired"]) => expired(),
        "bad_request" | "" if says(&["internal error", "something wrong"]) => fault(text),
        "bad_request" | "requestvalidationerror" | "invalid_input" | "not_found" => rejected(&format!("{code} {text}")),
        _ => return None,
    })
}

fn by_status(status: u16, wait: Option<Duration>, text: &str) -> Option<Error> {
    Some(match status {
        401 | 403 => expired(),
        413 => Error::new(ErrorKind::RequestTooLarge, "The request is larger than chat.qwen.ai takes. Shorten it."),
        429 => busy(wait, text),
        500.. => fault(if text.is_empty() { "no words" } else { text }).with_detail(format!("status {status}")),
        400..=499 if !text.is_empty() => rejected(text),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorKind::*;

    #[test]
    fn each_known_form_has_its_kind() {
        for (status, body, kind, wait) in [
            (
                200,
                r#"{"success":false,"data":{"code":"RateLimited","details":"You have reached the daily usage limit. Please try again later."}}"#,
                QuotaExceeded,
                Some(3600),
            ),
            (
                200,
                r#"{"ret":["FAIL_SYS_USER_VALIDATE","RGV587_ERROR::SM::busy"],"data":{"url":"https://chat.qwen.ai:443//x/_____tmd_____/punish?x5secdata=a"}}"#,
                Challenge,
                Some(120),
            ),
            (200, "<!doctypehtml><html><script>var aliyun_waf_aa='x'</script>", Challenge, Some(600)),
            (200, "<script>location='/api/_____tmd_____/punish?a=1'</script>", Challenge, Some(120)),
            (
                200,
                r#"{"success":false,"request_id":"r","data":{"code":"RateLimited","details":"You have reached the daily usage limit. Please wait 3 hours","num":3}}"#,
                QuotaExceeded,
                Some(10_800),
            ),
            (
                200,
                r#"{"code":"RateLimited","detail":"today's image quota is used up","num":3}"#,
                QuotaExceeded,
                Some(10_800),
            ),
            (
                200,
                r#"{"success":false,"data":{"code":"RateLimited","details":"The service is busy, please retry later"}}"#,
                RateLimited,
                Some(30),
            ),
            (
                200,
                r#"{"success":false,"data":{"code":"RateLimited","details":"The service is busy, please retry later","num":1}}"#,
                RateLimited,
                Some(30),
            ),
            (200, r#"{"success":false,"data":{"code":"Unauthorized","details":"x"}}"#, SessionExpired, None),
            (401, r#"{"detail":"invalid token"}"#, SessionExpired, None),
            (403, "<html>forbidden</html>", SessionExpired, None),
            (200, r#"{"success":false,"data":{"code":"Not_Found","details":"chat 123 is not exist"}}"#, ChatGone, None),
            (
                200,
                r#"{"success":false,"data":{"code":"CHAT_NOT_FOUND","details":"This chat has been deleted. Please start a new chat to continue."}}"#,
                ChatGone,
                None,
            ),
            (200, r#"{"success":false,"data":{"code":"PARENT_NOT_FOUND","details":"x"}}"#, ChatGone, None),
            (
                200,
                r#"{"success":false,"data":{"code":"Bad_Request","details":"The chat is in progress!"}}"#,
                ChatBusy,
                Some(5),
            ),
            (
                200,
                r#"{"success":false,"data":{"code":"Bad_Request","details":"Internal error..."}}"#,
                UpstreamError,
                None,
            ),
            (
                200,
                r#"{"success":false,"data":{"code":"Bad_Request","details":"Invalid input too many messages"}}"#,
                UpstreamRejected,
                None,
            ),
            (
                400,
                r#"{"success":false,"data":{"code":"RequestValidationError","details":"Field 'chat_id': Field required"}}"#,
                UpstreamRejected,
                None,
            ),
            (200, r#"{"error":"Internal error!"}"#, UpstreamError, None),
            (200, r#"{"error":{"code":"invalid_input","details":"thinking"}}"#, UpstreamRejected, None),
            (200, r#"{"error":{"code":"quota_limit","detail":"x"}}"#, QuotaExceeded, Some(3600)),
            (
                200,
                r#"{"error":{"code":"data_inspection_failed","modality":["text"],"stage":"input","details":"x"},"response_id":"5"}"#,
                ContentFilter,
                None,
            ),
            (200, r#"{"success":false,"data":{"code":"internal_error","details":"x"}}"#, UpstreamError, None),
            (200, r#"{"success":false,"data":{"code":"ParallelLimited","details":"x"}}"#, RateLimited, Some(30)),
            (
                200,
                r#"{"success":false,"data":{"code":"Bad_Request","details":"Allocated quota exceeded"}}"#,
                QuotaExceeded,
                Some(3600),
            ),
            (
                200,
                r#"{"success":false,"data":{"code":"Bad_Request","details":"Model not found"}}"#,
                ModelNotFound,
                None,
            ),
            (
                200,
                r#"{"success":false,"data":{"code":"Bad_Request","details":"Invalid file information!"}}"#,
                UpstreamRejected,
                None,
            ),
            (429, "", RateLimited, Some(30)),
            (413, "<html>too large</html>", RequestTooLarge, None),
            (500, "", UpstreamError, None),
            (502, "<html>Bad Gateway</html>", UpstreamError, None),
            (200, "{}", UpstreamEmpty, None),
            (200, "", UpstreamEmpty, None),
            (200, "<html>Sign in</html>", UpstreamInvalid, None),
            (200, "[1]", UpstreamInvalid, None),
            (200, r#"{"unheard":"of"}"#, UpstreamInvalid, None),
        ] {
            let error = from_body(status, None, body.as_bytes());
            assert_eq!((error.kind(), error.retry_after().map(|wait| wait.as_secs())), (kind, wait), "{status} {body}");
        }
    }

    #[test]
    fn a_challenge_tells_its_link() {
        let body = br#"{"ret":["RGV587_ERROR::SM::x"],"data":{"url":"https://chat.qwen.ai/punish?a"}}"#;
        assert_eq!(from_body(200, None, body).link(), Some("https://chat.qwen.ai/punish?a"));
        assert_eq!(from_body(200, None, b"<script>aliyun_waf</script>").link(), Some("https://chat.qwen.ai/"));
        assert_eq!(
            from_body(200, None, br#"{"ret":["RGV587"],"data":{"url":"javascript:alert(1)"}}"#).link(),
            Some("https://chat.qwen.ai/")
        );
    }

    #[test]
    fn the_head_of_an_answer_counts_too() {
        let mut headers = HeaderMap::new();
        headers.insert("x-actual-status-code", "401".parse().unwrap());
        assert_eq!(from_answer(200, &headers, b"{}").kind(), SessionExpired);
        let mut headers = HeaderMap::new();
        headers.insert("location", "https://chat.qwen.ai/_____tmd_____/punish?x".parse().unwrap());
        assert_eq!(from_answer(302, &headers, b"").kind(), Challenge);
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "7".parse().unwrap());
        assert_eq!(from_answer(429, &headers, b"").retry_after(), Some(Duration::from_secs(7)));
    }

    #[test]
    fn words_passed_on_are_one_bounded_line() {
        let long =
            format!(r#"{{"success":false,"data":{{"code":"Bad_Request","details":"a\n{}"}}}}"#, "x".repeat(5000));
        let error = from_body(200, None, long.as_bytes());
        assert!(error.message().len() < 500 && !error.message().contains('\n'));
    }
}
