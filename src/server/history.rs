//! The account's chats that were begun elsewhere, read so that they can be gone on with.

use std::{collections::HashSet, time::Duration};

use super::App;
use crate::{
    accounts::KeyId,
    error::{Error, ErrorKind, Result},
    platform::Platform,
    store::conversations as table,
};

/// An account with more pages has been read far enough.
const MAX_PAGES: u32 = 10_000;
/// After so many failures one after the other the site is left alone.
const MAX_FAILURES: u32 = 5;
/// Longer waits are for another day.
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 60);
/// How often a request that was told to wait is sent again.
const REPEATS: u32 = 3;

/// How an import fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Chats in the pages read so far.
    pub listed: usize,
    /// Chats whose turns were recorded.
    pub chats: usize,
    /// Answers that can be gone on from.
    pub turns: usize,
    /// Chats that were read before and have not changed, or that this server began.
    pub known: usize,
    /// Chats that could not be read, with the last reason.
    pub failed: usize,
    /// The last reason.
    pub reason: Option<String>,
}

impl App {
    /// Reads the account's list of chats and each chat of it, one request at a time with `pause` between them, and records
    /// them for all API keys. What was read before is read again only when it has changed, or with `all`. Tells `report`
    /// after each step. May be cut off at any time: the next run goes on.
    ///
    /// # Errors
    /// When nobody is signed in, the site asks for a check or a long wait, the store fails, or too much fails at once.
    pub async fn import_history(
        &self,
        platform: &impl Platform,
        pause: Duration,
        all: bool,
        mut report: impl FnMut(&Imported),
    ) -> Result<Imported> {
        self.qwen.session().ready(platform).await?;
        let mut callers = Vec::new();
        let keys: Vec<&str> = self.config.valid_tokens.iter().map(crate::secret::Secret::expose).collect();
        for key in if keys.is_empty() { vec![""] } else { keys } {
            callers.push(self.caller(platform, KeyId::of(key)).await);
        }
        let failed = Error::store_unavailable;
        let read = table::imported(platform).await.map_err(failed)?;
        let (mut seen, mut done, mut failures) = (HashSet::new(), Imported::default(), 0_u32);
        for number in 1..=MAX_PAGES {
            let page = patiently(platform, async || self.qwen.past_chats(platform, number).await).await?;
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
                match patiently(platform, async || self.qwen.past_chat(platform, &summary.id).await).await {
                    Ok(chat) => {
                        failures = 0;
                        // Marked before its turns are there: a chat that is half read is not this server's either.
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
    /// What [`App::import_history`] has recorded, as SQL for the database of the edge.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn imported_sql(&self, platform: &impl Platform) -> Result<String> {
        table::imported_sql(platform).await.map_err(Error::store_unavailable)
    }
}

/// Asks again when the site says how long to wait, within bounds.
async fn patiently<T>(platform: &impl Platform, ask: impl AsyncFn() -> Result<T>) -> Result<T> {
    for _ in 0..REPEATS {
        match ask().await {
            Err(error) if error.kind() == ErrorKind::RateLimited => {
                let wait = error.retry_after().filter(|wait| *wait <= LONGEST_WAIT);
                let Some(wait) = wait else { return Err(error) };
                platform.sleep(wait).await;
            }
            done => return done,
        }
    }
    Err(Error::new(ErrorKind::RateLimited, "The site is busy for too long; try again later."))
}
