//! Follows videos in the making: whoever asks for a job's state holds it meanwhile, so that the site is asked by one at a time
//! and at most every five seconds, however many processes there are.

use std::time::Duration;

use super::{
    film_record::{FilmRecord, VideoState, failure_message, fault_of},
    videos::Videos,
};
use crate::{
    error::{Error, ErrorKind, VideoFault},
    platform::{self, Platform},
    store::videos::{self as table, Change, Video as Row},
    unix_time::UnixMillis,
    upstream::{ChatAnswer, FilmTask, Owner, TaskState, WantedAnswer},
};

/// How often the site is asked for the state of a job.
const ASK_INTERVAL: Duration = Duration::from_secs(5);
/// How long the site may take to report a state, or to hand out a chat.
const ASK_TIMEOUT: Duration = Duration::from_secs(25);
/// How long a job is held while the site is asked: for a state, and for a chat.
const ASK_HOLD: Duration = Duration::from_secs(60);
/// No hold is longer than this, unless a clock was wrong.
const LONGEST_HOLD: Duration = Duration::from_secs(120);
/// How often in a row the site may not know a task.
const MAX_UNKNOWN: u32 = 2;
/// How long the chat of a job is looked into whose beginning was interrupted.
const CREATION_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// How the paths of videos end.
const VIDEO_SUFFIXES: &[&str] = &[".mp4", ".webm", ".mov"];

/// What a chat shows of its video.
#[derive(Debug, Default)]
pub(super) struct InChat {
    /// The site's link to it.
    pub(super) link: Option<String>,
    /// The task that makes it.
    pub(super) task: Option<FilmTask>,
    /// The node of the answer.
    pub(super) response_id: String,
    /// Whether the chat could be read.
    is_read: bool,
    /// Why the site must not be asked.
    pub(super) refused: Option<Error>,
}

/// What a look at a job shows.
enum Look {
    /// It goes on, or nothing was said of it.
    Open,
    /// The site must not be asked now: a person has to do something first.
    Barred,
    /// The video is there: the site's link.
    Done(String),
    /// There will be none, for a reason of the site's.
    Failed(VideoFault, String),
}

impl Videos {
    /// Returns a job after a look at the site, if it is not over and nobody has looked a short while ago. A failure leaves it as
    /// it is.
    pub(super) async fn look<P: Platform>(&self, platform: &P, owner: &Owner, row: Row) -> Row {
        let now = platform.now();
        let latest = now.saturating_add(LONGEST_HOLD);
        let is_open = VideoState::named(&row.state).is_some_and(VideoState::is_open);
        let is_free = row.held_until <= now || row.held_until > latest;
        if !is_open || !is_free || self.upstream.check(now).is_err() {
            return row;
        }
        let until = now.saturating_add(ASK_HOLD);
        let taken = table::take(platform, &row.id, until, (now, latest)).await;
        let Some(taken) = self.store_health.ok_or_log("taking a video", taken).flatten() else { return row };
        let Some(mut record) = self.read(&taken) else { return row };
        let mut state = VideoState::named(&taken.state).unwrap_or(VideoState::Creating);
        let look = if state == VideoState::Creating {
            self.look_at_beginning(platform, owner, &taken, (&mut record, &mut state)).await
        } else {
            self.look_at_task(platform, owner, &taken, &mut record).await
        };
        match look {
            Look::Open | Look::Barred => record.progress = record.progress_at(platform.now()),
            Look::Done(link) => (state, record.link) = (VideoState::Completed, link),
            Look::Failed(fault, reason) => {
                tracing::warn!(id = taken.id, code = fault.code(), "a video could not be made");
                record.progress = record.progress_at(platform.now());
                record.set_failure(fault, failure_message(fault, &reason));
                state = VideoState::Failed;
            }
        }
        self.let_go(platform, taken, (now, state), &record).await
    }

    /// Writes what a look that began at `now` has shown, and ends the hold.
    async fn let_go<P: Platform>(
        &self,
        platform: &P,
        taken: Row,
        (now, state): (UnixMillis, VideoState),
        record: &FilmRecord,
    ) -> Row {
        let Ok(body) = self.seal(platform, &taken.id, record) else { return taken };
        let held_until = now.saturating_add(ASK_INTERVAL);
        let ended_at = if state.is_open() { UnixMillis::default() } else { platform.now() };
        let change = Change { state: state.as_str(), held_until, body: &body, ended_at };
        let written = table::write(platform, &taken.id, taken.held_until, change).await;
        self.store_health.ok_or_log("writing a video", written);
        Row { state: state.as_str().to_owned(), held_until, body, ended_at, ..taken }
    }

    /// Asks for the state of a task.
    async fn look_at_task<P: Platform>(&self, platform: &P, owner: &Owner, row: &Row, record: &mut FilmRecord) -> Look {
        let asked = platform::timeout(platform, ASK_TIMEOUT, self.upstream.task(platform, owner, &record.task_id));
        match asked.await {
            Some(Err(error)) => {
                tracing::info!(%error, "the state of a video cannot be asked for");
                return Look::Barred;
            }
            Some(Ok(Some(TaskState::Done(link)))) if !link.is_empty() => return Look::Done(link),
            Some(Ok(Some(TaskState::Done(_)))) => {
                let found = self.in_chat(platform, owner, (&record.chat_id, &record.response_id)).await;
                let without = || Look::Failed(VideoFault::Failed, String::new());
                return found.link.map_or_else(without, Look::Done);
            }
            Some(Ok(Some(TaskState::Failed(reason)))) => return Look::Failed(fault_of(&reason), reason),
            Some(Ok(Some(TaskState::Unknown))) => {
                record.unknown = record.unknown.saturating_add(1);
                if record.unknown >= MAX_UNKNOWN {
                    let found = self.in_chat(platform, owner, (&record.chat_id, &record.response_id)).await;
                    match found {
                        InChat { link: Some(link), .. } => return Look::Done(link),
                        InChat { refused: Some(_), .. } => return Look::Barred,
                        InChat { is_read: true, .. } => return Look::Failed(VideoFault::TaskLost, String::new()),
                        InChat { .. } => {}
                    }
                }
            }
            Some(Ok(Some(TaskState::Running))) => record.unknown = 0,
            Some(Ok(None)) | None => {}
        }
        if platform.now() < row.created_at.saturating_add(self.timeout) {
            return Look::Open;
        }
        match self.in_chat(platform, owner, (&record.chat_id, &record.response_id)).await {
            InChat { link: Some(link), .. } => Look::Done(link),
            InChat { refused: Some(_), .. } => Look::Barred,
            InChat { .. } => Look::Failed(VideoFault::Timeout, String::new()),
        }
    }

    /// Looks into the chat of a job whose beginning was interrupted.
    async fn look_at_beginning<P: Platform>(
        &self,
        platform: &P,
        owner: &Owner,
        row: &Row,
        (record, state): (&mut FilmRecord, &mut VideoState),
    ) -> Look {
        let lost = || Look::Failed(VideoFault::TaskLost, String::new());
        if record.chat_id.is_empty() {
            return lost();
        }
        let found = self.in_chat(platform, owner, (&record.chat_id, "")).await;
        if found.refused.is_some() {
            return Look::Barred;
        }
        if let Some(link) = found.link {
            record.response_id = found.response_id;
            return Look::Done(link);
        }
        if let Some(FilmTask { task_id, response_id }) = found.task {
            (record.task_id, record.response_id) = (task_id, response_id);
            record.begun_at = row.created_at;
            *state = VideoState::Running;
            return Look::Open;
        }
        let timeout = self.timeout.min(CREATION_TIMEOUT);
        if platform.now() < row.created_at.saturating_add(timeout) { Look::Open } else { lost() }
    }

    /// Looks for a video in its chat: at the answer's node, or at the newest answer.
    pub(super) async fn in_chat<P: Platform>(
        &self,
        platform: &P,
        owner: &Owner,
        (chat_id, response_id): (&str, &str),
    ) -> InChat {
        let read = async {
            let by_node = match response_id {
                "" => None,
                node => self.upstream.chat_answer(platform, owner, chat_id, WantedAnswer::Node(node)).await?,
            };
            match by_node {
                None => self.upstream.chat_answer(platform, owner, chat_id, WantedAnswer::After(None)).await,
                found => Ok(found),
            }
        };
        match platform::timeout(platform, ASK_TIMEOUT, read).await {
            Some(Ok(Some(ChatAnswer { response_id, links, task, is_finished: _ }))) => {
                let is_video = |link: &String| {
                    let path = link.split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
                    VIDEO_SUFFIXES.iter().any(|suffix| path.ends_with(suffix))
                };
                let link = links.into_iter().map(|drawn| drawn.link).rfind(is_video);
                InChat { link, task, response_id, is_read: true, refused: None }
            }
            Some(Ok(None)) => InChat { is_read: true, ..InChat::default() },
            Some(Err(error)) if error.needs_a_person() => InChat { refused: Some(error), ..InChat::default() },
            Some(Err(error)) if error.kind() == ErrorKind::ChatGone => InChat { is_read: true, ..InChat::default() },
            Some(Err(error)) => {
                tracing::info!(%error, "a video's chat cannot be read");
                InChat::default()
            }
            None => InChat::default(),
        }
    }
}
