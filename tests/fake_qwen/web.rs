//! An ordinary web host under `/web/`, for servers that fetch what a link names. It knows nobody, and sets no cookies.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;

use super::body::{Reply, Start, Step};
use super::failures;
use super::log::{Outcome, Seen};
use super::routes::Call;
use super::{Fake, Shared};

const PREFIX: &str = "/web/";
const HTML: &str = "text/html; charset=utf-8";
/// Header fields that give away who asks.
const CREDENTIALS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];
/// Lets what was sent arrive before the connection breaks.
const BEFORE_CUT: Duration = Duration::from_millis(20);

/// The pages, by name.
pub(super) type Pages = HashMap<String, Page>;

/// What the web host answers under a name.
#[derive(Clone, Debug)]
pub struct Page {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
    end: End,
    /// What `Content-Length` says in the place of the true length.
    announced: Option<u64>,
    /// Size of the pieces of a chunked body.
    chunks: Option<usize>,
    pace: Duration,
    late: Duration,
    hops: Option<Hops>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Proper,
    /// Silence after that many bytes.
    Stall(usize),
    /// The connection breaks after that many bytes.
    Cut(usize),
    /// The body begins anew.
    Never,
}

/// Redirects from a page to itself, numbered in its query, and at last to another place.
#[derive(Clone, Debug)]
struct Hops {
    count: u64,
    to: String,
}

impl Page {
    /// A 200 with a body of announced length; an empty content type is left out.
    pub fn new(content_type: &str, body: impl Into<Bytes>) -> Page {
        let headers = (!content_type.is_empty()).then(|| ("content-type".to_owned(), content_type.to_owned()));
        Page {
            status: 200,
            headers: headers.into_iter().collect(),
            body: body.into(),
            end: End::Proper,
            announced: None,
            chunks: None,
            pace: Duration::ZERO,
            late: Duration::ZERO,
            hops: None,
        }
    }

    /// A page of HTML, as hosts send it with errors.
    pub fn html(status: u16, title: &str) -> Page {
        let body = format!("<!DOCTYPE html>\n<html><head><title>{title}</title></head><body>{title}</body></html>\n");
        Page::new(HTML, body).status(status)
    }

    /// A redirect to `location`, which is sent as it stands: absolute, relative, or no URL at all.
    pub fn redirect(status: u16, location: &str) -> Page {
        Page::html(status, "Moved").header("location", location)
    }

    /// `hops` redirects, of which the last one leads to `location`; each counts as a hit of this page.
    ///
    /// # Panics
    /// Without hops.
    pub fn chain(hops: u64, location: &str) -> Page {
        assert!(hops > 0, "a chain has hops");
        Page { hops: Some(Hops { count: hops, to: location.to_owned() }), ..Page::html(302, "Found") }
    }

    /// Redirects to other addresses of this page without end; [`Page::redirect`] to the page's own URL repeats one address.
    pub fn redirect_loop() -> Page {
        Page::chain(u64::MAX, "/")
    }

    /// A chunked body that repeats `block` until the client leaves.
    ///
    /// # Panics
    /// When the block is empty.
    pub fn endless(content_type: &str, block: impl Into<Bytes>) -> Page {
        let page = Page::new(content_type, block);
        assert!(!page.body.is_empty(), "nothing can be repeated for ever, but not sent");
        Page { end: End::Never, ..page }
    }

    /// Another status.
    #[must_use]
    pub fn status(self, status: u16) -> Page {
        Page { status, ..self }
    }

    /// One more header field.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Page {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `Content-Disposition` with this file name, quoted as it stands.
    #[must_use]
    pub fn filename(self, name: &str) -> Page {
        self.header("content-disposition", &format!("attachment; filename=\"{name}\""))
    }

    /// The body goes in chunks of at most `size` bytes, its length unannounced.
    ///
    /// # Panics
    /// When `size` is 0.
    #[must_use]
    pub fn chunked(self, size: usize) -> Page {
        assert!(size > 0, "chunks have bytes");
        Page { chunks: Some(size), ..self }
    }

    /// A pause before each chunk, or before each repetition of an endless body.
    #[must_use]
    pub fn paced(self, pace: Duration) -> Page {
        Page { pace, ..self }
    }

    /// `Content-Length` says this, whatever is sent. Where the body is shorter, the connection breaks after it.
    #[must_use]
    pub fn announcing(self, length: u64) -> Page {
        Page { announced: Some(length), ..self }
    }

    /// Nothing more comes after `bytes` bytes of the body, and the connection stays.
    #[must_use]
    pub fn stalled_after(self, bytes: usize) -> Page {
        Page { end: End::Stall(bytes), ..self }
    }

    /// The connection breaks after `bytes` bytes of the body, of which the whole length was announced unless it is chunked.
    #[must_use]
    pub fn cut_after(self, bytes: usize) -> Page {
        Page { end: End::Cut(bytes), ..self }
    }

    /// The headers come that much later.
    #[must_use]
    pub fn late(self, late: Duration) -> Page {
        Page { late, ..self }
    }

    fn reply(&self, call: &Call) -> Reply {
        let mut headers = self.headers.clone();
        if let Some(hops) = &self.hops {
            let hop = call.query_number("hop").map_or(1, |hop| hop as u64);
            let next = format!("{}?hop={}", call.path, hop + 1);
            headers.push(("location".to_owned(), if hop < hops.count { next } else { hops.to.clone() }));
        }
        let whole = self.body.len() as u64;
        let length = self.announced.or((self.chunks.is_none() && self.end != End::Never).then_some(whole));
        let sized = self.end == End::Proper && length == Some(whole);
        if let Some(length) = length.filter(|_| !sized) {
            headers.push(("content-length".to_owned(), length.to_string()));
        }
        Reply {
            start: Start::After(self.late),
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
        for chunk in sent.chunks(self.chunks.unwrap_or(usize::MAX)) {
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

/// The page's answer, if the request is for the web host.
pub(super) fn answer(shared: &Shared, call: &Call) -> Option<Reply> {
    let name = call.path.strip_prefix(PREFIX)?;
    if call.method != Method::GET && call.method != Method::HEAD {
        return Some(Page::html(405, "Method Not Allowed").header("allow", "GET, HEAD").reply(call));
    }
    let page = shared.web.lock().unwrap().get(name).cloned();
    Some(page.map_or_else(failures::not_found_page, |page| page.reply(call)))
}

impl Fake {
    /// Puts a page where [`Fake::web_url`] says, in the place of what was there. The name stands as it is in the path, so it
    /// may have slashes and `%20`, but no query.
    pub fn web(&self, name: &str, page: Page) {
        self.shared.web.lock().unwrap().insert(name.to_owned(), page);
    }

    /// Where a page is.
    pub fn web_url(&self, name: &str) -> String {
        format!("{}{PREFIX}{name}", self.url())
    }

    /// How many GETs a page had, whether it exists or not.
    pub fn web_hits(&self, name: &str) -> usize {
        self.web_seen(name).iter().filter(|seen| seen.method == "GET").count()
    }

    /// Answers of a page that have neither ended nor lost their client.
    pub fn web_open(&self, name: &str) -> usize {
        let open = |seen: &&Arc<Seen>| matches!(seen.outcome(), Outcome::Pending | Outcome::Answered);
        self.web_seen(name).iter().filter(open).count()
    }

    /// Header fields of the last request for a page, with names in lower case; empty before the first.
    pub fn web_request_headers(&self, name: &str) -> Vec<(String, String)> {
        self.web_seen(name).last().map(|seen| seen.headers.clone()).unwrap_or_default()
    }

    /// Cookies and authorizations that any request for a page brought along.
    pub fn web_credentials(&self, name: &str) -> Vec<(String, String)> {
        let seen = self.web_seen(name);
        let fields = seen.iter().flat_map(|seen| &seen.headers);
        fields.filter(|(name, _)| CREDENTIALS.contains(&name.as_str())).cloned().collect()
    }

    /// The requests for a page, oldest first.
    pub fn web_seen(&self, name: &str) -> Vec<Arc<Seen>> {
        let mut seen = self.shared.log.all();
        seen.retain(|seen| {
            let path = seen.path_and_query.split('?').next().unwrap_or_default();
            path.strip_prefix(PREFIX) == Some(name)
        });
        seen
    }
}
