//! V4 signatures (`OSS4-HMAC-SHA256`): in a header, in a query, and of a form's policy.
//!
//! Follows "Signature Version 4" in the storage's documentation. The signatures must equal those in `tests/oss_vectors` byte for
//! byte, which the official SDKs made.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use crate::secret::Secret;

pub(super) const ALGORITHM: &str = "OSS4-HMAC-SHA256";
/// Excludes the payload from the signature, because its hash would require the whole payload before the first byte is sent.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
/// Every character is escaped except those that RFC 3986 calls unreserved.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// An access key.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The public part of the key.
    pub access_key_id: String,
    /// The secret part of the key.
    pub access_key_secret: Secret,
}

/// The region and the time of a signature.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The region, such as `ap-southeast-1`, without `oss-`.
    pub region: &'a str,
    /// The time as `YYYYMMDDTHHMMSSZ`.
    pub time: &'a str,
}

impl Scope<'_> {
    fn date(&self) -> &str {
        self.time.get(..8).unwrap_or(self.time)
    }

    fn path(&self) -> String {
        format!("{}/{}/oss/aliyun_v4_request", self.date(), self.region)
    }

    /// Returns the `x-oss-credential` of queries and forms: the public part of the key, with the scope.
    pub(super) fn credential(&self, credentials: &Credentials) -> String {
        format!("{}/{}", credentials.access_key_id, self.path())
    }
}

/// The signed parts of a request.
///
/// ```
/// use qwen_edge::{
///     oss::{Credentials, Scope, Signable, UNSIGNED_PAYLOAD},
///     secret::Secret,
/// };
///
/// let credentials = Credentials { access_key_id: "key".to_owned(), access_key_secret: Secret::new("secret") };
/// let scope = Scope { region: "ap-southeast-1", time: "20260922T041335Z" };
/// let request = Signable {
///     method: "PUT",
///     bucket: "bucket",
///     key: "folder/file.txt",
///     query: &[],
///     headers: &[("x-oss-content-sha256", UNSIGNED_PAYLOAD), ("x-oss-date", scope.time)],
///     additional_headers: &[],
/// };
/// let authorization = request.authorization(&credentials, scope);
/// assert!(authorization.starts_with("OSS4-HMAC-SHA256 Credential=key/20260922/ap-southeast-1/oss/aliyun_v4_request,Signature="));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Signable<'a> {
    /// The method in upper case.
    pub method: &'a str,
    /// The bucket's name.
    pub bucket: &'a str,
    /// The object's name, not escaped; empty for the bucket itself.
    pub key: &'a str,
    /// Names and values, not escaped. `None` stands for a name without `=`.
    pub query: &'a [(&'a str, Option<&'a str>)],
    /// All headers of the request. The signature covers only some of them.
    pub headers: &'a [(&'a str, &'a str)],
    /// Names of further headers that the signature covers.
    pub additional_headers: &'a [&'a str],
}

/// Escapes one name or value of a query.
#[must_use]
pub fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// Escapes an object's name for a path, except its slashes.
///
/// ```
/// assert_eq!(qwen_edge::oss::escape_path("a b/ü.txt"), "a%20b/%C3%BC.txt");
/// ```
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
        // Cannot happen: HMAC accepts keys of any length.
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
    /// Returns the names of the additional headers in lower case, sorted, without those that are always signed.
    fn additional(&self) -> Vec<String> {
        let names = self.additional_headers.iter().map(|name| name.to_ascii_lowercase());
        let is_additional = |name: &String| {
            !is_always_signed(name) && self.headers.iter().any(|(header, _)| header.eq_ignore_ascii_case(name))
        };
        let names = names.filter(is_additional).map(|name| (name, String::new()));
        let mut names: Vec<String> = sorted(names).into_iter().map(|(name, _)| name).collect();
        names.dedup();
        names
    }

    /// Returns the canonical request, whose hash is signed.
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
            .filter(|(name, _)| is_always_signed(name) || additional.contains(name));
        let signed: String = sorted(signed).iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        format!("{method}\n{path}\n{}\n{signed}\n{}\n{UNSIGNED_PAYLOAD}", canonical_query(query), additional.join(";"))
    }

    /// Returns the query of a pre-signed URL that is valid for `expires` seconds: the request's own parameters, and the
    /// signature. Only the vectors of the official SDKs ask for it: they check the canonical request in this form as well.
    #[cfg(test)]
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

    /// Returns the string to sign.
    #[must_use]
    pub fn string_to_sign(&self, scope: Scope<'_>) -> String {
        let hash = hex(&Sha256::digest(self.canonical_request().as_bytes()));
        format!("{ALGORITHM}\n{}\n{}\n{hash}", scope.time, scope.path())
    }

    /// Returns the value of the header `authorization`. [`Signable::headers`] must hold `x-oss-date`, `x-oss-content-sha256` with
    /// [`UNSIGNED_PAYLOAD`], and `x-oss-security-token` for temporary credentials.
    #[must_use]
    pub fn authorization(&self, credentials: &Credentials, scope: Scope<'_>) -> String {
        let signature = sign(credentials, scope, &self.string_to_sign(scope));
        let additional = self.additional().join(";");
        let additional = if additional.is_empty() { additional } else { format!("AdditionalHeaders={additional},") };
        format!("{ALGORITHM} Credential={},{additional}Signature={signature}", scope.credential(credentials))
    }
}

/// Returns the escaped and sorted query. A parameter without a value, or with an empty one, has no `=`.
fn canonical_query(query: &[(&str, Option<&str>)]) -> String {
    let query = query.iter().map(|(name, value)| (escape(name), value.map(escape).unwrap_or_default()));
    let pair = |(name, value): (String, String)| if value.is_empty() { name } else { format!("{name}={value}") };
    sorted(query).into_iter().map(pair).collect::<Vec<_>>().join("&")
}

/// Sorts pairs by name, then by value.
fn sorted(pairs: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort();
    pairs
}

/// Whether every signature covers this header.
fn is_always_signed(name: &str) -> bool {
    matches!(name, "content-type" | "content-md5") || name.starts_with("x-oss-")
}

/// Returns the signature of a form's policy, which is passed in base64 as the form sends it.
#[must_use]
pub fn policy_signature(credentials: &Credentials, scope: Scope<'_>, policy: &str) -> String {
    sign(credentials, scope, policy)
}
