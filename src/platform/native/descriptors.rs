//! The number of connections that the system's limit of open files allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit of concurrent connections. Further ones wait in the listener's queue. An idle one costs about 10 KiB.
const MAX_CONNECTIONS: u64 = 10_000;
/// A smaller number of connections is logged as a warning.
const FEW_CONNECTIONS: u64 = 1_000;
/// Descriptors of the listener, the database, the runtimes and DNS look-ups.
const RESERVE: u64 = 64;
/// Descriptors per client: its connection, and the connection to the upstream that its request may need.
const PER_CONNECTION: u64 = 2;

/// Raises the soft limit as far as needed and allowed, and returns how many connections it suffices for.
pub(super) fn max_connections() -> usize {
    let wanted = MAX_CONNECTIONS.saturating_mul(PER_CONNECTION).saturating_add(RESERVE);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // `None` means unlimited.
    let mut limit = current.unwrap_or(u64::MAX);
    let allowed = maximum.unwrap_or(u64::MAX).min(wanted);
    if limit < allowed {
        match setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum }) {
            Ok(()) => limit = allowed,
            Err(error) => tracing::warn!(%error, "cannot raise the limit of open files"),
        }
    }
    let connections = connections_within(limit);
    if connections < FEW_CONNECTIONS {
        tracing::warn!(limit, connections, "the limit of open files (ulimit -n) allows few connections");
    }
    usize::try_from(connections).unwrap_or(usize::MAX)
}

fn connections_within(limit: u64) -> u64 {
    let rest = limit.saturating_sub(RESERVE).checked_div(PER_CONNECTION).unwrap_or(0);
    rest.clamp(1, MAX_CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_leaves_a_descriptor_for_the_upstream() {
        for (limit, connections) in [
            (0, 1),
            (64, 1),
            (256, 96),
            (1024, 480),
            (20_063, 9_999),
            (20_064, 10_000),
            (1 << 20, 10_000),
            (u64::MAX, 10_000),
        ] {
            assert_eq!(connections_within(limit), connections, "{limit}");
        }
    }
}
