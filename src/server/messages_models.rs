//! The models of the account, as clients of Messages expect them.

use http::{Response, StatusCode};
use serde::Serialize;
use time::OffsetDateTime;
use url::form_urlencoded;

use super::reply;
use crate::{
    api::Whole,
    error::{Error, Result},
    platform::Body,
    upstream::qwen::Model,
};

/// The most models of one answer.
const MAX_LISTED: usize = 1000;

/// A model of the account.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = MessagesModel))]
pub(super) struct ModelObject<'a> {
    /// `model`
    #[serde(rename = "type")]
    kind: &'static str,
    /// The value for the field `model` of a request.
    id: &'a str,
    display_name: &'a str,
    /// RFC 3339; 1970 if the site does not report it.
    created_at: String,
    /// `active`
    lifecycle: &'static str,
    /// Null if the site does not report it.
    max_input_tokens: Option<u64>,
    /// Null: the site does not report it.
    max_tokens: Option<u64>,
}

/// A page of the models of the account.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = MessagesModelList))]
pub(super) struct ModelList<'a> {
    data: Vec<ModelObject<'a>>,
    has_more: bool,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
}

/// What part of the list a client wants.
#[derive(Debug, Default, PartialEq, Eq)]
struct Page {
    limit: Option<usize>,
    after: Option<String>,
    before: Option<String>,
}

impl Page {
    fn read(query: Option<&str>) -> Result<Self> {
        let mut page = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let given = Some(value.as_ref()).filter(|value| !value.is_empty());
            match &*name {
                "limit" => {
                    let wrong = || {
                        let problem = format!("The parameter 'limit' must be a number from 1 to {MAX_LISTED}.");
                        Error::invalid("limit", problem)
                    };
                    let read = |text: &str| {
                        let limit = Whole::from_text(text).and_then(|limit| usize::try_from(limit.0).ok());
                        limit.filter(|limit| *limit > 0).ok_or_else(wrong)
                    };
                    page.limit = given.map(read).transpose()?;
                }
                "after_id" => page.after = given.map(str::to_owned),
                "before_id" => page.before = given.map(str::to_owned),
                _ => {}
            }
        }
        Ok(page)
    }

    /// Returns the models of the page, and whether there are more beyond it.
    fn of<'a>(&self, models: impl Iterator<Item = &'a Model>) -> (Vec<&'a Model>, bool) {
        let Self { limit, after, before } = self;
        let limit = limit.unwrap_or(MAX_LISTED).min(MAX_LISTED);
        let mut all: Vec<&Model> = models.collect();
        if let Some(after) = after {
            let skipped = all.iter().position(|model| model.id == *after).map_or(all.len(), |at| at.saturating_add(1));
            all.drain(..skipped.min(all.len()));
        }
        if let Some(before) = before {
            all.truncate(all.iter().position(|model| model.id == *before).unwrap_or(0));
            let more = all.len().saturating_sub(limit);
            all.drain(..more);
            return (all, more > 0);
        }
        let has_more = all.len() > limit;
        all.truncate(limit);
        (all, has_more)
    }
}

fn object(model: &Model) -> ModelObject<'_> {
    let Model { id, name, owned_by: _, created, context_length, capabilities: _, thinks: _, must_think: _ } = model;
    ModelObject {
        kind: "model",
        id,
        display_name: name,
        created_at: rfc3339(*created),
        lifecycle: "active",
        max_input_tokens: *context_length,
        max_tokens: None,
    }
}

/// A moment of seconds since 1970, as text.
fn rfc3339(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second) = time.to_hms();
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", u8::from(month))
}

pub(super) fn list<'a>(models: impl Iterator<Item = &'a Model>, query: Option<&str>) -> Result<Response<Body>> {
    let (models, has_more) = Page::read(query)?.of(models);
    let id = |model: Option<&&'a Model>| model.map(|model| model.id.as_str());
    let (first_id, last_id) = (id(models.first()), id(models.last()));
    let data = models.into_iter().map(object).collect();
    Ok(reply::json(StatusCode::OK, &ModelList { data, has_more, first_id, last_id }))
}

pub(super) fn one(model: &Model) -> Response<Body> {
    reply::json(StatusCode::OK, &object(model))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn model(id: &str) -> Model {
        let (id, name, owned_by) = (id.to_owned(), String::new(), String::new());
        let capabilities = BTreeMap::new();
        Model { id, name, owned_by, created: 0, context_length: None, capabilities, thinks: false, must_think: false }
    }

    #[test]
    fn a_moment_is_written_as_text() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_758_672_005), "2025-09-24T00:00:05Z");
        assert_eq!(rfc3339(u64::MAX), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn pages_follow_each_other() {
        let models: Vec<Model> = ["a", "b", "c", "d"].into_iter().map(model).collect();
        for (query, expected, has_more) in [
            (None, "abcd", false),
            (Some("limit=4"), "abcd", false),
            (Some("limit=2"), "ab", true),
            (Some("limit=2&after_id=b"), "cd", false),
            (Some("limit=1&after_id=b"), "c", true),
            (Some("after_id=d"), "", false),
            (Some("after_id=x"), "", false),
            (Some("limit=2&before_id=d"), "bc", true),
            (Some("before_id=b&limit=2.0"), "a", false),
            (Some("limit=&after_id=&other=1"), "abcd", false),
        ] {
            let (page, more) = Page::read(query).unwrap().of(models.iter());
            let ids: String = page.iter().map(|model| model.id.as_str()).collect();
            assert_eq!((ids.as_str(), more), (expected, has_more), "{query:?}");
        }
        for query in ["limit=0", "limit=-1", "limit=x", "limit=1.5"] {
            assert_eq!(Page::read(Some(query)).unwrap_err().param(), Some("limit"), "{query}");
        }
    }
}
