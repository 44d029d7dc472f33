//! Holding a value against the demands of a schema.

use super::{
    keywords::{Counted, Id, Keyword, Limit},
    values::{canonical, compare, described, is_multiple, kind, quoted, shown},
};
use serde_json::{Map, Value};
use std::{cmp::Ordering, collections::BTreeSet};

/// How many steps a check takes at most: schemas applied, properties looked up, and bytes matched with regular expressions.
const MAX_STEPS: u64 = 2_000_000;
/// How many schemas may be applied within each other. The stack of the Worker has 1 MiB.
const MAX_DEPTH: usize = 256;
/// How much of a value's path an error shows, in characters.
const MAX_PATH: usize = 70;
/// How many references are followed to find out which type a form is for.
const MAX_REFERENCES: usize = 16;

/// Why a check ends early.
#[derive(Debug)]
enum Stop {
    /// The value does not match: the sentence, which is empty where nobody reads it.
    Fault(String),
    /// It is unknown whether the value matches.
    TooMuch(&'static str),
}

type Checked = Result<(), Stop>;

/// The way from the root to a value.
enum Path<'a> {
    Root,
    Name(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl Path<'_> {
    /// The JSON pointer, or words for the root.
    fn shown(&self) -> String {
        let mut steps = Vec::new();
        let mut path = self;
        loop {
            path = match path {
                Self::Root => break,
                Self::Name(outer, name) => {
                    let name: String = name.chars().take(MAX_PATH).collect();
                    steps.push(name.replace('~', "~0").replace('/', "~1"));
                    outer
                }
                Self::Index(outer, index) => {
                    steps.push(index.to_string());
                    outer
                }
            };
        }
        if steps.is_empty() {
            return "the whole value".to_owned();
        }
        let pointer: String = steps.iter().rev().flat_map(|step| ["/", step]).collect();
        shown(&pointer, MAX_PATH)
    }
}

/// One check.
struct Check<'s> {
    nodes: &'s [Vec<Keyword>],
    steps: u64,
    depth: usize,
    /// Whether sentences are made of faults. Not within a form that need not match.
    loud: bool,
}

/// Checks a value against the first of these schemas.
///
/// # Errors
///
/// A sentence with the first fault.
pub(super) fn check(nodes: &[Vec<Keyword>], value: &Value) -> Result<(), String> {
    let mut check = Check { nodes, steps: MAX_STEPS, depth: 0, loud: true };
    check.visit(0, value, &Path::Root).map_err(|stop| match stop {
        Stop::Fault(fault) => fault,
        Stop::TooMuch(what) => what.to_owned(),
    })
}

fn length(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

impl Check<'_> {
    fn spend(&mut self, steps: u64) -> Checked {
        self.steps = self.steps.checked_sub(steps).ok_or(Stop::TooMuch("the schema takes too long to check"))?;
        Ok(())
    }

    fn fault(&self, path: &Path<'_>, what: impl FnOnce() -> String) -> Checked {
        Err(Stop::Fault(if self.loud { format!("{} {}", path.shown(), what()) } else { String::new() }))
    }

    fn visit(&mut self, id: Id, value: &Value, path: &Path<'_>) -> Checked {
        self.spend(1)?;
        if self.depth >= MAX_DEPTH {
            return Err(Stop::TooMuch("the text is nested too deep to be checked against the schema"));
        }
        self.depth = self.depth.saturating_add(1);
        let nodes = self.nodes;
        let mut keywords = nodes.get(id).into_iter().flatten();
        let checked = keywords.try_for_each(|keyword| self.keyword(keyword, value, path));
        self.depth = self.depth.saturating_sub(1);
        checked
    }

    /// Whether a value matches, where it need not.
    fn matches(&mut self, id: Id, value: &Value, path: &Path<'_>) -> Result<bool, Stop> {
        let loud = std::mem::replace(&mut self.loud, false);
        let checked = self.visit(id, value, path);
        self.loud = loud;
        match checked {
            Ok(()) => Ok(true),
            Err(Stop::Fault(_)) => Ok(false),
            Err(too_much) => Err(too_much),
        }
    }

    fn keyword(&mut self, keyword: &Keyword, value: &Value, path: &Path<'_>) -> Checked {
        match (keyword, value) {
            (Keyword::Ref(id), _) => self.visit(*id, value, path),
            (Keyword::AllOf(ids), _) => ids.iter().try_for_each(|id| self.visit(*id, value, path)),
            (Keyword::AnyOf(ids), _) => self.any_of(ids, value, path),
            (Keyword::OneOf(ids), _) => self.one_of(ids, value, path),
            (Keyword::Not(id), _) if self.matches(*id, value, path)? => {
                self.fault(path, || "matches a form that the schema excludes".to_owned())
            }
            (Keyword::If { condition, then, otherwise }, _) => {
                let next = if self.matches(*condition, value, path)? { then } else { otherwise };
                next.map_or(Ok(()), |id| self.visit(id, value, path))
            }
            (Keyword::Items { first, rest }, Value::Array(items)) => {
                self.spend(length(items.len()))?;
                let schemas = first.iter().copied().map(Some).chain(std::iter::repeat(*rest));
                let mut items = items.iter().enumerate().zip(schemas);
                items.try_for_each(|((at, item), schema)| {
                    schema.map_or(Ok(()), |id| self.visit(id, item, &Path::Index(path, at)))
                })
            }
            (Keyword::Contains { item, least, most }, Value::Array(items)) => {
                self.contains(*item, *least, *most, items, path)
            }
            (Keyword::UniqueItems, Value::Array(items)) => self.unique(items, path),
            (Keyword::Properties { named, patterns, rest }, Value::Object(members)) => {
                for (name, member) in members {
                    self.spend(1)?;
                    let path = Path::Name(path, name);
                    let id = named.get(name);
                    let mut known = id.is_some();
                    id.map_or(Ok(()), |id| self.visit(*id, member, &path))?;
                    for (pattern, id) in patterns {
                        self.spend(pattern.cost(name))?;
                        if pattern.matches(name) {
                            known = true;
                            self.visit(*id, member, &path)?;
                        }
                    }
                    if let (false, Some(id)) = (known, rest) {
                        self.visit(*id, member, &path)?;
                    }
                }
                Ok(())
            }
            (Keyword::PropertyNames(id), Value::Object(members)) => members.keys().try_for_each(|name| {
                self.spend(length(name.len()) / 64)?;
                if self.matches(*id, &Value::String(name.clone()), path)? {
                    return Ok(());
                }
                self.fault(path, || format!("must not have a property with the name {}", quoted(name)))
            }),
            (Keyword::Required(names), Value::Object(members)) => self.required(names, members, path),
            (Keyword::DependentRequired(all), Value::Object(members)) => {
                self.spend(length(all.len()))?;
                let mut all = all.iter().filter(|(name, _)| members.contains_key(name));
                all.try_for_each(|(_, names)| self.required(names, members, path))
            }
            (Keyword::DependentSchemas(all), Value::Object(members)) => {
                self.spend(length(all.len()))?;
                let mut all = all.iter().filter(|(name, _)| members.contains_key(name));
                all.try_for_each(|(_, id)| self.visit(*id, value, path))
            }
            _ => self.simple(keyword, value, path),
        }
    }

    /// The keywords that apply no other schema.
    fn simple(&mut self, keyword: &Keyword, value: &Value, path: &Path<'_>) -> Checked {
        match (keyword, value) {
            (Keyword::Never, _) => self.fault(path, || "is not allowed here".to_owned()),
            (Keyword::Type(types), _) if !types.have(value) => {
                self.fault(path, || format!("must be of type {}, and is {}", types.names(), kind(value)))
            }
            (Keyword::Enum(choice), _) => {
                let text = self.canonical(value)?;
                if choice.values.contains(&text) {
                    return Ok(());
                }
                self.fault(path, || format!("must be one of {}, and is {}", choice.shown, described(value)))
            }
            (Keyword::Limit(limit, bound), Value::Number(number)) => {
                let right = match (limit, compare(number, bound)) {
                    (_, None) => false,
                    (Limit::AtLeast, Some(order)) => order != Ordering::Less,
                    (Limit::Above, Some(order)) => order == Ordering::Greater,
                    (Limit::AtMost, Some(order)) => order != Ordering::Greater,
                    (Limit::Below, Some(order)) => order == Ordering::Less,
                };
                if right {
                    return Ok(());
                }
                self.fault(path, || format!("must be {} {bound}, and is {}", limit.name(), described(value)))
            }
            (Keyword::MultipleOf(of), Value::Number(number)) if !is_multiple(number, of) => {
                self.fault(path, || format!("must be a multiple of {of}, and is {}", described(value)))
            }
            (Keyword::AtLeast(counted, least), _) => match self.count(*counted, value)? {
                Some(count) if count < *least => {
                    self.fault(path, || format!("must have at least {least} {}, and has {count}", counted.name()))
                }
                _ => Ok(()),
            },
            (Keyword::AtMost(counted, most), _) => match self.count(*counted, value)? {
                Some(count) if count > *most => {
                    self.fault(path, || format!("must have at most {most} {}, and has {count}", counted.name()))
                }
                _ => Ok(()),
            },
            (Keyword::Pattern(pattern), Value::String(text)) => {
                self.spend(pattern.cost(text))?;
                if pattern.matches(text) {
                    return Ok(());
                }
                self.fault(path, || format!("must match the pattern \"{}\", and is {}", pattern.shown, quoted(text)))
            }
            _ => Ok(()),
        }
    }

    fn canonical(&mut self, value: &Value) -> Result<String, Stop> {
        let mut text = String::new();
        canonical(value, &mut text);
        self.spend((length(text.len()) / 16).saturating_add(2))?;
        Ok(text)
    }

    /// How many of these things the value has, if it can have them.
    fn count(&mut self, counted: Counted, value: &Value) -> Result<Option<u64>, Stop> {
        Ok(match (counted, value) {
            (Counted::Characters, Value::String(text)) => {
                self.spend(length(text.len()) / 64)?;
                Some(length(text.chars().count()))
            }
            (Counted::Items, Value::Array(items)) => Some(length(items.len())),
            (Counted::Properties, Value::Object(members)) => Some(length(members.len())),
            _ => None,
        })
    }

    fn required(&mut self, names: &[String], members: &Map<String, Value>, path: &Path<'_>) -> Checked {
        self.spend(length(names.len()))?;
        match names.iter().find(|name| !members.contains_key(*name)) {
            None => Ok(()),
            Some(name) => self.fault(path, || format!("must have the property \"{}\"", shown(name, 60))),
        }
    }

    fn any_of(&mut self, ids: &[Id], value: &Value, path: &Path<'_>) -> Checked {
        for id in ids {
            if self.matches(*id, value, path)? {
                return Ok(());
            }
        }
        self.none_of("anyOf", ids, value, path)
    }

    fn one_of(&mut self, ids: &[Id], value: &Value, path: &Path<'_>) -> Checked {
        let mut matching = 0_usize;
        for id in ids {
            matching = matching.saturating_add(usize::from(self.matches(*id, value, path)?));
        }
        match matching {
            0 => self.none_of("oneOf", ids, value, path),
            1 => Ok(()),
            _ => self.fault(path, || format!("matches {matching} forms of oneOf, and must match one only")),
        }
    }

    /// The fault of a value that matches no form. If only one form is for the type of the value, its fault is told.
    fn none_of(&mut self, keyword: &str, ids: &[Id], value: &Value, path: &Path<'_>) -> Checked {
        if self.loud {
            let mut fitting = ids.iter().filter(|id| self.is_for(**id, value));
            if let (Some(id), None) = (fitting.next(), fitting.next()) {
                self.visit(*id, value, path)?;
            }
        }
        self.fault(path, || format!("is {} and matches none of the {} forms of {keyword}", kind(value), ids.len()))
    }

    /// Whether a schema is for values of this type.
    fn is_for(&self, mut id: Id, value: &Value) -> bool {
        for _ in 0..MAX_REFERENCES {
            let mut next = None;
            for keyword in self.nodes.get(id).into_iter().flatten() {
                match keyword {
                    Keyword::Type(types) => return types.have(value),
                    Keyword::Ref(id) => next = Some(*id),
                    _ => {}
                }
            }
            match next {
                Some(next) => id = next,
                None => return true,
            }
        }
        true
    }

    fn contains(&mut self, id: Id, least: u64, most: Option<u64>, items: &[Value], path: &Path<'_>) -> Checked {
        let mut count = 0_u64;
        for item in items {
            count = count.saturating_add(u64::from(self.matches(id, item, path)?));
        }
        if count < least {
            return self.fault(path, || format!("must have at least {least} items of a form, and has {count}"));
        }
        match most {
            Some(most) if count > most => {
                self.fault(path, || format!("must have at most {most} items of a form, and has {count}"))
            }
            _ => Ok(()),
        }
    }

    fn unique(&mut self, items: &[Value], path: &Path<'_>) -> Checked {
        let mut seen = BTreeSet::new();
        for (at, item) in items.iter().enumerate() {
            if !seen.insert(self.canonical(item)?) {
                return self.fault(path, || format!("must not have equal items, and item {at} repeats an earlier one"));
            }
        }
        Ok(())
    }
}
