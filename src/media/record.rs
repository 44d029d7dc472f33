//! What the store has of a request for pictures: all that is needed to go on with it after a restart, or to repeat its answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, ErrorKind},
    llm::Usage,
    unix_time::UnixMillis,
    upstream::DrawnPicture,
};

/// A request for pictures so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// One for each picture.
    pub(super) slots: Vec<Slot>,
}

/// One picture of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Slot {
    /// Its chat; empty = not begun.
    pub(super) chat_id: String,
    /// When it was asked for.
    pub(super) asked_at: UnixMillis,
    /// Its node in the chat, when known.
    pub(super) response_id: String,
    /// What was drawn: the picture, or several where the prompt asks for several.
    pub(super) pictures: Vec<StoredPicture>,
    /// Why nothing was drawn.
    pub(super) failure: Option<Failure>,
    /// Token counts: in, out, both.
    pub(super) tokens: (u64, u64, u64),
    /// What the model said in the place of a picture.
    pub(super) text: String,
}

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredPicture {
    link: String,
    size: Option<(u32, u32)>,
}

/// An error as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure {
    code: String,
    message: String,
    retry_after: Option<u64>,
    link: Option<String>,
    is_final: bool,
}

/// The errors that may come of a request for pictures.
const KINDS: &[ErrorKind] = &[
    ErrorKind::StoreFailed,
    ErrorKind::SessionMissing,
    ErrorKind::SessionExpired,
    ErrorKind::Challenge,
    ErrorKind::QuotaExceeded,
    ErrorKind::RateLimited,
    ErrorKind::RequestTooLarge,
    ErrorKind::ContentFilter,
    ErrorKind::ModelNotFound,
    ErrorKind::UpstreamOverloaded,
    ErrorKind::UpstreamRejected,
    ErrorKind::UpstreamEmpty,
    ErrorKind::UpstreamInvalid,
    ErrorKind::UpstreamTruncated,
    ErrorKind::UpstreamTimeout,
    ErrorKind::UpstreamError,
];

impl Failure {
    pub(super) fn of(error: &Error) -> Self {
        Self {
            code: error.kind().code().to_owned(),
            message: error.message().to_owned(),
            retry_after: error.retry_after().map(|wait| wait.as_secs()),
            link: error.link().map(str::to_owned),
            is_final: error.is_final(),
        }
    }

    /// The error again.
    pub(super) fn error(&self) -> Error {
        let Self { code, message, retry_after, link, is_final } = self.clone();
        let kind = KINDS.iter().copied().find(|kind| kind.code() == code).unwrap_or(ErrorKind::UpstreamError);
        let mut error = Error::new(kind, message);
        if let Some(seconds) = retry_after {
            error = error.with_retry_after(Duration::from_secs(seconds));
        }
        if let Some(link) = link {
            error = error.with_link(link);
        }
        if is_final { error.without_repeat() } else { error }
    }
}

impl Slot {
    /// Whether nothing is left to do.
    pub(super) fn is_done(&self) -> bool {
        !self.pictures.is_empty() || self.failure.is_some()
    }

    pub(super) fn set_pictures(&mut self, pictures: Vec<DrawnPicture>) {
        self.pictures = pictures.into_iter().map(|DrawnPicture { link, size }| StoredPicture { link, size }).collect();
    }

    /// Its token counts.
    pub(super) fn usage(&self) -> Usage {
        let (prompt, completion, total) = self.tokens;
        Usage { prompt, completion, total, ..Usage::default() }
    }

    pub(super) fn drawn(&self) -> impl Iterator<Item = DrawnPicture> {
        self.pictures.iter().map(|StoredPicture { link, size }| DrawnPicture { link: link.clone(), size: *size })
    }
}

impl Record {
    /// A request for so many pictures.
    pub(super) fn new(count: usize) -> Self {
        Self { slots: vec![Slot::default(); count] }
    }

    /// `running`, `done` or `failed`.
    pub(super) fn state(&self) -> &'static str {
        let is_over = self.slots.iter().all(Slot::is_done);
        let has_picture = self.slots.iter().any(|slot| !slot.pictures.is_empty());
        match (is_over, has_picture) {
            (false, _) => "running",
            (true, true) => "done",
            (true, false) => "failed",
        }
    }

    /// The first error, if there is no picture.
    pub(super) fn error(&self) -> Option<Error> {
        let has_picture = self.slots.iter().any(|slot| !slot.pictures.is_empty());
        let failures = || self.slots.iter().filter_map(|slot| slot.failure.as_ref());
        (!has_picture).then(|| failures().next().map(Failure::error)).flatten()
    }

    /// The token counts of all pictures.
    pub(super) fn usage(&self) -> Usage {
        let sum = |each: fn(&Slot) -> u64| self.slots.iter().map(each).fold(0, u64::saturating_add);
        Usage {
            prompt: sum(|slot| slot.tokens.0),
            completion: sum(|slot| slot.tokens.1),
            total: sum(|slot| slot.tokens.2),
            ..Usage::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_the_same_when_it_is_read_again() {
        for kind in KINDS {
            let error = Error::new(*kind, "words").with_retry_after(Duration::from_secs(7)).with_link("https://x/");
            for error in [error.without_repeat(), Error::new(*kind, "words")] {
                let text = serde_json::to_string(&Failure::of(&error)).unwrap();
                let again = serde_json::from_str::<Failure>(&text).unwrap().error();
                assert_eq!(
                    (again.kind(), again.message(), again.retry_after(), again.link(), again.is_final()),
                    (error.kind(), error.message(), error.retry_after(), error.link(), error.is_final())
                );
            }
        }
    }

    #[test]
    fn a_request_is_done_with_one_picture_and_failed_without_any() {
        let mut record = Record::new(2);
        assert_eq!((record.state(), record.error().is_none()), ("running", true));
        record.slots[0].failure = Some(Failure::of(&Error::new(ErrorKind::UpstreamEmpty, "first")));
        assert_eq!(record.state(), "running");
        record.slots[1].failure = Some(Failure::of(&Error::new(ErrorKind::QuotaExceeded, "second")));
        assert_eq!((record.state(), record.error().unwrap().kind()), ("failed", ErrorKind::UpstreamEmpty));
        record.slots[1] = Slot { failure: None, ..Slot::default() };
        record.slots[1].set_pictures(vec![DrawnPicture { link: "https://x/1.png".to_owned(), size: Some((1, 2)) }]);
        assert_eq!((record.state(), record.error().is_none()), ("done", true));
    }
}
