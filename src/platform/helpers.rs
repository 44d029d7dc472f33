//! What is built on the ports: time limits, requests that are counted, work by its size.

use std::{future::Future, time::Duration};

use futures::StreamExt as _;

use super::{
    boxed::{MaybeSend, MaybeSync},
    messages::{ByteStream, FetchError, FetchErrorKind, FetchResponse},
    ports::{Clock, Tasks, Telemetry},
    telemetry::{Event, UpstreamKind},
};

/// From so many bytes on, reading a request is work that takes long.
const LARGE: usize = 256 * 1024;

/// Does work on so many bytes: at once, or as [`Tasks::compute`] does.
pub async fn work_on<P: Tasks, T: MaybeSend + 'static>(
    platform: &P,
    bytes: usize,
    work: impl FnOnce() -> T + MaybeSend + 'static,
) -> T {
    if bytes < LARGE { work() } else { platform.compute(work).await }
}

/// Asks another server, and notes and counts how that went.
///
/// # Errors
/// Those of the fetch.
pub async fn ask<P: Clock + Telemetry>(
    platform: &P,
    what: UpstreamKind,
    fetch: impl Future<Output = Result<FetchResponse, FetchError>>,
) -> Result<FetchResponse, FetchError> {
    let begun = platform.elapsed();
    let answer = fetch.await;
    let took = platform.elapsed().saturating_sub(begun);
    let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
    platform.request_metrics().record_upstream_call(status, took);
    platform.count(Event::UpstreamCall(what, status, took));
    tracing::debug!(
        call = what.as_str(),
        status,
        ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "asked another server"
    );
    answer
}

/// A body whose pieces each come within `limit`; the first that does not is a [`FetchErrorKind::Timeout`] and the last.
pub fn patient<P: Clock + Clone + MaybeSend + MaybeSync + 'static>(
    platform: &P,
    body: ByteStream,
    limit: Duration,
) -> ByteStream {
    let next = move |state: Option<(P, ByteStream)>| async move {
        let (platform, mut body) = state?;
        match timeout(&platform, limit, body.next()).await {
            Some(piece) => piece.map(|piece| (piece, Some((platform, body)))),
            None => {
                let error = FetchError { kind: FetchErrorKind::Timeout, detail: "no more came in time".to_owned() };
                Some((Err(error), None))
            }
        }
    };
    Box::pin(futures::stream::unfold(Some((platform.clone(), body)), next))
}

/// Waits for `future`, but no longer than `limit`.
pub async fn timeout<T>(platform: &impl Clock, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    use futures::future::{Either, select};
    match select(std::pin::pin!(future), platform.sleep(limit)).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(((), _)) => None,
    }
}
