//! The one error of the program: what a client may read, what only the log may, and whether trying again can help.

use std::{borrow::Cow, error::Error as StdError, fmt, time::Duration};

/// What went wrong. Each dialect decides which status and which words it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A variable of the configuration is missing or wrong.
    Configuration,
    /// The store does not answer, and the request is about what is in it.
    StoreFailed,
    /// No key was sent, or not as a bearer.
    MissingApiKey,
    /// A key was sent that is none of ours.
    InvalidApiKey,
    /// The administration is not open: there is no `ADMIN_TOKEN`.
    AdminDisabled,
    /// A server without keys was asked by a foreign page, under a foreign name or through a proxy.
    OriginNotAllowed,
    /// No such route.
    NotFound,
    /// The route exists, but not with this method.
    MethodNotAllowed,
    /// The body is not JSON.
    InvalidJson,
    /// A field of the request is wrong.
    InvalidRequest,
    /// The request is larger than the program or the chat site takes.
    RequestTooLarge,
    /// The request's body is packed in a way that is not known here.
    UnsupportedEncoding,
    /// A file is not of a kind that the route takes.
    UnsupportedFileType,
    /// No Qwen session is configured.
    SessionMissing,
    /// The Qwen session has ended.
    SessionExpired,
    /// The site asks for a human check.
    Challenge,
    /// A daily quota of the account is used up.
    QuotaExceeded,
    /// Too many requests, or the site is busy.
    RateLimited,
    /// The server holds as much of its clients as it may.
    Overloaded,
    /// The chat, or the message to go on from, is no more.
    ChatGone,
    /// The chat is still busy with an earlier turn.
    ChatBusy,
    /// The site's content inspection refused the text.
    ContentFilter,
    /// The site does not know the model.
    ModelNotFound,
    /// The site refuses the request as it is.
    UpstreamRejected,
    /// The site answered with nothing.
    UpstreamEmpty,
    /// The site answered with something that is not its protocol.
    UpstreamInvalid,
    /// The answer stopped before its end.
    UpstreamTruncated,
    /// The site reports a fault of its own, or cannot be reached.
    UpstreamError,
    /// The site took too long to connect or to go on.
    UpstreamTimeout,
}

impl ErrorKind {
    /// The stable word for this kind, in every dialect, in log lines and in metrics.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Configuration => "configuration_error",
            Self::StoreFailed => "store_unavailable",
            Self::MissingApiKey => "missing_api_key",
            Self::InvalidApiKey => "invalid_api_key",
            Self::AdminDisabled => "admin_disabled",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::InvalidJson => "invalid_json",
            Self::InvalidRequest => "invalid_request",
            Self::RequestTooLarge => "request_too_large",
            Self::UnsupportedEncoding => "unsupported_encoding",
            Self::UnsupportedFileType => "unsupported_file_type",
            Self::SessionMissing => "qwen_session_missing",
            Self::SessionExpired => "qwen_session_expired",
            Self::Challenge => "qwen_challenge",
            Self::QuotaExceeded => "quota_exceeded",
            Self::RateLimited => "rate_limit_exceeded",
            Self::Overloaded => "overloaded",
            Self::ChatGone => "upstream_error",
            Self::ChatBusy => "rate_limit_exceeded",
            Self::ContentFilter => "content_filter",
            Self::ModelNotFound => "model_not_found",
            Self::UpstreamRejected => "upstream_rejected",
            Self::UpstreamEmpty => "upstream_empty",
            Self::UpstreamInvalid => "upstream_invalid",
            Self::UpstreamTruncated => "upstream_truncated",
            Self::UpstreamError => "upstream_error",
            Self::UpstreamTimeout => "upstream_timeout",
        }
    }
}

/// An error with a message that says what to do next.
///
/// The message goes to the client; `detail` and `source` go to the log only and never hold a secret.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    param: Option<String>,
    detail: Option<String>,
    link: Option<String>,
    retry_after: Option<Duration>,
    retryable: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The program's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error that a client may read as `message`.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            param: None,
            detail: None,
            link: None,
            retry_after: None,
            retryable: false,
            source: None,
        }))
    }

    /// A request field named `param` is wrong.
    pub fn invalid(param: impl Into<String>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidRequest, message).with_param(param)
    }

    /// A body is not JSON.
    pub fn invalid_json(problem: impl fmt::Display) -> Self {
        Self::new(ErrorKind::InvalidJson, format!("The request body is not valid JSON: {problem}."))
    }

    /// The request cannot do without the database, which does not answer; `detail` is for the log.
    pub fn store_unavailable(detail: impl fmt::Display) -> Self {
        Self::new(
            ErrorKind::StoreFailed,
            "The server's store does not answer; GET /health tells more. Try again later.",
        )
        .with_detail(detail.to_string())
    }

    /// A person replaced the session while a request for the account of the old one was on its way.
    #[must_use]
    pub fn session_replaced() -> Self {
        Self::new(
            ErrorKind::UpstreamError,
            "The Qwen session was replaced by another account's while this request ran. Send the request again.",
        )
    }

    /// Names the request field that is wrong.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.0.param = Some(param.into());
        self
    }

    /// What the log may know beyond the message.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// A page where the user can mend the cause (`error.verify_url`).
    #[must_use]
    pub fn with_link(mut self, link: impl Into<String>) -> Self {
        self.0.link = Some(link.into());
        self
    }

    /// How long a client should wait.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Marks a fault that one silent repeat may cure.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.0.retryable = true;
        self
    }

    /// Keeps the cause for the log.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What the client may read.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The field that is wrong.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        self.0.param.as_deref()
    }

    /// What only the log may read.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// Where the user can mend the cause.
    #[must_use]
    pub fn link(&self) -> Option<&str> {
        self.0.link.as_deref()
    }

    /// How long a client should wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether one silent repeat may cure it.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// Whether an SDK should be told not to repeat the request: only a person can mend the cause.
    #[must_use]
    pub fn needs_a_person(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::Configuration | ErrorKind::SessionMissing | ErrorKind::SessionExpired | ErrorKind::Challenge
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind().code(), self.message())?;
        if let Some(detail) = self.detail() {
            write!(f, " ({detail})")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
