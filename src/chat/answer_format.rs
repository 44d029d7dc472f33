//! What an answer has to be: JSON, perhaps of a schema.

use std::sync::Arc;

use super::filters::{Found, ObjectFilter, Schema, outermost};
use crate::{
    error::{Error, Result},
    llm::{OutputFormat, Request},
};

/// The form that an answer has to have.
#[derive(Clone, Debug)]
pub struct AnswerFormat {
    schema: Option<Arc<Schema>>,
}

impl AnswerFormat {
    /// The form that a request asks for.
    ///
    /// # Errors
    /// `invalid_request` with the field when its schema is none.
    pub fn new(request: &Request) -> Result<Option<Self>> {
        let Some(OutputFormat { schema, param, .. }) = &request.format else { return Ok(None) };
        if schema.as_deref().is_some_and(|schema| !may_be_object(schema)) {
            let problem = format!(
                "The schema in '{param}' allows no object: an answer is one JSON object, so put what you want into one."
            );
            return Err(Error::invalid(*param, problem));
        }
        let schema = match schema.as_deref().map(Schema::new) {
            None => None,
            Some(Ok(schema)) => Some(Arc::new(schema)),
            Some(Err(problem)) => {
                return Err(Error::invalid(*param, format!("The schema in '{param}' cannot be used: {problem}.")));
            }
        };
        Ok(Some(Self { schema }))
    }

    fn check(&self, json: &str) -> Result<(), String> {
        self.schema.as_ref().map_or(Ok(()), |schema| schema.check(json))
    }
}

/// Returns whether the `type` at a schema's root allows an object.
fn may_be_object(schema: &str) -> bool {
    match serde_json::from_str::<serde_json::Value>(schema) {
        Ok(serde_json::Value::Bool(allows)) => allows,
        Ok(schema) => schema.get("type").is_none_or(|kind| {
            *kind == "object" || kind.as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "object"))
        }),
        // `Schema::new` reports invalid JSON.
        Err(_) => true,
    }
}

/// How many bytes behind an object may be a fence and blanks.
const MAX_TRAILING: usize = 16;

/// One answer that has to have a form.
#[derive(Debug)]
pub(super) struct FormattedAnswer {
    format: AnswerFormat,
    object: ObjectFilter,
    /// Whether the object is passed on as it comes.
    is_stream: bool,
}

impl FormattedAnswer {
    pub(super) fn new(format: AnswerFormat, is_stream: bool) -> Self {
        Self { format, object: ObjectFilter::default(), is_stream }
    }

    /// Takes a piece of the text; hands out what is surely part of the answer.
    pub(super) fn push(&mut self, piece: &str, each: impl FnOnce(&str)) {
        let Self { object, is_stream, .. } = self;
        object.push(piece, |sure| {
            if *is_stream {
                each(sure);
            }
        });
    }

    /// Whether the object was passed on and prose follows it.
    pub(super) fn is_over(&self) -> bool {
        self.is_stream && self.object.trailing() > MAX_TRAILING
    }

    /// The text so far, with the prose around the answer.
    pub(super) fn text(&self) -> &str {
        self.object.text()
    }

    /// The text has ended: returns what was not handed out yet.
    ///
    /// # Errors
    /// The first fault in plain words.
    pub(super) fn finish(&self) -> Result<String, String> {
        const NONE: &str = "it has no complete JSON object";
        let Self { format, object, is_stream } = self;
        if *is_stream {
            let Found { json, sent } = object.finish().ok_or(NONE)?;
            format.check(&json)?;
            return Ok(json.get(sent..).unwrap_or_default().to_owned());
        }
        let json = outermost(object.text(), |json| format.check(json).is_ok()).ok_or(NONE)?;
        format.check(&json)?;
        Ok(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str =
        r#"{"type":"object","properties":{"age":{"type":"integer"}},"required":["age"],"additionalProperties":false}"#;

    fn format(schema: Option<&str>) -> Result<Option<AnswerFormat>> {
        let format =
            OutputFormat { schema: schema.map(Into::into), param: "response_format", ..OutputFormat::default() };
        AnswerFormat::new(&Request { format: Some(format), ..Request::default() })
    }

    #[test]
    fn answers_are_reduced_and_checked() {
        for (text, schema, expected) in [
            ("Sure:\n```json\n{\"age\": 3}\n```", Some(SCHEMA), Ok("{\"age\": 3}")),
            ("{\"age\": \"3\"}", Some(SCHEMA), Err("/age")),
            ("{\"age\": \"3\"}", None, Ok("{\"age\": \"3\"}")),
            ("no", None, Err("no complete")),
            ("{\"age\": 3", Some(SCHEMA), Err("no complete")),
        ] {
            for is_stream in [false, true] {
                let mut answer = FormattedAnswer::new(format(schema).unwrap().unwrap(), is_stream);
                let mut out = String::new();
                for piece in text.split_inclusive(' ') {
                    answer.push(piece, |sure| out.push_str(sure));
                }
                match (answer.finish(), expected) {
                    (Ok(rest), Ok(expected)) => assert_eq!(out + &rest, expected),
                    (Err(fault), Err(expected)) => assert!(fault.contains(expected), "{fault}"),
                    (found, _) => panic!("{text}: {found:?}"),
                }
            }
        }
        assert_eq!(format(Some(r#"{"type":"objekt"}"#)).unwrap_err().param(), Some("response_format"));
        for (schema, is_possible) in [
            ("true", true),
            ("false", false),
            ("{}", true),
            (r#"{"type":"object"}"#, true),
            (r#"{"type":["null","object"]}"#, true),
            (r#"{"type":"array","items":{"type":"string"}}"#, false),
            (r#"{"type":["string","null"]}"#, false),
            (r#"{"anyOf":[{"type":"object"},{"type":"string"}]}"#, true),
        ] {
            assert_eq!(format(Some(schema)).is_ok(), is_possible, "{schema}");
        }
    }
}
