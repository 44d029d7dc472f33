//! Sharing the session with other isolates, and with the process after a restart, through the store.

use std::{sync::Arc, time::Duration};

use super::{Session, credentials::Credentials, state::SessionStatus};
use crate::{
    sealing::Cipher,
    unix_time::UnixMillis,
    upstream::{Host, StoredSession, qwen::poll::Poll},
};

/// How often the stored session is read: within this time all isolates use a new one.
const SYNC_INTERVAL: Duration = Duration::from_secs(2);

impl Session {
    /// Reads the stored session, unless that was done within the last seconds.
    pub async fn sync(&self, platform: &impl Host) {
        let now = platform.now();
        {
            let mut state = self.state();
            match state.synced_at {
                Some(at) if now < at.saturating_add(SYNC_INTERVAL) => return,
                // One request reads for all.
                Some(_) => state.synced_at = Some(now),
                // All requests wait for the very first read.
                None => {}
            }
        }
        self.load(platform).await;
    }

    pub(super) async fn load(&self, platform: &impl Host) {
        let known = self.state().version;
        let found = platform.read_session(&self.origin).await;
        let Some(found) = self.store_health.ok_or_log("reading the session", found) else {
            // Without a store there is nothing to wait for.
            self.state().synced_at = Some(platform.now());
            return;
        };
        let version = found.as_ref().map_or(0, |found| found.version);
        self.merge_or_log(known, found, platform.now());
        if self.state().credentials_dirty {
            self.save(platform, version).await;
        }
    }

    /// Merges the stored session, and logs why it cannot be read. `known` is this process's version from before the row was
    /// read: if it has changed since, the row may be the one that it replaced, and is left alone.
    pub(super) fn merge_or_log(&self, known: u64, found: Option<StoredSession>, now: UnixMillis) {
        {
            let mut state = self.state();
            if state.version != known {
                state.synced_at = Some(now);
                return;
            }
        }
        if let Err(problem) = self.merge(found, now) {
            tracing::error!(problem, "the stored session cannot be used; the configured one is");
        }
    }

    /// Takes over the stored session where it differs from this process's or is newer.
    ///
    /// # Errors
    /// Why the stored session cannot be read, for a person. The configured one is used then.
    pub(super) fn merge(&self, found: Option<StoredSession>, now: UnixMillis) -> Result<(), &'static str> {
        let mut state = self.state();
        state.synced_at = Some(now);
        if state.credentials_dirty {
            return Ok(());
        }
        let Some(stored) = found else {
            // The store lost its row.
            state.credentials_dirty = state.stored;
            return Ok(());
        };
        let status: SessionStatus = serde_json::from_str(&stored.status).unwrap_or_default();
        if stored.version == state.version {
            // The site's refusal of a refresh token is final, whichever isolate received it.
            let refresh_refused = status.refresh_refused || state.status.refresh_refused;
            if status.changed_at > state.status.changed_at {
                state.status = status;
            }
            state.status.refresh_refused = refresh_refused;
            return Ok(());
        }
        let (credentials, is_stored, outcome) = if stored.value.is_empty() {
            (self.configured.clone(), false, Ok(()))
        } else {
            let decrypted = self.cipher.decrypt(&stored.value, &self.origin);
            match decrypted.and_then(|text| Credentials::from_json(&text).ok_or("it is damaged")) {
                Ok(credentials) => (Some(Arc::new(credentials)), true, Ok(())),
                Err(problem) => (self.configured.clone(), false, Err(problem)),
            }
        };
        let is_replaced = status.replaced_at != state.status.replaced_at;
        state.adopt(credentials, is_stored, stored.version);
        state.encrypted = is_stored && Cipher::is_encrypted(&stored.value);
        state.status = if outcome.is_ok() { status } else { SessionStatus::default() };
        if is_replaced {
            state.epoch = state.generation;
        }
        outcome
    }

    /// Writes the credentials that the store lacks over its row of version `found`.
    async fn save(&self, platform: &impl Host, found: u64) {
        let (used, status) = {
            let state = self.state();
            (state.lease(), state.status.clone())
        };
        let Some(row) = self.encode(platform, used.credentials.as_deref(), &status, found.saturating_add(1)) else {
            return;
        };
        let written = platform.replace_session(&self.origin, found, &row, platform.now()).await;
        if self.store_health.ok_or_log("storing the session", written) == Some(true) {
            let mut state = self.state();
            if state.generation == used.generation {
                state.version = row.version;
                state.credentials_dirty = false;
                state.encrypted = self.cipher.has_key();
            }
        }
    }

    /// The row to store. `None`, with an entry in the log, if the credentials cannot be encrypted.
    pub(super) fn encode(
        &self,
        platform: &impl Host,
        credentials: Option<&Credentials>,
        status: &SessionStatus,
        version: u64,
    ) -> Option<StoredSession> {
        let value = match credentials {
            Some(credentials) => {
                let random = || {
                    let drawn = platform.random();
                    drawn.inspect_err(|error| tracing::error!(%error, "the session cannot be encrypted")).ok()
                };
                let random = if self.cipher.has_key() { [random()?, random()?] } else { [[0; 16]; 2] };
                self.cipher.encrypt(&written("credentials", &credentials.to_record())?, &self.origin, random)?
            }
            None => String::new(),
        };
        Some(StoredSession { version, value, status: written("status", status)? })
    }

    /// Writes the status, for other isolates and for the process after a restart.
    pub(super) async fn share(&self, platform: &impl Host) {
        let (version, status) = {
            let state = self.state();
            (state.version, state.status.clone())
        };
        let Some(text) = written("status", &status) else { return };
        let saved = platform.save_session_status(&self.origin, version, &text, platform.now()).await;
        self.store_health.ok_or_log("storing the session's status", saved);
        let mut state = self.state();
        state.status_dirty &= state.status != status;
    }

    pub(super) fn share_later<P: Host>(self: &Arc<Self>, platform: &P) {
        self.state().status_dirty = true;
        let (session, detached) = (Arc::clone(self), platform.detached());
        platform.defer(async move { session.share(&detached).await });
    }

    /// Waits until no refresh runs, since new tokens exist nowhere else until they are stored, and until the store has the
    /// status.
    pub(crate) async fn flush(&self, platform: &impl Host) {
        let mut poll = Poll::new();
        while self.state().is_refreshing(platform.now()) {
            poll.pause(platform).await;
        }
        if self.state().status_dirty {
            self.share(platform).await;
        }
    }
}

/// The JSON of a part of the row. `None`, with an entry in the log, on failure: an empty text would erase what is stored.
fn written(part: &str, value: &impl serde::Serialize) -> Option<String> {
    serde_json::to_string(value)
        .inspect_err(|error| tracing::error!(%error, part, "the session cannot be written as JSON"))
        .ok()
}
