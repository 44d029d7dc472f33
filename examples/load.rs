//! Load generator of `scripts/bench`: prints its measurements as one line of JSON.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a tool"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use clap::Parser;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Uri};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::json;

/// Sends the same POST request repeatedly.
#[derive(Clone, Parser)]
struct Options {
    /// The URL, or several separated by commas, which the requests use in turn.
    #[arg(value_delimiter = ',')]
    urls: Vec<Uri>,
    /// Header fields, each as `name: value`.
    #[arg(short = 'H', long = "header")]
    headers: Vec<String>,
    /// The body, or `@FILE`. `{query}` is replaced with the text after the last `=` of the URL, `{worker}` with the number of
    /// the connection.
    #[arg(short, long)]
    data: String,
    /// Total number of requests.
    #[arg(short = 'n', long, default_value_t = 1)]
    requests: usize,
    /// Number of concurrent connections.
    #[arg(short, long, default_value_t = 1)]
    connections: usize,
    /// Milliseconds between the starts of two connections.
    #[arg(long, default_value_t = 0)]
    ramp_ms: u64,
    /// Seconds to keep reading after all responses have begun, instead of waiting for their ends.
    #[arg(long)]
    hold: Option<f64>,
}

type Http = Client<HttpConnector, Full<Bytes>>;

struct Load {
    options: Options,
    http: Http,
    next: AtomicUsize,
    open: AtomicUsize,
}

/// The measurements of one request.
#[derive(Clone, Copy, Default)]
struct Measured {
    first_byte: Duration,
    total: Duration,
    bytes: usize,
}

impl Load {
    async fn one(&self, worker: usize, number: usize) -> Measured {
        let url = &self.options.urls[number % self.options.urls.len()];
        let query = url.query().and_then(|query| query.rsplit('=').next()).unwrap_or_default();
        let body = self.options.data.replace("{query}", query).replace("{worker}", &worker.to_string());
        let mut request = Request::post(url.clone());
        for header in &self.options.headers {
            let (name, value) = header.split_once(':').unwrap();
            request = request.header(name.trim(), value.trim());
        }
        let started = Instant::now();
        let answer = self.http.request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200, "{:?}", answer.headers());
        let mut body = answer.into_body();
        let mut measured = Measured::default();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.unwrap().into_data() else { continue };
            if measured.bytes == 0 {
                measured.first_byte = started.elapsed();
                self.open.fetch_add(1, Ordering::Relaxed);
            }
            measured.bytes += data.len();
        }
        measured.total = started.elapsed();
        measured
    }

    async fn work(self: Arc<Self>, worker: usize) -> Vec<Measured> {
        tokio::time::sleep(Duration::from_millis(self.options.ramp_ms * worker as u64)).await;
        let mut all = Vec::new();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.options.requests {
                return all;
            }
            all.push(self.one(worker, number).await);
        }
    }
}

fn main() {
    let mut options = Options::parse();
    if let Some(file) = options.data.strip_prefix('@') {
        options.data = std::fs::read_to_string(file).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (connections, hold) = (options.connections, options.hold);
        let http = Client::builder(TokioExecutor::new()).build_http();
        let load = Arc::new(Load { options, http, next: AtomicUsize::new(0), open: AtomicUsize::new(0) });
        let started = Instant::now();
        let workers: Vec<_> = (0..connections).map(|worker| tokio::spawn(Arc::clone(&load).work(worker))).collect();
        if let Some(seconds) = hold {
            while load.open.load(Ordering::Relaxed) < connections {
                assert!(started.elapsed() < Duration::from_secs(60), "only {:?} have begun", load.open);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            println!("{}", json!({ "open": connections, "after_s": started.elapsed().as_secs_f64() }));
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            return;
        }
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.await.unwrap());
        }
        let seconds = started.elapsed().as_secs_f64();
        let quantile = |of: fn(&Measured) -> Duration, share: f64| {
            let mut times: Vec<Duration> = all.iter().map(of).collect();
            times.sort_unstable();
            let at = ((times.len() - 1) as f64 * share) as usize;
            times[at].as_secs_f64() * 1e3
        };
        println!(
            "{}",
            json!({
                "requests": all.len(),
                "seconds": seconds,
                "per_second": all.len() as f64 / seconds,
                "p50_ms": quantile(|measured| measured.total, 0.5),
                "p99_ms": quantile(|measured| measured.total, 0.99),
                "first_p50_ms": quantile(|measured| measured.first_byte, 0.5),
                "bytes": all.iter().map(|measured| measured.bytes).sum::<usize>(),
            })
        );
    });
}
