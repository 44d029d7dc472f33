//! Polling for what another request does: on the Worker a request must not be woken by another request's event.

use std::time::Duration;

use crate::upstream::Host;

const FIRST_INTERVAL: Duration = Duration::from_millis(5);
const MAX_INTERVAL: Duration = Duration::from_millis(100);

/// Pauses between two looks. Each is twice as long as the one before, up to 100 ms.
pub(super) struct Poll {
    interval: Duration,
}

impl Poll {
    pub(super) fn new() -> Self {
        Self { interval: FIRST_INTERVAL }
    }

    pub(super) async fn pause(&mut self, platform: &impl Host) {
        platform.sleep(self.interval).await;
        self.interval = self.interval.saturating_mul(2).min(MAX_INTERVAL);
    }
}
