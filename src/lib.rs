//! **qwen-edge**: a person's own Qwen web account as an OpenAI-compatible API.
//!
//! The way of a request through the rooms: [`app`] (routes, keys, errors → statuses) → [`chat`] (one turn from request to
//! answer) → [`qwen`] (what chat.qwen.ai sends and gets) → [`platform`] (the only room that names a runtime). [`openai`]
//! is plain data: what clients send and get. [`oss`] signs uploads. [`store`] holds the tables and queries, by way of [`platform`]. [`trace`] is what is
//! noted of a request, [`origin`] where a web page comes from, [`visible`] how others' words are shown.
//!
//! The same code is a Cloudflare Worker ("edge") and a native server ("box").

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

pub mod app;
pub mod chat;
mod coding;
pub mod config;
pub mod error;
mod json;
pub mod openai;
pub mod origin;
pub mod oss;
pub mod pasted;
pub mod platform;
pub mod qwen;
pub mod secret;
pub mod store;
mod surrogates;
pub mod trace;
pub mod visible;
