//! The way out of the box: one pooled HTTP client with rustls.

use std::{error::Error as _, time::Duration};

use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use crate::platform::{FetchError, FetchErrorKind, FetchResponse};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Kept shorter than what servers usually allow, so that a pooled connection is rarely found closed.
const POOL_IDLE: Duration = Duration::from_secs(50);
/// The smallest probe interval that notices a dead h2 connection before `UPSTREAM_IDLE_SECONDS` does.
const H2_KEEP_ALIVE: Duration = Duration::from_secs(20);

/// An HTTP/1.1 and HTTP/2 client.
#[derive(Clone)]
pub(super) struct Fetcher(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Fetcher {
    pub(super) fn new() -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let tls = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(H2_KEEP_ALIVE)
            .http2_adaptive_window(true)
            .build(tls);
        Self(client)
    }

    pub(super) async fn fetch(&self, request: http::Request<Bytes>) -> Result<FetchResponse, FetchError> {
        let response = self.0.request(request.map(Full::new)).await.map_err(|error| FetchError {
            kind: if !error.is_connect() {
                FetchErrorKind::Broken
            } else if is_timeout(&error) {
                FetchErrorKind::Timeout
            } else {
                FetchErrorKind::Connect
            },
            detail: chain(&error),
        })?;
        Ok(response.map(|body| {
            body.into_data_stream()
                .map(|piece| piece.map_err(|error| FetchError { kind: FetchErrorKind::Broken, detail: chain(&error) }))
                .boxed()
        }))
    }
}

fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

fn is_timeout(error: &hyper_util::client::legacy::Error) -> bool {
    causes(error)
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|io| io.kind() == std::io::ErrorKind::TimedOut)
        || error.source().is_some_and(|source| source.to_string().contains("timed out"))
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
