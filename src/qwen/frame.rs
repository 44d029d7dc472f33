//! The JSON of one upstream event, read leniently: a field that changed its type is absent, not fatal.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// An event. Only what the program reads; the rest is skipped.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Frame<'a> {
    #[serde(borrow, rename = "response.created", default)]
    pub(super) created: Option<Created<'a>>,
    #[serde(rename = "response.info", default)]
    pub(super) info: Option<IgnoredAny>,
    #[serde(borrow, default)]
    pub(super) choices: First<Choice<'a>>,
    #[serde(borrow, default)]
    pub(super) response_id: Text<'a>,
    /// Read only when somebody asks for the numbers.
    #[serde(borrow, default)]
    pub(super) usage: Option<&'a RawValue>,
    /// Present in each of the refusals' forms; which one it is, `refusal.rs` tells.
    #[serde(default)]
    pub(super) error: Option<IgnoredAny>,
    #[serde(default)]
    pub(super) code: Option<IgnoredAny>,
    #[serde(default)]
    pub(super) ret: Option<IgnoredAny>,
    #[serde(default)]
    pub(super) detail: Option<IgnoredAny>,
    #[serde(borrow, default)]
    pub(super) success: Option<&'a RawValue>,
}

impl Frame<'_> {
    pub(super) fn is_refusal(&self) -> bool {
        self.choices.0.is_none()
            && (self.error.is_some()
                || self.code.is_some()
                || self.ret.is_some()
                || self.detail.is_some()
                || self.success.is_some_and(|success| success.get() == "false"))
    }

    pub(super) fn is_known(&self) -> bool {
        self.created.is_some() || self.choices.0.is_some() || self.info.is_some() || self.is_refusal()
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Created<'a> {
    #[serde(borrow, default)]
    pub(super) response_id: Text<'a>,
    #[serde(borrow, default)]
    pub(super) response_index: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(borrow, default)]
    pub(super) delta: Option<Delta<'a>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Delta<'a> {
    #[serde(borrow, default)]
    pub(super) role: Text<'a>,
    #[serde(borrow, default)]
    pub(super) content: Text<'a>,
    #[serde(borrow, default)]
    pub(super) phase: Text<'a>,
    #[serde(borrow, default)]
    pub(super) status: Text<'a>,
    #[serde(borrow, default)]
    pub(super) finish_reason: Text<'a>,
    #[serde(borrow, default)]
    pub(super) extra: Option<&'a RawValue>,
}

/// Text; anything else reads as empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lenient;
        impl<'de> Visitor<'de> for Lenient {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Text<'de>, E> {
                Ok(Text::default())
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Text<'de>, E> {
                Ok(Text::default())
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(number.to_string())))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(number.to_string())))
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Text<'de>, E> {
                Ok(Text::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Text<'de>, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Text::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text<'de>, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Text::default())
            }
        }
        deserializer.deserialize_any(Lenient)
    }
}

/// The first element of an array; `None` for an empty one and for what is no array.
#[derive(Debug)]
pub(super) struct First<T>(pub(super) Option<T>);

impl<T> Default for First<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for First<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Head<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Head<T> {
            type Value = First<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_unit<E: de::Error>(self) -> Result<First<T>, E> {
                Ok(First(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<First<T>, A::Error> {
                let first = items.next_element()?;
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(first))
            }
        }
        deserializer.deserialize_any(Head(std::marker::PhantomData))
    }
}

/// `delta.extra` of thinking and of tools.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Extra<'a> {
    #[serde(borrow, default)]
    pub(super) summary_title: Option<Paragraphs<'a>>,
    #[serde(borrow, default)]
    pub(super) summary_thought: Option<Paragraphs<'a>>,
    #[serde(borrow, default)]
    pub(super) web_search_info: Option<Vec<WebPage<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Paragraphs<'a> {
    #[serde(borrow, default)]
    pub(super) content: Vec<Text<'a>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct WebPage<'a> {
    #[serde(borrow, default)]
    pub(super) url: Text<'a>,
    #[serde(borrow, default)]
    pub(super) title: Text<'a>,
}
