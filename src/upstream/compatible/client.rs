//! The way to the server: one request, and its answer as a stream.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderValue, Method, header};
use url::Url;

use super::{ask::WholeAsk, body, decoder::Decoder, errors::Server};
use crate::{
    config::Fallback,
    error::{Error, Result},
    platform::{self, ByteStream, FetchError, FetchResponse, Payload, telemetry::UpstreamKind},
    upstream::Host,
};

/// The largest refusal that is read, in bytes.
const MAX_REFUSAL: usize = 256 * 1024;
/// The entry of the table of models that stands for all others.
const ALL_OTHERS: &str = "*";

/// The server, as the configuration describes it.
#[derive(Debug)]
pub struct Client {
    address: String,
    server: Arc<Server>,
    models: BTreeMap<String, String>,
    idle: Duration,
}

/// A model as a client names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelName<'a> {
    /// The server's own, behind `api:`.
    Own(&'a str),
    /// One of chat.qwen.ai, after aliases and suffixes.
    OfSite(&'a str),
}

impl Client {
    /// The server that `config` names, which may be silent for `idle`.
    #[must_use]
    pub fn new(config: &Fallback, idle: Duration) -> Self {
        let Fallback { base_url, api_key, models, after: _ } = config;
        let host = Url::parse(base_url).ok().and_then(|url| {
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            Some(format!("{}{port}", url.host_str()?))
        });
        Self {
            address: format!("{base_url}/chat/completions"),
            server: Arc::new(Server { host: host.unwrap_or_default(), key: api_key.clone() }),
            models: models.clone(),
            idle,
        }
    }

    /// The server's name of a model.
    #[must_use]
    pub fn model<'a>(&'a self, name: ModelName<'a>) -> &'a str {
        // As the site's names are read: without regard to case.
        let found = |name: &str| {
            let entry = self.models.iter().find(|(ours, _)| ours.eq_ignore_ascii_case(name));
            entry.map(|(_, theirs)| theirs.as_str())
        };
        match name {
            ModelName::Own(name) => found(name).unwrap_or(name),
            ModelName::OfSite(name) => found(name).or_else(|| found(ALL_OTHERS)).unwrap_or(name),
        }
    }

    /// A decoder for one answer.
    #[must_use]
    pub fn decoder(&self) -> Decoder {
        Decoder::new(Arc::clone(&self.server))
    }

    /// Asks for an answer and returns its bytes, for a [`Decoder`].
    ///
    /// # Errors
    /// The server refuses the request, cannot be reached, or sends nothing.
    pub async fn ask(&self, platform: &impl Host, ask: &WholeAsk<'_>) -> Result<ByteStream> {
        let mut request = http::Request::new(Payload::from(Bytes::from(body::json(ask))));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.address.parse().map_err(|_| self.server.wrong_address())?;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream, application/json"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("qwen-edge/", env!("CARGO_PKG_VERSION"))));
        if let Some(key) = &self.server.key {
            let value = HeaderValue::from_str(&format!("Bearer {}", key.expose()));
            let mut value = value.map_err(|_| self.server.wrong_address())?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let asked = platform::ask(platform, UpstreamKind::Fallback, platform.fetch(request));
        let answer = match platform::timeout(platform, self.idle, asked).await {
            Some(Ok(answer)) => answer,
            Some(Err(error)) => return Err(self.server.unreachable(&error)),
            None => return Err(self.idle_error()),
        };
        if answer.status().is_success() {
            return Ok(answer.into_body());
        }
        Err(self.refusal(platform, answer).await)
    }

    async fn refusal(&self, platform: &impl Host, answer: FetchResponse) -> Error {
        let (head, mut pieces) = answer.into_parts();
        let mut body = Vec::new();
        let read = async {
            while let Some(Ok(piece)) = pieces.next().await {
                body.extend_from_slice(piece.get(..MAX_REFUSAL.saturating_sub(body.len())).unwrap_or(&piece));
                if body.len() >= MAX_REFUSAL {
                    break;
                }
            }
        };
        // Its status says enough where its words do not come.
        platform::timeout(platform, self.idle, read).await;
        self.server.refusal(head.status, &head.headers, &body)
    }

    /// The error of a silent server.
    #[must_use]
    pub fn idle_error(&self) -> Error {
        self.server.silent(self.idle)
    }

    /// The error of a connection that broke amid an answer; `has_text`: after some of its text.
    #[must_use]
    pub fn broken_error(&self, error: &FetchError, has_text: bool) -> Error {
        if has_text {
            self.server.truncated().with_detail(error.detail.clone())
        } else {
            self.server.unreachable(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FallbackAfter;

    #[test]
    fn names_of_models_are_translated() {
        let models = [("qwen3-max", "paid-max"), ("*", "paid-other")];
        let models = models.map(|(ours, theirs)| (ours.to_owned(), theirs.to_owned())).into();
        let base_url = "https://api.test:8443/v1".to_owned();
        let config = Fallback { base_url, api_key: None, models, after: FallbackAfter::Never };
        let with = Client::new(&config, Duration::from_secs(1));
        let without = Client::new(&Fallback { models: BTreeMap::new(), ..config }, Duration::from_secs(1));
        for (name, expected, plain) in [
            (ModelName::OfSite("qwen3-max"), "paid-max", "qwen3-max"),
            (ModelName::OfSite("QWEN3-MAX"), "paid-max", "QWEN3-MAX"),
            (ModelName::OfSite("qwen3-coder"), "paid-other", "qwen3-coder"),
            (ModelName::Own("qwen3-max"), "paid-max", "qwen3-max"),
            (ModelName::Own("gpt-x"), "gpt-x", "gpt-x"),
            (ModelName::Own("*x"), "*x", "*x"),
        ] {
            assert_eq!((with.model(name), without.model(name)), (expected, plain), "{name:?}");
        }
        assert_eq!(with.idle_error().message(), "api.test:8443: sent nothing for 1 s. Send the request again.");
    }
}
