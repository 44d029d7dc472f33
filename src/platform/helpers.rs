//! Functions on top of the ports: timeouts, counted requests, and work that is placed by its size.

use std::{future::Future, time::Duration};

use futures::StreamExt as _;

use super::{
    boxed::{MaybeSend, MaybeSync},
    messages::{ByteStream, FetchError, FetchErrorKind, FetchResponse},
    ports::{Clock, Tasks, Telemetry},
    telemetry::{Event, UpstreamKind},
};

/// Work on this many bytes or more runs in [`Tasks::compute`].
const MIN_COMPUTE_BYTES: usize = 256 * 1024;

/// Runs work on `bytes` bytes: small work in place, large work in [`Tasks::compute`].
pub async fn work_on<P: Tasks, T: MaybeSend + 'static>(
    platform: &P,
    bytes: usize,
    work: impl FnOnce() -> T + MaybeSend + 'static,
) -> T {
    if bytes < MIN_COMPUTE_BYTES { work() } else { platform.compute(work).await }
}

/// Awaits a request to another server, records it in the request's metrics and counts it.
///
/// # Errors
/// Those of `fetch`.
pub async fn ask<P: Clock + Telemetry>(
    platform: &P,
    kind: UpstreamKind,
    fetch: impl Future<Output = Result<FetchResponse, FetchError>>,
) -> Result<FetchResponse, FetchError> {
    let started = platform.elapsed();
    let answer = fetch.await;
    let took = platform.elapsed().saturating_sub(started);
    let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
    platform.request_metrics().record_upstream_call(status, took);
    platform.count(Event::UpstreamCall(kind, status, took));
    tracing::debug!(
        call = kind.as_str(),
        status,
        ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "upstream call"
    );
    answer
}

/// Limits the wait for each chunk of a body to `limit`. A chunk that is late ends the body with a
/// [`FetchErrorKind::Timeout`].
pub fn patient<P: Clock + Clone + MaybeSend + MaybeSync + 'static>(
    platform: &P,
    body: ByteStream,
    limit: Duration,
) -> ByteStream {
    let next = move |state: Option<(P, ByteStream)>| async move {
        let (platform, mut body) = state?;
        match timeout(&platform, limit, body.next()).await {
            Some(chunk) => chunk.map(|chunk| (chunk, Some((platform, body)))),
            None => {
                let error = FetchError {
                    kind: FetchErrorKind::Timeout,
                    detail: "the next chunk did not arrive in time".to_owned(),
                };
                Some((Err(error), None))
            }
        }
    };
    Box::pin(futures::stream::unfold(Some((platform.clone(), body)), next))
}

/// Waits for `future`, but no longer than `limit`. Returns `None` after that.
pub async fn timeout<T>(platform: &impl Clock, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    use futures::future::{Either, select};
    match select(std::pin::pin!(future), platform.sleep(limit)).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(((), _)) => None,
    }
}
