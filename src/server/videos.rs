//! `/v1/videos…`: videos as jobs.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Response, StatusCode};
use url::form_urlencoded;

use super::{
    App,
    body::{self, Reservation},
    form::{Form, Texts, is_form},
    images::{is_fresh, media_of, upload},
    media_files, reply,
};
use crate::{
    accounts::{Caller, KeyHolder},
    api::openai::videos::{
        self, DeletedVideo, FORM_TEXTS, Video, VideoError, VideoList, VideoObject, VideoStatus, parse_list_query,
    },
    chat::{Attachments, upload_attachments},
    error::{Error, ErrorKind, Result},
    llm::{Ratio, VideoRequest},
    media::{VideoJob, VideoOrder, VideoState, request_key},
    platform::{self, Body, Platform, Request},
    unix_time::UnixMillis,
    upstream::qwen::VIDEO_MODEL,
};

/// The field of the first frame.
const FIRST_FRAME: &str = "input_reference";
/// The media type of all videos.
const VIDEO_TYPE: &str = "video/mp4";
/// Tells OpenAI's SDKs how many milliseconds to wait before they ask again.
const POLL_AFTER: HeaderName = HeaderName::from_static("openai-poll-after-ms");
/// The site is asked no more often than this.
const POLL_AFTER_MS: &str = "5000";

/// A request for a video, and its first frame.
struct Asked {
    is_fresh: bool,
    caller: Option<Caller>,
    video: VideoRequest,
    attachments: Attachments,
    /// The request's share of the memory, kept until the frame is uploaded.
    reservation: Reservation,
}

pub(super) async fn create<P: Platform>(
    app: &Arc<App>,
    platform: &P,
    key: KeyHolder,
    request: Request,
) -> Result<Response<Body>> {
    let asked = if is_form(&request.headers) {
        read_form(app, platform, &key, request).await?
    } else {
        read_json(app, platform, request).await?
    };
    let Asked { is_fresh, caller, video, attachments, reservation } = asked;
    let VideoRequest { model, prompt, ratio, first_frame: _ } = video;
    key.ready(platform).await?;
    let caller = match caller {
        Some(caller) => caller,
        None => key.caller(platform).await,
    };
    let model = model.unwrap_or_else(|| VIDEO_MODEL.to_owned());
    platform.request_metrics().record().model = Some(model.clone());
    let text_model = key.account.qwen.choose_video(platform, &model).await;
    let services = app.services(&caller.account);
    let files = upload_attachments(platform, &services, (&caller.owner, app.reach()), (&attachments, 0)).await?;
    drop(reservation);
    let ratio = ratio.unwrap_or(Ratio::Wide);
    let fixed = ["videos", &prompt, &text_model, ratio.as_str()];
    let order = VideoOrder {
        key: request_key(caller.scope(), fixed.into_iter().chain(attachments.fingerprints())),
        owner: caller.owner.clone(),
        is_fresh,
        model,
        text_model,
        ratio,
        prompt,
        first_frame: files.into_iter().next(),
    };
    let job = app.videos(&caller.account).create(platform, order).await?;
    Ok(reply::with_upstream(answer(&job), "qwen"))
}

async fn read_json<P: Platform>(app: &App, platform: &P, request: Request) -> Result<Asked> {
    let is_fresh = is_fresh(&request.headers);
    let limit = body::chat_limit(&app.config.product);
    let body = body::collect(&app.memory, platform, &request.headers, request.body, limit).await?;
    platform::work_on(platform, body.len(), move || {
        let mut video = videos::parse(&body)?;
        let attachments = Attachments::of_media(video.first_frame.take().into_iter().collect())?;
        Ok(Asked { is_fresh, caller: None, video, attachments, reservation: body.into_reservation() })
    })
    .await
}

/// Reads a form; its picture is uploaded as it arrives.
async fn read_form<P: Platform>(app: &App, platform: &P, key: &KeyHolder, request: Request) -> Result<Asked> {
    let is_fresh = is_fresh(&request.headers);
    let Request { headers, body, .. } = request;
    let mut form = Form::open(platform, &headers, body, app.config.max_image_bytes)?;
    key.ready(platform).await?;
    let caller = key.caller(platform).await;
    let (mut files, mut texts) = (Vec::new(), Texts::new(FORM_TEXTS, app.memory.reservation()));
    while let Some(field) = form.next().await? {
        if field.file_name.is_none() || field.name != FIRST_FRAME {
            texts.add(field).await?;
        } else if files.is_empty() {
            files.push(upload(platform, &caller, field).await?);
        } else {
            return Err(Error::invalid(FIRST_FRAME, "A video has one first frame; send one picture."));
        }
    }
    let media = files.iter().map(|file| media_of(platform, file)).collect();
    let mut video = videos::parse_form(media, |name| texts.take(name))?;
    let attachments = match files.first() {
        Some(file) => Attachments::uploaded(platform, file),
        None => Attachments::of_media(video.first_frame.take().into_iter().collect())?,
    };
    Ok(Asked { is_fresh, caller: Some(caller), video, attachments, reservation: texts.into_reservation() })
}

pub(super) async fn list<P: Platform>(
    app: &App,
    platform: &P,
    key: KeyHolder,
    query: Option<&str>,
) -> Result<Response<Body>> {
    let videos::ListQuery { limit, after, is_ascending } = parse_list_query(query)?;
    let caller = key.caller(platform).await;
    let page = (after.as_deref(), is_ascending);
    let (jobs, has_more) = app.videos(&caller.account).list(platform, &caller.owner.scope, page, limit).await?;
    Ok(reply::json(StatusCode::OK, &VideoList::new(jobs.iter().map(object), has_more)))
}

pub(super) async fn show<P: Platform>(app: &App, platform: &P, key: KeyHolder, id: &str) -> Result<Response<Body>> {
    let caller = ready_caller(platform, key).await;
    Ok(answer(&app.videos(&caller.account).find(platform, &caller.owner, id).await?))
}

pub(super) async fn delete<P: Platform>(app: &App, platform: &P, key: KeyHolder, id: &str) -> Result<Response<Body>> {
    let caller = key.caller(platform).await;
    app.videos(&caller.account).remove(platform, &caller.owner.scope, id).await?;
    Ok(reply::json(StatusCode::OK, &DeletedVideo::new(id)))
}

pub(super) async fn content<P: Platform>(
    app: &Arc<App>,
    platform: &P,
    key: KeyHolder,
    (id, request): (&str, &Request),
) -> Result<Response<Body>> {
    for (name, value) in form_urlencoded::parse(request.query.as_deref().unwrap_or_default().as_bytes()) {
        if name == "variant" && !matches!(&*value, "" | "video") {
            let problem = "The field 'variant' may be 'video' alone: the site makes no thumbnails or sprite sheets.";
            return Err(Error::new(ErrorKind::UnsupportedValue, problem).with_param("variant"));
        }
    }
    let caller = ready_caller(platform, key).await;
    let videos = app.videos(&caller.account);
    let source = videos.source(platform, &caller.owner, id).await?;
    let permit = app.media_limiter.acquire(platform).await?;
    let range = request.headers.get("range");
    let passed =
        media_files::pass_on(app, platform, (&source, &caller), range.as_deref(), (permit, Some(VIDEO_TYPE))).await?;
    if let (_, Some(newer_link)) = &passed {
        videos.keep_link(platform, &caller.owner, id, newer_link.clone()).await;
    }
    Ok(passed.0)
}

/// The caller, with a session that may be asked. Without one a job is told as it is known.
async fn ready_caller(platform: &impl Platform, key: KeyHolder) -> Caller {
    if let Err(error) = key.ready(platform).await {
        tracing::info!(%error, "the state of videos cannot be asked for");
    }
    key.caller(platform).await
}

/// A job as a response.
fn answer(job: &VideoJob) -> Response<Body> {
    let mut answer = reply::json(StatusCode::OK, &VideoObject::from(object(job)));
    if matches!(job.state, VideoState::Creating | VideoState::Running) {
        answer.headers_mut().insert(POLL_AFTER, HeaderValue::from_static(POLL_AFTER_MS));
    }
    answer
}

fn object(job: &VideoJob) -> Video<'_> {
    let VideoJob { id, model, prompt, ratio, state, progress, created_at, ended_at, failure } = job;
    Video {
        id,
        model,
        prompt,
        ratio: Some(*ratio),
        status: match state {
            VideoState::Creating => VideoStatus::Queued,
            VideoState::Running => VideoStatus::InProgress,
            VideoState::Completed => VideoStatus::Completed,
            VideoState::Failed => VideoStatus::Failed,
        },
        progress: *progress,
        created_at: created_at.seconds(),
        completed_at: ended_at.filter(|_| *state == VideoState::Completed).map(UnixMillis::seconds),
        expires_at: None,
        error: failure.as_ref().map(|failure| VideoError { code: failure.fault.code(), message: &failure.message }),
    }
}
