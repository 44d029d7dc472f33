//! What is done at the start, at times and at the end of the program.

use super::{app::App, chats};
use crate::{platform::Platform, store};

impl App {
    /// What is to be done every ten minutes: a look at the session, and a bounded step of the clean-up.
    pub async fn housekeeping(&self, platform: &impl Platform) {
        // A failure is logged there, and is a state.
        let _ = self.qwen.session().maintain(platform).await;
        chats::clean_up(self, platform).await;
        let expired = store::files::expire_uploads(platform, platform.now()).await;
        self.store_health.ok_or_log("forgetting uploads whose links have ended", expired);
    }

    /// What must be done before the process ends: waits for a renewal of the session, if one is on its way.
    pub async fn settle(&self, platform: &impl Platform) {
        self.qwen.session().flush(platform).await;
    }

    /// Fetches the list of models at the start, so that the first chat need not wait for it.
    pub async fn warm_up(&self, platform: &impl Platform) {
        // A failure is logged there, and is a state.
        let _ = self.qwen.fetch_models(platform).await;
    }
}
