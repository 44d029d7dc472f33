//! Responses that are not a stream: pages of the WAF, application errors with status 200, HTTP errors.

use serde_json::{Value, json};

use super::body::Reply;

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

const SLIDER: &str = "<!doctypehtml><html lang=\"zh-cn\"><head><meta charset=\"utf-8\"><meta name=\"aliyun_waf_aa\" content=\"0a1b2c3d\">\
<meta name=\"aliyun_waf_bb\" content=\"4e5f6a7b\"><title>Verification</title></head><body><div id=\"aliyunCaptcha-window\"></div>\
<script src=\"https://o.alicdn.com/captcha-frontend/aliyunCaptcha/AliyunCaptcha.js\"></script></body></html>\n";

const REDIRECT: &str = "<script>sessionStorage.x5referer = window.location.href;\
window.location.replace(\"https://chat.qwen.ai:443//api/v2/chat/completions/_____tmd_____/punish?x5secdata=xdFake0000&x5step=2&action=captcha\");\
</script>\n<!--rgv587_flag:sm-->\n";

const BAD_GATEWAY: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n\
<hr><center>openresty</center>\r\n</body>\r\n</html>\r\n";

const LOGIN: &str = "<!DOCTYPE html>\n<html lang=\"en\"><head><title>Qwen Chat</title></head><body><div id=\"root\"></div></body></html>\n";

const NOT_FOUND: &str =
    "<!DOCTYPE html>\n<html><head><title>404</title></head><body><h1>404 Not Found</h1></body></html>\n";

/// `{"success": true, …}` around `data`.
pub(super) fn success(request_id: &str, data: &Value) -> Reply {
    enveloped(200, true, request_id, data)
}

/// An application error in a response with this status.
pub(super) fn refusal(status: u16, request_id: &str, code: &str, details: &str) -> Reply {
    refusal_with(status, request_id, &json!({"code": code, "details": details}))
}

fn refusal_with(status: u16, request_id: &str, data: &Value) -> Reply {
    enveloped(status, false, request_id, data)
}

/// Has the keys in the order of the upstream.
fn enveloped(status: u16, success: bool, request_id: &str, data: &Value) -> Reply {
    let request_id = Value::from(request_id);
    Reply::whole(status, JSON, format!(r#"{{"success":{success},"request_id":{request_id},"data":{data}}}"#))
}

pub(super) fn not_found_page() -> Reply {
    Reply::whole(404, HTML, NOT_FOUND)
}

pub(super) fn chat_missing(request_id: &str, chat_id: &str) -> Reply {
    refusal(200, request_id, "CHAT_NOT_FOUND", &format!("The chat {chat_id} is not exist."))
}

pub(super) fn chat_deleted(request_id: &str) -> Reply {
    refusal(200, request_id, "CHAT_NOT_FOUND", "This chat has been deleted. Please start a new chat to continue.")
}

/// The page of a gateway in front of the upstream.
fn gateway(status: u16, title: &str, text: &str) -> Reply {
    Reply::whole(
        status,
        HTML,
        format!("<html><head><title>{title}</title></head><body><h1>{text}</h1></body></html>\n"),
    )
}

/// The response to an unknown name, so that a typo in a test does not look like an answer.
pub(super) fn unknown(name: &str) -> Reply {
    Reply::whole(501, "text/plain", format!("the fake does not know {name}"))
}

pub(super) fn daily_limit(hours: u64, request_id: &str) -> Reply {
    let details = format!("You have reached the daily usage limit. Please wait {hours} hours before trying again.");
    refusal_with(200, request_id, &json!({"code": "RateLimited", "details": details, "num": hours}))
}

/// The failure with this name; `None` for failures within a stream and for unknown names.
pub(super) fn named(name: &str, num: Option<u64>, request_id: &str) -> Option<Reply> {
    let plain = |code: &str, details: &str| refusal(200, request_id, code, details);
    let limited = |details: &str| {
        let mut data = json!({"code": "RateLimited", "details": details});
        if let Some(num) = num {
            data["num"] = num.into();
        }
        refusal_with(200, request_id, &data)
    };
    Some(match name {
        "waf_json" => waf_json(),
        "waf_html" => waf_html(),
        "waf_redirect" => Reply::whole(200, HTML, REDIRECT),
        "rate_limited" => match num {
            Some(hours) => return Some(daily_limit(hours, request_id)),
            None => limited("You have reached the daily usage limit. Please try again later."),
        },
        "picture_quota" => {
            let hours = num.unwrap_or(6);
            let data = json!({"code": "RateLimited", "details": "今日生图额度已用完，请明天再试", "num": hours});
            return Some(refusal_with(200, request_id, &data));
        }
        "video_quota" => {
            let hours = num.unwrap_or(6);
            let data = json!({"code": "RateLimited", "details": "今日视频生成额度已用完，请明天再试", "num": hours});
            return Some(refusal_with(200, request_id, &data));
        }
        "overload" => limited("目前服务访问量较大，请稍后再试"),
        "rate_limited_busy" => limited("The service is busy right now, please retry later."),
        "unauthorized" => plain("Unauthorized", "Your session has expired, please sign in again."),
        "unauthorized_401" => {
            refusal(401, request_id, "Unauthorized", "Your session has expired, please sign in again.")
        }
        "forbidden" => refusal(403, request_id, "Forbidden", "You do not have permission to access this resource."),
        "bad_request" => plain("Bad_Request", "Internal error, please contact customer support."),
        "validation" => {
            plain("RequestValidationError", "Field 'chat_id': Field required").header("x-actual-status-code", "400")
        }
        "internal_error" => plain("internal_error", "Internal server error."),
        "in_progress" => plain("Bad_Request", "The chat is in progress!"),
        "parallel_limited" => plain("ParallelLimited", "Too many conversations are being generated at the same time."),
        "quota_exhausted" => plain("quota_exhausted", "Allocated quota exceeded, please increase your quota limit."),
        "model_not_found" => plain("Not_Found", "Model not found"),
        "invalid_file" => plain("Bad_Request", "Invalid file information!"),
        "data_inspection" => {
            plain("data_inspection_failed", "Content security warning: the input may contain inappropriate content.")
        }
        "chat_not_found" => chat_deleted(request_id),
        "parent_not_found" => plain("PARENT_NOT_FOUND", "The parent message does not exist."),
        "not_found_html" => not_found_page(),
        "http_429" => Reply::whole(429, "text/plain", "Too Many Requests"),
        "http_500" => Reply::whole(500, "text/plain", "Internal Server Error"),
        "bad_gateway_html" => Reply::whole(502, "text/html", BAD_GATEWAY),
        "empty" => Reply::whole(200, "text/event-stream", ""),
        "bare_error" => Reply::whole(200, "text/event-stream", in_stream("internal", "", request_id)),
        "empty_json" => Reply::whole(200, JSON, "{}"),
        "empty_body" => Reply::whole(200, JSON, ""),
        "html_login" => Reply::whole(200, HTML, LOGIN),
        "gateway_403" => gateway(403, "403 Forbidden", "403 Forbidden</h1><hr><center>nginx</center><h1>"),
        "gateway_region" => {
            gateway(403, "Access denied", "This service is not available in your region. Please sign in elsewhere.")
        }
        "gateway_401" => gateway(401, "401 Authorization Required", "401 Authorization Required"),
        "gateway_hotel" => gateway(200, "Welcome to the hotel", "Log in to use the network."),
        "gateway_403_json" => Reply::whole(403, JSON, r#"{"message":"Forbidden"}"#),
        "actual_status" => plain("Internal_Server_Error", "Something went wrong, please try again.")
            .header("x-actual-status-code", "503"),
        "hang" => Reply::never(),
        "reset" => Reply::reset(),
        _ => return None,
    })
}

/// The response of the WAF to a suspicious request.
pub(super) fn waf_json() -> Reply {
    let url = "https://chat.qwen.ai:443//api/v2/chat/completions/_____tmd_____/punish?x5secdata=xdFake0000&x5step=2&action=captcha&pureCaptcha=";
    let busy = "RGV587_ERROR::SM::哎哟喂,被挤爆啦,请稍后重试";
    let body = format!(r#"{{"ret":["FAIL_SYS_USER_VALIDATE","{busy}"],"data":{{"url":"{url}"}}}}"#);
    Reply::whole(200, "application/json;charset=utf-8", body).header("bxpunish", "1")
}

/// The captcha page of the WAF.
pub(super) fn waf_html() -> Reply {
    Reply::whole(200, HTML, SLIDER)
}

/// An error event of a stream; unknown codes return the plain text form.
pub(super) fn in_stream(code: &str, response_id: &str, request_id: &str) -> String {
    match code {
        "invalid_input" => {
            r#"{"error": {"code": "invalid_input", "details": "The value of the enable_thinking parameter is restricted to True."}}"#.to_owned()
        }
        "quota_limit" => r#"{"error": {"code": "quota_limit", "detail": "Allocated quota exceeded, please try again later."}}"#.to_owned(),
        "picture_quota" => r#"{"error": {"code": "quota_limit", "detail": "今日生图额度已用完，请明天再试"}}"#.to_owned(),
        "overload" => r#"{"error": {"code": "quota_limit", "detail": "目前服务访问量较大，请稍后再试"}}"#.to_owned(),
        "inspection_input" => format!(
            r#"{{"error": {{"code": "data_inspection_failed", "modality": ["text"], "stage": "input", "details": "Input data may contain inappropriate content."}}, "response_id": "{response_id}", "response_index": 0}}"#
        ),
        "data_inspection_failed" => format!(
            r#"{{"error": {{"code": "data_inspection_failed", "modality": ["text"], "stage": "output", "details": "Output data may contain inappropriate content."}}, "response_id": "{response_id}", "response_index": 0}}"#
        ),
        "unauthorized" => format!(
            r#"{{"success": false, "request_id": "{request_id}", "data": {{"code": "Unauthorized", "details": "Your session has expired, please sign in again."}}}}"#
        ),
        "rate_limited" => r#"{"code": "RateLimited", "detail": "The service is busy right now, please retry later.", "num": 3}"#.to_owned(),
        "bad_request" => format!(
            r#"{{"success": false, "request_id": "{request_id}", "data": {{"code": "Bad_Request", "details": "Something wrong with request!"}}}}"#
        ),
        _ => r#"{"error": "Internal error!"}"#.to_owned(),
    }
}
