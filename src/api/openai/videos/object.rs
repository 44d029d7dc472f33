//! A video job as JSON.

use serde::Serialize;

use crate::{llm::Ratio, unix_time::UnixSeconds};

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum VideoStatus {
    /// It has not begun.
    Queued,
    /// It runs.
    InProgress,
    /// The video is there.
    Completed,
    /// There will be no video.
    Failed,
}

/// Why a job failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct VideoError<'a> {
    /// Stable; programs should go by it.
    pub code: &'a str,
    /// What went wrong, and what to do next.
    pub message: &'a str,
}

/// A job as this server knows it.
#[derive(Clone, Copy, Debug)]
pub struct Video<'a> {
    /// Its id.
    pub id: &'a str,
    /// The model, as the client named it.
    pub model: &'a str,
    /// What it shows.
    pub prompt: &'a str,
    /// Its shape; `None` = 16:9.
    pub ratio: Option<Ratio>,
    /// How far it is.
    pub status: VideoStatus,
    /// The same in percent, as an estimate.
    pub progress: u8,
    /// When it began.
    pub created_at: UnixSeconds,
    /// When it ended.
    pub completed_at: Option<UnixSeconds>,
    /// When the video can no longer be fetched, if that is known.
    pub expires_at: Option<UnixSeconds>,
    /// Why it failed.
    pub error: Option<VideoError<'a>>,
}

/// A video job.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = Video))]
pub struct VideoObject<'a> {
    id: &'a str,
    /// `video`
    object: &'static str,
    model: &'a str,
    status: VideoStatus,
    /// 0 to 100, an estimate by the time that has passed.
    progress: u8,
    /// Unix time in seconds.
    created_at: u64,
    /// Unix time in seconds.
    completed_at: Option<u64>,
    /// Unix time in seconds.
    expires_at: Option<u64>,
    /// `5`: the site has one length.
    seconds: &'static str,
    /// A size of the video's shape, not its pixels, which the site chooses.
    size: &'static str,
    prompt: &'a str,
    /// Always `null`.
    #[cfg_attr(test, schema(value_type = Option<String>))]
    remixed_from_video_id: (),
    error: Option<VideoError<'a>>,
}

/// The length of all videos.
const SECONDS: &str = "5";

/// The size that stands for a shape: OpenAI's own where it has the shape. The site reports none before the video is there.
const fn size(ratio: Option<Ratio>) -> &'static str {
    match ratio {
        None | Some(Ratio::Wide) => "1280x720",
        Some(Ratio::Tall) => "720x1280",
        Some(Ratio::Square) => "1440x1440",
        Some(Ratio::Landscape) => "960x720",
        Some(Ratio::Portrait) => "720x960",
    }
}

impl<'a> From<Video<'a>> for VideoObject<'a> {
    fn from(video: Video<'a>) -> Self {
        let Video { id, model, prompt, ratio, status, progress, created_at, completed_at, expires_at, error } = video;
        Self {
            id,
            object: "video",
            model,
            status,
            progress: progress.min(100),
            created_at: created_at.get(),
            completed_at: completed_at.map(UnixSeconds::get),
            expires_at: expires_at.map(UnixSeconds::get),
            seconds: SECONDS,
            size: size(ratio),
            prompt,
            remixed_from_video_id: (),
            error,
        }
    }
}

/// Video jobs.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct VideoList<'a> {
    /// `list`
    object: &'static str,
    data: Vec<VideoObject<'a>>,
    first_id: Option<&'a str>,
    /// The value of `after` for the next page.
    last_id: Option<&'a str>,
    has_more: bool,
}

impl<'a> VideoList<'a> {
    /// A page of jobs, in this order.
    pub fn new(videos: impl IntoIterator<Item = Video<'a>>, has_more: bool) -> Self {
        let data: Vec<VideoObject<'a>> = videos.into_iter().map(VideoObject::from).collect();
        let id = |video: Option<&VideoObject<'a>>| video.map(|video| video.id);
        let (first_id, last_id) = (id(data.first()), id(data.last()));
        Self { object: "list", data, first_id, last_id, has_more }
    }
}

/// A job that was forgotten.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct DeletedVideo<'a> {
    id: &'a str,
    /// `video.deleted`
    object: &'static str,
    /// `true`
    deleted: bool,
}

impl<'a> DeletedVideo<'a> {
    /// The job of this id.
    #[must_use]
    pub const fn new(id: &'a str) -> Self {
        Self { id, object: "video.deleted", deleted: true }
    }
}
