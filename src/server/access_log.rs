//! Follows each request to its end, and writes one log line and the metrics for it.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::Stream;

use crate::{
    platform::telemetry::{Event, Outcome, RequestRecord},
    platform::{Body, ByteStream, FetchError, Platform},
};

/// The log entry of one request. It is written when this is dropped.
pub(super) struct AccessLog<P: Platform> {
    platform: P,
    started: Duration,
    is_stream: bool,
}

impl<P: Platform> AccessLog<P> {
    pub(super) fn new(platform: P) -> Self {
        Self { started: platform.elapsed(), platform, is_stream: false }
    }

    /// Runs a future, and counts the time spent in polling it, without the time it waits.
    pub(super) async fn measure<F: Future>(&self, future: F) -> F::Output {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| {
            let begun = self.platform.elapsed();
            let done = future.as_mut().poll(cx);
            self.platform.request_metrics().record_overhead(self.platform.elapsed().saturating_sub(begun));
            done
        })
        .await
    }

    /// Ends the entry with the body of the answer.
    pub(super) fn follow(mut self, answer: http::Response<Body>) -> http::Response<Body>
    where
        P: Unpin,
    {
        let request_metrics = self.platform.request_metrics();
        request_metrics.record().status = answer.status().as_u16();
        answer.map(|body| match body {
            Body::Full(bytes) => {
                let mut record = request_metrics.record();
                record.bytes_out = bytes.len() as u64;
                record.outcome = Outcome::Answered;
                Body::Full(bytes)
            }
            #[cfg(target_arch = "wasm32")]
            Body::Native(stream) => {
                request_metrics.record().outcome = Outcome::Answered;
                Body::Native(stream)
            }
            Body::Stream(stream) => {
                self.is_stream = true;
                self.platform.count(Event::StreamBegan);
                Body::Stream(Box::pin(LoggedBody { stream, access_log: self, bytes: 0 }))
            }
        })
    }
}

impl<P: Platform> Drop for AccessLog<P> {
    fn drop(&mut self) {
        let request_metrics = self.platform.request_metrics();
        let mut record = request_metrics.record().clone();
        record.total = self.platform.elapsed().saturating_sub(self.started);
        if self.is_stream {
            self.platform.count(Event::StreamEnded);
        }
        log(&record);
        self.platform.count(Event::Request(&record));
    }
}

/// A streamed body that counts its bytes. It ends the log entry.
struct LoggedBody<P: Platform> {
    stream: ByteStream,
    access_log: AccessLog<P>,
    bytes: u64,
}

impl<P: Platform> Stream for LoggedBody<P> {
    type Item = Result<Bytes, FetchError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let platform = &this.access_log.platform;
        let begun = platform.elapsed();
        let polled = this.stream.as_mut().poll_next(cx);
        let request_metrics = platform.request_metrics();
        let mut record = request_metrics.record();
        record.own = record.own.saturating_add(platform.elapsed().saturating_sub(begun));
        match &polled {
            Poll::Ready(Some(Ok(piece))) => {
                this.bytes = this.bytes.saturating_add(piece.len() as u64);
                record.bytes_out = this.bytes;
            }
            Poll::Ready(None) => {
                record.outcome = if record.code.is_some() { Outcome::Failed } else { Outcome::Answered };
            }
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        drop(record);
        polled
    }
}

fn log(record: &RequestRecord) {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(
        request_id = record.request_id.as_str(),
        method = record.method.as_str(),
        route = record.route,
        status = record.status,
        code = record.code,
        outcome = record.outcome.as_str(),
        account = record.account.as_deref(),
        model = record.model.as_deref(),
        stream = record.stream,
        conversation = record.hit.map(|hit| if hit { "hit" } else { "miss" }),
        upstream = record.upstream,
        upstream_calls = record.upstream_calls,
        upstream_status = record.upstream_status,
        upstream_ms = ms(record.upstream_wait),
        first_token_ms = record.first_token.map(ms),
        own_us = u64::try_from(record.own.as_micros()).unwrap_or(u64::MAX),
        ms = ms(record.total),
        bytes_in = record.bytes_in,
        bytes_out = record.bytes_out,
        "request"
    );
}
