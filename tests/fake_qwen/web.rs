//! A web host under `/web/` for links in messages. It has no accounts and sets no cookies.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;

use super::body::{Reply, Start, Step};
use super::failures;
use super::log::{Outcome, RecordedRequest};
use super::routes::Call;
use super::{Fake, Shared};

const PREFIX: &str = "/web/";
const HTML: &str = "text/html; charset=utf-8";
/// Header fields that identify the sender.
const CREDENTIALS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];
/// The delay before a connection is cut, so that the bytes before arrive.
const BEFORE_CUT: Duration = Duration::from_millis(20);

/// The pages, by name.
pub(super) type Pages = HashMap<String, Page>;

/// The response of the web host to a path.
#[derive(Clone, Debug)]
pub struct Page {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
    end: End,
    /// The value of `Content-Length`, if it differs from the real length.
    content_length: Option<u64>,
    /// The chunk size of a chunked body.
    chunk_size: Option<usize>,
    pace: Duration,
    delay: Duration,
    hops: Option<Hops>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Proper,
    /// Nothing is sent after this many bytes.
    Stall(usize),
    /// The connection is cut after this many bytes.
    Cut(usize),
    /// The body is repeated.
    Never,
}

/// Redirects from a page to itself with a number in the query, and finally to another URL.
#[derive(Clone, Debug)]
struct Hops {
    count: u64,
    to: String,
}

impl Page {
    /// A response with status 200 and `Content-Length`; an empty content type is omitted.
    pub fn new(content_type: &str, body: impl Into<Bytes>) -> Page {
        let headers = (!content_type.is_empty()).then(|| ("content-type".to_owned(), content_type.to_owned()));
        Page {
            status: 200,
            headers: headers.into_iter().collect(),
            body: body.into(),
            end: End::Proper,
            content_length: None,
            chunk_size: None,
            pace: Duration::ZERO,
            delay: Duration::ZERO,
            hops: None,
        }
    }

    /// An HTML page.
    pub fn html(status: u16, title: &str) -> Page {
        let body = format!("<!DOCTYPE html>\n<html><head><title>{title}</title></head><body>{title}</body></html>\n");
        Page::new(HTML, body).status(status)
    }

    /// A redirect to `location`, which is sent unchanged and may be an invalid URL.
    pub fn redirect(status: u16, location: &str) -> Page {
        Page::html(status, "Moved").header("location", location)
    }

    /// `hops` redirects, the last of which leads to `location`; each counts as a hit of this page.
    ///
    /// # Panics
    /// When `hops` is 0.
    pub fn chain(hops: u64, location: &str) -> Page {
        assert!(hops > 0, "a chain has hops");
        Page { hops: Some(Hops { count: hops, to: location.to_owned() }), ..Page::html(302, "Found") }
    }

    /// An endless chain of redirects to different URLs of this page.
    pub fn redirect_loop() -> Page {
        Page::chain(u64::MAX, "/")
    }

    /// A chunked body that repeats `block` until the client leaves.
    ///
    /// # Panics
    /// When the block is empty.
    pub fn endless(content_type: &str, block: impl Into<Bytes>) -> Page {
        let page = Page::new(content_type, block);
        assert!(!page.body.is_empty(), "an empty block cannot be repeated");
        Page { end: End::Never, ..page }
    }

    /// Sets the status.
    #[must_use]
    pub fn status(self, status: u16) -> Page {
        Page { status, ..self }
    }

    /// Adds a header field.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Page {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds `Content-Disposition` with this file name, quoted but not escaped.
    #[must_use]
    pub fn filename(self, name: &str) -> Page {
        self.header("content-disposition", &format!("attachment; filename=\"{name}\""))
    }

    /// Sends the body in chunks of at most `size` bytes without `Content-Length`.
    ///
    /// # Panics
    /// When `size` is 0.
    #[must_use]
    pub fn chunked(self, size: usize) -> Page {
        assert!(size > 0, "chunks have bytes");
        Page { chunk_size: Some(size), ..self }
    }

    /// Pauses before each chunk, or before each repetition of an endless body.
    #[must_use]
    pub fn paced(self, pace: Duration) -> Page {
        Page { pace, ..self }
    }

    /// Sets `Content-Length`. If the body is shorter, the connection is cut after it.
    #[must_use]
    pub fn with_content_length(self, length: u64) -> Page {
        Page { content_length: Some(length), ..self }
    }

    /// Stops sending after `bytes` bytes of the body and keeps the connection open.
    #[must_use]
    pub fn stalled_after(self, bytes: usize) -> Page {
        Page { end: End::Stall(bytes), ..self }
    }

    /// Cuts the connection after `bytes` bytes of the body; `Content-Length` has the full length unless the body is chunked.
    #[must_use]
    pub fn cut_after(self, bytes: usize) -> Page {
        Page { end: End::Cut(bytes), ..self }
    }

    /// Delays the response headers.
    #[must_use]
    pub fn delayed_by(self, delay: Duration) -> Page {
        Page { delay, ..self }
    }

    fn reply(&self, call: &Call) -> Reply {
        let mut headers = self.headers.clone();
        if let Some(hops) = &self.hops {
            let hop = call.query_number("hop").map_or(1, |hop| hop as u64);
            let next = format!("{}?hop={}", call.path, hop + 1);
            headers.push(("location".to_owned(), if hop < hops.count { next } else { hops.to.clone() }));
        }
        let whole = self.body.len() as u64;
        let length = self.content_length.or((self.chunk_size.is_none() && self.end != End::Never).then_some(whole));
        let sized = self.end == End::Proper && length == Some(whole);
        if let Some(length) = length.filter(|_| !sized) {
            headers.push(("content-length".to_owned(), length.to_string()));
        }
        Reply {
            start: Start::After(self.delay),
            status: self.status,
            headers,
            steps: self.steps(length),
            sized,
            turn: None,
        }
    }

    fn steps(&self, length: Option<u64>) -> Vec<Step> {
        if self.end == End::Never {
            return vec![Step::Repeat(self.body.clone(), self.pace)];
        }
        let sent = match self.end {
            End::Stall(bytes) | End::Cut(bytes) => self.body.slice(..bytes.min(self.body.len())),
            End::Proper | End::Never => self.body.clone(),
        };
        let mut steps = Vec::new();
        for chunk in sent.chunks(self.chunk_size.unwrap_or(usize::MAX)) {
            if !self.pace.is_zero() {
                steps.push(Step::Pause(self.pace));
            }
            steps.push(Step::Bytes(sent.slice_ref(chunk)));
        }
        let short = length.is_some_and(|length| length > sent.len() as u64);
        match self.end {
            End::Stall(_) => steps.push(Step::Stall),
            End::Cut(_) => steps.extend([Step::Pause(BEFORE_CUT), Step::Abort]),
            End::Proper if short => steps.extend([Step::Pause(BEFORE_CUT), Step::Abort]),
            End::Proper | End::Never => {}
        }
        steps
    }
}

/// The response of a page, if the request is for the web host.
pub(super) fn answer(shared: &Shared, call: &Call) -> Option<Reply> {
    let name = call.path.strip_prefix(PREFIX)?;
    if call.method != Method::GET && call.method != Method::HEAD {
        return Some(Page::html(405, "Method Not Allowed").header("allow", "GET, HEAD").reply(call));
    }
    let page = shared.web.lock().unwrap().get(name).cloned();
    Some(page.map_or_else(failures::not_found_page, |page| page.reply(call)))
}

impl Fake {
    /// Serves a page at [`Fake::web_url`]; replaces the previous one. The name is part of the path, so it may contain slashes
    /// and `%20`, but no query.
    pub fn serve_page(&self, name: &str, page: Page) {
        self.shared.web.lock().unwrap().insert(name.to_owned(), page);
    }

    /// The URL of a page.
    pub fn web_url(&self, name: &str) -> String {
        format!("{}{PREFIX}{name}", self.url())
    }

    /// The number of GET requests for a page, whether it exists or not.
    pub fn web_hits(&self, name: &str) -> usize {
        self.web_requests(name).iter().filter(|request| request.method == "GET").count()
    }

    /// The number of responses of a page that have neither ended nor lost their client.
    pub fn web_open(&self, name: &str) -> usize {
        let open = |request: &&Arc<RecordedRequest>| matches!(request.outcome(), Outcome::Pending | Outcome::Answered);
        self.web_requests(name).iter().filter(open).count()
    }

    /// Header fields of the last request for a page, with names in lower case; empty before the first.
    pub fn web_request_headers(&self, name: &str) -> Vec<(String, String)> {
        self.web_requests(name).last().map(|request| request.headers.clone()).unwrap_or_default()
    }

    /// Cookies and authorization headers of all requests for a page.
    pub fn web_credentials(&self, name: &str) -> Vec<(String, String)> {
        let requests = self.web_requests(name);
        let fields = requests.iter().flat_map(|request| &request.headers);
        fields.filter(|(name, _)| CREDENTIALS.contains(&name.as_str())).cloned().collect()
    }

    /// The requests for a page, oldest first.
    pub fn web_requests(&self, name: &str) -> Vec<Arc<RecordedRequest>> {
        let mut requests = self.shared.log.all();
        requests.retain(|request| {
            let path = request.path_and_query.split('?').next().unwrap_or_default();
            path.strip_prefix(PREFIX) == Some(name)
        });
        requests
    }
}
