//! The listener of the native server: HTTP/1.1 and h2c, one task for each connection, and draining at the end.

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

/// How long open requests may continue after the signal to stop. Orchestrators usually kill after 30 s.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(25);
/// The pause after a failed accept. Without file descriptors, accept fails until a connection closes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Failures of accept come in large numbers, so they are logged at most once in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Serves `listener` on `workers` until `stop` resolves. Then waits until the open requests have ended, but for at most 25 s and
/// only until the future that `stop` returned resolves.
pub async fn serve<H, F, S>(listener: TcpListener, workers: &Workers, handler: H, stop: impl Future<Output = S>)
where
    S: Future<Output = ()>,
    H: Fn(Request) -> F + Clone + Send + 'static,
    F: Future<Output = http::Response<Body>> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(descriptors::max_connections()));
    let (stopping, stopped) = watch::channel(());
    let mut failures = Failures::default();
    let mut stop = pin!(stop);
    let stop_now = loop {
        let accept = async {
            // The semaphore is never closed, so this cannot fail.
            let permit = Arc::clone(&permits).acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (stream, permit) = tokio::select! {
            (accepted, permit) = accept => match accepted {
                // Detached from the runtime that accepted it, because another one serves it.
                Ok((stream, _)) => match stream.into_std() {
                    Ok(stream) => (stream, permit),
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
            stop_now = &mut stop => break stop_now,
        };
        // A delta is a small write that must leave at once.
        let _ = stream.set_nodelay(true);
        let (handler, stopped) = (handler.clone(), stopped.clone());
        workers.spawn(async move {
            let _permit = permit;
            if let Ok(stream) = TcpStream::from_std(stream) {
                connection::serve(stream, handler, connection::TIMEOUTS, stopped).await;
            }
        });
    };
    drop((listener, stopped));
    stopping.send_replace(());
    tokio::select! {
        // Each connection holds a receiver.
        () = stopping.closed() => tracing::info!("all connections have ended"),
        () = stop_now => tracing::warn!("stopping at once"),
        () = tokio::time::sleep(DRAIN_TIMEOUT) => tracing::warn!("stopping with connections still open"),
    }
}

/// Counts repeated failures for a rate-limited log line.
#[derive(Default)]
struct Failures {
    count: u64,
    last_logged: Option<Instant>,
}

impl Failures {
    /// Adds a failure. Returns the number of failures since the last log line if another line is due.
    fn add(&mut self, now: Instant) -> Option<u64> {
        self.count = self.count.saturating_add(1);
        if self.last_logged.is_some_and(|last| now.saturating_duration_since(last) < LOG_INTERVAL) {
            return None;
        }
        self.last_logged = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_failures_are_logged_once_a_minute() {
        let mut failures = Failures::default();
        let start = Instant::now();
        let logged: Vec<_> =
            (0..1500_u64).filter_map(|number| failures.add(start + ACCEPT_PAUSE * number as u32)).collect();
        assert_eq!(logged, [1, 1200]);
    }
}
