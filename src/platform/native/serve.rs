//! The listening side of the box: HTTP/1.1 and h2c, one task a connection, a drain at the end.

use std::{convert::Infallible, future::Future, pin::pin, time::Duration};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::net::TcpListener;

use super::request::{Headers, RequestBody};
use crate::platform::{Body, Request};

/// How long a client may take to send its request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long open requests may go on after the signal to stop. Orchestrators usually kill after 30 s.
const DRAIN: Duration = Duration::from_secs(25);
/// After accept fails for want of file descriptors, a pause lets some close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `listener` until `stop` resolves, then lets open requests end for at most 25 s, or until what `stop` gave resolves.
pub async fn serve<H, F, S>(listener: TcpListener, handler: H, stop: impl Future<Output = S>)
where
    S: Future<Output = ()>,
    H: Fn(Request) -> F + Clone + Send + 'static,
    F: Future<Output = http::Response<Body>> + Send + 'static,
{
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).half_close(false);
    server.http2().timer(TokioTimer::new()).keep_alive_interval(Some(HEAD_TIMEOUT)).max_concurrent_streams(1024);
    let graceful = GracefulShutdown::new();
    let mut stop = pin!(stop);
    let hurry = loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            hurry = &mut stop => break hurry,
        };
        // A delta is a small write that must leave at once.
        let _ = stream.set_nodelay(true);
        let handler = handler.clone();
        let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let (head, body) = request.into_parts();
            let request = Request {
                method: head.method,
                path: head.uri.path().to_owned(),
                query: head.uri.query().map(str::to_owned),
                headers: Headers(head.headers),
                body: RequestBody::new(body),
            };
            let answer = handler(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let (server, watcher) = (server.clone(), graceful.watcher());
        tokio::spawn(async move {
            // The limits below begin with the first byte, so one that never comes is waited for here.
            if !matches!(tokio::time::timeout(HEAD_TIMEOUT, stream.readable()).await, Ok(Ok(()))) {
                return;
            }
            let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
            if let Err(error) = watcher.watch(connection).await {
                tracing::debug!(error, "a connection ended early");
            }
        });
    };
    drop(listener);
    tokio::select! {
        () = graceful.shutdown() => tracing::info!("all connections have ended"),
        () = hurry => tracing::warn!("stopping at once"),
        () = tokio::time::sleep(DRAIN) => tracing::warn!("stopping with connections still open"),
    }
}
