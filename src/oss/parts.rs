//! A large object, in parts: begun, sent with some parts at once, completed; or given up, so that no part stays behind.

use std::{pin::Pin, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, channel::oneshot, future::poll_fn, stream::FuturesUnordered};
use http::Method;

use super::network::Network;
use super::object::{Answer, Failure, Object, element};
use crate::platform::{self, BoxFuture, Payload};

/// The length of each part but the last.
pub const PART: usize = 5 * 1024 * 1024;
/// How many parts are on their way at once. One more waits or fills, so that at most four are in memory.
const AT_ONCE: usize = 3;
/// How often each request is tried, and the pause before it is tried again (twice as long the next time).
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(250);
/// How long parts that are still on their way are waited for before the upload is given up: the storage may keep a part
/// that arrives afterwards.
const LAST_PARTS: Duration = Duration::from_secs(15);
/// The storage's code for an upload that is completed or given up already.
const UNKNOWN_UPLOAD: &str = "NoSuchUpload";

/// Why an object did not come about.
#[derive(Debug)]
pub enum MultipartError<E> {
    /// Its bytes did not come.
    Source(E),
    /// The storage did not take them.
    Storage(Failure),
}

impl<E> From<Failure> for MultipartError<E> {
    fn from(failure: Failure) -> Self {
        Self::Storage(failure)
    }
}

/// A part on its way: its number and what the storage says of it.
type Sending = BoxFuture<Result<(usize, String), Failure>>;

/// An upload that has begun. Unless it is completed it is given up when dropped, also when the client has left.
pub struct Upload<P: Network> {
    platform: P,
    place: Arc<Object>,
    id: String,
    sending: FuturesUnordered<Sending>,
    /// What the storage says of each part, in their order.
    etags: Vec<Option<String>>,
    completed: bool,
}

impl<P: Network> Drop for Upload<P> {
    fn drop(&mut self) {
        if self.completed {
            return;
        }
        let (platform, place, id) = (self.platform.detached(), Arc::clone(&self.place), std::mem::take(&mut self.id));
        let mut sending = std::mem::take(&mut self.sending);
        self.platform.defer(async move {
            let last = async { while sending.next().await.is_some() {} };
            platform::timeout(&platform, LAST_PARTS, last).await;
            drop(sending);
            abort(&platform, &place, &id).await;
        });
    }
}

async fn initiate(platform: &impl Network, place: &Object, content_type: &str) -> Result<String, Failure> {
    let (_, begun) =
        place.ok_or_log(platform, Method::POST, &[("uploads", None)], content_type, Payload::default()).await;
    let answer = begun?;
    let id = element(&answer.body, "UploadId").filter(|id| !id.is_empty());
    id.map(str::to_owned).ok_or_else(|| Failure::odd("no id for the upload"))
}

async fn abort(platform: &impl Network, place: &Object, id: &str) {
    let query = [("uploadId", Some(id))];
    match place.ok_or_log(platform, Method::DELETE, &query, "", Payload::default()).await {
        (_, Err(failure)) if failure.code != UNKNOWN_UPLOAD => {
            tracing::warn!(%failure, "an upload could not be given up; its parts stay until the storage cleans up");
        }
        _ => {}
    }
}

impl Object {
    /// Sends the object in parts, of which `parts` gives one after the other: each [`PART`] long, the last one shorter. The
    /// object is there once the upload is completed.
    ///
    /// # Errors
    /// The first failure of the source, or of the storage after three tries.
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
        let mut upload = self.begin(platform, content_type).await?;
        let (mut waiting, mut ended) = (None, false);
        poll_fn(|cx| {
            loop {
                let mut moved = false;
                if waiting.is_none() && !ended {
                    match Pin::new(&mut parts).poll_next(cx) {
                        Poll::Ready(Some(Ok(part))) => (waiting, moved) = (Some(part), true),
                        Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(MultipartError::Source(error))),
                        Poll::Ready(None) => (ended, moved) = (true, true),
                        Poll::Pending => {}
                    }
                }
                if upload.sending.len() < AT_ONCE
                    && let Some(part) = waiting.take()
                {
                    upload.send(part);
                    moved = true;
                }
                match upload.sending.poll_next_unpin(cx) {
                    Poll::Ready(Some(Ok((index, etag)))) => {
                        if let Some(place) = upload.etags.get_mut(index) {
                            *place = Some(etag);
                        }
                        moved = true;
                    }
                    Poll::Ready(Some(Err(failure))) => return Poll::Ready(Err(failure.into())),
                    Poll::Ready(None) if ended && waiting.is_none() => return Poll::Ready(Ok(())),
                    Poll::Ready(None) | Poll::Pending => {}
                }
                if !moved {
                    return Poll::Pending;
                }
            }
        })
        .await?;
        Ok(upload)
    }

    /// Sends a request, again while it fails for a passing reason. Tells how often it was sent.
    async fn ok_or_log(
        &self,
        platform: &impl Network,
        method: Method,
        query: &[(&str, Option<&str>)],
        content_type: &str,
        body: Payload,
    ) -> (u32, Result<Answer, Failure>) {
        let (mut tries, mut pause) = (1, PAUSE);
        loop {
            match self.send(platform, method.clone(), query, content_type, body.clone()).await {
                Err(failure) if failure.is_passing() && tries < TRIES => {
                    tracing::warn!(%failure, "the storage failed; trying again");
                    platform.sleep(pause).await;
                    pause = pause.saturating_mul(2);
                    tries = tries.saturating_add(1);
                }
                done => return (tries, done),
            }
        }
    }

    /// Begins an upload. The request is seen through even when the client leaves amid it: nobody else knows the id.
    async fn begin<P: Network>(self: &Arc<Self>, platform: &P, content_type: &str) -> Result<Upload<P>, Failure> {
        let (tell, told) = oneshot::channel();
        let (place, background, content_type) = (Arc::clone(self), platform.detached(), content_type.to_owned());
        platform.defer(async move {
            let begun = initiate(&background, &place, &content_type).await;
            if let Err(Ok(id)) = tell.send(begun) {
                abort(&background, &place, &id).await;
            }
        });
        let id = told.await.unwrap_or_else(|_| Err(Failure::odd("the upload was not begun")))?;
        Ok(Upload {
            platform: platform.clone(),
            place: Arc::clone(self),
            id,
            sending: FuturesUnordered::new(),
            etags: Vec::new(),
            completed: false,
        })
    }
}

impl<P: Network> Upload<P> {
    /// Sends the next part.
    fn send(&mut self, part: Bytes) {
        let (platform, place, id) = (self.platform.clone(), Arc::clone(&self.place), self.id.clone());
        let index = self.etags.len();
        self.etags.push(None);
        self.sending.push(Box::pin(async move {
            let number = index.saturating_add(1).to_string();
            let query = [("partNumber", Some(number.as_str())), ("uploadId", Some(id.as_str()))];
            let answer = place.ok_or_log(&platform, Method::PUT, &query, "", part.into()).await.1?;
            let sane =
                |etag: &&str| !etag.is_empty() && etag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            let etag =
                answer.headers.get("etag").and_then(|etag| etag.to_str().ok()).map(|etag| etag.trim_matches('"'));
            let etag = etag.filter(sane).ok_or_else(|| Failure::odd("a part without its mark"))?;
            Ok((index, etag.to_owned()))
        }));
    }

    /// Makes the object of the parts.
    ///
    /// # Errors
    /// The storage's failure after three tries.
    pub async fn complete(mut self) -> Result<(), Failure> {
        let mut xml = String::from("<CompleteMultipartUpload>");
        for (index, etag) in self.etags.iter().enumerate() {
            let (number, etag) = (index.saturating_add(1), etag.as_deref().unwrap_or_default());
            xml.push_str(&format!("<Part><PartNumber>{number}</PartNumber><ETag>\"{etag}\"</ETag></Part>"));
        }
        xml.push_str("</CompleteMultipartUpload>");
        let query = [("uploadId", Some(self.id.as_str()))];
        let body = Payload::from(Bytes::from(xml));
        match self.place.ok_or_log(&self.platform, Method::POST, &query, "application/xml", body).await {
            // The answer to an earlier try was lost on the way.
            (2.., Err(failure)) if failure.code == UNKNOWN_UPLOAD => {}
            (_, completed) => drop(completed?),
        }
        self.completed = true;
        Ok(())
    }
}
