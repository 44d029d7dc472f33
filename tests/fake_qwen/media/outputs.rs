//! The CDN: `GET /output/…` (upstream-protocol 8). The same files are below `/api/v2/chat/{id}/`.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::Method;
use serde_json::{Value, json};

use super::super::body::{Reply, Start, Step};
use super::super::directive::Directive;
use super::super::routes::Call;
use super::bytes::Content;

pub(super) const PREFIX: &str = "/output/";
const HTML: &str = "text/html; charset=utf-8";
/// The length of the CDN's page for a missing file.
const PAGE_BYTES: usize = 226;
/// The delay before a connection is cut, so that the bytes before arrive.
const BEFORE_CUT: Duration = Duration::from_millis(20);

/// A file of the CDN.
#[derive(Clone, Debug)]
pub struct Output {
    /// `/output/<account>/<maker>/…`
    pub path: String,
    /// Whose file it is.
    pub account: String,
    /// The chat in which it was made.
    pub chat_id: String,
    /// The text of the turn.
    pub prompt: String,
    /// `t2i`, `image_gen`, `image_edit`, `t2v` or `i2v`.
    pub maker: String,
    /// Length in bytes.
    pub size: u64,
    /// Width and height in pixels.
    pub pixels: (u32, u32),
}

/// A file with how it is delivered.
struct File {
    output: Output,
    content: Content,
    /// The number of times that its links have ended.
    epoch: u32,
    /// The status of a link that has ended.
    ended_status: u16,
    delivery: Delivery,
    gets: u64,
}

/// The `cdn…` keys of a directive.
struct Delivery {
    fault: Option<String>,
    /// The number of requests that have the fault.
    times: u64,
    redirect: String,
    first: Duration,
    pace: Duration,
    is_chunked: bool,
    has_ranges: bool,
}

#[derive(Default)]
pub(super) struct Outputs {
    files: HashMap<String, File>,
    /// Paths, oldest first.
    order: Vec<String>,
}

impl Delivery {
    fn of(directive: &Directive) -> Delivery {
        let millis = |key| Duration::from_millis(directive.number(key).unwrap_or(0));
        Delivery {
            fault: directive.get("cdn").map(str::to_owned),
            times: directive.number("cdn_times").unwrap_or(u64::MAX),
            redirect: directive.get("cdn_to").unwrap_or("/").to_owned(),
            first: millis("cdn_first_ms"),
            pace: millis("cdn_delay_ms"),
            is_chunked: directive.on("cdn_chunked"),
            has_ranges: directive.get("range") != Some("0"),
        }
    }
}

impl File {
    /// The token that its link has now.
    fn key(&self) -> String {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = json!({
            "resource_user_id": self.output.account, "resource_chat_id": self.output.chat_id,
            "resource_id": self.output.path, "n": self.epoch
        });
        format!("{}.{}.ZmFrZQ", part(json!({"alg": "HS256", "typ": "JWT"})), part(claims))
    }
}

impl Outputs {
    pub(super) fn add(&mut self, output: Output, content: Content, directive: &Directive) {
        let path = output.path.clone();
        let delivery = Delivery::of(directive);
        let file = File { output, content, epoch: 0, ended_status: 403, delivery, gets: 0 };
        self.files.insert(path.clone(), file);
        self.order.push(path);
    }

    pub(super) fn all(&self) -> Vec<Output> {
        self.order.iter().map(|path| self.files[path].output.clone()).collect()
    }

    pub(super) fn content(&self, path: &str) -> Option<Vec<u8>> {
        self.files.get(path).map(|file| file.content.to_vec())
    }

    /// The link of a file, without what comes before its path.
    pub(super) fn link(&self, path: &str) -> String {
        self.files.get(path).map_or_else(|| path.to_owned(), |file| format!("{path}?key={}", file.key()))
    }

    /// Ends all links to the files of a chat.
    pub(super) fn end_links(&mut self, chat_id: &str, status: u16) {
        for file in self.files.values_mut().filter(|file| file.output.chat_id == chat_id) {
            file.epoch += 1;
            file.ended_status = status;
        }
    }

    /// Renews the links in a chat's detail.
    pub(super) fn renew(&self, origin: &str, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Some(link) = self.renewed(origin, text) {
                    *text = link;
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.renew(origin, value)),
            Value::Object(fields) => fields.values_mut().for_each(|value| self.renew(origin, value)),
            _ => {}
        }
    }

    fn renewed(&self, origin: &str, link: &str) -> Option<String> {
        let (location, _) = link.split_once("?key=")?;
        if let Some(path) = location.strip_prefix(origin) {
            let file = self.files.get(path)?;
            return Some(format!("{location}?key={}", file.key()));
        }
        let end = format!("/{location}");
        let file = self.files.values().find(|file| file.output.path.ends_with(&end))?;
        Some(format!("{location}?key={}", file.key()))
    }

    /// The path of the file that a chat's relative link means.
    pub(super) fn of_chat(&self, chat_id: &str, relative: &str) -> Option<String> {
        let file = self.files.values().find(|file| {
            file.output.chat_id == chat_id
                && file.output.path.strip_suffix(relative).is_some_and(|rest| rest.ends_with('/'))
        });
        file.map(|file| file.output.path.clone())
    }

    pub(super) fn answer(&mut self, call: &Call, path: &str) -> Reply {
        let is_head = call.method == Method::HEAD;
        if call.method != Method::GET && !is_head {
            return Reply::whole(405, HTML, "").header("allow", "GET, HEAD");
        }
        let Some(file) = self.files.get_mut(path) else { return missing_page(404) };
        let key = call.query_text("key").unwrap_or_default();
        if key != file.key() {
            let had_one = key.split('.').count() == 3;
            return refused(if had_one && file.epoch > 0 { file.ended_status } else { 403 });
        }
        if !is_head {
            file.gets += 1;
        }
        let fault = file.delivery.fault.clone().filter(|_| file.gets <= file.delivery.times);
        let mut reply = match fault.as_deref() {
            Some("html") => missing_page(200),
            Some("reset") => Reply::reset(),
            Some("hang") => Reply::never(),
            Some("redirect") => Reply::whole(302, HTML, "").header("location", &file.delivery.redirect),
            Some(fault @ ("cut" | "stall")) => file.broken(fault == "cut"),
            Some(status) if status.parse::<u16>().is_ok() => missing_page(status.parse().unwrap()),
            Some(unknown) => super::super::failures::unknown(unknown),
            None => file.deliver(call, is_head),
        };
        if let Start::After(start) = &mut reply.start {
            *start += file.delivery.first;
        }
        reply
    }
}

impl File {
    fn deliver(&self, call: &Call, is_head: bool) -> Reply {
        let size = self.content.size;
        let range = call.headers.get("range").and_then(|range| range.to_str().ok());
        let range = range.filter(|_| self.delivery.has_ranges).and_then(|range| read_range(range, size));
        let (status, from, to) = match range {
            Some(Ok((from, to))) => (206, from, to),
            Some(Err(())) => {
                return Reply::whole(416, HTML, "").header("content-range", format!("bytes */{size}"));
            }
            None => (200, 0, size),
        };
        let steps = if is_head { Vec::new() } else { self.content.steps(from, to, self.delivery.pace) };
        let sized = !self.delivery.is_chunked && !is_head;
        let mut reply = Reply { steps, sized, ..Reply::whole(status, "application/octet-stream", "") };
        if is_head && !self.delivery.is_chunked {
            reply = reply.header("content-length", (to - from).to_string());
        }
        if self.delivery.has_ranges {
            reply = reply.header("accept-ranges", "bytes");
        }
        if status == 206 {
            reply = reply.header("content-range", format!("bytes {from}-{}/{size}", to - 1));
        }
        reply.header("etag", format!("\"{:08x}\"", size ^ self.output.path.len() as u64)).header("server", "Tengine")
    }

    /// Half of the file, then a cut or silence.
    fn broken(&self, is_cut: bool) -> Reply {
        let mut steps = self.content.steps(0, self.content.size / 2, self.delivery.pace);
        if is_cut {
            steps.extend([Step::Pause(BEFORE_CUT), Step::Abort]);
        } else {
            steps.push(Step::Stall);
        }
        Reply { steps, sized: false, ..Reply::whole(200, "application/octet-stream", "") }
            .header("content-length", self.content.size.to_string())
    }
}

/// First and one after the last byte of a single range; an error if it is beyond the end, `None` if it is to be ignored.
fn read_range(header: &str, size: u64) -> Option<Result<(u64, u64), ()>> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let (from, to) = match (number(first), number(last)) {
        (Some(from), Some(last)) if last >= from => (from, last.saturating_add(1).min(size)),
        (Some(from), None) if last.trim().is_empty() => (from, size),
        (None, Some(0)) if first.trim().is_empty() => (size, size),
        (None, Some(count)) if first.trim().is_empty() => (size.saturating_sub(count), size),
        _ => return None,
    };
    Some(if from < size { Ok((from, to)) } else { Err(()) })
}

/// The CDN's page for a file that is not there (yet).
fn missing_page(status: u16) -> Reply {
    let page = "<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n<center><h1>404 Not Found</h1></center>\r\n\
        <hr><center>Tengine</center>\r\n</body>\r\n</html>\r\n";
    Reply::whole(status, HTML, format!("{page:<PAGE_BYTES$}"))
}

/// The answer to a link whose key is wrong or has ended.
fn refused(status: u16) -> Reply {
    if status == 404 {
        return missing_page(404);
    }
    let body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AccessDenied</Code><Message>Access denied by authorizer's policy.</Message></Error>\n";
    Reply::whole(status, "application/xml", body)
}
