//! Every way in which the site says no, turned into one error. The only place that reads such answers.
//!
//! It is asked only about bodies that are no answer stream, and about stream events that carry no answer: the text of an
//! ordinary answer, which may mention any of these words, never comes here.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde_json::Value as Json;

use crate::{
    error::{Error, ErrorKind},
    surrogates::{text_of, without_lone_surrogates},
    upstream::words::words,
};

/// How long no request is sent after the site asked for a check by its click page.
const CHALLENGE_PAUSE: Duration = Duration::from_secs(120);
/// The same after its slider page, whose penalty lasts longer.
const SLIDER_PAUSE: Duration = Duration::from_secs(600);
/// What to tell clients of a busy site that names no time.
const BUSY_PAUSE: Duration = Duration::from_secs(30);
const HOUR: u64 = 60 * 60;
/// No wait that the site names is passed on as longer than this.
const MAX_WAIT: Duration = Duration::from_secs(31 * 24 * HOUR);
/// The same for the link to its check, which carries a long code.
const MAX_LINK: usize = 4096;
/// The longest of the codes below, and some more.
const MAX_CODE: usize = 40;

/// Words of a refusal that lasts for hours, and of one that lasts for a moment, in lower case.
const QUOTA_WORDS: &[&str] = &["quota", "daily", "today", "usage limit", "额度", "上限", "今日"];
const BUSY_WORDS: &[&str] = &["busy", "retry later", "try again later", "稍后", "繁忙", "访问量较大"];

const SLIDER_MARKS: &[&str] = &["aliyun_waf", "aliyuncaptcha"];
const CHALLENGE_MARKS: &[&str] =
    &["rgv587", "fail_sys_user_validate", "_____tmd_____", "punish", "x5secdata", "captcha"];

fn challenge(pause: Duration, link: Option<&str>) -> Error {
    let error = Error::new(
        ErrorKind::Challenge,
        "chat.qwen.ai asks for a human check. Open the link (or chat.qwen.ai) in the browser of this account, pass the check, send one message there, then give this server the fresh cookies.",
    )
    .with_retry_after(pause);
    let plain = |link: &&str| {
        (link.starts_with("https://") || link.starts_with("http://"))
            && link.len() <= MAX_LINK
            && link.bytes().all(|byte| byte.is_ascii_graphic())
    };
    error.with_link(link.filter(plain).unwrap_or("https://chat.qwen.ai/"))
}

fn reason(text: &str) -> String {
    let words = words(text);
    if words.is_empty() { "without a reason".to_owned() } else { format!("with: {words}") }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
}

/// The status that counts.
#[derive(Clone, Copy)]
struct Status {
    code: u16,
    /// The site reported it in its own header or object. Otherwise it may come from a gateway, which knows nothing of sessions.
    is_of_site: bool,
}

/// A 200 may tell the real status in a header of its own.
fn actual_status(status: StatusCode, headers: &HeaderMap) -> Status {
    let reported = header(headers, "x-actual-status-code").and_then(|code| code.parse().ok());
    match reported.filter(|code| (400..600).contains(code)) {
        Some(code) => Status { code, is_of_site: true },
        None => Status { code: status.as_u16(), is_of_site: false },
    }
}

/// Whether the answer to a turn is a stream, by its head.
pub(super) fn is_stream(status: StatusCode, headers: &HeaderMap) -> bool {
    let is_event_stream = |value: &str| value.to_ascii_lowercase().starts_with("text/event-stream");
    status.is_success()
        && actual_status(status, headers).code < 400
        && header(headers, "content-type").is_some_and(is_event_stream)
}

/// The answer to a turn that is no stream. Without another reason, a 404 is about the chat.
pub(super) fn from_turn(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    let error = from_answer(status, headers, body);
    if actual_status(status, headers).code == 404 && error.kind() == ErrorKind::UpstreamInvalid {
        return chat_gone("");
    }
    error
}

/// An answer that is no stream: its status, head and body.
pub(super) fn from_answer(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    let actual = actual_status(status, headers);
    let wait = header(headers, "retry-after").and_then(|wait| wait.parse().ok()).map(Duration::from_secs);
    let error = match header(headers, "location").filter(|_| status.is_redirection()) {
        Some(target) => from_redirect(target),
        None => read(actual, wait, body),
    };
    let error = match error.kind() {
        ErrorKind::Challenge => error,
        _ if headers.contains_key("bxpunish") => challenge(CHALLENGE_PAUSE, None),
        _ => error,
    };
    error.with_detail(format!("status {}, actual {}, {} bytes", status.as_u16(), actual.code, body.len()))
}

fn from_redirect(target: &str) -> Error {
    if says(target, CHALLENGE_MARKS) {
        return challenge(CHALLENGE_PAUSE, Some(target));
    }
    Error::new(ErrorKind::UpstreamInvalid, "chat.qwen.ai answered with a redirect instead of an answer.").retryable()
}

/// An event of a stream, or what came in its place, that is a refusal in any of its forms.
pub(super) fn from_event(data: &[u8]) -> Error {
    read(Status { code: 200, is_of_site: false }, None, data)
}

fn read(status: Status, wait: Option<Duration>, body: &[u8]) -> Error {
    let text = text_of(body);
    let mended = without_lone_surrogates(&text);
    let text = mended.as_deref().unwrap_or(&text).trim_start_matches('\u{feff}').trim();
    match serde_json::from_str::<Json>(text) {
        Ok(json) if json.is_object() => from_json(status, wait, &json),
        _ => from_text(status, wait, text),
    }
}

/// Whether the text mentions one of these, which are lower case.
fn says(text: &str, any: &[&str]) -> bool {
    let lower = text.to_ascii_lowercase();
    any.iter().any(|part| lower.contains(part))
}

/// The error of an answer that is nothing but refusals of tools.
#[must_use]
pub fn refused_tools() -> Error {
    Error::new(
        ErrorKind::UpstreamInvalid,
        "chat.qwen.ai tried to run the tools of this request by itself and failed. Send the request again.",
    )
    .retryable()
}

/// The error of an answer without a word.
#[must_use]
pub fn empty_answer() -> Error {
    Error::new(
        ErrorKind::UpstreamEmpty,
        "chat.qwen.ai answered with nothing. Send the request again; if it goes on, open chat.qwen.ai in the browser and look whether it asks for a check.",
    )
    .retryable()
}

fn from_text(status: Status, wait: Option<Duration>, text: &str) -> Error {
    let mut lines = text.lines().map(|line| line.strip_prefix("data:").unwrap_or(line).trim());
    if let Some(json) = lines.find_map(refusing_line) {
        return from_json(status, wait, &json);
    }
    // The firewall sends pages. Events may hold an ordinary answer, whose text may mention anything.
    let has_events = !text.starts_with('<') && text.lines().any(|line| line.starts_with("data:"));
    // The site's own pages load this script as well, but have a proper doctype.
    let is_baxia_page = says(text, &["<!doctypehtml>"]) && says(text, &["baxia"]);
    if !has_events && (says(text, SLIDER_MARKS) || is_baxia_page) {
        return challenge(SLIDER_PAUSE, None);
    }
    if !has_events && says(text, CHALLENGE_MARKS) {
        return challenge(CHALLENGE_PAUSE, None);
    }
    if text.is_empty() && (200..300).contains(&status.code) {
        return empty_answer();
    }
    // A page with status 401 comes from a gateway and says nothing of the session.
    if status.code == 401 && text.starts_with('<') && !status.is_of_site {
        return gateway(status.code);
    }
    let words = if has_events || text.starts_with(['<', '{', '[']) { "" } else { text };
    by_status(status, wait, words).unwrap_or_else(not_the_protocol)
}

/// One line of several that is a refusal of its own.
fn refusing_line(line: &str) -> Option<Json> {
    let json = line.starts_with('{').then(|| serde_json::from_str::<Json>(line).ok()).flatten()?;
    let reported =
        ["error", "code", "ret", "detail"].iter().any(|name| json.get(name).is_some_and(|value| !value.is_null()));
    (reported || json.get("success") == Some(&Json::Bool(false))).then_some(json)
}

fn from_json(status: Status, wait: Option<Duration>, json: &Json) -> Error {
    let link = ["/data/url", "/url"].iter().find_map(|place| json.pointer(place)).and_then(Json::as_str);
    if json.get("rgv587_flag").is_some()
        || json.get("ret").is_some_and(|ret| says(&ret.to_string(), CHALLENGE_MARKS))
        || link.is_some_and(|link| says(link, CHALLENGE_MARKS))
    {
        return challenge(CHALLENGE_PAUSE, link);
    }
    if json.as_object().is_some_and(serde_json::Map::is_empty) {
        return by_status(status, wait, "").unwrap_or_else(empty_answer);
    }
    // The three places where code and words stand: in `data`, in `error`, or at the top.
    let inner = match (json.get("data"), json.get("error")) {
        (_, Some(error @ (Json::Object(_) | Json::String(_)))) => error,
        (Some(data @ (Json::Object(_) | Json::String(_))), _) => data,
        _ => json,
    };
    let field = |names: &[&str]| {
        let mut values = names.iter().filter_map(|name| inner.get(name).or_else(|| json.get(name)));
        values.find_map(|value| match value {
            Json::Null => None,
            Json::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            other => Some(other.to_string()),
        })
    };
    let code = field(&["code"]).unwrap_or_default();
    let text = match inner {
        Json::String(text) => text.clone(),
        _ => field(&["details", "detail", "message", "template"]).unwrap_or_default(),
    };
    let reported = code.parse().ok().filter(|code| (400..600).contains(code));
    let status = reported.map_or(status, |code| Status { code, ..status });
    let hours = inner.get("num").or_else(|| json.get("num")).and_then(hours);
    by_code(&code, &text, hours, wait).or_else(|| by_status(status, wait, &text)).unwrap_or_else(|| {
        let words = format!("{code} {text}");
        if words.trim().is_empty() { not_the_protocol() } else { rejected(&words) }
    })
}

/// `num` of a limit: hours, as a number or as text, rounded up.
fn hours(num: &Json) -> Option<u64> {
    let text = num.as_str().map_or_else(|| num.to_string(), str::to_owned);
    // The library's way to read a fraction would make the Worker 10 KB larger.
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let more = u64::from(fraction.bytes().any(|digit| matches!(digit, b'1'..=b'9')));
    let is_number = whole.bytes().next().is_some_and(|digit| digit.is_ascii_digit());
    // One that is too large means no less than the largest.
    let whole = whole.parse().ok().or(is_number.then_some(u64::MAX))?;
    let hours = whole.saturating_add(more);
    (hours > 0).then_some(hours)
}

fn not_the_protocol() -> Error {
    Error::new(
        ErrorKind::UpstreamInvalid,
        "chat.qwen.ai answered with something that is not its protocol. Send the request again later; if it goes on, look at chat.qwen.ai in the browser.",
    )
    .retryable()
}

fn rejected(text: &str) -> Error {
    Error::new(ErrorKind::UpstreamRejected, format!("chat.qwen.ai refused the request {}.", reason(text.trim())))
}

/// Something between this server and the site answered, or the site refuses the network that this server is in.
fn gateway(status: u16) -> Error {
    Error::new(
        ErrorKind::UpstreamError,
        format!(
            "A gateway answered with status {status} in the place of chat.qwen.ai: a proxy on the way, or a block of this server's region or network. Look whether chat.qwen.ai opens from there; the session stays as it is."
        ),
    )
}

/// Whether a page is the site's own, which it shows to those who are not signed in.
pub(super) fn is_sites_page(body: &[u8]) -> bool {
    let text = text_of(body);
    text.trim_start().starts_with('<') && says(&text, &["id=\"root\"", "qwen-chat-fe", "g.alicdn.com"])
}

fn fault(text: &str) -> Error {
    Error::new(
        ErrorKind::UpstreamError,
        format!("chat.qwen.ai reports a fault of its own {}. Send the request again.", reason(text)),
    )
    .retryable()
}

fn busy(wait: Option<Duration>, text: &str) -> Error {
    Error::new(
        ErrorKind::RateLimited,
        format!("chat.qwen.ai is busy or limits the rate of this account; it answered {}.", reason(text)),
    )
    .with_retry_after(wait.unwrap_or(BUSY_PAUSE).min(MAX_WAIT))
}

fn quota(hours: Option<u64>, wait: Option<Duration>, text: &str) -> Error {
    let reported_wait = hours.map(|hours| Duration::from_secs(hours.saturating_mul(HOUR))).or(wait);
    let wait = reported_wait.unwrap_or(Duration::from_secs(HOUR)).min(MAX_WAIT);
    let hours = wait.as_secs().div_ceil(HOUR);
    Error::new(
        ErrorKind::QuotaExceeded,
        format!("A quota of this Qwen account is used up for about {hours} h; chat.qwen.ai answered {}.", reason(text)),
    )
    .with_retry_after(wait)
}

fn chat_gone(text: &str) -> Error {
    Error::new(ErrorKind::ChatGone, "The chat is no longer at chat.qwen.ai. Send the request again.")
        .with_detail(words(text))
        .retryable()
}

fn chat_busy() -> Error {
    Error::new(
        ErrorKind::ChatBusy,
        "chat.qwen.ai is still busy with an earlier turn of this chat. Send the request again in a moment.",
    )
    .with_retry_after(Duration::from_secs(5))
    .retryable()
}

fn unknown_model() -> Error {
    Error::new(ErrorKind::ModelNotFound, "chat.qwen.ai does not know this model. GET /v1/models lists those it has.")
}

fn filtered() -> Error {
    Error::new(
        ErrorKind::ContentFilter,
        "The content inspection of chat.qwen.ai refused this text. Change the wording and send it again.",
    )
}

/// The code as the table below has it, however the site spells it. A lone text may be one.
fn plain_code(code: &str, text: &str) -> String {
    let spelled = if code.is_empty() { text } else { code };
    let letters = spelled.chars().filter(char::is_ascii_alphanumeric).take(MAX_CODE);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

fn by_code(code: &str, text: &str, hours: Option<u64>, wait: Option<Duration>) -> Option<Error> {
    Some(match plain_code(code, text).as_str() {
        "chatnotfound" | "parentnotfound" => chat_gone(text),
        "modelnotfound" => unknown_model(),
        "datainspectionfailed" => filtered(),
        "ratelimited" => {
            let in_hours = hours.is_some() || says(text, &["hour", "小时"]);
            let is_quota = says(text, QUOTA_WORDS) || (in_hours && !says(text, BUSY_WORDS));
            if is_quota { quota(hours, wait, text) } else { busy(wait, text) }
        }
        // The site uses this code also when it has no room for a picture at the moment.
        "quotalimited" | "quotalimit" if says(text, BUSY_WORDS) && !says(text, QUOTA_WORDS) => busy(wait, text),
        "quotalimited" | "quotalimit" | "exceedlimit" | "quotaexhausted" => quota(hours, wait, text),
        "parallellimited" | "toomanyrequests" => busy(wait, text),
        "unauthorized" | "invalidtoken" | "tokenexpired" => Error::session_expired(),
        // As a lone word it is what gateways say too.
        "forbidden" if !code.is_empty() => Error::session_expired(),
        "internalerror" | "internalservererror" => fault(text),
        "invalidinput" | "requestvalidationerror" => rejected(&format!("{code} {text}")),
        plain => return by_words(plain, text, hours, wait),
    })
}

/// What the words say where the code says little.
fn by_words(code: &str, text: &str, hours: Option<u64>, wait: Option<Duration>) -> Option<Error> {
    let is_missing = says(text, &["not exist", "not found", "has been deleted"]);
    let of_chat = code == "notfound" || (is_missing && says(text, &["chat", "parent"]));
    Some(if says(text, &["chat is in progress"]) {
        chat_busy()
    } else if is_missing && says(text, &["model"]) {
        unknown_model()
    } else if of_chat && !says(text, &["task", "file"]) {
        chat_gone(text)
    } else if says(text, &["quota exceeded", "token-limit"]) {
        quota(hours, wait, text)
    } else if says(text, &["too many requests"]) {
        busy(wait, text)
    } else if says(text, &["inappropriate content", "content security"]) {
        filtered()
    } else if says(text, &["invalid token", "token has expired", "token is invalid", "has been revoked"]) {
        Error::session_expired()
    } else {
        return None;
    })
}

fn by_status(status: Status, wait: Option<Duration>, text: &str) -> Option<Error> {
    let Status { code, is_of_site } = status;
    Some(match code {
        200..=299 | 400 if says(text, &["internal error", "internal server error", "something wrong"]) => fault(text),
        401 => Error::session_expired(),
        403 if is_of_site => Error::session_expired(),
        403 | 407 | 451 => gateway(code),
        413 => Error::new(ErrorKind::RequestTooLarge, "The request is larger than chat.qwen.ai takes. Shorten it."),
        429 => busy(wait, text),
        500.. => fault(if text.is_empty() { "no words" } else { text }).with_detail(format!("status {code}")),
        400 | 422 => rejected(text),
        402..=499 if code != 404 && !text.is_empty() => rejected(text),
        _ => return None,
    })
}

#[cfg(test)]
#[path = "../../../tests/refusals/table.rs"]
mod recorded;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_recorded_answer_is_read_as_its_row_says() {
        let mut tried = 0;
        for row in recorded::all() {
            let (status, headers, body) = (row.status(), row.headers(), row.body());
            let Some(answer) = &row.answer else { continue };
            if is_stream(status, &headers) || body.len() > crate::upstream::qwen::http_client::MAX_ANSWER {
                continue;
            }
            let error = from_turn(status, &headers, &body);
            let status = crate::api::openai::wire_form(error.kind()).status;
            assert_eq!((status, error.kind().code()), (answer.status, answer.code.as_str()), "{}: {error}", row.name);
            assert_eq!(error.retry_after().map(|wait| wait.as_secs()), answer.retry_after, "{}", row.name);
            assert_eq!(error.link(), answer.verify_url.as_deref(), "{}", row.name);
            assert!(error.message().len() < 500 && !error.message().contains('\n'), "{}: {error}", row.name);
            tried += 1;
        }
        assert!(tried > 50, "{tried}");
    }
}
