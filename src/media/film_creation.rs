//! Begins a video at the site, once. Its row is written before and after each step, so that whoever finds it later can tell
//! what became of it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{
    channel::oneshot,
    future::{Either, select},
};

use super::{
    digests::of_account,
    drawing::picture_error,
    film_record::{FilmRecord, VideoJob, VideoState},
    record::Failure,
    videos::{REPEATS, Videos},
};
use crate::{
    error::{Error, ErrorKind, Result},
    llm::Ratio,
    platform::Platform,
    store::videos::{self as table, Change, Video as Row},
    unix_time::UnixMillis,
    upstream::{FileEntry, FilmAsk, FilmTask, Owner},
};

/// How long a job that is being begun belongs to whoever begins it. It is renewed meanwhile.
const HOLD: Duration = Duration::from_secs(30);
/// How often that is renewed.
const RENEWAL: Duration = Duration::from_secs(10);
/// How often a job that somebody else begins is looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How many equal jobs in a row are waited for that come to nothing.
const MAX_JOINS: u32 = 3;
/// How often a chat is read for the task of a video whose answer was lost, and the pause between.
const MAX_READS: u32 = 3;
const READ_INTERVAL: Duration = Duration::from_secs(5);
/// The state of a job that the site refused. It is kept for a while for those who wait for it.
const REFUSED: &str = "refused";

/// A video to be made.
#[derive(Clone, Debug)]
pub struct VideoOrder {
    /// For whom.
    pub owner: Owner,
    /// What requests have in common that are the same, as [`super::request_key`] returns it.
    pub key: String,
    /// Whether to begin anew although the same was asked for a short while ago.
    pub is_fresh: bool,
    /// The model, as the client named it.
    pub model: String,
    /// The upstream id of the text model that carries the request.
    pub text_model: String,
    /// The shape.
    pub ratio: Ratio,
    /// What it shows.
    pub prompt: String,
    /// Its first frame.
    pub first_frame: Option<FileEntry>,
}

impl Videos {
    /// Begins a video and returns its job once the site makes it; returns an equal job that runs, or has completed a short while
    /// ago. A client that leaves does not end it.
    ///
    /// # Errors
    /// Any refusal, and `store_unavailable` before the site is asked.
    pub async fn create<P: Platform>(&self, platform: &P, order: VideoOrder) -> Result<VideoJob> {
        let mut is_fresh = order.is_fresh;
        for _ in 0..MAX_JOINS {
            let now = platform.now();
            let record = FilmRecord::new(order.model.clone(), order.prompt.clone(), order.ratio);
            let id = platform.random().map_err(Error::store_unavailable)?;
            let id = format!("video_{:032x}", u128::from_be_bytes(id));
            let row = Row {
                scope: order.owner.scope.as_str().to_owned(),
                account: of_account(&order.owner.account),
                request: order.key.clone(),
                state: VideoState::Creating.as_str().to_owned(),
                held_until: now.saturating_add(HOLD),
                body: self.seal(platform, &id, &record)?,
                created_at: now,
                ended_at: UnixMillis::default(),
                id,
            };
            let since = (!is_fresh).then(|| now.saturating_sub(REPEATS));
            let Some(equal) = table::begin(platform, &row, since).await.map_err(Error::store_unavailable)? else {
                return self.begin(platform, order, row, record).await;
            };
            if let Some(job) = self.join(platform, &order.owner, equal).await? {
                return Ok(job);
            }
            is_fresh = true;
        }
        Err(interrupted())
    }

    /// Begins a job whose row is written.
    async fn begin<P: Platform>(
        &self,
        platform: &P,
        order: VideoOrder,
        row: Row,
        record: FilmRecord,
    ) -> Result<VideoJob> {
        let (sender, receiver) = oneshot::channel();
        let detached = platform.detached();
        let creation = Creation::new(detached.clone(), self.clone(), order, row, record);
        detached.defer(async move {
            let done = creation.run(|| sender.is_canceled()).await;
            if let (Err(error), true) = (&done, sender.is_canceled()) {
                tracing::warn!(%error, "a video was not begun, and its client has left");
            }
            let _ = sender.send(done);
        });
        receiver.await.unwrap_or_else(|_| Err(interrupted()))
    }

    /// Waits until an equal job is begun. `None` when it is gone, or cannot be read.
    async fn join<P: Platform>(&self, platform: &P, owner: &Owner, mut row: Row) -> Result<Option<VideoJob>> {
        loop {
            row = self.look(platform, owner, row).await;
            let Some(record) = self.read(&row) else { return Ok(None) };
            if let Some(refusal) = &record.refusal {
                return Err(refusal.error());
            }
            match VideoState::named(&row.state) {
                Some(VideoState::Creating) => {}
                // The site was never asked.
                Some(VideoState::Failed) if record.chat_id.is_empty() => return Ok(None),
                Some(VideoState::Failed) => return Err(record.failure().map_or_else(interrupted, |it| it.error())),
                Some(_) => return Ok(self.job(platform, &row)),
                None => return Ok(None),
            }
            if platform.client_left() {
                return Err(interrupted());
            }
            platform.sleep(POLL_INTERVAL).await;
            let (scope, id) = (row.scope.clone(), row.id.clone());
            match table::find(platform, &scope, &id).await.map_err(Error::store_unavailable)? {
                Some(found) => row = found,
                None => return Ok(None),
            }
        }
    }
}

/// A job that is being begun.
struct Creation<P> {
    platform: P,
    videos: Videos,
    order: VideoOrder,
    state: Mutex<State>,
}

struct State {
    row: Row,
    record: FilmRecord,
}

impl<P: Platform> Creation<P> {
    /// A job whose row is written.
    fn new(platform: P, videos: Videos, order: VideoOrder, row: Row, record: FilmRecord) -> Self {
        Self { platform, videos, order, state: Mutex::new(State { row, record }) }
    }

    /// Begins it and returns it as it is then. `has_left` = whether the client has left.
    async fn run(&self, has_left: impl Fn() -> bool) -> Result<VideoJob> {
        let done = {
            let mut work = std::pin::pin!(self.work(&has_left));
            loop {
                match select(work.as_mut(), self.platform.sleep(RENEWAL)).await {
                    Either::Left((done, _)) => break done,
                    Either::Right(_) => {
                        self.write(VideoState::Creating.as_str()).await;
                    }
                }
            }
        };
        match done {
            Ok(()) => {
                let state =
                    if self.state().record.link.is_empty() { VideoState::Running } else { VideoState::Completed };
                self.write(state.as_str()).await;
                let row = self.state().row.clone();
                self.videos.job(&self.platform, &row).ok_or_else(|| Error::store_unavailable("a job cannot be read"))
            }
            Err(error) => {
                self.state().record.refusal = Some(Failure::of(&error));
                self.write(REFUSED).await;
                Err(error)
            }
        }
    }

    async fn work(&self, has_left: &impl Fn() -> bool) -> Result<()> {
        let Self { platform, videos: Videos { upstream, limiter, .. }, order, .. } = self;
        let _permit = limiter.acquire(platform).await?;
        if has_left() {
            return Err(Error::new(ErrorKind::UpstreamError, "The client left before the video was begun."));
        }
        upstream.check(platform.now())?;
        let VideoOrder { owner, text_model, ratio, prompt, first_frame, .. } = order;
        let ask = FilmAsk { text_model, ratio: *ratio, prompt, first_frame: first_frame.as_ref() };
        let chat_id = upstream.new_film(platform, owner, &ask).await.map_err(picture_error)?;
        self.state().record.chat_id.clone_from(&chat_id);
        // A row without a chat is the proof that no video was begun.
        if !self.write(VideoState::Creating.as_str()).await {
            return Err(Error::store_unavailable("the chat of a video was not written"));
        }
        match upstream.film(platform, owner, &chat_id, &ask).await.map_err(picture_error)? {
            Some(task) => self.begun(task),
            None => self.recover(&chat_id).await?,
        }
        Ok(())
    }

    fn begun(&self, task: FilmTask) {
        let FilmTask { task_id, response_id } = task;
        let record = &mut self.state().record;
        record.begun_at = self.platform.now();
        (record.task_id, record.response_id) = (task_id, response_id);
    }

    /// Looks for a video whose answer was lost: it may be in the making, and is paid for.
    async fn recover(&self, chat_id: &str) -> Result<()> {
        let Self { platform, videos, order, .. } = self;
        for read in 0..MAX_READS {
            if read > 0 {
                platform.sleep(READ_INTERVAL).await;
            }
            let found = videos.in_chat(platform, &order.owner, (chat_id, "")).await;
            if let Some(error) = found.refused {
                return Err(error.without_repeat());
            }
            if let Some(task) = found.task {
                self.begun(task);
                return Ok(());
            }
            if let Some(link) = found.link {
                self.begun(FilmTask { task_id: String::new(), response_id: found.response_id });
                self.state().record.link = link;
                return Ok(());
            }
        }
        let message = "chat.qwen.ai did not say whether it makes the video. Look into the chats of this account at chat.qwen.ai before you ask again: the video may be there, and each one counts.";
        Err(Error::new(ErrorKind::UpstreamEmpty, message).without_repeat())
    }

    /// Writes the job down as it is. Returns whether it is written; else the row says less than is known, and the chat shows the
    /// rest later.
    async fn write(&self, state: &str) -> bool {
        let now = self.platform.now();
        let (id, held, record) = {
            let state = self.state();
            (state.row.id.clone(), state.row.held_until, state.record.clone())
        };
        let Ok(body) = self.videos.seal(&self.platform, &id, &record) else { return false };
        let is_creating = state == VideoState::Creating.as_str();
        let is_open = is_creating || state == VideoState::Running.as_str();
        // What is begun may be asked for at once, whatever the clocks of others say.
        let held_until = if is_creating { now.saturating_add(HOLD) } else { UnixMillis::default() };
        let ended_at = if is_open { UnixMillis::default() } else { now };
        let change = Change { state, held_until, body: &body, ended_at };
        let written = table::write(&self.platform, &id, held, change).await;
        let is_written = self.videos.store_health.ok_or_log("writing a video", written) == Some(true);
        let row = &mut self.state().row;
        if is_written {
            row.held_until = held_until;
        }
        (row.state, row.body, row.ended_at) = (state.to_owned(), body, ended_at);
        is_written
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn interrupted() -> Error {
    Error::new(
        ErrorKind::UpstreamError,
        "This server was interrupted while the video was begun. GET /v1/videos lists it if chat.qwen.ai makes it.",
    )
    .without_repeat()
}
