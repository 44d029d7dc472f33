//! The tables behind the upstream's ports.

use crate::{
    platform::{DatabaseError, Platform},
    store::{self, files as uploads, session},
    unix_time::UnixMillis,
    upstream::{Cache, SessionStore, StoredSession, Upload, UploadStore},
};

fn from_row(row: session::Stored) -> StoredSession {
    let session::Stored { version, value, status } = row;
    StoredSession { version, value, status }
}

impl<P: Platform> SessionStore for P {
    async fn read_session(&self, origin: &str) -> Result<Option<StoredSession>, DatabaseError> {
        Ok(session::read(self, origin).await?.map(from_row))
    }

    async fn lease_session(
        &self,
        origin: &str,
        version: u64,
        now: UnixMillis,
        until: UnixMillis,
    ) -> Result<(bool, StoredSession), DatabaseError> {
        let (is_taken, row) = session::lease(self, origin, version, now, until).await?;
        Ok((is_taken, from_row(row)))
    }

    async fn release_session(&self, origin: &str, version: u64) -> Result<(), DatabaseError> {
        session::release(self, origin, version).await
    }

    async fn replace_session(
        &self,
        origin: &str,
        expected: u64,
        new: &StoredSession,
        now: UnixMillis,
    ) -> Result<bool, DatabaseError> {
        let StoredSession { version, value, status } = new.clone();
        session::replace(self, origin, expected, &session::Stored { version, value, status }, now).await
    }

    async fn save_session_status(
        &self,
        origin: &str,
        version: u64,
        status: &str,
        now: UnixMillis,
    ) -> Result<(), DatabaseError> {
        session::save_status(self, origin, version, status, now).await
    }

    async fn list_sessions(&self, prefix: &str, limit: u32) -> Result<Vec<(String, StoredSession)>, DatabaseError> {
        let rows = session::list(self, prefix, limit).await?;
        Ok(rows.into_iter().map(|(name, row)| (name, from_row(row))).collect())
    }

    async fn forget_other_sessions(&self, origin: &str, named: &str, before: UnixMillis) -> Result<(), DatabaseError> {
        session::forget_others(self, origin, named, before).await
    }
}

impl<P: Platform> Cache for P {
    async fn cached(&self, key: &str) -> Result<Option<(String, UnixMillis)>, DatabaseError> {
        store::cached(self, key).await
    }

    async fn claim(&self, key: &str, now: UnixMillis, last: UnixMillis) -> Result<bool, DatabaseError> {
        store::claim(self, key, now, last).await
    }

    async fn keep(&self, key: &str, value: String, now: UnixMillis) -> Result<(), DatabaseError> {
        store::keep(self, key, value, now).await
    }
}

impl<P: Platform> UploadStore for P {
    async fn find_upload(
        &self,
        scope: &str,
        hash: &str,
        alive_at: UnixMillis,
    ) -> Result<Option<Upload>, DatabaseError> {
        let found = uploads::uploaded(self, scope, hash, alive_at).await?;
        Ok(found.map(|uploads::Upload { id, owner, url, expires_at }| Upload { id, owner, url, expires_at }))
    }

    async fn remember_upload(&self, scope: &str, hash: &str, upload: &Upload) -> Result<(), DatabaseError> {
        let Upload { id, owner, url, expires_at } = upload.clone();
        uploads::remember(self, scope, hash, &uploads::Upload { id, owner, url, expires_at }).await
    }
}
