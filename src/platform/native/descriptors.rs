//! How many connections the system's limit of open files allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The most connections at once; more wait in the system's queue. An idle one costs some 10 KiB.
const MAX_CONNECTIONS: u64 = 10_000;
/// Whoever has fewer should know.
const FEW_CONNECTIONS: u64 = 1_000;
/// The listener, the database, the runtimes, names being looked up.
const RESERVE: u64 = 64;
/// The client's connection, and the one to the site that its request may need.
const PER_CONNECTION: u64 = 2;

/// Raises the soft limit as far as it is needed and allowed, and returns for how many connections it suffices.
pub(super) fn places() -> usize {
    let wanted = MAX_CONNECTIONS.saturating_mul(PER_CONNECTION).saturating_add(RESERVE);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // No limit at all is `None`.
    let mut limit = current.unwrap_or(u64::MAX);
    let allowed = maximum.unwrap_or(u64::MAX).min(wanted);
    if limit < allowed {
        match setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum }) {
            Ok(()) => limit = allowed,
            Err(error) => tracing::warn!(%error, "cannot raise the limit of open files"),
        }
    }
    let places = places_of(limit);
    if places < FEW_CONNECTIONS {
        tracing::warn!(limit, connections = places, "the limit of open files (ulimit -n) allows few connections");
    }
    usize::try_from(places).unwrap_or(usize::MAX)
}

fn places_of(limit: u64) -> u64 {
    let rest = limit.saturating_sub(RESERVE).checked_div(PER_CONNECTION).unwrap_or(0);
    rest.clamp(1, MAX_CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_leave_room_for_what_each_connection_leads_to() {
        for (limit, places) in [
            (0, 1),
            (64, 1),
            (256, 96),
            (1024, 480),
            (20_063, 9_999),
            (20_064, 10_000),
            (1 << 20, 10_000),
            (u64::MAX, 10_000),
        ] {
            assert_eq!(places_of(limit), places, "{limit}");
        }
    }
}
