//! What a person decides: new credentials, or back to the configured ones.

use std::{sync::Arc, time::Duration};

use super::{Session, credentials::Credentials, state::SessionStatus};
use crate::{
    error::{Error, ErrorKind, Result},
    upstream::Host,
};

/// How often the row is read and written anew while others change it, before the store counts as failing.
const MAX_WRITE_ATTEMPTS: usize = 10;

impl Session {
    /// Checks new credentials, stores them and uses them at once. If any of that fails, the old session stays. Returns whether
    /// they are stored.
    ///
    /// # Errors
    /// The site's error for these credentials; on the Worker also `store_unavailable`, since no other isolate would learn of
    /// them.
    pub(crate) async fn replace<P: Host>(self: &Arc<Self>, platform: &P, credentials: Credentials) -> Result<bool> {
        self.load(platform).await;
        let mut credentials = credentials;
        let clock = self.http.clock();
        let has_ended = credentials.time_left(clock.of_site(platform.now()).seconds()) == Some(Duration::ZERO);
        let mut may_refresh = credentials.refresh_token().is_some();
        // Until the site's time is known, only its answer counts.
        if has_ended && clock.is_known() {
            if !may_refresh {
                return Err(Error::session_expired());
            }
            credentials = self.request_tokens(platform, &credentials).await?;
            may_refresh = false;
        }
        let who = match self.who(platform, &credentials).await {
            Err(error) if error.kind() == ErrorKind::SessionExpired && may_refresh => {
                credentials = self.request_tokens(platform, &credentials).await?;
                self.who(platform, &credentials).await?
            }
            asked => asked?,
        };
        let credentials = credentials.of_account(&who.id);
        let now = platform.now();
        let status = SessionStatus {
            changed_at: now,
            replaced_at: now,
            checked_at: Some(now.seconds()),
            name: Some(who.name),
            ..SessionStatus::default()
        };
        let stored = self.write(platform, Some(&credentials), &status).await;
        if stored.is_none() && self.is_distributed {
            return Err(Error::store_unavailable("the session was not stored"));
        }
        let mut state = self.state();
        let version = stored.unwrap_or(state.version);
        state.adopt(Some(Arc::new(credentials)), true, version);
        state.credentials_dirty = stored.is_none();
        state.encrypted = stored.is_some() && self.cipher.has_key();
        state.begin_epoch(status);
        Ok(stored.is_some())
    }

    /// Deletes the session that was set or refreshed at run time. The configured one is used again.
    ///
    /// # Errors
    /// `store_unavailable`: then nothing has changed.
    pub async fn clear(&self, platform: &impl Host) -> Result<()> {
        self.clear_as(platform, false).await
    }

    /// Deletes the session as [`Self::clear`] does, and notes that its account is deleted with it.
    ///
    /// # Errors
    /// `store_unavailable`: then nothing has changed.
    pub async fn forget(&self, platform: &impl Host) -> Result<()> {
        self.clear_as(platform, true).await
    }

    async fn clear_as(&self, platform: &impl Host, is_forgotten: bool) -> Result<()> {
        self.load(platform).await;
        let now = platform.now();
        let status = SessionStatus { changed_at: now, replaced_at: now, is_forgotten, ..SessionStatus::default() };
        let Some(version) = self.write(platform, None, &status).await else {
            return Err(Error::store_unavailable("the session was not cleared"));
        };
        let mut state = self.state();
        state.adopt(self.configured.clone(), false, version);
        state.begin_epoch(status);
        Ok(())
    }

    /// Stores what a person decided over whatever the row has. Returns the new version; `None` if the store failed.
    pub(super) async fn write(
        &self,
        platform: &impl Host,
        credentials: Option<&Credentials>,
        status: &SessionStatus,
    ) -> Option<u64> {
        for _ in 0..MAX_WRITE_ATTEMPTS {
            let found = platform.read_session(&self.origin).await;
            let expected = self.store_health.ok_or_log("reading the session", found)?.map_or(0, |found| found.version);
            let row = self.encode(platform, credentials, status, expected.saturating_add(1))?;
            let replaced = platform.replace_session(&self.origin, expected, &row, platform.now()).await;
            // Another isolate may have written in between; the person's decision is the last.
            if self.store_health.ok_or_log("storing the session", replaced)? {
                return Some(row.version);
            }
        }
        tracing::warn!("others change the stored session all the time");
        None
    }
}
