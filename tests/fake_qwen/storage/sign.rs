//! Signatures of storage requests, computed from the issued secret.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use hyper::HeaderMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::spool::hex;

/// The name of the V4 algorithm.
pub(super) const ALGORITHM: &str = "OSS4-HMAC-SHA256";

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// Query parameters that a V1 signature covers.
const SUBRESOURCES: &[&str] = &["partNumber", "security-token", "uploadId", "uploads"];

/// A decoded query.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(query: &str) -> Query {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Query(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(k, v)| (decoded(k), decoded(v)))
                .collect(),
        )
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Whether the query has a parameter of a signed URL.
    pub(super) fn is_signed(&self) -> bool {
        self.0.iter().any(|(key, _)| key.starts_with("x-oss-"))
    }

    fn canonical(&self) -> String {
        let mut pairs: Vec<String> = (self.0.iter())
            .filter(|(key, _)| key != "x-oss-signature")
            .map(|(key, value)| match value.as_str() {
                "" => encoded(key),
                value => format!("{}={}", encoded(key), encoded(value)),
            })
            .collect();
        pairs.sort();
        pairs.join("&")
    }
}

/// `<access key>/<date>/<region>/oss/aliyun_v4_request`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) access_key: String,
    pub(super) date: String,
    pub(super) region: String,
    pub(super) tail: String,
}

impl Scope {
    pub(super) fn of(credential: &str) -> Option<Scope> {
        let mut parts = credential.splitn(4, '/').map(str::to_owned);
        Some(Scope { access_key: parts.next()?, date: parts.next()?, region: parts.next()?, tail: parts.next()? })
    }

    pub(super) fn text(&self) -> String {
        format!("{}/{}/{}", self.date, self.region, self.tail)
    }

    /// The hex signature of `text`.
    pub(super) fn sign(&self, secret: &str, text: &str) -> String {
        let mut key = sha256_mac(format!("aliyun_v4{secret}").as_bytes(), &self.date);
        for part in [self.region.as_str(), "oss", "aliyun_v4_request"] {
            key = sha256_mac(&key, part);
        }
        hex(&sha256_mac(&key, text))
    }
}

/// The signed fields of a request.
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) bucket: &'a str,
    pub(super) key: &'a str,
    pub(super) query: &'a Query,
    pub(super) headers: &'a HeaderMap,
}

impl Request<'_> {
    /// The V4 string to sign and, for error messages, its canonical request.
    pub(super) fn v4(&self, at: &str, scope: &Scope, additional: &str) -> (String, String) {
        let more: Vec<String> = additional.split(';').map(str::to_lowercase).collect();
        let mut names: Vec<&str> = self.headers.keys().map(hyper::header::HeaderName::as_str).collect();
        names.sort_unstable();
        let signed = |name: &&str| {
            name.starts_with("x-oss-")
                || matches!(*name, "content-type" | "content-md5")
                || more.iter().any(|more| more == name)
        };
        let headers: String =
            names.into_iter().filter(signed).map(|name| format!("{name}:{}\n", header(self.headers, name))).collect();
        let payload = match header(self.headers, "x-oss-content-sha256") {
            payload if payload.is_empty() => "UNSIGNED-PAYLOAD".to_owned(),
            payload => payload,
        };
        let path = utf8_percent_encode(self.key, PATH);
        let (method, bucket, query) = (self.method, self.bucket, self.query.canonical());
        let canonical = format!("{method}\n/{bucket}/{path}\n{query}\n{headers}\n{additional}\n{payload}");
        let digest = hex(&Sha256::digest(canonical.as_bytes()));
        (format!("{ALGORITHM}\n{at}\n{}\n{digest}", scope.text()), canonical)
    }

    /// The V1 string to sign.
    pub(super) fn v1(&self) -> String {
        let of = |name| header(self.headers, name);
        let mut names: Vec<&str> = self.headers.keys().map(hyper::header::HeaderName::as_str).collect();
        names.sort_unstable();
        let headers: String = (names.into_iter())
            .filter(|name| name.starts_with("x-oss-"))
            .map(|name| format!("{name}:{}\n", header(self.headers, name)))
            .collect();
        let mut subresources: Vec<String> = (self.query.0.iter())
            .filter(|(key, _)| SUBRESOURCES.contains(&key.as_str()))
            .map(|(key, value)| if value.is_empty() { key.clone() } else { format!("{key}={value}") })
            .collect();
        subresources.sort();
        let query = if subresources.is_empty() { String::new() } else { format!("?{}", subresources.join("&")) };
        let date = if of("x-oss-date").is_empty() { of("date") } else { of("x-oss-date") };
        let (md5, kind) = (of("content-md5"), of("content-type"));
        format!("{}\n{md5}\n{kind}\n{date}\n{headers}/{}/{}{query}", self.method, self.bucket, self.key)
    }
}

/// The V1 signature of `text`.
pub(super) fn v1_mac(secret: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("keys of any length");
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

fn sha256_mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// A header value, trimmed; empty if the header is missing.
pub(super) fn header(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map_or_else(String::new, |value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
}

/// Percent-encodes all but unreserved characters.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// [`encoded`], but with unescaped slashes.
pub(super) fn encoded_path(path: &str) -> String {
    utf8_percent_encode(path, PATH).to_string()
}

pub(super) fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}
