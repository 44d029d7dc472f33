//! Passes requests to [`super::routes`] or [`super::storage`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{DATE, HeaderValue};
use hyper::{Request, Response};

use super::Shared;
use super::accounts;
use super::body::{NoResponse, Reply, StepBody};
use super::listener::{Listener, Running};
use super::routes::{self, Call};
use super::storage::{self, Disconnect};

pub(crate) const MAX_BODY: usize = 64 << 20;

pub(super) fn spawn(addr: SocketAddr, shared: Arc<Shared>) -> io::Result<(SocketAddr, Running)> {
    let clock_skew = Arc::clone(&shared.clock_skew_seconds);
    let listener = Listener::bind(addr, "fake-qwen", 2, move || accounts::set_thread_clock(Arc::clone(&clock_skew)))?;
    let addr = listener.addr;
    shared.addr.get_or_init(|| addr);
    let running = listener.serve(move |request| serve(Arc::clone(&shared), request))?;
    Ok((addr, running))
}

async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<StepBody>, NoResponse> {
    let (parts, body) = request.into_parts();
    let (outcome, reply) = match storage::target(&shared, &parts) {
        Some(target) => {
            let outcome = shared.log.record(&parts, &[]);
            let reply = match storage::answer_oss(&shared, &parts, target, body).await {
                Ok(reply) => reply,
                Err(Disconnect::ByFake) => Reply::reset(),
                Err(Disconnect::ByPeer) => return Err(NoResponse),
            };
            (outcome, reply)
        }
        None => {
            let body = Limited::new(body, MAX_BODY).collect().await.map_err(|_| NoResponse)?.to_bytes();
            (shared.log.record(&parts, &body), routes::answer(&shared, &Call::new(parts, body)))
        }
    };
    let mut response = reply.begin(outcome).await?;
    // hyper would send the time of this machine.
    let date = HeaderValue::from_str(&httpdate::fmt_http_date(accounts::time())).map_err(|_| NoResponse)?;
    response.headers_mut().insert(DATE, date);
    Ok(response)
}
