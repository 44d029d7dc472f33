//! Bodies on their way through: digested, not kept.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex};

use md5::Md5;
use sha2::{Digest, Sha256};

/// What is kept of any body.
const HEAD: usize = 64 << 10;
/// Texts up to this size are kept whole.
const TEXT: usize = 1 << 20;
const CHUNK: usize = 64 << 10;

/// Takes a body in, piece by piece.
#[derive(Default)]
pub(super) struct Spool {
    sha: Sha256,
    md5: Md5,
    size: u64,
    kept: Vec<u8>,
    /// More than the head came, and it was looked at.
    judged: bool,
    binary: bool,
}

/// What is known of a body that went by.
#[derive(Clone, Debug)]
pub(super) struct Blob {
    pub(super) size: u64,
    pub(super) sha256: String,
    pub(super) md5: Vec<u8>,
    kept: Vec<u8>,
}

impl Spool {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.sha.update(bytes);
        self.md5.update(bytes);
        self.size += bytes.len() as u64;
        if self.binary {
            return;
        }
        let room = TEXT - self.kept.len();
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if !self.judged && self.kept.len() > HEAD {
            self.judged = true;
            self.binary = std::str::from_utf8(&self.kept).is_err_and(|error| error.error_len().is_some());
            if self.binary {
                self.kept.truncate(HEAD);
            }
        }
    }

    pub(super) fn finish(mut self) -> Blob {
        if self.kept.len() as u64 != self.size {
            self.kept.truncate(HEAD);
        }
        Blob {
            size: self.size,
            sha256: hex(&self.sha.finalize()),
            md5: self.md5.finalize().to_vec(),
            kept: std::mem::take(&mut self.kept),
        }
    }
}

impl Blob {
    /// The whole body, if it was small enough.
    pub(super) fn whole(&self) -> Option<&[u8]> {
        (self.kept.len() as u64 == self.size).then_some(self.kept.as_slice())
    }

    pub(super) fn text(&self) -> Option<String> {
        String::from_utf8(self.whole()?.to_vec()).ok()
    }
}

/// Where the parts of one upload wait to be joined: a file without a name, in which each part has a place of its own.
#[derive(Clone)]
pub(super) struct Shelf(Arc<Mutex<(File, u64)>>);

impl Shelf {
    pub(super) fn new() -> io::Result<Shelf> {
        Ok(Shelf(Arc::new(Mutex::new((tempfile::tempfile()?, 0)))))
    }

    /// The offset of a new place of `size` bytes.
    pub(super) fn reserve(&self, size: u64) -> u64 {
        let mut shelf = self.0.lock().unwrap();
        let at = shelf.1;
        shelf.1 += size;
        at
    }

    pub(super) fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let file = &mut self.0.lock().unwrap().0;
        file.seek(SeekFrom::Start(at))?;
        file.write_all(bytes)
    }

    /// Adds `size` bytes from `at` on to `spool`.
    pub(super) fn read_into(&self, spool: &mut Spool, at: u64, size: u64) -> io::Result<()> {
        let file = &mut self.0.lock().unwrap().0;
        file.seek(SeekFrom::Start(at))?;
        let mut left = file.take(size);
        let mut chunk = vec![0; CHUNK];
        loop {
            match left.read(&mut chunk)? {
                0 => return Ok(()),
                count => spool.push(&chunk[..count]),
            }
        }
    }
}

/// As OSS writes the ETag of a whole object or a part: quoted, in capitals.
pub(super) fn etag(md5: &[u8]) -> String {
    format!("\"{}\"", hex(md5).to_uppercase())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
