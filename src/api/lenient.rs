//! Values of a request that are checked and not kept, lists of a bounded length, and numbers as clients write them.

use std::{borrow::Cow, cell::Cell, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// Any JSON object, as its text.
#[derive(Debug)]
pub(crate) struct ObjectText(Box<str>);

impl<'de> Deserialize<'de> for ObjectText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?.get();
        // The reader's own error for a value of another type names that type.
        serde_json::from_str::<Object>(text).map_err(|_| de::Error::custom("invalid type, expected an object"))?;
        Ok(Self(text.into()))
    }
}

/// Lists the fields of these values that a request has, as JSON text by their names.
pub(crate) fn present<const N: usize>(
    numbers: [(&'static str, Option<Number>); N],
    object: Option<(&'static str, ObjectText)>,
) -> Vec<(&'static str, Box<str>)> {
    let numbers = numbers.into_iter().filter_map(|(name, number)| number.map(|Number(text)| (name, text)));
    numbers.chain(object.map(|(name, ObjectText(text))| (name, text))).collect()
}

/// Any JSON object, unread.
#[derive(Debug)]
pub(crate) struct Object;

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyObject;
        impl<'de> Visitor<'de> for AnyObject {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Object)
            }
        }
        deserializer.deserialize_map(AnyObject)
    }
}

/// A number with a meaning here: whole, and as large as it likes. `4096.0` and `1e3` are whole numbers too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole(pub(crate) i64);

impl Whole {
    /// Reads a number as a form has it.
    #[must_use]
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WholeNumber;
        impl Visitor<'_> for WholeNumber {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Whole, E> {
                Ok(Whole(number))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Whole, E> {
                Ok(Whole(i64::try_from(number).unwrap_or(i64::MAX)))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Whole, E> {
                if number.fract() == 0.0 {
                    // What is too large becomes the largest.
                    Ok(Whole(number as i64))
                } else {
                    Err(E::invalid_value(de::Unexpected::Float(number), &self))
                }
            }
        }
        deserializer.deserialize_any(WholeNumber)
    }
}

/// Any number, as its text: one without a meaning here may be larger than all that can be counted.
#[derive(Debug)]
pub(crate) struct Number(Box<str>);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?.get();
        match text.bytes().next() {
            Some(b'-' | b'0'..=b'9') => Ok(Self(text.into())),
            first => {
                let found = match first {
                    Some(b'"') => "a string",
                    Some(b'{') => "an object",
                    Some(b'[') => "an array",
                    _ => "a boolean",
                };
                Err(de::Error::custom(format!("invalid type: {found}, expected a number")))
            }
        }
    }
}

/// A list that is looked at and not kept.
macro_rules! unread_list {
    ($(#[$doc:meta])* $name:ident of $item:ty, at most $most:expr, expecting $expecting:literal) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name;

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct List;
                impl<'de> Visitor<'de> for List {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<$name, A::Error> {
                        let mut count = 0_usize;
                        while items.next_element::<$item>()?.is_some() {
                            count = count.saturating_add(1);
                            if count > $most {
                                return Err(too_many($most));
                            }
                        }
                        Ok($name)
                    }
                }
                deserializer.deserialize_seq(List)
            }
        }
    };
}

unread_list! {
    /// Texts, unread.
    Words of Cow<'de, str>, at most MAX_PARTS, expecting "an array of strings"
}

/// The most content parts, and the most tool calls, of a message.
pub(crate) const MAX_PARTS: usize = 1_000;
/// The most tools of a request.
pub(crate) const MAX_TOOLS: usize = 512;
/// The longest name of a tool, in bytes: the list of all names fits into one message to the site.
pub(crate) const MAX_TOOL_NAME: usize = 128;
/// The most stop texts of a request. OpenAI allows four; more are harmless, without bound they are not.
pub(crate) const MAX_STOPS: usize = 16;

/// The most attachments of a request, in all its messages.
const MAX_ATTACHED: usize = 1_000;

thread_local! {
    /// The number of attachments in the request that this thread parses, counted during parsing because each takes more
    /// memory than its JSON; serde hands a part's deserializer no other context.
    static ATTACHED: Cell<usize> = const { Cell::new(0) };
}

/// Resets the count of attachments, before a request is parsed.
pub(crate) fn reset_attached() {
    ATTACHED.set(0);
}

/// Counts one more.
///
/// # Errors
/// There are too many.
pub(crate) fn count_attached() -> Result<(), String> {
    let count = ATTACHED.get().saturating_add(1);
    ATTACHED.set(count);
    if count > MAX_ATTACHED {
        return Err(format!("more than {MAX_ATTACHED} attachments in one request are not possible"));
    }
    Ok(())
}

/// How the problem of a list begins that is too long.
pub(crate) const TOO_MANY: &str = "too many elements";

pub(crate) fn too_many<E: de::Error>(most: usize) -> E {
    E::custom(format!("{TOO_MANY}, at most {most} are possible"))
}

/// The elements of an array, of which there may be so many. What is refused is refused before the rest is read.
pub(crate) fn bounded<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(
    mut items: A,
    most: usize,
) -> Result<Vec<T>, A::Error> {
    let mut all = Vec::new();
    while let Some(item) = items.next_element()? {
        if all.len() >= most {
            return Err(too_many(most));
        }
        all.push(item);
    }
    all.shrink_to_fit();
    Ok(all)
}

/// Reads an array of so many tools.
pub(crate) fn tools<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    struct Tools<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Tools<T> {
        type Value = Option<Vec<T>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of objects")
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
            bounded(items, MAX_TOOLS).map(Some)
        }
    }
    deserializer.deserialize_any(Tools(PhantomData))
}

/// The deepest schema of a tool: deeper JSON is not read elsewhere.
pub(crate) const MAX_DEPTH: usize = 120;

/// Whether JSON is nested too deeply.
pub(crate) fn is_too_deep(json: &str) -> bool {
    let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_text,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => depth = depth.saturating_add(1),
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}

/// One text or several.
#[derive(Debug)]
pub(crate) struct Stop(pub(crate) Vec<String>);

impl<'de> Deserialize<'de> for Stop {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Stop;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of strings")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Stop, E> {
                Ok(Stop(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Stop, A::Error> {
                bounded(items, MAX_STOPS).map(Stop)
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}
