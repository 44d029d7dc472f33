//! Starts and stops the servers under test.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    process::Stdio,
    sync::{
        Arc, Mutex, Weak,
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
    fake_compatible::{self, Compatible},
    fake_qwen::Fake,
    http::{Http, Reply, TIMEOUT},
};

/// The API key that servers accept by default.
pub const KEY: &str = "sk-test-key";
/// Test-only setting: the native server runs out of disk space after a while, the Worker has a database without tables.
pub const BROKEN_STORE: &str = "TEST_BROKEN_STORE";
/// Test-only setting: arguments of `ulimit` that limit the open files of the native server.
pub const OPEN_FILE_LIMIT: &str = "TEST_DESCRIPTORS";
/// Test-only setting: binds an Analytics Engine dataset to the Worker; its data points become log lines.
pub const ANALYTICS: &str = "TEST_ANALYTICS";
/// Test-only setting: the number of isolates of the Worker that share one database.
const ISOLATES: &str = "TEST_ISOLATES";
/// Setting of servers that give up on a silent upstream soon. Healthy answers come well within it on a busy machine too.
pub const SHORT_IDLE: (&str, &str) = ("UPSTREAM_IDLE_SECONDS", "4");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The native server: the one that was built with the tests, unless `QWEN_EDGE_BINARY` names another, such as a release build.
fn binary() -> String {
    std::env::var("QWEN_EDGE_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_qwen-edge").to_owned())
}

/// The lines that a native server has logged; it outlives the server.
pub type LogLines = Arc<Mutex<Vec<String>>>;

pub type Run = fn(Arc<Case>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// State shared by all cases: one fake upstream, and per product one server for the cases that need no settings of their own.
pub struct Suite {
    runtime: Runtime,
    fake: Arc<Fake>,
    worker_harness: OnceCell<Arc<WorkerHarness>>,
    shared: [OnceCell<Arc<Server>>; 2],
    /// All servers, also those that have ended.
    processes: Mutex<Vec<Weak<Process>>>,
}

impl Suite {
    pub fn new() -> Self {
        Self {
            runtime: tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap(),
            fake: Arc::new(Fake::start()),
            worker_harness: OnceCell::new(),
            shared: [OnceCell::new(), OnceCell::new()],
            processes: Mutex::default(),
        }
    }

    /// Runs one case.
    ///
    /// # Panics
    /// When the case panics or does not end within `limit`.
    pub fn run(self: Arc<Self>, run: Run, product: Product, limit: Duration) {
        let case = Arc::new(Case { product, fake: Arc::clone(&self.fake), suite: Arc::clone(&self) });
        let mut task = self.runtime.spawn(run(case));
        let Ok(ended) = self.runtime.block_on(async { timeout(limit, &mut task).await }) else {
            task.abort();
            panic!("the case did not end within {limit:?}");
        };
        ended.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => panic!("{error}"),
        });
    }

    /// Stops the Worker harness and all servers, also those that a task of a case still holds.
    pub fn end(&self) {
        let processes = std::mem::take(&mut *self.processes.lock().unwrap());
        self.runtime.block_on(async {
            for process in processes.iter().filter_map(Weak::upgrade) {
                process.stop().await;
            }
            if let Some(harness) = self.worker_harness.get() {
                harness.end().await;
            }
        });
    }

    async fn worker_harness(&self) -> Arc<WorkerHarness> {
        Arc::clone(self.worker_harness.get_or_init(|| async { Arc::new(WorkerHarness::start().await) }).await)
    }
}

/// Everything that one case can use.
pub struct Case {
    pub product: Product,
    pub fake: Arc<Fake>,
    suite: Arc<Suite>,
}

impl Case {
    /// The shared server: it has an API key, a session, and sends a heartbeat each second.
    pub async fn server(&self) -> Arc<Server> {
        let cell = &self.suite.shared[self.product as usize];
        Arc::clone(cell.get_or_init(|| async { self.start(&[]).await }).await)
    }

    /// Starts a server for this case alone. `settings` override the defaults; an empty value removes one.
    pub async fn start(&self, settings: &[(&str, &str)]) -> Arc<Server> {
        self.start_with(&self.fake, settings).await
    }

    /// Like [`Case::start`], in front of another fake.
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
        let server = match self.product {
            Product::Native => Server::start_native(&all).await.unwrap_or_else(|problem| panic!("{problem}")),
            Product::Worker => Server::start_worker(self.suite.worker_harness().await, &all).await,
        };
        self.suite.processes.lock().unwrap().push(Arc::downgrade(&server.process));
        Arc::new(server)
    }

    /// Like [`Case::start_with`], with a second upstream beside the site.
    pub async fn start_with_second(&self, fake: &Fake, second: &Compatible, settings: &[(&str, &str)]) -> Arc<Server> {
        let url = second.url();
        let mut all = vec![("FALLBACK_BASE_URL", url.as_str()), ("FALLBACK_API_KEY", fake_compatible::KEY)];
        all.extend(settings);
        self.start_with(fake, &all).await
    }

    /// Starts two servers with one database: two native processes, or two isolates of the Worker.
    pub async fn start_pair(&self, fake: &Fake, settings: &[(&str, &str)]) -> [Arc<Server>; 2] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shared.db").to_str().unwrap().to_owned();
        let mut all = settings.to_vec();
        match self.product {
            Product::Native => {
                all.push(("DATABASE_PATH", &path));
                let (one, two) = (self.start_with(fake, &all).await, self.start_with(fake, &all).await);
                one.own(folder).await;
                [one, two]
            }
            Product::Worker => {
                all.push((ISOLATES, "2"));
                let one = self.start_with(fake, &all).await;
                let two = one.at(&one.process.others[0]);
                [one, two]
            }
        }
    }

    /// Starts the native server with settings that it rejects; returns its exit status and its log.
    pub async fn start_error(&self, settings: &[(&str, &str)]) -> String {
        let all = settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        match Server::start_native(&all).await {
            Ok(_) => panic!("the server started"),
            Err(problem) => problem,
        }
    }
}

/// A string that no other case uses.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A handle of a running server, which ends when the last handle is dropped: with its case at the latest.
pub struct Server {
    pub http: Http,
    pub url: String,
    /// The id of the server process: the native server, or workerd.
    pub pid: u32,
    process: Arc<Process>,
}

/// What all handles of a server share.
struct Process {
    running: tokio::sync::Mutex<Option<Running>>,
    /// The URLs of the Worker's other isolates.
    others: Vec<String>,
    /// A folder that is removed together with the server.
    data_folder: tokio::sync::Mutex<Option<tempfile::TempDir>>,
}

enum Running {
    Native { child: Child, log: LogLines, folder: tempfile::TempDir },
    Worker { harness: Arc<WorkerHarness>, instance: String },
}

impl Server {
    async fn start_native(settings: &HashMap<&str, String>) -> Result<Self, String> {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(binary());
        if settings.contains_key(BROKEN_STORE) {
            // Limits the file size to some pages, which looks like a full disk; SIGXFSZ is ignored.
            let limited = format!("trap '' XFSZ; ulimit -f 128; exec '{}'", binary());
            command = Command::new("sh");
            command.args(["-c", &limited]);
        }
        if let Some(limit) = settings.get(OPEN_FILE_LIMIT) {
            let limited = format!("ulimit {limit}; exec '{}'", binary());
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
            let line = timeout(TIMEOUT, lines.next_line()).await.expect("the server logs nothing").unwrap();
            let Some(line) = line else {
                let status = child.wait().await.unwrap();
                return Err(format!("{status}: {}", log.join("\n")));
            };
            log.push(line.clone());
            let url = serde_json::from_str::<Value>(&line).ok().and_then(|line| Some(line["url"].as_str()?.to_owned()));
            // `LOG_FORMAT=text` writes `url=…`.
            let text_url = || Some(line.split_once("url=")?.1.split(' ').next()?.to_owned());
            if let Some(url) = url.or_else(text_url) {
                break url;
            }
        };
        let log = Arc::new(Mutex::new(log));
        tokio::spawn(follow(lines, Arc::clone(&log)));
        let pid = child.id().unwrap();
        Ok(Self::new(&url, pid, Process::new(Running::Native { child, log, folder }, Vec::new())))
    }

    async fn start_worker(harness: Arc<WorkerHarness>, settings: &HashMap<&str, String>) -> Self {
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
        Self::new(&url, pid, Process::new(Running::Worker { harness, instance }, others))
    }

    fn new(url: &str, pid: u32, process: Arc<Process>) -> Self {
        Self { http: Http::new(url), url: url.to_owned(), pid, process }
    }

    /// Another handle, whose requests go to `url`.
    fn at(&self, url: &str) -> Arc<Self> {
        Arc::new(Self::new(url, self.pid, Arc::clone(&self.process)))
    }

    /// A handle of the same server whose client has no open connections.
    pub fn with_new_client(&self) -> Arc<Self> {
        self.at(&self.url)
    }

    pub async fn own(&self, folder: tempfile::TempDir) {
        *self.process.data_folder.lock().await = Some(folder);
    }

    /// The lines logged so far.
    pub async fn log(&self) -> Vec<String> {
        match &*self.process.running.lock().await {
            Some(Running::Native { log, .. }) => log.lock().unwrap().clone(),
            Some(Running::Worker { harness, instance }) => {
                let answer = harness.call(json!({ "op": "logs", "instance": instance })).await;
                answer["logs"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect()
            }
            None => Vec::new(),
        }
    }

    /// The native server's log, also of the time to come; `None` of the Worker.
    pub async fn log_lines(&self) -> Option<LogLines> {
        match &*self.process.running.lock().await {
            Some(Running::Native { log, .. }) => Some(Arc::clone(log)),
            _ => None,
        }
    }

    /// Runs the Worker's cron handler.
    pub async fn scheduled(&self) {
        let running = self.process.running.lock().await;
        let Some(Running::Worker { harness, instance }) = &*running else { panic!("not a Worker") };
        harness.call(json!({ "op": "scheduled", "instance": instance, "cron": "*/10 * * * *" })).await;
    }

    /// Runs SQL statements, one per line, in the Worker's database.
    pub async fn sql(&self, sql: &str) {
        let running = self.process.running.lock().await;
        let Some(Running::Worker { harness, instance }) = &*running else { panic!("not a Worker") };
        harness.call(json!({ "op": "sql", "instance": instance, "sql": sql })).await;
    }

    pub async fn stop(&self) {
        self.process.stop().await;
    }

    /// Sends the native server a signal. The returned future waits for its exit and returns whether it succeeded.
    pub async fn signal(&self, signal: &str) -> impl Future<Output = bool> + use<> {
        let Some(Running::Native { mut child, folder, .. }) = self.process.running.lock().await.take() else {
            panic!("not a native server")
        };
        let sent = Command::new("kill").args([format!("-{signal}"), self.pid.to_string()]).status().await.unwrap();
        assert!(sent.success());
        async move {
            let ended = timeout(TIMEOUT, child.wait()).await.expect("the server does not exit").unwrap().success();
            drop(folder);
            ended
        }
    }

    /// Ends the Worker's process and starts another one with the same database; returns a handle of that. `kill` ends it without
    /// a word, as a crash does.
    pub async fn restarted(&self, kill: bool) -> Arc<Self> {
        let running = self.process.running.lock().await;
        let Some(Running::Worker { harness, instance }) = &*running else { panic!("not a Worker") };
        if kill {
            let sent = Command::new("kill").args(["-KILL", &self.pid.to_string()]).status().await.unwrap();
            assert!(sent.success());
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let state = harness.call(json!({ "op": "state", "instance": instance })).await;
                let pid: u32 = state["pid"].as_u64().unwrap().try_into().unwrap();
                if pid != self.pid {
                    return Arc::new(Self::new(&self.url, pid, Arc::clone(&self.process)));
                }
            }
        }
        let answer = harness.call(json!({ "op": "restart", "instance": instance })).await;
        let url = answer["url"].as_str().unwrap().trim_end_matches('/');
        let pid = answer["pid"].as_u64().unwrap().try_into().unwrap();
        Arc::new(Self::new(url, pid, Arc::clone(&self.process)))
    }

    /// The folder of the Worker's database.
    pub async fn worker_folder(&self) -> String {
        let running = self.process.running.lock().await;
        let Some(Running::Worker { harness, instance }) = &*running else { panic!("not a Worker") };
        let state = harness.call(json!({ "op": "state", "instance": instance })).await;
        state["folder"].as_str().unwrap().to_owned()
    }

    /// The heap, the buffers and the linear memory of the Worker's isolate in bytes, after a garbage collection; `None` while it
    /// does not answer.
    pub async fn isolate_memory(&self) -> Option<[u64; 3]> {
        let (harness, instance) = match &*self.process.running.lock().await {
            Some(Running::Worker { harness, instance }) => (Arc::clone(harness), instance.clone()),
            _ => return None,
        };
        let answer = harness.answer(json!({ "op": "memory", "instance": instance })).await?;
        Some([answer["heap"].as_u64()?, answer["buffers"].as_u64()?, answer["wasm"].as_u64()?])
    }

    /// Memory use in bytes: the resident memory of the native server, or the live memory of the Worker's isolate after a
    /// garbage collection. The resident memory of workerd depends on when V8 last collected.
    pub async fn memory_bytes(&self) -> u64 {
        if let Some(Running::Worker { harness, instance }) = &*self.process.running.lock().await {
            let answer = harness.call(json!({ "op": "memory", "instance": instance })).await;
            return ["heap", "buffers", "wasm"].iter().map(|part| answer[part].as_u64().unwrap()).sum();
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// A request with the server's key.
    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.http.send("POST", path, &Self::auth_headers(), body.to_string()).await
    }

    pub async fn chat(&self, body: &Value) -> Reply {
        self.post("/v1/chat/completions", body).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.http.send("GET", path, &[], "").await
    }

    pub fn auth_headers() -> [(&'static str, &'static str); 2] {
        [("authorization", "Bearer sk-test-key"), ("content-type", "application/json")]
    }
}

impl Process {
    fn new(running: Running, others: Vec<String>) -> Arc<Self> {
        Arc::new(Self { running: Some(running).into(), others, data_folder: None.into() })
    }

    async fn stop(&self) {
        match self.running.lock().await.take() {
            Some(Running::Native { mut child, folder, .. }) => {
                child.kill().await.unwrap();
                drop(folder);
            }
            Some(Running::Worker { harness, instance }) => {
                harness.call(json!({ "op": "stop", "instance": instance })).await;
            }
            None => {}
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The native server is killed by the drop of its `Child`; only the harness can stop a Worker.
        if let Some(Running::Worker { harness, instance }) = self.running.get_mut().take() {
            // The end of the suite stops all that are left.
            tokio::spawn(async move { harness.answer(json!({ "op": "stop", "instance": instance })).await });
        }
    }
}

async fn follow(mut lines: Lines<BufReader<ChildStderr>>, log: LogLines) {
    while let Ok(Some(line)) = lines.next_line().await {
        log.lock().unwrap().push(line);
    }
}

/// The Node program that runs Workers in workerd. It reads and writes lines of JSON.
struct WorkerHarness {
    child: tokio::sync::Mutex<Child>,
    input: tokio::sync::Mutex<Option<ChildStdin>>,
    waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>,
    next: AtomicU64,
}

impl WorkerHarness {
    async fn start() -> Self {
        let mut child = Command::new("node")
            .args(["tests/worker/harness.mjs", "--config", "wrangler.toml"])
            .current_dir(ROOT)
            .env("WRANGLER_SEND_METRICS", "false")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node starts the harness");
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
            // Dropping the senders reports the end to the waiting calls.
            answered.lock().unwrap().clear();
        });
        Self { input: Some(child.stdin.take().unwrap()).into(), child: child.into(), waiting, next: AtomicU64::new(1) }
    }

    async fn call(&self, operation: Value) -> Value {
        let answer = self.answer(operation.clone()).await.expect("the harness is running, and answers");
        assert_eq!(answer["ok"], true, "{operation}: {answer}");
        answer
    }

    /// The answer to an operation; `None` when the harness has ended, or does not answer.
    async fn answer(&self, mut operation: Value) -> Option<Value> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        operation["id"] = id.into();
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().unwrap().insert(id, sender);
        let line = format!("{operation}\n");
        self.input.lock().await.as_mut()?.write_all(line.as_bytes()).await.ok()?;
        timeout(TIMEOUT, answer).await.ok()?.ok()
    }

    /// Stops the harness and its Workers by closing its input; a kill would leave the Workers running.
    async fn end(&self) {
        drop(self.input.lock().await.take());
        let _ = timeout(Duration::from_secs(20), self.child.lock().await.wait()).await;
    }
}
