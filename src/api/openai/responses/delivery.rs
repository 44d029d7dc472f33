//! How a response is delivered.

use std::sync::Arc;

/// How the id of a response begins.
pub(in crate::api) const PREFIX: &str = "resp_";

/// How a response is delivered, and what it repeats of its request.
#[derive(Clone, Debug)]
pub struct ResponsesDelivery {
    /// Whether it comes piece by piece, as events, instead of as one object.
    pub is_stream: bool,
    /// The tools of namespaces.
    pub namespaced: Arc<[Namespaced]>,
    /// What the response repeats.
    pub echo: Arc<Echo>,
}

/// A tool of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespaced {
    /// Under which name the model sees it.
    pub shown: String,
    /// The namespace.
    pub namespace: String,
    /// Its name there.
    pub name: String,
}

/// What a response repeats of its request: fields of a JSON object, each behind a comma.
#[derive(Debug, Default)]
pub struct Echo(Box<str>);

/// The longest repeated fields, in bytes. Each response, and each of its events that has all of it, contains them.
const MAX_ECHO: usize = 256 * 1024;
impl Echo {
    /// Takes the fields; `None` when they are too long.
    pub(super) fn new(fields: String) -> Option<Self> {
        (fields.len() <= MAX_ECHO).then(|| Self(fields.into()))
    }

    /// The fields.
    pub(super) fn fields(&self) -> &str {
        &self.0
    }
}
