//! What a schema asks for, as it is kept for checking.

use super::pattern::Pattern;
use serde_json::{Number, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The place of a schema among all schemas of a document.
pub(super) type Id = usize;

/// One demand of a schema.
#[derive(Debug)]
pub(super) enum Keyword {
    /// The schema `false`: nothing matches.
    Never,
    Ref(Id),
    Type(Types),
    Enum(Choice),
    /// `minimum`, `maximum` and their exclusive forms.
    Limit(Limit, Number),
    MultipleOf(Number),
    /// The least number of characters, items or properties.
    AtLeast(Counted, u64),
    /// The greatest number of characters, items or properties.
    AtMost(Counted, u64),
    Pattern(Pattern),
    /// `prefixItems` and `items`.
    Items {
        first: Vec<Id>,
        rest: Option<Id>,
    },
    Contains {
        item: Id,
        least: u64,
        most: Option<u64>,
    },
    UniqueItems,
    Required(Vec<String>),
    /// `properties`, `patternProperties` and `additionalProperties`.
    Properties {
        named: BTreeMap<String, Id>,
        patterns: Vec<(Pattern, Id)>,
        rest: Option<Id>,
    },
    PropertyNames(Id),
    /// When the first property is there, the others must be.
    DependentRequired(Vec<(String, Vec<String>)>),
    DependentSchemas(Vec<(String, Id)>),
    AllOf(Vec<Id>),
    AnyOf(Vec<Id>),
    OneOf(Vec<Id>),
    Not(Id),
    If {
        condition: Id,
        then: Option<Id>,
        otherwise: Option<Id>,
    },
}

impl Keyword {
    /// The schemas that this keyword applies to the same value, not to a part of it.
    pub(super) fn in_place(&self) -> Vec<Id> {
        match self {
            Self::Ref(id) | Self::Not(id) => vec![*id],
            Self::AllOf(ids) | Self::AnyOf(ids) | Self::OneOf(ids) => ids.clone(),
            Self::DependentSchemas(schemas) => schemas.iter().map(|(_, id)| *id).collect(),
            Self::If { condition, then, otherwise } => {
                [Some(*condition), *then, *otherwise].into_iter().flatten().collect()
            }
            _ => Vec::new(),
        }
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    Characters,
    Items,
    Properties,
}

impl Counted {
    /// Its name in a sentence.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Characters => "characters",
            Self::Items => "items",
            Self::Properties => "properties",
        }
    }
}

/// How a number is bounded.
#[derive(Debug, Clone, Copy)]
pub(super) enum Limit {
    AtLeast,
    Above,
    AtMost,
    Below,
}

impl Limit {
    /// Its name in a sentence.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::AtLeast => "at least",
            Self::Above => "greater than",
            Self::AtMost => "at most",
            Self::Below => "less than",
        }
    }
}

/// The names of all types, in the order of their bits in [`Types`].
const TYPES: [&str; 7] = ["boolean", "integer", "number", "string", "array", "object", "null"];

/// A set of JSON types, one bit each.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Types(u8);

impl Types {
    /// Adds the type of this name. Returns false if there is none.
    pub(super) fn add(&mut self, name: &str) -> bool {
        let mut bit = 1_u8;
        for known in TYPES {
            if known == name {
                self.0 |= bit;
                return true;
            }
            bit <<= 1;
        }
        false
    }

    /// Whether a value is of one of the types.
    pub(super) fn have(self, value: &Value) -> bool {
        let bits = match value {
            Value::Bool(_) => 1,
            Value::Number(number) if super::values::is_integer(number) => 2 | 4,
            Value::Number(_) => 4,
            Value::String(_) => 8,
            Value::Array(_) => 16,
            Value::Object(_) => 32,
            Value::Null => 64,
        };
        self.0 & bits != 0
    }

    /// The types' names, as `string or null`.
    pub(super) fn names(self) -> String {
        let mut bits = self.0;
        let mut names = Vec::new();
        for name in TYPES {
            if bits & 1 != 0 {
                names.push(name);
            }
            bits >>= 1;
        }
        names.join(" or ")
    }
}

/// The values of `enum` or `const`.
#[derive(Debug)]
pub(super) struct Choice {
    /// Their canonical texts.
    pub(super) values: BTreeSet<String>,
    /// The first of them as a person reads them.
    pub(super) shown: String,
}
