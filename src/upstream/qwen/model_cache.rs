//! The site's list of models as this process knows it, and what a request is to do about it. Pure: times are arguments.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::models::{self, ModelList};
use crate::config::AccountName;
use crate::error::{Error, ErrorKind};
use crate::unix_time::UnixMillis;

/// The site is asked for the list no sooner than so long after the last time.
pub(super) const RETRY_PAUSE: Duration = Duration::from_secs(30);

/// The list, and how it stands with it. All accounts share it.
#[derive(Debug, Default)]
pub struct ModelCache(Mutex<State>);

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) list: Option<ModelList>,
    /// When the site gave it.
    pub(super) fetched_at: UnixMillis,
    /// The site is being asked, at the longest until then.
    pub(super) asking_until: UnixMillis,
    pub(super) failure: Option<Failure>,
}

/// Who asks: what the site says to one does not count for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asker {
    pub(super) account: AccountName,
    /// Of the account's credentials: with others it may go better.
    pub(super) generation: u64,
}

/// Why there is no new list.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) at: UnixMillis,
    pub(super) kind: ErrorKind,
    pub(super) message: String,
    /// Who asked.
    pub(super) asker: Asker,
}

/// What to do now.
pub(super) enum Next {
    Take(ModelList),
    GiveUp(Error),
    Ask,
    Wait,
}

impl State {
    pub(super) fn is_fresh(&self, now: UnixMillis) -> bool {
        self.list.is_some() && now.since(self.fetched_at) < models::FRESH
    }

    /// The failure that still counts, with what is left of its pause.
    fn failure(&self, now: UnixMillis, asker: &Asker) -> Option<(&Failure, Duration)> {
        let failure = self.failure.as_ref().filter(|failure| failure.asker == *asker)?;
        let left = RETRY_PAUSE.saturating_sub(now.since(failure.at));
        (!left.is_zero()).then_some((failure, left))
    }

    /// `waits` = an old list will not do while a new one is on its way.
    pub(super) fn next(&self, now: UnixMillis, asker: &Asker, waits: bool) -> Next {
        if self.is_fresh(now) {
            return self.list.clone().map_or(Next::Ask, Next::Take);
        }
        let is_asking = now < self.asking_until;
        let failure = self.failure(now, asker);
        match &self.list {
            Some(list) if failure.is_some() || (is_asking && !waits) => Next::Take(list.clone()),
            _ if is_asking => Next::Wait,
            _ => match failure {
                Some((failure, left)) => {
                    Next::GiveUp(Error::new(failure.kind, failure.message.clone()).with_retry_after(left))
                }
                None => Next::Ask,
            },
        }
    }
}

impl ModelCache {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The list at hand, however old.
    pub(super) fn current_list(&self) -> Option<ModelList> {
        self.state().list.clone()
    }

    pub(super) fn put(&self, list: ModelList, fetched_at: UnixMillis) {
        let mut state = self.state();
        state.list = Some(list);
        state.fetched_at = fetched_at;
        state.failure = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis::new(1_790_000_000_000);

    fn asker(generation: u64) -> Asker {
        Asker { account: AccountName::default(), generation }
    }

    fn stored(state: &State, now: UnixMillis, generation: u64, waits: bool) -> &'static str {
        match state.next(now, &asker(generation), waits) {
            Next::Take(_) => "take",
            Next::GiveUp(error) => {
                assert!(error.retry_after().unwrap() <= RETRY_PAUSE);
                "give up"
            }
            Next::Ask => "ask",
            Next::Wait => "wait",
        }
    }

    #[test]
    fn one_asks_and_the_others_take_what_there_is() {
        let list = ModelList::from_store("[]");
        let failure =
            || Some(Failure { at: NOW, kind: ErrorKind::UpstreamError, message: "x".to_owned(), asker: asker(1) });
        let none = State::default();
        assert_eq!((stored(&none, NOW, 1, true), stored(&none, NOW, 1, false)), ("ask", "ask"));
        let asking = State { asking_until: NOW.saturating_add(Duration::from_millis(9)), ..State::default() };
        assert_eq!(
            (stored(&asking, NOW, 1, false), stored(&asking, NOW.saturating_add(Duration::from_millis(9)), 1, false)),
            ("wait", "ask")
        );
        let fresh = State { list: list.clone(), fetched_at: NOW, ..State::default() };
        assert_eq!(
            (stored(&fresh, NOW, 1, true), stored(&fresh, NOW.saturating_add(models::FRESH), 1, true)),
            ("take", "ask")
        );
        let renewing = State { asking_until: NOW.saturating_add(models::FRESH + Duration::from_millis(9)), ..fresh };
        let later = NOW.saturating_add(models::FRESH);
        assert_eq!((stored(&renewing, later, 1, false), stored(&renewing, later, 1, true)), ("take", "wait"));
        let failed = State { failure: failure(), ..State::default() };
        assert_eq!(
            (
                stored(&failed, NOW, 1, true),
                stored(&failed, NOW.saturating_add(RETRY_PAUSE - Duration::from_millis(1)), 1, true)
            ),
            ("give up", "give up")
        );
        assert_eq!(
            (stored(&failed, NOW.saturating_add(RETRY_PAUSE), 1, true), stored(&failed, NOW, 2, true)),
            ("ask", "ask"),
            "other credentials"
        );
        let other = Asker { account: AccountName::parse("anna").unwrap(), generation: 1 };
        assert!(matches!(failed.next(NOW, &other, true), Next::Ask), "another account");
        let old = State { list, failure: failure(), ..State::default() };
        assert_eq!(
            (stored(&old, NOW, 1, true), stored(&old, NOW.saturating_add(RETRY_PAUSE), 1, true)),
            ("take", "ask")
        );
    }
}
