//! Imports the account's chats that were begun elsewhere, so that clients can continue them.

use std::{collections::HashSet, time::Duration};

use super::App;
use crate::{
    config::AccountName,
    error::{Error, ErrorKind, Result},
    platform::Platform,
    store::conversations as table,
};

/// An import reads at most this many pages of the list of chats.
const MAX_PAGES: u32 = 10_000;
/// An import ends after this many failures in a row.
const MAX_FAILURES: u32 = 5;
/// An import ends if the site requires a longer wait.
const MAX_WAIT: Duration = Duration::from_secs(10 * 60);
/// How many times one request is sent while the site is busy.
const MAX_ATTEMPTS: u32 = 3;

/// The progress of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Chats in the pages read so far.
    pub listed: usize,
    /// Chats whose turns were recorded.
    pub chats: usize,
    /// Answers from which a client can continue.
    pub turns: usize,
    /// Chats that were skipped: they were imported before and have not changed, or this server began them.
    pub known: usize,
    /// Chats that could not be read.
    pub failed: usize,
    /// Why the last of those could not be read.
    pub reason: Option<String>,
}

impl App {
    /// Reads the account's list of chats and each chat in it, and records the chats for all API keys that use it.
    ///
    /// One request is sent at a time, with `pause` between them. A chat that was imported before is read again only if it has
    /// changed, or with `all`. `report` is called after each step. The import can be aborted at any time; the next one
    /// continues.
    ///
    /// # Errors
    /// When no key uses the account, nobody is signed in, the site requires a human check or a long wait, the store fails, or too many chats in a row
    /// cannot be read.
    pub async fn import_history(
        &self,
        platform: &impl Platform,
        account: &AccountName,
        (pause, all): (Duration, bool),
        mut report: impl FnMut(&Imported),
    ) -> Result<Imported> {
        let account = self.account(platform, account).await?;
        account.qwen.session().ready(platform).await?;
        let mut callers = Vec::new();
        for key in self.keys.holders().filter(|key| key.account.name == account.name) {
            let caller = key.caller(platform).await;
            account.note_scope(platform, &caller.owner.scope).await;
            callers.push(caller);
        }
        if callers.is_empty() {
            return Err(no_key(&account.name));
        }
        let failed = Error::store_unavailable;
        let read = table::imported(platform).await.map_err(failed)?;
        let (mut seen, mut done, mut failures) = (HashSet::new(), Imported::default(), 0_u32);
        for number in 1..=MAX_PAGES {
            let page = retry_while_busy(platform, async || account.qwen.past_chats(platform, number).await).await?;
            let new: Vec<_> = page.into_iter().filter(|chat| seen.insert(chat.id.clone())).collect();
            if new.is_empty() {
                break;
            }
            done.listed = done.listed.saturating_add(new.len());
            report(&done);
            platform.sleep(pause).await;
            for summary in new {
                let before = read.get(&summary.id);
                let is_unchanged = before == Some(&summary.updated_at) && !all;
                if is_unchanged
                    || before.is_none() && table::is_begun_here(platform, &summary.id).await.map_err(failed)?
                {
                    done.known = done.known.saturating_add(1);
                    report(&done);
                    continue;
                }
                match retry_while_busy(platform, async || account.qwen.past_chat(platform, &summary.id).await).await {
                    Ok(chat) => {
                        failures = 0;
                        // The mark is set before the turns are recorded. Otherwise a chat that is recorded in part would count as
                        // begun by this server.
                        table::mark_imported(platform, &summary.id, 0).await.map_err(failed)?;
                        for (number, caller) in callers.iter().enumerate() {
                            let learnt = self.conversations.learn(platform, caller.scope(), &summary.id, &chat).await;
                            let turns = learnt.map_err(failed)?;
                            done.turns = done.turns.saturating_add(if number == 0 { turns } else { 0 });
                        }
                        table::mark_imported(platform, &summary.id, summary.updated_at).await.map_err(failed)?;
                        done.chats = done.chats.saturating_add(1);
                    }
                    Err(error) => {
                        failures = failures.saturating_add(1);
                        let is_final = error.needs_a_person() || error.retry_after().is_some();
                        if is_final || failures >= MAX_FAILURES {
                            return Err(error);
                        }
                        done.failed = done.failed.saturating_add(1);
                        done.reason = Some(error.message().to_owned());
                    }
                }
                report(&done);
                platform.sleep(pause).await;
            }
        }
        Ok(done)
    }
}

impl App {
    /// Returns what [`App::import_history`] has recorded, as SQL for the database of the Worker.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn imported_sql(&self, platform: &impl Platform) -> Result<String> {
        table::imported_sql(platform).await.map_err(Error::store_unavailable)
    }
}

fn no_key(name: &AccountName) -> Error {
    let message = format!(
        "No API key uses the account '{name}', so nobody could continue its chats. Bind one to it in VALID_TOKENS first."
    );
    Error::new(ErrorKind::InvalidRequest, message)
}

/// Sends a request again while the site is busy, after the wait that the site names.
async fn retry_while_busy<T>(platform: &impl Platform, send: impl AsyncFn() -> Result<T>) -> Result<T> {
    for _ in 0..MAX_ATTEMPTS {
        match send().await {
            Err(error) if error.kind() == ErrorKind::RateLimited => {
                let wait = error.retry_after().filter(|wait| *wait <= MAX_WAIT);
                let Some(wait) = wait else { return Err(error) };
                platform.sleep(wait).await;
            }
            done => return done,
        }
    }
    Err(Error::new(ErrorKind::RateLimited, "The site is busy for too long; try again later."))
}
