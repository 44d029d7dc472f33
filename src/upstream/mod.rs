//! Where answers come from.

pub mod qwen;
