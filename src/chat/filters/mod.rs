//! What an answer's text goes through on its way to the client.

mod stop;

pub(super) use stop::StopFilter;
