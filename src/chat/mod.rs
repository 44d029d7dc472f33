//! One turn, from a client's request to its answer.

mod answer;
mod attachments;
mod coalesce;
mod conversations;
mod filters;
mod fold;
mod intent;
mod limiter;
mod output;
#[cfg(test)]
mod scaling_tests;
#[cfg(test)]
mod stream_tests;

pub use answer::{Answer, Timing};
pub use attachments::Attachments;
pub use conversations::{Conversations, Hints, Thread, history_key, scope};
pub use fold::check;
pub use intent::{Intent, intent};
pub use limiter::{Gate, Shares};
pub use output::{Form, Output};
