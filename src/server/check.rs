//! Checks before the first chat whether it would work, and if not, why.

use std::sync::Arc;

use super::{App, admin};
use crate::{
    accounts::Account,
    config::AccountName,
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
    /// Checks the database, asks the site whether it accepts the session of an account, and fetches the list of models.
    pub async fn check(&self, platform: &impl Platform, account: &AccountName) -> Vec<Finding> {
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
        let account = match self.account(platform, account).await {
            Ok(account) => account,
            Err(error) => {
                findings.push(finding("session", Err(error.message().to_owned())));
                return findings;
            }
        };
        let session = account.qwen.session();
        let asked = session.maintain(platform).await.and_then(|()| session.check(platform.now()));
        let SessionReport { state, account: owner, expires_at, renewable, .. } = session.report(platform.now());
        let advice = admin::advice(state, renewable);
        let found = match (state, asked) {
            (SessionState::Valid | SessionState::Expiring, Ok(())) => {
                let owner = owner.map(|name| format!("The account is {name}. ")).unwrap_or_default();
                let left = expires_at.map(|end| end.since(platform.now().seconds()).as_secs() / 3600);
                let end = left.map(|hours| format!(" The token lasts for {hours} more hours.")).unwrap_or_default();
                Ok(format!("{owner}{advice}{end}"))
            }
            (_, Err(error)) => {
                Err(format!("{} {}", error.message(), error.link().unwrap_or_default()).trim().to_owned())
            }
            (_, Ok(())) => Err(advice.to_owned()),
        };
        let works = found.is_ok();
        findings.push(finding("session", found));
        if works {
            let models = account.qwen.fetch_models(platform).await;
            let models = models.map(|models| models.iter().count());
            let models = models.map(|count| format!("{count} are there")).map_err(|error| error.message().to_owned());
            findings.push(finding("models", models));
        }
        findings
    }

    /// Replaces an account's session by a pasted one, as `PUT /admin/accounts/{name}/session` does. Returns whether the
    /// database has it.
    ///
    /// # Errors
    /// When the text is not a session, or the site refuses it.
    pub async fn give_session(&self, platform: &impl Platform, account: &AccountName, text: &str) -> Result<bool> {
        let account = self.account(platform, account).await?;
        let stored = admin::replace_with(platform, &account, text).await?;
        self.accounts.add(&account);
        Ok(stored)
    }

    /// The account of this name, which may have been made by another process, or a new one.
    pub(super) async fn account(&self, platform: &impl Platform, name: &AccountName) -> Result<Arc<Account>> {
        if !name.is_default() {
            self.accounts.reload(platform).await;
        }
        self.accounts.find_or_new(name)
    }
}
