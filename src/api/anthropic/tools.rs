//! The tools of a request, and which of them the answer may or must call.

use std::{collections::HashSet, sync::Arc};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    api::lenient::{MAX_DEPTH, MAX_TOOL_NAME, Object, is_too_deep},
    error::{Error, Result},
    llm::{self, ToolChoice, ToolKind},
};

/// A tool. Types that mean nothing here are ignored.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = MessagesTool))]
#[expect(dead_code, reason = "fields without a meaning here have a type, so that a wrong one is an error")]
pub(super) struct ToolFields {
    /// `custom` or absent; `web_search_…` switches the web search on; `bash_…` and `text_editor_…` are offered with their
    /// fixed schemas; other types are ignored.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Its name.
    name: Option<String>,
    /// What it does.
    description: Option<String>,
    /// The JSON schema of its arguments.
    #[cfg_attr(test, schema(value_type = Option<Object>))]
    input_schema: Option<Box<RawValue>>,
    /// Whether arguments have to fit the schema; if not, the model is asked once more.
    strict: Option<bool>,
    /// Without effect: the tool is offered from the beginning.
    defer_loading: Option<bool>,
    /// Without effect.
    #[cfg_attr(test, schema(value_type = Option<Object>))]
    cache_control: Option<Object>,
}

/// Which tools are called.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = MessagesToolChoice))]
pub(super) struct ChoiceFields {
    /// `auto`, `any`, `tool` or `none`.
    #[serde(rename = "type")]
    kind: String,
    /// The tool of `tool`.
    name: Option<String>,
    /// Whether the answer calls at most one tool.
    disable_parallel_tool_use: Option<bool>,
}

/// What a request says about tools, in neutral words.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) tools: Arc<[llm::Tool]>,
    pub(super) choice: ToolChoice,
    pub(super) parallel: bool,
    /// A tool of the site's own is asked for: web search.
    pub(super) search: bool,
}

const BASH: &str = r#"{"type":"object","properties":{"command":{"type":"string","description":"The command to run."},"restart":{"type":"boolean","description":"Whether to restart the shell instead."}}}"#;
const BASH_DOES: &str = "Runs a command in a shell that keeps its state between the calls.";
const EDITOR: &str = r#"{"type":"object","properties":{"command":{"type":"string","enum":["view","create","str_replace","insert"]},"path":{"type":"string","description":"The file or folder."},"view_range":{"type":"array","items":{"type":"integer"},"description":"For view: the first and the last line."},"file_text":{"type":"string","description":"For create: the content."},"old_str":{"type":"string","description":"For str_replace: the text to replace, which the file has exactly once."},"new_str":{"type":"string","description":"For str_replace: the new text."},"insert_line":{"type":"integer","description":"For insert: the line behind which the text goes."},"insert_text":{"type":"string","description":"For insert: the text."}},"required":["command","path"]}"#;
const EDITOR_DOES: &str = "Views, creates and edits text files.";

impl Tools {
    /// # Errors
    /// `invalid_request` with the field: a tool without a name, a schema that is no object, a choice that no tool fits.
    pub(super) fn new(tools: Option<Vec<ToolFields>>, choice: Option<ChoiceFields>) -> Result<Self> {
        let tools = tools.unwrap_or_default();
        let has_any = !tools.is_empty();
        let mut search = false;
        let (mut all, mut others, mut names) = (Vec::new(), Vec::new(), HashSet::new());
        for (index, tool) in tools.into_iter().enumerate() {
            search |= tool.kind.as_deref().is_some_and(|kind| kind.starts_with("web_search"));
            let name = tool.name.clone();
            match tool.into_neutral(index)? {
                Some(tool) => {
                    if !names.insert(tool.name.clone()) {
                        let param = format!("tools[{index}].name");
                        let problem = format!("The field '{param}' is the name of an earlier tool: '{}'.", tool.name);
                        return Err(Error::invalid(param, problem));
                    }
                    all.push(tool);
                }
                None => others.extend(name),
            }
        }
        let ChoiceFields { kind, name, disable_parallel_tool_use } = choice.unwrap_or_default();
        let choice = match &*kind {
            "auto" | "" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "any" | "tool" if !has_any => {
                return Err(Error::invalid(
                    "tool_choice",
                    "The field 'tool_choice' wants a tool to be called, but there is none in 'tools'.",
                ));
            }
            // Nothing of what there is can be called.
            "any" if all.is_empty() => ToolChoice::Auto,
            "any" => ToolChoice::Required,
            "tool" => match name.filter(|name| !name.is_empty()) {
                Some(name) if all.iter().any(|tool: &llm::Tool| tool.name == name) => ToolChoice::Named(name),
                Some(name) if others.contains(&name) => ToolChoice::Auto,
                Some(name) => {
                    let name: String = name.chars().take(100).collect();
                    let problem = format!("The field 'tool_choice' names the tool '{name}', which 'tools' lacks.");
                    return Err(Error::invalid("tool_choice.name", problem));
                }
                None => {
                    return Err(Error::invalid("tool_choice.name", "The field 'tool_choice' does not name its tool."));
                }
            },
            _ => {
                return Err(Error::invalid(
                    "tool_choice.type",
                    "The field 'tool_choice.type' is 'auto', 'any', 'tool' or 'none'.",
                ));
            }
        };
        Ok(Self { tools: all.into(), choice, parallel: !disable_parallel_tool_use.unwrap_or(false), search })
    }
}

impl ToolFields {
    /// The tool in neutral words; `None` for one that means nothing here.
    fn into_neutral(self, index: usize) -> Result<Option<llm::Tool>> {
        let Self { kind, name, description, input_schema, strict, defer_loading: _, cache_control: _ } = self;
        let fixed = match kind.as_deref() {
            None | Some("custom" | "") => None,
            Some(kind) if kind.starts_with("bash_") => Some(("bash", BASH_DOES, BASH)),
            Some(kind) if kind.starts_with("text_editor_") => {
                Some(("str_replace_based_edit_tool", EDITOR_DOES, EDITOR))
            }
            Some(_) => return Ok(None),
        };
        let name = name.filter(|name| !name.trim().is_empty());
        if name.as_ref().is_some_and(|name| name.len() > MAX_TOOL_NAME) {
            let param = format!("tools[{index}].name");
            let problem = format!("The field '{param}' has more than {MAX_TOOL_NAME} bytes.");
            return Err(Error::invalid(param, problem));
        }
        if let Some((usual, description, schema)) = fixed {
            return Ok(Some(llm::Tool {
                name: name.unwrap_or_else(|| usual.to_owned()),
                description: Some(description.to_owned()),
                parameters: Some(schema.into()),
                kind: ToolKind::Function,
                strict: false,
            }));
        }
        let Some(name) = name else {
            let param = format!("tools[{index}].name");
            let problem = format!("The field '{param}' is missing; every tool has a name.");
            return Err(Error::invalid(param, problem));
        };
        let parameters = input_schema.filter(|schema| schema.get() != "null");
        if parameters.as_ref().is_some_and(|schema| !schema.get().starts_with('{')) {
            let param = format!("tools[{index}].input_schema");
            let problem = format!("The field '{param}' is not an object, as JSON schemas are.");
            return Err(Error::invalid(param, problem));
        }
        if parameters.as_ref().is_some_and(|schema| is_too_deep(schema.get())) {
            let param = format!("tools[{index}].input_schema");
            let problem = format!("The field '{param}' has more than {MAX_DEPTH} levels.");
            return Err(Error::invalid(param, problem));
        }
        Ok(Some(llm::Tool {
            name,
            description: description.filter(|text| !text.trim().is_empty()),
            parameters: parameters.map(Box::<str>::from),
            kind: ToolKind::Function,
            strict: strict.unwrap_or(false),
        }))
    }
}
