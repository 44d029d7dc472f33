//! What an answer's text goes through on its way to the client.

mod limit;
mod stop;

pub(super) use limit::LimitFilter;
pub(super) use stop::StopFilter;
