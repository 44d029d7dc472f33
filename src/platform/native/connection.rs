//! One connection of a client: HTTP/1.1 or HTTP/2 by its first bytes, with limits on all that can be waited for.

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
    patient::Patient,
    request::{Headers, RequestBody},
    streams::{Streams, Watched},
};
use crate::platform::{Body, Request};

/// The longest request head, and the most header fields in it. Browsers send some 20 KiB of cookies at most.
const MAX_HEAD: usize = 64 * 1024;
const MAX_FIELDS: usize = 100;
/// The most requests at once on a connection in HTTP/2, and how much of each answer waits there to be written.
const MAX_STREAMS: u32 = 100;
const MAX_UNWRITTEN: usize = 32 * 1024;
/// How a connection in HTTP/2 begins, and no method of HTTP/1.1.
const HTTP2: &[u8] = b"PRI";

/// How long a client may take.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// To send its first byte, and a request head.
    pub(super) head: Duration,
    /// To go on once it has begun like HTTP/2.
    pub(super) preface: Duration,
    /// To take anything of what it is sent.
    pub(super) unread: Duration,
    /// To send a request on a connection in HTTP/2 that has none open; with `unread` before it, an unread
    /// one ends within a minute.
    pub(super) idle: Duration,
}

/// What clients get.
pub(super) const LIMITS: Limits = Limits {
    head: Duration::from_secs(30),
    preface: Duration::from_secs(2),
    unread: Duration::from_secs(30),
    idle: Duration::from_secs(25),
};

/// Serves a connection until it ends, or the requests that are open when `stop` has news or is gone.
pub(super) async fn serve<S, H, F>(mut stream: S, handler: H, limits: Limits, mut stop: watch::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request) -> F + Send + 'static,
    F: Future<Output = http::Response<Body>> + Send + 'static,
{
    let first = tokio::select! {
        first = first_bytes(&mut stream, limits) => first,
        _ = stop.changed() => None,
    };
    let Some(first) = first else { return };
    let is_http2 = first == HTTP2;
    let stream = TokioIo::new(Patient::new(stream, first, limits.unread));
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
        // hyper keeps room for one of these with each connection, also an idle one.
        let answer = Box::pin(handler(request));
        async move { Ok::<_, Infallible>(answer.await.map(Watched::from)) }
    });
    let ended = if is_http2 {
        // Apart, since it is larger than the other, and one of it serves many requests.
        Box::pin(serve_http2(stream, service, limits, stop)).await
    } else {
        serve_http1(stream, service, limits, stop).await
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Reads until HTTP/2 is told apart from HTTP/1.1. `None`: the connection ended or timed out before.
async fn first_bytes(stream: &mut (impl AsyncRead + Unpin), limits: Limits) -> Option<Vec<u8>> {
    // The other limits begin with the first byte, so one that never comes is waited for here.
    let mut limit = limits.head;
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
        limit = limits.preface;
    }
}

type Io<S> = TokioIo<Patient<S>>;

async fn serve_http1<S, H>(
    stream: Io<S>,
    service: H,
    limits: Limits,
    mut stop: watch::Receiver<()>,
) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    H: Service<hyper::Request<Incoming>, Response = http::Response<Watched>, Error = Infallible>,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_FIELDS)
        .half_close(false)
        // A delta with its frame is three short pieces: copied together they leave sooner than as a list.
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

async fn serve_http2<S, H>(
    stream: Io<S>,
    service: H,
    limits: Limits,
    mut stop: watch::Receiver<()>,
) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    H: Service<hyper::Request<Incoming>, Response = http::Response<Watched>, Error = Infallible>,
    H::Future: Send + 'static,
{
    let streams = Streams::new(limits.unread);
    let connection = http2::Builder::new(streams.clone())
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(limits.head))
        .max_header_list_size(MAX_HEAD as u32)
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buf_size(MAX_UNWRITTEN)
        .serve_connection(stream, service);
    let mut connection = pin!(connection);
    let is_idle = tokio::select! {
        ended = &mut connection => return ended,
        () = streams.idle(limits.idle) => true,
        _ = stop.changed() => false,
    };
    connection.as_mut().graceful_shutdown();
    if !is_idle {
        return connection.await;
    }
    // It may have crossed with a request, and a client that does not take what was said must not keep it open.
    tokio::select! {
        ended = &mut connection => ended,
        () = async { tokio::time::sleep(limits.unread).await; streams.idle(Duration::ZERO).await } => Ok(()),
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

    /// A moment that is long beyond all limits.
    const LATER: Duration = Duration::from_secs(600);

    /// Answers `/large` with 1 MiB, `/slow` with a word after ten minutes, others with a word.
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

    /// A connection with little room on its way.
    fn connect() -> Served {
        let (client, server) = duplex(4096);
        let (stop, stopped) = watch::channel(());
        let server = tokio::spawn(serve(server, answer, LIMITS, stopped));
        Served { client, server, stop, began: Instant::now() }
    }

    /// How many seconds it takes until the server ends what was begun so.
    async fn end_after(begins: &[u8]) -> u64 {
        let Served { mut client, server, stop: _stop, began } = connect();
        client.write_all(begins).await.unwrap();
        server.await.unwrap();
        began.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_begun_and_not_gone_on_with_ends() {
        for (begins, seconds) in [
            ("", 30),
            ("P", 2),
            ("PR", 2),
            ("PUT / HTTP/1.1\r\nhost", 30),
            ("G", 30),
            // As idle as one without requests.
            ("PRI", 55),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0", 50),
            // Kept alive after its answer.
            ("GET / HTTP/1.1\r\nhost: x\r\n\r\n", 30),
            ("GET / HTTP/1.1\r\nhost: x\r\n\r\nGET", 30),
            // Its answer is not taken.
            ("GET /large HTTP/1.1\r\nhost: x\r\n\r\n", 30),
        ] {
            assert_eq!(end_after(begins.as_bytes()).await, seconds, "{begins:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_close_are_not_waited_for() {
        for begins in ["", "P", "PR"] {
            let Served { mut client, server, stop: _stop, began } = connect();
            client.write_all(begins.as_bytes()).await.unwrap();
            client.shutdown().await.unwrap();
            server.await.unwrap();
            assert_eq!(began.elapsed(), Duration::ZERO, "{begins:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_little_by_little_gets_all() {
        let Served { mut client, server, stop: _stop, .. } = connect();
        client.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut piece = [0; 4096];
        let mut length = 0;
        while let count @ 1.. = client.read(&mut piece).await.unwrap() {
            length += count;
            sleep(LIMITS.unread - Duration::from_secs(1)).await;
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
    async fn a_stream_that_is_not_taken_ends_alone() {
        for (path, window) in [("/", 0), ("/large", 0), ("/large", 1), ("/large", 20_000)] {
            let Served { client, server, stop: _stop, began } = connect();
            let (mut sender, connection) = http2(client, window).await;
            let slow = sender.send_request(get("/slow")).await.unwrap();
            let unread = sender.send_request(get(path)).await.unwrap();
            while began.elapsed() < LIMITS.unread {
                // Meanwhile the connection is used.
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
            // The client still has it open, and answers pings.
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
        // Its head is there.
        client.read_u8().await.unwrap();
        stop.send_replace(());
        let mut rest = String::new();
        client.read_to_string(&mut rest).await.unwrap();
        assert!(rest.ends_with("4\r\nword\r\n0\r\n\r\n"), "{rest}");
        server.await.unwrap();
    }
}
