//! `multipart/form-data` from the client's socket, one field after the other, never as a whole in memory.

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

use super::body::{Reservation, coding, undecodable, unpacked};
use crate::{
    error::{Error, ErrorKind, Result},
    platform::{self, BoxStream, ByteStream, FetchError, FetchErrorKind, Headers, Platform, RequestBody},
    surrogates::client_text,
};

/// How long a client may take for the next piece of its body.
const PIECE_PATIENCE: Duration = Duration::from_secs(120);
/// What all fields but the file may have together, with their headers.
const MAX_FIELD_BYTES: u64 = 8 * 1024 * 1024;
/// How much is read in search of the next field's headers.
const MAX_HEADERS: usize = 64 * 1024;
const MAX_FIELDS: usize = 100;
/// How many characters of a field's name count; no field of ours has more.
const MAX_NAME: usize = 100;
/// How long the texts of all fields may be together.
const MAX_TEXT: usize = 8 * 1024 * 1024;

/// A form on its way in.
pub(super) struct Form {
    multipart: Multipart<'static>,
    room: Arc<AtomicUsize>,
    fields: usize,
    /// How long the whole body is, as declared.
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
    /// A form whose file may have up to `limit` bytes.
    pub(super) fn open(platform: &impl Platform, headers: &Headers, body: RequestBody, limit: u64) -> Result<Self> {
        let content_type = headers.get("content-type").unwrap_or_default();
        let coding = coding(headers)?;
        // What is packed has no known length.
        let length = body.length().filter(|_| coding.is_none());
        let body = platform::patient(platform, body.into_stream(), PIECE_PATIENCE);
        Self::read(&content_type, length, unpacked(body, coding), limit)
    }

    /// The same from a stream.
    pub(super) fn read(content_type: &str, length: Option<u64>, body: ByteStream, limit: u64) -> Result<Self> {
        let boundary = multer::parse_boundary(content_type).map_err(|_| {
            Error::new(ErrorKind::InvalidRequest, "Send the file as multipart/form-data, as 'curl -F file=@NAME' does.")
        })?;
        let most = limit.saturating_add(MAX_FIELD_BYTES);
        if length.is_some_and(|length| length > most) {
            return Err(too_large(limit));
        }
        let room = Arc::new(AtomicUsize::new(MAX_HEADERS));
        let turns: ByteStream = Box::pin(Turns { body, given: false, room: Arc::clone(&room) });
        let limits = Constraints::new().size_limit(SizeLimit::new().whole_stream(most));
        let multipart = Multipart::with_constraints(platform::sendable(turns), boundary, limits);
        Ok(Self { multipart, room, fields: 0, length })
    }

    /// The next field; the one before must have been read to its end.
    pub(super) async fn next(&mut self) -> Result<Option<Field>> {
        self.fields = self.fields.saturating_add(1);
        if self.fields > MAX_FIELDS {
            return Err(invalid("The form has too many fields."));
        }
        self.room.store(MAX_HEADERS, Ordering::Relaxed);
        let field = self.multipart.next_field().await.map_err(|error| form_error(&error))?;
        self.room.store(usize::MAX, Ordering::Relaxed);
        Ok(field.map(|field| Field {
            name: field.name().unwrap_or_default().chars().take(MAX_NAME).collect(),
            file_name: extended_name(&field).or_else(|| field.file_name().map(str::to_owned)),
            content_type: field.content_type().map(ToString::to_string),
            field,
        }))
    }
}

impl Field {
    async fn piece(&mut self) -> Result<Option<Bytes>> {
        self.field.chunk().await.map_err(|error| form_error(&error))
    }

    /// The field's content as it comes.
    pub(super) fn content(self) -> BoxStream<Result<Bytes>> {
        Box::pin(self.field.map(|piece| piece.map_err(|error| form_error(&error))))
    }
}

/// The texts of a form's fields, bounded together.
pub(super) struct Texts {
    wanted: &'static [&'static str],
    texts: Vec<(String, String)>,
    length: usize,
    reservation: Reservation,
}

impl Texts {
    /// None yet. Fields of other names than `wanted` are not kept.
    pub(super) fn new(wanted: &'static [&'static str], reservation: Reservation) -> Self {
        Self { wanted, texts: Vec::new(), length: 0, reservation }
    }

    /// Reads a field to its end.
    pub(super) async fn add(&mut self, mut field: Field) -> Result<()> {
        if !self.wanted.contains(&field.name.as_str()) {
            while field.piece().await?.is_some() {}
            return Ok(());
        }
        let mut text = Vec::new();
        while let Some(piece) = field.piece().await? {
            self.length = self.length.saturating_add(piece.len());
            if self.length > MAX_TEXT {
                let message = format!("The form's texts are longer than {} MiB.", MAX_TEXT / 1024 / 1024);
                return Err(Error::new(ErrorKind::RequestTooLarge, message).with_param(field.name));
            }
            self.reservation.grow(piece.len())?;
            text.extend_from_slice(&piece);
        }
        let Some(text) = client_text(&text) else {
            let message = format!("The field '{}' is not UTF-8.", field.name);
            return Err(Error::invalid(field.name, message));
        };
        self.texts.push((field.name, text.into_owned()));
        Ok(())
    }

    /// A field's text; the last one of that name counts.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.texts.iter().rposition(|(known, _)| known == name)?;
        Some(self.texts.swap_remove(at).1)
    }

    /// The memory that they take.
    pub(super) fn into_reservation(self) -> Reservation {
        self.reservation
    }
}

/// `filename*` (RFC 8187), which some clients send for names beyond ASCII.
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

/// Gives one piece, then lets the reader have its turn: it would read on as long as something is there, and hold it all.
/// While `room` is limited, not more than that is given.
struct Turns {
    body: ByteStream,
    given: bool,
    room: Arc<AtomicUsize>,
}

impl Stream for Turns {
    type Item = Result<Bytes, FetchError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if std::mem::take(&mut this.given) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let room = this.room.load(Ordering::Relaxed);
        let piece = ready!(this.body.poll_next_unpin(cx));
        Poll::Ready(match piece {
            Some(Ok(_)) if room == 0 => {
                let detail = "the headers of a form are too long".to_owned();
                Some(Err(FetchError { kind: FetchErrorKind::Broken, detail }))
            }
            Some(Ok(piece)) => {
                this.given = true;
                if room != usize::MAX {
                    this.room.store(room.saturating_sub(piece.len()), Ordering::Relaxed);
                }
                Some(Ok(piece))
            }
            other => other,
        })
    }
}
