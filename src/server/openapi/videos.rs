//! The operations of videos.

use serde_json::{Value as Json, json};

use super::{
    errors::SITE,
    operations::{Answer, Operation, about, ok, reference},
};
use crate::error::{ErrorKind as K, VideoFault};

const TAG: &str = "Videos";
/// Why there are no bytes, where a job has failed. Faults that have the code of another error are not named here.
pub(super) const FAULTS: [K; 2] = [K::VideoFailed(VideoFault::Failed), K::VideoFailed(VideoFault::TaskLost)];

fn video(status: &str, progress: u8) -> Json {
    json!({
        "id": "video_6f1c0000000040008000000000000000",
        "object": "video",
        "model": "qwen-video",
        "status": status,
        "progress": progress,
        "created_at": 1_795_507_200,
        "completed_at": null,
        "expires_at": null,
        "seconds": "5",
        "size": "1280x720",
        "prompt": "A red kite rises over the sea.",
        "remixed_from_video_id": null,
        "error": null,
    })
}

/// A job, which may still run.
fn job(status: &str, progress: u8) -> Vec<Answer> {
    vec![Answer {
        status: 200,
        description: "The job.",
        contents: vec![("application/json", reference("Video"), video(status, progress))],
        headers: &[("openai-poll-after-ms", "PollAfter")],
    }]
}

pub(super) fn create() -> Operation {
    let request = json!({ "model": "qwen-video", "prompt": "A red kite rises over the sea.", "size": "1280x720" });
    let form = json!({
        "type": "object",
        "required": ["prompt"],
        "properties": {
            "prompt": { "type": "string", "minLength": 1, "maxLength": 32_000, "pattern": "\\S", "description": "What the video shows." },
            "model": { "type": "string", "maxLength": 200, "default": "qwen-video" },
            "size": { "type": "string", "default": "1280x720", "description": "A width and a height; the nearest shape is made." },
            "seconds": { "type": "string", "description": "Accepted, without effect: all videos have 5 seconds." },
            "input_reference": { "type": "string", "format": "binary", "description": "The first frame. `input_reference[image_url]` and `input_reference[file_id]` are possible instead." },
        },
    });
    let fresh = json!({
        "name": "x-fresh",
        "in": "header",
        "description": "`true`: begin anew although an equal request runs, or was answered in the last ten minutes.",
        "schema": { "type": "string", "enum": ["true", "false"] },
    });
    Operation {
        parameters: vec![fresh],
        body: Some((
            true,
            vec![
                ("application/json", reference("VideoRequest"), request.clone()),
                ("multipart/form-data", form, request),
            ],
        )),
        answers: job("in_progress", 0),
        errors: [
            &[
                K::InvalidJson,
                K::InvalidRequest,
                K::RequestTooLarge,
                K::Overloaded,
                K::UnsupportedEncoding,
                K::UnsupportedFileType,
                K::ContentFilter,
                K::ModelNotFound,
                K::UpstreamRejected,
                K::UpstreamOverloaded,
                K::StoreFailed,
            ],
            SITE,
        ]
        .concat(),
        ..about(
            "createVideo",
            TAG,
            "Begin a video",
            "OpenAI's Videos API, as a job: this answers once the site makes the video; ask for the job until it is `completed` or `failed`, then get its content. A video counts against the account's daily quota, so nothing is begun twice: an equal request that runs, or has completed in the last ten minutes, is answered with the same job. Errors after which a video may be in the making carry `x-should-retry: false`. The site has one length, 5 seconds, and chooses the pixels.",
        )
    }
}

pub(super) fn list() -> Operation {
    let list = json!({
        "object": "list",
        "data": [video("completed", 100)],
        "first_id": "video_6f1c0000000040008000000000000000",
        "last_id": "video_6f1c0000000040008000000000000000",
        "has_more": false,
    });
    Operation {
        parameters: vec![
            json!({ "name": "limit", "in": "query", "schema": { "type": "integer", "minimum": 1, "maximum": 100, "default": 20 } }),
            json!({ "name": "order", "in": "query", "schema": { "type": "string", "enum": ["asc", "desc"], "default": "desc" } }),
            json!({ "name": "after", "in": "query", "description": "The id of the job before the first one.", "schema": { "type": "string" } }),
        ],
        answers: ok("VideoList", list),
        errors: vec![K::InvalidRequest, K::StoreFailed],
        ..about(
            "listVideos",
            TAG,
            "The jobs of this key",
            "Newest first, unless `order` says otherwise. The site is not asked for their states.",
        )
    }
}

pub(super) fn retrieve() -> Operation {
    Operation {
        answers: job("in_progress", 42),
        errors: vec![K::VideoNotFound, K::StoreFailed],
        ..about(
            "retrieveVideo",
            TAG,
            "How far a job is",
            "The site is asked at most every five seconds; it tells no progress, so `progress` is an estimate by the time that has passed.",
        )
    }
}

pub(super) fn delete() -> Operation {
    Operation {
        answers: ok(
            "DeletedVideo",
            json!({ "id": "video_6f1c0000000040008000000000000000", "object": "video.deleted", "deleted": true }),
        ),
        errors: vec![K::VideoNotFound, K::StoreFailed],
        ..about(
            "deleteVideo",
            TAG,
            "Forget a job",
            "The site cannot stop a video in the making; its chat stays. Jobs are forgotten by themselves after `CONVERSATION_TTL_DAYS`.",
        )
    }
}

pub(super) fn content() -> Operation {
    let bytes = |status, description| Answer {
        status,
        description,
        contents: vec![("video/mp4", json!({ "type": "string", "format": "binary" }), json!("…"))],
        headers: &[],
    };
    Operation {
        parameters: vec![
            json!({ "name": "variant", "in": "query", "description": "The site makes nothing else.", "schema": { "type": "string", "enum": ["video"] } }),
            json!({ "name": "range", "in": "header", "description": "A part of the bytes, such as `bytes=0-1023`.", "schema": { "type": "string" } }),
        ],
        answers: vec![
            bytes(200, "The video."),
            bytes(206, "The part that was asked for."),
            Answer { status: 416, description: "There is no such part.", contents: Vec::new(), headers: &[] },
        ],
        errors: [
            &[
                K::UnsupportedValue,
                K::VideoNotReady,
                K::VideoNotFound,
                K::MediaUnavailable,
                K::RateLimited,
                K::StoreFailed,
            ][..],
            &FAULTS,
        ]
        .concat(),
        ..about(
            "downloadVideo",
            TAG,
            "The bytes of a video",
            "They are passed on from the site's storage as they come. Of a job that has failed: 400 with the code of its `error`.",
        )
    }
}
