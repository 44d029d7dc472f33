//! The operations that draw pictures, and the links to what was made.

use serde_json::{Value as Json, json};

use super::{
    errors::{PICTURES, SITE},
    operations::{Answer, Content, Operation, about, reference},
};
use crate::error::{ErrorKind, ErrorKind as K};

const TAG: &str = "Images";
/// The request of `/v1/images/generations`, and that of `/v1/images/edits` in JSON.
pub(super) const REQUESTS: [&str; 2] = ["ImagesRequest", "ImageEditRequest"];
/// The fields that name pictures to draw from.
const INPUTS: [&str; 2] = ["images", "image"];
const MAX_INPUTS: u32 = 16;

/// The errors of drawing, beside those of any request to the site.
const DRAWING: &[ErrorKind] = &[
    K::InvalidJson,
    K::InvalidRequest,
    K::RequestTooLarge,
    K::Overloaded,
    K::UnsupportedEncoding,
    K::ModelNotFound,
    K::UpstreamRejected,
    K::UpstreamTruncated,
];

/// Divides the schema of both routes: a generation has no pictures to draw from.
pub(super) fn divide(schemas: &mut Json) {
    let [generation, edit] = REQUESTS;
    schemas[edit] = schemas[generation].clone();
    let images = &mut schemas[edit]["properties"]["images"];
    images["minItems"] = 1.into();
    images["maxItems"] = MAX_INPUTS.into();
    images["description"] = "1 to 16 pictures to draw from.".into();
    schemas[edit]["properties"]["image"]["description"] = "Another name of `images`.".into();
    for (name, text) in [
        (generation, "A request that draws from a text."),
        (edit, "A request that draws from pictures and a text. It names at least one picture."),
    ] {
        schemas[name]["description"] = text.into();
    }
    for name in INPUTS {
        schemas[generation]["properties"].as_object_mut().unwrap().remove(name);
    }
}

/// Pictures.
fn pictures() -> Json {
    json!({
        "created": 1_795_507_200,
        "background": "opaque",
        "output_format": "png",
        "size": "1664x928",
        "usage": usage(),
        "data": [{ "b64_json": "iVBORw0KGgo…" }],
    })
}

fn usage() -> Json {
    json!({
        "input_tokens": 0,
        "input_tokens_details": { "text_tokens": 0, "image_tokens": 0 },
        "output_tokens": 0,
        "output_tokens_details": { "text_tokens": 0, "image_tokens": 0 },
        "total_tokens": 0,
    })
}

/// The answer with pictures, whole or streamed; `event` = the type of its events.
fn answer(event: &str) -> Vec<Answer> {
    let data = json!({
        "type": event,
        "created_at": 1_795_507_200,
        "background": "opaque",
        "output_format": "png",
        "quality": "auto",
        "size": "1664x928",
        "usage": usage(),
        "b64_json": "iVBORw0KGgo…",
    });
    // The schema describes one event, as in OpenAPI 3.2.
    let stream = json!({
        "type": "object",
        "description": "Server-sent events, one for each picture, and comments while there is nothing to send. There are no partial pictures, and no `[DONE]` follows. If an error occurs within the stream, a `data:` line with its error object is the last event.",
        "required": ["data"],
        "properties": {
            "event": { "type": "string", "description": "The same as `type` in the data.", "const": event },
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": { "anyOf": [reference("ImageEvent"), reference("ErrorBody")] },
            },
        },
    });
    vec![Answer {
        status: 200,
        description: "The pictures, or with `stream` an event for each as it is drawn.",
        contents: vec![
            ("application/json", reference("ImagesObject"), pictures()),
            ("text/event-stream", stream, json!(format!("event: {event}\ndata: {data}\n\n"))),
        ],
        headers: &[("x-images", "Images"), ("x-upstream", "Upstream")],
    }]
}

fn fresh() -> Json {
    json!({
        "name": "x-fresh",
        "in": "header",
        "description": "`true`: draw anew, although an equal request runs or was answered within the last ten minutes.",
        "schema": { "type": "string", "enum": ["true", "false"] },
    })
}

pub(super) fn generations() -> Operation {
    let example = json!({ "prompt": "A red kite above the sea", "size": "1792x1024" });
    Operation {
        parameters: vec![fresh()],
        body: Some((true, vec![("application/json", reference(REQUESTS[0]), example)])),
        answers: answer("image_generation.completed"),
        errors: [DRAWING, PICTURES, SITE].concat(),
        ..about(
            "createImage",
            TAG,
            "Draw pictures from a text",
            "Each picture counts against the account's daily quota, so nothing is asked for twice: a request that equals one that runs, or that was answered within the last ten minutes, gets the same pictures (`x-fresh` draws anew). Errors after which a repeat would cost a picture carry `x-should-retry: false`. If some of `n` pictures fail, the answer has the others and the header `x-images`.",
        )
    }
}

/// The form of an edit.
fn form() -> Content {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let schema = json!({
        "type": "object",
        "required": ["prompt", "image"],
        "properties": {
            "image": {
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_INPUTS,
                "items": { "type": "string", "format": "binary" },
                "description": "1 to 16 pictures to draw from, each within `MAX_IMAGE_BYTES`: `image` once or repeated, `image[]`, or `image[0]` and so on.",
            },
            "prompt": { "type": "string", "minLength": 1, "maxLength": 32_000, "description": "What to draw." },
            "model": { "type": "string", "maxLength": 200, "description": "As in JSON, and so are the following fields." },
            "size": text("`auto`, or a width and a height."),
            "quality": text("`low`, `medium`, `high`, `auto`, `standard` or `hd`."),
            "n": { "type": "integer", "minimum": 1, "default": 1, "description": "How many pictures." },
            "response_format": text("`b64_json` or `url`."),
            "output_format": text("`png`, or the format that the site happens to draw."),
            "background": text("`opaque` or `auto`."),
            "stream": { "type": "boolean", "default": false, "description": "Whether the answer comes as events." },
        },
    });
    let example = json!({ "image": ["photo.jpg"], "prompt": "The same in winter" });
    ("multipart/form-data", schema, example)
}

pub(super) fn edits() -> Operation {
    let example = json!({
        "prompt": "The same in winter",
        "images": [{ "image_url": "https://example.com/image.jpg" }, { "file_id": "a1b2c3d4-0000-4000-8000-000000000000" }],
    });
    Operation {
        parameters: vec![fresh()],
        body: Some((true, vec![form(), ("application/json", reference(REQUESTS[1]), example)])),
        answers: answer("image_edit.completed"),
        errors: [DRAWING, PICTURES, &[K::UnsupportedFileType], SITE].concat(),
        ..about(
            "editImage",
            TAG,
            "Draw pictures from pictures and a text",
            "As `/v1/images/generations`. The files of a form are streamed to the site's storage. Links of this server to pictures can be sent back as `image_url`.",
        )
    }
}

pub(super) fn media_file() -> Operation {
    let bytes = |media_type| (media_type, json!({ "type": "string", "format": "binary" }), json!("…"));
    let contents = || vec![bytes("image/png"), bytes("image/jpeg"), bytes("image/webp"), bytes("video/mp4")];
    let range = json!({
        "name": "Range",
        "in": "header",
        "description": "The part of the bytes that is wanted.",
        "schema": { "type": "string", "pattern": "^bytes=[0-9]{1,9}-[0-9]{0,9}$" },
    });
    Operation {
        parameters: vec![range],
        answers: vec![
            Answer { status: 200, description: "The picture or video.", contents: contents(), headers: &[] },
            Answer {
                status: 206,
                description: "A part of it.",
                contents: contents(),
                headers: &[("content-range", "ContentRange")],
            },
            Answer {
                status: 416,
                description: "It has no such part.",
                contents: Vec::new(),
                headers: &[("content-range", "ContentRange")],
            },
        ],
        errors: vec![K::NotFound, K::RateLimited, K::MediaUnavailable],
        ..about(
            "getMedia",
            TAG,
            "A picture or video that was made here",
            "The links of answers lead here. They need no key: their ids are random and have 128 bits. A link is valid for `MEDIA_TTL_SECONDS`, in a conversation as long as that.",
        )
    }
}
