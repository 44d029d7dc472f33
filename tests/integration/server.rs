//! Starts the servers under test.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdin, Command},
    runtime::Runtime,
    sync::{OnceCell, oneshot},
    time::timeout,
};

use crate::{
    Product,
    fake_qwen::Fake,
    http::{Http, PATIENCE, Reply},
};

/// The API key of servers that have one.
pub const KEY: &str = "sk-test-key";
/// A setting of the tests alone: the box finds its disk full after a while, the edge a database without tables.
pub const BROKEN_STORE: &str = "TEST_BROKEN_STORE";
/// A setting of the tests alone: the box is started with this limit of open files, as `ulimit` takes it.
pub const DESCRIPTORS: &str = "TEST_DESCRIPTORS";
/// A setting of the tests alone: the Worker has a dataset of the Analytics Engine, whose points are log lines.
pub const ANALYTICS: &str = "TEST_ANALYTICS";
/// A setting of the tests alone: so many isolates of the Worker on one database.
const ISOLATES: &str = "TEST_ISOLATES";
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

pub type Run = fn(Arc<Case>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// What all cases share: one fake upstream, and per product one server for the cases that need no settings of their own.
pub struct World {
    runtime: Runtime,
    fake: Arc<Fake>,
    edge: OnceCell<Arc<EdgeHarness>>,
    shared: [OnceCell<Arc<Server>>; 2],
}

impl World {
    pub fn new() -> Self {
        Self {
            runtime: tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap(),
            fake: Arc::new(Fake::start()),
            edge: OnceCell::new(),
            shared: [OnceCell::new(), OnceCell::new()],
        }
    }

    pub fn run(self: Arc<Self>, run: Run, product: Product) {
        let case = Arc::new(Case { product, fake: Arc::clone(&self.fake), world: Arc::clone(&self) });
        self.runtime.block_on(self.runtime.spawn(run(case))).unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => panic!("{error}"),
        });
    }

    /// Ends what was started and not yet stopped.
    pub fn end(&self) {
        self.runtime.block_on(async {
            for server in self.shared.iter().filter_map(OnceCell::get) {
                server.stop().await;
            }
            if let Some(edge) = self.edge.get() {
                edge.end().await;
            }
        });
    }

    async fn edge(&self) -> Arc<EdgeHarness> {
        Arc::clone(self.edge.get_or_init(|| async { Arc::new(EdgeHarness::start().await) }).await)
    }
}

/// What one case has to work with.
pub struct Case {
    pub product: Product,
    pub fake: Arc<Fake>,
    world: Arc<World>,
}

impl Case {
    /// The server that cases share: with a key, quick heartbeats, a session of its own.
    pub async fn server(&self) -> Arc<Server> {
        let cell = &self.world.shared[self.product as usize];
        Arc::clone(cell.get_or_init(|| async { self.start(&[]).await }).await)
    }

    /// A server of the case's own; `settings` go over the usual ones, an empty value takes one away.
    pub async fn start(&self, settings: &[(&str, &str)]) -> Arc<Server> {
        self.start_with(&self.fake, settings).await
    }

    /// The same in front of another fake.
    pub async fn start_with(&self, fake: &Fake, settings: &[(&str, &str)]) -> Arc<Server> {
        let mut all = HashMap::from([
            ("QWEN_BASE_URL", fake.url()),
            ("QWEN_AUTH_URL", fake.url()),
            ("OSS_URL", fake.url()),
            ("QWEN_COOKIES", format!("cna=a/b+c; token={}; isg=x==", Fake::token(&unique("account"), 86_400))),
            ("VALID_TOKENS", KEY.to_owned()),
            ("HEARTBEAT_SECONDS", "1".to_owned()),
        ]);
        for (name, value) in settings {
            all.insert(name, (*value).to_owned());
        }
        all.retain(|_, value| !value.is_empty());
        Arc::new(match self.product {
            Product::Box => Server::start_box(&all).await.unwrap_or_else(|problem| panic!("{problem}")),
            Product::Edge => Server::start_edge(self.world.edge().await, &all).await,
        })
    }

    /// Two servers with one store: two processes of the box, or two isolates of the Worker.
    pub async fn start_twins(&self, fake: &Fake, settings: &[(&str, &str)]) -> [Arc<Server>; 2] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shared.db").to_str().unwrap().to_owned();
        let mut all = settings.to_vec();
        match self.product {
            Product::Box => {
                all.push(("DATABASE_PATH", &path));
                let (one, two) = (self.start_with(fake, &all).await, self.start_with(fake, &all).await);
                one.keep(folder).await;
                [one, two]
            }
            Product::Edge => {
                all.push((ISOLATES, "2"));
                let one = self.start_with(fake, &all).await;
                let two = one.at(&one.others[0]);
                [one, two]
            }
        }
    }

    /// What the box says when it refuses to start.
    pub async fn refused_start(&self, settings: &[(&str, &str)]) -> String {
        let all = settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        match Server::start_box(&all).await {
            Ok(_) => panic!("it started"),
            Err(problem) => problem,
        }
    }
}

/// A word that no other case uses.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A running server.
pub struct Server {
    pub http: Http,
    pub url: String,
    running: tokio::sync::Mutex<Option<Running>>,
    /// The process that does the work: the box, or workerd.
    pub pid: u32,
    /// Where the Worker's other isolates are.
    others: Vec<String>,
    /// What is removed when nobody uses the server any more.
    kept: tokio::sync::Mutex<Option<tempfile::TempDir>>,
}

enum Running {
    Box { child: Child, log: Arc<Mutex<Vec<String>>>, folder: tempfile::TempDir },
    Edge { harness: Arc<EdgeHarness>, instance: String },
}

impl Server {
    async fn start_box(settings: &HashMap<&str, String>) -> Result<Self, String> {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_qwen-edge"));
        if settings.contains_key(BROKEN_STORE) {
            // Files may not grow beyond some pages, as on a full disk; the signal that tells is ignored.
            let limited = format!("trap '' XFSZ; ulimit -f 128; exec '{}'", env!("CARGO_BIN_EXE_qwen-edge"));
            command = Command::new("sh");
            command.args(["-c", &limited]);
        }
        if let Some(limit) = settings.get(DESCRIPTORS) {
            let limited = format!("ulimit {limit}; exec '{}'", env!("CARGO_BIN_EXE_qwen-edge"));
            command = Command::new("sh");
            command.args(["-c", &limited]);
        }
        let mut child = command
            .current_dir(folder.path())
            .env_clear()
            .envs([("PORT", "0"), ("LOG", "info"), ("LOG_FORMAT", "json")])
            .envs(settings)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut log = Vec::new();
        let url = loop {
            let line = timeout(PATIENCE, lines.next_line()).await.expect("it says nothing").unwrap();
            let Some(line) = line else {
                let status = child.wait().await.unwrap();
                return Err(format!("{status}: {}", log.join("\n")));
            };
            log.push(line.clone());
            let url = serde_json::from_str::<Value>(&line).ok().and_then(|line| Some(line["url"].as_str()?.to_owned()));
            // As a log for people has it.
            let told = || Some(line.split_once("url=")?.1.split(' ').next()?.to_owned());
            if let Some(url) = url.or_else(told) {
                break url;
            }
        };
        let log = Arc::new(Mutex::new(log));
        tokio::spawn(follow(lines, Arc::clone(&log)));
        let pid = child.id().unwrap();
        let running = Running::Box { child, log, folder };
        Ok(Self { running: Some(running).into(), ..Self::of(&url, pid) })
    }

    async fn start_edge(harness: Arc<EdgeHarness>, settings: &HashMap<&str, String>) -> Self {
        let mut vars = settings.clone();
        let unmigrated = vars.remove(BROKEN_STORE).is_some();
        let isolates: u64 = vars.remove(ISOLATES).map_or(1, |count| count.parse().unwrap());
        let analytics = vars.remove(ANALYTICS).is_some();
        let start = json!({ "op": "start", "vars": vars, "unmigrated": unmigrated, "isolates": isolates, "analytics": analytics });
        let answer = harness.call(start).await;
        let url = answer["url"].as_str().unwrap().trim_end_matches('/').to_owned();
        let others = answer["others"].as_array().unwrap().iter().map(|url| url.as_str().unwrap().to_owned()).collect();
        let instance = answer["instance"].as_str().unwrap().to_owned();
        let pid = answer["pid"].as_u64().unwrap().try_into().unwrap();
        Self { running: Some(Running::Edge { harness, instance }).into(), others, ..Self::of(&url, pid) }
    }

    /// Something that runs at `url` and is ended by somebody else.
    fn of(url: &str, pid: u32) -> Self {
        let url = url.to_owned();
        Self { http: Http::new(&url), url, running: None.into(), pid, others: Vec::new(), kept: None.into() }
    }

    fn at(&self, url: &str) -> Arc<Self> {
        Arc::new(Self::of(url, self.pid))
    }

    /// The same server for a client that has no connection to it yet.
    pub fn again(&self) -> Arc<Self> {
        self.at(&self.url)
    }

    pub async fn keep(&self, folder: tempfile::TempDir) {
        *self.kept.lock().await = Some(folder);
    }

    /// The lines it logged so far.
    pub async fn log(&self) -> Vec<String> {
        match &*self.running.lock().await {
            Some(Running::Box { log, .. }) => log.lock().unwrap().clone(),
            Some(Running::Edge { harness, instance }) => {
                let answer = harness.call(json!({ "op": "logs", "instance": instance })).await;
                answer["logs"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect()
            }
            None => Vec::new(),
        }
    }

    /// Runs the Worker's cron handler.
    pub async fn scheduled(&self) {
        let running = self.running.lock().await;
        let Some(Running::Edge { harness, instance }) = &*running else { panic!("not a Worker") };
        harness.call(json!({ "op": "scheduled", "instance": instance, "cron": "*/10 * * * *" })).await;
    }

    /// Runs statements, one a line, in the Worker's database.
    pub async fn sql(&self, sql: &str) {
        let running = self.running.lock().await;
        let Some(Running::Edge { harness, instance }) = &*running else { panic!("not a Worker") };
        harness.call(json!({ "op": "sql", "instance": instance, "sql": sql })).await;
    }

    pub async fn stop(&self) {
        match self.running.lock().await.take() {
            Some(Running::Box { mut child, folder, .. }) => {
                child.kill().await.unwrap();
                drop(folder);
            }
            Some(Running::Edge { harness, instance }) => {
                harness.call(json!({ "op": "stop", "instance": instance })).await;
            }
            None => {}
        }
    }

    /// Sends the box a signal and waits for its end; gives whether it ended well.
    pub async fn signal(&self, signal: &str) -> impl Future<Output = bool> + use<> {
        let Some(Running::Box { mut child, folder, .. }) = self.running.lock().await.take() else {
            panic!("not a box")
        };
        let sent = Command::new("kill").args([format!("-{signal}"), self.pid.to_string()]).status().await.unwrap();
        assert!(sent.success());
        async move {
            let ended = timeout(PATIENCE, child.wait()).await.expect("it does not end").unwrap().success();
            drop(folder);
            ended
        }
    }

    /// What it holds in memory, in bytes: of the box the resident memory, of the Worker what is left after a collection of
    /// garbage. The memory of workerd as a whole says little, since V8 collects when it likes.
    pub async fn memory(&self) -> u64 {
        if let Some(Running::Edge { harness, instance }) = &*self.running.lock().await {
            let answer = harness.call(json!({ "op": "memory", "instance": instance })).await;
            return ["heap", "buffers", "wasm"].iter().map(|part| answer[part].as_u64().unwrap()).sum();
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// A request with the server's key.
    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.http.send("POST", path, &Self::keyed(), body.to_string()).await
    }

    pub async fn chat(&self, body: &Value) -> Reply {
        self.post("/v1/chat/completions", body).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.http.send("GET", path, &[], "").await
    }

    pub fn keyed() -> [(&'static str, &'static str); 2] {
        [("authorization", "Bearer sk-test-key"), ("content-type", "application/json")]
    }
}

async fn follow(mut lines: Lines<BufReader<ChildStderr>>, log: Arc<Mutex<Vec<String>>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        log.lock().unwrap().push(line);
    }
}

/// The Node program that runs Workers in workerd, spoken to by lines of JSON.
struct EdgeHarness {
    child: tokio::sync::Mutex<Child>,
    input: tokio::sync::Mutex<Option<ChildStdin>>,
    waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>,
    next: AtomicU64,
}

impl EdgeHarness {
    async fn start() -> Self {
        let mut child = Command::new("node")
            .args(["tests/edge/harness.mjs", "--config", "wrangler.toml"])
            .current_dir(ROOT)
            .env("WRANGLER_SEND_METRICS", "false")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node runs the edge");
        let waiting = Arc::new(Mutex::new(HashMap::<u64, oneshot::Sender<Value>>::new()));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let answered = Arc::clone(&waiting);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let answer: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                if let Some(sender) = answer["id"].as_u64().and_then(|id| answered.lock().unwrap().remove(&id)) {
                    let _ = sender.send(answer);
                }
            }
            // Whoever still waits learns of the end by its sender being dropped.
            answered.lock().unwrap().clear();
        });
        Self { input: Some(child.stdin.take().unwrap()).into(), child: child.into(), waiting, next: AtomicU64::new(1) }
    }

    async fn call(&self, mut operation: Value) -> Value {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        operation["id"] = id.into();
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().unwrap().insert(id, sender);
        let line = format!("{operation}\n");
        self.input.lock().await.as_mut().expect("not ended").write_all(line.as_bytes()).await.unwrap();
        let answer = timeout(PATIENCE, answer).await.expect("the harness answers").expect("the harness lives");
        assert_eq!(answer["ok"], true, "{operation}: {answer}");
        answer
    }

    /// Closing its input ends it and all its Workers; killing it would leave them behind.
    async fn end(&self) {
        drop(self.input.lock().await.take());
        let _ = timeout(Duration::from_secs(20), self.child.lock().await.wait()).await;
    }
}
