//! Whose Qwen account answers, and where its state is kept.

mod account;
mod caller;
mod stores;

pub use account::{Account, Accounts};
pub use caller::{Caller, KeyHolder, KeyId};
