//! Authorization of storage requests: signatures, tokens, clock skew.

use hyper::HeaderMap;

use super::super::accounts::now;
use super::errors::OssError;
use super::sign::{self, ALGORITHM, Query, Request, Scope};
use super::{BUCKET, Credential, SIGNED_REGION, Storage, clock};

/// Authorizes a request. A GET needs no signature, but a given one must be valid.
pub(super) fn request(
    storage: &Storage,
    method: &str,
    key: &str,
    query: &Query,
    headers: &HeaderMap,
) -> Result<(), OssError> {
    let request = Request { method, bucket: BUCKET, key, query, headers };
    let authorization = sign::header(headers, "authorization");
    if let Some(fields) = authorization.strip_prefix(ALGORITHM) {
        return by_header(storage, &request, fields);
    }
    if let Some(fields) = authorization.strip_prefix("OSS ") {
        return by_v1(storage, &request, fields);
    }
    if query.has("x-oss-signature") {
        return by_query(storage, &request);
    }
    match method {
        "GET" | "HEAD" => Ok(()),
        _ => Err(OssError::new("AccessDenied")
            .with_message("You have no right to access this object because of bucket acl.")),
    }
}

/// `OSS4-HMAC-SHA256 Credential=…,AdditionalHeaders=…,Signature=…`
fn by_header(storage: &Storage, request: &Request<'_>, fields: &str) -> Result<(), OssError> {
    let field =
        |name: &str| fields.split(',').filter_map(|field| field.trim().split_once('=')).find(|(key, _)| *key == name);
    let (Some((_, credential)), Some((_, signature))) = (field("Credential"), field("Signature")) else {
        return Err(invalid("Authorization header is invalid."));
    };
    let scope = Scope::of(credential).ok_or_else(|| invalid("Invalid Credential in Authorization header."))?;
    let at = sign::header(request.headers, "x-oss-date");
    let issued = credentials(storage, &scope, &sign::header(request.headers, "x-oss-security-token"))?;
    check_scope(&scope, &at)?;
    check_clock(clock::of_stamp(&at), &at)?;
    if sign::header(request.headers, "x-oss-content-sha256") != "UNSIGNED-PAYLOAD" {
        return Err(invalid("Invalid x-oss-content-sha256 header."));
    }
    let additional = field("AdditionalHeaders").map_or("", |(_, names)| names);
    check_v4(request, issued, &scope, &at, additional, signature)?;
    check_key(issued, request.key)
}

/// `?x-oss-signature-version=…&x-oss-credential=…&…`
fn by_query(storage: &Storage, request: &Request<'_>) -> Result<(), OssError> {
    let get = |name| request.query.get(name).unwrap_or_default();
    if get("x-oss-signature-version") != ALGORITHM {
        return Err(invalid("Invalid x-oss-signature-version."));
    }
    let scope = Scope::of(get("x-oss-credential")).ok_or_else(|| invalid("Invalid x-oss-credential."))?;
    let at = get("x-oss-date");
    let issued = credentials(storage, &scope, get("x-oss-security-token"))?;
    check_scope(&scope, at)?;
    let (Some(start), Ok(lifetime)) = (clock::of_stamp(at), get("x-oss-expires").parse::<i64>()) else {
        return Err(invalid("Invalid x-oss-date or x-oss-expires."));
    };
    if !(1..=604_800).contains(&lifetime) {
        return Err(invalid("Invalid x-oss-expires."));
    }
    if start + lifetime < now() || start - clock::MAX_SKEW_SECONDS > now() {
        return Err(OssError::new("AccessDenied").with_message("Request has expired."));
    }
    check_v4(request, issued, &scope, at, get("x-oss-additional-headers"), get("x-oss-signature"))?;
    check_key(issued, request.key)
}

/// `OSS <access key>:<signature>`
fn by_v1(storage: &Storage, request: &Request<'_>, fields: &str) -> Result<(), OssError> {
    let (access_key, signature) = fields.split_once(':').ok_or_else(|| invalid("Authorization header is invalid."))?;
    let token = match sign::header(request.headers, "x-oss-security-token") {
        token if token.is_empty() => request.query.get("security-token").unwrap_or_default().to_owned(),
        token => token,
    };
    let issued = credential(storage, access_key, &token)?;
    let stamp = sign::header(request.headers, "x-oss-date");
    let date = if stamp.is_empty() { sign::header(request.headers, "date") } else { stamp };
    check_clock(clock::of_http_date(&date).or_else(|| clock::of_stamp(&date)), &date)?;
    let text = request.v1();
    if sign::v1_mac(&issued.secret, &text) != signature {
        return Err(mismatch(access_key, signature, &text));
    }
    check_key(issued, request.key)
}

fn check_v4(
    request: &Request<'_>,
    issued: &Credential,
    scope: &Scope,
    at: &str,
    additional: &str,
    signature: &str,
) -> Result<(), OssError> {
    let (text, canonical) = request.v4(at, scope, additional);
    if scope.sign(&issued.secret, &text) == signature {
        return Ok(());
    }
    Err(mismatch(&issued.id, signature, &text).with("CanonicalRequest", canonical))
}

/// The signature of a form: of its policy, as sent.
pub(super) fn form<'a>(
    storage: &'a Storage,
    field: &dyn Fn(&str) -> Option<String>,
) -> Result<&'a Credential, OssError> {
    let get = |name| field(name).unwrap_or_default();
    let policy = get("policy");
    if field("OSSAccessKeyId").is_some() {
        let issued = credential(storage, &get("OSSAccessKeyId"), &get("x-oss-security-token"))?;
        if sign::v1_mac(&issued.secret, &policy) != get("signature") {
            return Err(mismatch(&issued.id, &get("signature"), &policy));
        }
        return Ok(issued);
    }
    if field("x-oss-signature-version").is_none() && policy.is_empty() {
        return Err(OssError::new("AccessDenied")
            .with_message("You have no right to access this object because of bucket acl."));
    }
    if get("x-oss-signature-version") != ALGORITHM {
        return Err(invalid("Invalid x-oss-signature-version."));
    }
    let scope = Scope::of(&get("x-oss-credential")).ok_or_else(|| invalid("Invalid x-oss-credential."))?;
    let at = get("x-oss-date");
    let issued = credentials(storage, &scope, &get("x-oss-security-token"))?;
    check_scope(&scope, &at)?;
    check_clock(clock::of_stamp(&at), &at)?;
    if scope.sign(&issued.secret, &policy) != get("x-oss-signature") {
        return Err(mismatch(&issued.id, &get("x-oss-signature"), &policy));
    }
    Ok(issued)
}

/// Checks that the credential was issued for this key.
pub(super) fn check_key(issued: &Credential, key: &str) -> Result<(), OssError> {
    if issued.key == key {
        return Ok(());
    }
    Err(OssError::new("AccessDenied")
        .with("AuthPrincipalType", "AssumedRoleUser")
        .with("NoPermissionType", "ImplicitDeny"))
}

fn credentials<'a>(storage: &'a Storage, scope: &Scope, token: &str) -> Result<&'a Credential, OssError> {
    credential(storage, &scope.access_key, token)
}

fn credential<'a>(storage: &'a Storage, access_key: &str, token: &str) -> Result<&'a Credential, OssError> {
    let issued = storage.credentials.get(access_key);
    // Temporary keys are valid only with their token.
    let Some(issued) = issued.filter(|_| !token.is_empty()) else {
        return Err(OssError::new("InvalidAccessKeyId").with("OSSAccessKeyId", access_key));
    };
    if issued.token != token {
        return Err(OssError::new("InvalidSecurityToken"));
    }
    if issued.expires < now() {
        return Err(OssError::new("SecurityTokenExpired"));
    }
    Ok(issued)
}

fn check_scope(scope: &Scope, at: &str) -> Result<(), OssError> {
    let what = match scope {
        scope if scope.region != SIGNED_REGION => "region",
        scope if scope.tail != "oss/aliyun_v4_request" => "product or request type",
        scope if at.get(..8) != Some(scope.date.as_str()) => "date",
        _ => return Ok(()),
    };
    Err(invalid(&format!("Invalid signing {what} in Authorization header.")).with("Credential", scope.text()))
}

fn check_clock(at: Option<i64>, text: &str) -> Result<(), OssError> {
    let Some(at) = at else {
        return Err(OssError::new("AccessDenied").with_message("OSS authentication requires a valid Date."));
    };
    if (now() - at).abs() <= clock::MAX_SKEW_SECONDS {
        return Ok(());
    }
    Err(OssError::new("RequestTimeTooSkewed")
        .with("MaxAllowedSkewMilliseconds", (clock::MAX_SKEW_SECONDS * 1_000).to_string())
        .with("RequestTime", text)
        .with("ServerTime", clock::stamp()))
}

fn mismatch(access_key: &str, signature: &str, text: &str) -> OssError {
    OssError::new("SignatureDoesNotMatch")
        .with("OSSAccessKeyId", access_key)
        .with("SignatureProvided", signature)
        .with("StringToSign", text)
}

fn invalid(message: &str) -> OssError {
    OssError::new("InvalidArgument").with_message(message)
}
