//! A soak: weeks in fast motion. Clients of every kind at a steady rate, faults of the site, restarts and kills, while every
//! request is accounted for, what was acknowledged is looked for again, and memory is measured. docs/soak.md explains it.
//!
//! `SOAK_SECONDS` is its length; with `SOAK_FOLDER` the measurements are written there. `scripts/soak` sets both.

mod chaos;
mod crowd;
mod ledger;
mod report;
mod samples;
mod talk;
mod things;

use std::{
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::Value;

use crate::{
    Product,
    fake_compatible::{self, Compatible},
    fake_qwen::Fake,
    http::{Reply, eventually},
    server::{Case, LogLines, Server, unique},
};
use ledger::{Ledger, Own, Sent};
use samples::Sample;
use things::Kept;

/// The accounts and their keys.
pub const ACCOUNTS: [(&str, &str); 3] = [("default", "sk-test-key"), ("anna", "sk-of-anna"), ("bert", "sk-of-bert")];
const KEYS: &str = r#"["sk-test-key",{"key":"sk-of-anna","account":"anna"},{"key":"sk-of-bert","account":"bert"}]"#;
pub const ADMIN: &str = "admin-key";
/// 32 bytes in base64.
const SESSION_KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// `MEDIA_TTL_SECONDS`
const MEDIA_SECONDS: u64 = 20;
/// `UPSTREAM_IDLE_SECONDS`: long enough for three parts of an upload at a time on a busy machine.
const IDLE_SECONDS: u64 = 20;
/// The ticks of half a day for which all that was stored has to be there; after two days, `CONVERSATION_TTL_DAYS`, it may go.
/// One less than four: what is acknowledged shortly after a tick may have been stored before it.
const TTL_TICKS: u64 = 3;
/// Clients that hold conversations.
const TALKERS: usize = 12;

/// Everything that the clients share.
pub struct World {
    case: Arc<Case>,
    fake: Fake,
    second: Compatible,
    users: Vec<String>,
    settings: Vec<(&'static str, String)>,
    /// The native server's database.
    database: Option<PathBuf>,
    token_seconds: i64,
    server: RwLock<Arc<Server>>,
    life: AtomicUsize,
    /// The log of each life.
    logs: Mutex<Vec<LogLines>>,
    ledger: Ledger,
    kept: Mutex<Vec<Kept>>,
    settled: Mutex<talk::Settled>,
    numbers: Mutex<u64>,
    next: AtomicU64,
    ticks: AtomicU64,
    over: AtomicBool,
    begun: Instant,
    /// Taken for writing while the server is replaced.
    steps: tokio::sync::RwLock<()>,
}

impl World {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn tick(&self) -> u64 {
        self.ticks.load(Ordering::SeqCst)
    }

    fn begin_tick(&self) {
        self.ticks.fetch_add(1, Ordering::SeqCst);
    }

    /// A number that no other has.
    fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A random number below a limit (SplitMix64).
    fn below(&self, limit: usize) -> usize {
        let mut state = self.numbers.lock().unwrap();
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).unwrap()
    }

    /// Waits about as long, but not beyond the end.
    async fn pause(&self, ms: usize) {
        let ms = ms / 2 + self.below(ms);
        for _ in 0..ms.div_ceil(100) {
            if self.is_over() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn user(&self, account: usize) -> String {
        self.users[account].clone()
    }

    fn cookies(&self, account: usize) -> String {
        let user = &self.users[account];
        format!("token={}; refresh_token={}", Fake::token(user, self.token_seconds), Fake::refresh_token(user))
    }

    fn server(&self) -> Arc<Server> {
        Arc::clone(&self.server.read().unwrap())
    }

    async fn start(&self) -> Arc<Server> {
        let settings: Vec<_> = self.settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.case.start_with(&self.fake, &settings).await
    }

    /// Lets clients use another life of the server.
    async fn enter(&self, server: Arc<Server>) {
        let lines = server.log_lines().await;
        self.logs.lock().unwrap().extend(lines);
        *self.server.write().unwrap() = server;
        self.life.fetch_add(1, Ordering::SeqCst);
    }

    fn keep(&self, kept: Kept) {
        self.kept.lock().unwrap().push(kept.at(self.tick()));
    }

    async fn post(&self, account: usize, path: &str, body: &Value) -> Sent {
        self.send(account, "POST", path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// A request with the key of an account.
    async fn send(
        &self,
        account: usize,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Sent {
        self.send_as(ACCOUNTS[account].1, account, method, path, headers, body).await
    }

    async fn send_as(
        &self,
        key: &str,
        account: usize,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Sent {
        let id = format!("soak-{}", self.next());
        let authorization = format!("Bearer {key}");
        let mut all = vec![("x-request-id", id.as_str())];
        if !key.is_empty() {
            all.push(("authorization", &authorization));
        }
        all.extend_from_slice(headers);
        let (server, begun) = (self.server(), Instant::now());
        let result = server.http.attempt(method, path, &all, body).await;
        Sent::new(id, account, begun, result)
    }

    fn settle<T>(
        &self,
        kind: &'static str,
        sent: &Sent,
        own: Own,
        read: impl FnOnce(&Reply) -> Result<T, String>,
    ) -> Option<T> {
        self.ledger.settle(kind, sent, own, read)
    }

    /// Accounts for a request that has no reply to read.
    fn note(&self, kind: &'static str, account: usize, begun: Instant, problem: Option<String>) {
        self.ledger.note(kind, account, begun, problem);
    }

    async fn sample(&self) -> Sample {
        let server = self.server();
        let (resident, descriptors) = samples::process(server.pid).unwrap_or_default();
        let memory = server.isolate_memory().await;
        let database = match &self.database {
            Some(path) => samples::folder_bytes(path.parent().unwrap()),
            None => samples::folder_bytes(&PathBuf::from(server.worker_folder().await)),
        };
        let (requests, errors) = self.ledger.totals();
        Sample {
            seconds: self.begun.elapsed().as_secs_f64(),
            life: self.life.load(Ordering::SeqCst),
            resident,
            heap: memory.map(|[heap, buffers, _]| heap + buffers),
            wasm: memory.map(|[.., wasm]| wasm),
            descriptors,
            database,
            open_streams: self.fake.open_streams(),
            requests,
            errors,
        }
    }
}

/// The length of the soak.
pub fn length() -> Duration {
    Duration::from_secs(std::env::var("SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(24))
}

/// How long half a day takes.
fn tick_length(length: Duration) -> Duration {
    (length / 40).clamp(Duration::from_secs(4), Duration::from_secs(45))
}

/// Measures until the end.
async fn measure(world: Arc<World>, every: Duration) -> Vec<Sample> {
    let mut samples = Vec::new();
    while !world.is_over() {
        {
            let _quiet = world.steps.read().await;
            samples.push(world.sample().await);
        }
        tokio::time::sleep(every).await;
    }
    samples
}

async fn build(case: Arc<Case>, folder: &std::path::Path) -> Arc<World> {
    let (fake, second) = (Fake::start(), Compatible::start());
    let token_seconds = 10;
    fake.set_refresh_rotation(true);
    fake.set_access_token_seconds(token_seconds);
    let database = (case.product == Product::Native).then(|| folder.join("soak.db"));
    let mut settings = vec![
        ("QWEN_COOKIES", String::new()),
        ("VALID_TOKENS", KEYS.to_owned()),
        ("ADMIN_TOKEN", ADMIN.to_owned()),
        ("SESSION_KEY", SESSION_KEY.to_owned()),
        ("ALLOW_PRIVATE_URLS", "true".to_owned()),
        ("MEDIA_TTL_SECONDS", MEDIA_SECONDS.to_string()),
        ("CONVERSATION_TTL_DAYS", "2".to_owned()),
        ("DELETE_CHATS", "expired".to_owned()),
        ("UPSTREAM_IDLE_SECONDS", IDLE_SECONDS.to_string()),
        ("UPSTREAM_IN_FLIGHT", "32".to_owned()),
        ("FALLBACK_BASE_URL", second.url()),
        ("FALLBACK_API_KEY", fake_compatible::KEY.to_owned()),
        ("FALLBACK_ON", "upstream_error, upstream_timeout".to_owned()),
    ];
    if let Some(path) = &database {
        settings.push(("DATABASE_PATH", path.to_str().unwrap().to_owned()));
    }
    let all: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let server = case.start_with(&fake, &all).await;
    let world = Arc::new(World {
        case,
        fake,
        second,
        users: ACCOUNTS.iter().map(|(name, _)| unique(&format!("user-{name}"))).collect(),
        settings,
        database,
        token_seconds,
        server: RwLock::new(Arc::clone(&server)),
        life: AtomicUsize::new(0),
        logs: Mutex::default(),
        ledger: Ledger::default(),
        kept: Mutex::default(),
        settled: Mutex::default(),
        numbers: Mutex::new(7),
        next: AtomicU64::new(1),
        ticks: AtomicU64::new(0),
        over: AtomicBool::new(false),
        begun: Instant::now(),
        steps: tokio::sync::RwLock::new(()),
    });
    world.enter(server).await;
    for account in 0..ACCOUNTS.len() {
        chaos::give(&world, account).await;
    }
    world
}

/// Starts all clients.
fn clients(world: &Arc<World>) -> Vec<Pin<Box<dyn Future<Output = ()> + Send>>> {
    let again = || Arc::clone(world);
    let mut all: Vec<Pin<Box<dyn Future<Output = ()> + Send>>> = Vec::new();
    for place in 0..TALKERS {
        all.push(Box::pin(talk::client(again(), place)));
    }
    all.push(Box::pin(things::uploader(again(), 0)));
    all.push(Box::pin(things::uploader(again(), 1)));
    all.push(Box::pin(things::painter(again())));
    all.push(Box::pin(things::filmer(again())));
    all.push(Box::pin(things::lister(again())));
    all.push(Box::pin(things::counter(again())));
    all.push(Box::pin(things::auditor(again())));
    all.push(Box::pin(crowd::leaver(again())));
    all.push(Box::pin(crowd::wrong(again())));
    all.push(Box::pin(crowd::administrator(again())));
    if world.case.product == Product::Worker {
        all.push(Box::pin(chaos::cron(again())));
    }
    all
}

pub async fn weeks_in_fast_motion(case: Arc<Case>) {
    // Uploads of 20 MiB through workerd do not come to their end within the patience of a short soak on a busy machine.
    if case.product == Product::Worker && std::env::var_os("SOAK_SECONDS").is_none() {
        return;
    }
    let length = length();
    let folder = tempfile::tempdir().unwrap();
    let world = build(case, folder.path()).await;
    // Measuring the isolate collects its garbage.
    let pause = if world.case.product == Product::Worker { 10 } else { 5 };
    let every = Duration::from_secs(if length < Duration::from_secs(120) { 1 } else { pause });
    let running: Vec<_> = clients(&world).into_iter().map(tokio::spawn).collect();
    let measuring = tokio::spawn(measure(Arc::clone(&world), every));
    let explaining = tokio::spawn(report::explain(Arc::clone(&world)));
    chaos::disturb(Arc::clone(&world), length).await;
    world.over.store(true, Ordering::Relaxed);
    for client in running {
        client.await.unwrap();
    }
    let mut samples = measuring.await.unwrap();
    finish(&world).await;
    samples.push(world.sample().await);
    let lines = report::lines(&world).await;
    report::print(&world, &samples, &lines);
    explaining.await.unwrap();
    let (count, unexplained) = world.ledger.all_unexplained();
    assert!(count == 0, "{count} unexplained:\n{}", unexplained.join("\n"));
}

/// Looks for what was kept, and for what is left open.
async fn finish(world: &Arc<World>) {
    let kept = std::mem::take(&mut *world.kept.lock().unwrap());
    for each in &kept {
        things::look(world, each).await;
    }
    eventually("the site sends nothing any more", || async { world.fake.open_streams() == 0 }).await;
    if world.case.product == Product::Native {
        eventually("no permit is taken", || async {
            let headers = Server::auth_headers();
            let text = world.server().http.send("GET", "/metrics", &headers, "").await.text();
            let taken = |line: &&str| line.starts_with("qwen_edge_in_flight{") || line.starts_with("qwen_edge_queue{");
            let mut gauges = text.lines().filter(taken).peekable();
            gauges.peek().is_some() && gauges.all(|line| line.ends_with(" 0"))
        })
        .await;
    }
    let health = world.server().get("/health").await.json();
    let mut wrong = Vec::new();
    if health["store"]["ok"] != true || health["store"]["persistent"] != true {
        wrong.push(format!("the store is not well: {health}"));
    }
    if health["accounts"]["usable"] != ACCOUNTS.len() {
        wrong.push(format!("not all accounts are usable: {health}"));
    }
    wrong.extend(world.fake.violations("").into_iter().map(|it| format!("a wrong request to the site: {it}")));
    wrong.extend(world.second.violations().into_iter().map(|it| format!("a wrong request to the second: {it}")));
    if world.fake.foreign_requests() > 0 {
        wrong.push("a chat of another account was asked for".to_owned());
    }
    for line in report::lines(world).await {
        if line.contains("panicked") || line.contains("\"level\":\"ERROR\"") {
            wrong.push(line);
        }
    }
    wrong.into_iter().for_each(|it| world.ledger.unexplained(it));
}
