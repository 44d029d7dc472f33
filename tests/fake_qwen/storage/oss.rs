//! The object storage: reads the request body as it arrives, and answers.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::Incoming;
use hyper::http::request::Parts;

use super::super::Shared;
use super::super::body::{Reply, Start, Step};
use super::errors::{self, OssError};
use super::faults::{FaultKind, Stage};
use super::sign::{self, Query};
use super::spool::{Blob, Spool, etag};
use super::{Stored, Target, check, form, name_of, uploads};

/// The size limit of one request.
pub(super) const MAX_OBJECT_BYTES: u64 = 5 << 30;
/// The part of an unused body that is read before the response.
const MAX_DRAINED_BYTES: u64 = 64 << 20;

/// A request without a response.
#[derive(Debug)]
pub(in super::super) enum Disconnect {
    /// A fault closes the connection.
    ByFake,
    /// The client closed the connection.
    ByPeer,
}

/// An error response, or no response.
pub(super) enum RequestFailure {
    Error(OssError),
    Disconnect(Disconnect),
}

impl From<OssError> for RequestFailure {
    fn from(error: OssError) -> RequestFailure {
        RequestFailure::Error(error)
    }
}

impl From<Disconnect> for RequestFailure {
    fn from(disconnect: Disconnect) -> RequestFailure {
        RequestFailure::Disconnect(disconnect)
    }
}

/// A request body and the faults that apply to it.
pub(super) struct Intake {
    body: Incoming,
    /// The number of bytes before the connection is closed.
    bytes_left: Option<u64>,
    bytes_per_second: Option<u64>,
}

impl Intake {
    pub(super) fn new(body: Incoming) -> Intake {
        Intake { body, bytes_left: None, bytes_per_second: None }
    }

    pub(super) fn apply(&mut self, fault: Option<&FaultKind>) {
        match fault {
            Some(FaultKind::Drop(bytes)) => self.bytes_left = Some(*bytes),
            Some(FaultKind::SlowRead(speed)) => self.bytes_per_second = Some((*speed).max(1)),
            _ => {}
        }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Disconnect> {
        loop {
            if self.bytes_left == Some(0) {
                return Err(Disconnect::ByFake);
            }
            let frame = match self.body.frame().await {
                Some(Ok(frame)) => frame,
                Some(Err(_)) => return Err(Disconnect::ByPeer),
                None => return Ok(None),
            };
            let Ok(bytes) = frame.into_data() else { continue };
            if let Some(left) = &mut self.bytes_left {
                *left = left.saturating_sub(bytes.len() as u64);
            }
            if let Some(speed) = self.bytes_per_second {
                tokio::time::sleep(Duration::from_secs_f64(bytes.len() as f64 / speed as f64)).await;
            }
            return Ok(Some(bytes));
        }
    }

    /// Discards the rest of the body, up to a limit, so that the client reads the response.
    pub(super) async fn drain(&mut self) -> Result<(), Disconnect> {
        let mut read = 0;
        while read < MAX_DRAINED_BYTES {
            match self.next().await? {
                Some(bytes) => read += bytes.len() as u64,
                None => break,
            }
        }
        Ok(())
    }

    /// Reads a whole body of at most 2 MiB.
    pub(super) async fn short(&mut self) -> Result<Vec<u8>, RequestFailure> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await? {
            all.extend_from_slice(&bytes);
            if all.len() > 2 << 20 {
                return Err(OssError::new("MalformedXML").into());
            }
        }
        Ok(all)
    }

    pub(super) async fn spool(&mut self) -> Result<Blob, Disconnect> {
        let mut spool = Spool::default();
        while let Some(bytes) = self.next().await? {
            spool.push(&bytes);
        }
        Ok(spool.finish())
    }
}

/// Answers a storage request.
pub(in super::super) async fn answer(
    shared: &Shared,
    parts: &Parts,
    target: Target,
    body: Incoming,
) -> Result<Reply, Disconnect> {
    let mut intake = Intake::new(body);
    let result = match target {
        Target::Form => form::post(shared, parts, &mut intake).await,
        Target::Key(key) => object(shared, parts, &key, &mut intake).await,
    };
    match result {
        Ok(reply) => Ok(reply),
        Err(RequestFailure::Disconnect(disconnect)) => Err(disconnect),
        Err(RequestFailure::Error(error)) => {
            intake.drain().await?;
            Ok(error.reply())
        }
    }
}

/// An operation on an object.
enum Operation<'a> {
    Put,
    Initiate,
    Part { number: &'a str, upload: &'a str },
    Complete { upload: &'a str },
    Abort { upload: &'a str },
    Get { head: bool },
}

impl Operation<'_> {
    fn of<'a>(method: &str, query: &'a Query) -> Option<Operation<'a>> {
        let upload = query.get("uploadId");
        Some(match (method, upload) {
            ("POST", None) if query.has("uploads") => Operation::Initiate,
            ("POST", Some(upload)) => Operation::Complete { upload },
            ("PUT", Some(upload)) => Operation::Part { number: query.get("partNumber")?, upload },
            ("PUT", None) => Operation::Put,
            ("DELETE", Some(upload)) => Operation::Abort { upload },
            ("GET", None) => Operation::Get { head: false },
            ("HEAD", None) => Operation::Get { head: true },
            _ => return None,
        })
    }

    fn stage(&self) -> Stage {
        match self {
            Operation::Put => Stage::Put,
            Operation::Initiate => Stage::Initiate,
            Operation::Part { number, .. } => Stage::Part(number.parse().ok()),
            Operation::Complete { .. } => Stage::Complete,
            Operation::Abort { .. } => Stage::Abort,
            Operation::Get { .. } => Stage::Get,
        }
    }
}

async fn object(shared: &Shared, parts: &Parts, key: &str, intake: &mut Intake) -> Result<Reply, RequestFailure> {
    let query = Query::of(parts.uri.query().unwrap_or_default());
    let method = parts.method.as_str();
    let operation = Operation::of(method, &query).ok_or_else(|| OssError::new("MethodNotAllowed"))?;
    let fault = {
        let mut storage = shared.storage.lock().unwrap();
        check::request(&storage, method, key, &query, &parts.headers)?;
        storage.faults.take(operation.stage(), name_of(key))
    };
    if !matches!(operation, Operation::Get { .. }) {
        intake.apply(fault.as_ref());
    }
    fail(fault.as_ref())?;
    let mut reply = match operation {
        Operation::Put => put(shared, key, &parts.headers, intake).await?,
        Operation::Initiate => uploads::initiate(shared, key, &query, &parts.headers)?,
        Operation::Part { number, upload } => {
            uploads::part(shared, key, upload, number, &parts.headers, intake).await?
        }
        Operation::Complete { upload } => {
            let body = intake.short().await?;
            uploads::complete(shared, key, upload, &parts.headers, &body)?
        }
        Operation::Abort { upload } => uploads::abort(shared, key, upload)?,
        Operation::Get { head } => get(shared, key, head, fault.as_ref())?,
    };
    delay(&mut reply, fault.as_ref());
    Ok(reply)
}

/// Returns the error of a fault.
pub(super) fn fail(fault: Option<&FaultKind>) -> Result<(), OssError> {
    match fault {
        Some(FaultKind::Status(status)) => Err(OssError::of_status(*status)),
        Some(FaultKind::Error(code)) => Err(OssError::new(code)),
        _ => Ok(()),
    }
}

pub(super) fn delay(reply: &mut Reply, fault: Option<&FaultKind>) {
    if let (Start::After(start), Some(FaultKind::Delay(delay))) = (&mut reply.start, fault) {
        *start += *delay;
    }
}

/// The declared length; an upload without one is rejected.
pub(super) fn length(headers: &HeaderMap) -> Result<u64, OssError> {
    let length = sign::header(headers, "content-length").parse().map_err(|_| OssError::new("MissingContentLength"))?;
    if length > MAX_OBJECT_BYTES {
        return Err(OssError::new("EntityTooLarge").with("MaxSizeAllowed", MAX_OBJECT_BYTES.to_string()));
    }
    Ok(length)
}

/// Checks `Content-MD5`, if it was sent.
pub(super) fn check_md5(headers: &HeaderMap, md5: &[u8]) -> Result<(), OssError> {
    let sent = sign::header(headers, "content-md5");
    if sent.is_empty() || sent == STANDARD.encode(md5) {
        return Ok(());
    }
    Err(OssError::new("InvalidDigest").with("ExpectedDigest", sent).with("CalculatedDigest", STANDARD.encode(md5)))
}

async fn put(shared: &Shared, key: &str, headers: &HeaderMap, intake: &mut Intake) -> Result<Reply, RequestFailure> {
    length(headers)?;
    let blob = intake.spool().await?;
    check_md5(headers, &blob.md5)?;
    let etag = etag(&blob.md5);
    let stored = Stored { content_type: sign::header(headers, "content-type"), etag: etag.clone(), blob };
    shared.storage.lock().unwrap().store(key, stored);
    Ok(errors::success(200, None).header("etag", etag))
}

fn get(shared: &Shared, key: &str, head: bool, fault: Option<&FaultKind>) -> Result<Reply, RequestFailure> {
    let storage = shared.storage.lock().unwrap();
    let stored = storage.object(key).ok_or_else(|| OssError::new("NoSuchKey").with("Key", key))?;
    let content_type = match stored.content_type.as_str() {
        "" => "application/octet-stream",
        content_type => content_type,
    };
    let reply = match stored.blob.whole() {
        _ if head => {
            let size = stored.blob.size.to_string();
            Reply { sized: false, ..Reply::whole(200, content_type, "") }.header("content-length", size)
        }
        Some(bytes) => Reply::whole(200, content_type, Bytes::copy_from_slice(bytes)),
        None => return Ok(Reply::whole(501, "text/plain", "the fake does not store objects of this size")),
    };
    let mut reply = reply.header("etag", stored.etag.clone()).header("server", "AliyunOSS");
    if let (Some(FaultKind::Drop(after)), Some(Step::Bytes(bytes))) = (fault, reply.steps.first_mut()) {
        let length = bytes.len();
        bytes.truncate(usize::try_from(*after).unwrap_or(usize::MAX));
        reply.sized = false;
        reply = reply.header("content-length", length.to_string());
        reply.steps.extend([Step::Pause(Duration::from_millis(20)), Step::Abort]);
    }
    Ok(reply)
}
