//! The JSON of one upstream event, read leniently: a field that changed its type is absent, not fatal.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

/// An event. Only what the program reads; the rest is skipped.
#[derive(Debug, Default, Deserialize)]
pub(super) struct UpstreamEvent<'a> {
    #[serde(borrow, rename = "response.created", default)]
    pub(super) created: Option<Created<'a>>,
    #[serde(rename = "response.info", default)]
    pub(super) info: Option<IgnoredAny>,
    #[serde(borrow, default)]
    pub(super) choices: First<Choice<'a>>,
    #[serde(borrow, default)]
    pub(super) response_id: Text<'a>,
    #[serde(default)]
    pub(super) usage: Object<Counts>,
    /// Present in each of the refusals' forms; `errors` says which one it is.
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

impl UpstreamEvent<'_> {
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
    /// A call of a tool, unread.
    #[serde(borrow, default)]
    pub(super) function_call: Option<&'a RawValue>,
    /// Present where the site runs the tool itself.
    #[serde(borrow, default)]
    pub(super) function_id: Text<'a>,
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

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Text<'de>, A::Error> {
                IgnoredAny.visit_seq(items).map(|_| Text::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Text<'de>, A::Error> {
                IgnoredAny.visit_map(map).map(|_| Text::default())
            }
        }
        deserializer.deserialize_any(Lenient)
    }
}

/// `usage`, as far as it is passed on. Each of its fields is read where it stands: skipping the nested objects instead would
/// cost an allocation an event, for the stack of brackets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Counts {
    #[serde(default)]
    pub(super) input_tokens: Count,
    #[serde(default)]
    pub(super) output_tokens: Count,
    #[serde(default)]
    pub(super) total_tokens: Count,
    #[serde(default)]
    pub(super) output_tokens_details: Object<OutputDetails>,
    #[serde(default)]
    pub(super) prompt_tokens_details: Object<PromptDetails>,
    /// Of a picture, in pixels.
    #[serde(default)]
    pub(super) width: Count,
    #[serde(default)]
    pub(super) height: Count,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct OutputDetails {
    #[serde(default)]
    pub(super) reasoning_tokens: Count,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct PromptDetails {
    #[serde(default)]
    pub(super) cached_tokens: Count,
}

/// A number, or text that is one; anything else is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count(pub(super) Option<u64>);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lenient;
        impl<'de> Visitor<'de> for Lenient {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Count, E> {
                Ok(Count(Some(number)))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Count, E> {
                Ok(Count(number.try_into().ok()))
            }

            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it saturates, and is not negative"
            )]
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Count, E> {
                Ok(Count((number >= 0.0).then_some(number as u64)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Count, E> {
                Ok(Count(text.trim().parse().ok()))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Count, E> {
                Ok(Count(None))
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Count, E> {
                Ok(Count(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Count, A::Error> {
                IgnoredAny.visit_seq(items).map(|_| Count(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Count, A::Error> {
                IgnoredAny.visit_map(map).map(|_| Count(None))
            }
        }
        deserializer.deserialize_any(Lenient)
    }
}

/// Deserializes an object; any other JSON type becomes `T::default()`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lenient<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for Lenient<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }

            fn visit_unit<E: de::Error>(self) -> Result<Object<T>, E> {
                Ok(Object::default())
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Object<T>, E> {
                Ok(Object::default())
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Object<T>, E> {
                Ok(Object::default())
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Object<T>, E> {
                Ok(Object::default())
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Object<T>, E> {
                Ok(Object::default())
            }

            fn visit_str<E: de::Error>(self, _: &str) -> Result<Object<T>, E> {
                Ok(Object::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Object<T>, A::Error> {
                IgnoredAny.visit_seq(items).map(|_| Object::default())
            }
        }
        deserializer.deserialize_any(Lenient(PhantomData))
    }
}

/// The first element of an array; `None` for an empty array and for any other JSON type.
#[derive(Debug)]
pub(super) struct First<T>(pub(super) Option<T>);

impl<T> Default for First<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for First<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Head<T>(PhantomData<T>);
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
        deserializer.deserialize_any(Head(PhantomData))
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

/// `delta.extra` of a picture.
#[derive(Debug, Default, Deserialize)]
pub(super) struct PictureExtra<'a> {
    #[serde(borrow, default)]
    image_list: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_result: Option<&'a RawValue>,
    /// Height and width of each.
    #[serde(borrow, default)]
    output_image_hw: Option<&'a RawValue>,
}

impl PictureExtra<'_> {
    /// The links to the pictures of a tool's result, in either place.
    pub(super) fn links(&self) -> Vec<String> {
        #[derive(Deserialize)]
        struct Entry {
            image: String,
        }
        let read = |list: Option<&RawValue>| {
            let entries: Vec<serde_json::Value> = list.and_then(|list| serde_json::from_str(list.get()).ok())?;
            let links = entries.into_iter().filter_map(|entry| serde_json::from_value::<Entry>(entry).ok());
            Some(links.map(|entry| entry.image).collect::<Vec<_>>()).filter(|links| !links.is_empty())
        };
        read(self.image_list).or_else(|| read(self.tool_result)).unwrap_or_default()
    }

    /// Width and height of the first picture.
    pub(super) fn size(&self) -> Option<(u32, u32)> {
        let sizes: Vec<(u32, u32)> = serde_json::from_str(self.output_image_hw?.get()).ok()?;
        sizes.first().map(|(height, width)| (*width, *height)).filter(|(width, height)| *width > 0 && *height > 0)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_whatever_stands_in_their_place() {
        let nothing = Counts::default();
        let one = Counts { output_tokens: Count(Some(1)), ..nothing };
        for (usage, expected) in [
            (r#"{"output_tokens":1}"#, one),
            (r#"{"output_tokens":"1","input_tokens":"many","total_tokens":-3}"#, one),
            (r#"{"output_tokens":1.9,"input_tokens":{"a":[{}]},"total_tokens":[[1]]}"#, one),
            (
                r#"{"output_tokens":1,"output_tokens_details":[{}],"prompt_tokens_details":{},"more":{"a":{"b":[{}]}}}"#,
                one,
            ),
            (r#"{"output_tokens":1,"output_tokens_details":null,"prompt_tokens_details":7,"input_tokens":true}"#, one),
            (
                r#"{"output_tokens":1,"output_tokens_details":{"reasoning_tokens":2},"prompt_tokens_details":{"cached_tokens":"3"}}"#,
                Counts {
                    output_tokens_details: Object(OutputDetails { reasoning_tokens: Count(Some(2)) }),
                    prompt_tokens_details: Object(PromptDetails { cached_tokens: Count(Some(3)) }),
                    ..one
                },
            ),
            ("{}", nothing),
            ("null", nothing),
            ("[{\"output_tokens\":1}]", nothing),
            ("\"output_tokens\"", nothing),
        ] {
            let event = format!(r#"{{"usage":{usage},"choices":[{{}}]}}"#);
            let event: UpstreamEvent<'_> = serde_json::from_str(&event).unwrap();
            assert_eq!(event.usage.0, expected, "{usage}");
            assert!(event.choices.0.is_some(), "{usage}");
        }
    }
}
