//! One turn, from a client's request to its answer.

mod answer;
mod cut;
mod fold;
mod intent;
mod output;
#[cfg(test)]
mod stream_tests;

pub use answer::{Answer, Timing};
pub use intent::{Intent, intent};
pub use output::{Form, Output};
