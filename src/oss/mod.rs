//! A client of Alibaba Cloud's Object Storage Service: V4 signatures, and three ways to store an object. Knows nothing of Qwen or
//! OpenAI.

mod network;
mod object;
mod parts;
mod sign;
#[cfg(test)]
mod tests;

pub use object::{Failure, Object};
pub use parts::{MultipartError, PART, Upload};
pub use sign::{Credentials, Scope, Signable, UNSIGNED_PAYLOAD, escape, escape_path, policy_signature};
