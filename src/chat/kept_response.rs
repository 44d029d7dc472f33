//! Responses that are kept: what of an answer is stored beside its turn.

use std::sync::Arc;

use crate::{
    digest::{key, link},
    platform::{Platform, unique},
    sealing::Cipher,
    store::{conversations::Anchor, responses::Response},
};

/// The most of a response that is kept, with its input, in bytes. A larger one is not kept; its conversation goes on.
const MAX_BODY: usize = 1 << 20;

/// How a response is kept.
#[derive(Clone, Debug)]
pub struct KeptResponse {
    /// The digest of its scope and id.
    pub key: String,
    /// The key of the response that it goes on from; empty for none.
    pub previous: String,
    /// Its input as JSON; `None` when texts are not kept.
    pub input: Option<Arc<str>>,
    /// What encrypts it.
    pub cipher: Arc<Cipher>,
}

impl KeptResponse {
    /// The key of the response with this id in a scope.
    #[must_use]
    pub fn key_of(scope: &str, id: &str) -> String {
        key(link(link([0; 32], b's', scope.as_bytes()), b'r', id.as_bytes()))
    }

    /// The row of an answer: `answer` = the response as JSON.
    pub(in crate::chat) fn row(&self, platform: &impl Platform, anchor: Anchor, answer: &str) -> Response {
        let Self { key, previous, input, cipher } = self;
        let body = input.as_ref().map(|input| format!("{{\"input\":{input},\"response\":{answer}}}"));
        let body = body.filter(|body| body.len() <= MAX_BODY);
        let body = body.and_then(|body| cipher.encrypt(&body, key, [unique(platform), unique(platform)]));
        Response { key: key.clone(), previous: previous.clone(), anchor, body }
    }
}
