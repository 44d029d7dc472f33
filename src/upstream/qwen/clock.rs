//! How far this machine's clock is from the site's. Signatures for the storage and the ends of tokens go by the site's.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::UNIX_EPOCH,
};

use http::{HeaderMap, header};

use crate::unix_time::UnixMillis;

/// A smaller difference (milliseconds) is no skew: a `Date` counts whole seconds and takes time on its way.
const MAX_IGNORED_SKEW: i64 = 15_000;

/// The difference that the last answer of the site showed.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// How far the site's clock is ahead of this machine's, in milliseconds.
    ahead: AtomicI64,
    is_known: AtomicBool,
}

impl Clock {
    /// Takes the `Date` of an answer that has just come; `now` is this machine's time.
    pub(super) fn observe(&self, headers: &HeaderMap, now: UnixMillis) {
        // The date of a cached answer is when it was made.
        if headers.get(header::AGE).is_some_and(|age| age != "0") {
            return;
        }
        let date = headers.get(header::DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        let Some(date) = date.and_then(|date| date.duration_since(UNIX_EPOCH).ok()) else { return };
        let date = i64::try_from(date.as_millis()).unwrap_or(i64::MAX);
        // On average half of the second is over.
        let ahead = date.saturating_add(500).saturating_sub(i64::try_from(now.get()).unwrap_or(i64::MAX));
        let ahead = if ahead.saturating_abs() < MAX_IGNORED_SKEW { 0 } else { ahead };
        let before = self.ahead.swap(ahead, Ordering::Relaxed);
        self.is_known.store(true, Ordering::Relaxed);
        if before == 0 && ahead != 0 {
            tracing::warn!(
                clock_skew_seconds = self.skew_seconds(),
                "this machine's clock differs from the site's, whose time is used for signatures and tokens: set the clock"
            );
        }
    }

    /// Whether any answer has shown the time.
    pub(super) fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Relaxed)
    }

    /// The site's time of this machine's `now`.
    pub(super) fn of_site(&self, now: UnixMillis) -> UnixMillis {
        now.saturating_add_signed(self.ahead())
    }

    /// How far the site's clock is ahead of this machine's, in milliseconds.
    pub(super) fn ahead(&self) -> i64 {
        self.ahead.load(Ordering::Relaxed)
    }

    /// How far this machine's clock is ahead of the site's, in seconds.
    pub(super) fn skew_seconds(&self) -> i64 {
        self.ahead().saturating_neg() / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT
    const THEN: u64 = 784_111_777_000;

    #[test]
    fn the_date_of_an_answer_shows_the_difference() {
        for (date, age, now, skew) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", None, THEN, Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", None, THEN + 10_000, Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some("0"), THEN - 7_200_000, Some(-7200)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", None, THEN + 600_500, Some(600)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some("3600"), THEN + 600_500, None),
            ("yesterday", None, THEN, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::DATE, date.parse().unwrap());
            if let Some(age) = age {
                headers.insert(header::AGE, age.parse().unwrap());
            }
            let clock = Clock::default();
            clock.observe(&headers, UnixMillis::new(now));
            assert_eq!(clock.is_known().then(|| clock.skew_seconds()), skew, "{date} {age:?} {now}");
            let of_site = clock.of_site(UnixMillis::new(now)).get();
            assert!(skew.is_none_or(|_| of_site.abs_diff(THEN) <= 15_000), "{of_site}");
        }
    }
}
