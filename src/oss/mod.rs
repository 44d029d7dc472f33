//! Alibaba Cloud's object storage: signatures, and the ways to put an object there. Knows nothing of Qwen or OpenAI.

mod network;
mod object;
mod parts;
mod sign;
#[cfg(test)]
mod tests;

pub use object::{Failure, Object};
pub use parts::{MultipartError, PART, Upload};
pub use sign::{Credentials, Scope, Signable, UNSIGNED_PAYLOAD, escape, escape_path, policy_signature};
