//! A client's request.

#[cfg(not(target_arch = "wasm32"))]
pub use super::native::request::{Headers, RequestBody, sendable};
#[cfg(target_arch = "wasm32")]
pub use super::worker::request::{Headers, RequestBody, sendable};

/// A request as the front door sees it. Headers are looked up one by one: on the edge each costs a crossing.
pub struct Request {
    /// The method.
    pub method: http::Method,
    /// The path, still percent-encoded.
    pub path: String,
    /// The query without `?`.
    pub query: Option<String>,
    /// The host and port that the request's target itself names: always in HTTP/2 and on the edge, else rarely.
    pub authority: Option<String>,
    /// The header fields.
    pub headers: Headers,
    /// The body, not yet read.
    pub body: RequestBody,
}
