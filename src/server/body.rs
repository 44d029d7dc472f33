//! Reads whole request bodies into memory. The size of each body is bounded, and so is the memory of all bodies together.

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

/// How long a client may take to send a whole body.
const BODY_TIMEOUT: Duration = Duration::from_secs(120);
/// When a client may retry after `overloaded`. By then other requests have usually released their memory.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// The capacity that a declared length reserves at the start, in bytes. More memory is allocated as data arrives.
const INITIAL_CAPACITY: usize = 64 * 1024;

/// The maximum length of a body.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    pub(super) bytes: usize,
    /// What a client can do about a longer body. Part of a sentence.
    pub(super) advice: &'static str,
}

/// The limit of a chat request. It has room for several images of `MAX_IMAGE_BYTES` in base64, and is well below
/// [`Product::body_memory`].
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
/// When the body, or its declared length, exceeds `limit`; when it breaks off or takes too long; when the memory for bodies
/// is used up.
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
    // The decoded length of a compressed body is unknown, so only the limit bounds it.
    let max = declared.filter(|_| coding.is_none()).unwrap_or(limit.bytes);
    let mut reservation = memory.reservation();
    let mut bytes = Vec::with_capacity(declared.unwrap_or(0).min(INITIAL_CAPACITY));
    let mut pieces = decode(body.into_stream(), coding);
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
                // Doubles the capacity, but not beyond the maximum.
                bytes.reserve_exact(piece.len().max(max.saturating_sub(bytes.len()).min(bytes.len())));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(())
    };
    platform::timeout(platform, BODY_TIMEOUT, read).await.unwrap_or_else(|| Err(broken()))?;
    Ok(Collected { bytes, reservation })
}

/// Returns the content coding of a body.
///
/// # Errors
/// `unsupported_encoding`, with the name of the coding.
pub(super) fn coding(headers: &Headers) -> Result<Option<Coding>> {
    let header = headers.get("content-encoding");
    Coding::of(header.as_deref()).map_err(|()| {
        let named: String = header.unwrap_or_default().chars().take(60).collect();
        let problem = format!("A body with the Content-Encoding '{named}' cannot be read; send it plain, or as one of gzip, deflate and zstd.");
        Error::new(ErrorKind::UnsupportedEncoding, problem)
    })
}

/// Returns the body without its content coding.
pub(super) fn decode(body: ByteStream, coding: Option<Coding>) -> ByteStream {
    match coding {
        Some(coding) => Box::pin(decoded(body, coding)),
        None => body,
    }
}

/// The error of a body that does not match its `Content-Encoding`.
pub(super) fn undecodable() -> Error {
    Error::new(ErrorKind::InvalidRequest, "The request body is not packed as its Content-Encoding says, or breaks off.")
}

/// Parses a body as JSON.
///
/// # Errors
/// `invalid_json`
pub(super) fn json(body: &[u8]) -> Result<Json> {
    let text = client_text(body).ok_or_else(|| Error::invalid_json("it is not UTF-8"))?;
    let replaced = without_lone_surrogates(&text);
    serde_json::from_str(replaced.as_deref().unwrap_or(&text)).map_err(Error::invalid_json)
}

/// A whole body with its share of the memory budget.
pub(super) struct Collected {
    bytes: Vec<u8>,
    reservation: Reservation,
}

impl Collected {
    /// The same once more, with a share of its own.
    ///
    /// # Errors
    /// `overloaded` when there is no memory for it.
    pub(super) fn copy(&self, memory: &MemoryBudget) -> Result<Self> {
        let mut reservation = memory.reservation();
        reservation.grow(self.bytes.len())?;
        Ok(Self { bytes: self.bytes.clone(), reservation })
    }

    /// Drops the body and returns its share of the memory budget, for what was parsed from it.
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

/// The memory that is left for the bodies of all requests, in bytes.
#[derive(Clone, Debug)]
pub(super) struct MemoryBudget(Arc<AtomicUsize>);

impl MemoryBudget {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// Returns an empty reservation.
    pub(super) fn reservation(&self) -> Reservation {
        Reservation { memory: self.clone(), bytes: 0 }
    }
}

/// A share of the memory budget. Dropping it returns the share.
pub(super) struct Reservation {
    memory: MemoryBudget,
    bytes: usize,
}

impl Reservation {
    /// Reserves more bytes.
    ///
    /// # Errors
    /// `overloaded` when less than that is left.
    pub(super) fn grow(&mut self, more: usize) -> Result<()> {
        let take = |left: usize| left.checked_sub(more);
        if self.memory.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            return Err(overloaded());
        }
        self.bytes = self.bytes.saturating_add(more);
        Ok(())
    }
}

/// The error of a request for which no memory is left.
pub(super) fn overloaded() -> Error {
    let message = "This server is busy with as many large requests as it can hold. Send the request again later.";
    Error::new(ErrorKind::Overloaded, message).with_retry_after(RETRY_AFTER)
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
    fn reservations_are_bounded_and_returned_on_drop() {
        let memory = MemoryBudget::new(10);
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
