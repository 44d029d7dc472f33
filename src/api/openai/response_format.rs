//! What the text of an answer has to be.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    error::{Error, Result},
    llm::OutputFormat,
};

/// The field that errors about the schema name.
const SCHEMA: &str = "response_format.json_schema.schema";

/// What the text of the answer has to be.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct ResponseFormat {
    /// `text`, `json_object` or `json_schema`.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// The schema of `json_schema`.
    json_schema: Option<NamedSchema>,
}

/// A schema with its name.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
struct NamedSchema {
    /// Its name.
    name: Option<String>,
    /// What it is for.
    description: Option<String>,
    /// The JSON schema (draft 2020-12). Every answer is checked against it.
    #[cfg_attr(test, schema(value_type = Option<crate::api::lenient::Object>))]
    schema: Option<Box<RawValue>>,
    /// Without effect at chat.qwen.ai, where every answer is checked; the second upstream is told.
    strict: Option<bool>,
}

/// What the text of an answer has to be, as the Responses API has it.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct TextFormat {
    /// `text`, `json_object` or `json_schema`.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// The name of the schema.
    name: Option<String>,
    /// What it is for.
    description: Option<String>,
    /// The JSON schema (draft 2020-12). Every answer is checked against it.
    #[cfg_attr(test, schema(value_type = Option<crate::api::lenient::Object>))]
    schema: Option<Box<RawValue>>,
    /// Without effect at chat.qwen.ai, where every answer is checked; the second upstream is told.
    strict: Option<bool>,
}

impl TextFormat {
    /// # Errors
    /// As of [`ResponseFormat::into_neutral`].
    pub(super) fn into_neutral(self) -> Result<Option<OutputFormat>> {
        let Self { kind, name, description, schema, strict } = self;
        let named = NamedSchema { name, description, schema, strict };
        neutral(kind.as_deref(), named, "text.format", "text.format.schema", "text.format.type")
    }
}

fn neutral(
    kind: Option<&str>,
    named: NamedSchema,
    param: &'static str,
    schema_param: &'static str,
    kind_param: &'static str,
) -> Result<Option<OutputFormat>> {
    match kind {
        None | Some("text" | "") => Ok(None),
        Some("json_object") => Ok(Some(OutputFormat { param, ..OutputFormat::default() })),
        Some("json_schema") => {
            let NamedSchema { name, description, schema, strict } = named;
            let schema = schema.filter(|schema| schema.get() != "null");
            let missing = || Error::invalid(schema_param, format!("The field '{param}' has no schema."));
            let schema = schema.ok_or_else(missing)?;
            let schema = Some(schema.get().into());
            Ok(Some(OutputFormat { schema, name, description, strict, param: schema_param }))
        }
        Some(_) => Err(Error::invalid(
            kind_param,
            format!("The field '{kind_param}' is 'text', 'json_object' or 'json_schema'."),
        )),
    }
}

impl ResponseFormat {
    /// # Errors
    /// `invalid_request` with the field: another type, or a schema that is none.
    pub(super) fn into_neutral(self) -> Result<Option<OutputFormat>> {
        let Self { kind, json_schema } = self;
        neutral(kind.as_deref(), json_schema.unwrap_or_default(), "response_format", SCHEMA, "response_format.type")
    }
}

#[cfg(test)]
mod tests {
    use crate::api::openai::chat_completions::parse;

    #[test]
    fn formats_are_read() {
        let parsed = |format: &str| {
            let body = format!(r#"{{"messages":[],"response_format":{format}}}"#);
            parse(body.as_bytes()).map(|parsed| parsed.request.format.map(|format| format.schema))
        };
        for (format, expected) in [
            ("null", None),
            (r#"{"type":"text"}"#, None),
            (r#"{"type":"json_object"}"#, Some(None)),
            (
                r#"{"type":"json_schema","json_schema":{"name":"x","schema":{ "a": 1 },"strict":true}}"#,
                Some(Some(r#"{ "a": 1 }"#.into())),
            ),
        ] {
            assert_eq!(parsed(format).unwrap(), expected, "{format}");
        }
        for (format, param) in [
            (r#"{"type":"xml"}"#, "response_format.type"),
            (r#"{"type":"json_schema"}"#, super::SCHEMA),
            (r#"{"type":"json_schema","json_schema":{"schema":null}}"#, super::SCHEMA),
            (r#"{"type":5}"#, "response_format.type"),
            ("[]", "response_format"),
        ] {
            assert_eq!(parsed(format).unwrap_err().param(), Some(param), "{format}");
        }
    }
}
