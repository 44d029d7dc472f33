//! Faults of the storage.

use std::time::Duration;

use super::errors;

/// A step of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// `getstsToken`, v1 and v2.
    Token,
    /// A whole object: PUT, or POST of a form.
    Put,
    /// `POST ?uploads`
    Initiate,
    /// The part with this number, from 1; `None`: any part.
    Part(Option<u32>),
    /// `POST ?uploadId=`
    Complete,
    /// `DELETE ?uploadId=`
    Abort,
    /// GET of an object.
    Get,
}

/// The effect of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A server error with this status.
    Status(u16),
    /// A storage error with this code (`SecurityTokenExpired`, `AccessDenied`, …); at [`Stage::Token`] a name of `fail=`.
    Error(&'static str),
    /// The response is delayed.
    Delay(Duration),
    /// The body is read at this many bytes per second.
    SlowRead(u64),
    /// The connection is closed after this many bytes of the body (for a GET: of the response).
    Drop(u64),
}

/// A fault of the first requests at a stage.
#[derive(Clone, Debug)]
pub struct StorageFault {
    /// The step that fails.
    pub stage: Stage,
    /// The effect.
    pub kind: FaultKind,
    /// The number of requests that fail; `u64::MAX`: all.
    pub times: u64,
}

impl StorageFault {
    /// A fault of every request at `stage`.
    pub fn new(stage: Stage, kind: FaultKind) -> StorageFault {
        StorageFault { stage, kind, times: u64::MAX }
    }

    /// Limits the fault to the first `times` requests.
    #[must_use]
    pub fn times(self, times: u64) -> StorageFault {
        StorageFault { times, ..self }
    }

    /// Answers the part `number` (from 1) with 500, the first `times` times.
    pub fn part_fails(number: u32, times: u64) -> StorageFault {
        StorageFault::new(Stage::Part(Some(number)), FaultKind::Status(500)).times(times)
    }

    /// Delays the response to every part.
    pub fn slow_parts(delay: Duration) -> StorageFault {
        StorageFault::new(Stage::Part(None), FaultKind::Delay(delay))
    }

    /// Fails every credentials request with a name of `fail=` (`rate_limited_busy`, `http_500`, `waf_html`, …).
    pub fn refuse_tokens(name: &'static str) -> StorageFault {
        StorageFault::new(Stage::Token, FaultKind::Error(name))
    }

    /// Closes the connection after `bytes` of the body of a whole object.
    pub fn drop_put(bytes: u64) -> StorageFault {
        StorageFault::new(Stage::Put, FaultKind::Drop(bytes))
    }

    /// Closes the connection after `bytes` of the part `number`, the first `times` times.
    pub fn drop_part(number: u32, bytes: u64, times: u64) -> StorageFault {
        StorageFault::new(Stage::Part(Some(number)), FaultKind::Drop(bytes)).times(times)
    }

    fn is_at(&self, stage: Stage) -> bool {
        match (self.stage, stage) {
            (Stage::Part(None), Stage::Part(_)) => true,
            (own, stage) => own == stage,
        }
    }

    fn is_known(&self) -> bool {
        match self.kind {
            FaultKind::Error(name) if self.stage == Stage::Token => super::is_failure(name),
            FaultKind::Error(code) => errors::is_known(code),
            _ => true,
        }
    }
}

/// Faults, each with the text that the file name must contain.
#[derive(Default)]
pub(super) struct Faults(Vec<(String, StorageFault)>);

impl Faults {
    /// Replaces the faults of `marker`.
    pub(super) fn set(&mut self, marker: &str, faults: &[StorageFault]) {
        for fault in faults {
            assert!(fault.is_known(), "unknown error: {fault:?}");
        }
        self.0.retain(|(known, _)| known != marker);
        self.0.extend(faults.iter().map(|fault| (marker.to_owned(), fault.clone())));
    }

    /// The first remaining fault at `stage` of a file with this name; counts it as used.
    pub(super) fn take(&mut self, stage: Stage, name: &str) -> Option<FaultKind> {
        let matches = |(marker, fault): &&mut (String, StorageFault)| {
            fault.times > 0 && fault.is_at(stage) && name.contains(marker.as_str())
        };
        let (_, fault) = self.0.iter_mut().find(matches)?;
        fault.times = if fault.times == u64::MAX { u64::MAX } else { fault.times - 1 };
        Some(fault.kind.clone())
    }
}
