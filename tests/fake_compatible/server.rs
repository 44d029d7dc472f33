//! The HTTP server and its routes.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

use super::answer;
use super::body::{Reply, Start, StepBody};
use super::check;
use super::refusals;
use super::{Asked, Shared};
use crate::fake_qwen::log::RecordedRequest;

const MAX_BODY: usize = 64 << 20;

/// The models that it lists; it answers for any name but `no-such-model`.
const MODELS: [&str; 3] = ["second-large", "second-small", "second-thinking"];

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
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("fake-compatible")
        .enable_all()
        .build()?;
    let listener = {
        let _inside = runtime.enter();
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        socket.listen(1024)?
    };
    let addr = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new().name("fake-compatible".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let accept = async {
                loop {
                    match listener.accept().await {
                        Ok((stream, _)) => drop(tokio::spawn(connection(stream, Arc::clone(&shared)))),
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
        let shared = Arc::clone(&shared);
        async move { serve(&shared, request).await }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().half_close(false);
    // An error means that the client disconnected or that the fake cut the connection.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn serve(shared: &Arc<Shared>, request: Request<Incoming>) -> Result<Response<StepBody>, NoResponse> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, MAX_BODY).collect().await.map_err(|_| NoResponse)?.to_bytes();
    let outcome = shared.log.record(&parts, &body);
    let Reply { start, status, headers, steps } = route(shared, &parts, &body, outcome.request());
    match start {
        Start::After(delay) => tokio::time::sleep(delay).await,
        Start::Never => match std::future::pending::<Infallible>().await {},
        Start::Reset => {
            outcome.closed_by_fake();
            return Err(NoResponse);
        }
    }
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    outcome.answered();
    response.body(StepBody::new(steps, outcome)).map_err(|_| NoResponse)
}

fn route(shared: &Shared, parts: &Parts, body: &Bytes, request: Arc<RecordedRequest>) -> Reply {
    let path = parts.uri.path();
    match (&parts.method, path) {
        (&Method::POST, "/v1/chat/completions") => completion(shared, body, request),
        (&Method::GET, "/v1/models") => models(),
        (&Method::POST, "/fake/directive") => {
            let wish: Value = serde_json::from_slice(body).unwrap_or_default();
            shared.set_directive(
                wish["marker"].as_str().unwrap_or_default(),
                wish["directive"].as_str().unwrap_or_default(),
            );
            Reply::json(200, &json!({}))
        }
        // What reached it, for tests in another process: the bodies that contain a word.
        (&Method::GET, "/fake/asked") => {
            let word = parts.uri.query().and_then(|query| query.strip_prefix("word=")).unwrap_or_default();
            let asked = shared.asked.lock().unwrap();
            let bodies = asked.iter().map(|asked| asked.body.clone()).filter(|body| body.to_string().contains(word));
            Reply::json(200, &bodies.collect())
        }
        (&Method::GET, "/fake/violations") => {
            let violations = shared.violations.lock().unwrap();
            Reply::json(200, &violations.iter().map(|(problem, _)| problem.clone()).collect())
        }
        // Where a redirect leads.
        (_, "/elsewhere") => Reply::json(200, &json!({ "choices": [{ "message": { "content": "from elsewhere" } }] })),
        _ => refusals::not_found(path),
    }
}

fn models() -> Reply {
    let model = |id: &&str| json!({ "id": id, "object": "model", "created": 1_750_000_000, "owned_by": "second" });
    Reply::json(200, &json!({ "object": "list", "data": MODELS.iter().map(model).collect::<Value>() }))
}

fn completion(shared: &Shared, bytes: &Bytes, request: Arc<RecordedRequest>) -> Reply {
    let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let faults = check::faults(&request, &body);
    let mut problems = faults.clone();
    problems.extend(check::leaks(&request));
    shared.asked.lock().unwrap().push(Asked { request, body: body.clone() });
    shared.violations.lock().unwrap().extend(problems.into_iter().map(|problem| (problem, body.to_string())));
    if let Some(fault) = faults.first() {
        return refusals::of_violation(fault);
    }
    answer::answer(shared, &body)
}
