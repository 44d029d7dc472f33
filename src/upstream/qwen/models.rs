//! The site's list of models.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// How long the list counts as new.
pub(super) const FRESH: Duration = Duration::from_secs(10 * 60);

/// A model, reduced to what the program and its clients need.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Model {
    /// The id to send upstream.
    pub id: String,
    /// For people.
    pub name: String,
    /// Who made it.
    pub owned_by: String,
    /// Seconds since 1970.
    pub created: u64,
    /// Tokens in, when known.
    pub context_length: Option<u64>,
    /// The site's own words for what it can do.
    pub capabilities: BTreeMap<String, bool>,
    /// Whether it can think at all.
    pub thinks: bool,
    /// Whether its thinking cannot be switched off.
    pub must_think: bool,
}

impl Model {
    /// Reads one entry of the site's list; `None` when it has no id or is switched off.
    fn from_upstream(entry: &Json) -> Option<Self> {
        let info = entry.get("info").unwrap_or(entry);
        let text = |key: &str| entry.get(key).or_else(|| info.get(key)).and_then(Json::as_str).map(str::to_owned);
        let id = text("id").filter(|id| !id.is_empty())?;
        if info.get("is_active") == Some(&Json::Bool(false)) {
            return None;
        }
        let meta = info.get("meta").cloned().unwrap_or_default();
        let mut capabilities = BTreeMap::new();
        for (name, value) in meta.get("abilities").and_then(Json::as_object).into_iter().flatten() {
            capabilities.insert(name.clone(), value.as_u64().is_some_and(|level| level > 0));
        }
        for (name, value) in meta.get("capabilities").and_then(Json::as_object).into_iter().flatten() {
            capabilities.insert(name.clone(), value.as_bool().unwrap_or(false));
        }
        let must_think = meta.pointer("/think_skip/enable") == Some(&Json::Bool(false));
        Some(Self {
            name: text("name").unwrap_or_else(|| id.clone()),
            owned_by: text("owned_by").unwrap_or_else(|| "qwen".to_owned()),
            created: info.get("created_at").and_then(Json::as_u64).unwrap_or(0),
            context_length: meta.get("max_context_length").and_then(Json::as_u64),
            // A list that says nothing of thinking says nothing against it.
            thinks: must_think || capabilities.get("thinking").copied().unwrap_or(true),
            must_think,
            capabilities,
            id,
        })
    }
}

/// The models of one answer of the site.
#[derive(Clone, Debug, Default)]
pub struct ModelList(pub(super) Arc<Vec<Model>>);

impl ModelList {
    /// Reads the answer of `/api/models` (`data` an array) or `/api/v2/models/` (`data.data`).
    pub(super) fn from_upstream(body: &[u8]) -> Option<Self> {
        let json: Json = crate::json::from_bytes(body).ok()?;
        let entries = json.pointer("/data/data").or_else(|| json.get("data")).and_then(Json::as_array)?;
        let models: Vec<Model> = entries.iter().filter_map(Model::from_upstream).collect();
        (!models.is_empty()).then(|| Self(Arc::new(models)))
    }

    pub(super) fn from_store(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().map(|models| Self(Arc::new(models)))
    }

    pub(super) fn to_store(&self) -> serde_json::Result<String> {
        serde_json::to_string(&*self.0)
    }

    /// All of them, in the site's order.
    pub fn iter(&self) -> impl Iterator<Item = &Model> {
        self.0.iter()
    }

    /// The model with exactly this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Model> {
        self.0.iter().find(|model| model.id == id)
    }

    /// The model that a name means: the one with exactly this id, else the first with this id or name in another case.
    pub(super) fn named(&self, name: &str) -> Option<&Model> {
        self.get(name).or_else(|| {
            let lower = name.to_lowercase();
            let is_named = |text: &str| !text.is_empty() && text.to_lowercase() == lower;
            self.0
                .iter()
                .find(|model| is_named(&model.id))
                .or_else(|| self.0.iter().find(|model| is_named(&model.name)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_eras_of_the_list_are_read() {
        let old = br#"{"data":[{"id":"a","name":"A","object":"model","owned_by":"qwen","info":{"id":"a","created_at":5,"meta":{"capabilities":{"vision":true}}}},
            {"id":"off","info":{"is_active":false}},{"name":"no id"},7]}"#;
        let new = br#"{"success":true,"data":{"data":[{"id":"b","info":{"meta":{"abilities":{"thinking":3,"vision":0},"max_context_length":1000,"think_skip":{"enable":false}}}},
            {"id":"c","info":{"meta":{"capabilities":{"thinking":false}}}}]}}"#;
        let old = ModelList::from_upstream(old).unwrap();
        assert_eq!(old.iter().map(|model| model.id.as_str()).collect::<Vec<_>>(), ["a"]);
        assert!(old.get("a").unwrap().thinks && old.get("a").unwrap().created == 5);
        let new = ModelList::from_upstream(new).unwrap();
        let b = new.get("b").unwrap();
        assert!(b.thinks && b.must_think && b.context_length == Some(1000) && !b.capabilities["vision"]);
        assert!(!new.get("c").unwrap().thinks);
        assert_eq!(ModelList::from_store(&new.to_store().unwrap()).unwrap().get("b"), Some(b));
        assert!(ModelList::from_upstream(br#"{"data":[]}"#).is_none() && ModelList::from_upstream(b"<html>").is_none());
    }
}
