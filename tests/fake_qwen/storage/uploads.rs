//! Multipart uploads.

use std::collections::BTreeMap;

use hyper::HeaderMap;
use md5::{Digest, Md5};
use uuid::Uuid;

use super::super::Shared;
use super::super::body::Reply;
use super::errors::{self, OssError, escaped, unescaped};
use super::oss::{Intake, RequestFailure, check_md5, length};
use super::sign::{self, Query};
use super::spool::{PartFile, Spool, etag, hex};
use super::{BUCKET, Stored};

/// The minimum size of all parts but the last.
const MIN_PART_BYTES: u64 = 100 << 10;
const MAX_PARTS: u32 = 10_000;

pub(super) struct Upload {
    pub(super) key: String,
    content_type: String,
    file: PartFile,
    parts: BTreeMap<u32, Part>,
}

struct Part {
    at: u64,
    size: u64,
    md5: Vec<u8>,
}

pub(super) fn initiate(
    shared: &Shared,
    key: &str,
    query: &Query,
    headers: &HeaderMap,
) -> Result<Reply, RequestFailure> {
    let id = Uuid::new_v4().simple().to_string().to_uppercase();
    let upload = Upload {
        key: key.to_owned(),
        content_type: sign::header(headers, "content-type"),
        file: PartFile::new().map_err(|_| OssError::new("InternalError"))?,
        parts: BTreeMap::new(),
    };
    shared.storage.lock().unwrap().uploads.insert(id.clone(), upload);
    let (encoding, key) = match query.get("encoding-type") {
        Some("url") => ("  <EncodingType>url</EncodingType>\n", sign::encoded_path(key)),
        _ => ("", key.to_owned()),
    };
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<InitiateMultipartUploadResult>\n{encoding}  <Bucket>{BUCKET}</Bucket>\n  \
         <Key>{}</Key>\n  <UploadId>{id}</UploadId>\n</InitiateMultipartUploadResult>\n",
        escaped(&key)
    );
    Ok(errors::success(200, Some(xml)))
}

pub(super) async fn part(
    shared: &Shared,
    key: &str,
    id: &str,
    number: &str,
    headers: &HeaderMap,
    intake: &mut Intake,
) -> Result<Reply, RequestFailure> {
    let number: u32 = number.parse().ok().filter(|number| (1..=MAX_PARTS).contains(number)).ok_or_else(|| {
        OssError::new("InvalidArgument")
            .with_message("Part number must be an integer between 1 and 10000, inclusive.")
            .with("ArgumentName", "partNumber")
            .with("ArgumentValue", number)
    })?;
    let size = length(headers)?;
    let file = find(&mut shared.storage.lock().unwrap().uploads, key, id)?.file.clone();
    let start = file.reserve(size);
    let mut at = start;
    let mut md5 = Md5::new();
    while let Some(bytes) = intake.next().await? {
        file.write(at, &bytes).map_err(|_| OssError::new("InternalError"))?;
        at += bytes.len() as u64;
        md5.update(&bytes);
    }
    let part = Part { at: start, size, md5: md5.finalize().to_vec() };
    check_md5(headers, &part.md5)?;
    let etag = etag(&part.md5);
    let mut storage = shared.storage.lock().unwrap();
    find(&mut storage.uploads, key, id)?.parts.insert(number, part);
    Ok(errors::success(200, None).header("etag", etag))
}

pub(super) fn complete(
    shared: &Shared,
    key: &str,
    id: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Reply, RequestFailure> {
    check_md5(headers, &Md5::digest(body))?;
    let mut storage = shared.storage.lock().unwrap();
    let upload = find(&mut storage.uploads, key, id)?;
    let listed = parse_parts(body).ok_or_else(|| OssError::new("MalformedXML"))?;
    if listed.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        return Err(OssError::new("InvalidPartOrder").with("UploadId", id).into());
    }
    let mut spool = Spool::default();
    let mut digests = Md5::new();
    for (index, (number, etag)) in listed.iter().enumerate() {
        let has_etag =
            |part: &&Part| self::etag(&part.md5).trim_matches('"').eq_ignore_ascii_case(etag.trim_matches('"'));
        let Some(part) = upload.parts.get(number).filter(has_etag) else {
            return Err(OssError::new("InvalidPart")
                .with("UploadId", id)
                .with("PartNumber", number.to_string())
                .with("ETag", etag.clone())
                .into());
        };
        if part.size < MIN_PART_BYTES && index + 1 < listed.len() {
            return Err(OssError::new("EntityTooSmall").with("PartNumber", number.to_string()).into());
        }
        upload.file.read_into(&mut spool, part.at, part.size).map_err(|_| OssError::new("InternalError"))?;
        digests.update(&part.md5);
    }
    let etag = format!("\"{}-{}\"", hex(&digests.finalize()).to_uppercase(), listed.len());
    let stored = Stored { content_type: upload.content_type.clone(), etag: etag.clone(), blob: spool.finish() };
    storage.uploads.remove(id);
    storage.store(key, stored);
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<CompleteMultipartUploadResult>\n  \
         <Location>http://{BUCKET}.oss-accelerate.aliyuncs.com/{}</Location>\n  <Bucket>{BUCKET}</Bucket>\n  <Key>{}</Key>\n  \
         <ETag>{}</ETag>\n</CompleteMultipartUploadResult>\n",
        sign::encoded_path(key),
        escaped(key),
        escaped(&etag)
    );
    Ok(errors::success(200, Some(xml)).header("etag", etag))
}

pub(super) fn abort(shared: &Shared, key: &str, id: &str) -> Result<Reply, RequestFailure> {
    let mut storage = shared.storage.lock().unwrap();
    find(&mut storage.uploads, key, id)?;
    storage.uploads.remove(id);
    storage.aborted.push(key.to_owned());
    Ok(errors::success(204, None))
}

fn find<'a>(
    uploads: &'a mut std::collections::HashMap<String, Upload>,
    key: &str,
    id: &str,
) -> Result<&'a mut Upload, OssError> {
    let upload = uploads.get_mut(id).filter(|upload| upload.key == key);
    upload.ok_or_else(|| OssError::new("NoSuchUpload").with("UploadId", id))
}

/// Part numbers and ETags of `<CompleteMultipartUpload>`; `None` without parts, or if a part lacks one of them.
fn parse_parts(body: &[u8]) -> Option<Vec<(u32, String)>> {
    let text = std::str::from_utf8(body).ok()?;
    let inner = text.split_once("<CompleteMultipartUpload")?.1.split_once('>')?.1;
    let inner = inner.split_once("</CompleteMultipartUpload>")?.0;
    let field = |part: &str, name: &str| {
        let value = part.split_once(&format!("<{name}>"))?.1.split_once(&format!("</{name}>"))?.0;
        Some(unescaped(value.trim()))
    };
    let mut parts = Vec::new();
    for part in inner.split("<Part>").skip(1) {
        let part = part.split_once("</Part>")?.0;
        parts.push((field(part, "PartNumber")?.parse().ok()?, field(part, "ETag")?));
    }
    (!parts.is_empty()).then_some(parts)
}
