//! What shall go wrong with the storage.

use std::time::Duration;

use super::errors;

/// A step of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// `getstsToken`, v1 and v2.
    Token,
    /// A whole object at once: PUT, or POST of a form.
    Put,
    /// `POST ?uploads`
    Initiate,
    /// The part of that number, from 1; `None`: any part.
    Part(Option<u32>),
    /// `POST ?uploadId=`
    Complete,
    /// `DELETE ?uploadId=`
    Abort,
    /// GET of an object.
    Get,
}

/// What happens then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A server error of that status.
    Status(u16),
    /// A storage error of that code (`SecurityTokenExpired`, `AccessDenied`, …); at [`Stage::Token`] a `fail=` name.
    Error(&'static str),
    /// The answer comes that much later.
    Late(Duration),
    /// The body is read at no more than that many bytes a second.
    SlowRead(u64),
    /// The connection ends after that many bytes of the body (for a GET: of the answer).
    Drop(u64),
}

/// Trouble at a stage, for the first so many requests there.
#[derive(Clone, Debug)]
pub struct StorageFault {
    /// When.
    pub stage: Stage,
    /// What.
    pub trouble: Trouble,
    /// How often; `u64::MAX`: always.
    pub times: u64,
}

impl StorageFault {
    /// Trouble at `stage`, each time.
    pub fn new(stage: Stage, trouble: Trouble) -> StorageFault {
        StorageFault { stage, trouble, times: u64::MAX }
    }

    /// Only the first `times` times.
    #[must_use]
    pub fn times(self, times: u64) -> StorageFault {
        StorageFault { times, ..self }
    }

    /// The part `number` (from 1) is answered with 500 the first `times` times.
    pub fn part_fails(number: u32, times: u64) -> StorageFault {
        StorageFault::new(Stage::Part(Some(number)), Trouble::Status(500)).times(times)
    }

    /// Every part is answered that much later.
    pub fn slow_parts(late: Duration) -> StorageFault {
        StorageFault::new(Stage::Part(None), Trouble::Late(late))
    }

    /// No tokens are given: `name` as in `fail=` (`rate_limited_busy`, `http_500`, `waf_html`, …).
    pub fn refuse_tokens(name: &'static str) -> StorageFault {
        StorageFault::new(Stage::Token, Trouble::Error(name))
    }

    /// The connection ends after `bytes` of a whole object's body.
    pub fn drop_put(bytes: u64) -> StorageFault {
        StorageFault::new(Stage::Put, Trouble::Drop(bytes))
    }

    /// The connection ends after `bytes` of the part `number`, the first `times` times.
    pub fn drop_part(number: u32, bytes: u64, times: u64) -> StorageFault {
        StorageFault::new(Stage::Part(Some(number)), Trouble::Drop(bytes)).times(times)
    }

    fn is_at(&self, stage: Stage) -> bool {
        match (self.stage, stage) {
            (Stage::Part(None), Stage::Part(_)) => true,
            (wanted, stage) => wanted == stage,
        }
    }

    fn is_known(&self) -> bool {
        match self.trouble {
            Trouble::Error(name) if self.stage == Stage::Token => super::is_failure(name),
            Trouble::Error(code) => errors::is_known(code),
            _ => true,
        }
    }
}

/// Faults, each with the text that a file's name must contain.
#[derive(Default)]
pub(super) struct Faults(Vec<(String, StorageFault)>);

impl Faults {
    /// Puts `faults` in the place of those that were set for `marker`.
    pub(super) fn set(&mut self, marker: &str, faults: &[StorageFault]) {
        for fault in faults {
            assert!(fault.is_known(), "nothing is called like that: {fault:?}");
        }
        self.0.retain(|(known, _)| known != marker);
        self.0.extend(faults.iter().map(|fault| (marker.to_owned(), fault.clone())));
    }

    /// The first fault left at `stage` for a file called `name`; uses it up once.
    pub(super) fn take(&mut self, stage: Stage, name: &str) -> Option<Trouble> {
        let fits = |(marker, fault): &&mut (String, StorageFault)| {
            fault.times > 0 && fault.is_at(stage) && name.contains(marker.as_str())
        };
        let (_, fault) = self.0.iter_mut().find(fits)?;
        fault.times = if fault.times == u64::MAX { u64::MAX } else { fault.times - 1 };
        Some(fault.trouble.clone())
    }
}
