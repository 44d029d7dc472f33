//! The tools that a request declares, as an answer's calls are compared with them.

use std::{borrow::Cow, sync::Arc};

use serde_json::{Map, Value};

use crate::llm::Tool;

/// The declared tools, with the names under which the model sees them.
#[derive(Clone, Debug, Default)]
pub(in crate::chat) struct ToolSet {
    tools: Arc<[Tool]>,
    /// The name that the model sees, where it is another than the tool's own.
    shown: Arc<[Option<String>]>,
}

/// What a name means.
#[derive(Clone, Debug)]
pub(in crate::chat) struct Resolved<'a> {
    /// The tool's own name; that of the model where no tool has it.
    pub(in crate::chat) name: &'a str,
    /// The tool, if it is declared.
    pub(in crate::chat) tool: Option<&'a Tool>,
}

impl ToolSet {
    /// The tools of a request; `shown` returns the name under which the model sees one.
    pub(in crate::chat) fn new(tools: Arc<[Tool]>, shown: impl Fn(&str) -> Cow<'_, str>) -> Self {
        let alias = |tool: &Tool| Some(shown(&tool.name).into_owned()).filter(|shown| *shown != tool.name);
        let shown = tools.iter().map(alias).collect();
        Self { tools, shown }
    }

    /// All of them.
    pub(in crate::chat) fn all(&self) -> &[Tool] {
        &self.tools
    }

    /// Finds a tool by the name that the model wrote: by its exact name, by the one shown, else without regard to case where
    /// that is unambiguous.
    pub(in crate::chat) fn resolve<'a>(&'a self, name: &'a str) -> Resolved<'a> {
        let names = || self.tools.iter().zip(self.shown.iter());
        let exact = names()
            .find(|(tool, shown)| shown.as_deref() == Some(name) || shown.is_none() && tool.name == name)
            .or_else(|| names().find(|(tool, _)| tool.name == name));
        let tool = exact.map(|(tool, _)| tool).or_else(|| {
            let equal = |other: &str| other.to_lowercase() == name.to_lowercase();
            let mut alike = names().filter(|(tool, shown)| equal(&tool.name) || shown.as_deref().is_some_and(equal));
            let (tool, _) = alike.next()?;
            alike.next().is_none().then_some(tool)
        });
        Resolved { name: tool.map_or(name, |tool| &tool.name), tool }
    }

    /// Whether a tool has a name that begins with `head`, or is shown under one.
    pub(in crate::chat) fn has_name_with(&self, head: &str) -> bool {
        let mut names =
            self.tools.iter().map(|tool| tool.name.as_str()).chain(self.shown.iter().flatten().map(String::as_str));
        names.any(|name| name.starts_with(head))
    }
}

/// What of a tool's schema matters to reading its arguments.
#[derive(Clone, Debug, Default)]
pub(super) struct Parameters {
    properties: Map<String, Value>,
    required: Vec<String>,
}

/// The types that a schema allows for a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Types {
    pub(super) text: bool,
    pub(super) whole: bool,
    pub(super) number: bool,
    pub(super) boolean: bool,
    pub(super) null: bool,
    pub(super) object: bool,
    pub(super) array: bool,
}

impl Parameters {
    pub(super) fn of(tool: &Tool) -> Self {
        let schema = tool.parameters.as_deref().and_then(|json| serde_json::from_str::<Value>(json).ok());
        let Some(Value::Object(mut schema)) = schema else { return Self::default() };
        let properties = match schema.remove("properties") {
            Some(Value::Object(properties)) => properties,
            _ => Map::new(),
        };
        let required = match schema.remove("required") {
            Some(Value::Array(names)) => {
                names.into_iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
            }
            _ => Vec::new(),
        };
        Self { properties, required }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.properties.contains_key(name)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.properties.is_empty()
    }

    /// The only parameter, if there is one and no other.
    pub(super) fn only(&self) -> Option<&str> {
        match &self.properties.keys().collect::<Vec<_>>()[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Whether these arguments, an object, have all keys that are required.
    pub(super) fn are_given(&self, arguments: &Map<String, Value>) -> bool {
        self.required.iter().all(|name| arguments.contains_key(name))
    }

    /// The types that a parameter may have; none where the schema does not say.
    pub(super) fn types(&self, name: &str) -> Types {
        let mut types = Types::default();
        if let Some(schema) = self.properties.get(name) {
            types.add(schema, 0);
        }
        types
    }
}

impl Types {
    fn add(&mut self, schema: &Value, depth: u8) {
        if depth > 4 {
            return;
        }
        match schema.get("type") {
            Some(Value::String(name)) => self.add_name(name),
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).for_each(|name| self.add_name(name)),
            _ => {}
        }
        let values = schema.get("enum").and_then(Value::as_array).into_iter().flatten().chain(schema.get("const"));
        for value in values {
            match value {
                Value::String(_) => self.text = true,
                Value::Number(_) => self.number = true,
                Value::Bool(_) => self.boolean = true,
                Value::Null => self.null = true,
                Value::Object(_) => self.object = true,
                Value::Array(_) => self.array = true,
            }
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            let schemas = schema.get(key).and_then(Value::as_array).into_iter().flatten();
            schemas.for_each(|schema| self.add(schema, depth.saturating_add(1)));
        }
    }

    fn add_name(&mut self, name: &str) {
        match name {
            "string" => self.text = true,
            "integer" => self.whole = true,
            "number" => self.number = true,
            "boolean" => self.boolean = true,
            "null" => self.null = true,
            "object" => self.object = true,
            "array" => self.array = true,
            _ => {}
        }
    }

    /// Whether a value has one of these types.
    pub(super) fn allow(self, value: &Value) -> bool {
        match value {
            Value::String(_) => self.text,
            Value::Number(number) => self.number || self.whole && (number.is_i64() || number.is_u64()),
            Value::Bool(_) => self.boolean,
            Value::Null => self.null,
            Value::Object(_) => self.object,
            Value::Array(_) => self.array,
        }
    }
}
