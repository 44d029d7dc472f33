//! Whose Qwen account answers, and where its state is kept.

mod caller;
mod stores;

pub use caller::{Account, Caller, KeyId};
