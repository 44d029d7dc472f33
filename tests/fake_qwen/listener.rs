//! A server with threads of its own, for any fake.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::body::{NoResponse, StepBody};

/// A bound address that nobody is served at yet.
pub(crate) struct Listener {
    pub(crate) addr: SocketAddr,
    name: &'static str,
    runtime: Runtime,
    socket: TcpListener,
}

/// A running server; dropping it stops it.
pub(crate) struct Running {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Binds `addr`. Each of the threads calls `on_thread_start` first.
    pub(crate) fn bind(
        addr: SocketAddr,
        name: &'static str,
        threads: usize,
        on_thread_start: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Listener> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name(name)
            .on_thread_start(on_thread_start)
            .enable_all()
            .build()?;
        let socket = {
            let _inside = runtime.enter();
            let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.set_reuseaddr(true)?;
            socket.bind(addr)?;
            socket.listen(4096)?
        };
        Ok(Listener { addr: socket.local_addr()?, name, runtime, socket })
    }

    /// Serves HTTP/1.1 and HTTP/2 until the result is dropped.
    pub(crate) fn serve<S, F>(self, serve: S) -> io::Result<Running>
    where
        S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Result<Response<StepBody>, NoResponse>> + Send + 'static,
    {
        let Listener { name, runtime, socket, .. } = self;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(async move {
                let accept = async {
                    loop {
                        match socket.accept().await {
                            Ok((stream, _)) => drop(tokio::spawn(connection(stream, serve.clone()))),
                            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                        }
                    }
                };
                tokio::select! {
                    _ = stopped => {}
                    never = accept => match never {},
                }
            });
            runtime.shutdown_timeout(Duration::from_secs(1));
        })?;
        Ok(Running { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn connection<S, F>(stream: TcpStream, serve: S)
where
    S: Fn(Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Result<Response<StepBody>, NoResponse>> + Send + 'static,
{
    let _ = stream.set_nodelay(true);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().half_close(false);
    builder.http2().max_concurrent_streams(10_000);
    // An error means that the client disconnected or that the fake cut the connection.
    let _ = builder.serve_connection(TokioIo::new(stream), service_fn(serve)).await;
}
