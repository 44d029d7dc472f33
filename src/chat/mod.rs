//! One turn, from a client's request to its answer.

mod answer;
mod attachment;
mod conversation;
mod cut;
mod digest;
mod fold;
mod gate;
mod gathering;
mod intent;
mod output;
mod remote;
#[cfg(test)]
mod scaling_tests;
#[cfg(test)]
mod stream_tests;
mod system_text;

pub use answer::{Answer, Timing};
pub use attachment::Attachments;
pub use conversation::{Conversations, Hints, Thread};
pub use digest::{history_key, scope};
pub use fold::check;
pub use gate::{Gate, Shares};
pub use intent::{Intent, intent};
pub use output::{Form, Output};
