//! The bodies of requests that are read whole, with a bound on each and one on all of them together.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::StreamExt as _;

use serde_json::Value as Json;

use crate::{
    config::Product,
    content_encoding::{Coding, decoded},
    error::{Error, ErrorKind, Result},
    platform::{self, ByteStream, FetchErrorKind, Headers, Platform, RequestBody},
    surrogates::{client_text, without_lone_surrogates},
};

const MIB: usize = 1024 * 1024;

/// How long a client may take to send a body that is read whole.
const PATIENCE: Duration = Duration::from_secs(120);
/// When to come back: by then the bodies of others are usually answered.
const COME_BACK: Duration = Duration::from_secs(5);
/// What is declared need not come, so memory is taken as it does.
const FIRST_ROOM: usize = 64 * 1024;

/// How long a body may be.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    pub(super) bytes: usize,
    /// What to do about a longer one.
    pub(super) advice: &'static str,
}

/// The limit of a chat request: several images of `MAX_IMAGE_BYTES` in base64, well below the memory that there is.
pub(super) const fn chat_limit(product: &Product) -> Limit {
    Limit { bytes: product.chat_body, advice: "send less, or upload large files with POST /v1/files/upload" }
}

impl Limit {
    fn exceeded(self) -> Error {
        let Self { bytes, advice } = self;
        let size = if bytes < MIB { format!("{} KiB", bytes / 1024) } else { format!("{} MiB", bytes / MIB) };
        Error::new(ErrorKind::RequestTooLarge, format!("The request body is larger than {size}; {advice}."))
    }
}

/// Reads a whole body into memory.
///
/// # Errors
/// A body that is longer than `limit`, told from its declared length where there is one, that breaks off or takes too
/// long, or for which there is no memory at the moment.
pub(super) async fn collect<P: Platform>(
    memory: &MemoryBudget,
    platform: &P,
    headers: &Headers,
    body: RequestBody,
    limit: Limit,
) -> Result<Collected> {
    let coding = coding(headers)?;
    let broken = || Error::new(ErrorKind::InvalidRequest, "The request body broke off or took too long.");
    let declared = body.length().map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if declared.is_some_and(|length| length > limit.bytes) {
        return Err(limit.exceeded());
    }
    // What is packed has no known length, and no known bound but the limit.
    let most = declared.filter(|_| coding.is_none()).unwrap_or(limit.bytes);
    let mut reservation = memory.reservation();
    let mut bytes = Vec::with_capacity(declared.unwrap_or(0).min(FIRST_ROOM));
    let mut pieces = unpacked(body.into_stream(), coding);
    let read = async {
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| match error.kind {
                FetchErrorKind::Undecodable => undecodable().with_detail(error.detail),
                _ => broken().with_detail(error.detail),
            })?;
            if piece.len() > limit.bytes.saturating_sub(bytes.len()) {
                return Err(limit.exceeded());
            }
            reservation.grow(piece.len())?;
            if piece.len() > bytes.capacity().saturating_sub(bytes.len()) {
                // Twice as much each time, but never more than will come.
                bytes.reserve_exact(piece.len().max(most.saturating_sub(bytes.len()).min(bytes.len())));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(())
    };
    platform::timeout(platform, PATIENCE, read).await.unwrap_or_else(|| Err(broken()))?;
    Ok(Collected { bytes, reservation })
}

/// How the body is packed.
///
/// # Errors
/// `unsupported_encoding` that names what is not known here.
pub(super) fn coding(headers: &Headers) -> Result<Option<Coding>> {
    let header = headers.get("content-encoding");
    Coding::of(header.as_deref()).map_err(|()| {
        let named: String = header.unwrap_or_default().chars().take(60).collect();
        let problem = format!("A body with the Content-Encoding '{named}' cannot be read; send it plain, or as one of gzip, deflate and zstd.");
        Error::new(ErrorKind::UnsupportedEncoding, problem)
    })
}

/// The body as it was before it was packed.
pub(super) fn unpacked(body: ByteStream, coding: Option<Coding>) -> ByteStream {
    match coding {
        Some(coding) => Box::pin(decoded(body, coding)),
        None => body,
    }
}

/// The error of a body that is not packed as its head says.
pub(super) fn undecodable() -> Error {
    Error::new(ErrorKind::InvalidRequest, "The request body is not packed as its Content-Encoding says, or breaks off.")
}

/// A body as JSON.
///
/// # Errors
/// `invalid_json`
pub(super) fn json(body: &[u8]) -> Result<Json> {
    let not_json =
        |problem: String| Error::new(ErrorKind::InvalidJson, format!("The request body is not valid JSON: {problem}."));
    let text = client_text(body).ok_or_else(|| not_json("it is not UTF-8".to_owned()))?;
    let mended = without_lone_surrogates(&text);
    serde_json::from_str(mended.as_deref().unwrap_or(&text)).map_err(|error| not_json(error.to_string()))
}

/// A body with its place in memory.
pub(super) struct Collected {
    bytes: Vec<u8>,
    reservation: Reservation,
}

impl Collected {
    /// Forgets the body and keeps its place, for what was made of it.
    pub(super) fn into_reservation(self) -> Reservation {
        self.reservation
    }
}

impl Deref for Collected {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The memory that is left for the bodies of all requests.
#[derive(Clone, Debug)]
pub(super) struct MemoryBudget(Arc<AtomicUsize>);

impl MemoryBudget {
    /// So many bytes.
    pub(super) fn of(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// A place of no size yet.
    pub(super) fn reservation(&self) -> Reservation {
        Reservation { memory: self.clone(), bytes: 0 }
    }
}

/// A part of that memory, given back when this is dropped.
pub(super) struct Reservation {
    memory: MemoryBudget,
    bytes: usize,
}

impl Reservation {
    /// Makes room for more.
    ///
    /// # Errors
    /// `overloaded` when that much is not left.
    pub(super) fn grow(&mut self, more: usize) -> Result<()> {
        let take = |left: usize| left.checked_sub(more);
        if self.memory.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            let message =
                "This server is busy with as many large requests as it can hold. Send the request again later.";
            return Err(Error::new(ErrorKind::Overloaded, message).with_retry_after(COME_BACK));
        }
        self.bytes = self.bytes.saturating_add(more);
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memory.0.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_take_what_is_left_and_give_it_back() {
        let memory = MemoryBudget::of(10);
        let (mut one, mut two) = (memory.reservation(), memory.reservation());
        one.grow(4).unwrap();
        two.grow(6).unwrap();
        assert_eq!(one.grow(1).unwrap_err().kind(), ErrorKind::Overloaded);
        drop(two);
        one.grow(6).unwrap();
        drop(one);
        memory.reservation().grow(10).unwrap();
        assert!(memory.reservation().grow(11).is_err());
    }
}
