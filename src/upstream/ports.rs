//! What an upstream needs of the rest of the program. The database is not among it: it reads and writes through these ports,
//! so that a test may give it anything else.

use std::future::Future;

use crate::platform::{Clock, DatabaseError, Entropy, Http, MaybeSend, MaybeSync, Tasks, Telemetry};
use crate::unix_time::UnixMillis;

/// A session as it is kept between processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredSession {
    /// Rises with each change of the credentials. Every row begins with version 0.
    pub version: u64,
    /// The credentials as the session encrypted them; empty = the configured ones.
    pub value: String,
    /// What the site's answers showed, as JSON.
    pub status: String,
}

/// An upload at the site's storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The site's id of the file.
    pub id: String,
    /// The site's id of the user.
    pub owner: String,
    /// The link to it.
    pub url: String,
    /// When the link ends.
    pub expires_at: UnixMillis,
}

/// Where the sessions of all processes are kept. `origin` says which configured credentials one began with, or whose it is.
///
/// Errors are those of whatever keeps them.
pub trait SessionStore {
    /// Reads a session.
    fn read_session(
        &self,
        origin: &str,
    ) -> impl Future<Output = Result<Option<StoredSession>, DatabaseError>> + MaybeSend;

    /// Takes the lease on refreshing `version` until `until`, unless another process holds it or the version has passed.
    /// Returns whether it was taken, and the session as it is.
    fn lease_session(
        &self,
        origin: &str,
        version: u64,
        now: UnixMillis,
        until: UnixMillis,
    ) -> impl Future<Output = Result<(bool, StoredSession), DatabaseError>> + MaybeSend;

    /// Ends a lease without a change of the credentials.
    fn release_session(
        &self,
        origin: &str,
        version: u64,
    ) -> impl Future<Output = Result<(), DatabaseError>> + MaybeSend;

    /// Replaces the session if its version is still `expected`, and ends any lease. Returns whether it did.
    fn replace_session(
        &self,
        origin: &str,
        expected: u64,
        new: &StoredSession,
        now: UnixMillis,
    ) -> impl Future<Output = Result<bool, DatabaseError>> + MaybeSend;

    /// Keeps the status of a session whose version is still `version`.
    fn save_session_status(
        &self,
        origin: &str,
        version: u64,
        status: &str,
        now: UnixMillis,
    ) -> impl Future<Output = Result<(), DatabaseError>> + MaybeSend;

    /// Reads the sessions whose origin begins with `prefix`, each with what follows that.
    fn list_sessions(
        &self,
        prefix: &str,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<(String, StoredSession)>, DatabaseError>> + MaybeSend;

    /// Forgets the sessions of other configurations that were last used before `before`; of those whose origin begins with
    /// `named`, only the ones without credentials.
    fn forget_other_sessions(
        &self,
        origin: &str,
        named: &str,
        before: UnixMillis,
    ) -> impl Future<Output = Result<(), DatabaseError>> + MaybeSend;
}

/// Texts that all processes share, each with the time at which it was kept.
pub trait Cache {
    /// Reads a text and its time.
    fn cached(
        &self,
        key: &str,
    ) -> impl Future<Output = Result<Option<(String, UnixMillis)>, DatabaseError>> + MaybeSend;

    /// Notes that something begins now, unless that was noted after `last` already. Returns whether it was noted: of several
    /// processes that ask at once, one gets leave.
    fn claim(
        &self,
        key: &str,
        now: UnixMillis,
        last: UnixMillis,
    ) -> impl Future<Output = Result<bool, DatabaseError>> + MaybeSend;

    /// Keeps a text.
    fn keep(
        &self,
        key: &str,
        value: String,
        now: UnixMillis,
    ) -> impl Future<Output = Result<(), DatabaseError>> + MaybeSend;
}

/// Which bytes were uploaded before.
pub trait UploadStore {
    /// Finds the upload of these bytes in this scope, if its link lives until after `alive_at`.
    fn find_upload(
        &self,
        scope: &str,
        hash: &str,
        alive_at: UnixMillis,
    ) -> impl Future<Output = Result<Option<Upload>, DatabaseError>> + MaybeSend;

    /// Remembers an upload.
    fn remember_upload(
        &self,
        scope: &str,
        hash: &str,
        upload: &Upload,
    ) -> impl Future<Output = Result<(), DatabaseError>> + MaybeSend;
}

/// All that an upstream needs.
pub trait Host:
    Http
    + Clock
    + Entropy
    + Tasks
    + Telemetry
    + SessionStore
    + Cache
    + UploadStore
    + Clone
    + Unpin
    + MaybeSend
    + MaybeSync
    + 'static
{
}

impl<P> Host for P where
    P: Http
        + Clock
        + Entropy
        + Tasks
        + Telemetry
        + SessionStore
        + Cache
        + UploadStore
        + Clone
        + Unpin
        + MaybeSend
        + MaybeSync
        + 'static
{
}
