//! Requests, field by field.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    FORM_TEXTS, ImagesRequest, Operation, PictureFormat, ResultForm, form_tests::form, parse_edit, parse_generation,
};
use crate::{
    api::openai::{media_fields::test_values, wire_form},
    error::{ErrorKind, Result},
    llm::{Media, MediaClass, MediaSource, Quality},
};

pub(super) const MAX: usize = 4;

/// A body with a prompt and these fields.
fn body(fields: Value) -> Vec<u8> {
    let mut body = json!({ "prompt": "a kite" });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body.to_string().into_bytes()
}

fn generation(fields: Value) -> Result<ImagesRequest> {
    parse_generation(&body(fields), MAX)
}

fn edit(fields: Value) -> Result<ImagesRequest> {
    parse_edit(&body(fields), MAX)
}

/// Inputs in short: parameter and source.
pub(super) fn short(request: &ImagesRequest) -> Vec<String> {
    let each = |media: &Media| {
        assert_eq!(media.class, MediaClass::Image);
        match &media.source {
            MediaSource::Link(link) => format!("{} {link}", media.param),
            MediaSource::Upload(id) => format!("{} #{id}", media.param),
            other => panic!("{other:?}"),
        }
    };
    request.pictures.inputs.iter().map(each).collect()
}

pub(super) fn refused<T>(result: Result<T>) -> (ErrorKind, Option<String>) {
    let Err(error) = result else { panic!("not refused") };
    (error.kind(), error.param().map(str::to_owned))
}

#[test]
fn a_prompt_alone_is_enough() {
    let ImagesRequest { pictures, delivery } = generation(json!({})).unwrap();
    assert_eq!((pictures.prompt.as_str(), pictures.model, pictures.ratio), ("a kite", None, None));
    assert_eq!((pictures.quality, pictures.count, pictures.inputs.len()), (Quality::Auto, 1, 0));
    assert_eq!((delivery.operation, delivery.is_stream), (Operation::Generation, false));
    assert_eq!((delivery.form, delivery.output_format, delivery.quality), (ResultForm::Base64, None, "auto"));
}

#[test]
fn a_prompt_has_a_length_in_characters() {
    for (prompt, is_fine) in [
        (json!("x"), true),
        (json!(" x "), true),
        (json!("é".repeat(32_000)), true),
        (json!("é".repeat(32_001)), false),
        (json!("x".repeat(32_001)), false),
        (json!(""), false),
        (json!(" \n"), false),
        (json!(null), false),
        (json!(5), false),
        (json!(["x"]), false),
    ] {
        let result = generation(json!({ "prompt": prompt }));
        match result {
            Ok(request) => assert!(is_fine && request.pictures.prompt == prompt.as_str().unwrap()),
            Err(_) => {
                assert!(!is_fine);
                assert_eq!(refused(result), (ErrorKind::InvalidRequest, Some("prompt".to_owned())));
            }
        }
    }
    assert_eq!(refused(parse_generation(b"{}", MAX)), (ErrorKind::InvalidRequest, Some("prompt".to_owned())));
    assert_eq!(refused(parse_generation(b"{", MAX)), (ErrorKind::InvalidJson, None));
    assert_eq!(refused(parse_generation(b"[]", MAX)), (ErrorKind::InvalidRequest, None));
}

#[test]
fn a_size_is_the_nearest_shape() {
    for (size, expected) in [
        (json!(null), None),
        (json!(""), None),
        (json!("auto"), None),
        (json!("AUTO"), None),
        (json!("1024x1024"), Some("1:1")),
        (json!("512x512"), Some("1:1")),
        (json!("1536X1024"), Some("4:3")),
        (json!("1024*1536"), Some("3:4")),
        (json!(" 1792 x 1024 "), Some("16:9")),
        (json!("9:16"), Some("9:16")),
        (json!("3:1"), Some("16:9")),
        (json!("1280×720"), Some("16:9")),
    ] {
        let request = generation(json!({ "size": size })).unwrap();
        assert_eq!(request.pictures.ratio.map(|ratio| ratio.as_str()), expected, "{size}");
    }
    for size in [
        json!("large"),
        json!("1024"),
        json!("x"),
        json!("1024x"),
        json!("0x0"),
        json!("-1x-1"),
        json!("+1x+1"),
        json!("1.5:1"),
        json!("301:100"),
        json!("1x1x1"),
        json!("99999999999x99999999999"),
        json!(1024),
        json!([1, 1]),
        json!({ "width": 1 }),
    ] {
        let expected = (ErrorKind::InvalidRequest, Some("size".to_owned()));
        assert_eq!(refused(generation(json!({ "size": size }))), expected, "{size}");
    }
}

#[test]
fn a_quality_is_an_effort_and_is_repeated() {
    for (word, expected) in [
        (json!(null), (Quality::Auto, "auto")),
        (json!(""), (Quality::Auto, "auto")),
        (json!("auto"), (Quality::Auto, "auto")),
        (json!("standard"), (Quality::Auto, "auto")),
        (json!("low"), (Quality::Low, "low")),
        (json!("medium"), (Quality::Auto, "medium")),
        (json!("high"), (Quality::High, "high")),
        (json!("HD"), (Quality::High, "high")),
        (json!("max"), (Quality::High, "high")),
    ] {
        let request = generation(json!({ "quality": word })).unwrap();
        assert_eq!((request.pictures.quality, request.delivery.quality), expected, "{word}");
    }
    for word in [json!("best"), json!(1), json!({})] {
        let expected = (ErrorKind::InvalidRequest, Some("quality".to_owned()));
        assert_eq!(refused(generation(json!({ "quality": word }))), expected, "{word}");
    }
}

#[test]
fn a_number_of_pictures_is_bounded() {
    for (n, expected) in [(json!(null), 1), (json!(1), 1), (json!(1.0), 1), (json!(4), 4), (json!(4e0), 4)] {
        assert_eq!(generation(json!({ "n": n })).unwrap().pictures.count, expected, "{n}");
    }
    for n in [json!(0), json!(-1), json!(5), json!(1.5), json!(1e300), json!("2"), json!(true), json!([])] {
        let expected = (ErrorKind::InvalidRequest, Some("n".to_owned()));
        assert_eq!(refused(generation(json!({ "n": n }))), expected, "{n}");
    }
    assert!(parse_generation(&body(json!({ "n": 1 })), 0).is_ok());
}

#[test]
fn the_older_models_answer_with_links() {
    use ResultForm::{Base64, Url};
    for (model, word, expected) in [
        (json!(null), json!(null), Base64),
        (json!("gpt-image-1"), json!(null), Base64),
        (json!("dall-e-3"), json!(null), Url),
        (json!("DALL-E-2"), json!(""), Url),
        (json!("dall-e-3"), json!("b64_json"), Base64),
        (json!("qwen-image"), json!("url"), Url),
        (json!("dall-é-3"), json!(null), Base64),
    ] {
        let request = generation(json!({ "model": model, "response_format": word })).unwrap();
        assert_eq!(request.delivery.form, expected, "{model} {word}");
        assert_eq!(request.pictures.model.as_deref(), model.as_str());
    }
    for word in [json!("base64"), json!("json"), json!(1), json!({ "type": "url" })] {
        let (kind, param) = refused(generation(json!({ "response_format": word })));
        assert_eq!(kind, ErrorKind::InvalidRequest, "{word}");
        assert!(param.unwrap().starts_with("response_format"), "{word}");
    }
    for model in [json!(""), json!("  "), json!(null)] {
        assert_eq!(generation(json!({ "model": model })).unwrap().pictures.model, None);
    }
    let expected = (ErrorKind::InvalidRequest, Some("model".to_owned()));
    assert_eq!(refused(generation(json!({ "model": 1 }))), expected);
}

#[test]
fn pictures_are_not_converted() {
    use PictureFormat::{Jpeg, Png, Webp};
    for (name, expected) in [
        (json!(null), None),
        (json!(""), None),
        (json!("png"), Some(Png)),
        (json!("JPEG"), Some(Jpeg)),
        (json!("jpg"), Some(Jpeg)),
        (json!("webp"), Some(Webp)),
    ] {
        let delivery = generation(json!({ "output_format": name })).unwrap().delivery;
        assert_eq!(delivery.output_format, expected, "{name}");
        for made in [Png, Jpeg, Webp] {
            let is_fine = matches!(expected, None | Some(Png)) || expected == Some(made);
            assert_eq!(delivery.check_format(made).is_ok(), is_fine, "{name} {made:?}");
            if !is_fine {
                let expected = (ErrorKind::UnsupportedValue, Some("output_format".to_owned()));
                assert_eq!(refused(delivery.check_format(made)), expected);
            }
        }
    }
    let expected = |kind| (kind, Some("output_format".to_owned()));
    let refusal = |name: Value| refused(generation(json!({ "output_format": name })));
    assert_eq!(refusal(json!("svg")), expected(ErrorKind::UnsupportedValue));
    assert_eq!(refusal(json!("é".repeat(1000))), expected(ErrorKind::UnsupportedValue));
    assert_eq!(refusal(json!(1)), expected(ErrorKind::InvalidRequest));
}

#[test]
fn what_would_change_the_picture_is_refused_and_other_knobs_are_ignored() {
    for background in [json!(null), json!("opaque"), json!("auto"), json!("")] {
        assert!(generation(json!({ "background": background })).is_ok());
    }
    let expected = |field: &str| (ErrorKind::UnsupportedValue, Some(field.to_owned()));
    assert_eq!(refused(generation(json!({ "background": "Transparent" }))), expected("background"));
    for mask in [json!(null), json!(""), json!([]), json!({}), json!(false)] {
        assert!(generation(json!({ "mask": mask })).is_ok(), "{mask}");
    }
    for mask in [json!("data:image/png;base64,AAAA"), json!({ "file_id": "x" }), json!([1]), json!(1), json!(true)] {
        assert_eq!(refused(generation(json!({ "mask": mask }))), expected("mask"), "{mask}");
        assert_eq!(refused(edit(json!({ "images": ["https://x"], "mask": mask }))), expected("mask"), "{mask}");
    }
    for knob in [
        "moderation",
        "style",
        "user",
        "output_compression",
        "partial_images",
        "input_fidelity",
        "seed",
        "cfg",
        "aspectRatio",
        "svg",
        "extra_body",
    ] {
        for value in [json!(null), json!("x"), json!(1.5), json!([{}]), json!({ "a": [1] }), json!(false)] {
            assert!(generation(json!({ knob: value })).is_ok(), "{knob} {value}");
        }
    }
}

#[test]
fn a_switch_is_a_boolean() {
    for (stream, expected) in [(json!(null), false), (json!(false), false), (json!(true), true)] {
        assert_eq!(generation(json!({ "stream": stream })).unwrap().delivery.is_stream, expected);
    }
    let expected = (ErrorKind::InvalidRequest, Some("stream".to_owned()));
    assert_eq!(refused(generation(json!({ "stream": "yes" }))), expected);
}

#[test]
fn the_pictures_of_an_edit_keep_their_order() {
    for (fields, expected) in [
        (
            json!({ "images": [{ "image_url": "https://a" }, { "file_id": "f" }, "data:,b", { "image_url": { "url": "https://c" } }] }),
            vec!["images[0] https://a", "images[1] #f", "images[2] data:,b", "images[3] https://c"],
        ),
        (json!({ "images": { "file_id": "f", "image_url": null } }), vec!["images #f"]),
        (json!({ "images": [{ "url": "https://a", "detail": "high", "file_id": "" }] }), vec!["images[0] https://a"]),
        (json!({ "image": "https://a" }), vec!["image https://a"]),
        (json!({ "image": ["https://a"], "images": [] }), vec!["image[0] https://a"]),
        (
            json!({ "image": "https://b", "images": ["https://a"], "mask": null }),
            vec!["images[0] https://a", "image https://b"],
        ),
        (json!({ "image": "", "images": ["https://a"] }), vec!["images[0] https://a"]),
    ] {
        let request = edit(fields.clone()).unwrap();
        assert_eq!(short(&request), expected, "{fields}");
        assert_eq!(request.delivery.operation, Operation::Edit);
    }
    let many = |count: usize| json!({ "images": vec!["https://a"; count] });
    assert_eq!(edit(many(16)).unwrap().pictures.inputs.len(), 16);
    for (fields, param) in [
        (json!({}), "image"),
        (json!({ "images": [] }), "image"),
        (json!({ "images": null, "image": "" }), "image"),
        (many(17), "images"),
        (json!({ "images": vec!["https://a"; 16], "image": "https://b" }), "image"),
        (json!({ "images": 5 }), "images"),
        (json!({ "images": [null] }), "images[0]"),
        (json!({ "images": ["https://a", 5] }), "images[1]"),
        (json!({ "images": [[]] }), "images[0]"),
        (json!({ "images": [""] }), "images[0]"),
        (json!({ "images": ["https://a", {}] }), "images[1]"),
        (json!({ "images": [{ "image_url": { "url": null } }] }), "images[0]"),
        (json!({ "images": [{ "image_url": "https://a", "file_id": "f" }] }), "images[0]"),
        (json!({ "images": [{ "image_url": 1 }] }), "images[0].image_url"),
        (json!({ "images": [{ "image_url": { "url": 1 } }] }), "images[0].image_url.url"),
        (json!({ "images": [{ "file_id": [] }] }), "images[0].file_id"),
        (json!({ "image": {} }), "image"),
    ] {
        let expected = (ErrorKind::InvalidRequest, Some(param.to_owned()));
        assert_eq!(refused(edit(fields.clone())), expected, "{fields}");
    }
}

#[test]
fn a_generation_has_no_pictures() {
    for nothing in [json!(null), json!([]), json!("")] {
        assert!(generation(json!({ "image": nothing, "images": nothing })).is_ok(), "{nothing}");
    }
    for some in [json!("https://a"), json!(["https://a"]), json!({ "file_id": "f" }), json!({})] {
        for field in ["image", "images"] {
            let error = generation(json!({ field: some })).unwrap_err();
            assert_eq!((error.kind(), error.param()), (ErrorKind::InvalidRequest, Some(field)));
            assert!(error.message().contains("/v1/images/edits"));
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_sent_is_read_or_refused_as_the_clients_fault(
        bytes in proptest::collection::vec(any::<u8>(), 0..60),
        value in test_values::json(),
        fields in test_values::object(&["prompt", "model", "n", "size", "quality", "response_format", "output_format",
            "background", "stream", "mask", "images", "image", "image_url", "file_id", "url", "user"]),
        max in 0_usize..12,
        texts in proptest::collection::vec((proptest::sample::select(FORM_TEXTS), "\\PC{0,12}"), 0..8),
    ) {
        for body in [bytes, value.to_string().into_bytes(), fields.to_string().into_bytes()] {
            for result in [parse_generation(&body, max), parse_edit(&body, max)] {
                if let Err(error) = result {
                    prop_assert!((400..500).contains(&wire_form(error.kind()).status), "{error}");
                }
            }
        }
        let texts: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
        for operation in [Operation::Generation, Operation::Edit] {
            if let Err(error) = form(operation, vec![], &texts) {
                prop_assert!((400..500).contains(&wire_form(error.kind()).status), "{error}");
            }
        }
    }

    #[test]
    fn a_size_never_panics(size in "[0-9]{0,12}[xX*:×]?[0-9]{0,12}") {
        if let Err(error) = generation(json!({ "size": size })) {
            prop_assert_eq!(error.param(), Some("size"));
        }
    }
}
