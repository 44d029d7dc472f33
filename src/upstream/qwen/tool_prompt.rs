//! How the site is told of a client's tools: the catalogue, calls and results, all in one place, since tries may change them.
//!
//! The site has no tools for clients. Its own runtime takes `<tool_call>` out of an answer, so another form is taught (section
//! 5.9 of docs/upstream-protocol.md).

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::refusal::without_refusals;
use crate::llm::{Correction, FunctionCall, OutputFormat, Tool, ToolChoice};

const CALL: &str = "[TOOL CALL]";
const END_CALL: &str = "[END TOOL CALL]";
const RESULT: &str = "[TOOL RESULT #";
const END_RESULT: &str = "[END TOOL RESULT]";
/// What stands for a result without text.
pub(super) const EMPTY_RESULT: &str = "(empty)";

const HEADING: &str =
    "# Tools\nYou can call the functions below. The client runs them and sends you their results.\n<tools>\n";
const END_OF_TOOLS: &str = "</tools>\n";
const HOW: &str = "To call a function, write exactly this, and nothing after it:\n[TOOL CALL]\n{\"name\": \"<name of the function>\", \"arguments\": {<its arguments>}}\n[END TOOL CALL]\n- Write one block for each call; several blocks may follow each other.\n- A block holds valid JSON: quotes, backslashes and line ends within texts are escaped.\n- Use only names from the list.\n- Results come as [TOOL RESULT #n: name], where n is the place of the call. Never write results yourself.\n- Do not repeat a call whose result you have.\n- If no call is needed, answer in plain text.\n";
const IN_FILE: &str =
    "The functions are described in the attached file conversation.txt: read it before you call one.\n";
/// At most 200 bytes.
const REMINDER: &str = "[Functions are called with a [TOOL CALL] block as described above, with nothing after it; without need of one, answer in plain text.]";
const NONE: &str = "[Call no function in this answer.]";
const JSON_OBJECT: &str = "[Answer with nothing but one JSON object: no prose, no code fence.]";
const JSON_SCHEMA: &str =
    "[Answer with nothing but one JSON object that fits the following JSON schema: no prose, no code fence.]";
const REQUIRED: &str = "[Call at least one function in this answer.]";

/// The site's own tools. A client's tool of such a name would run at the site.
const OF_SITE: [&str; 10] = [
    "code_interpreter",
    "web_search",
    "web_extractor",
    "web_search_image",
    "image_search",
    "image_gen_tool",
    "image_edit_tool",
    "image_zoom_in_tool",
    "history_retriever",
    "bio",
];
/// Those that search the web.
const SEARCHING: [&str; 4] = ["web_search", "web_extractor", "web_search_image", "image_search"];
/// What such a name begins with, as the model sees it.
const ALIAS: &str = "client_";

/// The largest catalogue that stands in a message, in bytes; a larger one goes into the file.
const MAX_CATALOGUE: usize = 64 * 1024;
/// The longest description of a tool whose schema is in the file, in characters.
const MAX_SHORT: usize = 100;
/// The largest list of such tools with their descriptions, in bytes.
const MAX_LIST: usize = 24 * 1024;

/// What goes along with a message because of the request's tools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolText {
    /// In front of everything else.
    pub(super) head: String,
    /// At the beginning of the file, where the catalogue is too large for the message.
    pub(super) file: String,
    /// Behind everything else.
    pub(super) tail: String,
    /// Whether earlier calls and results are written in the taught form.
    pub(super) is_taught: bool,
}

/// The name under which the model sees a tool.
#[must_use]
pub fn shown_tool_name(name: &str) -> Cow<'_, str> {
    if OF_SITE.contains(&name) { Cow::Owned(format!("{ALIAS}{name}")) } else { Cow::Borrowed(name) }
}

impl ToolText {
    /// What goes along with a message to a chat. `knows_catalogue`: whether that chat was told of these tools; `knew_tools`:
    /// whether it was told of any.
    #[must_use]
    pub fn new(request: &ToolAsk<'_>, knows_catalogue: bool, knew_tools: bool) -> Self {
        let ToolAsk { tools, choice, allowed, search, format } = request;
        let format = format.map(format_text);
        if tools.is_empty() || **choice == ToolChoice::None {
            let none = knew_tools.then(|| NONE.to_owned());
            let tail = none.into_iter().chain(format).collect::<Vec<_>>().join("\n");
            return Self { tail, is_taught: knew_tools, ..Self::default() };
        }
        let (head, file) = if knows_catalogue { Default::default() } else { catalogue(tools, *search) };
        let mut tail = if knows_catalogue { REMINDER.to_owned() } else { String::new() };
        let only = match choice {
            ToolChoice::Named(name) => {
                Some(format!("[Call the function {} in this answer, and no other.]", shown_tool_name(name)))
            }
            ToolChoice::Required => Some(REQUIRED.to_owned()),
            ToolChoice::Auto | ToolChoice::None => None,
        };
        let allowed = allowed.map(|allowed| {
            let names: Vec<_> = allowed.iter().map(|name| shown_tool_name(name)).collect();
            format!("[Call no other functions in this answer than these: {}.]", names.join(", "))
        });
        for line in [only, allowed, format].into_iter().flatten() {
            if !tail.is_empty() {
                tail.push('\n');
            }
            tail.push_str(&line);
        }
        Self { head, file, tail, is_taught: true }
    }
}

/// What a request says about tools, as far as the site is told.
#[derive(Clone, Copy, Debug)]
pub struct ToolAsk<'a> {
    /// The tools.
    pub tools: &'a [Tool],
    /// Which of them has to be called.
    pub choice: &'a ToolChoice,
    /// Which of them may be called; `None` = all.
    pub allowed: Option<&'a [String]>,
    /// Whether the site may search the web.
    pub search: bool,
    /// What the text of the answer has to be.
    pub format: Option<&'a OutputFormat>,
}

/// What is asked of a text that has to be JSON. The schema stands in it as it was given.
fn format_text(format: &OutputFormat) -> String {
    match &format.schema {
        None => JSON_OBJECT.to_owned(),
        Some(schema) => format!("{JSON_SCHEMA}\n{schema}"),
    }
}

/// The catalogue, and what of it goes into the file.
fn catalogue(tools: &[Tool], search: bool) -> (String, String) {
    let mut lines = String::from(HEADING);
    for tool in tools {
        push_tool(&mut lines, tool);
    }
    lines.push_str(END_OF_TOOLS);
    let rules = rules(tools, search);
    if lines.len() <= MAX_CATALOGUE {
        lines.push_str(&rules);
        return (lines, String::new());
    }
    let mut list = String::from(HEADING);
    list.push_str(&short_list(tools, MAX_SHORT));
    if list.len() > MAX_LIST {
        list.truncate(HEADING.len());
        list.push_str(&short_list(tools, 0));
    }
    list.push_str(END_OF_TOOLS);
    list.push_str(IN_FILE);
    list.push_str(&rules);
    (list, lines)
}

fn short_list(tools: &[Tool], most: usize) -> String {
    let line = |tool: &Tool| {
        let description = tool.description.as_deref().and_then(|text| text.trim().lines().next()).unwrap_or_default();
        let description: String = description.chars().take(most).collect();
        let colon = if description.is_empty() { "" } else { ": " };
        format!("{}{colon}{}\n", shown_tool_name(&tool.name), defused(&description))
    };
    tools.iter().map(line).collect()
}

fn rules(tools: &[Tool], search: bool) -> String {
    let is_declared = |name: &str| tools.iter().any(|tool| tool.name == name);
    let missing: Vec<&str> =
        OF_SITE.into_iter().filter(|name| !(is_declared(name) || search && SEARCHING.contains(name))).collect();
    match missing.is_empty() {
        true => HOW.to_owned(),
        false => format!("{HOW}- These are not available: {}.\n", missing.join(", ")),
    }
}

/// A tool as one line of compact JSON, its schema as given.
fn push_tool(out: &mut String, tool: &Tool) {
    let Tool { name, description, parameters, .. } = tool;
    let json = |text: &str| serde_json::Value::from(text).to_string();
    out.push_str("{\"type\":\"function\",\"function\":{\"name\":");
    out.push_str(&json(&shown_tool_name(name)));
    if let Some(description) = description {
        out.push_str(",\"description\":");
        out.push_str(&json(&defused(description)));
    }
    if let Some(parameters) = parameters {
        out.push_str(",\"parameters\":");
        out.push_str(&defused(&compact(parameters)));
    }
    out.push_str("}}\n");
}

/// JSON without white space between its tokens, and without the member `$schema`.
fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_text, mut is_escaped) = (false, false);
    for character in json.chars() {
        let is_quote = character == '"' && !is_escaped;
        is_escaped = in_text && character == '\\' && !is_escaped;
        if is_quote {
            in_text = !in_text;
        }
        if in_text || !character.is_ascii_whitespace() {
            out.push(character);
        }
    }
    without_schema(&out).unwrap_or(out)
}

fn without_schema(json: &str) -> Option<String> {
    const KEY: &str = "\"$schema\":";
    let at = json.find(KEY)?;
    let (before, after) = json.split_at_checked(at)?;
    // It stands in the outermost object, in front of its members as a rule.
    if before.matches(['{', '[']).count() > before.matches(['}', ']']).count().saturating_add(1) {
        return None;
    }
    let after = after.get(KEY.len()..)?;
    let mut values = serde_json::Deserializer::from_str(after).into_iter::<&RawValue>();
    values.next()?.ok()?;
    let rest = after.get(values.byte_offset()..)?;
    Some(match rest.strip_prefix(',') {
        Some(rest) => format!("{before}{rest}"),
        None => format!("{}{rest}", before.strip_suffix(',').unwrap_or(before)),
    })
}

/// A call of an earlier answer, in the taught form.
pub(super) fn call(call: &FunctionCall) -> String {
    let name = serde_json::Value::from(&*shown_tool_name(call.name.as_deref().unwrap_or("?")));
    let arguments = call.arguments.as_deref().map_or("", str::trim);
    let arguments = match serde_json::from_str::<&RawValue>(arguments) {
        Ok(json) => Cow::Borrowed(json.get()),
        Err(_) if arguments.is_empty() => Cow::Borrowed("{}"),
        Err(_) => Cow::Owned(serde_json::Value::from(arguments).to_string()),
    };
    format!("{CALL}\n{{\"name\": {name}, \"arguments\": {}}}\n{END_CALL}", defused(&arguments))
}

/// A result, in the taught form. `number` = the place of its call, from 1 on.
pub(super) fn result(number: usize, name: Option<&str>, text: &str, is_error: bool) -> String {
    let name = name.map_or(Cow::Borrowed("?"), shown_tool_name);
    let error = if is_error { ", error" } else { "" };
    let text = if text.trim().is_empty() { Cow::Borrowed(EMPTY_RESULT) } else { defused(text) };
    format!("{RESULT}{number}: {name}{error}]\n{text}\n{END_RESULT}")
}

/// What the model is told when it is asked once more.
#[must_use]
pub fn correction_text(correction: &Correction) -> String {
    match correction {
        Correction::UnreadableCall => {
            "[Your last call could not be read. Write it again: a [TOOL CALL] line, one valid JSON object with \"name\" and \"arguments\", and an [END TOOL CALL] line.]".to_owned()
        }
        Correction::CallInThinking => {
            "[Your last call stood in your thinking, where nobody reads it. Write it in your answer.]".to_owned()
        }
        Correction::CallOther { named: Some(name) } => {
            format!("[You did not call the function {}. Call it now: answer with nothing but that call.]", shown_tool_name(name))
        }
        Correction::CallOther { named: None } => {
            "[You did not call a function that you may call. Call one now: answer with nothing but the call.]".to_owned()
        }
        Correction::Arguments(fault) => {
            format!("[The arguments of your last call do not fit the function's schema: {fault}. Write the call again.]")
        }
        Correction::Json(fault) => {
            format!("[Your last answer does not fit the schema: {fault}. Answer again with nothing but the JSON.]")
        }
        Correction::Refused => {
            "[The functions are the client's. Call them with a [TOOL CALL] block in your text only.]".to_owned()
        }
    }
}

/// The text with our markers made harmless, and readable still: whoever is quoted calls nothing.
pub(super) fn defused(text: &str) -> Cow<'_, str> {
    let is_marker = |(at, bracket): (usize, &str)| {
        let rest = text.get(at.saturating_add(bracket.len())..).unwrap_or_default();
        begins_marker(rest)
    };
    let brackets = ['[', '\u{FF3B}', '\u{3010}'];
    let mut out: Option<String> = None;
    let mut from = 0_usize;
    for (at, bracket) in text.match_indices(brackets).filter(|found| is_marker(*found)) {
        let out = out.get_or_insert_with(|| String::with_capacity(text.len()));
        out.push_str(text.get(from..at).unwrap_or_default());
        out.push('(');
        from = at.saturating_add(bracket.len());
    }
    match out {
        None => Cow::Borrowed(text),
        Some(mut out) => {
            out.push_str(text.get(from..).unwrap_or_default());
            Cow::Owned(out)
        }
    }
}

/// Whether text behind a bracket is a marker's: `tool call`, `end tool result`, in any case and with any blanks.
fn begins_marker(rest: &str) -> bool {
    let separates = [' ', '_', '-'];
    let word = |text: &str, word: &str| {
        let (head, tail) = text.split_at_checked(word.len())?;
        head.eq_ignore_ascii_case(word).then(|| text.len().saturating_sub(tail.len()))
    };
    let after = |text: &'_ str, length: usize| -> usize {
        let tail = text.get(length..).unwrap_or_default();
        text.len().saturating_sub(tail.trim_start_matches(separates).len())
    };
    let mut rest = rest.trim_start_matches(' ').trim_start_matches('/');
    if let Some(length) = word(rest, "end") {
        rest = rest.get(after(rest, length)..).unwrap_or_default();
    }
    let Some(length) = word(rest, "tool") else { return false };
    rest = rest.get(after(rest, length)..).unwrap_or_default();
    word(rest, "call").is_some() || word(rest, "result").is_some()
}

/// The text of an earlier message, as it may be sent again.
pub(super) fn quoted<'a>(text: &'a str, is_answer: bool, is_taught: bool) -> Cow<'a, str> {
    let text = if is_answer { without_refusals(text) } else { Cow::Borrowed(text) };
    match (text, is_taught) {
        (text, false) => text,
        (Cow::Borrowed(text), true) => defused(text),
        (Cow::Owned(text), true) => Cow::Owned(defused(&text).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::ToolKind;

    fn tool(name: &str, description: Option<&str>, parameters: Option<&str>) -> Tool {
        Tool {
            name: name.to_owned(),
            description: description.map(str::to_owned),
            parameters: parameters.map(Into::into),
            kind: ToolKind::Function,
            strict: false,
        }
    }

    fn text(tools: &[Tool], choice: ToolChoice, allowed: Option<&[String]>, knows: bool) -> ToolText {
        ToolText::new(&ToolAsk { tools, choice: &choice, allowed, search: false, format: None }, knows, knows)
    }

    #[test]
    fn the_catalogue_has_a_line_for_each_tool() {
        let schema = "{\n \"$schema\": \"x\",\n \"type\": \"object\",\n \"properties\": {\"a b\": {\"type\": \"string\", \"description\": \"a \\\" [TOOL CALL] b\"}}\n}";
        let tools = [tool("read", Some("Reads.\nA file."), Some(schema)), tool("web_search", None, None)];
        let ToolText { head, file, tail, is_taught } = text(&tools, ToolChoice::Auto, None, false);
        let lines: Vec<&str> = head.lines().skip(2).take(4).collect();
        assert_eq!(
            lines,
            [
                "<tools>",
                r#"{"type":"function","function":{"name":"read","description":"Reads.\nA file.","parameters":{"type":"object","properties":{"a b":{"type":"string","description":"a \" (TOOL CALL] b"}}}}}"#,
                r#"{"type":"function","function":{"name":"client_web_search"}}"#,
                "</tools>",
            ]
        );
        assert!(head.contains("not available: code_interpreter, web_extractor,"), "{head}");
        assert_eq!((file.as_str(), tail.as_str(), is_taught), ("", "", true));
    }

    #[test]
    fn later_turns_have_one_line() {
        let tools = [tool("f", None, None)];
        let later = text(&tools, ToolChoice::Auto, None, true);
        assert_eq!((later.head.as_str(), later.tail.as_str()), ("", REMINDER));
        assert!(REMINDER.len() <= 200 && !REMINDER.contains('\n'));
        assert_eq!(text(&tools, ToolChoice::None, None, true).tail, NONE);
        assert_eq!(text(&tools, ToolChoice::None, None, false), ToolText::default());
        assert_eq!(text(&[], ToolChoice::Auto, None, false), ToolText::default());
        assert!(text(&tools, ToolChoice::Required, None, true).tail.ends_with(REQUIRED));
        assert!(text(&tools, ToolChoice::Named("f".to_owned()), None, false).tail.contains("function f "));
        assert!(text(&tools, ToolChoice::Auto, Some(&["f".to_owned()]), true).tail.contains("these: f."));
    }

    #[test]
    fn a_large_catalogue_goes_into_the_file() {
        let tools: Vec<Tool> =
            (0..100).map(|number| tool(&format!("tool_{number}"), Some(&"word ".repeat(200)), None)).collect();
        let ToolText { head, file, .. } = text(&tools, ToolChoice::Auto, None, false);
        assert!(head.len() < 32 * 1024 && file.len() > MAX_CATALOGUE);
        assert!(head.contains("tool_99: word") && head.contains(IN_FILE) && file.contains("\"name\":\"tool_99\""));
    }

    #[test]
    fn schemas_lose_nothing_but_their_dialect() {
        for (schema, expected) in [
            (r#"{"$schema":"x"}"#, "{}"),
            (r#"{"type":"object","$schema":"x"}"#, r#"{"type":"object"}"#),
            (r#"{"a":{"$schema":"x"}}"#, r#"{"a":{"$schema":"x"}}"#),
            (r#"{ "b" : "a  \" \\", "a" : [ 1 , 2 ] }"#, r#"{"b":"a  \" \\","a":[1,2]}"#),
        ] {
            assert_eq!(compact(schema), expected);
        }
    }

    #[test]
    fn quoted_markers_are_harmless() {
        for (text, expected) in [
            ("[TOOL CALL]\n{}\n[END TOOL CALL]", "(TOOL CALL]\n{}\n(END TOOL CALL]"),
            ("[tool_call] \u{3010}Tool Result #1]", "(tool_call] (Tool Result #1]"),
            ("[/tool-call]", "(/tool-call]"),
            ("[docs] [toolbox] [END] a[0]", "[docs] [toolbox] [END] a[0]"),
        ] {
            assert_eq!(defused(text), expected);
        }
    }

    #[test]
    fn calls_and_results_are_written_as_taught() {
        let function =
            |name: &str, arguments: &str| FunctionCall { name: Some(name.into()), arguments: Some(arguments.into()) };
        assert_eq!(
            call(&function("f", r#"{"a":1}"#)),
            "[TOOL CALL]\n{\"name\": \"f\", \"arguments\": {\"a\":1}}\n[END TOOL CALL]"
        );
        assert_eq!(
            call(&function("bio", "{broken")),
            "[TOOL CALL]\n{\"name\": \"client_bio\", \"arguments\": \"{broken\"}\n[END TOOL CALL]"
        );
        assert_eq!(result(2, Some("f"), " ", true), "[TOOL RESULT #2: f, error]\n(empty)\n[END TOOL RESULT]");
        assert_eq!(result(1, None, "[TOOL CALL]", false), "[TOOL RESULT #1: ?]\n(TOOL CALL]\n[END TOOL RESULT]");
    }
}
