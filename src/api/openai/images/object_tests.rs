//! The bytes of answers.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::BytesMut;
use serde_json::{Value, json};
use utoipa::PartialSchema;

use super::{
    Content, FORM_TEXTS, ImagesBody, ImagesMeta, ImagesObject, Operation, Picture, PictureEvent, PictureFormat,
    write_error, write_event, write_heartbeat, write_object,
};
use crate::{
    error::{Error, ErrorKind},
    llm::Usage,
    unix_time::UnixSeconds,
};

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
    let other = Picture { content: Content::Bytes(b""), pixels: None, format: PictureFormat::Png };
    let pictures = [picture(Content::Bytes(b"kite")), other];
    insta::assert_snapshot!(
        written(|out| write_object(out, &meta(), &pictures)),
        @r#"{"created":1790000040,"background":"opaque","output_format":"webp","quality":"high","size":"1536x2688","usage":{"input_tokens":12,"input_tokens_details":{"text_tokens":12,"image_tokens":0},"output_tokens":30,"output_tokens_details":{"text_tokens":0,"image_tokens":30},"total_tokens":42},"data":[{"b64_json":"a2l0ZQ=="},{"b64_json":""}]}"#
    );
    let pictures = [picture(Content::Url("https://x/v1/media/a\"\u{2028}"))];
    insta::assert_snapshot!(
        written(|out| write_object(out, &ImagesMeta { usage: Usage::default(), ..meta() }, &pictures)),
        @r#"{"created":1790000040,"background":"opaque","output_format":"webp","quality":"high","size":"1536x2688","usage":{"input_tokens":0,"input_tokens_details":{"text_tokens":0,"image_tokens":0},"output_tokens":0,"output_tokens_details":{"text_tokens":0,"image_tokens":0},"total_tokens":0},"data":[{"url":"https://x/v1/media/a\"\u2028"}]}"#
    );
    let object: Value = serde_json::from_str(&written(|out| write_object(out, &meta(), &[]))).unwrap();
    assert_eq!((&object["data"], &object["size"]), (&json!([]), &json!("auto")));
}

#[test]
fn each_picture_of_a_stream_is_an_event() {
    insta::assert_snapshot!(
        written(|out| {
            write_heartbeat(out);
            write_event(out, Operation::Generation, &meta(), &picture(Content::Bytes(b"kite")));
            write_heartbeat(out);
            write_event(out, Operation::Edit, &meta(), &picture(Content::Url("https://x/v1/media/a")));
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

#[test]
fn memory_for_an_answer_is_taken_once() {
    let bytes: Vec<u8> = (0..1_000_003_u32).map(|at| at.to_le_bytes()[0]).collect();
    let pictures = [picture(Content::Bytes(&bytes)), picture(Content::Bytes(&bytes[..2]))];
    let mut out = BytesMut::new();
    write_object(&mut out, &meta(), &pictures);
    assert!(out.capacity() < bytes.len() * 4 / 3 + 1024, "{}", out.capacity());
    let object: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(STANDARD.decode(object["data"][0]["b64_json"].as_str().unwrap()).unwrap(), bytes);
    assert_eq!(STANDARD.decode(object["data"][1]["b64_json"].as_str().unwrap()).unwrap(), bytes[..2]);
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
    let picture = picture(Content::Bytes(b"kite"));
    let object = written(|out| write_object(out, &meta(), &[picture]));
    assert_eq!(names(&object, &[]), properties::<ImagesObject>());
    let event = written(|out| write_event(out, Operation::Edit, &meta(), &picture));
    let (_, data) = event.split_once("data: ").unwrap();
    assert_eq!(names(data, &["url"]), properties::<PictureEvent>());
    let read = properties::<ImagesBody>();
    assert!(FORM_TEXTS.iter().all(|name| read.contains(name.trim_end_matches("[]"))));
}
