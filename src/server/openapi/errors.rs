//! The errors that each operation may return, and their examples.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::{
    api::{
        Dialect, anthropic,
        openai::{self, images},
    },
    error::{Error, ErrorKind, ErrorKind as K, VideoFault},
    server::{
        auth, body,
        router::{Access, Endpoint, Route},
    },
};

/// The errors of any request to the chat site.
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

/// The further errors of a turn.
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

/// The further errors of a turn with tools, with a form that its answer has to have, or with a second upstream.
pub(super) const FORMS: &[ErrorKind] = &[K::ToolChoiceUnsatisfied, K::InvalidStructuredOutput, K::FallbackRefused];

/// The errors of pictures alone.
pub(super) const PICTURES: &[ErrorKind] =
    &[K::UnsupportedValue, K::PictureRefused, K::UpstreamOverloaded, K::MediaUnavailable];

/// Returns an example of an error. Its message is also the summary of the example.
fn example_error(kind: ErrorKind) -> Error {
    match kind {
        K::StoreFailed => Error::store_unavailable(""),
        K::MissingApiKey => auth::missing_api_key(),
        K::InvalidApiKey => auth::invalid_api_key(),
        K::AdminDisabled => auth::no_admin_token(),
        K::SessionExpired => Error::session_expired(),
        K::Overloaded => body::overloaded(),
        K::UnsupportedValue => images::mask_unsupported(),
        K::ToolChoiceUnsatisfied => Error::tool_choice_unsatisfied(Some("get_weather")),
        K::InvalidStructuredOutput => Error::invalid_structured_output("/age must be of type integer, and is a string"),
        K::InvalidRequest => Error::invalid("messages", sample_message(kind)),
        K::Challenge => Error::new(kind, sample_message(kind)).with_link("https://chat.qwen.ai/"),
        _ => Error::new(kind, sample_message(kind)),
    }
}

/// A message for errors that have no constructor, or whose message depends on the request.
const fn sample_message(kind: ErrorKind) -> &'static str {
    match kind {
        K::Configuration => "The server's configuration is wrong: PORT: must be a number from 0 to 65535.",
        K::OriginNotAllowed => {
            "This server has no API keys, so it is for this machine's own programs: set VALID_TOKENS, or list the page in ALLOWED_ORIGINS."
        }
        K::NotFound => "The route or the object does not exist.",
        K::UnsupportedEndpoint => "This server does not offer the route; the message says what to use instead.",
        K::MethodNotAllowed => "This route does not support the method.",
        K::PreviousResponseNotFound => {
            "There is no such response, or nothing is kept of it any more. Send the whole conversation as 'input'."
        }
        K::InvalidJson => "The request body is not valid JSON.",
        K::InvalidRequest => "A field of the request is wrong; 'param' names it.",
        K::RequestTooLarge => "The request is larger than the server or the chat site accepts.",
        K::UnsupportedEncoding => {
            "The Content-Encoding of the body is not supported. Supported are gzip, deflate and zstd."
        }
        K::UnsupportedFileType => "The site, or this route, does not accept files of this type.",
        K::SessionMissing => "This server has no Qwen session yet: set QWEN_COOKIES, or PUT /admin/session.",
        K::Challenge => {
            "chat.qwen.ai asks for a human check: open 'verify_url', then give the server the fresh cookies."
        }
        K::QuotaExceeded => "The account's quota for today is used up.",
        K::RateLimited | K::ChatBusy => "The site is busy with too many requests of this account.",
        K::ContentFilter => "The site's content inspection refused the text.",
        K::ModelNotFound => "There is no such model. GET /v1/models lists the models.",
        K::UpstreamRejected => "The site refuses the request.",
        K::FallbackRefused => "The second upstream does not accept this server's key, or does not allow the request.",
        K::UpstreamEmpty => "The site returned an empty answer.",
        K::UpstreamInvalid => "The site returned something that is not its protocol.",
        K::UpstreamTruncated => "The site's answer ended too early.",
        K::ChatGone | K::UpstreamError => "The site reports an internal error, or cannot be reached.",
        K::UpstreamTimeout => "The site took too long to answer.",
        K::UpstreamOverloaded => "The site has no room for another picture at the moment.",
        K::UnsupportedValue => "The field has a value that the site cannot do.",
        K::PictureRefused => "The site's content inspection refused the prompt or a picture.",
        K::MediaUnavailable => "The site does not hand out the picture or video that it made.",
        K::VideoNotFound => "There is no such video among those begun with this key.",
        K::VideoNotReady => "The video is still being made.",
        K::VideoFailed(_) => "The video could not be made; its object says why.",
        _ => "",
    }
}

/// The errors of pictures and videos alone.
const OF_MEDIA: &[ErrorKind] = &[
    K::UnsupportedValue,
    K::UpstreamOverloaded,
    K::MediaUnavailable,
    K::VideoNotFound,
    K::VideoNotReady,
    K::VideoFailed(VideoFault::Failed),
    K::VideoFailed(VideoFault::TaskLost),
];

/// All errors that the document names.
const ALL: &[&[ErrorKind]] = &[
    SITE,
    TURN,
    FORMS,
    OF_MEDIA,
    &[
        K::MissingApiKey,
        K::InvalidApiKey,
        K::AdminDisabled,
        K::OriginNotAllowed,
        K::NotFound,
        K::InvalidJson,
        K::PreviousResponseNotFound,
        K::StoreFailed,
        K::Configuration,
    ],
    PICTURES,
];

/// Returns an example of each error, by its code.
pub(super) fn examples() -> Json {
    let example = |dialect: Dialect, kind: ErrorKind| {
        let error = example_error(kind);
        assert!(!error.message().is_empty(), "{kind:?} has no example");
        let value: Json = serde_json::from_str(&dialect.error(&error, "req_1").body).unwrap();
        (example_name(dialect, kind), json!({ "summary": error.message(), "value": value }))
    };
    let kinds = ALL.iter().copied().flatten().copied();
    let chat = kinds.clone().map(|kind| example(Dialect::ChatCompletions, kind));
    let others = [K::AdminDisabled, K::NotFound, K::StoreFailed, K::PreviousResponseNotFound]
        .into_iter()
        .chain(OF_MEDIA.iter().copied())
        .collect::<Vec<_>>();
    let of_messages = |kind: &ErrorKind| !others.contains(kind) && !PICTURES.contains(kind);
    let messages = kinds.filter(of_messages).map(|kind| example(Dialect::Messages, kind));
    chat.chain(messages).collect::<serde_json::Map<_, _>>().into()
}

/// The name of the example of an error in a dialect.
fn example_name(dialect: Dialect, kind: ErrorKind) -> String {
    match dialect {
        Dialect::Messages => format!("messages.{}", kind.code()),
        // Its code is that of a refused text.
        Dialect::ChatCompletions | Dialect::Responses if kind == K::PictureRefused => format!("images.{}", kind.code()),
        Dialect::ChatCompletions | Dialect::Responses => kind.code().to_owned(),
    }
}

/// Returns the responses for `kinds` and for the errors that all routes of this access have, by status.
pub(super) fn responses(route: &Route, kinds: &[ErrorKind]) -> BTreeMap<u16, Json> {
    let keys: &[ErrorKind] = match route.access {
        Access::Open => &[],
        Access::Keyed | Access::StsToken => &[K::MissingApiKey, K::InvalidApiKey, K::OriginNotAllowed],
        Access::Admin => &[K::MissingApiKey, K::InvalidApiKey, K::AdminDisabled, K::OriginNotAllowed],
    };
    let mut by_status = BTreeMap::<u16, Vec<ErrorKind>>::new();
    for kind in keys.iter().chain(kinds).chain(&[K::Configuration]) {
        let status = match route.dialect {
            Dialect::ChatCompletions | Dialect::Responses => openai::wire_form(*kind).status,
            Dialect::Messages => anthropic::wire_form(*kind).status,
        };
        by_status.entry(status).or_default().push(*kind);
    }
    by_status.into_iter().map(|(status, kinds)| (status, response(route, status, &kinds))).collect()
}

fn response(route: &Route, status: u16, kinds: &[ErrorKind]) -> Json {
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let schema = match (route.dialect, route.endpoint) {
        (Dialect::Messages, _) => reference("MessagesErrorBody"),
        // In the form of the client whose header was sent.
        (_, Endpoint::Models | Endpoint::Model) => {
            json!({ "anyOf": [reference("ErrorBody"), reference("MessagesErrorBody")] })
        }
        _ => reference("ErrorBody"),
    };
    let codes: Vec<String> = kinds.iter().map(|kind| format!("`{}`", kind.code())).collect();
    let example = |kind: &ErrorKind| {
        let name = example_name(route.dialect, *kind);
        (kind.code().to_owned(), json!({ "$ref": format!("#/components/examples/{name}") }))
    };
    let examples: serde_json::Map<_, _> = kinds.iter().map(example).collect();
    let mut headers = json!({ "x-request-id": { "$ref": "#/components/headers/RequestId" } });
    if route.dialect == Dialect::Messages {
        headers["request-id"] = json!({ "$ref": "#/components/headers/RequestId" });
    }
    for (name, component, statuses) in [
        ("retry-after", "RetryAfter", &[403, 429, 502, 503, 504][..]),
        ("x-should-retry", "ShouldRetry", &[400, 401, 403, 429, 500, 502, 504]),
        ("x-upstream", "Upstream", &[400, 401, 403, 404, 429, 502, 503, 504]),
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
            "application/json": { "schema": schema, "examples": examples },
        },
    })
}
