//! One turn, from a client's request to its answer.

mod answer;
mod attachments;
mod coalesce;
mod conversations;
mod filters;
mod generation_options;
mod limiter;
mod output;
mod render_prompt;
#[cfg(test)]
mod scaling_tests;
#[cfg(test)]
mod stream_tests;

pub use answer::{Answer, Timing};
pub use attachments::Attachments;
pub use conversations::{ConversationHint, ConversationMatch, Conversations, history_key, scope};
pub use generation_options::{GenerationOptions, generation_options};
pub use limiter::{ConcurrencyLimiter, KeyedLimiters};
pub use output::{Delivery, Output};
pub use render_prompt::check;
