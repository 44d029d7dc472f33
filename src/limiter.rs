//! Bounded queues in front of the site: a fixed number of turns at once, a fixed number waiting, the rest is refused with
//! `Retry-After`.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::Duration,
};

use futures::future::poll_fn;

use crate::{
    error::{Error, ErrorKind, Result},
    platform::{BoxFuture, Clock, Tasks},
};

/// The longest wait for a permit.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(60);
/// The `Retry-After` of requests that find the queue full, or waited in vain.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// How often a waiting request looks for itself where another request's event may not wake it.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Grants a bounded number of permits at once, in the order of the requests.
#[derive(Debug)]
pub struct ConcurrencyLimiter {
    state: Mutex<State>,
    max_waiting: usize,
}

/// One limiter for each API key, for what is attached to messages: so slow links of one key take no permit of another key.
/// Its permit is held before the turn's own.
#[derive(Debug)]
pub struct KeyedLimiters {
    limiters: Mutex<HashMap<String, Arc<ConcurrencyLimiter>>>,
    permits: usize,
    max_waiting: usize,
}

impl KeyedLimiters {
    /// Limiters that together grant at most `permits` at once to `keys` keys, and at least one to each; `max_waiting` wait in
    /// each queue.
    #[must_use]
    pub fn new(permits: usize, keys: usize, max_waiting: usize) -> Self {
        let permits = permits.checked_div(keys).unwrap_or(permits).max(1);
        Self { limiters: Mutex::default(), permits, max_waiting }
    }

    /// Waits for a permit of the key whose scope this is; dropping the future leaves the queue.
    ///
    /// # Errors
    /// `rate_limit_exceeded`, as of [`ConcurrencyLimiter::acquire`].
    pub async fn acquire<P: Clock + Tasks>(&self, platform: &P, scope: &str) -> Result<Permit> {
        let limiter = {
            let mut limiters = self.limiters.lock().unwrap_or_else(PoisonError::into_inner);
            // The others are idle.
            limiters.retain(|known, limiter| known == scope || Arc::strong_count(limiter) > 1);
            let new = || Arc::new(ConcurrencyLimiter::new(self.permits, self.max_waiting));
            Arc::clone(limiters.entry(scope.to_owned()).or_insert_with(new))
        };
        limiter.acquire(platform).await
    }
}

#[derive(Debug)]
struct State {
    free: usize,
    granted: usize,
    next_ticket: u64,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    waker: Option<Waker>,
}

/// Permission to run; ends when dropped.
#[derive(Debug)]
pub struct Permit(Arc<ConcurrencyLimiter>);

impl ConcurrencyLimiter {
    /// A limiter of `permits` at once and `max_waiting` in the queue.
    #[must_use]
    pub fn new(permits: usize, max_waiting: usize) -> Self {
        let state = State { free: permits, granted: 0, next_ticket: 0, waiting: VecDeque::new() };
        Self { state: Mutex::new(state), max_waiting }
    }

    /// How many permits are granted and how many requests wait.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        let state = self.state();
        (state.granted, state.waiting.len())
    }

    /// Waits for a permit; dropping the future leaves the queue.
    ///
    /// # Errors
    /// `rate_limit_exceeded` when the queue is full, or none was free within a minute.
    pub async fn acquire<P: Clock + Tasks>(self: &Arc<Self>, platform: &P) -> Result<Permit> {
        let ticket = {
            let mut state = self.state();
            if state.waiting.len() >= self.max_waiting && (state.free == 0 || !state.waiting.is_empty()) {
                return Err(busy("the queue for the Qwen account is full"));
            }
            let number = state.next_ticket;
            state.next_ticket = number.wrapping_add(1);
            state.waiting.push_back(Waiting { ticket: number, waker: None });
            QueueTicket { limiter: self, number }
        };
        // Made only for those who wait.
        let mut timers: Option<(BoxFuture<()>, BoxFuture<()>)> = None;
        poll_fn(|cx| {
            let waker = P::WAKES_ACROSS_REQUESTS.then(|| cx.waker());
            if ticket.is_admitted(waker) {
                return Poll::Ready(Ok(Permit(Arc::clone(self))));
            }
            let (limit, next_poll) =
                timers.get_or_insert_with(|| (platform.sleep(QUEUE_TIMEOUT), platform.sleep(POLL_INTERVAL)));
            if limit.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(busy("the queue for the Qwen account did not move")));
            }
            while !P::WAKES_ACROSS_REQUESTS && next_poll.as_mut().poll(cx).is_ready() {
                if platform.client_left() {
                    return Poll::Ready(Err(Error::new(ErrorKind::UpstreamError, "The client left the queue.")));
                }
                if ticket.is_admitted(None) {
                    return Poll::Ready(Ok(Permit(Arc::clone(self))));
                }
                *next_poll = platform.sleep(POLL_INTERVAL);
            }
            Poll::Pending
        })
        .await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the first in the queue if a permit is free.
    fn wake_next(&self) {
        let mut state = self.state();
        let waker = if state.free > 0 { state.waiting.front_mut().and_then(|next| next.waker.take()) } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A position in the queue.
struct QueueTicket<'a> {
    limiter: &'a ConcurrencyLimiter,
    number: u64,
}

impl QueueTicket<'_> {
    /// Takes a permit if it is this one's turn; otherwise keeps `waker` for that moment.
    fn is_admitted(&self, waker: Option<&Waker>) -> bool {
        let mut state = self.limiter.state();
        let is_next = state.waiting.front().is_some_and(|next| next.ticket == self.number);
        if is_next && state.free > 0 {
            state.waiting.pop_front();
            state.free = state.free.saturating_sub(1);
            state.granted = state.granted.saturating_add(1);
            drop(state);
            self.limiter.wake_next();
            return true;
        }
        if let (Some(waker), Some(own)) =
            (waker, state.waiting.iter_mut().find(|waiting| waiting.ticket == self.number))
        {
            own.waker = Some(waker.clone());
        }
        false
    }
}

impl Drop for QueueTicket<'_> {
    fn drop(&mut self) {
        self.limiter.state().waiting.retain(|waiting| waiting.ticket != self.number);
        self.limiter.wake_next();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.free = state.free.saturating_add(1);
        state.granted = state.granted.saturating_sub(1);
        drop(state);
        self.0.wake_next();
    }
}

fn busy(problem: &str) -> Error {
    Error::new(ErrorKind::RateLimited, format!("Too many requests at once: {problem}. Send the request again later."))
        .with_retry_after(RETRY_AFTER)
        .of_this_server()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::{Platform, testing::Sim};

    /// Both kinds of platform: one on which requests wake each other, and one on which they poll.
    macro_rules! on_both {
        ($run:ident) => {{
            $run(Sim::alone()).await;
            $run(Sim::alone().without_wakes_across_requests()).await;
        }};
    }

    async fn in_order<P: Platform>(platform: P) {
        let limiter = Arc::new(ConcurrencyLimiter::new(1, 3));
        let first = limiter.acquire(&platform).await.unwrap();
        let order: Arc<Mutex<Vec<usize>>> = Arc::default();
        let waiting: Vec<_> = (0..3)
            .map(|number| {
                let (limiter, platform, order) = (Arc::clone(&limiter), platform.clone(), Arc::clone(&order));
                async move {
                    let permit = limiter.acquire(&platform).await.unwrap();
                    order.lock().unwrap().push(number);
                    platform.sleep(Duration::from_secs(1)).await;
                    drop(permit);
                }
            })
            .collect();
        let release = async {
            platform.sleep(Duration::from_secs(5)).await;
            assert_eq!(limiter.count(), (1, 3));
            let full = limiter.acquire(&platform).await.unwrap_err();
            assert_eq!((full.kind(), full.retry_after()), (ErrorKind::RateLimited, Some(RETRY_AFTER)));
            drop(first);
        };
        futures::future::join(release, futures::future::join_all(waiting)).await;
        assert_eq!(*order.lock().unwrap(), [0, 1, 2]);
        assert_eq!(limiter.count(), (0, 0));
    }

    async fn gives_up<P: Platform>(platform: P) {
        let limiter = Arc::new(ConcurrencyLimiter::new(1, 3));
        let _held = limiter.acquire(&platform).await.unwrap();
        let begun = platform.elapsed();
        let refused = limiter.acquire(&platform).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::RateLimited);
        assert!(refused.message().contains("did not move"));
        assert_eq!((platform.elapsed() - begun).as_secs(), QUEUE_TIMEOUT.as_secs());
        assert_eq!(limiter.count(), (1, 0));
    }

    async fn leaves<P: Platform>(platform: P) {
        let limiter = Arc::new(ConcurrencyLimiter::new(1, 3));
        let held = limiter.acquire(&platform).await.unwrap();
        {
            let waiting = limiter.acquire(&platform);
            let waited = crate::platform::timeout(&platform, Duration::from_secs(1), waiting).await;
            assert!(waited.is_none());
        }
        assert_eq!(limiter.count(), (1, 0));
        drop(held);
        drop(limiter.acquire(&platform).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn permits_are_granted_in_the_order_of_the_requests() {
        on_both!(in_order);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_a_permit_for_a_minute() {
        on_both!(gives_up);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_request_leaves_the_queue() {
        on_both!(leaves);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_leaves_is_not_waited_for() {
        let platform = Sim::alone().without_wakes_across_requests();
        let limiter = Arc::new(ConcurrencyLimiter::new(1, 3));
        let _held = limiter.acquire(&platform).await.unwrap();
        platform.client_leaves();
        let begun = platform.elapsed();
        assert_eq!(limiter.acquire(&platform).await.unwrap_err().kind(), ErrorKind::UpstreamError);
        assert!(platform.elapsed() - begun <= POLL_INTERVAL);
    }

    #[tokio::test(start_paused = true)]
    async fn one_key_takes_no_permit_of_another() {
        let platform = Sim::alone();
        let limiters = KeyedLimiters::new(4, 2, 1);
        let _held = (limiters.acquire(&platform, "a").await.unwrap(), limiters.acquire(&platform, "a").await.unwrap());
        let third = crate::platform::timeout(&platform, Duration::from_secs(1), limiters.acquire(&platform, "a"));
        assert!(third.await.is_none());
        drop(limiters.acquire(&platform, "b").await.unwrap());
    }
}
