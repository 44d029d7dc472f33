//! The bytes of answers.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use utoipa::PartialSchema;

use super::{
    Content, FORM_TEXTS, ImagesBody, ImagesMeta, ImagesObject, Operation, Picture, PictureEvent, PictureFormat, Pieces,
    event, object, write_error, write_heartbeat,
};
use crate::{
    error::{Error, ErrorKind},
    llm::Usage,
    unix_time::UnixSeconds,
};

static KITE: Bytes = Bytes::from_static(b"kite");
static NOTHING: Bytes = Bytes::new();

/// All of an answer.
fn whole(pieces: Pieces) -> String {
    String::from_utf8(pieces.flatten().collect()).unwrap()
}

fn meta() -> ImagesMeta {
    let usage = Usage { prompt: 12, completion: 30, total: 42, ..Usage::default() };
    ImagesMeta { created: UnixSeconds::new(1_790_000_040), quality: "high", usage }
}

fn picture(content: Content<'_>) -> Picture<'_> {
    Picture { content, pixels: Some((1536, 2688)), format: PictureFormat::Webp }
}

fn written(write: impl FnOnce(&mut BytesMut)) -> String {
    let mut out = BytesMut::new();
    write(&mut out);
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn the_object_has_its_pictures_as_bytes_or_as_links() {
    let other = Picture { content: Content::Bytes(&NOTHING), pixels: None, format: PictureFormat::Png };
    let pictures = [picture(Content::Bytes(&KITE)), other];
    insta::assert_snapshot!(
        whole(object(&meta(), &pictures)),
        @r#"{"created":1790000040,"background":"opaque","output_format":"webp","quality":"high","size":"1536x2688","usage":{"input_tokens":12,"input_tokens_details":{"text_tokens":12,"image_tokens":0},"output_tokens":30,"output_tokens_details":{"text_tokens":0,"image_tokens":30},"total_tokens":42},"data":[{"b64_json":"a2l0ZQ=="},{"b64_json":""}]}"#
    );
    let pictures = [picture(Content::Url("https://x/v1/media/a\"\u{2028}"))];
    insta::assert_snapshot!(
        whole(object(&ImagesMeta { usage: Usage::default(), ..meta() }, &pictures)),
        @r#"{"created":1790000040,"background":"opaque","output_format":"webp","quality":"high","size":"1536x2688","usage":{"input_tokens":0,"input_tokens_details":{"text_tokens":0,"image_tokens":0},"output_tokens":0,"output_tokens_details":{"text_tokens":0,"image_tokens":0},"total_tokens":0},"data":[{"url":"https://x/v1/media/a\"\u2028"}]}"#
    );
    let object: Value = serde_json::from_str(&whole(object(&meta(), &[]))).unwrap();
    assert_eq!((&object["data"], &object["size"]), (&json!([]), &json!("auto")));
}

#[test]
fn each_picture_of_a_stream_is_an_event() {
    insta::assert_snapshot!(
        written(|out| {
            write_heartbeat(out);
            out.extend(event(Operation::Generation, &meta(), &picture(Content::Bytes(&KITE))).flatten());
            write_heartbeat(out);
            out.extend(event(Operation::Edit, &meta(), &picture(Content::Url("https://x/v1/media/a"))).flatten());
            write_error(out, &Error::new(ErrorKind::UpstreamEmpty, "Nothing."));
        }),
        @r#"
    : keep-alive

    event: image_generation.completed
    data: {"type":"image_generation.completed","created_at":1790000040,"background":"opaque","output_format":"webp","quality":"high","size":"1536x2688","usage":{"input_tokens":12,"input_tokens_details":{"text_tokens":12,"image_tokens":0},"output_tokens":30,"output_tokens_details":{"text_tokens":0,"image_tokens":30},"total_tokens":42},"b64_json":"a2l0ZQ=="}

    : keep-alive

    event: image_edit.completed
    data: {"type":"image_edit.completed","created_at":1790000040,"background":"opaque","output_format":"webp","quality":"high","size":"1536x2688","usage":{"input_tokens":12,"input_tokens_details":{"text_tokens":12,"image_tokens":0},"output_tokens":30,"output_tokens_details":{"text_tokens":0,"image_tokens":30},"total_tokens":42},"url":"https://x/v1/media/a"}

    data: {"error":{"message":"Nothing.","type":"upstream_error","param":null,"code":"upstream_empty"}}
    "#
    );
}

fn properties<T: PartialSchema>() -> BTreeSet<String> {
    let schema = serde_json::to_value(T::schema()).unwrap();
    schema["properties"].as_object().unwrap().keys().cloned().collect()
}

/// The names in an object, with both fields of a picture.
fn names(json: &str, more: &[&str]) -> BTreeSet<String> {
    let object: Value = serde_json::from_str(json).unwrap();
    object.as_object().unwrap().keys().cloned().chain(more.iter().map(|name| (*name).to_owned())).collect()
}

#[test]
fn the_document_has_the_fields_that_are_written_and_read() {
    let picture = picture(Content::Bytes(&KITE));
    let object = whole(object(&meta(), &[picture]));
    assert_eq!(names(&object, &[]), properties::<ImagesObject>());
    let event = whole(event(Operation::Edit, &meta(), &picture));
    let (_, data) = event.split_once("data: ").unwrap();
    assert_eq!(names(data, &["url"]), properties::<PictureEvent>());
    let read = properties::<ImagesBody>();
    assert!(FORM_TEXTS.iter().all(|name| read.contains(name.trim_end_matches("[]"))));
}
