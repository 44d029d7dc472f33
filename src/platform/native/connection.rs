//! One connection of a client: HTTP/1.1 or HTTP/2 by its first bytes, with a timeout for every wait.

use std::{convert::Infallible, pin::pin, time::Duration};

use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    sync::watch,
    time::timeout,
};

use super::{
    patient::WriteTimeout,
    request::{Headers, RequestBody},
    streams::{StallTrackedBody, Streams},
};
use crate::platform::{Body, Request};

/// Limits of a request head, in bytes and in header fields. Browsers send at most about 20 KiB of cookies.
const MAX_HEAD: usize = 64 * 1024;
const MAX_FIELDS: usize = 100;
/// Limits of an HTTP/2 connection: concurrent streams, and unsent bytes per stream.
const MAX_STREAMS: u32 = 100;
const MAX_UNSENT: usize = 32 * 1024;
/// An HTTP/2 connection begins with these bytes. No method of HTTP/1.1 does.
const HTTP2: &[u8] = b"PRI";

/// How long a client may take for each step.
#[derive(Clone, Copy)]
pub(super) struct Timeouts {
    /// Until its first byte, and for each request head.
    pub(super) head: Duration,
    /// Between the bytes of [`HTTP2`].
    pub(super) preface: Duration,
    /// Until it reads more of what was sent.
    pub(super) unread: Duration,
    /// Until a request on an HTTP/2 connection without open streams. A connection that nobody reads ends after `unread` and
    /// `idle` together, which is within a minute.
    pub(super) idle: Duration,
}

/// The timeouts of the native server.
pub(super) const TIMEOUTS: Timeouts = Timeouts {
    head: Duration::from_secs(30),
    preface: Duration::from_secs(2),
    unread: Duration::from_secs(30),
    idle: Duration::from_secs(25),
};

/// What hyper calls for each request.
trait HttpService:
    Service<
        hyper::Request<Incoming>,
        Response = http::Response<StallTrackedBody>,
        Error = Infallible,
        Future: Send + 'static,
    >
{
}

impl<S> HttpService for S where
    S: Service<
            hyper::Request<Incoming>,
            Response = http::Response<StallTrackedBody>,
            Error = Infallible,
            Future: Send + 'static,
        >
{
}

/// Serves a connection until it ends. After a change of `stop`, or when its sender is dropped, serves only the open requests.
pub(super) async fn serve<S, H, F>(mut stream: S, handler: H, timeouts: Timeouts, mut stop: watch::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request) -> F + Send + 'static,
    F: Future<Output = http::Response<Body>> + Send + 'static,
{
    let first = tokio::select! {
        first = first_bytes(&mut stream, timeouts) => first,
        _ = stop.changed() => None,
    };
    let Some(first) = first else { return };
    let is_http2 = first == HTTP2;
    let stream = TokioIo::new(WriteTimeout::new(stream, first, timeouts.unread));
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (head, body) = request.into_parts();
        let request = Request {
            method: head.method,
            path: head.uri.path().to_owned(),
            query: head.uri.query().map(str::to_owned),
            authority: head.uri.authority().map(|authority| authority.as_str().to_owned()),
            headers: Headers::copied(head.headers),
            body: RequestBody::new(body),
        };
        // Boxed, because hyper reserves memory for one service future in each connection, idle ones included.
        let answer = Box::pin(handler(request));
        async move { Ok::<_, Infallible>(answer.await.map(StallTrackedBody::from)) }
    });
    let ended = if is_http2 {
        // Boxed, because it is larger than the other future, and one connection serves many requests.
        Box::pin(serve_http2(stream, service, timeouts, stop)).await
    } else {
        serve_http1(stream, service, timeouts, stop).await
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Reads the bytes that distinguish HTTP/2 from HTTP/1.1. Returns `None` if the connection ends or times out before.
async fn first_bytes(stream: &mut (impl AsyncRead + Unpin), timeouts: Timeouts) -> Option<Vec<u8>> {
    // hyper's timeouts start with the first byte, so the wait for that byte is limited here.
    let mut limit = timeouts.head;
    let mut first = Vec::with_capacity(HTTP2.len());
    loop {
        let more = HTTP2.len().saturating_sub(first.len());
        let length = timeout(limit, stream.take(more as u64).read_buf(&mut first)).await.ok()?.ok()?;
        if length == 0 {
            return None;
        }
        if first.len() == HTTP2.len() || !HTTP2.starts_with(&first) {
            return Some(first);
        }
        limit = timeouts.preface;
    }
}

type Io<S> = TokioIo<WriteTimeout<S>>;

async fn serve_http1<S>(
    stream: Io<S>,
    service: impl HttpService,
    timeouts: Timeouts,
    mut stop: watch::Receiver<()>,
) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.head)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_FIELDS)
        .half_close(false)
        // A delta in a chunk is three short buffers. One copied buffer is sent faster than a vectored write.
        .writev(false)
        .serve_connection(stream, service);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = &mut connection => return ended,
        _ = stop.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}

async fn serve_http2<S>(
    stream: Io<S>,
    service: impl HttpService,
    timeouts: Timeouts,
    mut stop: watch::Receiver<()>,
) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let streams = Streams::new(timeouts.unread);
    let connection = http2::Builder::new(streams.clone())
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(timeouts.head))
        .max_header_list_size(MAX_HEAD as u32)
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buf_size(MAX_UNSENT)
        .serve_connection(stream, service);
    let mut connection = pin!(connection);
    let is_idle = tokio::select! {
        ended = &mut connection => return ended,
        () = streams.idle(timeouts.idle) => true,
        _ = stop.changed() => false,
    };
    connection.as_mut().graceful_shutdown();
    if !is_idle {
        return connection.await;
    }
    // The GOAWAY may have crossed with a request. A client that does not read it must not keep the connection open.
    tokio::select! {
        ended = &mut connection => ended,
        () = async { tokio::time::sleep(timeouts.unread).await; streams.idle(Duration::ZERO).await } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::{StreamExt as _, stream};
    use http::Response;
    use http_body_util::{BodyExt as _, Empty};
    use hyper::client::conn::http2::{Builder, SendRequest};
    use hyper_util::rt::TokioExecutor;
    use tokio::{
        io::{AsyncWriteExt as _, DuplexStream, duplex},
        task::JoinHandle,
        time::{Instant, sleep},
    };

    use super::*;

    /// Longer than every timeout.
    const LATER: Duration = Duration::from_secs(600);

    /// Answers `/large` with 1 MiB, `/slow` with a word after ten minutes, and other paths with a word.
    async fn answer(request: Request) -> Response<Body> {
        let word = Bytes::from_static(b"word");
        Response::new(match request.path.as_str() {
            "/large" => Body::Full(vec![b'x'; 1 << 20].into()),
            "/slow" => Body::Stream(stream::once(sleep(LATER)).map(move |()| Ok(word.clone())).boxed()),
            _ => Body::Full(word),
        })
    }

    struct Served {
        client: DuplexStream,
        server: JoinHandle<()>,
        stop: watch::Sender<()>,
        began: Instant,
    }

    /// Connects through a buffer of 4 KiB.
    fn connect() -> Served {
        let (client, server) = duplex(4096);
        let (stop, stopped) = watch::channel(());
        let server = tokio::spawn(serve(server, answer, TIMEOUTS, stopped));
        Served { client, server, stop, began: Instant::now() }
    }

    /// Returns after how many seconds the server closes a connection on which the client sent only `begins`.
    async fn end_after(begins: &[u8]) -> u64 {
        let Served { mut client, server, stop: _stop, began } = connect();
        client.write_all(begins).await.unwrap();
        server.await.unwrap();
        began.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_progress_times_out() {
        for (begins, seconds) in [
            ("", 30),
            ("P", 2),
            ("PR", 2),
            ("PUT / HTTP/1.1\r\nhost", 30),
            ("G", 30),
            // An HTTP/2 connection that never sends its settings.
            ("PRI", 55),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0", 50),
            // Kept alive after its answer.
            ("GET / HTTP/1.1\r\nhost: x\r\n\r\n", 30),
            ("GET / HTTP/1.1\r\nhost: x\r\n\r\nGET", 30),
            // The client does not read the answer.
            ("GET /large HTTP/1.1\r\nhost: x\r\n\r\n", 30),
        ] {
            assert_eq!(end_after(begins.as_bytes()).await, seconds, "{begins:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_connection_ends_at_once() {
        for begins in ["", "P", "PR"] {
            let Served { mut client, server, stop: _stop, began } = connect();
            client.write_all(begins.as_bytes()).await.unwrap();
            client.shutdown().await.unwrap();
            server.await.unwrap();
            assert_eq!(began.elapsed(), Duration::ZERO, "{begins:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_receives_the_whole_answer() {
        let Served { mut client, server, stop: _stop, .. } = connect();
        client.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut piece = [0; 4096];
        let mut length = 0;
        while let count @ 1.. = client.read(&mut piece).await.unwrap() {
            length += count;
            sleep(TIMEOUTS.unread - Duration::from_secs(1)).await;
        }
        assert!(length > 1 << 20, "{length}");
        server.await.unwrap();
    }

    async fn http2(client: DuplexStream, window: u32) -> (SendRequest<Empty<Bytes>>, JoinHandle<hyper::Result<()>>) {
        let mut builder = Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).initial_stream_window_size(window);
        let (sender, connection) = builder.handshake(TokioIo::new(client)).await.unwrap();
        (sender, tokio::spawn(connection))
    }

    fn get(path: &str) -> http::Request<Empty<Bytes>> {
        http::Request::get(format!("http://x{path}")).body(Empty::new()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_unread_stream_ends_without_the_others() {
        for (path, window) in [("/", 0), ("/large", 0), ("/large", 1), ("/large", 20_000)] {
            let Served { client, server, stop: _stop, began } = connect();
            let (mut sender, connection) = http2(client, window).await;
            let slow = sender.send_request(get("/slow")).await.unwrap();
            let unread = sender.send_request(get(path)).await.unwrap();
            while began.elapsed() < TIMEOUTS.unread {
                // Other streams of the connection are read meanwhile.
                let other = sender.send_request(get("/")).await.unwrap();
                sleep(Duration::from_secs(1)).await;
                drop(other);
            }
            sleep(Duration::from_secs(1)).await;
            assert!(unread.into_body().collect().await.is_err(), "{path} {window}");
            if window > 10 {
                assert_eq!(slow.into_body().collect().await.unwrap().to_bytes(), "word");
            } else {
                drop(slow);
            }
            // The client keeps the connection open and answers pings.
            server.await.unwrap();
            assert!(!sender.is_ready());
            connection.await.unwrap().unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_ends_with_its_last_request_after_the_signal() {
        let Served { client, server, stop, .. } = connect();
        let (mut sender, _connection) = http2(client, 1 << 16).await;
        let slow = sender.send_request(get("/slow")).await.unwrap();
        stop.send_replace(());
        assert_eq!(slow.into_body().collect().await.unwrap().to_bytes(), "word");
        server.await.unwrap();

        let Served { mut client, server, stop, .. } = connect();
        client.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        // The head of the answer has arrived.
        client.read_u8().await.unwrap();
        stop.send_replace(());
        let mut rest = String::new();
        client.read_to_string(&mut rest).await.unwrap();
        assert!(rest.ends_with("4\r\nword\r\n0\r\n\r\n"), "{rest}");
        server.await.unwrap();
    }
}
