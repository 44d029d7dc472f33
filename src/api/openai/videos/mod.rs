//! OpenAI's Videos API: requests that begin a job, and the job as an object.

mod object;
mod request;

#[cfg(test)]
mod tests;

pub use object::{DeletedVideo, Video, VideoError, VideoList, VideoObject, VideoStatus};
#[cfg(test)]
pub(crate) use request::VideoBody;
pub use request::{FORM_TEXTS, ListQuery, parse, parse_form, parse_list_query};
