//! The listening side of the box: HTTP/1.1 and h2c, one task a connection, a drain at the end.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};

use super::{connection, descriptors, workers::Workers};
use crate::platform::{Body, Request};

/// How long open requests may go on after the signal to stop. Orchestrators usually kill after 30 s.
const DRAIN: Duration = Duration::from_secs(25);
/// After accept fails for want of file descriptors, a pause lets some close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Failures of accept come in floods, so they are told so often at most.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Serves `listener` on `workers` until `stop` resolves, then lets open requests end for at most 25 s, or until what `stop` gave resolves.
pub async fn serve<H, F, S>(listener: TcpListener, workers: &Workers, handler: H, stop: impl Future<Output = S>)
where
    S: Future<Output = ()>,
    H: Fn(Request) -> F + Clone + Send + 'static,
    F: Future<Output = http::Response<Body>> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(descriptors::places()));
    let (stopping, stopped) = watch::channel(());
    let mut failures = Failures::default();
    let mut stop = pin!(stop);
    let hurry = loop {
        let accept = async {
            // It is never closed, so a place is always given in the end.
            let place = Arc::clone(&room).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (stream, place) = tokio::select! {
            (accepted, place) = accept => match accepted {
                // Without the runtime that accepted it, for the one that will serve it.
                Ok((stream, _)) => match stream.into_std() {
                    Ok(stream) => (stream, place),
                    Err(_) => continue,
                },
                Err(error) => {
                    if let Some(count) = failures.add(Instant::now()) {
                        tracing::warn!(%error, count, "cannot accept connections");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            hurry = &mut stop => break hurry,
        };
        // A delta is a small write that must leave at once.
        let _ = stream.set_nodelay(true);
        let (handler, stopped) = (handler.clone(), stopped.clone());
        workers.spawn(async move {
            let _place = place;
            if let Ok(stream) = TcpStream::from_std(stream) {
                connection::serve(stream, handler, connection::LIMITS, stopped).await;
            }
        });
    };
    drop((listener, stopped));
    stopping.send_replace(());
    tokio::select! {
        // Each connection holds a receiver.
        () = stopping.closed() => tracing::info!("all connections have ended"),
        () = hurry => tracing::warn!("stopping at once"),
        () = tokio::time::sleep(DRAIN) => tracing::warn!("stopping with connections still open"),
    }
}

/// Counts repeated failures for a rate-limited log line.
#[derive(Default)]
struct Failures {
    count: u64,
    told: Option<Instant>,
}

impl Failures {
    /// How many there were since it was last told; nothing while that is not long ago.
    fn add(&mut self, now: Instant) -> Option<u64> {
        self.count = self.count.saturating_add(1);
        if self.told.is_some_and(|told| now.saturating_duration_since(told) < TOLD_EVERY) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floods_of_failures_are_told_once_a_minute() {
        let mut failures = Failures::default();
        let start = Instant::now();
        let told: Vec<_> =
            (0..1500_u64).filter_map(|number| failures.add(start + ACCEPT_PAUSE * number as u32)).collect();
        assert_eq!(told, [1, 1200]);
    }
}
