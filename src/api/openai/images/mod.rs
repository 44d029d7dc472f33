//! OpenAI's Images API: requests that draw pictures, and their answers.

mod events;
mod object;
mod pieces;
mod request;
#[cfg(test)]
mod schema;

#[cfg(test)]
mod form_tests;
#[cfg(test)]
mod object_tests;
#[cfg(test)]
mod tests;

pub use events::{event, write_error, write_heartbeat};
pub use object::{Content, ImagesMeta, Picture, object};
pub use pieces::Pieces;
#[cfg(test)]
pub(crate) use request::ImagesBody;
pub use request::{
    FORM_TEXTS, ImagesDelivery, ImagesRequest, Operation, PictureFormat, ResultForm, is_input_field, mask_unsupported,
    parse_edit, parse_form, parse_generation,
};
#[cfg(test)]
pub(crate) use schema::{ImagesObject, PictureEvent};
