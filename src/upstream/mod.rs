//! Where answers come from.

mod owner;
mod ports;
pub mod qwen;

pub use owner::{AccountId, Owner, ScopeKey};
pub use ports::{Cache, Host, SessionStore, StoredSession, Upload, UploadStore};
