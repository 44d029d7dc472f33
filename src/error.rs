//! The only error type of the program: a message for the client, a detail for the log, and whether a retry can help.

use std::{borrow::Cow, error::Error as StdError, fmt, time::Duration};

/// What went wrong. Each dialect maps a kind to its own status, type and code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(test, derive(strum::EnumIter))]
#[non_exhaustive]
pub enum ErrorKind {
    /// A variable of the configuration is missing or wrong.
    Configuration,
    /// The store does not answer, and the request cannot do without it.
    StoreFailed,
    /// The request has no API key.
    MissingApiKey,
    /// The API key is not one of this server.
    InvalidApiKey,
    /// Nobody may administer this server: `ADMIN_TOKEN` is missing or too short.
    AdminDisabled,
    /// A server without keys received a request from a foreign page, for a foreign host or through a proxy.
    OriginNotAllowed,
    /// The route, or the object that it names, does not exist.
    NotFound,
    /// The route is one of OpenAI's that this server does not offer.
    UnsupportedEndpoint,
    /// The route exists, but not with this method.
    MethodNotAllowed,
    /// The body is not JSON.
    InvalidJson,
    /// A field of the request is wrong.
    InvalidRequest,
    /// The request is larger than this server or the chat site accepts.
    RequestTooLarge,
    /// The `Content-Encoding` of the request body is not supported.
    UnsupportedEncoding,
    /// The file is of a type that the route does not accept.
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
    /// The server's memory for requests is used up.
    Overloaded,
    /// The chat, or the message to continue from, no longer exists.
    ChatGone,
    /// The chat is still busy with an earlier turn.
    ChatBusy,
    /// The site's content inspection refused the text.
    ContentFilter,
    /// The site does not know the model.
    ModelNotFound,
    /// The site refuses the request.
    UpstreamRejected,
    /// The site returned an empty answer.
    UpstreamEmpty,
    /// The site returned something that is not its protocol.
    UpstreamInvalid,
    /// The response that the request goes on from is not known.
    PreviousResponseNotFound,
    /// The second upstream does not accept this server's key, or does not allow what it asks for.
    FallbackRefused,
    /// The model did not call the tool that the request asks for.
    ToolChoiceUnsatisfied,
    /// The answer is not the JSON that the request asks for.
    InvalidStructuredOutput,
    /// The answer ended too early.
    UpstreamTruncated,
    /// The site reports an internal error, or cannot be reached.
    UpstreamError,
    /// The site took too long to connect, or was silent for too long.
    UpstreamTimeout,
    /// The site has no room for another picture at the moment.
    UpstreamOverloaded,
    /// The field has a value that OpenAI has and the site has not.
    UnsupportedValue,
    /// The site's content inspection refused a picture.
    PictureRefused,
    /// The site does not hand out a picture or video that it made.
    MediaUnavailable,
    /// There is no such video job.
    VideoNotFound,
    /// The video is still being made.
    VideoNotReady,
    /// The video could not be made.
    #[cfg_attr(test, strum(disabled))]
    VideoFailed(VideoFault),
}

/// Why a video could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VideoFault {
    /// The site reports no other reason.
    Failed,
    /// The site's content inspection refused it.
    Refused,
    /// A quota of the account is used up.
    Quota,
    /// The site does not know the task any more.
    TaskLost,
    /// It took too long.
    Timeout,
}

impl VideoFault {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Failed, Self::Refused, Self::Quota, Self::TaskLost, Self::Timeout];

    /// Returns the stable code of this fault.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Failed => "video_failed",
            Self::Refused => "content_filter",
            Self::Quota => "quota_exceeded",
            Self::TaskLost => "task_lost",
            Self::Timeout => "upstream_timeout",
        }
    }
}

impl ErrorKind {
    /// Returns the stable code of this kind. All dialects, log lines and metrics use it.
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
            Self::UnsupportedEndpoint => "unsupported_endpoint",
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
            Self::PreviousResponseNotFound => "previous_response_not_found",
            Self::FallbackRefused => "fallback_refused",
            Self::ToolChoiceUnsatisfied => "tool_choice_unsatisfied",
            Self::InvalidStructuredOutput => "invalid_structured_output",
            Self::UpstreamTruncated => "upstream_truncated",
            Self::UpstreamError => "upstream_error",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamOverloaded => "upstream_overloaded",
            Self::UnsupportedValue => "unsupported_value",
            Self::PictureRefused => "content_filter",
            Self::MediaUnavailable => "media_unavailable",
            Self::VideoNotFound => "video_not_found",
            Self::VideoNotReady => "video_not_ready",
            Self::VideoFailed(fault) => fault.code(),
        }
    }

    /// Whether it is chat.qwen.ai that refuses or fails, unless the error says otherwise.
    const fn is_of_site(self) -> bool {
        matches!(
            self,
            Self::SessionMissing
                | Self::SessionExpired
                | Self::Challenge
                | Self::QuotaExceeded
                | Self::RateLimited
                | Self::ChatGone
                | Self::ChatBusy
                | Self::ContentFilter
                | Self::ModelNotFound
                | Self::UpstreamRejected
                | Self::UpstreamEmpty
                | Self::UpstreamInvalid
                | Self::ToolChoiceUnsatisfied
                | Self::InvalidStructuredOutput
                | Self::UpstreamTruncated
                | Self::UpstreamError
                | Self::UpstreamTimeout
                | Self::UpstreamOverloaded
                | Self::PictureRefused
                | Self::MediaUnavailable
                | Self::VideoFailed(_)
        )
    }
}

/// An error whose message says what to do next.
///
/// The client reads the message. Only the log has `detail` and `source`. None of them contains a secret.
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
    is_final: bool,
    /// Who refused the request; `None` where the kind says so.
    origin: Option<Origin>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Who refused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    ThisServer,
    Fallback,
}

/// A result with the program's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Returns an error with a message for the client.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            param: None,
            detail: None,
            link: None,
            retry_after: None,
            retryable: false,
            is_final: false,
            origin: None,
            source: None,
        }))
    }

    /// The request field `param` is wrong.
    pub fn invalid(param: impl Into<String>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidRequest, message).with_param(param)
    }

    /// The request body is not JSON.
    pub fn invalid_json(problem: impl fmt::Display) -> Self {
        Self::new(ErrorKind::InvalidJson, format!("The request body is not valid JSON: {problem}."))
    }

    /// The request needs the database, which does not answer. `detail` is for the log.
    pub fn store_unavailable(detail: impl fmt::Display) -> Self {
        Self::new(
            ErrorKind::StoreFailed,
            "The server's store does not answer; GET /health shows its state. Try again later.",
        )
        .with_detail(detail.to_string())
    }

    /// The Qwen session has ended and cannot be renewed.
    #[must_use]
    pub fn session_expired() -> Self {
        Self::new(
            ErrorKind::SessionExpired,
            "The Qwen session has ended. Sign in at chat.qwen.ai, copy the cookies again and give them to this server: PUT /admin/session, or set QWEN_COOKIES.",
        )
    }

    /// The session was replaced by another account's during a request for the old account.
    #[must_use]
    pub fn session_replaced() -> Self {
        Self::new(
            ErrorKind::UpstreamError,
            "The Qwen session was replaced by another account's while this request ran. Send the request again.",
        )
    }

    /// The model called a tool in a way that cannot be read.
    #[must_use]
    pub fn unreadable_call() -> Self {
        Self::new(
            ErrorKind::UpstreamInvalid,
            "The model called a tool in a form that cannot be read. Send the request again.",
        )
        .retryable()
    }

    /// The answer is not the JSON that the request asks for: the first fault.
    #[must_use]
    pub fn invalid_structured_output(fault: &str) -> Self {
        let message = format!(
            "The model did not answer with the JSON that the request asks for: {fault}. Send the request again, or simplify the schema."
        );
        Self::new(ErrorKind::InvalidStructuredOutput, message).retryable()
    }

    /// The model did not call the tool that the request asks for: `named`, or any.
    #[must_use]
    pub fn tool_choice_unsatisfied(named: Option<&str>) -> Self {
        let what = named.map_or_else(|| "a tool that it may call".to_owned(), |name| format!("the tool '{name}'"));
        let message = format!(
            "The model did not call {what}, although 'tool_choice' asks for it. Send the request again, or set 'tool_choice' to 'auto'."
        );
        Self::new(ErrorKind::ToolChoiceUnsatisfied, message).retryable()
    }

    /// Sets the request field that is wrong.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.0.param = Some(param.into());
        self
    }

    /// Sets the text that only the log contains.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Sets the page where a person can remove the cause (`error.verify_url`).
    #[must_use]
    pub fn with_link(mut self, link: impl Into<String>) -> Self {
        self.0.link = Some(link.into());
        self
    }

    /// Sets how long a client should wait before it retries.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Marks an error after which this server may retry once, unnoticed by the client.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.0.retryable = true;
        self
    }

    /// Marks an error after which clients must not send the request again by themselves, since that would cost the person
    /// something.
    #[must_use]
    pub fn without_repeat(mut self) -> Self {
        self.0.is_final = true;
        self
    }

    /// Returns the same error of another kind, which clients know for this route.
    #[must_use]
    pub fn of_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Marks an error of a kind that upstreams report too, but that this server has decided.
    #[must_use]
    pub fn of_this_server(mut self) -> Self {
        self.0.origin = Some(Origin::ThisServer);
        self
    }

    /// Marks an error of the second upstream.
    #[must_use]
    pub fn of_fallback(mut self) -> Self {
        self.0.origin = Some(Origin::Fallback);
        self
    }

    /// Returns the same error, which says where the session of an account other than `default` is replaced.
    #[must_use]
    pub fn for_account(mut self, name: &str) -> Self {
        if matches!(self.0.kind, ErrorKind::SessionExpired | ErrorKind::Challenge) {
            let place = format!("PUT /admin/accounts/{name}/session");
            let message = self.0.message.replace(", or set QWEN_COOKIES", "");
            self.0.message = message.replace("PUT /admin/session", &place).into();
        }
        self
    }

    /// Sets the cause, for the log.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    /// Returns what went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the message for the client.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns the request field that is wrong.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        self.0.param.as_deref()
    }

    /// Returns the text that only the log contains.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// Returns the page where a person can remove the cause.
    #[must_use]
    pub fn link(&self) -> Option<&str> {
        self.0.link.as_deref()
    }

    /// Returns how long a client should wait before it retries.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether this server may retry once, unnoticed by the client.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// Whether clients must not send the request again by themselves.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.0.is_final
    }

    /// Returns the upstream that refused the request, as the header `x-upstream` names it; `None` where none did.
    #[must_use]
    pub fn upstream(&self) -> Option<&'static str> {
        match self.0.origin {
            Some(Origin::ThisServer) => None,
            Some(Origin::Fallback) => Some("fallback"),
            None => self.kind().is_of_site().then_some("qwen"),
        }
    }

    /// Whether only a person can remove the cause, so that SDKs must not retry.
    #[must_use]
    pub fn needs_a_person(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::Configuration
                | ErrorKind::SessionMissing
                | ErrorKind::SessionExpired
                | ErrorKind::Challenge
                | ErrorKind::FallbackRefused
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
