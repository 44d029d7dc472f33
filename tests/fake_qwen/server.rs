//! The HTTP server: accepts connections and passes requests to [`super::routes`] or [`super::storage`].

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

use super::Shared;
use super::accounts;
use super::body::{Reply, Start, StepBody};
use super::routes::{self, Call};
use super::storage::{self, Disconnect};

const MAX_BODY: usize = 64 << 20;

/// Closes the connection without a response.
#[derive(Debug)]
struct NoResponse;

impl fmt::Display for NoResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no response to this request")
    }
}

impl std::error::Error for NoResponse {}

pub(super) fn spawn(
    addr: SocketAddr,
    shared: Arc<Shared>,
) -> io::Result<(SocketAddr, oneshot::Sender<()>, JoinHandle<()>)> {
    let clock_skew = Arc::clone(&shared.clock_skew_seconds);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("fake-qwen")
        .on_thread_start(move || accounts::set_thread_clock(Arc::clone(&clock_skew)))
        .enable_all()
        .build()?;
    let listener = {
        let _inside = runtime.enter();
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        socket.listen(4096)?
    };
    let addr = listener.local_addr()?;
    shared.addr.get_or_init(|| addr);
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new().name("fake-qwen".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let accept = async {
                loop {
                    match listener.accept().await {
                        Ok((stream, _)) => drop(tokio::spawn(connection(stream, shared.clone()))),
                        Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                    }
                }
            };
            tokio::select! {
                _ = stopped => {}
                never = accept => match never {},
            }
        });
        runtime.shutdown_timeout(Duration::from_secs(1));
    })?;
    Ok((addr, stop, thread))
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { serve(&shared, request).await }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().half_close(false);
    builder.http2().max_concurrent_streams(10_000);
    // An error means that the client disconnected or that the fake cut the connection.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn serve(shared: &Arc<Shared>, request: Request<Incoming>) -> Result<Response<StepBody>, NoResponse> {
    let (parts, body) = request.into_parts();
    let (outcome, reply) = match storage::target(shared, &parts) {
        Some(target) => {
            let outcome = shared.log.record(&parts, &[]);
            let reply = match storage::answer_oss(shared, &parts, target, body).await {
                Ok(reply) => reply,
                Err(Disconnect::ByFake) => Reply::reset(),
                Err(Disconnect::ByPeer) => return Err(NoResponse),
            };
            (outcome, reply)
        }
        None => {
            let body = Limited::new(body, MAX_BODY).collect().await.map_err(|_| NoResponse)?.to_bytes();
            (shared.log.record(&parts, &body), routes::answer(shared, &Call::new(parts, body)))
        }
    };
    let Reply { start, status, headers, steps, sized, turn } = reply;
    let delay = match start {
        Start::After(delay) => delay,
        Start::Never => match std::future::pending::<Infallible>().await {},
        Start::Reset => {
            outcome.closed_by_fake();
            return Err(NoResponse);
        }
    };
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    // hyper would send the time of this machine.
    response = response.header("date", httpdate::fmt_http_date(accounts::time()));
    outcome.answered();
    response.body(StepBody::new(steps, sized, turn, outcome)).map_err(|_| NoResponse)
}
