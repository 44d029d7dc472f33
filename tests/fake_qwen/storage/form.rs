//! `POST /` with a form: fields, policy and file.

use hyper::http::request::Parts;
use serde_json::Value;

use super::super::Shared;
use super::super::accounts::now;
use super::super::body::Reply;
use super::errors::{self, OssError};
use super::faults::Stage;
use super::oss::{Intake, RequestFailure, delay, fail, length};
use super::sign;
use super::spool::{Spool, etag};
use super::{BUCKET, Stored, check, clock, name_of};

/// The size limit of everything before the file.
const MAX_FIELD_BYTES: usize = 256 << 10;

/// Fields that the policy of a V4 form must name.
const V4_FIELDS: [&str; 3] = ["x-oss-signature-version", "x-oss-credential", "x-oss-date"];

pub(super) async fn post(shared: &Shared, parts: &Parts, intake: &mut Intake) -> Result<Reply, RequestFailure> {
    length(&parts.headers)?;
    let content_type = sign::header(&parts.headers, "content-type");
    let boundary = content_type
        .strip_prefix("multipart/form-data")
        .and_then(|rest| rest.split("boundary=").nth(1))
        .map(|boundary| boundary.split(';').next().unwrap_or_default().trim().trim_matches('"'))
        .filter(|boundary| !boundary.is_empty())
        .ok_or_else(|| malformed("Bucket POST must be of the enclosure-type multipart/form-data."))?;
    let mut reader = Reader::new(boundary);
    // A leading CRLF makes the first delimiter like the others.
    reader.push(b"\r\n")?;
    while !reader.in_file {
        let bytes = intake.next().await?.ok_or_else(|| malformed("The form has no file."))?;
        reader.push(&bytes)?;
    }
    let form = Form { fields: std::mem::take(&mut reader.fields) };
    let key = form.get("key").ok_or_else(|| malformed("Bucket POST must contain a field named 'key'."))?;
    let (fault, length_range) = {
        let mut storage = shared.storage.lock().unwrap();
        let issued = check::form(&storage, &|name| form.get(name))?;
        let length_range = form.check_policy()?;
        check::check_key(issued, &key)?;
        (storage.faults.take(Stage::Put, name_of(&key)), length_range)
    };
    intake.apply(fault.as_ref());
    fail(fault.as_ref())?;
    let mut spool = Spool::default();
    loop {
        spool.push(&reader.file_bytes());
        if reader.ended {
            break;
        }
        let bytes = intake.next().await?.ok_or_else(|| malformed("The form ends too early."))?;
        reader.push(&bytes)?;
    }
    intake.drain().await?;
    let blob = spool.finish();
    if let Some((min, max)) = length_range {
        if blob.size > max {
            return Err(OssError::new("EntityTooLarge").with("MaxSizeAllowed", max.to_string()).into());
        }
        if blob.size < min {
            return Err(OssError::new("EntityTooSmall").with("MinSizeAllowed", min.to_string()).into());
        }
    }
    let etag = etag(&blob.md5);
    let content_type = form.get("content-type").unwrap_or_default();
    shared.storage.lock().unwrap().store(&key, Stored { content_type, etag: etag.clone(), blob });
    let status = match form.get("success_action_status").as_deref() {
        Some("200") => 200,
        Some("201") => 201,
        _ => 204,
    };
    let mut reply = errors::success(status, None).header("etag", etag);
    delay(&mut reply, fault.as_ref());
    Ok(reply)
}

fn malformed(message: &str) -> OssError {
    OssError::new("MalformedPOSTRequest").with_message(message)
}

/// The fields before the file.
struct Form {
    fields: Vec<(String, String)>,
}

impl Form {
    fn get(&self, name: &str) -> Option<String> {
        self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    }

    /// Checks the policy; returns its range of lengths, if it has one.
    fn check_policy(&self) -> Result<Option<(u64, u64)>, OssError> {
        use base64::Engine;
        let document = base64::engine::general_purpose::STANDARD.decode(self.get("policy").unwrap_or_default());
        let policy: Value = document.ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let (Some(expiration), Some(conditions)) = (policy["expiration"].as_str(), policy["conditions"].as_array())
        else {
            return Err(OssError::new("InvalidPolicyDocument"));
        };
        if clock::of_policy(expiration).ok_or_else(|| OssError::new("InvalidPolicyDocument"))? < now() {
            return Err(denied("Policy expired."));
        }
        let mut range = None;
        let mut named = Vec::new();
        for condition in conditions {
            match condition {
                Value::Object(pairs) => {
                    for (name, value) in pairs {
                        self.check_condition("eq", name, value, condition)?;
                        named.push(name.to_lowercase());
                    }
                }
                Value::Array(parts) => match parts.as_slice() {
                    [name, min, max] if name == "content-length-range" => {
                        let bounds = min.as_u64().zip(max.as_u64());
                        range = Some(bounds.ok_or_else(|| OssError::new("InvalidPolicyDocument"))?);
                    }
                    [Value::String(how), Value::String(name), value] => {
                        let name = name.strip_prefix('$').ok_or_else(|| OssError::new("InvalidPolicyDocument"))?;
                        self.check_condition(how, name, value, condition)?;
                        named.push(name.to_lowercase());
                    }
                    _ => return Err(OssError::new("InvalidPolicyDocument")),
                },
                _ => return Err(OssError::new("InvalidPolicyDocument")),
            }
        }
        let v4 = self.get("x-oss-signature-version").is_some();
        match V4_FIELDS.iter().find(|name| v4 && !named.iter().any(|known| known == *name)) {
            Some(name) => Err(denied(&format!("Policy Condition failed: {name} is not in the policy."))),
            None => Ok(range),
        }
    }

    fn check_condition(&self, how: &str, name: &str, value: &Value, condition: &Value) -> Result<(), OssError> {
        let sent = if name == "bucket" { Some(BUCKET.to_owned()) } else { self.get(name) };
        let sent = sent.unwrap_or_default();
        let is_listed = || value.as_array().into_iter().flatten().any(|value| *value == *sent);
        let met = match how {
            "eq" => *value == *sent,
            "starts-with" => value.as_str().is_some_and(|start| sent.starts_with(start)),
            "in" => is_listed(),
            "not-in" => !is_listed(),
            _ => return Err(OssError::new("InvalidPolicyDocument")),
        };
        if met { Ok(()) } else { Err(denied(&format!("Policy Condition failed: {condition}"))) }
    }
}

fn denied(why: &str) -> OssError {
    OssError::new("AccessDenied").with_message(format!("Invalid according to Policy: {why}"))
}

/// Splits the body into fields and the file, which is the last part.
struct Reader {
    /// `\r\n--boundary`
    delimiter: Vec<u8>,
    buffer: Vec<u8>,
    fields: Vec<(String, String)>,
    in_file: bool,
    ended: bool,
}

impl Reader {
    fn new(boundary: &str) -> Reader {
        let delimiter = format!("\r\n--{boundary}").into_bytes();
        Reader { delimiter, buffer: Vec::new(), fields: Vec::new(), in_file: false, ended: false }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), OssError> {
        if self.ended {
            return Ok(());
        }
        self.buffer.extend_from_slice(bytes);
        while !self.in_file {
            let Some(used) = self.field()? else { break };
            self.buffer.drain(..used);
        }
        if !self.in_file && self.buffer.len() > MAX_FIELD_BYTES {
            return Err(malformed("The fields of the form are too long."));
        }
        Ok(())
    }

    /// Reads the first field of the buffer, if it is complete; returns its length in bytes.
    fn field(&mut self) -> Result<Option<usize>, OssError> {
        let buffer = self.buffer.as_slice();
        if buffer.len() < self.delimiter.len() + 4 {
            return Ok(None);
        }
        let Some(rest) = buffer.strip_prefix(self.delimiter.as_slice()).and_then(|rest| rest.strip_prefix(b"\r\n"))
        else {
            return Err(malformed("A form ends with its file."));
        };
        let Some(end) = position(rest, b"\r\n\r\n") else { return Ok(None) };
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        let start = buffer.len() - rest.len() + end + 4;
        let disposition = head.lines().find(|line| line.to_lowercase().starts_with("content-disposition:"));
        let name = disposition
            .and_then(|line| line.split("name=\"").find_map(|piece| piece.split_once('"').map(|(name, _)| name)))
            .ok_or_else(|| malformed("A field of the form has no name."))?
            .to_owned();
        if name == "file" {
            self.in_file = true;
            return Ok(Some(start));
        }
        let Some(length) = position(&buffer[start..], &self.delimiter) else { return Ok(None) };
        let value = String::from_utf8_lossy(&buffer[start..start + length]).into_owned();
        self.fields.push((name, value));
        Ok(Some(start + length))
    }

    /// The bytes of the file that arrived since the last call.
    fn file_bytes(&mut self) -> Vec<u8> {
        if let Some(end) = position(&self.buffer, &self.delimiter) {
            self.ended = true;
            self.buffer.truncate(end);
            return std::mem::take(&mut self.buffer);
        }
        let complete = self.buffer.len().saturating_sub(self.delimiter.len());
        self.buffer.drain(..complete).collect()
    }
}

fn position(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
