//! Errors of the storage as XML.

use std::fmt::Write as _;

use uuid::Uuid;

use super::super::body::Reply;

/// Code, status, message.
const KNOWN: &[(&str, u16, &str)] = &[
    ("AccessDenied", 403, "You have no right to access this object."),
    ("EntityTooLarge", 400, "Your proposed upload exceeds the maximum allowed size."),
    ("EntityTooSmall", 400, "Your proposed upload smaller than the minimum allowed size."),
    ("InternalError", 500, "We encountered an internal error. Please try again."),
    ("InvalidAccessKeyId", 403, "The OSS Access Key Id you provided does not exist in our records."),
    ("InvalidArgument", 400, "Invalid argument."),
    ("InvalidDigest", 400, "The Content-MD5 you specified did not match what we received."),
    (
        "InvalidPart",
        400,
        "One or more of the specified parts could not be found or the specified entity tag might not have matched the part's entity tag.",
    ),
    (
        "InvalidPartOrder",
        400,
        "The list of parts was not in ascending order. The parts list must be specified in order by part number.",
    ),
    ("InvalidPolicyDocument", 400, "Invalid Policy: the document is not valid."),
    ("MalformedPOSTRequest", 400, "The body of your POST request is not well-formed multipart/form-data."),
    ("MalformedXML", 400, "The XML you provided was not well-formed or did not validate against our published schema."),
    ("MethodNotAllowed", 405, "The specified method is not allowed against this resource."),
    ("MissingContentLength", 411, "You must provide the Content-Length HTTP header."),
    ("NoSuchKey", 404, "The specified key does not exist."),
    (
        "NoSuchUpload",
        404,
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
    ),
    ("InvalidSecurityToken", 403, "The security token you provided is invalid."),
    ("RequestTimeTooSkewed", 403, "The difference between the request time and the current time is too large."),
    (
        "RequestTimeout",
        400,
        "Your socket connection to the server was not read from or written to within the timeout period.",
    ),
    ("SecurityTokenExpired", 403, "The security token you provided has expired."),
    ("ServiceUnavailable", 503, "Please reduce your request rate."),
    (
        "SignatureDoesNotMatch",
        403,
        "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
    ),
];

/// An error response.
#[derive(Debug)]
pub(super) struct OssError {
    status: u16,
    code: String,
    message: String,
    extra: Vec<(&'static str, String)>,
}

/// Whether the storage has an error with this code.
pub(super) fn is_known(code: &str) -> bool {
    KNOWN.iter().any(|(known, ..)| *known == code)
}

impl OssError {
    pub(super) fn new(code: &str) -> OssError {
        let known = KNOWN.iter().find(|(known, ..)| *known == code);
        let (status, message) = known.map_or((500, "?"), |(_, status, message)| (*status, *message));
        OssError { status, code: code.to_owned(), message: message.to_owned(), extra: Vec::new() }
    }

    /// A server error with this status.
    pub(super) fn of_status(status: u16) -> OssError {
        let code = if status == 503 { "ServiceUnavailable" } else { "InternalError" };
        OssError { status, ..OssError::new(code) }
    }

    pub(super) fn with_message(mut self, message: impl Into<String>) -> OssError {
        self.message = message.into();
        self
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> OssError {
        self.extra.push((name, value.into()));
        self
    }

    pub(super) fn reply(&self) -> Reply {
        let id = Uuid::new_v4().simple().to_string()[..24].to_uppercase();
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>\n  <Code>{}</Code>\n  <Message>{}</Message>\n  \
             <RequestId>{id}</RequestId>\n  <HostId>{}.oss-accelerate.aliyuncs.com</HostId>\n",
            self.code,
            escaped(&self.message),
            super::BUCKET
        );
        for (name, value) in &self.extra {
            let _ = writeln!(xml, "  <{name}>{}</{name}>", escaped(value));
        }
        xml.push_str("</Error>\n");
        Reply::whole(self.status, "application/xml", xml).header("server", "AliyunOSS").header("x-oss-request-id", id)
    }
}

/// A success response, with an XML body or without a body.
pub(super) fn success(status: u16, xml: Option<String>) -> Reply {
    let id = Uuid::new_v4().simple().to_string()[..24].to_uppercase();
    let mut reply = Reply::whole(status, "application/xml", xml.clone().unwrap_or_default());
    if xml.is_none() {
        reply.headers.clear();
    }
    reply.header("server", "AliyunOSS").header("x-oss-request-id", id)
}

/// Escapes text for XML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The reverse of [`escaped`].
pub(super) fn unescaped(text: &str) -> String {
    let text = text.replace("&quot;", "\"").replace("&#34;", "\"").replace("&lt;", "<").replace("&gt;", ">");
    text.replace("&amp;", "&")
}
