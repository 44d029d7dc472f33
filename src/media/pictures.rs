//! Draws pictures. A person has a handful a day, so nothing is asked for twice: the request is a row of the store before the
//! site is asked, equal requests share it, a lost stream is looked up in its chat, and a client that leaves stops nothing but
//! what is not begun. `job` has what is known of a request, `drawing` draws.

use std::{sync::Mutex, time::Duration};

use futures::channel::mpsc::{UnboundedReceiver, unbounded};

use super::{
    job::{Job, Pictures, Progress, State},
    order::Order,
    record::Record,
};
use crate::{
    digest::{key, link},
    platform::{Platform, unique},
    store::media as table,
};

/// For how long an equal request gets the same answer.
pub const REPEATS: Duration = Duration::from_secs(10 * 60);
/// How often a request that somebody else works on is looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

impl Pictures {
    /// Draws in the background and returns what comes of it. Who drops the receiver gets no further picture begun; the one in
    /// the making is drawn to its end.
    pub fn draw<P: Platform>(&self, platform: &P, order: Order) -> UnboundedReceiver<Progress> {
        let (sender, receiver) = unbounded();
        let detached = platform.detached();
        let job = Job {
            platform: detached.clone(),
            pictures: self.clone(),
            state: Mutex::new(State {
                record: Record::new(order.count),
                told: vec![false; order.count],
                is_held: false,
            }),
            order,
            holder: name(platform),
            sender,
        };
        detached.defer(async move { job.run().await });
        receiver
    }
}

/// A name that nobody else has.
fn name(platform: &impl Platform) -> String {
    key(link([0; 32], b'h', &unique(platform)))
}

impl<P: Platform> Job<P> {
    async fn run(self) {
        let mut attempt = None;
        loop {
            let Some((is_ours, row)) = self.begin_or_read(attempt.as_deref()).await else {
                // Without the store nobody else knows of the request.
                return self.work().await;
            };
            if is_ours {
                self.state().is_held = true;
                return self.work().await;
            }
            let record = self.unseal(&row.body);
            let is_known = attempt.is_some();
            attempt = Some(row.attempt.clone());
            let Some(record) = record else { return self.work().await };
            self.tell(&record);
            match row.state.as_str() {
                "running" if row.held_until <= self.platform.now() => {
                    let hold = self.hold();
                    let now = self.platform.now();
                    let taken =
                        table::take_drawing_over(&self.platform, &self.order.key, &row.attempt, hold, now).await;
                    if self.ok("going on with a picture", taken) == Some(true) {
                        {
                            let mut state = self.state();
                            state.record = record;
                            state.is_held = true;
                        }
                        return self.work().await;
                    }
                }
                "running" => {}
                // Failed before this request came: `begin_or_read` begins it anew. Failed meanwhile: that is the answer.
                _ if is_known || row.state == "done" => {
                    self.state().record = record;
                    return self.end();
                }
                _ => {}
            }
            if self.sender.is_closed() {
                return;
            }
            self.platform.sleep(POLL_INTERVAL).await;
        }
    }

    /// Begins the request, unless it runs or was answered a short while ago; a request that is waited for is only read. `None`
    /// when the store fails.
    async fn begin_or_read(&self, attempt: Option<&str>) -> Option<(bool, table::Drawing)> {
        let key = &self.order.key;
        if attempt.is_some() {
            let row = table::find_drawing(&self.platform, key).await;
            if let Some(row) = self.ok("reading a request for pictures", row)? {
                return Some((false, row));
            }
        }
        let now = self.platform.now();
        let not_before = if self.order.is_fresh { now.saturating_add(REPEATS) } else { now.saturating_sub(REPEATS) };
        let body = self.sealed()?;
        let ids = (key.as_str(), self.order.owner.scope.as_str());
        let begun = table::begin_drawing(&self.platform, ids, self.hold(), &body, (now, not_before)).await;
        self.ok("noting a request for pictures", begun)
    }
}
