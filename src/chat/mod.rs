//! The engine: one turn, from a request to its answer.

mod answer_format;
mod answer_writer;
mod attachments;
mod check;
mod citations;
mod coalesce;
mod conversations;
mod delivery;
mod drawing;
mod engine;
#[cfg(test)]
mod engine_tests;
#[cfg(test)]
mod engine_tool_tests;
mod filters;
#[cfg(fuzzing)]
pub mod fuzzing;
mod generation_options;
mod kept_response;
mod opening;
#[cfg(test)]
mod scaling_tests;
mod second;
#[cfg(test)]
mod second_tests;
#[cfg(test)]
mod stream_tests;
#[cfg(test)]
mod test_requests;
mod tool_rules;
#[cfg(test)]
mod tool_scaling_tests;
mod translator;

pub use answer_format::AnswerFormat;
pub use attachments::{Attachments, from_row, to_row};
pub use check::check;
pub use conversations::{
    ConversationHint, ConversationMatch, Conversations, Resumed, TurnTools, history_key, is_drawn, shown_conversation,
};
pub use delivery::{Answer, Timing};
pub use drawing::{DrawPlan, DrawnAnswer, draw_prompt};
pub use generation_options::{GenerationOptions, generation_options};
pub use kept_response::KeptResponse;
pub use opening::{Plan, Services, upload_attachments};
pub use second::{Second, WholeTurn};
pub use tool_rules::ToolRules;
pub use translator::{AnswerToRecord, Progress, Translator};
