//! Requests of the native server to other servers: a pooled HTTP client with rustls for each thread.

use std::{
    error::Error as _,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
    vec,
};

use bytes::Buf;
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{
            HttpConnector,
            dns::{GaiResolver, Name},
        },
    },
    rt::{TokioExecutor, TokioTimer},
};
use thread_local::ThreadLocal;
use tower_service::Service;

use super::gathered::Gathered;
use crate::platform::{FetchError, FetchErrorKind, FetchResponse, Payload, address};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Shorter than the idle timeout of most servers, so that a pooled connection is rarely closed already.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// Pings detect a dead HTTP/2 connection before `UPSTREAM_IDLE_SECONDS` does.
const H2_PING_INTERVAL: Duration = Duration::from_secs(20);

/// Limit of the bytes that are read ahead of a slow client, and of the head of an answer.
const MAX_BUFFER: usize = 64 * 1024;

type HttpClient = Client<HttpsConnector<HttpConnector<Resolver>>, Full<Payload>>;

/// An HTTP/1.1 and HTTP/2 client. Each thread has its own connections; [`super::workers`] says why.
pub(super) struct Fetcher {
    allow_private: bool,
    clients: ThreadLocal<HttpClient>,
}

impl Fetcher {
    /// Connects to public addresses, and with `allow_private` to private ones as well.
    pub(super) fn new(allow_private: bool) -> Self {
        Self { allow_private, clients: ThreadLocal::new() }
    }

    fn client(&self) -> HttpClient {
        let mut tcp =
            HttpConnector::new_with_resolver(Resolver { inner: GaiResolver::new(), allow_private: self.allow_private });
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let tls = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(tcp);
        Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .timer(TokioTimer::new())
            .http1_max_buf_size(MAX_BUFFER)
            .http2_keep_alive_interval(H2_PING_INTERVAL)
            .http2_adaptive_window(true)
            .build(tls)
    }

    pub(super) async fn fetch(&self, request: http::Request<Payload>) -> Result<FetchResponse, FetchError> {
        let client = self.clients.get_or(|| self.client());
        let response = client.request(request.map(Full::new)).await.map_err(|error| FetchError {
            kind: if !error.is_connect() {
                FetchErrorKind::Broken
            } else if causes(&error).any(<dyn std::error::Error>::is::<NotPublic>) {
                FetchErrorKind::Forbidden
            } else if is_timeout(&error) {
                FetchErrorKind::Timeout
            } else {
                FetchErrorKind::Connect
            },
            detail: chain(&error),
        })?;
        Ok(response.map(|body| {
            let chunks = body.into_data_stream();
            let chunks = chunks
                .map(|chunk| chunk.map_err(|error| FetchError { kind: FetchErrorKind::Broken, detail: chain(&error) }));
            Gathered::new(chunks.boxed()).boxed()
        }))
    }
}

/// Resolves names, and refuses private addresses unless they are allowed. The client connects to the returned addresses only,
/// so a name cannot resolve to another address between the check and the connection.
#[derive(Clone)]
struct Resolver {
    inner: GaiResolver,
    allow_private: bool,
}

/// A name resolves to an address that is not public.
#[derive(Debug)]
struct NotPublic;

impl std::fmt::Display for NotPublic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the name does not resolve to a public address")
    }
}

impl std::error::Error for NotPublic {}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (found, allow_private) = (self.inner.call(name), self.allow_private);
        Box::pin(async move {
            let found: Vec<SocketAddr> = found.await?.collect();
            // One private address is enough to refuse the name.
            if !allow_private && !found.iter().map(SocketAddr::ip).all(address::is_public) {
                return Err(NotPublic.into());
            }
            Ok(found.into_iter())
        })
    }
}

impl Buf for Payload {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        self.0.iter().find(|piece| !piece.is_empty()).map_or(&[], |piece| piece)
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(piece) = self.0.front_mut() {
            if count < piece.len() {
                piece.advance(count);
                return;
            }
            count = count.saturating_sub(piece.len());
            self.0.pop_front();
        }
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
