//! Requests as forms.

use super::{
    FORM_TEXTS, ImagesRequest, Operation, PictureFormat, ResultForm, is_input_field, parse_form,
    tests::{MAX, refused, short},
};
use crate::{
    error::{ErrorKind, Result},
    llm::{Media, MediaClass, MediaSource, Quality},
};

/// A form of these texts.
pub(super) fn form(operation: Operation, files: Vec<Media>, texts: &[(&str, &str)]) -> Result<ImagesRequest> {
    let mut texts: Vec<(String, String)> =
        texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    parse_form(operation, MAX, files, |name| {
        assert!(FORM_TEXTS.contains(&name), "{name}");
        let at = texts.iter().rposition(|(known, _)| known == name)?;
        Some(texts.swap_remove(at).1)
    })
}

fn file(id: &str) -> Media {
    let (source, word) = (MediaSource::Upload(id.to_owned()), "image".into());
    Media { class: MediaClass::Image, source, filename: None, format: None, param: "image".to_owned(), word }
}

#[test]
fn a_form_has_texts_for_values() {
    let texts = [
        ("prompt", " a kite "),
        ("model", "dall-e-2"),
        ("n", "2"),
        ("size", "1536x1024"),
        ("quality", "low"),
        ("response_format", "b64_json"),
        ("output_format", "webp"),
        ("background", "auto"),
        ("stream", "True"),
    ];
    let ImagesRequest { pictures, delivery } = form(Operation::Edit, vec![file("f")], &texts).unwrap();
    assert_eq!((pictures.prompt.as_str(), pictures.model.as_deref()), (" a kite ", Some("dall-e-2")));
    assert_eq!((pictures.count, pictures.quality), (2, Quality::Low));
    assert_eq!(pictures.ratio.map(|ratio| ratio.as_str()), Some("4:3"));
    assert_eq!((delivery.form, delivery.is_stream), (ResultForm::Base64, true));
    assert_eq!((delivery.output_format, delivery.quality), (Some(PictureFormat::Webp), "low"));

    let with = |name, text| form(Operation::Edit, vec![file("f")], &[("prompt", "x"), (name, text)]);
    for name in FORM_TEXTS.iter().filter(|name| **name != "prompt") {
        for nothing in ["", " ", "null", "undefined"] {
            assert_eq!(short(&with(name, nothing).unwrap()), ["image #f"], "{name}");
        }
    }
    for (name, text) in [
        ("n", "two"),
        ("n", "5"),
        ("n", "1.5"),
        ("n", "[1]"),
        ("stream", "maybe"),
        ("size", "big"),
        ("image", "{"),
        ("image", "[5]"),
        ("image", "{}"),
    ] {
        let expected = (ErrorKind::InvalidRequest, Some(name.to_owned()));
        assert_eq!(refused(with(name, text)), expected, "{name}={text}");
    }
    for (text, expected) in [("false", false), ("0", false), ("1", true), ("TRUE", true)] {
        assert_eq!(with("stream", text).unwrap().delivery.is_stream, expected);
    }
    assert_eq!(with("n", "1.0").unwrap().pictures.count, 1);
    assert_eq!(refused(with("mask", "https://m")).0, ErrorKind::UnsupportedValue);
    assert_eq!(form(Operation::Generation, vec![], &[("prompt", "null")]).unwrap().pictures.prompt, "null");
    assert_eq!(refused(form(Operation::Generation, vec![], &[])).1.as_deref(), Some("prompt"));
}

#[test]
fn texts_of_a_form_name_pictures_behind_its_files() {
    let texts = [
        ("prompt", "x"),
        ("image[]", "https://a"),
        ("image[]", "https://b"),
        ("images", r#"[{"image_url":"https://c"},{"file_id":"d"}]"#),
        ("image", r#"{"file_id":"e"}"#),
    ];
    let request = form(Operation::Edit, vec![file("f"), file("g")], &texts).unwrap();
    let expected = [
        "image #f",
        "image #g",
        "image #e",
        "image https://a",
        "image https://b",
        "images[0] https://c",
        "images[1] #d",
    ];
    assert_eq!(short(&request), expected);

    let expected = (ErrorKind::InvalidRequest, Some("image".to_owned()));
    let files = |count: usize| (0..count).map(|at| file(&at.to_string())).collect::<Vec<_>>();
    assert!(form(Operation::Edit, files(16), &texts[..1]).is_ok());
    assert_eq!(refused(form(Operation::Edit, files(17), &texts[..1])), expected);
    assert_eq!(refused(form(Operation::Edit, files(15), &texts[..3])), expected);
    assert_eq!(refused(form(Operation::Edit, files(0), &texts[..1])), expected);
    assert_eq!(refused(form(Operation::Generation, files(1), &texts[..1])), expected);
    assert_eq!(refused(form(Operation::Generation, files(0), &texts)), expected);
}

#[test]
fn files_of_pictures_have_one_of_these_names() {
    for name in ["image", "image[]", "image[0]", "image[15]", "images", "images[]", "images[3]"] {
        assert!(is_input_field(name), "{name}");
    }
    for name in ["", "mask", "imag", "image_url", "image[", "image]", "image[a]", "imagesx", "images[0][file]"] {
        assert!(!is_input_field(name), "{name}");
    }
}
