//! Requests field by field, and jobs as JSON.

use proptest::prelude::*;
use serde_json::{Value, json};
use utoipa::PartialSchema;

use super::{
    DeletedVideo, FORM_TEXTS, ListQuery, Video, VideoBody, VideoError, VideoList, VideoObject, VideoStatus, parse,
    parse_form, parse_list_query,
};
use crate::{
    api::openai::{media_fields::test_values, wire_form},
    error::{ErrorKind, Result},
    llm::{Media, MediaClass, MediaSource, Ratio, VideoRequest},
    unix_time::UnixSeconds,
};

/// A request with a prompt and these fields.
fn request(fields: Value) -> Result<VideoRequest> {
    let mut body = json!({ "prompt": "a kite" });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    parse(body.to_string().as_bytes())
}

/// A form of these texts.
fn form(files: Vec<Media>, texts: &[(&str, &str)]) -> Result<VideoRequest> {
    let mut texts: Vec<(String, String)> =
        texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    parse_form(files, |name| {
        assert!(FORM_TEXTS.contains(&name), "{name}");
        let at = texts.iter().rposition(|(known, _)| known == name)?;
        Some(texts.swap_remove(at).1)
    })
}

fn file() -> Media {
    let (source, word) = (MediaSource::Upload("f".to_owned()), "image".into());
    let param = "input_reference".to_owned();
    Media { class: MediaClass::Image, source, filename: None, format: None, param, word }
}

/// The first frame in short.
fn frame(request: &VideoRequest) -> Option<String> {
    request.first_frame.as_ref().map(|media| {
        assert!(media.param.starts_with("input_reference"));
        match &media.source {
            MediaSource::Link(link) => link.clone(),
            MediaSource::Upload(id) => format!("#{id}"),
            other => panic!("{other:?}"),
        }
    })
}

fn refused<T>(result: Result<T>) -> (ErrorKind, Option<String>) {
    let Err(error) = result else { panic!("not refused") };
    (error.kind(), error.param().map(str::to_owned))
}

#[test]
fn a_prompt_alone_is_enough() {
    let VideoRequest { model, prompt, ratio, first_frame } = request(json!({})).unwrap();
    assert_eq!((model, prompt.as_str(), ratio), (None, "a kite", None));
    assert!(first_frame.is_none());
    let expected = (ErrorKind::InvalidRequest, Some("prompt".to_owned()));
    for prompt in [json!(null), json!(""), json!(5), json!("x".repeat(32_001))] {
        assert_eq!(refused(request(json!({ "prompt": prompt }))), expected);
    }
    assert_eq!(refused(parse(b"{}")), expected);
    assert_eq!(refused(parse(b"")), (ErrorKind::InvalidJson, None));
}

#[test]
fn the_size_is_a_shape_and_the_length_is_ignored() {
    for (size, expected) in [
        (json!(null), None),
        (json!("auto"), None),
        (json!("720x1280"), Some(Ratio::Tall)),
        (json!("1792x1024"), Some(Ratio::Wide)),
        (json!("4:3"), Some(Ratio::Landscape)),
    ] {
        assert_eq!(request(json!({ "size": size })).unwrap().ratio, expected, "{size}");
    }
    for size in [json!("1080p"), json!("10:1"), json!(720)] {
        let expected = (ErrorKind::InvalidRequest, Some("size".to_owned()));
        assert_eq!(refused(request(json!({ "size": size }))), expected, "{size}");
    }
    for seconds in [json!(null), json!("8"), json!(8), json!(-1.5), json!({ "a": 1 }), json!(["x"])] {
        assert!(request(json!({ "seconds": seconds, "quality": seconds, "metadata": seconds })).is_ok());
    }
    assert_eq!(request(json!({ "model": "sora-2" })).unwrap().model.as_deref(), Some("sora-2"));
    assert_eq!(request(json!({ "model": "" })).unwrap().model, None);
    assert_eq!(refused(request(json!({ "model": [] }))).1.as_deref(), Some("model"));
}

#[test]
fn the_first_frame_is_named_in_several_ways() {
    for (reference, expected) in [
        (json!(null), None),
        (json!(""), None),
        (json!([]), None),
        (json!("https://a"), Some("https://a")),
        (json!({ "image_url": "data:,a" }), Some("data:,a")),
        (json!({ "image_url": { "url": "https://a" } }), Some("https://a")),
        (json!({ "file_id": "f" }), Some("#f")),
        (json!([{ "file_id": "f" }]), Some("#f")),
    ] {
        let request = request(json!({ "input_reference": reference })).unwrap();
        assert_eq!(frame(&request).as_deref(), expected, "{reference}");
    }
    for (reference, param) in [
        (json!(5), "input_reference"),
        (json!({}), "input_reference"),
        (json!(["https://a", "https://b"]), "input_reference"),
        (json!({ "image_url": "https://a", "file_id": "f" }), "input_reference"),
        (json!({ "image_url": 5 }), "input_reference.image_url"),
        (json!([5]), "input_reference[0]"),
    ] {
        let expected = (ErrorKind::InvalidRequest, Some(param.to_owned()));
        assert_eq!(refused(request(json!({ "input_reference": reference }))), expected, "{reference}");
    }
}

#[test]
fn a_form_has_one_first_frame() {
    let texts = [("prompt", " x "), ("model", "sora-2"), ("size", "720x1280"), ("seconds", "4")];
    let request = form(vec![file()], &texts).unwrap();
    assert_eq!((request.prompt.as_str(), request.model.as_deref()), (" x ", Some("sora-2")));
    assert_eq!((request.ratio, frame(&request).as_deref()), (Some(Ratio::Tall), Some("#f")));
    for (name, text, expected) in [
        ("input_reference", "https://a", "https://a"),
        ("input_reference", r#"{"image_url":"https://a"}"#, "https://a"),
        ("input_reference", r#" {"file_id":"f"}"#, "#f"),
        ("input_reference[image_url]", "https://a", "https://a"),
        ("input_reference[image_url][url]", "https://a", "https://a"),
        ("input_reference[file_id]", "f", "#f"),
    ] {
        let request = form(vec![], &[("prompt", "x"), (name, text)]).unwrap();
        assert_eq!(frame(&request).as_deref(), Some(expected), "{name}={text}");
        let expected = (ErrorKind::InvalidRequest, Some("input_reference".to_owned()));
        assert_eq!(refused(form(vec![file()], &[("prompt", "x"), (name, text)])), expected);
        assert_eq!(refused(form(vec![], &[("prompt", "x"), (name, text), (name, text)])), expected);
    }
    for nothing in ["", "null", "undefined"] {
        let texts: Vec<(&str, &str)> =
            FORM_TEXTS.iter().map(|name| (*name, if *name == "prompt" { "x" } else { nothing })).collect();
        assert!(form(vec![], &texts).unwrap().first_frame.is_none());
    }
    let expected = (ErrorKind::InvalidRequest, Some("input_reference".to_owned()));
    assert_eq!(refused(form(vec![], &[("prompt", "x"), ("input_reference", "{")])), expected);
    assert_eq!(refused(form(vec![file(), file()], &[("prompt", "x")])), expected);
    assert_eq!(refused(form(vec![], &[])).1.as_deref(), Some("prompt"));
}

#[test]
fn a_query_is_a_page() {
    let page = |limit, after: Option<&str>, is_ascending| {
        Some(ListQuery { limit, after: after.map(str::to_owned), is_ascending })
    };
    for (query, expected) in [
        (None, page(20, None, false)),
        (Some(""), page(20, None, false)),
        (Some("limit=1&after=video_a&order=asc&x=y"), page(1, Some("video_a"), true)),
        (Some("limit=100&order=desc"), page(100, None, false)),
        (Some("limit=&after=&order="), page(20, None, false)),
        (Some("after=a%20b"), page(20, Some("a b"), false)),
    ] {
        assert_eq!(parse_list_query(query).ok(), expected, "{query:?}");
    }
    for (query, param) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("limit=1.5", "limit"),
        ("order=up", "order"),
    ] {
        let expected = (ErrorKind::InvalidRequest, Some(param.to_owned()));
        assert_eq!(refused(parse_list_query(Some(query))), expected, "{query}");
    }
}

fn job(id: &str) -> Video<'_> {
    Video {
        id,
        model: "qwen-video",
        prompt: "a kite",
        ratio: None,
        status: VideoStatus::InProgress,
        progress: 42,
        created_at: UnixSeconds::new(1_790_000_100),
        completed_at: None,
        expires_at: None,
        error: None,
    }
}

#[test]
fn jobs_as_json() {
    let failed = Video {
        ratio: Some(Ratio::Square),
        status: VideoStatus::Failed,
        progress: 200,
        completed_at: Some(UnixSeconds::new(1_790_000_200)),
        expires_at: Some(UnixSeconds::new(1_790_000_300)),
        error: Some(VideoError { code: "task_lost", message: "Begin it again." }),
        ..job("video_b")
    };
    insta::assert_snapshot!(
        serde_json::to_string(&VideoList::new([job("video_a"), failed], true)).unwrap(),
        @r#"{"object":"list","data":[{"id":"video_a","object":"video","model":"qwen-video","status":"in_progress","progress":42,"created_at":1790000100,"completed_at":null,"expires_at":null,"seconds":"5","size":"1280x720","prompt":"a kite","remixed_from_video_id":null,"error":null},{"id":"video_b","object":"video","model":"qwen-video","status":"failed","progress":100,"created_at":1790000100,"completed_at":1790000200,"expires_at":1790000300,"seconds":"5","size":"1440x1440","prompt":"a kite","remixed_from_video_id":null,"error":{"code":"task_lost","message":"Begin it again."}}],"first_id":"video_a","last_id":"video_b","has_more":true}"#
    );
    insta::assert_snapshot!(
        serde_json::to_string(&VideoList::new([], false)).unwrap(),
        @r#"{"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false}"#
    );
    insta::assert_snapshot!(
        serde_json::to_string(&DeletedVideo::new("video_a")).unwrap(),
        @r#"{"id":"video_a","object":"video.deleted","deleted":true}"#
    );
}

#[test]
fn states_and_shapes_have_openais_words() {
    for (status, expected) in [
        (VideoStatus::Queued, "queued"),
        (VideoStatus::InProgress, "in_progress"),
        (VideoStatus::Completed, "completed"),
        (VideoStatus::Failed, "failed"),
    ] {
        let object = serde_json::to_value(VideoObject::from(Video { status, ..job("v") })).unwrap();
        assert_eq!(object["status"], expected);
    }
    // A size that is sent back is the same shape again.
    for ratio in [Ratio::Square, Ratio::Portrait, Ratio::Landscape, Ratio::Tall, Ratio::Wide] {
        let object = serde_json::to_value(VideoObject::from(Video { ratio: Some(ratio), ..job("v") })).unwrap();
        assert_eq!(request(json!({ "size": object["size"] })).unwrap().ratio, Some(ratio));
    }
}

#[test]
fn the_document_has_the_fields_that_are_read() {
    let schema = serde_json::to_value(VideoBody::schema()).unwrap();
    let read = schema["properties"].as_object().unwrap();
    for name in FORM_TEXTS {
        assert!(read.contains_key(name.split('[').next().unwrap()), "{name}");
    }
    assert_eq!(file().class, MediaClass::Image);
}

proptest! {
    #[test]
    fn whatever_is_sent_is_read_or_refused_as_the_clients_fault(
        bytes in proptest::collection::vec(any::<u8>(), 0..60),
        value in test_values::json(),
        fields in test_values::object(&["prompt", "model", "size", "seconds", "input_reference", "x"]),
        texts in proptest::collection::vec((proptest::sample::select(FORM_TEXTS), "\\PC{0,12}"), 0..8),
        query in "\\PC{0,30}",
    ) {
        let texts: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let bodies = [bytes, value.to_string().into_bytes(), fields.to_string().into_bytes()];
        let results = bodies.iter().map(|body| parse(body)).chain([form(vec![], &texts)]).map(|result| result.map(drop));
        for result in results.chain([parse_list_query(Some(&query)).map(drop)]) {
            if let Err(error) = result {
                prop_assert!((400..500).contains(&wire_form(error.kind()).status), "{error}");
            }
        }
    }
}
