//! The way to the site: requests in the shape of the browser's, and answers read whole within bounds.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::{clock::Clock, ids, session::Credentials, wire};
use crate::{
    config::Config,
    error::{Error, ErrorKind, Result},
    platform::telemetry::UpstreamKind,
    platform::{self, FetchError, FetchErrorKind, FetchResponse, Payload},
    secret::Secret,
    upstream::Host,
};

/// The largest answer that is no stream and is read whole. A list of models has some 100 KiB.
pub(super) const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// Where the site is and what the user's browser sends.
#[derive(Debug)]
pub(super) struct HttpClient {
    base_url: String,
    auth_url: String,
    user_agent: String,
    web_version: String,
    extra_headers: Vec<(String, Secret)>,
    bearer: bool,
    idle: Duration,
    clock: Arc<Clock>,
}

/// What a request is for; decides the headers that differ.
#[derive(Clone, Copy)]
pub(super) enum Purpose<'a> {
    /// Reading or writing an account's data.
    Data,
    /// A turn of this chat.
    Turn { chat_id: &'a str },
}

/// What came of a request that must not be sent twice.
pub(super) enum Sent {
    /// The head of an answer.
    Answered(FetchResponse),
    /// No answer; whether the site has got the request is unknown.
    Lost(Error),
}

impl HttpClient {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            base_url: config.base_url.clone(),
            auth_url: config.auth_url.clone(),
            user_agent: config.user_agent.clone(),
            web_version: config.web_version.clone(),
            extra_headers: config.extra_headers.clone(),
            bearer: config.bearer,
            idle: config.upstream_idle,
            clock: Arc::default(),
        }
    }

    /// The host of the chat site.
    pub(super) fn host(&self) -> Option<String> {
        url::Url::parse(&self.base_url).ok()?.host_str().map(str::to_owned)
    }

    /// A request in the shape of the browser's, with the user's own cookies and headers and nothing made up.
    pub(super) fn request(
        &self,
        platform: &impl Host,
        credentials: Option<&Credentials>,
        method: Method,
        path: &str,
        purpose: Purpose<'_>,
        body: Bytes,
    ) -> Result<http::Request<Payload>> {
        let mut request = http::Request::new(Payload::from(body));
        *request.uri_mut() = address(&self.base_url, path, "QWEN_BASE_URL")?;
        let has_body = method != Method::GET;
        *request.method_mut() = method;
        let headers = request.headers_mut();
        let referer = match purpose {
            Purpose::Data => format!("{}/c/new-chat", self.base_url),
            Purpose::Turn { chat_id } => format!("{}/c/{chat_id}", self.base_url),
        };
        let is_turn = matches!(purpose, Purpose::Turn { .. });
        put(headers, "accept", if is_turn { "application/json" } else { "application/json, text/plain, */*" });
        put(headers, "accept-language", "en-US,en;q=0.9");
        if has_body {
            put(headers, "content-type", "application/json");
        }
        if is_turn {
            put(headers, "x-accel-buffering", "no");
        }
        self.put_browser(headers, platform, credentials);
        put(headers, "referer", &referer);
        put(headers, "sec-fetch-dest", "empty");
        put(headers, "sec-fetch-mode", "cors");
        put(headers, "sec-fetch-site", "same-origin");
        if let Some(credentials) = credentials {
            put_secret(headers, "cookie", credentials.cookie());
            if let Some(token) = credentials.token().filter(|_| self.bearer) {
                put_secret(headers, "authorization", &format!("Bearer {token}"));
            }
        }
        for (name, value) in &self.extra_headers {
            put_secret(headers, name, value.expose());
        }
        Ok(request)
    }

    /// The request for a new access token (docs/upstream-protocol.md, 1.4): to the site's other host, with the refresh token alone.
    pub(super) fn refresh_request(
        &self,
        platform: &impl Host,
        credentials: &Credentials,
    ) -> Result<http::Request<Payload>> {
        let mut request = http::Request::new(Payload::default());
        *request.uri_mut() = address(&self.auth_url, wire::REFRESH, "QWEN_AUTH_URL")?;
        let headers = request.headers_mut();
        put(headers, "accept", "application/json");
        self.put_browser(headers, platform, Some(credentials));
        put(headers, "referer", &format!("{}/", self.base_url));
        put(headers, "x-request-origin", &self.base_url);
        put_secret(headers, "cookie", &format!("refresh_token={}", credentials.refresh_token().unwrap_or_default()));
        Ok(request)
    }

    /// What the frontend sends with each request, whatever it is for.
    fn put_browser(&self, headers: &mut HeaderMap, platform: &impl Host, credentials: Option<&Credentials>) {
        let own = credentials.and_then(Credentials::user_agent);
        put(headers, "user-agent", own.unwrap_or(&self.user_agent));
        put(headers, "source", "web");
        put(headers, "version", &self.web_version);
        put(headers, "x-request-id", &ids::uuid(platform));
        put(headers, "timezone", &wire::timezone(self.clock.of_site(platform.now())));
        put(headers, "origin", &self.base_url);
    }

    /// Sends a request that must not be sent twice, and waits for the head of the answer, at most `limit`.
    pub(super) async fn send_once<P: Host>(
        &self,
        platform: &P,
        request: http::Request<Payload>,
        limit: Duration,
    ) -> Result<Sent> {
        let asked = platform::ask(platform, UpstreamKind::Turn, platform.fetch(request));
        match platform::timeout(platform, limit, asked).await {
            Some(Ok(answer)) => {
                self.clock.observe(answer.headers(), platform.now());
                Ok(Sent::Answered(answer))
            }
            Some(Err(error))
                if error.kind == FetchErrorKind::Broken
                    || (error.kind == FetchErrorKind::Connect && !P::KNOWS_WHAT_WAS_SENT) =>
            {
                Ok(Sent::Lost(unreachable_error(&error)))
            }
            Some(Err(error)) => Err(unreachable_error(&error)),
            None => Ok(Sent::Lost(Error::new(
                ErrorKind::UpstreamTimeout,
                format!("chat.qwen.ai sent nothing for {} s.", limit.as_secs()),
            ))),
        }
    }

    /// Sends a request and waits for the head of the answer.
    pub(super) async fn send(
        &self,
        platform: &impl Host,
        what: UpstreamKind,
        request: http::Request<Payload>,
    ) -> Result<FetchResponse> {
        let asked = platform::ask(platform, what, platform.fetch(request));
        match platform::timeout(platform, self.idle, asked).await {
            Some(Ok(answer)) => {
                self.clock.observe(answer.headers(), platform.now());
                Ok(answer)
            }
            Some(Err(error)) => Err(unreachable_error(&error)),
            None => Err(self.idle_error()),
        }
    }

    /// Reads an answer whole.
    pub(super) async fn whole(
        &self,
        platform: &impl Host,
        answer: FetchResponse,
    ) -> Result<(http::response::Parts, Bytes)> {
        let (head, mut pieces) = answer.into_parts();
        let mut whole = Vec::new();
        let read = async {
            while let Some(piece) = pieces.next().await {
                let piece = piece.map_err(|error| unreachable_error(&error))?;
                if whole.len().saturating_add(piece.len()) > MAX_ANSWER {
                    return Err(Error::new(
                        ErrorKind::UpstreamInvalid,
                        "chat.qwen.ai sent an answer that is too large to be real.",
                    ));
                }
                whole.extend_from_slice(&piece);
            }
            Ok(())
        };
        platform::timeout(platform, self.idle, read).await.unwrap_or_else(|| Err(self.idle_error()))?;
        Ok((head, whole.into()))
    }

    /// Sends a request and reads the answer whole.
    pub(super) async fn exchange(
        &self,
        platform: &impl Host,
        what: UpstreamKind,
        request: http::Request<Payload>,
    ) -> Result<(http::response::Parts, Bytes)> {
        let answer = self.send(platform, what, request).await?;
        self.whole(platform, answer).await
    }

    /// The site's clock.
    pub(super) fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// How long it may be silent.
    pub(super) fn idle(&self) -> Duration {
        self.idle
    }

    /// The error of a silent site.
    pub(super) fn idle_error(&self) -> Error {
        Error::new(
            ErrorKind::UpstreamTimeout,
            format!("chat.qwen.ai sent nothing for {} s. Send the request again.", self.idle.as_secs()),
        )
    }
}

/// The error of a connection that did not come about or broke.
#[must_use]
pub fn unreachable_error(error: &FetchError) -> Error {
    match error.kind {
        FetchErrorKind::Timeout => Error::new(
            ErrorKind::UpstreamTimeout,
            "chat.qwen.ai did not take the connection in time. Send the request again.",
        ),
        FetchErrorKind::Cancelled => Error::new(ErrorKind::UpstreamError, "The client left before the answer."),
        FetchErrorKind::Connect | FetchErrorKind::Forbidden => Error::new(
            ErrorKind::UpstreamError,
            "chat.qwen.ai cannot be reached. Look at this server's connection (QWEN_BASE_URL).",
        )
        .retryable(),
        FetchErrorKind::Broken | FetchErrorKind::Undecodable => {
            Error::new(ErrorKind::UpstreamError, "The connection to chat.qwen.ai broke. Send the request again.")
                .retryable()
        }
    }
    .with_detail(error.detail.clone())
}

/// The error of a connection that broke amid an answer; `has_text`: after some of its text.
#[must_use]
pub fn broken_error(error: &FetchError, has_text: bool) -> Error {
    if !has_text {
        return unreachable_error(error);
    }
    let message = "The connection to chat.qwen.ai broke before the end of the answer. Send the request again.";
    Error::new(ErrorKind::UpstreamTruncated, message).with_detail(error.detail.clone()).retryable()
}

fn address(base: &str, path: &str, variable: &'static str) -> Result<http::Uri> {
    format!("{base}{path}").parse().map_err(|_| {
        Error::new(
            ErrorKind::Configuration,
            format!("{variable} does not make a valid address together with the path {path}."),
        )
    })
}

fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    put_value(headers, name, HeaderValue::from_str(value).ok());
}

fn put_secret(headers: &mut HeaderMap, name: &str, value: &str) {
    let value = HeaderValue::from_str(value).ok().map(|mut value| {
        value.set_sensitive(true);
        value
    });
    put_value(headers, name, value);
}

fn put_value(headers: &mut HeaderMap, name: &str, value: Option<HeaderValue>) {
    // The configuration has checked what comes from the user; the rest is ours.
    if let (Ok(name), Some(value)) = (HeaderName::from_bytes(name.as_bytes()), value) {
        headers.insert(name, value);
    }
}
