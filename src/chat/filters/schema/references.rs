//! What `$id`, `$anchor` and `$ref` mean: the parts of a schema under their addresses. Nothing is ever fetched.

use super::values::shown;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use std::collections::HashMap;
use url::Url;

/// The longest address that `$id` may make, in bytes.
const MAX_ADDRESS: usize = 1024;
/// What a schema without an `$id` is called.
const UNNAMED: &str = "schema:///";

/// How a keyword holds schemas.
#[derive(Debug, Clone, Copy)]
enum Holds {
    One,
    List,
    Named,
    OneOrList,
}

/// The keywords that hold schemas.
const HOLDERS: &[(&str, Holds)] = &[
    ("$defs", Holds::Named),
    ("additionalItems", Holds::One),
    ("additionalProperties", Holds::One),
    ("allOf", Holds::List),
    ("anyOf", Holds::List),
    ("contains", Holds::One),
    ("definitions", Holds::Named),
    ("dependentSchemas", Holds::Named),
    ("else", Holds::One),
    ("if", Holds::One),
    ("items", Holds::OneOrList),
    ("not", Holds::One),
    ("oneOf", Holds::List),
    ("patternProperties", Holds::Named),
    ("prefixItems", Holds::List),
    ("properties", Holds::Named),
    ("propertyNames", Holds::One),
    ("then", Holds::One),
    ("unevaluatedItems", Holds::One),
    ("unevaluatedProperties", Holds::One),
];

/// A schema with an address of its own: the whole document, or a part with an `$id`.
#[derive(Debug)]
struct Resource<'a> {
    address: Url,
    root: &'a Value,
}

/// The place of a resource in the list.
pub(super) type ResourceId = usize;

/// The address of a value in memory: it identifies one of several equal parts of a schema.
pub(super) fn place_of(value: &Value) -> usize {
    std::ptr::from_ref(value).addr()
}

/// All addresses of a schema.
#[derive(Debug, Default)]
pub(super) struct References<'a> {
    resources: Vec<Resource<'a>>,
    by_address: HashMap<String, ResourceId>,
    anchors: HashMap<(ResourceId, &'a str), &'a Value>,
    /// The resource of each schema, by its place in memory.
    of: HashMap<usize, ResourceId>,
}

impl<'a> References<'a> {
    /// Collects the addresses of a schema.
    ///
    /// # Errors
    ///
    /// Says which `$id` is no address, or makes one that is too long.
    pub(super) fn new(root: &'a Value) -> Result<Self, String> {
        let mut found = Self::default();
        let unnamed = Url::parse(UNNAMED).map_err(|error| error.to_string())?;
        let first = found.add(unnamed, root);
        let mut waiting = vec![(root, first)];
        while let Some((schema, resource)) = waiting.pop() {
            let resource = found.enter(schema, resource)?;
            for (keyword, holds) in HOLDERS {
                let Some(held) = schema.get(keyword) else { continue };
                match (holds, held) {
                    (Holds::Named, Value::Object(members)) => {
                        waiting.extend(members.values().map(|member| (member, resource)));
                    }
                    (Holds::List | Holds::OneOrList, Value::Array(items)) => {
                        waiting.extend(items.iter().map(|item| (item, resource)));
                    }
                    (Holds::One | Holds::OneOrList, one) => waiting.push((one, resource)),
                    _ => {}
                }
            }
        }
        Ok(found)
    }

    fn add(&mut self, address: Url, root: &'a Value) -> ResourceId {
        let id = self.resources.len();
        self.by_address.entry(address.as_str().to_owned()).or_insert(id);
        self.resources.push(Resource { address, root });
        id
    }

    /// Notes the names of one schema, and returns the resource that it belongs to.
    fn enter(&mut self, schema: &'a Value, mut resource: ResourceId) -> Result<ResourceId, String> {
        match schema.get("$id").and_then(Value::as_str) {
            // Older drafts wrote an anchor so.
            Some(id) if id.starts_with('#') => {
                self.anchors.insert((resource, id.trim_start_matches('#')), schema);
            }
            Some(id) => {
                let wrong = |what: &str| format!("the $id \"{}\" {what}", shown(id, 60));
                let mut address = self.join(resource, id).ok_or_else(|| wrong("is not a URI"))?;
                address.set_fragment(None);
                if address.as_str().len() > MAX_ADDRESS {
                    return Err(wrong("makes too long an address"));
                }
                resource = self.add(address, schema);
            }
            None => {}
        }
        for keyword in ["$anchor", "$dynamicAnchor"] {
            if let Some(name) = schema.get(keyword).and_then(Value::as_str) {
                self.anchors.insert((resource, name), schema);
            }
        }
        self.of.insert(place_of(schema), resource);
        Ok(resource)
    }

    fn join(&self, resource: ResourceId, reference: &str) -> Option<Url> {
        self.resources.get(resource)?.address.join(reference).ok()
    }

    /// The resource of a schema, or `around` if the schema stands where none is expected.
    pub(super) fn resource_of(&self, schema: &Value, around: ResourceId) -> ResourceId {
        self.of.get(&place_of(schema)).copied().unwrap_or(around)
    }

    /// Finds what a `$ref` in a resource refers to, and the resource of that.
    ///
    /// # Errors
    ///
    /// Says that the reference leaves the schema, or that there is nothing.
    pub(super) fn resolve(&self, resource: ResourceId, reference: &str) -> Result<(&'a Value, ResourceId), String> {
        let (address, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let mut resource = resource;
        if !address.is_empty() {
            resource = self
                .join(resource, address)
                .and_then(|address| self.by_address.get(address.as_str()).copied())
                .ok_or("refers to a document outside of the schema, and none is fetched")?;
        }
        let nothing = "refers to nothing in the schema";
        let root = self.resources.get(resource).ok_or(nothing)?.root;
        let fragment = percent_decode_str(fragment).decode_utf8_lossy();
        if !fragment.is_empty() && !fragment.starts_with('/') {
            let schema = *self.anchors.get(&(resource, &*fragment)).ok_or(nothing)?;
            return Ok((schema, self.resource_of(schema, resource)));
        }
        let mut found = root;
        for step in fragment.split('/').skip(1) {
            let step = step.replace("~1", "/").replace("~0", "~");
            found = match found {
                Value::Object(members) => members.get(&step),
                Value::Array(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
                _ => None,
            }
            .ok_or(nothing)?;
            resource = self.resource_of(found, resource);
        }
        Ok((found, resource))
    }
}
