//! Reads single variables and converts their values.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, str::FromStr, time::Duration};

use url::Url;

use crate::{origin::Origin, secret::Secret};

/// A variable that is wrong. The text never contains its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The variable.
    pub name: &'static str,
    /// What is wrong, and what the value should be.
    pub problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.problem)
    }
}

impl std::error::Error for ConfigError {}

pub(super) fn invalid(name: &'static str, problem: impl Into<String>) -> ConfigError {
    ConfigError { name, problem: problem.into() }
}

/// Checks that a value can be sent in an HTTP header.
pub(super) fn check_header_value(name: &'static str, value: &str) -> Result<(), ConfigError> {
    // Visible ASCII, blanks and tabs. A line break in a pasted cookie would add a header of its own.
    if value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)) {
        Ok(())
    } else {
        Err(invalid(
            name,
            "holds a character that cannot stand in an HTTP header (a line break, or not ASCII): copy it again",
        ))
    }
}

/// Reads variables through a function. A blank value counts as absent, as in a copied `.env.example`.
pub(super) struct Lookup<F>(pub(super) F);

impl<F: Fn(&str) -> Option<String>> Lookup<F> {
    pub(super) fn text(&self, name: &'static str) -> Option<String> {
        let value = (self.0)(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    pub(super) fn text_or(&self, name: &'static str, default: &str) -> String {
        self.text(name).unwrap_or_else(|| default.to_owned())
    }

    /// A value that is sent in an HTTP header.
    pub(super) fn header(&self, name: &'static str) -> Result<Option<String>, ConfigError> {
        let Some(value) = self.text(name) else { return Ok(None) };
        check_header_value(name, &value)?;
        Ok(Some(value))
    }

    pub(super) fn secret(&self, name: &'static str) -> Result<Option<Secret>, ConfigError> {
        Ok(self.header(name)?.map(Secret::new))
    }

    pub(super) fn flag(&self, name: &'static str, default: bool) -> Result<bool, ConfigError> {
        match self.text(name).map(|value| value.to_ascii_lowercase()).as_deref() {
            None => Ok(default),
            Some("false" | "0" | "no" | "off") => Ok(false),
            Some("true" | "1" | "yes" | "on") => Ok(true),
            Some(_) => Err(invalid(name, "must be true or false")),
        }
    }

    pub(super) fn number(
        &self,
        name: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Result<u64, ConfigError> {
        let Some(value) = self.text(name) else { return Ok(default) };
        value
            .parse()
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| invalid(name, format!("must be a whole number from {} to {}", range.start(), range.end())))
    }

    pub(super) fn seconds(
        &self,
        name: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Result<Duration, ConfigError> {
        self.number(name, default, range).map(Duration::from_secs)
    }

    /// A count from `min` to 100 000.
    pub(super) fn count(&self, name: &'static str, default: u64, min: u64) -> Result<usize, ConfigError> {
        Ok(usize::try_from(self.number(name, default, min..=100_000)?).unwrap_or(usize::MAX))
    }

    /// The URL of a server, without a trailing slash.
    pub(super) fn url(&self, name: &'static str) -> Result<Option<String>, ConfigError> {
        let Some(value) = self.text(name) else { return Ok(None) };
        let url = Url::parse(&value).map_err(|_| invalid(name, "must be a URL such as https://chat.qwen.ai"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() || url.query().is_some() {
            return Err(invalid(name, "must be an http or https URL without a query"));
        }
        Ok(Some(value.trim_end_matches('/').to_owned()))
    }

    pub(super) fn url_or(&self, name: &'static str, default: &str) -> Result<String, ConfigError> {
        Ok(self.url(name)?.unwrap_or_else(|| default.to_owned()))
    }

    /// A comma list of the origins of web pages.
    pub(super) fn origins(&self, name: &'static str) -> Result<Vec<Origin>, ConfigError> {
        let text = self.text_or(name, "");
        let each = text.split(',').map(str::trim).filter(|origin| !origin.is_empty());
        let read = |origin| {
            let hint = "must be a comma list of origins such as https://app.example or http://localhost:3000, or null";
            Origin::parse(origin).ok_or_else(|| invalid(name, hint))
        };
        each.map(read).collect()
    }

    pub(super) fn parsed<T: FromStr>(
        &self,
        name: &'static str,
        default: T,
        hint: &'static str,
    ) -> Result<T, ConfigError> {
        self.text(name).map_or(Ok(default), |value| value.parse().map_err(|_| invalid(name, hint)))
    }

    pub(super) fn json_map(&self, name: &'static str) -> Result<BTreeMap<String, String>, ConfigError> {
        let Some(value) = self.text(name) else { return Ok(BTreeMap::new()) };
        serde_json::from_str(&value).map_err(|_| invalid(name, "must be a JSON object whose values are strings"))
    }
}
