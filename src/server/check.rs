//! Checks before the first chat whether it would work, and if not, why.

use super::{App, admin};
use crate::{
    error::Result,
    platform::Platform,
    store,
    upstream::qwen::{SessionReport, SessionState},
};

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `store`, `session` or `models`.
    pub what: &'static str,
    /// Whether the check passed.
    pub is_good: bool,
    /// What was found, and what to do.
    pub text: String,
}

impl App {
    /// Checks the database, asks the site whether it accepts the session, and fetches the list of models.
    pub async fn check(&self, platform: &impl Platform) -> Vec<Finding> {
        let finding = |what, found: Result<String, String>| {
            let is_good = found.is_ok();
            Finding { what, is_good, text: found.unwrap_or_else(|problem| problem) }
        };
        let store = match (store::check(platform).await, platform.database_warning()) {
            (Err(error), _) => Err(format!("does not work: {error}. Chats would work, but nothing is remembered")),
            (Ok(()), Some(warning)) => Err(warning.to_owned()),
            (Ok(()), None) => Ok("works".to_owned()),
        };
        let mut findings = vec![finding("store", store)];
        let session = self.accounts.default_account().qwen.session();
        let asked = session.maintain(platform).await.and_then(|()| session.check(platform.now()));
        let SessionReport { state, account, expires_at, renewable, .. } = session.report(platform.now());
        let advice = admin::advice(state, renewable);
        let found = match (state, asked) {
            (SessionState::Valid | SessionState::Expiring, Ok(())) => {
                let account = account.map(|name| format!("The account is {name}. ")).unwrap_or_default();
                let left = expires_at.map(|end| end.since(platform.now().seconds()).as_secs() / 3600);
                let end = left.map(|hours| format!(" The token lasts for {hours} more hours.")).unwrap_or_default();
                Ok(format!("{account}{advice}{end}"))
            }
            (_, Err(error)) => {
                Err(format!("{} {}", error.message(), error.link().unwrap_or_default()).trim().to_owned())
            }
            (_, Ok(())) => Err(advice.to_owned()),
        };
        let works = found.is_ok();
        findings.push(finding("session", found));
        if works {
            let models = self.accounts.default_account().qwen.fetch_models(platform).await;
            let models = models.map(|models| models.iter().count());
            let models = models.map(|count| format!("{count} are there")).map_err(|error| error.message().to_owned());
            findings.push(finding("models", models));
        }
        findings
    }

    /// Replaces the session by a pasted one, as `PUT /admin/session` does. Returns whether the database has it.
    ///
    /// # Errors
    /// When the text is not a session, or the site refuses it.
    pub async fn give_session(&self, platform: &impl Platform, text: &str) -> Result<bool> {
        admin::replace_with(self, platform, text).await
    }
}
