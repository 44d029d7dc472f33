//! What the store has of a video job, and what may be told of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::record::Failure;
use crate::{
    error::{Error, ErrorKind, VideoFault},
    llm::Ratio,
    unix_time::UnixMillis,
};

/// The progress of a job in the making is at most this many percent.
const MAX_PROGRESS: f64 = 95.0;
/// How long a video takes, as the estimate of progress has it, in seconds.
const PACE: f64 = 90.0;
/// The longest reason of the site that is passed on, in characters.
const MAX_REASON: usize = 300;

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoState {
    /// The site has not said yet that it makes it.
    Creating,
    /// It is in the making.
    Running,
    /// It is there.
    Completed,
    /// There will be none.
    Failed,
}

impl VideoState {
    /// The word for it in the store.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }

    /// The state of this word; `None` for a job that was refused, and for a word of a newer version.
    pub(super) fn named(word: &str) -> Option<Self> {
        [Self::Creating, Self::Running, Self::Completed, Self::Failed].into_iter().find(|state| state.as_str() == word)
    }

    /// Whether it may still change.
    pub(super) const fn is_open(self) -> bool {
        matches!(self, Self::Creating | Self::Running)
    }
}

/// Why a video could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoFailure {
    /// The kind of failure.
    pub fault: VideoFault,
    /// What went wrong, for the client.
    pub message: String,
}

impl VideoFailure {
    /// The failure as an error.
    #[must_use]
    pub fn error(&self) -> Error {
        Error::new(ErrorKind::VideoFailed(self.fault), self.message.clone()).without_repeat()
    }
}

/// A video job as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoJob {
    /// Its id.
    pub id: String,
    /// The model, as the client named it.
    pub model: String,
    /// What it shows.
    pub prompt: String,
    /// Its shape.
    pub ratio: Ratio,
    /// How far it is.
    pub state: VideoState,
    /// The same in percent, as an estimate.
    pub progress: u8,
    /// When it was asked for.
    pub created_at: UnixMillis,
    /// When it ended.
    pub ended_at: Option<UnixMillis>,
    /// Why it failed.
    pub failure: Option<VideoFailure>,
}

/// A video job as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct FilmRecord {
    /// The model, as the client named it.
    pub(super) model: String,
    pub(super) prompt: String,
    ratio: String,
    /// Its chat; empty = the site was not asked.
    pub(super) chat_id: String,
    /// Its node in the chat, when known.
    pub(super) response_id: String,
    /// The site's task; empty = not known.
    pub(super) task_id: String,
    /// When the site said that it makes it.
    pub(super) begun_at: UnixMillis,
    /// The highest progress that was reported.
    pub(super) progress: u8,
    /// How often in a row the site did not know the task.
    pub(super) unknown: u32,
    /// The site's link. Never for clients or logs: it holds the account's id.
    pub(super) link: String,
    /// Why there is none: the code of the fault, and the message.
    failure: Option<(String, String)>,
    /// Why the site began nothing.
    pub(super) refusal: Option<Failure>,
}

impl FilmRecord {
    pub(super) fn new(model: String, prompt: String, ratio: Ratio) -> Self {
        Self { model, prompt, ratio: ratio.as_str().to_owned(), ..Self::default() }
    }

    pub(super) fn set_failure(&mut self, fault: VideoFault, message: String) {
        self.failure = Some((fault.code().to_owned(), message));
    }

    pub(super) fn failure(&self) -> Option<VideoFailure> {
        let (code, message) = self.failure.clone()?;
        let fault = VideoFault::ALL.into_iter().find(|fault| fault.code() == code).unwrap_or(VideoFault::Failed);
        Some(VideoFailure { fault, message })
    }

    pub(super) fn ratio(&self) -> Ratio {
        Ratio::named(&self.ratio).unwrap_or(Ratio::Wide)
    }

    /// The progress at `now`, in percent; it never falls.
    pub(super) fn progress_at(&self, now: UnixMillis) -> u8 {
        if self.begun_at == UnixMillis::default() {
            return self.progress;
        }
        self.progress.max(estimate(now.since(self.begun_at)))
    }
}

/// How far a video is after this time, in percent.
fn estimate(time: Duration) -> u8 {
    let percent = MAX_PROGRESS * (1.0 - (-time.as_secs_f64() / PACE).exp());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 95")]
    let whole = percent.clamp(0.0, MAX_PROGRESS) as u8;
    whole
}

/// Words of the content inspection, in lower case.
const INSPECTION: &[&str] = &[
    "data_inspection",
    "inspection",
    "inappropriate",
    "sensitive",
    "content security",
    "content policy",
    "moderation",
    "unsafe",
    "violat",
    "prohibited",
    "nsfw",
    "违规",
    "敏感",
    "审核",
    "不适当",
    "不合规",
];
/// Words of a quota that is used up.
const QUOTA: &[&str] = &["quota", "ratelimited", "daily usage limit", "usage limit", "credit", "额度", "次数", "积分"];

/// What kind of failure the site's words tell of.
pub(super) fn fault_of(reason: &str) -> VideoFault {
    let lower = reason.to_lowercase();
    let says = |any: &[&str]| any.iter().any(|word| lower.contains(word));
    match () {
        () if says(INSPECTION) => VideoFault::Refused,
        () if says(QUOTA) => VideoFault::Quota,
        () => VideoFault::Failed,
    }
}

/// What a client is told of a failure. The site's words may hold links, which are the account's.
pub(super) fn failure_message(fault: VideoFault, reason: &str) -> String {
    let words = reason.split(|character: char| character.is_whitespace() || character.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty() && !word.contains("://")).collect();
    let words: String = words.join(" ").chars().take(MAX_REASON).collect();
    let what = match fault {
        VideoFault::Refused => {
            "chat.qwen.ai's content inspection has refused the video. Word it differently, or use another picture"
        }
        VideoFault::Quota => {
            "A quota of the account for videos is used up. Wait until tomorrow; chat.qwen.ai shows what is left"
        }
        VideoFault::Failed => "chat.qwen.ai could not make the video. Begin it again, or word it differently",
        VideoFault::TaskLost => {
            "chat.qwen.ai does not know the video any more. Look into the chats of this account at chat.qwen.ai before you begin it again: each video counts"
        }
        VideoFault::Timeout => {
            "chat.qwen.ai has not made the video in time (VIDEO_TIMEOUT_SECONDS). Look into the chats of this account at chat.qwen.ai before you begin it again: each video counts"
        }
    };
    if words.is_empty() { format!("{what}.") } else { format!("{what}. It said: {words}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_follows_the_formula_and_never_falls() {
        let record = FilmRecord { begun_at: UnixMillis::new(1_000), ..FilmRecord::default() };
        let at = |seconds: u64| record.progress_at(UnixMillis::new(1_000 + seconds * 1_000));
        let all: Vec<u8> = [0, 1, 10, 45, 90, 180, 360, 900, 100_000].map(at).to_vec();
        assert_eq!(all, [0, 1, 9, 37, 60, 82, 93, 94, 95]);
        assert_eq!(record.progress_at(UnixMillis::new(0)), 0, "before it began");
        let told = FilmRecord { progress: 60, ..record };
        assert_eq!(told.progress_at(UnixMillis::new(2_000)), 60);
        assert_eq!(FilmRecord::default().progress_at(UnixMillis::new(9_000_000)), 0, "it has not begun");
    }

    #[test]
    fn the_sites_words_tell_the_fault() {
        for (reason, expected) in [
            ("", VideoFault::Failed),
            ("No video.", VideoFault::Failed),
            ("data_inspection_failed: The video could not be made.", VideoFault::Refused),
            ("Input data may contain inappropriate content.", VideoFault::Refused),
            ("内容违规", VideoFault::Refused),
            ("Allocated quota exceeded", VideoFault::Quota),
            ("今日视频生成额度已用完", VideoFault::Quota),
            ("Insufficient credits", VideoFault::Quota),
        ] {
            assert_eq!(fault_of(reason), expected, "{reason}");
        }
        let message = failure_message(VideoFault::Failed, "see https://cdn.qwenlm.ai/output/u/x.mp4?key=k \u{7} now");
        assert!(message.ends_with("It said: see now") && !message.contains("cdn"), "{message}");
        assert!(failure_message(VideoFault::Timeout, "").ends_with("counts."));
    }

    #[test]
    fn a_record_is_the_same_when_it_is_read_again() {
        let mut record = FilmRecord::new("sora-2".to_owned(), "a kite".to_owned(), Ratio::Tall);
        record.set_failure(VideoFault::TaskLost, "gone".to_owned());
        let again: FilmRecord = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
        assert_eq!((again.ratio(), again.failure().unwrap().fault), (Ratio::Tall, VideoFault::TaskLost));
        assert_eq!(again, record);
        let old: FilmRecord = serde_json::from_str("{}").unwrap();
        assert_eq!((old.ratio(), old.failure()), (Ratio::Wide, None));
    }
}
