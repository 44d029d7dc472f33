//! The listening side of the box: HTTP/1.1 and h2c, one task a connection, a drain at the end.

use std::{convert::Infallible, future::Future, pin::pin, sync::Arc, time::Duration};

use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use super::{
    request::{Headers, RequestBody},
    workers::Workers,
};
use crate::platform::{Body, Request};

/// How long a client may take to send its request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest request head, and the most header fields in it. Browsers send some 20 KiB of cookies at most.
const MAX_HEAD: usize = 64 * 1024;
const MAX_FIELDS: usize = 100;
/// The most connections at once; more wait in the system's queue. An idle one costs some 10 KiB.
const MAX_CONNECTIONS: usize = 10_000;
/// How a connection in HTTP/2 begins, and no method of HTTP/1.1.
const HTTP2: [u8; 3] = *b"PRI";
/// After so long it is looked again whether the rest of these bytes has come.
const FIRST_BYTES_PAUSE: Duration = Duration::from_millis(10);
/// How long open requests may go on after the signal to stop. Orchestrators usually kill after 30 s.
const DRAIN: Duration = Duration::from_secs(25);
/// After accept fails for want of file descriptors, a pause lets some close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `listener` on `workers` until `stop` resolves, then lets open requests end for at most 25 s, or until what `stop` gave resolves.
pub async fn serve<H, F, S>(listener: TcpListener, workers: &Workers, handler: H, stop: impl Future<Output = S>)
where
    S: Future<Output = ()>,
    H: Fn(Request) -> F + Clone + Send + 'static,
    F: Future<Output = http::Response<Body>> + Send + 'static,
{
    let mut http1 = http1::Builder::new();
    http1
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_FIELDS)
        .half_close(false)
        // A delta with its frame is three short pieces: copied together they leave sooner than as a list.
        .writev(false);
    let mut http2 = http2::Builder::new(TokioExecutor::new());
    http2
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(HEAD_TIMEOUT))
        .max_header_list_size(MAX_HEAD as u32)
        .max_concurrent_streams(1024);
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut stop = pin!(stop);
    let hurry = loop {
        let accept = async {
            // It is never closed, so a place is always given in the end.
            let place = Arc::clone(&room).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (stream, place) = tokio::select! {
            (accepted, place) = accept => match accepted {
                // Without the runtime that accepted it, for the one that will serve it.
                Ok((stream, _)) => match stream.into_std() {
                    Ok(stream) => (stream, place),
                    Err(_) => continue,
                },
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
                authority: head.uri.authority().map(|authority| authority.as_str().to_owned()),
                headers: Headers::copied(head.headers),
                body: RequestBody::new(body),
            };
            // hyper keeps room for one of these with each connection, also an idle one.
            let answer = Box::pin(handler(request));
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let (http1, http2, watcher) = (http1.clone(), http2.clone(), graceful.watcher());
        workers.spawn(async move {
            let _place = place;
            let Ok(stream) = TcpStream::from_std(stream) else { return };
            // The limits below begin with the first byte, so one that never comes is waited for here.
            let Ok(Some(is_http2)) = tokio::time::timeout(HEAD_TIMEOUT, begins_http2(&stream)).await else { return };
            let stream = TokioIo::new(stream);
            let ended = if is_http2 {
                // Apart, since it is larger than the other, and one of it serves many requests.
                Box::pin(watcher.watch(http2.serve_connection(stream, service))).await
            } else {
                watcher.watch(http1.serve_connection(stream, service)).await
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended early");
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

/// Whether a connection begins in HTTP/2; `None` when it ends before that can be told. Nothing is taken from it.
async fn begins_http2(stream: &TcpStream) -> Option<bool> {
    let mut begins = [0; HTTP2.len()];
    loop {
        let length = stream.peek(&mut begins).await.ok().filter(|length| *length > 0)?;
        let come = begins.get(..length)?;
        if length == HTTP2.len() || !HTTP2.starts_with(come) {
            return Some(come == HTTP2);
        }
        // What has come does not count as news, so there is nothing to wait for.
        tokio::time::sleep(FIRST_BYTES_PAUSE).await;
    }
}
