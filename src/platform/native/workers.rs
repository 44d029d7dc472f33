//! One thread for each processor, each with its own runtime.
//!
//! A stream passes through three tasks: the upstream's connection, the client's connection, and the task between them. On a
//! multi-threaded runtime they would wake each other across threads for each delta, which costs more than the translation
//! itself. Therefore a connection stays on one thread, with all tasks that serve it.

use std::{io, num::NonZero, sync::Arc, thread};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// The threads that serve connections. Dropping this ends them and their tasks.
pub struct Workers(Vec<Worker>);

struct Worker {
    runtime: Handle,
    /// Each connection holds a clone, so the reference count is the number of connections.
    connections: Arc<()>,
    _stop: oneshot::Sender<()>,
}

impl Workers {
    /// Starts one thread for each processor of this process.
    ///
    /// # Errors
    /// The system refuses a thread or a poll descriptor.
    pub fn start() -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, NonZero::get);
        (0..count).map(Worker::start).collect::<io::Result<_>>().map(Self)
    }

    /// Runs a connection on the thread with the fewest connections.
    pub(super) fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let Some(worker) = self.0.iter().min_by_key(|worker| Arc::strong_count(&worker.connections)) else {
            tracing::error!("a connection is dropped: there is no thread to serve it");
            return;
        };
        let counted = Arc::clone(&worker.connections);
        worker.runtime.spawn(async move {
            let _counted = counted;
            connection.await;
        });
    }
}

impl Worker {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let handle = runtime.handle().clone();
        thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            let _ = runtime.block_on(stopped);
            // A pending DNS look-up must not delay the end.
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, connections: Arc::new(()), _stop: stop })
    }
}
