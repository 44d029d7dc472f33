//! Work at the start of the program, at intervals, and at its end.

use super::{app::App, chats};
use crate::{media::REPEATS, platform::Platform, store};

impl App {
    /// Checks the session and runs one bounded step of the clean-up. Called every ten minutes.
    pub async fn housekeeping(&self, platform: &impl Platform) {
        // `maintain` logs a failure, and the session's state shows it.
        let _ = self.accounts.default_account().qwen.session().maintain(platform).await;
        chats::clean_up(self, platform).await;
        let expired = store::files::expire_uploads(platform, platform.now()).await;
        self.store_health.ok_or_log("deleting uploads whose links have expired", expired);
        let now = platform.now();
        let (not_before, drawn_before) = (self.conversations.not_before(now), now.saturating_sub(REPEATS));
        let expired = store::media::expire(platform, now, not_before, drawn_before).await;
        self.store_health.ok_or_log("deleting links to pictures", expired);
        self.follow_videos(platform).await;
        self.videos(&self.accounts.default_account()).expire(platform, not_before).await;
    }

    /// Follows some of the videos in the making. Called every few seconds where there is a timer for it.
    pub async fn follow_videos(&self, platform: &impl Platform) {
        self.videos(&self.accounts.default_account())
            .follow(platform, self.accounts.default_account().qwen.session().identity())
            .await;
    }

    /// Waits for a running renewal of the session. Called before the process ends.
    pub async fn settle(&self, platform: &impl Platform) {
        self.accounts.default_account().qwen.session().flush(platform).await;
    }

    /// Fetches the list of models, so that the first chat does not wait for it. Called at the start.
    pub async fn warm_up(&self, platform: &impl Platform) {
        // `fetch_models` logs a failure.
        let _ = self.accounts.default_account().qwen.fetch_models(platform).await;
    }
}
