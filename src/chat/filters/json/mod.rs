//! JSON as models write it: read piece by piece, and repaired where it is damaged.

mod object;
mod repair;
mod scanner;

pub(in crate::chat) use object::{Found, ObjectFilter, outermost};
pub(in crate::chat) use repair::{Repaired, repair};
pub(in crate::chat) use scanner::{JsonScanner, Scan};
