//! Where answers come from.

mod ports;
pub mod qwen;

pub use ports::{Cache, Host, SessionStore, StoredSession, Upload, UploadStore};
