//! `multipart/form-data` requests as curl writes them, and uploads that are generated while they are sent.

use std::{
    io,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};

use crate::http::{Raw, Reply, TIMEOUT};

const BOUNDARY: &str = "------------------------q4E0xZk1TnV7bWcR2dHsYm";
const BLOCK: usize = 64 * 1024;

/// A form that is held in memory.
#[derive(Clone, Default)]
pub struct Form(Vec<u8>);

impl Form {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn text(self, name: &str, value: &str) -> Self {
        self.raw_part(&format!("Content-Disposition: form-data; name=\"{}\"", escaped(name)), value)
    }

    #[must_use]
    pub fn file(self, field: &str, filename: &str, content_type: Option<&str>, content: impl AsRef<[u8]>) -> Self {
        self.raw_part(&file_head(field, filename, content_type), content)
    }

    /// A part with these header lines, which are separated by CRLF.
    #[must_use]
    pub fn raw_part(mut self, head: &str, content: impl AsRef<[u8]>) -> Self {
        self.open_part(head);
        self.0.extend_from_slice(content.as_ref());
        self.0.extend_from_slice(b"\r\n");
        self
    }

    /// The value of `Content-Type`, and the body.
    pub fn body(mut self) -> (String, Bytes) {
        self.close();
        (content_type(), self.0.into())
    }

    fn open_part(&mut self, head: &str) {
        self.0.extend_from_slice(format!("--{BOUNDARY}\r\n{head}\r\n\r\n").as_bytes());
    }

    fn close(&mut self) {
        self.0.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    }

    fn texts(self, fields: &[(String, String)]) -> Self {
        fields.iter().fold(self, |form, (name, value)| form.text(name, value))
    }
}

fn content_type() -> String {
    format!("multipart/form-data; boundary={BOUNDARY}")
}

fn file_head(field: &str, filename: &str, content_type: Option<&str>) -> String {
    let disposition =
        format!("Content-Disposition: form-data; name=\"{}\"; filename=\"{}\"", escaped(field), escaped(filename));
    match content_type {
        Some(content_type) => format!("{disposition}\r\nContent-Type: {content_type}"),
        None => disposition,
    }
}

/// Escapes a name as curl and browsers do.
fn escaped(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

/// An upload whose content is generated while it is sent. The content is reproducible, and no two blocks are equal.
#[derive(Clone)]
pub struct LargeUpload {
    pub field: String,
    pub filename: String,
    pub content_type: Option<String>,
    /// Length of the content, `head` included.
    pub size: u64,
    /// First bytes of the content.
    pub head: Vec<u8>,
    /// Selects the content.
    pub seed: u64,
    pub fields_before: Vec<(String, String)>,
    pub fields_after: Vec<(String, String)>,
    /// Header fields besides those of the body.
    pub headers: Vec<(String, String)>,
    /// Send `Transfer-Encoding: chunked` instead of `Content-Length`.
    pub chunked: bool,
    pub bytes_per_second: Option<u64>,
}

/// The response to an upload.
#[derive(Debug)]
pub struct Uploaded {
    pub reply: Reply,
    /// Bytes of the body that were written before the response was complete.
    pub bytes: u64,
}

impl LargeUpload {
    /// An upload in the field `file`, with the default API key, at full speed.
    pub fn new(filename: &str, size: u64) -> Self {
        Self {
            field: "file".to_owned(),
            filename: filename.to_owned(),
            content_type: None,
            size,
            head: Vec::new(),
            seed: 1,
            fields_before: Vec::new(),
            fields_after: Vec::new(),
            headers: vec![("authorization".to_owned(), format!("Bearer {}", crate::server::KEY))],
            chunked: false,
            bytes_per_second: None,
        }
    }

    /// Hex digest of the content.
    pub fn sha256(&self) -> String {
        let mut digest = Sha256::new();
        self.blocks().for_each(|block| digest.update(&block));
        digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Length of the request body.
    pub fn length(&self) -> u64 {
        let (before, after) = self.framing();
        before.len() as u64 + self.size + after.len() as u64
    }

    /// Sends the upload until the response is complete.
    pub async fn send_all(&self, address: &str, path: &str) -> Uploaded {
        let (mut read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
        let count = AtomicU64::new(0);
        let reply = {
            let mut receiving = pin!(receive(&mut read));
            tokio::select! {
                reply = &mut receiving => reply,
                // A server that stops reading may still have answered.
                _ = self.send(&mut write, address, path, u64::MAX, &count) => {
                    timeout(TIMEOUT, receiving).await.expect("no response to an upload")
                }
            }
        };
        Uploaded { reply, bytes: count.into_inner() }
    }

    /// Sends the first `bytes` bytes of the body, or fewer if the server closes the connection, and returns the connection.
    pub async fn send_some(&self, address: &str, path: &str, bytes: u64) -> Raw {
        let mut raw = Raw::connect(address).await;
        let _ = self.send(&mut raw.0, address, path, bytes, &AtomicU64::new(0)).await;
        raw
    }

    async fn send(
        &self,
        stream: &mut (impl AsyncWrite + Unpin),
        address: &str,
        path: &str,
        limit: u64,
        count: &AtomicU64,
    ) -> io::Result<()> {
        stream.write_all(self.request_head(address, path).as_bytes()).await?;
        let (before, after) = self.framing();
        let step = self.bytes_per_second.map_or(BLOCK, |speed| (speed / 20).clamp(1, BLOCK as u64) as usize);
        let started = Instant::now();
        for block in std::iter::once(before).chain(self.blocks()).chain([after]) {
            for chunk in block.chunks(step) {
                let sent = count.load(Ordering::Relaxed);
                let chunk = &chunk[..chunk.len().min(usize::try_from(limit - sent).unwrap_or(usize::MAX))];
                if chunk.is_empty() {
                    return Ok(());
                }
                if let Some(speed) = self.bytes_per_second {
                    sleep_until(started + Duration::from_secs_f64(sent as f64 / speed as f64)).await;
                }
                timeout(TIMEOUT, self.send_chunk(stream, chunk)).await.expect("the server stopped reading")?;
                count.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
        }
        if self.chunked && count.load(Ordering::Relaxed) < limit {
            stream.write_all(b"0\r\n\r\n").await?;
        }
        Ok(())
    }

    async fn send_chunk(&self, stream: &mut (impl AsyncWrite + Unpin), chunk: &[u8]) -> io::Result<()> {
        if !self.chunked {
            return stream.write_all(chunk).await;
        }
        stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await?;
        stream.write_all(chunk).await?;
        stream.write_all(b"\r\n").await
    }

    fn request_head(&self, address: &str, path: &str) -> String {
        let length = match self.chunked {
            true => "transfer-encoding: chunked".to_owned(),
            false => format!("content-length: {}", self.length()),
        };
        let others: String = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\n{others}content-type: {}\r\n{length}\r\n\r\n",
            content_type()
        )
    }

    /// The bytes of the body before and after the content.
    fn framing(&self) -> (Vec<u8>, Vec<u8>) {
        let mut before = Form::new().texts(&self.fields_before);
        before.open_part(&file_head(&self.field, &self.filename, self.content_type.as_deref()));
        let mut after = Form(b"\r\n".to_vec()).texts(&self.fields_after);
        after.close();
        (before.0, after.0)
    }

    /// The content: one pseudo-random block, repeated, each time with its number in the first bytes.
    fn blocks(&self) -> impl Iterator<Item = Vec<u8>> + Send {
        let mut state = self.seed;
        let pattern: Vec<u8> = (0..BLOCK / 8).flat_map(|_| split_mix(&mut state).to_le_bytes()).collect();
        (0..self.size.div_ceil(BLOCK as u64)).map(move |number| {
            let at = number * BLOCK as u64;
            let mut block = pattern.clone();
            block[..8].copy_from_slice(&(number ^ state).to_le_bytes());
            block.truncate(usize::try_from(self.size - at).unwrap_or(usize::MAX));
            let head = self.head.get(usize::try_from(at).unwrap_or(usize::MAX)..).unwrap_or_default();
            for (byte, head_byte) in block.iter_mut().zip(head) {
                *byte = *head_byte;
            }
            block
        })
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Reads a response to its end; skips informational responses.
async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> Reply {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            match memchr::memmem::find(&buffer, b"\r\n\r\n") {
                Some(end) => break end,
                None => {
                    assert!(read_more(stream, &mut buffer).await, "no response: {:?}", String::from_utf8_lossy(&buffer))
                }
            }
        };
        let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
        buffer.drain(..end + 4);
        let mut lines = head.lines();
        let status: StatusCode = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        if status.is_informational() {
            continue;
        }
        let mut headers = HeaderMap::new();
        for (name, value) in lines.map(|line| line.split_once(':').unwrap()) {
            headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value.trim()).unwrap());
        }
        let chunked = headers.get("transfer-encoding").is_some_and(|value| value == "chunked");
        let length = headers.get("content-length").map(|value| value.to_str().unwrap().parse().unwrap());
        loop {
            let body = match (chunked, length) {
                (true, _) => decode_chunked(&buffer),
                (false, Some(length)) => buffer.get(..length).map(<[u8]>::to_vec),
                (false, None) => None,
            };
            if let Some(body) = body {
                return Reply { status, headers, body: body.into() };
            }
            if !read_more(stream, &mut buffer).await {
                assert!(
                    !chunked && length.is_none(),
                    "the response ends early: {status} {}",
                    String::from_utf8_lossy(&buffer)
                );
                return Reply { status, headers, body: buffer.into() };
            }
        }
    }
}

/// Reads once; returns false at the end of the stream.
async fn read_more(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> bool {
    stream.read_buf(buffer).await.is_ok_and(|count| count > 0)
}

/// The content of a chunked body, or `None` while it is incomplete.
fn decode_chunked(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let end = memchr::memmem::find(bytes, b"\r\n")?;
        let size = std::str::from_utf8(&bytes[..end]).unwrap().split(';').next().unwrap().trim();
        let size = usize::from_str_radix(size, 16).unwrap();
        bytes = &bytes[end + 2..];
        if size == 0 {
            return Some(content);
        }
        content.extend_from_slice(bytes.get(..size)?);
        bytes = bytes.get(size + 2..)?;
    }
}
