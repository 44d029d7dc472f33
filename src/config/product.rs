//! What differs between the native server and the Worker.

use super::MIB;

/// What differs between the native server and the Worker. Each passes its own value in when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// The name that `GET /` returns.
    pub name: &'static str,
    /// Whether the server is reachable from the internet. Any other server must listen on loopback unless it has keys
    /// or `ALLOW_ANONYMOUS`.
    pub is_public: bool,
    /// Whether several processes share the database. State that is not stored does not reach the others.
    pub is_distributed: bool,
    /// Whether it keeps counters for `GET /metrics`.
    pub keeps_metrics: bool,
    /// The default of `COALESCE_MS`, in milliseconds.
    pub coalesce_ms: u64,
    /// The memory that the bodies of all requests may take together, in bytes.
    pub body_memory: usize,
    /// The largest chat request, in bytes.
    pub chat_body: usize,
    /// How many requests may fetch and upload their attachments at the same time. Each request holds up to 20 MiB for each
    /// of three files.
    pub attachment_permits: usize,
}

impl Product {
    /// The native server.
    pub const NATIVE: Self = Self {
        name: "box",
        is_public: false,
        is_distributed: false,
        keeps_metrics: true,
        coalesce_ms: 0,
        body_memory: 256 * MIB as usize,
        chat_body: 32 * MIB as usize,
        attachment_permits: 64,
    };
    /// The Cloudflare Worker.
    pub const WORKER: Self = Self {
        name: "edge",
        is_public: true,
        is_distributed: true,
        keeps_metrics: false,
        coalesce_ms: 50,
        body_memory: 48 * MIB as usize,
        chat_body: 16 * MIB as usize,
        attachment_permits: 8,
    };
}
