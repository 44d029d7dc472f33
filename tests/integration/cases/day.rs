//! A day in fast motion: fifty clients continue their conversations while access tokens expire every few seconds and rotate, one
//! token is revoked, the upstream demands a captcha, a daily quota runs out, and the server restarts.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    Product,
    fake_qwen::Fake,
    http::{concat_deltas, eventually},
    server::{Case, Server, unique},
};

const CLIENTS: usize = 50;
/// The concurrency limit towards the upstream.
const IN_FLIGHT: usize = 20;
/// The lifetime of the fake's access tokens.
const TOKEN_SECONDS: u64 = 3;
const REFRESH: &str = "/api/v2/auths/refresh";
const TURN: &str = "/api/v2/chat/completions";

/// The failures that clients may get at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Healthy,
    /// Errors with this code.
    Failing(&'static str),
    /// Broken connections.
    Down,
}

struct Day {
    fake: Fake,
    servers: RwLock<Vec<Arc<Server>>>,
    phase: RwLock<Phase>,
    over: AtomicBool,
    error_count: AtomicUsize,
}

impl Day {
    fn phase(&self) -> Phase {
        *self.phase.read().unwrap()
    }

    fn set_phase(&self, phase: Phase) {
        *self.phase.write().unwrap() = phase;
    }

    /// Runs one client's conversation; repeats a turn that failed. Returns the number of answered turns.
    async fn client(self: Arc<Self>, number: usize) -> usize {
        let marker = unique("day");
        let mut messages = Vec::<Value>::new();
        let mut turn = 0;
        while !self.over.load(Ordering::Relaxed) {
            let answer = format!("answer-{turn}");
            let stream = (number + turn).is_multiple_of(2);
            let question = json!({ "role": "user", "content": format!("[[fake say={answer}]] {marker} {turn}") });
            let mut asked = messages.clone();
            asked.push(question.clone());
            let request =
                json!({ "model": "qwen3-max", "stream": stream, "enable_thinking": false, "messages": asked });
            let before = self.phase();
            let server = {
                let servers = self.servers.read().unwrap();
                Arc::clone(&servers[(number + turn) % servers.len()])
            };
            let sent = tokio::spawn(async move { server.chat(&request).await }).await;
            let phases = [before, self.phase()];
            match sent {
                Ok(reply) if reply.status == 200 => {
                    let text = if stream {
                        concat_deltas(&reply.chunks(), "content")
                    } else {
                        reply.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
                    };
                    assert_eq!(text, answer);
                    messages.extend([question, json!({ "role": "assistant", "content": answer })]);
                    turn += 1;
                }
                Ok(reply) => {
                    let code = reply.json()["error"]["code"].as_str().unwrap().to_owned();
                    let is_expected =
                        phases.iter().any(|phase| matches!(phase, Phase::Failing(expected) if *expected == code));
                    assert!(is_expected, "{phases:?}: {reply:?}");
                    self.error_count.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => assert!(phases.contains(&Phase::Down), "{phases:?}: no response"),
            }
            tokio::time::sleep(Duration::from_millis(100 + 7 * number as u64)).await;
        }
        turn
    }
}

/// The length of the day; docs/operation.md has the figures of a longer one.
pub fn length() -> Duration {
    Duration::from_secs(std::env::var("DAY_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(24))
}

async fn session_state(server: &Server) -> String {
    server.get("/health").await.json()["session"]["state"].as_str().unwrap().to_owned()
}

pub async fn a_day_in_fast_motion(case: Arc<Case>) {
    let part = length() / 6;
    let started = Instant::now();
    let fake = Fake::start();
    fake.set_refresh_rotation(true);
    fake.set_access_token_seconds(TOKEN_SECONDS as i64);
    let cookies = || format!("token={}; refresh_token={}", Fake::token("day", -9), Fake::refresh_token("day"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("day.db").to_str().unwrap().to_owned();
    let (first, in_flight) = (cookies(), IN_FLIGHT.to_string());
    let mut settings =
        vec![("QWEN_COOKIES", first.as_str()), ("ADMIN_TOKEN", "admin-key"), ("UPSTREAM_IN_FLIGHT", &in_flight)];
    let servers = match case.product {
        Product::Native => {
            settings.push(("DATABASE_PATH", &path));
            vec![case.start_with(&fake, &settings).await]
        }
        Product::Worker => case.start_pair(&fake, &settings).await.to_vec(),
    };
    let day = Arc::new(Day {
        fake,
        servers: RwLock::new(servers),
        phase: RwLock::new(Phase::Healthy),
        over: AtomicBool::new(false),
        error_count: AtomicUsize::new(0),
    });
    let clients: Vec<_> = (0..CLIENTS).map(|number| tokio::spawn(Arc::clone(&day).client(number))).collect();
    tokio::time::sleep(part).await;

    // Revoking the access token in use causes no error.
    let requests = day.fake.requests();
    let token = requests.iter().rev().find_map(|request| request.header("cookie")?.split("token=").nth(1)).unwrap();
    day.fake.revoke(token.split(';').next().unwrap());
    tokio::time::sleep(part).await;

    // A captcha stops all upstream requests until new cookies are given.
    day.set_phase(Phase::Failing("qwen_challenge"));
    day.fake.set_failure(TURN, Some("waf_json"));
    let all = day.servers.read().unwrap().clone();
    for server in &all {
        eventually("the session is challenged", || async { session_state(server).await == "challenged" }).await;
    }
    // Turns that were in flight have ended by then.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    day.fake.set_failure(TURN, None);
    let request_count = day.fake.request_count();
    tokio::time::sleep(part).await;
    assert_eq!(day.fake.request_count(), request_count, "no upstream request during the cooldown");
    let admin = [("authorization", "Bearer admin-key")];
    let reply = all[0].http.send("PUT", "/admin/session", &admin, cookies()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    for server in &all {
        eventually("the challenge ends", || async { session_state(server).await != "challenged" }).await;
    }
    day.set_phase(Phase::Healthy);
    tokio::time::sleep(part).await;

    // The daily quota runs out and is restored.
    day.set_phase(Phase::Failing("quota_exceeded"));
    day.fake.set_quota("day", Some(0));
    tokio::time::sleep(part / 2).await;
    day.fake.set_quota("day", None);
    tokio::time::sleep(Duration::from_secs(1)).await;
    day.set_phase(Phase::Healthy);

    // The native server is killed and restarted, twice.
    let restarts = if case.product == Product::Native { 2 } else { 0 };
    let mut server = Arc::clone(&all[0]);
    for _ in 0..restarts {
        day.set_phase(Phase::Down);
        let _ = server.signal("KILL").await.await;
        server = case.start_with(&day.fake, &settings).await;
        *day.servers.write().unwrap() = vec![Arc::clone(&server)];
        // Clients have noticed broken connections by then.
        tokio::time::sleep(Duration::from_secs(1)).await;
        day.set_phase(Phase::Healthy);
        tokio::time::sleep(part / 2).await;
    }
    tokio::time::sleep(part / 2).await;
    day.over.store(true, Ordering::Relaxed);
    let mut turns = 0;
    for client in clients {
        turns += client.await.unwrap();
    }
    let elapsed = started.elapsed();

    let requests = day.fake.requests();
    assert_eq!(requests.len(), day.fake.request_count(), "the fake has recorded every request");
    let refreshes: Vec<&str> = requests
        .iter()
        .filter(|request| request.path_and_query.starts_with(REFRESH))
        .map(|request| request.header("cookie").unwrap())
        .collect();
    let distinct: BTreeSet<&str> = refreshes.iter().copied().collect();
    assert_eq!(distinct.len(), refreshes.len(), "a refresh token was used twice");
    // Expiry times are whole seconds, so a token may live one second less. Three more refreshes follow from the revocation and
    // from the two sessions that started with an expired token.
    let max_refreshes = elapsed.as_secs() / (TOKEN_SECONDS - 1) + 3;
    assert!(
        (refreshes.len() as u64) <= max_refreshes && refreshes.len() > 3,
        "{} refreshes, at most {max_refreshes} expected",
        refreshes.len()
    );
    let chats = day.fake.chats();
    eprintln!(
        "{:?}: {elapsed:?}, {turns} turns answered in {chats} chats, {} expected errors, {} refreshes",
        case.product,
        day.error_count.load(Ordering::Relaxed),
        refreshes.len()
    );
    let turn_requests = requests.iter().filter(|request| request.path_and_query.starts_with(TURN)).count();
    assert!(turns > 2 * CLIENTS && turn_requests >= turns, "{turn_requests} requests for {turns} turns");
    // A chat whose turn was interrupted by a kill may still be busy when its client retries, which creates another chat.
    let max_chats = CLIENTS + restarts * IN_FLIGHT;
    assert!((CLIENTS..=max_chats).contains(&chats), "{chats} chats of {CLIENTS} clients");
}
