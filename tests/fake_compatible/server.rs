//! The HTTP server and its routes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};
use serde_json::{Value, json};

use super::answer;
use super::check;
use super::refusals;
use super::{Asked, Shared};
use crate::fake_qwen::body::{NoResponse, Reply, StepBody};
use crate::fake_qwen::listener::{Listener, Running};
use crate::fake_qwen::log::RecordedRequest;
use crate::fake_qwen::server::MAX_BODY;

/// The models that it lists; it answers for any name but `no-such-model`.
const MODELS: [&str; 3] = ["second-large", "second-small", "second-thinking"];

pub(super) fn spawn(addr: SocketAddr, shared: Arc<Shared>) -> io::Result<(SocketAddr, Running)> {
    let listener = Listener::bind(addr, "fake-compatible", 1, || {})?;
    Ok((listener.addr, listener.serve(move |request| serve(Arc::clone(&shared), request))?))
}

async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<StepBody>, NoResponse> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, MAX_BODY).collect().await.map_err(|_| NoResponse)?.to_bytes();
    let outcome = shared.log.record(&parts, &body);
    let reply = route(&shared, &parts, &body, outcome.request());
    reply.begin(outcome).await
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
