//! Pictures and videos that the upstream makes: each asked for once, kept as jobs, and handed out under links of this server.

mod digests;
mod download;
mod drawing;
mod film_creation;
mod film_record;
mod film_state;
mod job;
mod links;
mod order;
mod pictures;
mod record;
#[cfg(test)]
mod tests;
mod videos;

pub use download::{Downloads, Opened, open};
pub use film_creation::VideoOrder;
pub use film_record::{VideoFailure, VideoJob, VideoState};
pub use job::{Drawn, Outcome, Pictures, Progress, interrupted};
pub use links::{LinkMaker, MadeIn, MediaLinks, NewLink, Resolved, markdown, media_id};
pub use order::{Order, request_key};
pub use pictures::REPEATS;
pub use videos::Videos;
