//! Sockets: accepts, reads a request, lets [`super::routes`] answer it.

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
use super::storage::{self, Cut};

const MAX_BODY: usize = 64 << 20;

/// The connection ends without an answer.
#[derive(Debug)]
struct Hangup;

impl fmt::Display for Hangup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no answer for this request")
    }
}

impl std::error::Error for Hangup {}

pub(super) fn spawn(
    addr: SocketAddr,
    shared: Arc<Shared>,
) -> io::Result<(SocketAddr, oneshot::Sender<()>, JoinHandle<()>)> {
    let ahead = Arc::clone(&shared.ahead);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("fake-qwen")
        .on_thread_start(move || accounts::keep_time_by(Arc::clone(&ahead)))
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
    // An error here is a peer that went away or a connection cut on purpose.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn serve(shared: &Arc<Shared>, request: Request<Incoming>) -> Result<Response<StepBody>, Hangup> {
    let (parts, body) = request.into_parts();
    let (ticket, reply) = match storage::place(shared, &parts) {
        Some(place) => {
            let ticket = shared.log.record(&parts, &[]);
            let reply = match storage::answer_oss(shared, &parts, place, body).await {
                Ok(reply) => reply,
                Err(Cut::ByFake) => Reply::reset(),
                Err(Cut::ByPeer) => return Err(Hangup),
            };
            (ticket, reply)
        }
        None => {
            let body = Limited::new(body, MAX_BODY).collect().await.map_err(|_| Hangup)?.to_bytes();
            (shared.log.record(&parts, &body), routes::answer(shared, &Call::new(parts, body)))
        }
    };
    let Reply { start, status, headers, steps, sized, turn } = reply;
    let wait = match start {
        Start::After(wait) => wait,
        Start::Never => match std::future::pending::<Infallible>().await {},
        Start::Reset => {
            ticket.closed_by_fake();
            return Err(Hangup);
        }
    };
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    // hyper would tell this machine's time.
    response = response.header("date", httpdate::fmt_http_date(accounts::time()));
    ticket.answered();
    response.body(StepBody::new(steps, sized, turn, ticket)).map_err(|_| Hangup)
}
