//! One thread for each processor, each with a runtime of its own.
//!
//! A stream passes through three tasks: the site's connection, the client's connection, and what joins them. On a runtime
//! that is spread over threads they would wake each other across them for every few words, which costs more than the
//! translation itself. So a connection stays on the thread it was given to, and all it leads to is done there.

use std::{io, num::NonZero, sync::Arc, thread};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// The threads that serve connections. They end when this is dropped, and what runs on them with them.
pub struct Workers(Vec<Worker>);

struct Worker {
    runtime: Handle,
    /// Held once more by each of its connections.
    connections: Arc<()>,
    _stop: oneshot::Sender<()>,
}

impl Workers {
    /// As many as there are processors for this process.
    ///
    /// # Errors
    /// When the system gives no thread or no poll descriptor.
    pub fn start() -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, NonZero::get);
        (0..count).map(Worker::start).collect::<io::Result<_>>().map(Self)
    }

    /// Runs a connection on the thread that has the fewest.
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
            // A name being looked up must not hold up the end.
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, connections: Arc::new(()), _stop: stop })
    }
}
