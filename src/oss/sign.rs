//! Signatures of version 4 (`OSS4-HMAC-SHA256`): in a header, in a query, over a form's policy.
//!
//! Follows the description "Signature Version 4" of the storage's documentation; `tests/oss_vectors` holds signatures made
//! by the official SDKs, and these must equal them byte for byte.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use crate::secret::Secret;

pub(super) const ALGORITHM: &str = "OSS4-HMAC-SHA256";
/// The payload is not part of the signature: its hash would need all of it before the first byte is sent.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
/// What RFC 3986 calls unreserved stays, all else is escaped.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What signs.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The key's public part.
    pub access_key_id: String,
    /// Its secret part.
    pub access_key_secret: Secret,
}

/// Where and when a signature holds.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Such as `ap-southeast-1`, without `oss-`.
    pub region: &'a str,
    /// `YYYYMMDDTHHMMSSZ`
    pub time: &'a str,
}

impl Scope<'_> {
    fn date(&self) -> &str {
        self.time.get(..8).unwrap_or(self.time)
    }

    fn path(&self) -> String {
        format!("{}/{}/oss/aliyun_v4_request", self.date(), self.region)
    }

    /// The key's public part with the scope, as queries and forms name it.
    pub(super) fn credential(&self, credentials: &Credentials) -> String {
        format!("{}/{}", credentials.access_key_id, self.path())
    }
}

/// What is signed of a request.
#[derive(Clone, Copy, Debug)]
pub struct Signable<'a> {
    /// Upper case.
    pub method: &'a str,
    /// The bucket's name.
    pub bucket: &'a str,
    /// The object's name, not escaped; empty for the bucket itself.
    pub key: &'a str,
    /// Names and values, not escaped; `None` = a name without `=`.
    pub query: &'a [(&'a str, Option<&'a str>)],
    /// All headers of the request; those that do not count are left out here.
    pub headers: &'a [(&'a str, &'a str)],
    /// Names of further headers that shall count.
    pub additional_headers: &'a [&'a str],
}

/// Escapes one name or value of a query.
#[must_use]
pub fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// Escapes an object's name for a path: its slashes stay.
#[must_use]
pub fn escape_path(key: &str) -> String {
    key.split('/').map(escape).collect::<Vec<_>>().join("/")
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len().saturating_mul(2)), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) => mac.chain_update(message).finalize().into_bytes().into(),
        // HMAC takes keys of any length.
        Err(_) => [0; 32],
    }
}

fn sign(credentials: &Credentials, scope: Scope<'_>, string_to_sign: &str) -> String {
    let secret = format!("aliyun_v4{}", credentials.access_key_secret.expose());
    let steps = [scope.date(), scope.region, "oss", "aliyun_v4_request"];
    let key = steps.iter().fold(secret.into_bytes(), |key, step| hmac(&key, step.as_bytes()).to_vec());
    hex(&hmac(&key, string_to_sign.as_bytes()))
}

impl Signable<'_> {
    /// The names of the additional headers as they are signed: lower case, sorted, only those that do not count anyway.
    fn additional(&self) -> Vec<String> {
        let names = self.additional_headers.iter().map(|name| name.to_ascii_lowercase());
        let counts = |name: &String| {
            !always_counts(name) && self.headers.iter().any(|(header, _)| header.eq_ignore_ascii_case(name))
        };
        let names = names.filter(counts).map(|name| (name, String::new()));
        let mut names: Vec<String> = in_order(names).into_iter().map(|(name, _)| name).collect();
        names.dedup();
        names
    }

    /// The text whose hash is signed.
    #[must_use]
    pub fn canonical_request(&self) -> String {
        let Self { method, bucket, key, query, headers, additional_headers: _ } = self;
        let additional = self.additional();
        let mut path = String::from("/");
        if !bucket.is_empty() {
            path = format!("/{}/{}", escape_path(bucket), escape_path(key));
        }
        let signed = headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .filter(|(name, _)| always_counts(name) || additional.contains(name));
        let signed: String = in_order(signed).iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        format!("{method}\n{path}\n{}\n{signed}\n{}\n{UNSIGNED_PAYLOAD}", canonical_query(query), additional.join(";"))
    }

    /// The query of a pre-signed URL that holds for `expires` seconds: this request's own parameters and the signature.
    #[must_use]
    pub fn presigned_query(
        &self,
        credentials: &Credentials,
        scope: Scope<'_>,
        expires: u64,
        security_token: Option<&str>,
    ) -> String {
        let credential = scope.credential(credentials);
        let (expires, additional) = (expires.to_string(), self.additional().join(";"));
        let mut query = self.query.to_vec();
        query.extend([
            ("x-oss-credential", Some(credential.as_str())),
            ("x-oss-date", Some(scope.time)),
            ("x-oss-expires", Some(expires.as_str())),
            ("x-oss-signature-version", Some(ALGORITHM)),
        ]);
        query.extend(security_token.map(|token| ("x-oss-security-token", Some(token))));
        if !additional.is_empty() {
            query.push(("x-oss-additional-headers", Some(additional.as_str())));
        }
        let signable = Signable { query: &query, ..*self };
        let signature = sign(credentials, scope, &signable.string_to_sign(scope));
        format!("{}&x-oss-signature={signature}", canonical_query(&query))
    }

    /// The text that is signed.
    #[must_use]
    pub fn string_to_sign(&self, scope: Scope<'_>) -> String {
        let hash = hex(&Sha256::digest(self.canonical_request().as_bytes()));
        format!("{ALGORITHM}\n{}\n{}\n{hash}", scope.time, scope.path())
    }

    /// The value of the header `authorization`. The headers must hold `x-oss-date`, `x-oss-content-sha256` with
    /// [`UNSIGNED_PAYLOAD`], and `x-oss-security-token` for temporary credentials.
    #[must_use]
    pub fn authorization(&self, credentials: &Credentials, scope: Scope<'_>) -> String {
        let signature = sign(credentials, scope, &self.string_to_sign(scope));
        let additional = self.additional().join(";");
        let additional = if additional.is_empty() { additional } else { format!("AdditionalHeaders={additional},") };
        format!("{ALGORITHM} Credential={},{additional}Signature={signature}", scope.credential(credentials))
    }
}

/// Names and values escaped and in order; a value that is empty or absent stands without `=`.
fn canonical_query(query: &[(&str, Option<&str>)]) -> String {
    let query = query.iter().map(|(name, value)| (escape(name), value.map(escape).unwrap_or_default()));
    let pair = |(name, value): (String, String)| if value.is_empty() { name } else { format!("{name}={value}") };
    in_order(query).into_iter().map(pair).collect::<Vec<_>>().join("&")
}

/// Pairs by name, then by value.
fn in_order(pairs: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort();
    pairs
}

/// Headers that are signed wherever they are there.
fn always_counts(name: &str) -> bool {
    matches!(name, "content-type" | "content-md5") || name.starts_with("x-oss-")
}

/// The signature of a form's policy, given in base64 as the form sends it.
#[must_use]
pub fn policy_signature(credentials: &Credentials, scope: Scope<'_>, policy: &str) -> String {
    sign(credentials, scope, policy)
}
