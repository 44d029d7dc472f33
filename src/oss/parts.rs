//! Multipart upload of a large object: initiate, upload several parts concurrently, complete; or abort, so that no part is left
//! behind.

use std::{pin::Pin, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, channel::oneshot, future::poll_fn, stream::FuturesUnordered};
use http::Method;

use super::network::Network;
use super::object::{Answer, Failure, Object, element};
use crate::platform::{self, BoxFuture, Payload};

/// The size of each part but the last, in bytes.
pub const PART: usize = 5 * 1024 * 1024;
/// The number of concurrent uploads of parts. One more part waits or is being filled, so at most four are in memory.
const MAX_IN_FLIGHT: usize = 3;
/// The number of attempts for each request, and the pause before the second one, which doubles with each attempt.
const MAX_ATTEMPTS: u32 = 3;
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// How long an abort waits for parts in flight. The storage may keep a part that arrives after the abort.
const ABORT_TIMEOUT: Duration = Duration::from_secs(15);
/// The storage's code for an upload that is already completed or aborted.
const UNKNOWN_UPLOAD: &str = "NoSuchUpload";

/// Why an object was not stored.
#[derive(Debug)]
pub enum MultipartError<E> {
    /// The source of its bytes failed.
    Source(E),
    /// A request to the storage failed.
    Storage(Failure),
}

impl<E> From<Failure> for MultipartError<E> {
    fn from(failure: Failure) -> Self {
        Self::Storage(failure)
    }
}

/// The upload of a part; resolves to the part's index and ETag.
type Sending = BoxFuture<Result<(usize, String), Failure>>;

/// An upload in progress. Dropping it without [`Upload::complete`] aborts it, even after the client has left.
pub struct Upload<P: Network> {
    platform: P,
    object: Arc<Object>,
    id: String,
    sending: FuturesUnordered<Sending>,
    /// The ETag of each part in order; `None` while it is in flight.
    etags: Vec<Option<String>>,
    is_completed: bool,
}

impl<P: Network> Drop for Upload<P> {
    fn drop(&mut self) {
        if self.is_completed {
            return;
        }
        let (platform, object, id) = (self.platform.detached(), Arc::clone(&self.object), std::mem::take(&mut self.id));
        let mut sending = std::mem::take(&mut self.sending);
        self.platform.defer(async move {
            let in_flight = async { while sending.next().await.is_some() {} };
            platform::timeout(&platform, ABORT_TIMEOUT, in_flight).await;
            drop(sending);
            abort(&platform, &object, &id).await;
        });
    }
}

async fn initiate(platform: &impl Network, object: &Object, content_type: &str) -> Result<String, Failure> {
    let (_, initiated) =
        object.send_with_retries(platform, Method::POST, &[("uploads", None)], content_type, Payload::default()).await;
    let answer = initiated?;
    let id = element(&answer.body, "UploadId").filter(|id| !id.is_empty());
    id.map(str::to_owned).ok_or_else(|| Failure::unexpected("an upload without an id"))
}

async fn abort(platform: &impl Network, object: &Object, id: &str) {
    let query = [("uploadId", Some(id))];
    match object.send_with_retries(platform, Method::DELETE, &query, "", Payload::default()).await {
        (_, Err(failure)) if failure.code != UNKNOWN_UPLOAD => {
            tracing::warn!(%failure, "an upload was not aborted; its parts stay until the storage cleans up");
        }
        _ => {}
    }
}

impl Object {
    /// Uploads the parts that `parts` returns. Each has the size [`PART`]; the last one may be shorter. The object exists once
    /// the upload is completed.
    ///
    /// # Errors
    /// The first failure of the source, or of the storage after three attempts.
    pub async fn put_parts<P, S, E>(
        self: &Arc<Self>,
        platform: &P,
        content_type: &str,
        mut parts: S,
    ) -> Result<Upload<P>, MultipartError<E>>
    where
        P: Network,
        S: Stream<Item = Result<Bytes, E>> + Unpin,
    {
        let mut upload = self.initiate_detached(platform, content_type).await?;
        let (mut waiting, mut ended) = (None, false);
        poll_fn(|cx| {
            loop {
                let mut has_progress = false;
                if waiting.is_none() && !ended {
                    match Pin::new(&mut parts).poll_next(cx) {
                        Poll::Ready(Some(Ok(part))) => (waiting, has_progress) = (Some(part), true),
                        Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(MultipartError::Source(error))),
                        Poll::Ready(None) => (ended, has_progress) = (true, true),
                        Poll::Pending => {}
                    }
                }
                if upload.sending.len() < MAX_IN_FLIGHT
                    && let Some(part) = waiting.take()
                {
                    upload.send(part);
                    has_progress = true;
                }
                match upload.sending.poll_next_unpin(cx) {
                    Poll::Ready(Some(Ok((index, etag)))) => {
                        if let Some(slot) = upload.etags.get_mut(index) {
                            *slot = Some(etag);
                        }
                        has_progress = true;
                    }
                    Poll::Ready(Some(Err(failure))) => return Poll::Ready(Err(failure.into())),
                    Poll::Ready(None) if ended && waiting.is_none() => return Poll::Ready(Ok(())),
                    Poll::Ready(None) | Poll::Pending => {}
                }
                if !has_progress {
                    return Poll::Pending;
                }
            }
        })
        .await?;
        Ok(upload)
    }

    /// Sends a request, and repeats it after a transient failure. Returns the number of attempts and the last result.
    async fn send_with_retries(
        &self,
        platform: &impl Network,
        method: Method,
        query: &[(&str, Option<&str>)],
        content_type: &str,
        body: Payload,
    ) -> (u32, Result<Answer, Failure>) {
        let (mut attempts, mut pause) = (1, RETRY_PAUSE);
        loop {
            match self.send(platform, method.clone(), query, content_type, body.clone()).await {
                Err(failure) if failure.is_transient() && attempts < MAX_ATTEMPTS => {
                    tracing::warn!(%failure, "the storage failed; trying again");
                    platform.sleep(pause).await;
                    pause = pause.saturating_mul(2);
                    attempts = attempts.saturating_add(1);
                }
                result => return (attempts, result),
            }
        }
    }

    /// Initiates an upload. The request completes even if the client leaves, because without the upload's id nobody could abort
    /// it.
    async fn initiate_detached<P: Network>(
        self: &Arc<Self>,
        platform: &P,
        content_type: &str,
    ) -> Result<Upload<P>, Failure> {
        let (sender, receiver) = oneshot::channel();
        let (object, detached, content_type) = (Arc::clone(self), platform.detached(), content_type.to_owned());
        platform.defer(async move {
            let initiated = initiate(&detached, &object, &content_type).await;
            if let Err(Ok(id)) = sender.send(initiated) {
                abort(&detached, &object, &id).await;
            }
        });
        let id = receiver.await.unwrap_or_else(|_| Err(Failure::unexpected("the upload was not initiated")))?;
        Ok(Upload {
            platform: platform.clone(),
            object: Arc::clone(self),
            id,
            sending: FuturesUnordered::new(),
            etags: Vec::new(),
            is_completed: false,
        })
    }
}

impl<P: Network> Upload<P> {
    /// Starts the upload of the next part.
    fn send(&mut self, part: Bytes) {
        let (platform, object, id) = (self.platform.clone(), Arc::clone(&self.object), self.id.clone());
        let index = self.etags.len();
        self.etags.push(None);
        self.sending.push(Box::pin(async move {
            let number = index.saturating_add(1).to_string();
            let query = [("partNumber", Some(number.as_str())), ("uploadId", Some(id.as_str()))];
            let answer = object.send_with_retries(&platform, Method::PUT, &query, "", part.into()).await.1?;
            let is_valid =
                |etag: &&str| !etag.is_empty() && etag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            let etag =
                answer.headers.get("etag").and_then(|etag| etag.to_str().ok()).map(|etag| etag.trim_matches('"'));
            let etag = etag.filter(is_valid).ok_or_else(|| Failure::unexpected("a part without an ETag"))?;
            Ok((index, etag.to_owned()))
        }));
    }

    /// Completes the upload, which creates the object.
    ///
    /// # Errors
    /// The storage's failure after three attempts.
    pub async fn complete(mut self) -> Result<(), Failure> {
        let mut xml = String::from("<CompleteMultipartUpload>");
        for (index, etag) in self.etags.iter().enumerate() {
            let (number, etag) = (index.saturating_add(1), etag.as_deref().unwrap_or_default());
            xml.push_str(&format!("<Part><PartNumber>{number}</PartNumber><ETag>\"{etag}\"</ETag></Part>"));
        }
        xml.push_str("</CompleteMultipartUpload>");
        let query = [("uploadId", Some(self.id.as_str()))];
        let body = Payload::from(Bytes::from(xml));
        match self.object.send_with_retries(&self.platform, Method::POST, &query, "application/xml", body).await {
            // The answer to an earlier attempt was lost.
            (2.., Err(failure)) if failure.code == UNKNOWN_UPLOAD => {}
            (_, completed) => drop(completed?),
        }
        self.is_completed = true;
        Ok(())
    }
}
