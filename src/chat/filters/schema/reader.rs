//! Reading the values of a schema's keywords.

use super::{
    keywords::{Choice, Types},
    values::{canonical, shown},
};
use serde_json::{Map, Number, Value};

/// How much of the values of an `enum` an error shows, in characters.
const MAX_CHOICE_SHOWN: usize = 100;
/// How much of the place of a schema is kept, in characters.
const MAX_PLACE: usize = 100;

/// The place of a part of the schema, for errors.
pub(super) fn below(place: &str, step: &str) -> String {
    let mut inner: String = place.chars().take(MAX_PLACE).collect();
    if inner.len() < MAX_PLACE {
        inner.push('/');
        inner.extend(step.chars().take(MAX_PLACE));
    }
    inner
}

/// The sentence about a fault of the schema.
pub(super) fn wrong(place: &str, what: &str) -> String {
    format!("the schema is wrong at {}: {what}", if place.is_empty() { "its root" } else { place })
}

/// One schema that is an object, and its place. Each method says at which keyword the value is wrong.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a, 'p> {
    pub(super) members: &'a Map<String, Value>,
    pub(super) place: &'p str,
}

impl<'a> Reader<'a, '_> {
    pub(super) fn wrong(&self, keyword: &str, what: &str) -> String {
        wrong(&below(self.place, keyword), what)
    }

    /// A keyword's value as `read` takes it, if the keyword is there. `what` says what it must be.
    pub(super) fn read<T>(
        &self,
        keyword: &str,
        what: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let Some(value) = self.members.get(keyword) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.wrong(keyword, what))
    }

    pub(super) fn text(&self, keyword: &str) -> Result<Option<&'a str>, String> {
        self.read(keyword, "must be a string", Value::as_str)
    }

    pub(super) fn number(&self, keyword: &str) -> Result<Option<&'a Number>, String> {
        self.read(keyword, "must be a number", Value::as_number)
    }

    /// A number of things. 2.0 is one too.
    pub(super) fn count(&self, keyword: &str) -> Result<Option<u64>, String> {
        self.read(keyword, "must be an integer of at least 0", |value| {
            let float = || value.as_f64().filter(|float| float.fract() == 0.0 && *float >= 0.0);
            value.as_u64().or_else(|| Some(float()? as u64))
        })
    }

    pub(super) fn list(&self, keyword: &str) -> Result<Option<&'a Vec<Value>>, String> {
        self.read(keyword, "must be an array", Value::as_array)
    }

    pub(super) fn object(&self, keyword: &str) -> Result<Option<&'a Map<String, Value>>, String> {
        self.read(keyword, "must be an object", Value::as_object)
    }

    pub(super) fn names(&self, keyword: &str) -> Result<Option<Vec<String>>, String> {
        self.read(keyword, "must be an array of strings", names)
    }

    pub(super) fn types(&self) -> Result<Option<Types>, String> {
        self.read("type", "must be the name of a JSON type, or an array of such names", |value| {
            let mut types = Types::default();
            match value {
                Value::String(name) => types.add(name).then_some(types),
                Value::Array(names) => {
                    names.iter().all(|name| name.as_str().is_some_and(|name| types.add(name))).then_some(types)
                }
                _ => None,
            }
        })
    }

    /// The values of `enum` or `const`.
    pub(super) fn choice(&self) -> Result<Vec<Choice>, String> {
        let one = self.members.get("const").map(|value| choice(std::slice::from_ref(value)));
        let several = self.list("enum")?.map(|values| choice(values));
        Ok(one.into_iter().chain(several).collect())
    }
}

/// The strings of an array of nothing else.
pub(super) fn names(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}

fn choice(values: &[Value]) -> Choice {
    let texts = values.iter().map(|value| {
        let mut text = String::new();
        canonical(value, &mut text);
        text
    });
    let texts = texts.collect();
    let mut list = String::new();
    for value in values {
        if list.len() > MAX_CHOICE_SHOWN {
            break;
        }
        if !list.is_empty() {
            list.push_str(", ");
        }
        list.push_str(&value.to_string());
    }
    Choice { values: texts, shown: shown(&list, MAX_CHOICE_SHOWN) }
}
