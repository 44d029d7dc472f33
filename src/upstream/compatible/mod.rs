//! A second upstream: any server that speaks OpenAI's chat completions. It keeps no history, so it is sent the whole
//! conversation; it takes tools, schemas and pictures by itself.
//!
//! The facts are OpenAI's reference of chat completions, and what servers of others do differently: Qwen's Model Studio,
//! OpenRouter, DeepSeek, vLLM, llama.cpp, Ollama.

mod ask;
mod body;
mod chunk;
mod client;
mod decoder;
mod errors;
mod names;
#[cfg(test)]
mod tests;
mod transcript;

pub use ask::{Attached, AttachedContent, WholeAsk};
pub use client::{Client, ModelName};
pub use decoder::Decoder;
pub use names::shown_tool_name;
