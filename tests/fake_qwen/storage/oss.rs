//! The object storage: reads a request's body as it comes, and answers.

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
use super::faults::{Stage, Trouble};
use super::sign::{self, Query};
use super::spool::{Blob, Spool, etag};
use super::{Place, Stored, check, form, name_of, uploads};

/// The most that one request may bring.
pub(super) const MAX_OBJECT: u64 = 5 << 30;
/// How much of an unwanted body is read before the answer.
const MAX_DRAINED: u64 = 64 << 20;

/// A request that gets no answer.
#[derive(Debug)]
pub(in super::super) enum Cut {
    /// A fault says so.
    ByFake,
    /// The sender left.
    ByPeer,
}

/// A refusal, or no answer at all.
pub(super) enum Stop {
    Refused(OssError),
    Cut(Cut),
}

impl From<OssError> for Stop {
    fn from(error: OssError) -> Stop {
        Stop::Refused(error)
    }
}

impl From<Cut> for Stop {
    fn from(cut: Cut) -> Stop {
        Stop::Cut(cut)
    }
}

/// A body on its way in, with what a fault does to it.
pub(super) struct Intake {
    body: Incoming,
    /// Bytes until the connection ends.
    left: Option<u64>,
    bytes_per_second: Option<u64>,
}

impl Intake {
    pub(super) fn new(body: Incoming) -> Intake {
        Intake { body, left: None, bytes_per_second: None }
    }

    pub(super) fn suffer(&mut self, trouble: Option<&Trouble>) {
        match trouble {
            Some(Trouble::Drop(bytes)) => self.left = Some(*bytes),
            Some(Trouble::SlowRead(speed)) => self.bytes_per_second = Some((*speed).max(1)),
            _ => {}
        }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Cut> {
        loop {
            if self.left == Some(0) {
                return Err(Cut::ByFake);
            }
            let frame = match self.body.frame().await {
                Some(Ok(frame)) => frame,
                Some(Err(_)) => return Err(Cut::ByPeer),
                None => return Ok(None),
            };
            let Ok(bytes) = frame.into_data() else { continue };
            if let Some(left) = &mut self.left {
                *left = left.saturating_sub(bytes.len() as u64);
            }
            if let Some(speed) = self.bytes_per_second {
                tokio::time::sleep(Duration::from_secs_f64(bytes.len() as f64 / speed as f64)).await;
            }
            return Ok(Some(bytes));
        }
    }

    /// Reads on without looking, so that the sender reads the answer; not for ever.
    pub(super) async fn drain(&mut self) -> Result<(), Cut> {
        let mut read = 0;
        while read < MAX_DRAINED {
            match self.next().await? {
                Some(bytes) => read += bytes.len() as u64,
                None => break,
            }
        }
        Ok(())
    }

    /// A short body, whole.
    pub(super) async fn short(&mut self) -> Result<Vec<u8>, Stop> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await? {
            all.extend_from_slice(&bytes);
            if all.len() > 2 << 20 {
                return Err(OssError::new("MalformedXML").into());
            }
        }
        Ok(all)
    }

    pub(super) async fn spool(&mut self) -> Result<Blob, Cut> {
        let mut spool = Spool::default();
        while let Some(bytes) = self.next().await? {
            spool.push(&bytes);
        }
        Ok(spool.finish())
    }
}

/// The answer to a request to the storage.
pub(in super::super) async fn answer(
    shared: &Shared,
    parts: &Parts,
    place: Place,
    body: Incoming,
) -> Result<Reply, Cut> {
    let mut intake = Intake::new(body);
    let result = match place {
        Place::Form => form::post(shared, parts, &mut intake).await,
        Place::Key(key) => object(shared, parts, &key, &mut intake).await,
    };
    match result {
        Ok(reply) => Ok(reply),
        Err(Stop::Cut(cut)) => Err(cut),
        Err(Stop::Refused(error)) => {
            intake.drain().await?;
            Ok(error.reply())
        }
    }
}

/// What is asked of an object.
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

async fn object(shared: &Shared, parts: &Parts, key: &str, intake: &mut Intake) -> Result<Reply, Stop> {
    let query = Query::of(parts.uri.query().unwrap_or_default());
    let method = parts.method.as_str();
    let operation = Operation::of(method, &query).ok_or_else(|| OssError::new("MethodNotAllowed"))?;
    let trouble = {
        let mut storage = shared.storage.lock().unwrap();
        check::request(&storage, method, key, &query, &parts.headers)?;
        storage.faults.take(operation.stage(), name_of(key))
    };
    if !matches!(operation, Operation::Get { .. }) {
        intake.suffer(trouble.as_ref());
    }
    fail(trouble.as_ref())?;
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
        Operation::Get { head } => get(shared, key, head, trouble.as_ref())?,
    };
    delay(&mut reply, trouble.as_ref());
    Ok(reply)
}

/// The refusal that a fault asks for.
pub(super) fn fail(trouble: Option<&Trouble>) -> Result<(), OssError> {
    match trouble {
        Some(Trouble::Status(status)) => Err(OssError::of_status(*status)),
        Some(Trouble::Error(code)) => Err(OssError::new(code)),
        _ => Ok(()),
    }
}

pub(super) fn delay(reply: &mut Reply, trouble: Option<&Trouble>) {
    if let (Start::After(own), Some(Trouble::Late(late))) = (&mut reply.start, trouble) {
        *own += *late;
    }
}

/// The announced length; an upload without one is refused.
pub(super) fn length(headers: &HeaderMap) -> Result<u64, OssError> {
    let length = sign::header(headers, "content-length").parse().map_err(|_| OssError::new("MissingContentLength"))?;
    if length > MAX_OBJECT {
        return Err(OssError::new("EntityTooLarge").with("MaxSizeAllowed", MAX_OBJECT.to_string()));
    }
    Ok(length)
}

/// Compares `Content-MD5`, if it was sent.
pub(super) fn check_md5(headers: &HeaderMap, md5: &[u8]) -> Result<(), OssError> {
    let sent = sign::header(headers, "content-md5");
    if sent.is_empty() || sent == STANDARD.encode(md5) {
        return Ok(());
    }
    Err(OssError::new("InvalidDigest").with("ExpectedDigest", sent).with("CalculatedDigest", STANDARD.encode(md5)))
}

async fn put(shared: &Shared, key: &str, headers: &HeaderMap, intake: &mut Intake) -> Result<Reply, Stop> {
    length(headers)?;
    let blob = intake.spool().await?;
    check_md5(headers, &blob.md5)?;
    let etag = etag(&blob.md5);
    let stored = Stored { content_type: sign::header(headers, "content-type"), etag: etag.clone(), blob };
    shared.storage.lock().unwrap().store(key, stored);
    Ok(errors::done(200, None).header("etag", etag))
}

fn get(shared: &Shared, key: &str, head: bool, trouble: Option<&Trouble>) -> Result<Reply, Stop> {
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
        None => return Ok(Reply::whole(501, "text/plain", "the fake keeps no object of this size")),
    };
    let mut reply = reply.header("etag", stored.etag.clone()).header("server", "AliyunOSS");
    if let (Some(Trouble::Drop(after)), Some(Step::Bytes(bytes))) = (trouble, reply.steps.first_mut()) {
        let length = bytes.len();
        bytes.truncate(usize::try_from(*after).unwrap_or(usize::MAX));
        reply.sized = false;
        reply = reply.header("content-length", length.to_string());
        reply.steps.extend([Step::Pause(Duration::from_millis(20)), Step::Abort]);
    }
    Ok(reply)
}
