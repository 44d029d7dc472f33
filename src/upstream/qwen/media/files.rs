//! Opening what the site made: pictures and videos in its storage.

use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header};
use url::Url;

use crate::{
    platform::{self, FetchError, FetchErrorKind, FetchResponse, Payload, Reach, telemetry::UpstreamKind},
    upstream::{
        Host, Owner,
        qwen::{client::Client, http_client::Purpose, wire},
    },
};

/// The most redirects that are followed.
const MAX_REDIRECTS: usize = 3;
/// How long the storage may take until the head of its answer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
const USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// What to open.
#[derive(Clone, Copy, Debug)]
pub struct MediaRequest<'a> {
    /// The chat that it was made in.
    pub chat_id: &'a str,
    /// The site's link, which may be relative.
    pub link: &'a str,
    /// `Range` and `If-Range` of the client.
    pub range: Option<&'a str>,
    /// Which hosts may be asked.
    pub reach: Reach,
}

impl Client {
    /// Opens a picture or a video. Any status may come back. Errors contain no link.
    ///
    /// # Errors
    /// The storage cannot be reached, or the link leads to where it must not.
    pub async fn open_media<P: Host>(
        &self,
        platform: &P,
        owner: Option<&Owner>,
        wanted: MediaRequest<'_>,
    ) -> Result<FetchResponse, FetchError> {
        let failed = |kind, detail: &str| FetchError { kind, detail: detail.to_owned() };
        let MediaRequest { chat_id: _, link, range, reach } = wanted;
        let invalid = || failed(FetchErrorKind::Forbidden, "the link is not a valid address");
        let Ok(mut url) = Url::parse(link) else { return self.open_relative(platform, owner, wanted).await };
        for _ in 0..=MAX_REDIRECTS {
            let is_public = reach == Reach::PublicOnly;
            if !(url.scheme() == "https" || (url.scheme() == "http" && !is_public)) || !url.username().is_empty() {
                return Err(failed(FetchErrorKind::Forbidden, "the link is no https link"));
            }
            let mut request = http::Request::new(Payload::default());
            *request.uri_mut() = url.as_str().parse().map_err(|_| invalid())?;
            let headers = request.headers_mut();
            headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
            headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            put_range(headers, range);
            let fetched = platform.fetch_foreign(request, reach);
            let answer = within(platform, platform::ask(platform, UpstreamKind::Storage, fetched)).await?;
            let location = answer.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
            match location.filter(|_| answer.status().is_redirection() && answer.status() != StatusCode::NOT_MODIFIED) {
                Some(next) => url = url.join(next).map_err(|_| invalid())?,
                None => return Ok(answer),
            }
        }
        Err(failed(FetchErrorKind::Broken, "the storage redirects too often"))
    }

    /// Opens a relative link, below the folder of its chat at the site, with the account's session.
    async fn open_relative<P: Host>(
        &self,
        platform: &P,
        owner: Option<&Owner>,
        wanted: MediaRequest<'_>,
    ) -> Result<FetchResponse, FetchError> {
        let MediaRequest { chat_id, link, range, reach: _ } = wanted;
        let failed = |detail: String| FetchError { kind: FetchErrorKind::Forbidden, detail };
        let used = self.session.lease_for(owner).map_err(|error| failed(error.to_string()))?;
        let path = format!("{}{}", wire::chat_folder(chat_id), link.trim_start_matches('/'));
        if path.split(['/', '?']).any(|segment| segment == "..") {
            return Err(failed("the link leads out of its chat".to_owned()));
        }
        let credentials = used.credentials.as_deref();
        let request = self.http.request(platform, credentials, Method::GET, &path, Purpose::Data, bytes::Bytes::new());
        let mut request = request.map_err(|error| failed(error.to_string()))?;
        put_range(request.headers_mut(), range);
        within(platform, platform::ask(platform, UpstreamKind::Storage, platform.fetch(request))).await
    }
}

fn put_range(headers: &mut http::HeaderMap, range: Option<&str>) {
    if let Some(range) = range.and_then(|range| HeaderValue::from_str(range).ok()) {
        headers.insert(header::RANGE, range);
    }
}

async fn within<P: Host>(
    platform: &P,
    fetched: impl Future<Output = Result<FetchResponse, FetchError>>,
) -> Result<FetchResponse, FetchError> {
    let late = || {
        let detail = "the storage did not answer in time".to_owned();
        Err(FetchError { kind: FetchErrorKind::Timeout, detail })
    };
    platform::timeout(platform, HEAD_TIMEOUT, fetched).await.unwrap_or_else(late)
}
