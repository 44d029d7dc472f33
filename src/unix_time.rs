//! Moments, with their unit in the type.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// A moment in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(u64);

/// A moment in seconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixSeconds(u64);

impl UnixMillis {
    /// The moment so many milliseconds after the beginning of 1970.
    #[must_use]
    pub const fn new(millis: u64) -> Self {
        Self(millis)
    }

    /// The number of milliseconds.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The moment this much later.
    #[must_use]
    pub fn saturating_add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(millis(time)))
    }

    /// The moment this much earlier.
    #[must_use]
    pub fn saturating_sub(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(millis(time)))
    }

    /// The moment so many milliseconds later, or earlier where they are negative.
    #[must_use]
    pub const fn saturating_add_signed(self, millis: i64) -> Self {
        Self(self.0.saturating_add_signed(millis))
    }

    /// How long after `earlier` this is; zero if it is before it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The second that it is in.
    #[must_use]
    pub const fn seconds(self) -> UnixSeconds {
        UnixSeconds(self.0 / 1000)
    }
}

impl UnixSeconds {
    /// The moment so many seconds after the beginning of 1970.
    #[must_use]
    pub const fn new(seconds: u64) -> Self {
        Self(seconds)
    }

    /// The number of seconds.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is before it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }

    /// The moment so many whole seconds later.
    #[must_use]
    pub const fn saturating_add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time.as_secs()))
    }

    /// Its first millisecond.
    #[must_use]
    pub const fn millis(self) -> UnixMillis {
        UnixMillis(self.0.saturating_mul(1000))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl From<UnixMillis> for u64 {
    fn from(moment: UnixMillis) -> Self {
        moment.0
    }
}

impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for UnixSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_saturate_at_both_ends() {
        let (first, last) = (UnixMillis::new(0), UnixMillis::new(u64::MAX));
        assert_eq!(first.saturating_sub(Duration::from_secs(1)), first);
        assert_eq!(last.saturating_add(Duration::MAX), last);
        assert_eq!(first.since(last), Duration::ZERO);
        assert_eq!(UnixSeconds::new(u64::MAX).millis(), last);
        let then = UnixMillis::new(1_790_000_000_999);
        assert_eq!((then.seconds().get(), then.seconds().millis().get()), (1_790_000_000, 1_790_000_000_000));
    }
}
