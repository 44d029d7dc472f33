//! **qwen-edge**: a person's own Qwen web account as an API for OpenAI clients.
//!
//! A request passes through these modules: [`server`] (routes, keys, errors → statuses) → [`api`] (client dialects) and
//! [`chat`] (one turn from request to answer) → [`upstream`] (what chat.qwen.ai expects and sends) → [`platform`] (the only
//! module that names a runtime). [`oss`] signs uploads. [`store`] holds the tables and queries.
//!
//! The same code runs as a Cloudflare Worker and as a native server. `docs/architecture.md` describes the modules.

#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used,
        reason = "tests"
    )
)]

pub mod accounts;
pub mod api;
#[cfg(test)]
mod architecture_tests;
pub mod chat;
pub mod config;
mod content_encoding;
pub mod credentials_input;
mod digest;
#[cfg(test)]
mod document_tests;
pub mod error;
mod json;
pub mod limiter;
pub mod llm;
pub mod media;
pub mod media_type;
pub mod origin;
pub mod oss;
pub mod platform;
pub mod sealing;
pub mod secret;
pub mod server;
pub mod store;
mod surrogates;
pub mod unix_time;
pub mod upstream;
pub mod visible;
#[cfg(target_arch = "wasm32")]
mod worker;
