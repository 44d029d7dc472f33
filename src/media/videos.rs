//! Videos as jobs. A person has one to three a day, so a job is a row of the store before the site is asked, equal requests
//! share it, and it goes on after a restart. This file has what a client does with jobs; `film_creation` begins them,
//! `film_state` follows them.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};

use super::{
    digests::of_account,
    film_record::{FilmRecord, VideoJob, VideoState},
    links::Resolved,
};
use crate::{
    error::{Error, ErrorKind, Result},
    limiter::ConcurrencyLimiter,
    platform::{Platform, StoreHealth},
    sealing::Cipher,
    store::videos::{self as table, Change, Video as Row},
    unix_time::UnixMillis,
    upstream::{AccountId, Owner, ScopeKey, Upstream},
};

/// For how long an equal request gets the same job, after the job has ended.
pub(super) const REPEATS: Duration = Duration::from_secs(10 * 60);
/// How many jobs one run of the timer looks at, and how many of them at once. Cloudflare's Free plan allows 50 queries for each
/// run, of which a job takes two.
const MAX_DUE: u32 = 5;
const CONCURRENT: usize = 2;
/// How many jobs one run of the timer forgets.
const MAX_EXPIRED: u32 = 1000;

/// What videos need. A clone shares it.
#[derive(Clone, Debug)]
pub struct Videos {
    /// Who makes them.
    pub upstream: Upstream,
    /// Limits what the upstream does at once.
    pub limiter: Arc<ConcurrencyLimiter>,
    /// Encrypts what the store has.
    pub cipher: Arc<Cipher>,
    /// How often the store failed.
    pub store_health: Arc<StoreHealth>,
    /// How long a video may be in the making.
    pub timeout: Duration,
}

impl Videos {
    /// Returns a job as it is now: the site is asked if it was not asked a short while ago.
    ///
    /// # Errors
    /// `video_not_found`, `store_unavailable`
    pub async fn find<P: Platform>(&self, platform: &P, owner: &Owner, id: &str) -> Result<VideoJob> {
        let row = self.current(platform, owner, id).await?;
        self.job(platform, &row).ok_or_else(not_found)
    }

    /// Returns what leads to the bytes of a video.
    ///
    /// # Errors
    /// `video_not_ready`, why the job failed, `video_not_found`, `store_unavailable`
    pub async fn source<P: Platform>(&self, platform: &P, owner: &Owner, id: &str) -> Result<Resolved> {
        let row = self.current(platform, owner, id).await?;
        let record = self.read(&row).ok_or_else(not_found)?;
        match VideoState::named(&row.state) {
            None => Err(not_found()),
            Some(VideoState::Creating | VideoState::Running) => Err(not_ready()),
            Some(VideoState::Failed) => Err(record.failure().map_or_else(not_found, |failure| failure.error())),
            Some(VideoState::Completed) => {
                let FilmRecord { chat_id, response_id, task_id, link, .. } = record;
                Ok(Resolved::new(owner, chat_id, response_id, link).of_task(task_id))
            }
        }
    }

    async fn current<P: Platform>(&self, platform: &P, owner: &Owner, id: &str) -> Result<Row> {
        let row = table::find(platform, owner.scope.as_str(), id).await.map_err(Error::store_unavailable)?;
        Ok(self.look(platform, owner, row.ok_or_else(not_found)?).await)
    }

    /// Keeps a newer link of the site to a video that is there.
    pub async fn keep_link<P: Platform>(&self, platform: &P, owner: &Owner, id: &str, link: String) {
        let found = table::find(platform, owner.scope.as_str(), id).await;
        let Some(row) = self.store_health.ok_or_log("reading a video", found).flatten() else { return };
        let Some(mut record) = self.read(&row) else { return };
        record.link = link;
        let Ok(body) = self.seal(platform, id, &record) else { return };
        let Row { state, held_until, ended_at, .. } = &row;
        let change = Change { state, held_until: *held_until, body: &body, ended_at: *ended_at };
        let written = table::write(platform, id, *held_until, change).await;
        self.store_health.ok_or_log("renewing a link to a video", written);
    }

    /// Lists at most `limit` jobs, newest first unless `is_ascending`, behind the job `after`. Returns also whether there are
    /// more.
    ///
    /// # Errors
    /// `store_unavailable`
    pub async fn list<P: Platform>(
        &self,
        platform: &P,
        scope: &ScopeKey,
        (after, is_ascending): (Option<&str>, bool),
        limit: usize,
    ) -> Result<(Vec<VideoJob>, bool)> {
        let rows = u32::try_from(limit).unwrap_or(u32::MAX).saturating_add(1);
        let found = table::list(platform, scope.as_str(), after, is_ascending, rows).await;
        let found = found.map_err(Error::store_unavailable)?;
        let has_more = found.len() > limit;
        Ok((found.iter().take(limit).filter_map(|row| self.job(platform, row)).collect(), has_more))
    }

    /// Forgets a job. One that runs goes on at the site.
    ///
    /// # Errors
    /// `video_not_found`, `store_unavailable`
    pub async fn remove<P: Platform>(&self, platform: &P, scope: &ScopeKey, id: &str) -> Result<()> {
        let was_there = table::remove(platform, scope.as_str(), id).await.map_err(Error::store_unavailable)?;
        if was_there { Ok(()) } else { Err(not_found()) }
    }

    /// Follows the jobs of an account, those first that were not looked at for the longest time. Called at intervals.
    pub async fn follow<P: Platform>(&self, platform: &P, (account, session_epoch): (AccountId, u64)) {
        if self.upstream.check(platform.now()).is_err() {
            return;
        }
        let due = table::due(platform, &of_account(&account), platform.now(), MAX_DUE).await;
        let due = self.store_health.ok_or_log("reading which videos are in the making", due).unwrap_or_default();
        let looks = due.into_iter().map(|row| {
            let owner = Owner { scope: ScopeKey::new(row.scope.clone()), account: account.clone(), session_epoch };
            async move { drop(self.look(platform, &owner, row).await) }
        });
        stream::iter(looks).buffer_unordered(CONCURRENT).collect::<Vec<()>>().await;
    }

    /// Forgets jobs that ended before `before`. Called at intervals.
    pub async fn expire<P: Platform>(&self, platform: &P, before: UnixMillis) {
        let refused_before = platform.now().saturating_sub(REPEATS);
        let expired = table::expire(platform, (before, refused_before), MAX_EXPIRED).await;
        self.store_health.ok_or_log("forgetting old videos", expired);
    }

    /// The job of a row; `None` when it was refused or cannot be read.
    pub(super) fn job<P: Platform>(&self, platform: &P, row: &Row) -> Option<VideoJob> {
        let (state, record) = (VideoState::named(&row.state)?, self.read(row)?);
        let progress = match state {
            VideoState::Completed => 100,
            VideoState::Running => record.progress_at(platform.now()),
            VideoState::Creating | VideoState::Failed => record.progress,
        };
        Some(VideoJob {
            id: row.id.clone(),
            ratio: record.ratio(),
            failure: record.failure(),
            model: record.model,
            prompt: record.prompt,
            state,
            progress,
            created_at: row.created_at,
            ended_at: (!state.is_open()).then_some(row.ended_at),
        })
    }

    /// Writes a record as the store has it.
    ///
    /// # Errors
    /// `store_unavailable` without randomness.
    pub(super) fn seal(&self, platform: &impl Platform, id: &str, record: &FilmRecord) -> Result<String> {
        let text = serde_json::to_string(record).map_err(Error::store_unavailable)?;
        let random = || platform.random().map_err(Error::store_unavailable);
        let sealed = self.cipher.encrypt(&text, id, [random()?, random()?]);
        sealed.ok_or_else(|| Error::store_unavailable("a video cannot be encrypted"))
    }

    pub(super) fn read(&self, row: &Row) -> Option<FilmRecord> {
        let text = self.cipher.decrypt(&row.body, &row.id);
        let text = text.inspect_err(|problem| tracing::warn!(problem, "a video job cannot be read")).ok()?;
        serde_json::from_str(&text).ok()
    }
}

fn not_found() -> Error {
    Error::new(
        ErrorKind::VideoNotFound,
        "There is no such video among those begun with this key. GET /v1/videos lists them.",
    )
}

fn not_ready() -> Error {
    Error::new(
        ErrorKind::VideoNotReady,
        "The video is still being made. GET /v1/videos/{id} shows when its status is 'completed'.",
    )
}
