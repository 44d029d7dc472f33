//! Client dialects: what a client sends becomes a request of ours, what we answer becomes the bytes it expects.

pub mod openai;
