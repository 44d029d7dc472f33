//! From the JSON of a schema to its demands.

use super::{
    keywords::{Counted, Id, Keyword, Limit},
    pattern::Pattern,
    reader::{Reader, below, names, wrong},
    references::{References, ResourceId, place_of},
    values::shown,
};
use serde_json::{Map, Value};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap},
};

/// How many regular expressions a schema may have, since each takes up to 64 KiB.
const MAX_PATTERNS: usize = 100;

/// A schema that is still to be read.
struct Waiting<'a> {
    id: Id,
    schema: &'a Value,
    resource: ResourceId,
    place: String,
}

struct Compiler<'a> {
    references: References<'a>,
    nodes: Vec<Vec<Keyword>>,
    /// The schemas that have a place already, by their place in memory.
    known: HashMap<usize, Id>,
    waiting: Vec<Waiting<'a>>,
    patterns: usize,
}

/// Reads a schema and everything that it refers to. What it does not use is not read.
///
/// # Errors
///
/// A sentence that says what is wrong and where.
pub(super) fn compile(schema: &Value) -> Result<Vec<Vec<Keyword>>, String> {
    let references = References::new(schema).map_err(|what| format!("the schema is wrong: {what}"))?;
    let resource = references.resource_of(schema, 0);
    let mut compiler =
        Compiler { references, nodes: Vec::new(), known: HashMap::new(), waiting: Vec::new(), patterns: 0 };
    compiler.node(schema, resource, String::new());
    while let Some(waiting) = compiler.waiting.pop() {
        let keywords = compiler.keywords(&waiting)?;
        if let Some(node) = compiler.nodes.get_mut(waiting.id) {
            *node = keywords;
        }
    }
    if has_cycle(&compiler.nodes) {
        return Err("the schema is wrong: one of its parts refers to itself without an end".to_owned());
    }
    Ok(compiler.nodes)
}

impl<'a> Compiler<'a> {
    /// The place of a schema, which is read later if it is new.
    fn node(&mut self, schema: &'a Value, around: ResourceId, place: String) -> Id {
        let id = self.nodes.len();
        let known = *self.known.entry(place_of(schema)).or_insert(id);
        if known == id {
            let resource = self.references.resource_of(schema, around);
            self.nodes.push(Vec::new());
            self.waiting.push(Waiting { id, schema, resource, place });
        }
        known
    }

    fn keywords(&mut self, schema: &Waiting<'a>) -> Result<Vec<Keyword>, String> {
        let members = match schema.schema {
            Value::Bool(true) => return Ok(Vec::new()),
            Value::Bool(false) => return Ok(vec![Keyword::Never]),
            Value::Object(members) => members,
            _ => return Err(wrong(&schema.place, "a schema must be an object or a boolean")),
        };
        let reader = Reader { members, place: &schema.place };
        let mut keywords = Vec::new();
        keywords.extend(reader.types()?.map(Keyword::Type));
        keywords.extend(reader.choice()?.into_iter().map(Keyword::Enum));
        self.references_of(reader, schema.resource, &mut keywords)?;
        self.scalars(reader, &mut keywords)?;
        self.arrays(reader, schema.resource, &mut keywords)?;
        self.objects(reader, schema.resource, &mut keywords)?;
        self.combined(reader, schema.resource, &mut keywords)?;
        keywords.shrink_to_fit();
        Ok(keywords)
    }

    fn references_of(
        &mut self,
        reader: Reader<'a, '_>,
        resource: ResourceId,
        keywords: &mut Vec<Keyword>,
    ) -> Result<(), String> {
        for keyword in ["$ref", "$dynamicRef"] {
            let Some(reference) = reader.text(keyword)? else { continue };
            let (schema, resource) = self
                .references
                .resolve(resource, reference)
                .map_err(|what| reader.wrong(keyword, &format!("\"{}\" {what}", shown(reference, 60))))?;
            let place = reference.split_once('#').map_or(reference, |(_, fragment)| fragment);
            keywords.push(Keyword::Ref(self.node(schema, resource, below("", place.trim_start_matches('/')))));
        }
        Ok(())
    }

    fn scalars(&mut self, reader: Reader<'a, '_>, keywords: &mut Vec<Keyword>) -> Result<(), String> {
        for (keyword, limit) in [
            ("minimum", Limit::AtLeast),
            ("exclusiveMinimum", Limit::Above),
            ("maximum", Limit::AtMost),
            ("exclusiveMaximum", Limit::Below),
        ] {
            keywords.extend(reader.number(keyword)?.map(|number| Keyword::Limit(limit, number.clone())));
        }
        if let Some(of) = reader.number("multipleOf")? {
            if super::values::compare(of, &0.into()) != Some(Ordering::Greater) {
                return Err(reader.wrong("multipleOf", "must be greater than 0"));
            }
            keywords.push(Keyword::MultipleOf(of.clone()));
        }
        for (least, most, counted) in [
            ("minLength", "maxLength", Counted::Characters),
            ("minItems", "maxItems", Counted::Items),
            ("minProperties", "maxProperties", Counted::Properties),
        ] {
            keywords.extend(reader.count(least)?.map(|least| Keyword::AtLeast(counted, least)));
            keywords.extend(reader.count(most)?.map(|most| Keyword::AtMost(counted, most)));
        }
        if let Some(source) = reader.text("pattern")? {
            keywords.extend(self.pattern(source)?.map(Keyword::Pattern));
        }
        Ok(())
    }

    /// A regular expression, or `None` if it cannot be matched in linear time.
    fn pattern(&mut self, source: &str) -> Result<Option<Pattern>, String> {
        self.patterns = self.patterns.saturating_add(1);
        if self.patterns > MAX_PATTERNS {
            return Err(format!("the schema has more than {MAX_PATTERNS} regular expressions"));
        }
        Ok(Pattern::new(source))
    }

    fn arrays(
        &mut self,
        reader: Reader<'a, '_>,
        resource: ResourceId,
        keywords: &mut Vec<Keyword>,
    ) -> Result<(), String> {
        // Older drafts wrote the first items as an array in `items`, and the rest as `additionalItems`.
        let (first, rest) = match reader.members.get("items") {
            Some(Value::Array(_)) => ("items", "additionalItems"),
            _ => ("prefixItems", "items"),
        };
        let first = self.list(reader, first, resource)?.unwrap_or_default();
        let rest = self.one(reader, rest, resource);
        if !first.is_empty() || rest.is_some() {
            keywords.push(Keyword::Items { first, rest });
        }
        if let Some(item) = self.one(reader, "contains", resource) {
            let least = reader.count("minContains")?.unwrap_or(1);
            keywords.push(Keyword::Contains { item, least, most: reader.count("maxContains")? });
        }
        if reader.read("uniqueItems", "must be a boolean", Value::as_bool)? == Some(true) {
            keywords.push(Keyword::UniqueItems);
        }
        Ok(())
    }

    fn objects(
        &mut self,
        reader: Reader<'a, '_>,
        resource: ResourceId,
        keywords: &mut Vec<Keyword>,
    ) -> Result<(), String> {
        keywords.extend(reader.names("required")?.filter(|names| !names.is_empty()).map(Keyword::Required));
        let named: BTreeMap<String, Id> = self.named(reader, "properties", resource)?.into_iter().collect();
        let mut patterns = Vec::new();
        for (source, id) in self.named(reader, "patternProperties", resource)? {
            let what = || format!("the expression \"{}\" cannot be used", shown(&source, 60));
            let pattern = self.pattern(&source)?.ok_or_else(|| reader.wrong("patternProperties", &what()))?;
            patterns.push((pattern, id));
        }
        let rest = self.one(reader, "additionalProperties", resource);
        if !named.is_empty() || !patterns.is_empty() || rest.is_some() {
            keywords.push(Keyword::Properties { named, patterns, rest });
        }
        keywords.extend(self.one(reader, "propertyNames", resource).map(Keyword::PropertyNames));
        if let Some(members) = reader.object("dependentRequired")? {
            let read = |(name, others): (&String, &Value)| Some((name.clone(), names(others)?));
            let all: Option<Vec<_>> = members.iter().map(read).collect();
            let what = "must hold arrays of strings";
            keywords.push(Keyword::DependentRequired(all.ok_or_else(|| reader.wrong("dependentRequired", what))?));
        }
        let dependent = self.named(reader, "dependentSchemas", resource)?;
        if !dependent.is_empty() {
            keywords.push(Keyword::DependentSchemas(dependent));
        }
        Ok(())
    }

    fn combined(
        &mut self,
        reader: Reader<'a, '_>,
        resource: ResourceId,
        keywords: &mut Vec<Keyword>,
    ) -> Result<(), String> {
        keywords.extend(self.list(reader, "allOf", resource)?.map(Keyword::AllOf));
        keywords.extend(self.list(reader, "anyOf", resource)?.map(Keyword::AnyOf));
        keywords.extend(self.list(reader, "oneOf", resource)?.map(Keyword::OneOf));
        keywords.extend(self.one(reader, "not", resource).map(Keyword::Not));
        if let Some(condition) = self.one(reader, "if", resource) {
            let (then, otherwise) = (self.one(reader, "then", resource), self.one(reader, "else", resource));
            keywords.push(Keyword::If { condition, then, otherwise });
        }
        Ok(())
    }

    fn one(&mut self, reader: Reader<'a, '_>, keyword: &str, resource: ResourceId) -> Option<Id> {
        let schema = reader.members.get(keyword)?;
        Some(self.node(schema, resource, below(reader.place, keyword)))
    }

    fn list(&mut self, reader: Reader<'a, '_>, keyword: &str, resource: ResourceId) -> Result<Option<Vec<Id>>, String> {
        let Some(schemas) = reader.list(keyword)? else { return Ok(None) };
        if schemas.is_empty() && keyword.ends_with("Of") {
            return Err(reader.wrong(keyword, "must not be empty"));
        }
        let place = below(reader.place, keyword);
        let schemas = schemas.iter().enumerate();
        Ok(Some(schemas.map(|(at, schema)| self.node(schema, resource, below(&place, &at.to_string()))).collect()))
    }

    fn named(
        &mut self,
        reader: Reader<'a, '_>,
        keyword: &str,
        resource: ResourceId,
    ) -> Result<Vec<(String, Id)>, String> {
        let empty = Map::new();
        let schemas = reader.object(keyword)?;
        let place = below(reader.place, keyword);
        let mut named = Vec::with_capacity(schemas.unwrap_or(&empty).len());
        for (name, schema) in schemas.into_iter().flatten() {
            named.push((name.clone(), self.node(schema, resource, below(&place, name))));
        }
        Ok(named)
    }
}

/// Whether some schema applies itself to the same value again, so that checking it would never end.
fn has_cycle(nodes: &[Vec<Keyword>]) -> bool {
    let in_place = |id: Id| -> Vec<Id> { nodes.get(id).into_iter().flatten().flat_map(Keyword::in_place).collect() };
    // 0 = not seen, 1 = on the way, 2 = done.
    let mut seen = vec![0_u8; nodes.len()];
    for start in 0..nodes.len() {
        if seen.get(start) != Some(&0) {
            continue;
        }
        let mut way = vec![(start, in_place(start))];
        while let Some((id, next)) = way.last_mut() {
            let id = *id;
            let inner = next.pop();
            let state = inner.and_then(|inner| seen.get(inner).copied());
            if let Some(mark) = seen.get_mut(id) {
                *mark = if inner.is_some() { 1 } else { 2 };
            }
            match (inner, state) {
                (None, _) => drop(way.pop()),
                (Some(_), Some(1)) => return true,
                // Its mark was read before it was set.
                (Some(inner), _) if inner == id => return true,
                (Some(inner), Some(0)) => way.push((inner, in_place(inner))),
                _ => {}
            }
        }
    }
    false
}
