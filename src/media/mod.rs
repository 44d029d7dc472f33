//! Pictures and videos that the upstream makes: each asked for once, kept as jobs, and handed out under links of this server.

mod digests;
mod download;
mod links;
mod order;
mod pictures;
mod record;

pub use download::{Downloads, Opened, open};
pub use links::{LinkMaker, MadeIn, MediaLinks, NewLink, Resolved, markdown, media_id};
pub use order::{Order, request_key};
pub use pictures::{Drawn, Outcome, Pictures, Progress, REPEATS};
