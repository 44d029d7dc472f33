//! The list of all variables. `docs/configuration.md` and `.env.example` are checked against it, word by word.

/// Variables that belong together.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// The heading of the group.
    pub title: &'static str,
    /// Its variables, in the order of the documents.
    pub variables: &'static [Variable],
}

/// A variable that the program reads.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name in the environment of the native server, and among the bindings of the Worker.
    pub name: &'static str,
    /// What counts while it is not set.
    pub default: DefaultValue,
    /// Whether the native server alone makes use of it.
    pub native_only: bool,
    /// What it does: whole sentences, with Markdown's backticks.
    pub meaning: &'static str,
}

/// What counts while a variable is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// Nothing.
    Unset,
    /// A value, as it is written in the environment.
    Value(&'static str),
    /// A value of each product.
    PerProduct {
        /// That of the native server.
        native: &'static str,
        /// That of the Worker.
        worker: &'static str,
    },
    /// The value of another variable.
    Of(&'static str),
    /// What the program decides at start-up, in words.
    Decided(&'static str),
}

use DefaultValue::{Decided, Of, PerProduct, Unset, Value};

/// A variable of both products.
const fn both(name: &'static str, default: DefaultValue, meaning: &'static str) -> Variable {
    Variable { name, default, native_only: false, meaning }
}

/// A variable that has no effect on the Worker.
const fn native(name: &'static str, default: DefaultValue, meaning: &'static str) -> Variable {
    Variable { name, default, native_only: true, meaning }
}

/// `QWEN_USER_AGENT` while it is not set.
pub(super) const USER_AGENT: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";

/// Every variable that the program reads.
pub const VARIABLES: &[Group] = &[
    Group {
        title: "Start",
        variables: &[
            both(
                "QWEN_COOKIES",
                Unset,
                "The whole `Cookie` header of a browser that is signed in at chat.qwen.ai, sent unchanged. \"Copy as cURL\", the JSON of \
                 Cookie-Editor, a Netscape cookie file and the token alone are understood as well.",
            ),
            both(
                "VALID_TOKENS",
                Unset,
                "API keys of this server: a comma list, a JSON array or one key, at least 16 characters each (`openssl rand -hex 24`). \
                 In the array `{\"key\": \"sk-…\", \"account\": \"anna\"}` binds a key to an account (1–40 of `a-z 0-9 - _`). Without \
                 keys the native server listens on loopback addresses only, and the Worker refuses chats.",
            ),
        ],
    },
    Group {
        title: "Access",
        variables: &[
            both(
                "ADMIN_TOKEN",
                Unset,
                "The key of `/admin`, which takes new sessions. It must not be one of `VALID_TOKENS`, and must have at least 16 \
                 characters if the network can reach the server.",
            ),
            both(
                "SESSION_KEY",
                Unset,
                "32 bytes in base64 (`openssl rand -base64 32`): encrypts sessions, responses, prompts and links in the database. A \
                 session that is stored unencrypted, or with another key, is not used: send it again. Until then `QWEN_COOKIES` are used.",
            ),
            both(
                "ALLOW_ANONYMOUS",
                Value("false"),
                "`true`: no key is needed although `VALID_TOKENS` is empty. Whoever reaches the server, and every web page that its \
                 users open, can use your account.",
            ),
            both(
                "ALLOWED_ORIGINS",
                Unset,
                "Pages that may use a server without keys: a comma list such as `http://localhost:3000,https://app.example`. Their \
                 hosts count as the server's own names. `null` (pages from files, sandboxed frames) counts only if listed. No effect \
                 on a server with keys.",
            ),
            both(
                "PUBLIC_STS_TOKEN",
                Value("false"),
                "`true`: `/v2/files/getstsToken` needs no key. Whoever reaches the server can then upload to your account.",
            ),
        ],
    },
    Group {
        title: "Account",
        variables: &[
            both(
                "QWEN_AUTH_TOKEN",
                Unset,
                "The value of the cookie `token` alone, with or without `Bearer` or `token=`. Used if `QWEN_COOKIES` has none.",
            ),
            both(
                "QWEN_USER_AGENT",
                Value(USER_AGENT),
                "The user agent of the browser that the cookies come from. Set it to that of your browser.",
            ),
            both(
                "QWEN_HEADERS",
                Value("{}"),
                "A JSON object of more headers copied from your browser. They replace headers of the same name; those about the \
                 browser's connection (`accept-encoding`, `content-length`, `host`, …) are ignored.",
            ),
            both("QWEN_BEARER", Value("false"), "`true`: also send the token as `Authorization: Bearer` to the site."),
            both("QWEN_WEB_VERSION", Value("0.3.12"), "The `version` header of the site's pages."),
            both("QWEN_BASE_URL", Value("https://chat.qwen.ai"), "The chat site."),
            both("QWEN_AUTH_URL", Value("https://auth.qwen.ai"), "The host that renews access tokens."),
            both("OSS_URL", Unset, "Another origin for the site's file storage, for tests and private gateways."),
        ],
    },
    Group {
        title: "Models",
        variables: &[
            both("DEFAULT_MODEL", Value("qwen3-max"), "The model of requests that name none."),
            both(
                "MODEL_ALIASES",
                Value("{}"),
                "A JSON object of your own aliases, such as `{\"mine\": \"qwen3-coder-plus\"}`. They take precedence over the built-in ones.",
            ),
        ],
    },
    Group {
        title: "Server",
        variables: &[
            native(
                "HOST",
                Value("127.0.0.1"),
                "The IP address to listen on. The container image sets `0.0.0.0`, which needs `VALID_TOKENS`.",
            ),
            native("PORT", Value("8000"), "The port to listen on. With `compose.yaml` it is the port on this machine."),
            native(
                "DATABASE_PATH",
                Value("data/qwen-edge.db"),
                "The SQLite file; its folder is created. The container image sets `/data/qwen-edge.db`.",
            ),
            both(
                "PUBLIC_URL",
                Unset,
                "The server's own address in the links to pictures and videos, such as `https://ai.example.org`, where a proxy hides \
                 it. Without it the `Host` of the request is used.",
            ),
            both(
                "LOG",
                Value("info"),
                "`off`, `error`, `warn`, `info`, `debug` or `trace`; on the native server also a filter such as `warn,qwen_edge=debug`.",
            ),
            native(
                "LOG_FORMAT",
                Decided("`text` on a terminal, else `json`"),
                "The format of log lines, `text` or `json`. The Worker always writes JSON.",
            ),
        ],
    },
    Group {
        title: "Files",
        variables: &[
            both("MAX_IMAGE_BYTES", Value("10485760"), "The largest image (10 MiB)."),
            both("MAX_FILE_BYTES", Value("524288000"), "The largest file of any other kind (500 MiB)."),
            both(
                "ALLOW_PRIVATE_URLS",
                Value("false"),
                "`true`: links in messages may lead to private addresses, too. Whoever has a key can then read what this server can reach.",
            ),
        ],
    },
    Group {
        title: "Pictures and videos",
        variables: &[
            both(
                "MEDIA_TEXT_MODEL",
                Of("DEFAULT_MODEL"),
                "The text model that pictures and videos are asked of: the site wants one beside the image model.",
            ),
            both("MAX_IMAGES", Value("4"), "How many pictures one request may ask for (1–10)."),
            both(
                "MEDIA_TTL_SECONDS",
                Value("3600"),
                "How long a link to a picture or video is valid (1–86400). Links in a conversation are valid as long as it is kept.",
            ),
            both(
                "VIDEO_TIMEOUT_SECONDS",
                Value("900"),
                "How long a video may be in the making before it counts as failed (1–86400).",
            ),
        ],
    },
    Group {
        title: "Conversations",
        variables: &[
            both(
                "CONVERSATION_TTL_DAYS",
                Value("30"),
                "Conversations that nobody continued for so many days, and the list entries of files uploaded so many days ago, are \
                 forgotten here (1–36500).",
            ),
            both(
                "DELETE_CHATS",
                Value("never"),
                "Which chats are deleted at the site automatically: `never`; `unmatched`: those that nobody continued within an hour, \
                 also questions asked only once; `expired`: those past `CONVERSATION_TTL_DAYS`. Only chats that this server created \
                 are ever deleted.",
            ),
            both(
                "STORE_RESPONSES",
                Value("true"),
                "Whether input and output of `/v1/responses` are kept for `CONVERSATION_TTL_DAYS`, so that they can be retrieved: \
                 encrypted when `SESSION_KEY` is set. `false` keeps no texts; `previous_response_id` still goes on with the chat at \
                 the site.",
            ),
        ],
    },
    Group {
        title: "Second upstream",
        variables: &[
            both(
                "FALLBACK_BASE_URL",
                Unset,
                "Any OpenAI-compatible endpoint, up to and with `/v1`, asked when chat.qwen.ai cannot answer. Unset, there is none.",
            ),
            both("FALLBACK_API_KEY", Unset, "Its key, sent as a bearer token."),
            both(
                "FALLBACK_MODELS",
                Value("{}"),
                "A JSON object: our model, after aliases and suffixes, → its name there, such as `{\"*\": \"qwen-plus\"}`; `\"*\"` is \
                 for all others. A model without an entry keeps its name.",
            ),
            both(
                "FALLBACK_ON",
                Value(
                    "qwen_session_missing, qwen_session_expired, qwen_challenge, quota_exceeded, upstream_error, upstream_timeout",
                ),
                "The error codes of chat.qwen.ai after which it is asked; `always`: only it is asked; `never`: only for models named \
                 `api:…`.",
            ),
        ],
    },
    Group {
        title: "Timing and limits",
        variables: &[
            both("HEARTBEAT_SECONDS", Value("15"), "A silent stream gets a comment line this often (1–3600)."),
            both(
                "FIRST_BYTE_SECONDS",
                Value("10"),
                "How long a stream waits for the first word before it returns 200 (0–3600). Errors within that time are HTTP statuses.",
            ),
            both(
                "COALESCE_MS",
                PerProduct { native: "0", worker: "50" },
                "How long deltas may be joined into one write after the first (milliseconds, 0–10000). More saves CPU time of the Worker.",
            ),
            both(
                "UPSTREAM_IDLE_SECONDS",
                Value("120"),
                "The silence of the chat site after which a request is aborted (1–3600).",
            ),
            both(
                "UPSTREAM_IN_FLIGHT",
                Value("1024"),
                "How many turns the site may work on at once (1–100000). Lower it if the site complains about bursts. Per account; on \
                 the Worker also per isolate.",
            ),
            both(
                "UPSTREAM_QUEUE",
                Value("1024"),
                "How many turns may wait, for a minute at most (0–100000). Further ones get `rate_limit_exceeded`.",
            ),
        ],
    },
];
