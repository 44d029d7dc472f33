//! Fetches files that a message names by link.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderValue, Method, header};
use percent_encoding::percent_decode_str;
use url::Url;

use crate::{
    content_encoding::{Coding, decoded},
    error::{Error, Result},
    media,
    media_type::{MediaKind, extension},
    platform::telemetry::UpstreamKind,
    platform::{self, ByteStream, FetchError, FetchErrorKind, FetchResponse, Payload, Platform, Reach},
    upstream::NewFile,
};

/// The most redirects that are followed.
const MAX_REDIRECTS: usize = 5;
/// How long a host may take until the head of its answer, and until each piece.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
const PIECE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long all pieces together may take beyond their time at the minimum speed.
const TOTAL_SLACK: Duration = Duration::from_secs(120);
const MIN_BYTES_PER_SECOND: u64 = 100_000;
const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// Opens what a link leads to.
///
/// # Errors
/// `invalid_request` that names `param`: the link is not a URL, resolves to a private address, or does not answer.
pub(in crate::chat) async fn open<P: Platform>(
    platform: &P,
    mut url: Url,
    expected: Option<MediaKind>,
    param: &str,
    reach: Reach,
) -> Result<NewFile> {
    let refused = |problem: &str| Err(not_fetched(param, problem));
    for _ in 0..=MAX_REDIRECTS {
        if !matches!(url.scheme(), "http" | "https") {
            return refused("only http and https links are");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refused("it holds a user name or a password");
        }
        url.set_fragment(None);
        let mut request = http::Request::new(Payload::default());
        *request.method_mut() = Method::GET;
        let Ok(uri) = url.as_str().parse() else { return refused("it is not a valid address") };
        *request.uri_mut() = uri;
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let asked = platform::timeout(
            platform,
            HEAD_TIMEOUT,
            platform::ask(platform, UpstreamKind::Link, platform.fetch_foreign(request, reach)),
        )
        .await;
        let answer = match asked {
            Some(Ok(answer)) => answer,
            Some(Err(error)) => return refused(reason(error.kind)),
            None => return refused("its host did not answer in time"),
        };
        let status = answer.status();
        if status.is_success() {
            // Some hosts compress the body although the request asks them not to.
            let coding = answer.headers().get(header::CONTENT_ENCODING).map(|coding| coding.to_str().unwrap_or("?"));
            return match Coding::of(coding) {
                Ok(coding) => Ok(file(platform, answer, &url, expected, param, coding)),
                Err(()) => refused(reason(FetchErrorKind::Undecodable)),
            };
        }
        let location = answer.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
        match location.filter(|_| status.is_redirection()).map(|location| url.join(location)) {
            Some(Ok(next)) => url = next,
            Some(Err(_)) => return refused("its host redirects to an address that is not valid"),
            None => return refused(&format!("its host answered with status {}", status.as_u16())),
        }
    }
    refused(&format!("its host redirects more than {MAX_REDIRECTS} times"))
}

const fn reason(kind: FetchErrorKind) -> &'static str {
    match kind {
        FetchErrorKind::Forbidden => "it leads to an address that is not public",
        FetchErrorKind::Timeout => "its host did not take the connection in time",
        FetchErrorKind::Connect => "its host cannot be reached",
        FetchErrorKind::Broken | FetchErrorKind::Cancelled => "the connection to its host broke",
        FetchErrorKind::Undecodable => "its host packed it in a way that cannot be unpacked",
    }
}

fn not_fetched(param: &str, problem: &str) -> Error {
    Error::invalid(param, format!("The link cannot be fetched: {problem}."))
}

/// A body with time limits: one for each piece, and one for all of it at the minimum speed. Only the time that its host takes
/// counts; where the body goes may be slow too.
fn steady<P: Platform>(platform: P, body: ByteStream) -> ByteStream {
    struct Coming<P> {
        platform: P,
        body: ByteStream,
        waited: Duration,
        bytes: u64,
    }
    let next = async |coming: Option<Coming<P>>| {
        let Coming { platform, mut body, waited, bytes } = coming?;
        let allowed = TOTAL_SLACK.saturating_add(Duration::from_secs(bytes / MIN_BYTES_PER_SECOND));
        let begun = platform.elapsed();
        let limit = PIECE_TIMEOUT.min(allowed.saturating_sub(waited));
        let Some(piece) = platform::timeout(&platform, limit, body.next()).await else {
            let error = FetchError {
                kind: FetchErrorKind::Timeout,
                detail: "the next chunk did not arrive in time".to_owned(),
            };
            return Some((Err(error), None));
        };
        let piece = piece?;
        let bytes = bytes.saturating_add(piece.as_ref().map_or(0, |piece| piece.len() as u64));
        let waited = waited.saturating_add(platform.elapsed().saturating_sub(begun));
        Some((piece, Some(Coming { platform, body, waited, bytes })))
    };
    Box::pin(stream::unfold(Some(Coming { platform, body, waited: Duration::ZERO, bytes: 0 }), next))
}

fn file<P: Platform>(
    platform: &P,
    answer: FetchResponse,
    url: &Url,
    expected: Option<MediaKind>,
    param: &str,
    coding: Option<Coding>,
) -> NewFile {
    let (head, body) = answer.into_parts();
    let body = steady(platform.clone(), body);
    let body: ByteStream = match coding {
        Some(coding) => Box::pin(decoded(body, coding)),
        None => body,
    };
    let text = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let declared = text(header::CONTENT_TYPE).map(str::to_owned);
    let last = url.path_segments().and_then(|mut segments| segments.next_back()).unwrap_or_default();
    let mut name = percent_decode_str(last).decode_utf8_lossy().into_owned();
    if !name.contains('.')
        && let Some(extension) = declared.as_deref().and_then(extension)
    {
        name = format!("{}.{extension}", if name.is_empty() { "file" } else { &name });
    }
    let broken = {
        let param = param.to_owned();
        move |error: FetchError| {
            let reason = if error.kind == FetchErrorKind::Timeout { "it comes too slowly" } else { reason(error.kind) };
            not_fetched(&param, reason).with_detail(error.detail)
        }
    };
    NewFile {
        name,
        length: text(header::CONTENT_LENGTH).filter(|_| coding.is_none()).and_then(|length| length.parse().ok()),
        declared,
        expected,
        hash: None,
        param: param.to_owned(),
        body: Box::pin(body.map_err(broken)),
    }
}

/// A picture or video of this server's own, as a file to upload.
pub(super) fn made_here(opened: media::Opened, name: &str, expected: Option<MediaKind>, param: &str) -> NewFile {
    let media::Opened { length, body, .. } = opened;
    let broken = {
        let param = param.to_owned();
        move |error: FetchError| not_fetched(&param, reason(error.kind)).with_detail(error.detail)
    };
    NewFile {
        name: name.to_owned(),
        declared: None,
        expected,
        length,
        hash: None,
        param: param.to_owned(),
        body: Box::pin(body.map_err(broken)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        error::ErrorKind,
        platform::{Clock as _, testing::Sim},
    };

    /// A platform on which each address redirects to the next of `hops`.
    fn web(hops: &[&'static str]) -> Sim {
        let hops = hops.to_vec();
        Sim::answering(move |_, index| {
            let mut answer = http::Response::builder();
            if let Some(next) = hops.get(index) {
                answer = answer.status(302).header("location", *next);
            }
            Ok(answer.body(Box::pin(stream::empty()) as _).unwrap())
        })
    }

    fn opened(hops: &[&'static str], allow_private: bool) -> (Result<String>, Vec<String>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let web = web(hops);
            let url = Url::parse("https://example.com/start.png#part").unwrap();
            let reach = if allow_private { Reach::Any } else { Reach::PublicOnly };
            let opened = open(&web, url, None, "field", reach).await.map(|new| new.name);
            (opened, web.requests().into_iter().map(|request| request.uri().to_string()).collect())
        })
    }

    #[test]
    fn redirects_are_followed_and_checked_at_each_hop() {
        let (name, asked) = opened(&["/a/b.png", "//other.example/c", "https://third.example/d%20e.jpg?x=1"], false);
        assert_eq!(name.unwrap(), "d e.jpg");
        assert_eq!(
            asked,
            [
                "https://example.com/start.png",
                "https://example.com/a/b.png",
                "https://other.example/c",
                "https://third.example/d%20e.jpg?x=1"
            ]
        );
        for (private, problem) in [
            ("http://127.0.0.1/", "not public"),
            ("http://2130706433/", "not public"),
            ("http://[::ffff:a00:1]/", "not public"),
            ("//169.254.169.254/latest/meta-data/", "not public"),
            ("http://localhost:8000/", "not public"),
            ("ftp://example.com/", "only http"),
            ("http://a:b@example.com/", "user name"),
            ("http://", "not valid"),
        ] {
            let (refused, asked) = opened(&["/next", private], false);
            let error = refused.unwrap_err();
            assert_eq!((error.kind(), error.param()), (ErrorKind::InvalidRequest, Some("field")), "{private}");
            assert!(error.message().contains(problem), "{private}: {error}");
            assert_eq!(asked.len(), 2, "{private} was asked");
        }
        assert!(opened(&["/next", "http://127.0.0.1/"], true).0.is_ok());
    }

    #[test]
    fn five_redirects_are_followed_and_no_more() {
        assert!(opened(&["/1", "/2", "/3", "/4", "/5"], false).0.is_ok());
        let (refused, asked) = opened(&["/1", "/2", "/3", "/4", "/5", "/6"], false);
        assert!(refused.unwrap_err().message().contains("more than 5"));
        assert_eq!(asked.len(), 6);
    }

    /// How long pieces of so many bytes, one after each pause, are read, and how many bytes those are.
    async fn read(pause: u64, size: usize) -> (u64, usize) {
        let web = web(&[]);
        let begun = web.elapsed();
        let piece = move |()| async move {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            Some((Ok(vec![0; size].into()), ()))
        };
        let mut body = steady(web.clone(), Box::pin(stream::unfold((), piece)));
        let mut bytes = 0;
        loop {
            match body.next().await.unwrap() {
                Ok(piece) => bytes += piece.len(),
                Err(error) => {
                    assert_eq!(error.kind, FetchErrorKind::Timeout);
                    assert!(body.next().await.is_none());
                    return ((web.elapsed() - begun).as_secs(), bytes);
                }
            }
            if bytes > 50_000_000 {
                return ((web.elapsed() - begun).as_secs(), bytes);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_drips_is_given_up() {
        let (seconds, bytes) = read(2, 1).await;
        assert!((119..=121).contains(&seconds) && bytes <= 60, "a byte every two seconds: {seconds} s, {bytes}");
        assert_eq!(read(61, 1_000_000).await, (60, 0), "each piece comes within a minute");
        let (seconds, bytes) = read(1, 50_000).await;
        assert!((238..=241).contains(&seconds) && bytes < 12_100_000, "half the least speed: {seconds} s, {bytes}");
        assert!(read(1, 100_000).await.1 > 50_000_000, "the least speed will do");
        assert!(read(50, 6_000_000).await.1 > 50_000_000, "pauses between large pieces will do");
    }
}
