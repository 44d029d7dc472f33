//! Fields that requests for pictures and for videos have in common.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

use crate::{
    api::lenient::bounded,
    error::{Error, Result},
    llm::{self, MediaClass, MediaSource, Ratio},
};

/// The longest prompt, in characters.
const MAX_PROMPT_CHARS: usize = 32_000;
/// The most pictures to draw from.
pub(super) const MAX_REFERENCES: usize = 16;

/// Checks a prompt.
///
/// # Errors
/// It is missing, blank or too long.
pub(super) fn prompt(text: Option<String>) -> Result<String> {
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else {
        return Err(Error::invalid("prompt", "The field 'prompt' is missing or empty: say there what to make."));
    };
    // A character has at least one byte, so most prompts need no count.
    if text.len() > MAX_PROMPT_CHARS && text.chars().count() > MAX_PROMPT_CHARS {
        let problem = format!("The field 'prompt' is longer than {MAX_PROMPT_CHARS} characters; shorten it.");
        return Err(Error::invalid("prompt", problem));
    }
    Ok(text)
}

/// The model's name as the client wrote it; `None` for an empty one.
pub(super) fn model(name: Option<String>) -> Option<String> {
    name.filter(|name| !name.trim().is_empty())
}

/// Returns the shape nearest to a size such as `1024x1536`, `1024*1536` or `2:3`; `None` for `auto` and for nothing.
///
/// # Errors
/// It is no size, or too far from a square.
pub(super) fn ratio(size: Option<&str>) -> Result<Option<Ratio>> {
    let size = size.unwrap_or_default().trim();
    if size.is_empty() || size.eq_ignore_ascii_case("auto") {
        return Ok(None);
    }
    // A sign is no part of a side, although `parse` reads one.
    let side = |text: &str| {
        let digits = text.trim();
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u32>().ok()).flatten()
    };
    let sides = size.split_once(['x', 'X', '*', ':', '×']);
    let nearest = sides.and_then(|(width, height)| Ratio::nearest(side(width)?, side(height)?));
    nearest.map(Some).ok_or_else(|| {
        Error::invalid(
            "size",
            "The field 'size' must be 'auto' or a width and a height such as 1024x1024, the one at most three times the other.",
        )
    })
}

/// Whether a value says something: `null`, `false`, an empty text, array or object do not. The value is not kept.
#[derive(Debug)]
pub(super) struct Given(pub(super) bool);

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// One byte more than the longest value that says nothing.
        const ENOUGH: usize = 6;
        let value = <&RawValue>::deserialize(deserializer)?.get();
        let begin: Vec<u8> = value.bytes().filter(|byte| !byte.is_ascii_whitespace()).take(ENOUGH).collect();
        Ok(Self(!matches!(begin.as_slice(), b"null" | b"false" | b"\"\"" | b"[]" | b"{}")))
    }
}

/// A picture that a client names: by a link, or by the id of an uploaded file.
#[derive(Debug)]
pub(super) struct Reference {
    link: Option<String>,
    file_id: Option<String>,
}

/// A picture to draw from. Instead of the object a text is possible, which is the link.
#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = ImageReference))]
pub(super) struct ReferenceFields {
    /// A link: `https:`, `http:` or `data:`. An object with `url` is possible too.
    #[cfg_attr(test, schema(value_type = Option<String>))]
    image_url: Option<Link>,
    /// Other servers' name of `image_url`.
    url: Option<String>,
    /// An uploaded file.
    file_id: Option<String>,
}

/// A link, by itself or as `{"url"}`.
struct Link(Option<String>);

impl<'de> Deserialize<'de> for Link {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Fields {
            url: Option<String>,
        }
        struct TextOrObject;
        impl<'de> Visitor<'de> for TextOrObject {
            type Value = Link;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an object with 'url'")
            }

            fn visit_str<E: de::Error>(self, link: &str) -> Result<Link, E> {
                Ok(Link(Some(link.to_owned())))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Link, A::Error> {
                Fields::deserialize(MapAccessDeserializer::new(map)).map(|Fields { url }| Link(url))
            }
        }
        deserializer.deserialize_any(TextOrObject)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LinkOrFields;
        impl<'de> Visitor<'de> for LinkOrFields {
            type Value = Reference;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, or an object with 'image_url' or 'file_id'")
            }

            fn visit_str<E: de::Error>(self, link: &str) -> Result<Reference, E> {
                Ok(Reference::link(link))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Reference, A::Error> {
                ReferenceFields::deserialize(MapAccessDeserializer::new(map)).map(Reference::from)
            }
        }
        deserializer.deserialize_any(LinkOrFields)
    }
}

impl From<ReferenceFields> for Reference {
    fn from(fields: ReferenceFields) -> Self {
        let ReferenceFields { image_url, url, file_id } = fields;
        let said = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        Self { link: said(image_url.and_then(|Link(link)| link)).or_else(|| said(url)), file_id: said(file_id) }
    }
}

impl Reference {
    /// The picture at a link.
    pub(super) fn link(link: &str) -> Self {
        Self { link: Some(link.to_owned()).filter(|link| !link.trim().is_empty()), file_id: None }
    }

    /// An uploaded picture.
    pub(super) fn upload(id: String) -> Self {
        Self { link: None, file_id: Some(id) }
    }

    /// The picture in neutral words; `param` is the field that names it.
    fn into_media(self, param: String) -> Result<llm::Media> {
        let source = match self {
            Self { link: Some(link), file_id: None } => MediaSource::Link(link),
            Self { link: None, file_id: Some(id) } => MediaSource::Upload(id),
            Self { link: Some(_), file_id: Some(_) } => {
                let problem = format!("The field '{param}' has a link and a 'file_id'; send one of them.");
                return Err(Error::invalid(param, problem));
            }
            Self { link: None, file_id: None } => {
                let problem = format!("The field '{param}' has no picture: it needs an 'image_url' or a 'file_id'.");
                return Err(Error::invalid(param, problem));
            }
        };
        let word = "image_url".into();
        Ok(llm::Media { class: MediaClass::Image, source, filename: None, format: None, param, word })
    }
}

/// Pictures that a client names: an array, or one alone.
#[derive(Debug)]
pub(super) enum References {
    /// One alone.
    One(Reference),
    /// An array.
    Many(Vec<Reference>),
}

impl Default for References {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl<'de> Deserialize<'de> for References {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = References;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, an object with 'image_url' or 'file_id', or an array of them")
            }

            fn visit_str<E: de::Error>(self, link: &str) -> Result<References, E> {
                // Some clients send every field that they know, also empty.
                let is_said = !link.trim().is_empty();
                Ok(if is_said { References::One(Reference::link(link)) } else { References::default() })
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<References, A::Error> {
                let fields = ReferenceFields::deserialize(MapAccessDeserializer::new(map))?;
                Ok(References::One(fields.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<References, A::Error> {
                bounded(items, MAX_REFERENCES).map(References::Many)
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

impl References {
    /// Reads the text of a form's field: a link, or JSON.
    pub(super) fn from_text(name: &str, text: &str) -> Result<Self> {
        let Some(text) = said(text) else { return Ok(Self::default()) };
        if !text.starts_with(['{', '[']) {
            return Ok(Self::One(Reference::link(text)));
        }
        serde_json::from_str(text).map_err(|_| {
            let problem = format!("The field '{name}' must be a file, a link, or JSON with 'image_url' or 'file_id'.");
            Error::invalid(name, problem)
        })
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Many(all) if all.is_empty())
    }

    /// The pictures in neutral words; `name` is the field that names them.
    pub(super) fn into_media(self, name: &str) -> Result<Vec<llm::Media>> {
        match self {
            Self::One(one) => Ok(vec![one.into_media(name.to_owned())?]),
            Self::Many(all) => {
                let each = all.into_iter().enumerate();
                each.map(|(at, reference)| reference.into_media(format!("{name}[{at}]"))).collect()
            }
        }
    }
}

/// The text of a form's field, unless it says nothing. JavaScript makes `undefined` and `null` texts.
pub(super) fn said(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !matches!(*text, "" | "null" | "undefined"))
}

/// All texts of a form's fields of this name, in their order. `take` takes the last that is left.
pub(super) fn take_all(take: &mut impl FnMut(&str) -> Option<String>, name: &str) -> Vec<String> {
    let mut all: Vec<String> = std::iter::from_fn(|| take(name)).collect();
    all.reverse();
    all
}

/// JSON values for tests that hold for any of them.
#[cfg(test)]
pub(super) mod test_values {
    use proptest::{collection::vec, prelude::*, sample::select};
    use serde_json::{Value, json};

    /// Any value, of little depth.
    pub(in crate::api::openai) fn json() -> impl Strategy<Value = Value> + Clone {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(|number| json!(number)),
            "\\PC{0,12}".prop_map(Value::from),
            select(&["auto", "url", "b64_json", "png", "high", "1:1", "https://x/y", "transparent"][..])
                .prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 6, |inner| {
            let names = select(&["image_url", "file_id", "url", "x"][..]);
            prop_oneof![
                vec(inner.clone(), 0..6).prop_map(Value::from),
                vec((names, inner), 0..4).prop_map(|fields| fields.into_iter().collect()),
            ]
        })
    }

    /// An object whose fields have these names and any values.
    pub(in crate::api::openai) fn object(names: &'static [&'static str]) -> impl Strategy<Value = Value> {
        vec((select(names), json()), 0..8).prop_map(|fields| fields.into_iter().collect())
    }
}
