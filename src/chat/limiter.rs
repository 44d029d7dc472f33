//! The bounded queue in front of the site: so many turns at once, so many waiting, the rest is told to come again.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::Duration,
};

use futures::future::poll_fn;

use crate::{
    error::{Error, ErrorKind, Result},
    platform::{BoxFuture, PRODUCT, Platform, Product},
};

/// The longest wait for a turn.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(60);
/// What to tell those who find the queue full, or waited in vain.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// On the edge a request must not be woken by another one's event, so it looks by itself.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How many requests at once may fetch and upload what is attached to them. Each holds up to 20 MiB for each of three files.
const MAX_ATTACHING: usize = match PRODUCT {
    Product::Native => 64,
    Product::Worker => 8,
};

/// Lets a bounded number through at once, in the order of their coming.
#[derive(Debug)]
pub struct ConcurrencyLimiter {
    state: Mutex<State>,
    max_waiting: usize,
}

/// The gates for what is attached to messages: one for each key, so that slow links of one hold no place of another's. They
/// are passed before a turn's own.
#[derive(Debug)]
pub struct KeyedLimiters {
    limiters: Mutex<HashMap<String, Arc<ConcurrencyLimiter>>>,
    inside: usize,
    waiting: usize,
}

impl KeyedLimiters {
    /// So many for each of `keys` that all together stay bounded; `waiting` in each one's queue.
    #[must_use]
    pub fn new(keys: usize, waiting: usize) -> Self {
        let inside = MAX_ATTACHING.checked_div(keys).unwrap_or(MAX_ATTACHING).max(1);
        Self { limiters: Mutex::default(), inside, waiting }
    }

    /// Waits for leave to fetch and upload on behalf of `scope`, a key's; dropping the future leaves the queue.
    ///
    /// # Errors
    /// `rate_limit_exceeded`, as of [`ConcurrencyLimiter::enter`].
    pub async fn enter(&self, platform: &impl Platform, scope: &str) -> Result<Permit> {
        let limiter = {
            let mut limiters = self.limiters.lock().unwrap_or_else(PoisonError::into_inner);
            // Nobody is in those, and nobody waits.
            limiters.retain(|known, limiter| known == scope || Arc::strong_count(limiter) > 1);
            let new = || Arc::new(ConcurrencyLimiter::new(self.inside, self.waiting));
            Arc::clone(limiters.entry(scope.to_owned()).or_insert_with(new))
        };
        limiter.enter(platform).await
    }
}

#[derive(Debug)]
struct State {
    free: usize,
    inside: usize,
    next: u64,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    waker: Option<Waker>,
}

/// One turn's leave to be inside; ends when dropped.
#[derive(Debug)]
pub struct Permit(Arc<ConcurrencyLimiter>);

impl ConcurrencyLimiter {
    /// At most `inside` at once and `waiting` in the queue.
    #[must_use]
    pub fn new(inside: usize, waiting: usize) -> Self {
        let state = State { free: inside, inside: 0, next: 0, waiting: VecDeque::new() };
        Self { state: Mutex::new(state), max_waiting: waiting }
    }

    /// How many are inside and how many wait.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        let state = self.state();
        (state.inside, state.waiting.len())
    }

    /// Waits for leave to go in; dropping the future leaves the queue.
    ///
    /// # Errors
    /// `rate_limit_exceeded` when the queue is full, or did not come to this turn within a minute.
    pub async fn enter(self: &Arc<Self>, platform: &impl Platform) -> Result<Permit> {
        let ticket = {
            let mut state = self.state();
            if state.waiting.len() >= self.max_waiting && (state.free == 0 || !state.waiting.is_empty()) {
                return Err(busy("the queue for the Qwen account is full"));
            }
            let ticket = state.next;
            state.next = ticket.wrapping_add(1);
            state.waiting.push_back(Waiting { ticket, waker: None });
            QueueTicket { limiter: self, ticket }
        };
        // Most need not wait, and a timer is not made for them.
        let mut timers: Option<(BoxFuture<()>, BoxFuture<()>)> = None;
        poll_fn(|cx| {
            if ticket.try_enter(cx.waker()) {
                return Poll::Ready(Ok(Permit(Arc::clone(self))));
            }
            let (limit, poll_interval) =
                timers.get_or_insert_with(|| (platform.sleep(QUEUE_TIMEOUT), platform.sleep(POLL_INTERVAL)));
            if limit.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(busy("the queue for the Qwen account did not move")));
            }
            while PRODUCT == Product::Worker && poll_interval.as_mut().poll(cx).is_ready() {
                if platform.client_left() {
                    return Poll::Ready(Err(Error::new(ErrorKind::UpstreamError, "The client left the queue.")));
                }
                if ticket.try_enter(cx.waker()) {
                    return Poll::Ready(Ok(Permit(Arc::clone(self))));
                }
                *poll_interval = platform.sleep(POLL_INTERVAL);
            }
            Poll::Pending
        })
        .await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever is the next, if there is room.
    fn wake_next(&self) {
        let mut state = self.state();
        let waker = if state.free > 0 { state.waiting.front_mut().and_then(|next| next.waker.take()) } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A place in the queue.
struct QueueTicket<'a> {
    limiter: &'a ConcurrencyLimiter,
    ticket: u64,
}

impl QueueTicket<'_> {
    fn try_enter(&self, waker: &Waker) -> bool {
        let mut state = self.limiter.state();
        let is_next = state.waiting.front().is_some_and(|next| next.ticket == self.ticket);
        if is_next && state.free > 0 {
            state.waiting.pop_front();
            state.free = state.free.saturating_sub(1);
            state.inside = state.inside.saturating_add(1);
            drop(state);
            self.limiter.wake_next();
            return true;
        }
        if PRODUCT == Product::Native
            && let Some(own) = state.waiting.iter_mut().find(|waiting| waiting.ticket == self.ticket)
        {
            own.waker = Some(waker.clone());
        }
        false
    }
}

impl Drop for QueueTicket<'_> {
    fn drop(&mut self) {
        self.limiter.state().waiting.retain(|waiting| waiting.ticket != self.ticket);
        self.limiter.wake_next();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.free = state.free.saturating_add(1);
        state.inside = state.inside.saturating_sub(1);
        drop(state);
        self.0.wake_next();
    }
}

fn busy(what: &str) -> Error {
    Error::new(ErrorKind::RateLimited, format!("Too many requests at once: {what}. Send the request again later."))
        .with_retry_after(RETRY_AFTER)
}
