//! Watches a request to its end, wherever that is, and tells of it: one log line, and the metrics.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::Stream;

use crate::{
    platform::telemetry::{Event, Facts, Outcome},
    platform::{Body, ByteStream, FetchError, Platform},
};

/// One request under watch. Its end is when this is dropped.
pub(super) struct Watch<P: Platform> {
    platform: P,
    started: Duration,
    is_stream: bool,
}

impl<P: Platform> Watch<P> {
    pub(super) fn new(platform: P) -> Self {
        Self { started: platform.clock(), platform, is_stream: false }
    }

    /// Counts the time in which a future works, not that in which it waits.
    pub(super) async fn work<F: Future>(&self, future: F) -> F::Output {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| {
            let begun = self.platform.clock();
            let done = future.as_mut().poll(cx);
            self.platform.trace().add_own(self.platform.clock().saturating_sub(begun));
            done
        })
        .await
    }

    /// Goes with an answer to its end.
    pub(super) fn follow(mut self, answer: http::Response<Body>) -> http::Response<Body>
    where
        P: Unpin,
    {
        let trace = self.platform.trace();
        trace.facts().status = answer.status().as_u16();
        answer.map(|body| match body {
            Body::Full(bytes) => {
                let mut facts = trace.facts();
                facts.bytes_out = bytes.len() as u64;
                facts.outcome = Outcome::Answered;
                Body::Full(bytes)
            }
            #[cfg(target_arch = "wasm32")]
            Body::Native(stream) => {
                trace.facts().outcome = Outcome::Answered;
                Body::Native(stream)
            }
            Body::Stream(stream) => {
                self.is_stream = true;
                self.platform.count(Event::StreamBegan);
                Body::Stream(Box::pin(Followed { stream, watch: self, bytes: 0 }))
            }
        })
    }
}

impl<P: Platform> Drop for Watch<P> {
    fn drop(&mut self) {
        let trace = self.platform.trace();
        let mut facts = trace.facts().clone();
        facts.total = self.platform.clock().saturating_sub(self.started);
        if self.is_stream {
            self.platform.count(Event::StreamEnded);
        }
        log(&facts);
        self.platform.count(Event::Request(&facts));
    }
}

/// A streamed answer under watch.
struct Followed<P: Platform> {
    stream: ByteStream,
    watch: Watch<P>,
    bytes: u64,
}

impl<P: Platform + Unpin> Stream for Followed<P> {
    type Item = Result<Bytes, FetchError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let platform = &this.watch.platform;
        let begun = platform.clock();
        let polled = this.stream.as_mut().poll_next(cx);
        let trace = platform.trace();
        let mut facts = trace.facts();
        facts.own = facts.own.saturating_add(platform.clock().saturating_sub(begun));
        match &polled {
            Poll::Ready(Some(Ok(piece))) => {
                this.bytes = this.bytes.saturating_add(piece.len() as u64);
                facts.bytes_out = this.bytes;
            }
            Poll::Ready(None) => {
                facts.outcome = if facts.code.is_some() { Outcome::Failed } else { Outcome::Answered };
            }
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        drop(facts);
        polled
    }
}

fn log(facts: &Facts) {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(
        request_id = facts.request_id.as_str(),
        method = facts.method.as_str(),
        route = facts.route,
        status = facts.status,
        code = facts.code,
        outcome = facts.outcome.as_str(),
        model = facts.model.as_deref(),
        stream = facts.stream,
        conversation = facts.hit.map(|hit| if hit { "hit" } else { "miss" }),
        upstream_calls = facts.outside_calls,
        upstream_status = facts.outside_status,
        upstream_ms = ms(facts.outside_wait),
        first_token_ms = facts.first_token.map(ms),
        own_us = u64::try_from(facts.own.as_micros()).unwrap_or(u64::MAX),
        ms = ms(facts.total),
        bytes_in = facts.bytes_in,
        bytes_out = facts.bytes_out,
        "request"
    );
}
