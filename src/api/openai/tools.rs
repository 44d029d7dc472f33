//! The tools of a request, and which of them the answer may or must call.

use std::{collections::HashSet, fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

use super::responses::{Namespaced, shown_name};
use crate::{
    api::lenient::{MAX_DEPTH, MAX_TOOL_NAME, MAX_TOOLS, is_too_deep},
    error::{Error, Result},
    llm::{self, ToolChoice, ToolKind},
};

pub(super) use crate::api::lenient::tools;

/// A tool. Types that mean nothing here are ignored.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = Tool))]
pub(super) struct ToolFields {
    /// `function`, `custom`, or `web_search`, which switches the web search on.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// A function.
    function: Option<Function>,
    /// A tool that takes text.
    custom: Option<Custom>,
    /// The name, where it stands beside the type, as in the Responses API.
    name: Option<String>,
    /// What it does, likewise.
    description: Option<String>,
    /// The schema of its arguments, likewise.
    #[cfg_attr(test, schema(value_type = Option<crate::api::lenient::Object>))]
    parameters: Option<Box<RawValue>>,
    /// Whether arguments have to fit the schema, likewise.
    strict: Option<bool>,
    /// What a custom tool takes, likewise.
    #[cfg_attr(test, schema(value_type = Option<crate::api::lenient::Object>))]
    format: Option<Box<RawValue>>,
    /// The tools of a `namespace`.
    #[serde(default, deserialize_with = "tools")]
    #[cfg_attr(test, schema(no_recursion, value_type = Option<Vec<ToolFields>>))]
    tools: Option<Vec<ToolFields>>,
}

/// A function.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct Function {
    /// Its name.
    name: Option<String>,
    /// What it does.
    description: Option<String>,
    /// The JSON schema of its arguments.
    #[cfg_attr(test, schema(value_type = Option<crate::api::lenient::Object>))]
    parameters: Option<Box<RawValue>>,
    /// Whether arguments have to fit the schema; if not, the model is asked once more.
    strict: Option<bool>,
}

/// A tool that takes text.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct Custom {
    /// Its name.
    name: Option<String>,
    /// What it does.
    description: Option<String>,
    /// What text it takes.
    #[cfg_attr(test, schema(value_type = Option<crate::api::lenient::Object>))]
    format: Option<Box<RawValue>>,
}

/// `tool_choice` and `function_call`.
#[derive(Debug)]
pub(super) enum Choice {
    /// `none`, `auto` or `required`.
    Mode(String),
    /// A tool, or a list of them.
    Fields(Box<ChoiceFields>),
}

/// A tool that has to be called, or those that may be.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = ToolChoiceObject))]
pub(super) struct ChoiceFields {
    /// `function`, `custom` or `allowed_tools`.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// The name of the tool.
    name: Option<String>,
    /// A function.
    function: Option<Named>,
    /// A tool that takes text.
    custom: Option<Named>,
    /// The tools that may be called.
    allowed_tools: Option<Allowed>,
    /// `auto` or `required`, where it stands beside the type.
    mode: Option<String>,
    /// The tools that may be called, likewise.
    tools: Option<Vec<ToolFields>>,
}

/// The name of a tool.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = ToolName))]
pub(super) struct Named {
    /// The name.
    name: Option<String>,
}

/// The tools that may be called.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = AllowedTools))]
pub(super) struct Allowed {
    /// `auto` or `required`.
    mode: Option<String>,
    /// The tools, by name.
    #[serde(default)]
    tools: Vec<ToolFields>,
}

impl<'de> Deserialize<'de> for Choice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ModeOrFields;
        impl<'de> Visitor<'de> for ModeOrFields {
            type Value = Choice;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an object")
            }

            fn visit_str<E: de::Error>(self, mode: &str) -> Result<Choice, E> {
                Ok(Choice::Mode(mode.to_owned()))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Choice, A::Error> {
                ChoiceFields::deserialize(MapAccessDeserializer::new(map))
                    .map(|fields| Choice::Fields(Box::new(fields)))
            }
        }
        deserializer.deserialize_any(ModeOrFields)
    }
}

/// The tool fields of a request, as the client sent them.
#[derive(Debug, Default)]
pub(super) struct ToolRequest {
    pub(super) tools: Option<Vec<ToolFields>>,
    pub(super) functions: Option<Vec<Function>>,
    pub(super) tool_choice: Option<Choice>,
    pub(super) function_call: Option<Choice>,
    pub(super) parallel: Option<bool>,
}

/// What a request says about tools, in neutral words.
#[derive(Debug, Default)]
pub(super) struct Tools {
    pub(super) tools: Arc<[llm::Tool]>,
    pub(super) choice: ToolChoice,
    pub(super) allowed: Option<Vec<String>>,
    pub(super) parallel: bool,
    /// A tool of the site's own is asked for: web search.
    pub(super) search: bool,
    /// The request has `functions`, and its answer `function_call`.
    pub(super) legacy: bool,
    /// The tools of namespaces.
    pub(super) namespaced: Vec<Namespaced>,
}

impl ToolRequest {
    /// # Errors
    /// `invalid_request` with the field: a tool without a name, a schema that is no object, a choice that no tool fits.
    pub(super) fn into_neutral(self) -> Result<Tools> {
        let Self { tools, functions, tool_choice, function_call, parallel } = self;
        let legacy = functions.is_some() && tools.as_ref().is_none_or(Vec::is_empty);
        let mut search = false;
        let mut all: Vec<llm::Tool> = Vec::new();
        let mut namespaced = Vec::new();
        let mut names = HashSet::new();
        let mut add = |tool: llm::Tool, param: &str| {
            if !names.insert(tool.name.clone()) {
                let problem = format!("The tool in '{param}' has the name of another one: '{}'.", tool.name);
                return Err(Error::invalid(param, problem));
            }
            all.push(tool);
            Ok(())
        };
        for (index, tool) in tools.into_iter().flatten().enumerate() {
            search |= tool.kind.as_deref().is_some_and(|kind| kind.starts_with("web_search"));
            let param = format!("tools[{index}]");
            if tool.kind.as_deref() == Some("namespace") {
                for (declared, tool) in tool.into_namespaced(&param)? {
                    add(declared, &param)?;
                    namespaced.push(tool);
                }
            } else if let Some(tool) = tool.into_neutral(&param)? {
                add(tool, &param)?;
            }
        }
        for (index, function) in functions.into_iter().flatten().enumerate().filter(|_| legacy) {
            let param = format!("functions[{index}]");
            add(function.into_neutral(&param)?, &param)?;
        }
        if all.len() > MAX_TOOLS {
            return Err(Error::invalid("tools", format!("The request has more than {MAX_TOOLS} tools.")));
        }
        let (choice, param) = match (tool_choice, function_call) {
            (None, Some(choice)) => (Some(choice), "function_call"),
            (choice, _) => (choice, "tool_choice"),
        };
        let (choice, allowed) = choice.map_or(Ok((ToolChoice::Auto, None)), |choice| choice.into_neutral(param))?;
        let is_known = |name: &String| all.iter().any(|tool: &llm::Tool| tool.name == *name);
        let is_missing = |what: String| Error::invalid(param, format!("The field '{param}' asks for {what}"));
        if all.is_empty() && !matches!(choice, ToolChoice::Auto | ToolChoice::None) {
            return Err(is_missing("a call, but the request has no tools.".to_owned()));
        }
        let named = match &choice {
            ToolChoice::Named(name) => Some(name),
            _ => None,
        };
        if let Some(name) = named.into_iter().chain(allowed.iter().flatten()).find(|name| !is_known(name)) {
            let name: String = name.chars().take(100).collect();
            return Err(is_missing(format!("the tool '{name}', which the request does not have.")));
        }
        Ok(Tools {
            tools: all.into(),
            choice,
            allowed,
            parallel: !legacy && parallel.unwrap_or(true),
            search,
            legacy,
            namespaced,
        })
    }
}

impl ToolFields {
    /// The tool in neutral words; `None` for one that means nothing here.
    fn into_neutral(self, param: &str) -> Result<Option<llm::Tool>> {
        let Self { kind, function, custom, name, description, parameters, strict, format, tools: _ } = self;
        let kind = kind.as_deref().unwrap_or(if custom.is_some() { "custom" } else { "function" });
        match kind {
            "function" => {
                let is_flat = function.is_none();
                let function = function.unwrap_or(Function { name, description, parameters, strict });
                if is_flat && function.name.is_none() && function.parameters.is_none() {
                    return Err(missing_name(param));
                }
                let param = if is_flat { param.to_owned() } else { format!("{param}.function") };
                function.into_neutral(&param).map(Some)
            }
            "custom" => {
                let is_flat = custom.is_none();
                let Custom { name, description, format } = custom.unwrap_or(Custom { name, description, format });
                let param = if is_flat { param.to_owned() } else { format!("{param}.custom") };
                let name = usable_name(name, &param)?;
                let format = format.filter(|format| format.get().contains("grammar"));
                let description = match (description, format) {
                    (description, None) => description,
                    (None, Some(format)) => Some(format!("Format of the input: {}", format.get())),
                    (Some(text), Some(format)) => Some(format!("{text}\nFormat of the input: {}", format.get())),
                };
                Ok(Some(llm::Tool {
                    name,
                    description,
                    parameters: Some(CUSTOM_SCHEMA.into()),
                    kind: ToolKind::Custom,
                    strict: false,
                }))
            }
            _ => Ok(None),
        }
    }

    /// The tools of a namespace, each with its two names.
    fn into_namespaced(self, param: &str) -> Result<Vec<(llm::Tool, Namespaced)>> {
        let Self { name, tools, .. } = self;
        let namespace = name.filter(|name| !name.trim().is_empty()).ok_or_else(|| missing_name(param))?;
        let mut all = Vec::new();
        for (index, tool) in tools.into_iter().flatten().enumerate() {
            let Some(tool) = tool.into_neutral(&format!("{param}.tools[{index}]"))? else { continue };
            let shown = shown_name(&namespace, &tool.name);
            let namespaced = Namespaced { shown: shown.clone(), namespace: namespace.clone(), name: tool.name };
            all.push((llm::Tool { name: shown, ..tool }, namespaced));
        }
        Ok(all)
    }

    fn name(self) -> Option<String> {
        let Self { function, custom, name, .. } = self;
        name.or(function.and_then(|function| function.name)).or(custom.and_then(|custom| custom.name))
    }
}

/// How the model sees a tool that takes text.
const CUSTOM_SCHEMA: &str = r#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"]}"#;

/// # Errors
/// `invalid_request` with the field: there is no name, or one that is too long.
fn usable_name(name: Option<String>, param: &str) -> Result<String> {
    let name = name.filter(|name| !name.trim().is_empty()).ok_or_else(|| missing_name(param))?;
    if name.len() > MAX_TOOL_NAME {
        let problem = format!("The name of the tool in '{param}' has more than {MAX_TOOL_NAME} bytes.");
        return Err(Error::invalid(format!("{param}.name"), problem));
    }
    Ok(name)
}

fn missing_name(param: &str) -> Error {
    Error::invalid(format!("{param}.name"), format!("The tool in '{param}' has no name."))
}

impl Function {
    fn into_neutral(self, param: &str) -> Result<llm::Tool> {
        let Self { name, description, parameters, strict } = self;
        let name = usable_name(name, param)?;
        let parameters = parameters.filter(|parameters| parameters.get() != "null");
        if parameters.as_ref().is_some_and(|parameters| !parameters.get().starts_with('{')) {
            let param = format!("{param}.parameters");
            let problem = format!("The field '{param}' is wrong: a JSON schema is an object.");
            return Err(Error::invalid(param, problem));
        }
        if parameters.as_ref().is_some_and(|parameters| is_too_deep(parameters.get())) {
            let param = format!("{param}.parameters");
            let problem = format!("The schema in '{param}' has more than {MAX_DEPTH} levels.");
            return Err(Error::invalid(param, problem));
        }
        Ok(llm::Tool {
            name,
            description: description.filter(|text| !text.trim().is_empty()),
            parameters: parameters.map(|parameters| parameters.get().into()),
            kind: ToolKind::Function,
            strict: strict.unwrap_or(false),
        })
    }
}

impl Choice {
    fn into_neutral(self, param: &str) -> Result<(ToolChoice, Option<Vec<String>>)> {
        let wrong = || {
            let problem = format!(
                "The field '{param}' is wrong: it is 'none', 'auto', 'required', a tool, or a list of allowed tools."
            );
            Error::invalid(param, problem)
        };
        let mode = |mode: Option<&str>| match mode {
            None | Some("auto" | "") => Ok(ToolChoice::Auto),
            Some("none") => Ok(ToolChoice::None),
            Some("required" | "any") => Ok(ToolChoice::Required),
            Some(_) => Err(wrong()),
        };
        let fields = match self {
            Self::Mode(text) => return Ok((mode(Some(&text))?, None)),
            Self::Fields(fields) => *fields,
        };
        let ChoiceFields { kind, name, function, custom, allowed_tools, mode: flat_mode, tools } = fields;
        if kind.as_deref() == Some("allowed_tools") || allowed_tools.is_some() {
            let Allowed { mode: inner, tools } =
                allowed_tools.unwrap_or(Allowed { mode: flat_mode, tools: tools.unwrap_or_default() });
            let names = tools.into_iter().filter_map(ToolFields::name).collect();
            return Ok((mode(inner.as_deref())?, Some(names)));
        }
        let named = function.or(custom).and_then(|named| named.name).or(name);
        match (named.filter(|name| !name.is_empty()), kind.as_deref()) {
            (Some(name), _) => Ok((ToolChoice::Named(name), None)),
            (None, Some(kind @ ("auto" | "none" | "required" | "any"))) => Ok((mode(Some(kind))?, None)),
            // A tool of the vendor's own, such as web search: whether it is used is the model's choice here.
            (None, Some(kind)) if !matches!(kind, "function" | "custom" | "tool") => Ok((ToolChoice::Auto, None)),
            (None, _) => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::openai::chat_completions::parse;

    fn parsed(fields: &str) -> Result<llm::Request> {
        parse(format!(r#"{{"messages":[],{fields}}}"#).as_bytes()).map(|parsed| parsed.request)
    }

    const F: &str = r#""tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"},"strict":true}},{"type":"function","name":"g"}]"#;

    #[test]
    fn tools_are_read_in_each_form() {
        let tools = |fields: &str| {
            let request = parsed(fields).unwrap();
            request.tools.iter().map(|tool| (tool.name.clone(), tool.kind)).collect::<Vec<_>>()
        };
        let named = |names: &[&str], kind| names.iter().map(|name| ((*name).to_owned(), kind)).collect::<Vec<_>>();
        for (fields, names, kind) in [
            (F, &["f", "g"][..], ToolKind::Function),
            (r#""functions":[{"name":"f"}]"#, &["f"], ToolKind::Function),
            (
                r#""tools":[{"type":"custom","custom":{"name":"c"}},{"type":"custom","name":"d"}]"#,
                &["c", "d"],
                ToolKind::Custom,
            ),
            (r#""tools":[{"type":"web_search"},{"type":"mcp","server_label":"x"}]"#, &[], ToolKind::Function),
            (r#""tools":null,"functions":null"#, &[], ToolKind::Function),
            (r#""tools":[],"functions":[{"name":"f"}]"#, &["f"], ToolKind::Function),
        ] {
            assert_eq!(tools(fields), named(names, kind), "{fields}");
        }
        assert!(parsed(r#""tools":[{"type":"web_search_preview"}]"#).unwrap().search);
        let request = parsed(F).unwrap();
        let first = &request.tools[0];
        assert_eq!((first.description.as_deref(), first.strict), (Some("d"), true));
        assert_eq!(first.parameters.as_deref(), Some(r#"{"type":"object"}"#));
        assert!(request.parallel_tool_calls);
        assert!(!parsed(r#""functions":[{"name":"f"}]"#).unwrap().parallel_tool_calls);
    }

    #[test]
    fn choices_are_read_in_each_form() {
        let named = || ToolChoice::Named("g".to_owned());
        for (choice, expected, allowed) in [
            (r#""tool_choice":"auto""#, ToolChoice::Auto, None),
            (r#""tool_choice":null"#, ToolChoice::Auto, None),
            (r#""tool_choice":"none""#, ToolChoice::None, None),
            (r#""tool_choice":"required""#, ToolChoice::Required, None),
            (r#""tool_choice":{"type":"function","function":{"name":"g"}}"#, named(), None),
            (r#""tool_choice":{"type":"function","name":"g"}"#, named(), None),
            (r#""tool_choice":{"type":"custom","custom":{"name":"g"}}"#, named(), None),
            (r#""function_call":{"name":"g"}"#, named(), None),
            (r#""function_call":"none""#, ToolChoice::None, None),
            (
                r#""tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function","function":{"name":"g"}}]}}"#,
                ToolChoice::Required,
                Some(vec!["g".to_owned()]),
            ),
            (
                r#""tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"f"}]}"#,
                ToolChoice::Auto,
                Some(vec!["f".to_owned()]),
            ),
        ] {
            let request = parsed(&format!("{F},{choice}")).unwrap();
            assert_eq!((request.tool_choice, request.allowed_tools), (expected, allowed), "{choice}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (fields, param) in [
            (r#""tools":[{"type":"function","function":{}}]"#, "tools[0].function.name"),
            (r#""tools":[{"type":"function"}]"#, "tools[0].name"),
            (r#""tools":[{"type":"custom"}]"#, "tools[0].name"),
            (
                r#""tools":[{"type":"function","function":{"name":"f","parameters":[]}}]"#,
                "tools[0].function.parameters",
            ),
            (r#""functions":[{"name":""}]"#, "functions[0].name"),
            (r#""tools":[{"type":"custom","custom":{"name":""}}]"#, "tools[0].custom.name"),
            (
                r#""tools":[{"type":"function","function":{"name":"f"}},{"type":"custom","custom":{"name":"f"}}]"#,
                "tools[1]",
            ),
            (r#""functions":[{"name":"f"},{"name":"g"},{"name":"f"}]"#, "functions[2]"),
            (r#""tool_choice":"required""#, "tool_choice"),
            (r#""tool_choice":{"type":"function","function":{"name":"f"}}"#, "tool_choice"),
            (r#""tools":[{"type":"function","function":{"name":1}}]"#, "tools[0].function.name"),
        ] {
            assert_eq!(parsed(fields).unwrap_err().param(), Some(param), "{fields}");
        }
        for choice in [
            r#""sometimes""#,
            r#"{"type":"function","function":{"name":"h"}}"#,
            "{}",
            r#"{"type":"allowed_tools","allowed_tools":{"mode":"x","tools":[]}}"#,
        ] {
            assert_eq!(
                parsed(&format!(r#"{F},"tool_choice":{choice}"#)).unwrap_err().param(),
                Some("tool_choice"),
                "{choice}"
            );
        }
        assert!(parsed(r#""tool_choice":"auto","parallel_tool_calls":false"#).is_ok());
        let deep = |depth: usize| format!("{}{{}}{}", r#"{"a]":["#.repeat(depth / 2), "]}".repeat(depth / 2));
        let schema = |json: &str| parsed(&format!(r#""functions":[{{"name":"f","parameters":{json}}}]"#));
        assert!(schema(&deep(MAX_DEPTH - 2)).is_ok() && schema(r#"{"a":"\"[[[{{{"}"#).is_ok());
        assert_eq!(schema(&deep(MAX_DEPTH)).unwrap_err().param(), Some("functions[0].parameters"));
        let named = |name: String| parsed(&format!(r#""functions":[{{"name":"{name}"}}]"#));
        assert!(named("n".repeat(MAX_TOOL_NAME)).is_ok());
        assert_eq!(named("n".repeat(MAX_TOOL_NAME + 1)).unwrap_err().param(), Some("functions[0].name"));
    }
}
