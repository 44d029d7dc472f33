//! A client's request, with the runtime's types for header fields and body.

#[cfg(not(target_arch = "wasm32"))]
pub use super::native::request::{Headers, RequestBody, sendable};
#[cfg(target_arch = "wasm32")]
pub use super::worker::request::{Headers, RequestBody, sendable};

/// A client's request. Header fields are looked up one by one, because on the Worker each look-up is a call into JavaScript.
pub struct Request {
    /// The method.
    pub method: http::Method,
    /// The path, percent-encoded.
    pub path: String,
    /// The query without `?`.
    pub query: Option<String>,
    /// The host and port of the request target: always present in HTTP/2 and on the Worker, rarely in HTTP/1.1.
    pub authority: Option<String>,
    /// The header fields.
    pub headers: Headers,
    /// The unread body.
    pub body: RequestBody,
}
