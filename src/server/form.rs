//! Reads `multipart/form-data` field by field as it arrives. The form is never in memory as a whole.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use multer::{Constraints, Multipart, SizeLimit};
use percent_encoding::percent_decode_str;

use super::body::{Reservation, coding, decode, undecodable};
use crate::{
    error::{Error, ErrorKind, Result},
    platform::{self, BoxStream, ByteStream, FetchError, FetchErrorKind, Headers, Platform, RequestBody},
    surrogates::client_text,
};

/// How long a client may take for the next chunk of its body.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(120);
/// The maximum size of all fields except the file together, with their headers. In bytes.
const MAX_FIELD_BYTES: u64 = 8 * 1024 * 1024;
/// How many bytes are read until the next field's headers are complete.
const MAX_HEADER_BYTES: usize = 64 * 1024;
const MAX_FIELDS: usize = 100;
/// How many characters of a field's name are kept. All known names are shorter.
const MAX_NAME_CHARS: usize = 100;
/// The maximum size of all text fields together, in bytes.
const MAX_TEXT_BYTES: usize = 8 * 1024 * 1024;

/// Whether the body of a request is a form with parts.
pub(super) fn is_form(headers: &Headers) -> bool {
    let content_type = headers.get("content-type").unwrap_or_default().to_ascii_lowercase();
    content_type.trim_start().starts_with("multipart/")
}

/// A form whose fields are still to be read.
pub(super) struct Form {
    multipart: Multipart<'static>,
    remaining: Arc<AtomicUsize>,
    fields: usize,
    /// The declared length of the whole body, in bytes.
    pub(super) length: Option<u64>,
}

/// One field of a form.
pub(super) struct Field {
    field: multer::Field<'static>,
    pub(super) name: String,
    pub(super) file_name: Option<String>,
    pub(super) content_type: Option<String>,
}

impl Form {
    /// Opens a form whose file may have up to `limit` bytes.
    pub(super) fn open(platform: &impl Platform, headers: &Headers, body: RequestBody, limit: u64) -> Result<Self> {
        let content_type = headers.get("content-type").unwrap_or_default();
        let coding = coding(headers)?;
        // The decoded length of a compressed body is unknown.
        let length = body.length().filter(|_| coding.is_none());
        let body = platform::patient(platform, body.into_stream(), CHUNK_TIMEOUT);
        Self::read(&content_type, length, decode(body, coding), limit)
    }

    /// Opens a form from a stream.
    pub(super) fn read(content_type: &str, length: Option<u64>, body: ByteStream, limit: u64) -> Result<Self> {
        let boundary = multer::parse_boundary(content_type).map_err(|_| {
            Error::new(ErrorKind::InvalidRequest, "Send the file as multipart/form-data, as 'curl -F file=@NAME' does.")
        })?;
        let max = limit.saturating_add(MAX_FIELD_BYTES);
        if length.is_some_and(|length| length > max) {
            return Err(too_large(limit));
        }
        let remaining = Arc::new(AtomicUsize::new(MAX_HEADER_BYTES));
        let body: ByteStream = Box::pin(YieldingBody { body, has_yielded: true, remaining: Arc::clone(&remaining) });
        let limits = Constraints::new().size_limit(SizeLimit::new().whole_stream(max));
        let multipart = Multipart::with_constraints(platform::sendable(body), boundary, limits);
        Ok(Self { multipart, remaining, fields: 0, length })
    }

    /// Returns the next field. The field before it must have been read to its end.
    pub(super) async fn next(&mut self) -> Result<Option<Field>> {
        self.fields = self.fields.saturating_add(1);
        if self.fields > MAX_FIELDS {
            return Err(invalid("The form has too many fields."));
        }
        self.remaining.store(MAX_HEADER_BYTES, Ordering::Relaxed);
        let field = self.multipart.next_field().await.map_err(|error| form_error(&error))?;
        self.remaining.store(usize::MAX, Ordering::Relaxed);
        Ok(field.map(|field| Field {
            name: field.name().unwrap_or_default().chars().take(MAX_NAME_CHARS).collect(),
            file_name: extended_name(&field).or_else(|| field.file_name().map(str::to_owned)),
            content_type: field.content_type().map(ToString::to_string),
            field,
        }))
    }
}

impl Field {
    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        self.field.chunk().await.map_err(|error| form_error(&error))
    }

    /// Returns the content of the field as it arrives.
    pub(super) fn content(self) -> BoxStream<Result<Bytes>> {
        Box::pin(self.field.map(|chunk| chunk.map_err(|error| form_error(&error))))
    }
}

/// The text fields of a form. Their total size is bounded.
pub(super) struct Texts {
    wanted: &'static [&'static str],
    texts: Vec<(String, String)>,
    length: usize,
    reservation: Reservation,
}

impl Texts {
    /// Returns an empty set. Only fields named in `wanted` will be kept.
    pub(super) fn new(wanted: &'static [&'static str], reservation: Reservation) -> Self {
        Self { wanted, texts: Vec::new(), length: 0, reservation }
    }

    /// Reads a field to its end, and keeps it if it is wanted.
    pub(super) async fn add(&mut self, mut field: Field) -> Result<()> {
        if !self.wanted.contains(&field.name.as_str()) {
            while field.chunk().await?.is_some() {}
            return Ok(());
        }
        let mut text = Vec::new();
        while let Some(chunk) = field.chunk().await? {
            self.length = self.length.saturating_add(chunk.len());
            if self.length > MAX_TEXT_BYTES {
                let message = format!("The form's texts are longer than {} MiB.", MAX_TEXT_BYTES / 1024 / 1024);
                return Err(Error::new(ErrorKind::RequestTooLarge, message).with_param(field.name));
            }
            self.reservation.grow(chunk.len())?;
            text.extend_from_slice(&chunk);
        }
        let Some(text) = client_text(&text) else {
            let message = format!("The field '{}' is not UTF-8.", field.name);
            return Err(Error::invalid(field.name, message));
        };
        self.texts.push((field.name, text.into_owned()));
        Ok(())
    }

    /// Takes the text of a field. The last field of that name counts.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.texts.iter().rposition(|(known, _)| known == name)?;
        Some(self.texts.swap_remove(at).1)
    }

    /// Returns the memory that the fields take.
    pub(super) fn into_reservation(self) -> Reservation {
        self.reservation
    }
}

/// Returns the `filename*` (RFC 8187) that some clients send for names outside ASCII.
fn extended_name(field: &multer::Field<'_>) -> Option<String> {
    let disposition = field.headers().get("content-disposition")?.to_str().ok()?;
    let value = disposition.split(';').find_map(|parameter| parameter.trim().strip_prefix("filename*="))?;
    let (charset, rest) = value.split_once('\'')?;
    let (_, encoded) = rest.split_once('\'')?;
    charset.eq_ignore_ascii_case("utf-8").then(|| percent_decode_str(encoded).decode_utf8_lossy().into_owned())
}

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidRequest, message)
}

fn too_large(limit: u64) -> Error {
    let message = format!("The upload is larger than {} MiB; send a smaller file.", limit / 1024 / 1024);
    Error::new(ErrorKind::RequestTooLarge, message)
}

fn form_error(error: &multer::Error) -> Error {
    match error {
        multer::Error::StreamSizeExceeded { limit } => too_large(limit.saturating_sub(MAX_FIELD_BYTES)),
        multer::Error::StreamReadFailed(cause)
            if cause.downcast_ref::<FetchError>().is_some_and(|it| it.kind == FetchErrorKind::Undecodable) =>
        {
            undecodable().with_detail(cause.to_string())
        }
        multer::Error::StreamReadFailed(cause) => {
            invalid("The upload broke off or took too long. Send it again.").with_detail(cause.to_string())
        }
        multer::Error::IncompleteStream
        | multer::Error::IncompleteFieldData { .. }
        | multer::Error::IncompleteHeaders => invalid("The form ends before its last boundary. Send the upload again."),
        _ => invalid("The body is not a well-formed multipart/form-data; let your HTTP library make it."),
    }
}

/// Returns `Pending` once after each chunk. Otherwise multer would read all chunks that are available and keep them in
/// memory.
struct YieldingBody {
    body: ByteStream,
    has_yielded: bool,
    /// How many bytes may still be read. `usize::MAX`: any number.
    remaining: Arc<AtomicUsize>,
}

impl Stream for YieldingBody {
    type Item = Result<Bytes, FetchError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if !std::mem::replace(&mut this.has_yielded, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let remaining = this.remaining.load(Ordering::Relaxed);
        let chunk = ready!(this.body.poll_next_unpin(cx));
        Poll::Ready(match chunk {
            Some(Ok(_)) if remaining == 0 => {
                let detail = "the headers of a form are too long".to_owned();
                Some(Err(FetchError { kind: FetchErrorKind::Broken, detail }))
            }
            Some(Ok(chunk)) => {
                this.has_yielded = false;
                if remaining != usize::MAX {
                    this.remaining.store(remaining.saturating_sub(chunk.len()), Ordering::Relaxed);
                }
                Some(Ok(chunk))
            }
            other => other,
        })
    }
}
