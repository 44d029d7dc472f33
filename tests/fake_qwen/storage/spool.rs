//! Bodies that are hashed and not stored.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex};

use md5::Md5;
use sha2::{Digest, Sha256};

/// The number of bytes that are stored of any body.
const HEAD_BYTES: usize = 64 << 10;
/// Texts up to this size are stored whole.
const MAX_TEXT_BYTES: usize = 1 << 20;
const CHUNK_BYTES: usize = 64 << 10;

/// Reads a body chunk by chunk.
#[derive(Default)]
pub(super) struct Spool {
    sha: Sha256,
    md5: Md5,
    size: u64,
    stored: Vec<u8>,
    /// Whether the head has been checked for text.
    checked: bool,
    binary: bool,
}

/// The digests and the stored head of a body.
#[derive(Clone, Debug)]
pub(super) struct Blob {
    pub(super) size: u64,
    pub(super) sha256: String,
    pub(super) md5: Vec<u8>,
    stored: Vec<u8>,
}

impl Spool {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.sha.update(bytes);
        self.md5.update(bytes);
        self.size += bytes.len() as u64;
        if self.binary {
            return;
        }
        let space = MAX_TEXT_BYTES - self.stored.len();
        self.stored.extend_from_slice(&bytes[..bytes.len().min(space)]);
        if !self.checked && self.stored.len() > HEAD_BYTES {
            self.checked = true;
            self.binary = std::str::from_utf8(&self.stored).is_err_and(|error| error.error_len().is_some());
            if self.binary {
                self.stored.truncate(HEAD_BYTES);
            }
        }
    }

    pub(super) fn finish(mut self) -> Blob {
        if self.stored.len() as u64 != self.size {
            self.stored.truncate(HEAD_BYTES);
        }
        Blob {
            size: self.size,
            sha256: hex(&self.sha.finalize()),
            md5: self.md5.finalize().to_vec(),
            stored: std::mem::take(&mut self.stored),
        }
    }
}

impl Blob {
    /// The whole body, if it was stored.
    pub(super) fn whole(&self) -> Option<&[u8]> {
        (self.stored.len() as u64 == self.size).then_some(self.stored.as_slice())
    }

    pub(super) fn text(&self) -> Option<String> {
        String::from_utf8(self.whole()?.to_vec()).ok()
    }
}

/// The parts of one upload in an unnamed temporary file, each at its own offset.
#[derive(Clone)]
pub(super) struct PartFile(Arc<Mutex<(File, u64)>>);

impl PartFile {
    pub(super) fn new() -> io::Result<PartFile> {
        Ok(PartFile(Arc::new(Mutex::new((tempfile::tempfile()?, 0)))))
    }

    /// Reserves `size` bytes; returns their offset.
    pub(super) fn reserve(&self, size: u64) -> u64 {
        let mut file = self.0.lock().unwrap();
        let at = file.1;
        file.1 += size;
        at
    }

    pub(super) fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let file = &mut self.0.lock().unwrap().0;
        file.seek(SeekFrom::Start(at))?;
        file.write_all(bytes)
    }

    /// Pushes `size` bytes from offset `at` to `spool`.
    pub(super) fn read_into(&self, spool: &mut Spool, at: u64, size: u64) -> io::Result<()> {
        let file = &mut self.0.lock().unwrap().0;
        file.seek(SeekFrom::Start(at))?;
        let mut left = file.take(size);
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match left.read(&mut chunk)? {
                0 => return Ok(()),
                count => spool.push(&chunk[..count]),
            }
        }
    }
}

/// The ETag of a whole object or a part: the MD5 in upper case, quoted.
pub(super) fn etag(md5: &[u8]) -> String {
    format!("\"{}\"", hex(md5).to_uppercase())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
