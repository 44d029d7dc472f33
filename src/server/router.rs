//! The table of routes. The list at `/` and the `Allow` headers are made from it.

use http::Method;
use percent_encoding::percent_decode_str;

use crate::{
    api::Dialect,
    config::{Config, Product},
    platform::Headers,
};

/// The header that every client of Messages sends.
const VERSION: &str = "anthropic-version";

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Everybody.
    Open,
    /// Holders of one of `VALID_TOKENS`.
    Keyed,
    /// As `Keyed`, or everybody with `PUBLIC_STS_TOKEN`.
    StsToken,
    /// The holder of `ADMIN_TOKEN`.
    Admin,
}

impl Access {
    /// Whether a key is needed.
    pub(super) const fn is_keyed(self, config: &Config) -> bool {
        match self {
            Self::Open => false,
            Self::Keyed | Self::Admin => true,
            Self::StsToken => !config.public_sts_token,
        }
    }
}

/// The operation of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Root,
    Docs,
    Document,
    Asset,
    Health,
    Ready,
    Metrics,
    Models,
    Model,
    Completions,
    Responses,
    Response,
    DeleteResponse,
    ResponseInput,
    CancelResponse,
    InputTokens,
    Messages,
    CountTokens,
    Multimodal,
    ImageChat,
    VideoChat,
    Generations,
    Edits,
    MediaFile,
    CreateVideo,
    Videos,
    Video,
    DeleteVideo,
    VideoContent,
    Upload,
    Files,
    File,
    DeleteFile,
    StsToken,
    Chats,
    DeleteChat,
    Session,
    ReplaceSession,
    DeleteSession,
    Accounts,
    DeleteAccount,
    AccountSession,
    ReplaceAccountSession,
    DeleteAccountSession,
}

/// A route. `{id}` or `{name}` in its path stands for the rest of the path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) access: Access,
    pub(super) endpoint: Endpoint,
    /// What its clients speak.
    pub(super) dialect: Dialect,
}

const fn route(method: &'static str, path: &'static str, access: Access, endpoint: Endpoint) -> Route {
    Route { method, path, access, endpoint, dialect: Dialect::ChatCompletions }
}

const fn response_route(method: &'static str, path: &'static str, endpoint: Endpoint) -> Route {
    Route { dialect: Dialect::Responses, ..route(method, path, Access::Keyed, endpoint) }
}

/// A route whose clients speak Messages.
const fn messages(method: &'static str, path: &'static str, access: Access, endpoint: Endpoint) -> Route {
    Route { dialect: Dialect::Messages, ..route(method, path, access, endpoint) }
}

/// Returns the routes of a product.
pub(super) fn routes(product: &Product) -> impl Iterator<Item = &'static Route> {
    let keeps_metrics = product.keeps_metrics;
    ROUTES.iter().filter(move |route| keeps_metrics || route.endpoint != Endpoint::Metrics)
}

const ROUTES: &[Route] = &[
    route("GET", "/", Access::Open, Endpoint::Root),
    route("GET", "/docs", Access::Open, Endpoint::Docs),
    route("GET", "/openapi.json", Access::Open, Endpoint::Document),
    route("GET", "/assets/{id}", Access::Open, Endpoint::Asset),
    route("GET", "/health", Access::Open, Endpoint::Health),
    route("GET", "/ready", Access::Open, Endpoint::Ready),
    route("GET", "/metrics", Access::Keyed, Endpoint::Metrics),
    route("GET", "/v1/models", Access::Open, Endpoint::Models),
    route("GET", "/v1/models/{id}", Access::Open, Endpoint::Model),
    route("POST", "/v1/chat/completions", Access::Keyed, Endpoint::Completions),
    route("POST", "/v1/images/generations", Access::Keyed, Endpoint::Generations),
    route("POST", "/v1/images/edits", Access::Keyed, Endpoint::Edits),
    route("GET", "/v1/media/{id}", Access::Open, Endpoint::MediaFile),
    route("POST", "/v1/videos", Access::Keyed, Endpoint::CreateVideo),
    route("GET", "/v1/videos", Access::Keyed, Endpoint::Videos),
    route("GET", "/v1/videos/{id}", Access::Keyed, Endpoint::Video),
    route("DELETE", "/v1/videos/{id}", Access::Keyed, Endpoint::DeleteVideo),
    route("GET", "/v1/videos/{id}/content", Access::Keyed, Endpoint::VideoContent),
    response_route("POST", "/v1/responses", Endpoint::Responses),
    response_route("POST", "/v1/responses/input_tokens", Endpoint::InputTokens),
    response_route("GET", "/v1/responses/{id}", Endpoint::Response),
    response_route("DELETE", "/v1/responses/{id}", Endpoint::DeleteResponse),
    response_route("GET", "/v1/responses/{id}/input_items", Endpoint::ResponseInput),
    response_route("POST", "/v1/responses/{id}/cancel", Endpoint::CancelResponse),
    route("POST", "/v1/chat/multimodal", Access::Keyed, Endpoint::Multimodal),
    messages("POST", "/v1/messages", Access::Keyed, Endpoint::Messages),
    messages("POST", "/v1/messages/count_tokens", Access::Keyed, Endpoint::CountTokens),
    route("POST", "/v1/image/upload_and_chat", Access::Keyed, Endpoint::ImageChat),
    route("POST", "/v1/video/upload_and_chat", Access::Keyed, Endpoint::VideoChat),
    route("POST", "/v1/files/upload", Access::Keyed, Endpoint::Upload),
    route("POST", "/v1/files", Access::Keyed, Endpoint::Upload),
    route("GET", "/v1/files", Access::Keyed, Endpoint::Files),
    route("GET", "/v1/files/{id}", Access::Keyed, Endpoint::File),
    route("DELETE", "/v1/files/{id}", Access::Keyed, Endpoint::DeleteFile),
    route("POST", "/v2/files/getstsToken", Access::StsToken, Endpoint::StsToken),
    route("GET", "/v1/chats", Access::Keyed, Endpoint::Chats),
    route("DELETE", "/v1/chats/{id}", Access::Keyed, Endpoint::DeleteChat),
    route("GET", "/admin/session", Access::Admin, Endpoint::Session),
    route("PUT", "/admin/session", Access::Admin, Endpoint::ReplaceSession),
    route("DELETE", "/admin/session", Access::Admin, Endpoint::DeleteSession),
    route("GET", "/admin/accounts", Access::Admin, Endpoint::Accounts),
    route("DELETE", "/admin/accounts/{name}", Access::Admin, Endpoint::DeleteAccount),
    route("GET", "/admin/accounts/{name}/session", Access::Admin, Endpoint::AccountSession),
    route("PUT", "/admin/accounts/{name}/session", Access::Admin, Endpoint::ReplaceAccountSession),
    route("DELETE", "/admin/accounts/{name}/session", Access::Admin, Endpoint::DeleteAccountSession),
];

/// A route of OpenAI's that this server does not offer, with all paths below it. A method of a route that it offers goes first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unsupported {
    /// Its path, less `/v1`. `{id}` stands for one segment.
    path: &'static str,
    /// Its path, for the log and for metrics.
    pub(super) name: &'static str,
    /// What there is instead, as a sentence.
    pub(super) instead: &'static str,
}

const UNSUPPORTED: &[Unsupported] = &[
    Unsupported {
        path: "/embeddings",
        name: "/v1/embeddings",
        instead: "The chat site makes no embeddings: use an embedding model of another provider, or a local one.",
    },
    Unsupported {
        path: "/images/variations",
        name: "/v1/images/variations",
        instead: "Send the picture with a prompt to POST /v1/images/edits.",
    },
    Unsupported {
        path: "/videos/{id}/remix",
        name: "/v1/videos/{id}/remix",
        instead: "Begin another video with POST /v1/videos, with the changed text as its 'prompt'.",
    },
    Unsupported {
        path: "/videos/edits",
        name: "/v1/videos/edits",
        instead: "The chat site changes no videos: begin another one with POST /v1/videos.",
    },
    Unsupported {
        path: "/videos/extensions",
        name: "/v1/videos/extensions",
        instead: "All videos of the chat site have 5 seconds: send the last picture of one as the 'input_reference' of the next to POST /v1/videos.",
    },
    Unsupported {
        path: "/videos/characters",
        name: "/v1/videos/characters",
        instead: "The chat site knows no characters: send a picture as 'input_reference' to POST /v1/videos.",
    },
    Unsupported {
        path: "/audio",
        name: "/v1/audio",
        instead: "To ask about a recording, send it as an 'input_audio' part to POST /v1/chat/completions; the chat site makes no speech.",
    },
    Unsupported {
        path: "/moderations",
        name: "/v1/moderations",
        instead: "The chat site judges no text on its own: send it to POST /v1/chat/completions, where content inspection refuses it with 'content_filter', or ask a model about it.",
    },
    Unsupported {
        path: "/completions",
        name: "/v1/completions",
        instead: "Send the prompt as a message of the role 'user' to POST /v1/chat/completions.",
    },
    Unsupported {
        path: "/fine_tuning",
        name: "/v1/fine_tuning",
        instead: "Models of the chat site cannot be trained: put instructions and examples into the messages of POST /v1/chat/completions.",
    },
    Unsupported {
        path: "/batches",
        name: "/v1/batches",
        instead: "Send the requests of a batch one by one to POST /v1/chat/completions.",
    },
];

/// The result of looking up a path and a method.
pub(super) enum Found {
    Endpoint(&'static Route, Option<String>),
    /// OpenAI has such a route, and this server does not.
    Unsupported(&'static Unsupported),
    Preflight,
    /// The path has routes with these methods only.
    OtherMethods(String),
    Nothing,
}

/// Returns who may use the routes of a path. All methods of a path have the same access.
pub(super) fn access(path: &str, product: &Product) -> Option<Access> {
    let path = canonical(path, product);
    routes(product).find(|route| fits(route.path, &path).is_some()).map(|route| route.access)
}

/// Returns what a client of this path speaks. All methods of a path have the same dialect; the models answer in the one whose
/// header the client sends. Whoever asks for no route of ours most likely speaks chat completions.
pub(super) fn dialect(path: &str, product: &Product, headers: &Headers) -> Dialect {
    let path = canonical(path, product);
    match routes(product).find(|route| fits(route.path, &path).is_some()) {
        Some(Route { endpoint: Endpoint::Models | Endpoint::Model, .. }) if headers.get(VERSION).is_some() => {
            Dialect::Messages
        }
        Some(route) => route.dialect,
        None => Dialect::ChatCompletions,
    }
}

pub(super) fn find(path: &str, method: &Method, product: &Product) -> Found {
    if method == Method::OPTIONS {
        return Found::Preflight;
    }
    let path = canonical(path, product);
    // HEAD returns the headers of GET.
    let wanted = if method == Method::HEAD { "GET" } else { method.as_str() };
    let mut allowed = Vec::new();
    // `/v1/files/upload` also fits `/v1/files/{id}`: the path that says most wins.
    let fitting = routes(product).filter(|route| fits(route.path, &path).is_some());
    let best = fitting.map(|route| (route.path == path, route.path.len())).max();
    for route in routes(product).filter(|route| Some((route.path == path, route.path.len())) == best) {
        if let Some(argument) = fits(route.path, &path) {
            if route.method == wanted {
                return Found::Endpoint(route, argument);
            }
            allowed.push(route.method);
            if route.method == "GET" {
                allowed.push("HEAD");
            }
        }
    }
    if let Some(route) = unsupported(&path) {
        return Found::Unsupported(route);
    }
    if allowed.is_empty() {
        return Found::Nothing;
    }
    allowed.push("OPTIONS");
    Found::OtherMethods(allowed.join(", "))
}

/// Matches a path with a route's. Returns the text in the place of `{id}` or `{name}`, if the route has one.
fn fits(pattern: &str, path: &str) -> Option<Option<String>> {
    match pattern.split_once('{') {
        None => (pattern == path).then_some(None),
        Some((prefix, rest)) => {
            let (_, suffix) = rest.split_once('}')?;
            let id = path.strip_prefix(prefix)?.strip_suffix(suffix).filter(|id| !id.is_empty())?;
            Some(Some(percent_decode_str(id).decode_utf8_lossy().into_owned()))
        }
    }
}

/// Returns the route that a path without empty segments belongs to, if this server does not offer it.
fn unsupported(path: &str) -> Option<&'static Unsupported> {
    let path = without_versions(path);
    let is_below = |route: &&Unsupported| {
        let mut segments = path.split('/');
        route.path.split('/').all(|wanted| segments.next().is_some_and(|found| wanted == "{id}" || wanted == found))
    };
    UNSUPPORTED.iter().find(is_below)
}

/// Returns the path without empty segments.
pub(super) fn without_empty_segments(path: &str) -> String {
    let mut whole = String::with_capacity(path.len());
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        whole.push('/');
        whole.push_str(segment);
    }
    if whole.is_empty() { "/".to_owned() } else { whole }
}

/// Returns the path as the table has it: without empty segments, and with one `/v1` where the route has one. Clients may
/// send none or several.
fn canonical(path: &str, product: &Product) -> String {
    let path = without_empty_segments(path);
    let versioned = format!("/v1{}", without_versions(&path));
    if routes(product).any(|route| fits(route.path, &versioned).is_some()) { versioned } else { path }
}

/// Returns the path without any `/v1` at its beginning.
fn without_versions(path: &str) -> &str {
    let mut rest = path;
    while let Some(shorter) = rest.strip_prefix("/v1").filter(|shorter| shorter.starts_with('/')) {
        rest = shorter;
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: &str, path: &str) -> String {
        match find(path, &method.parse().unwrap(), &Product::NATIVE) {
            Found::Endpoint(route, None) => format!("{:?}", route.endpoint),
            Found::Endpoint(route, Some(argument)) => format!("{:?} {argument}", route.endpoint),
            Found::Unsupported(route) => format!("not offered: {}", route.name),
            Found::Preflight => "preflight".to_owned(),
            Found::OtherMethods(methods) => methods,
            Found::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn the_document_has_every_route() {
        let page = include_str!("../../docs/api.md");
        let is_row = |line: &&str| {
            ["GET", "POST", "PUT", "DELETE"].iter().any(|method| line.starts_with(&format!("| `{method} ")))
        };
        let rows = page
            .lines()
            .filter(is_row)
            .map(|row| row.trim_start_matches("| ").split(" | ").take(2).collect::<Vec<_>>());
        let mut documented: Vec<String> = rows.map(|cells| cells.join(" ")).collect();
        let mut expected: Vec<String> = routes(&Product::NATIVE)
            .map(|Route { method, path, access, .. }| {
                let key = match access {
                    Access::Open => "–",
                    Access::Keyed => "key",
                    Access::StsToken => "key, unless `PUBLIC_STS_TOKEN`",
                    Access::Admin => "`ADMIN_TOKEN`",
                };
                format!("`{method} {path}` {key}")
            })
            .collect();
        documented.sort();
        expected.sort();
        assert_eq!(documented, expected);
    }

    #[test]
    fn all_methods_of_a_path_have_the_same_access() {
        for route in routes(&Product::NATIVE) {
            let others = routes(&Product::NATIVE).filter(|other| fits(other.path, route.path).is_some());
            assert!(others.into_iter().all(|other| other.access == route.access), "{}", route.path);
            assert_eq!(access(route.path, &Product::NATIVE), Some(route.access), "{}", route.path);
        }
    }

    #[test]
    fn routes_that_are_not_offered_say_what_to_use() {
        for Unsupported { path, name, instead } in UNSUPPORTED {
            assert_eq!(*name, format!("/v1{path}"));
            assert!(instead.ends_with('.'), "{name}");
            assert_eq!(found("POST", &name.replace("{id}", "x")), format!("not offered: {name}"));
        }
    }

    #[test]
    fn paths_lead_to_endpoints() {
        for (method, path, expected) in [
            ("GET", "/", "Root"),
            ("HEAD", "/", "Root"),
            ("GET", "/health", "Health"),
            ("GET", "/health/", "Health"),
            ("GET", "/v1/health", "nothing"),
            ("GET", "/v1/models", "Models"),
            ("GET", "/models", "Models"),
            ("GET", "/v1/v1/models/", "Models"),
            ("GET", "/models/qwen3", "Model qwen3"),
            ("GET", "/v1/models/a%2Fb", "Model a/b"),
            ("POST", "/v1/chat/completions", "Completions"),
            ("POST", "/chat/completions", "Completions"),
            ("POST", "/v1/v1/v1/chat/completions", "Completions"),
            ("GET", "/v1/chat/completions", "POST, OPTIONS"),
            ("POST", "/v1/messages", "Messages"),
            ("POST", "/messages", "Messages"),
            ("POST", "/v1/v1/messages/", "Messages"),
            ("POST", "/v1/messages/count_tokens", "CountTokens"),
            ("GET", "/v1/messages", "POST, OPTIONS"),
            ("GET", "/v1/messages/batches", "nothing"),
            ("DELETE", "/v1/models", "GET, HEAD, OPTIONS"),
            ("BREW", "/", "GET, HEAD, OPTIONS"),
            ("OPTIONS", "/anything", "preflight"),
            ("POST", "/files/upload", "Upload"),
            ("POST", "/v1/files", "Upload"),
            ("GET", "/v1/files/upload", "POST, OPTIONS"),
            ("GET", "/v1/files/uploads", "File uploads"),
            ("POST", "/v1/files/abc", "GET, HEAD, DELETE, OPTIONS"),
            ("POST", "/v1/v2/files/getstsToken", "nothing"),
            ("PUT", "/admin/session", "ReplaceSession"),
            ("POST", "/admin/session/", "GET, HEAD, PUT, DELETE, OPTIONS"),
            ("GET", "/v1/admin/session", "nothing"),
            ("GET", "/v1", "nothing"),
            ("GET", "/v1x/models", "nothing"),
            ("GET", "//", "Root"),
            ("GET", "//health//", "Health"),
            ("POST", "/v1//chat/completions", "Completions"),
            ("POST", "//v1///v1/chat//completions/", "Completions"),
            ("GET", "//v1/models", "Models"),
            ("GET", "/v1//models//a%2Fb", "Model a/b"),
            ("GET", "/v1/models//", "Models"),
            ("DELETE", "//v1//chats//c", "DeleteChat c"),
            ("POST", "/v2//files//getstsToken", "StsToken"),
            ("GET", "/nothing", "nothing"),
            ("POST", "/v1/embeddings", "not offered: /v1/embeddings"),
            ("GET", "/embeddings/", "not offered: /v1/embeddings"),
            ("POST", "/v1/v1/audio/speech", "not offered: /v1/audio"),
            ("POST", "//v1//audio//transcriptions", "not offered: /v1/audio"),
            ("DELETE", "/v1/moderations", "not offered: /v1/moderations"),
            ("POST", "/v1/completions", "not offered: /v1/completions"),
            ("POST", "/completions", "not offered: /v1/completions"),
            ("GET", "/v1/fine_tuning/jobs/ft-1/events", "not offered: /v1/fine_tuning"),
            ("POST", "/v1/batches/batch_1/cancel", "not offered: /v1/batches"),
            ("OPTIONS", "/v1/batches", "preflight"),
            ("POST", "/v1/videos", "CreateVideo"),
            ("GET", "/videos", "Videos"),
            ("PUT", "/v1/videos", "POST, GET, HEAD, OPTIONS"),
            ("GET", "/v1/videos/video_1", "Video video_1"),
            ("DELETE", "/v1/v1/videos/video_1/", "DeleteVideo video_1"),
            ("HEAD", "/v1/videos/video_1/content", "VideoContent video_1"),
            ("POST", "/v1/videos/video_1", "GET, HEAD, DELETE, OPTIONS"),
            ("POST", "/v1/videos/video_1/content", "GET, HEAD, OPTIONS"),
            ("POST", "/v1/videos/video_1/remix", "not offered: /v1/videos/{id}/remix"),
            ("POST", "/videos/edits", "not offered: /v1/videos/edits"),
            ("POST", "/v1/videos/characters/c", "not offered: /v1/videos/characters"),
            ("GET", "/v1/videos/edits", "Video edits"),
            ("GET", "/v1/batches2", "nothing"),
            ("GET", "/v1/embeddings.json", "nothing"),
            ("GET", "/v2/embeddings", "nothing"),
            ("GET", "/v1/models/embeddings", "Model embeddings"),
        ] {
            assert_eq!(found(method, path), expected, "{method} {path}");
        }
    }
}
