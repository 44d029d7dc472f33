//! Which errors an operation may answer with, and what each means.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::{
    api::openai,
    api::openai::error_body,
    error::{Error, ErrorKind, ErrorKind as K},
    server::router::Access,
};

/// Where the site is asked, this may happen to the session and to the exchange.
pub(super) const SITE: &[ErrorKind] = &[
    K::SessionMissing,
    K::SessionExpired,
    K::Challenge,
    K::QuotaExceeded,
    K::RateLimited,
    K::UpstreamEmpty,
    K::UpstreamInvalid,
    K::UpstreamError,
    K::UpstreamTimeout,
];

/// What a turn may meet beyond that.
pub(super) const TURN: &[ErrorKind] = &[
    K::InvalidRequest,
    K::RequestTooLarge,
    K::Overloaded,
    K::UnsupportedEncoding,
    K::UnsupportedFileType,
    K::ContentFilter,
    K::ModelNotFound,
    K::UpstreamRejected,
    K::UpstreamTruncated,
];

/// An error's message, as an example and as an explanation.
const fn message(kind: ErrorKind) -> &'static str {
    match kind {
        K::Configuration => "The server's configuration is wrong: PORT: must be a number from 0 to 65535.",
        K::StoreFailed => "The database does not answer. Try again later.",
        K::MissingApiKey => "Send your API key of this server as 'Authorization: Bearer KEY' (or 'x-api-key: KEY').",
        K::InvalidApiKey => "This API key is not one of this server's keys (VALID_TOKENS).",
        K::AdminDisabled => "This server has no ADMIN_TOKEN, so nobody may administer it.",
        K::OriginNotAllowed => {
            "This server has no API keys, so it is for this machine's own programs: set VALID_TOKENS, or list the page in ALLOWED_ORIGINS."
        }
        K::NotFound => "There is no such thing here.",
        K::MethodNotAllowed => "This route does not take that method.",
        K::InvalidJson => "The request body is not valid JSON.",
        K::InvalidRequest => "A field of the request is wrong; 'param' names it.",
        K::RequestTooLarge => "The request is larger than the server or the chat site takes.",
        K::UnsupportedEncoding => "The body has a Content-Encoding that is not known here: gzip, deflate and zstd are.",
        K::UnsupportedFileType => "The file is not of a kind that the site, or this route, takes.",
        K::SessionMissing => "This server has no Qwen session yet: set QWEN_COOKIES, or PUT /admin/session.",
        K::SessionExpired => {
            "The Qwen session has ended: sign in at chat.qwen.ai and give the server the fresh cookies."
        }
        K::Challenge => {
            "chat.qwen.ai asks for a human check: open 'verify_url', then give the server the fresh cookies."
        }
        K::QuotaExceeded => "The account's quota for today is used up.",
        K::RateLimited | K::ChatBusy => "The site is busy with too many requests of this account.",
        K::Overloaded => {
            "This server is busy with as many large requests as it can hold. Send the request again later."
        }
        K::ContentFilter => "The site's content inspection refused the text.",
        K::ModelNotFound => "There is no such model. GET /v1/models lists those there are.",
        K::UpstreamRejected => "The site refuses this request as it is.",
        K::UpstreamEmpty => "The site answered with nothing.",
        K::UpstreamInvalid => "The site answered with something that is not its protocol.",
        K::UpstreamTruncated => "The site's answer stopped before its end.",
        K::ChatGone | K::UpstreamError => "The site reports a fault of its own, or cannot be reached.",
        K::UpstreamTimeout => "The site took too long to answer.",
    }
}

fn example(kind: ErrorKind) -> Json {
    let mut error = Error::new(kind, message(kind));
    if kind == K::InvalidRequest {
        error = error.with_param("messages");
    }
    if kind == K::Challenge {
        error = error.with_link("https://chat.qwen.ai/");
    }
    serde_json::from_str(&error_body(&error)).unwrap()
}

/// All errors that the document names, by their code.
const ALL: &[&[ErrorKind]] = &[
    SITE,
    TURN,
    &[
        K::MissingApiKey,
        K::InvalidApiKey,
        K::AdminDisabled,
        K::OriginNotAllowed,
        K::NotFound,
        K::InvalidJson,
        K::StoreFailed,
        K::Configuration,
    ],
];

/// An example of each error.
pub(super) fn examples() -> Json {
    let kinds = ALL.iter().copied().flatten();
    let example =
        |kind: &ErrorKind| (kind.code().to_owned(), json!({ "summary": message(*kind), "value": example(*kind) }));
    kinds.map(example).collect::<serde_json::Map<_, _>>().into()
}

/// The answers to all of `kinds`, by status, with those that a route of this access has anyhow.
pub(super) fn responses(access: Access, kinds: &[ErrorKind]) -> BTreeMap<u16, Json> {
    let keys: &[ErrorKind] = match access {
        Access::Open => &[],
        Access::Keyed | Access::StsToken => &[K::MissingApiKey, K::InvalidApiKey, K::OriginNotAllowed],
        Access::Admin => &[K::MissingApiKey, K::InvalidApiKey, K::AdminDisabled, K::OriginNotAllowed],
    };
    let mut by_status = BTreeMap::<u16, Vec<ErrorKind>>::new();
    for kind in keys.iter().chain(kinds).chain(&[K::Configuration]) {
        by_status.entry(openai::wire_form(*kind).status).or_default().push(*kind);
    }
    by_status.into_iter().map(|(status, kinds)| (status, response(status, &kinds))).collect()
}

fn response(status: u16, kinds: &[ErrorKind]) -> Json {
    let codes: Vec<String> = kinds.iter().map(|kind| format!("`{}`", kind.code())).collect();
    let example = |kind: &ErrorKind| {
        let code = kind.code();
        (code.to_owned(), json!({ "$ref": format!("#/components/examples/{code}") }))
    };
    let examples: serde_json::Map<_, _> = kinds.iter().map(example).collect();
    let mut headers = json!({ "x-request-id": { "$ref": "#/components/headers/RequestId" } });
    for (name, component, statuses) in [
        ("retry-after", "RetryAfter", &[403, 429, 502, 503, 504][..]),
        ("x-should-retry", "ShouldRetry", &[401, 403, 429, 500]),
        ("www-authenticate", "WwwAuthenticate", &[401]),
    ] {
        if statuses.contains(&status) {
            headers[name] = json!({ "$ref": format!("#/components/headers/{component}") });
        }
    }
    json!({
        "description": codes.join(", "),
        "headers": headers,
        "content": {
            "application/json": { "schema": { "$ref": "#/components/schemas/ErrorBody" }, "examples": examples },
        },
    })
}
