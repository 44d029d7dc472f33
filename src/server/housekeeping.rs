//! Work at the start of the program, at intervals, and at its end.

use std::sync::Arc;

use futures::future::join_all;

use super::{app::App, clean_up};
use crate::{accounts::Account, media::REPEATS, platform::Platform, store};

/// How many accounts one run of the Worker's timer looks after. Cloudflare's Free plan allows 50 queries for each run, and an
/// account takes three, or eight when its session is renewed. The next runs look after the others.
const ACCOUNTS_A_RUN: usize = 3;
/// The interval of the Worker's timer, in milliseconds.
const RUN_INTERVAL_MS: u64 = 10 * 60 * 1000;

impl App {
    /// Checks the sessions and runs one bounded step of the clean-up. Called every ten minutes.
    pub async fn housekeeping(&self, platform: &impl Platform) {
        let accounts = self.accounts_of_run(platform).await;
        // One after the other: whoever sends a request renews the account's session without waiting for this.
        for account in &accounts {
            // `maintain` logs a failure, and the session's state shows it.
            let _ = account.qwen.session().maintain(platform).await;
        }
        clean_up::run(self, platform).await;
        let expired = store::files::expire_uploads(platform, platform.now()).await;
        self.store_health.ok_or_log("deleting uploads whose links have expired", expired);
        let now = platform.now();
        let (not_before, drawn_before) = (self.conversations.not_before(now), now.saturating_sub(REPEATS));
        let expired = store::media::expire(platform, now, not_before, drawn_before).await;
        self.store_health.ok_or_log("deleting links to pictures", expired);
        self.follow_videos_of(platform, &accounts).await;
        self.videos(self.accounts.default_account()).expire(platform, not_before).await;
    }

    /// Follows some of the videos in the making. Called every few seconds where there is a timer for it.
    pub async fn follow_videos(&self, platform: &impl Platform) {
        self.follow_videos_of(platform, &self.accounts.all()).await;
    }

    async fn follow_videos_of(&self, platform: &impl Platform, accounts: &[Arc<Account>]) {
        for account in accounts {
            self.videos(account).follow(platform, account.qwen.session().identity()).await;
        }
    }

    /// The accounts that this run looks after: all, or on D1 `default` and some of the others in turn.
    async fn accounts_of_run(&self, platform: &impl Platform) -> Vec<Arc<Account>> {
        self.accounts.reload(platform).await;
        let mut accounts = self.accounts.all();
        if self.config.product.is_distributed && accounts.len() > ACCOUNTS_A_RUN {
            let run = platform.now().get().checked_div(RUN_INTERVAL_MS).unwrap_or(0);
            let others = accounts.split_off(1);
            let first = run.wrapping_mul(ACCOUNTS_A_RUN as u64).checked_rem(others.len() as u64).unwrap_or(0);
            let turn = others.iter().cycle().skip(usize::try_from(first).unwrap_or(0));
            accounts.extend(turn.take(others.len().min(ACCOUNTS_A_RUN)).cloned());
        }
        accounts
    }

    /// Waits for running renewals of sessions. Called before the process ends.
    pub async fn settle(&self, platform: &impl Platform) {
        let accounts = self.accounts.all();
        join_all(accounts.into_iter().map(|it| async move { it.qwen.session().flush(platform).await })).await;
    }

    /// Fetches the list of models, so that the first chat does not wait for it. Called at the start.
    pub async fn warm_up(&self, platform: &impl Platform) {
        // `fetch_models` logs a failure.
        let _ = self.accounts.default_account().qwen.fetch_models(platform).await;
    }
}
