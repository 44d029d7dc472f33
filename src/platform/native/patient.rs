//! A connection whose client must read what is sent to it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// A stream whose writes fail if they make no progress for `timeout`. Reads return `prefix` first.
pub(super) struct WriteTimeout<S> {
    stream: S,
    prefix: Vec<u8>,
    timeout: Duration,
    /// Set while a write is pending.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> WriteTimeout<S> {
    /// `prefix` holds the bytes that were already read from `stream`.
    pub(super) fn new(stream: S, prefix: Vec<u8>, timeout: Duration) -> Self {
        Self { stream, prefix, timeout, deadline: None }
    }

    /// Fails a pending write after the deadline, and clears the deadline of a write that is ready.
    fn check_deadline<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.deadline = None;
            return written;
        }
        let timeout = self.timeout;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(timeout)));
        deadline.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let length = self.prefix.len().min(buffer.remaining());
        let rest = self.prefix.split_off(length);
        buffer.put_slice(&self.prefix);
        self.prefix = rest;
        // What has arrived behind the prefix belongs to the same read: for a head in two reads hyper doubles its buffer.
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(())),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.check_deadline(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        self.check_deadline(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn one_read_has_the_prefix_and_what_has_arrived_behind_it() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut stream = WriteTimeout::new(server, b"GET /".to_vec(), Duration::from_secs(1));
        client.write_all(b" HTTP/1.1").await.unwrap();
        let mut buffer = [0; 64];
        let length = stream.read(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], b"GET / HTTP/1.1");
    }

    #[tokio::test]
    async fn buffers_of_any_size_get_the_bytes_in_order() {
        for size in 1..12 {
            let (mut client, server) = tokio::io::duplex(64);
            let mut stream = WriteTimeout::new(server, b"abcde".to_vec(), Duration::from_secs(1));
            client.write_all(b"fghij").await.unwrap();
            drop(client);
            let (mut all, mut buffer) = (Vec::new(), vec![0; size]);
            loop {
                match stream.read(&mut buffer).await.unwrap() {
                    0 => break,
                    length => all.extend_from_slice(&buffer[..length]),
                }
            }
            assert_eq!(all, b"abcdefghij", "{size}");
        }
    }
}
