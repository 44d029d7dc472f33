//! A day in fast motion: tokens that end every few seconds and rotate, one revocation, a human check, a daily quota, restarts,
//! and fifty clients who go on with their conversations all the while.

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
    http::joined,
    server::{Case, Server, unique},
};

const CLIENTS: usize = 50;
/// So many of them are let through to the site at once.
const IN_FLIGHT: usize = 20;
/// How long the fake's access tokens live.
const TOKEN_SECONDS: u64 = 3;
const REFRESH: &str = "/api/v2/auths/refresh";
const TURN: &str = "/api/v2/chat/completions";

/// What clients may be told just now, beside answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    Fine,
    Told(&'static str),
    Down,
}

struct Day {
    fake: Fake,
    servers: RwLock<Vec<Arc<Server>>>,
    weather: RwLock<Weather>,
    over: AtomicBool,
    told: AtomicUsize,
}

impl Day {
    fn weather(&self) -> Weather {
        *self.weather.read().unwrap()
    }

    fn turns(&self, weather: Weather) {
        *self.weather.write().unwrap() = weather;
    }

    /// One client's conversation. What was not answered is asked again.
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
            let before = self.weather();
            let server = {
                let servers = self.servers.read().unwrap();
                Arc::clone(&servers[(number + turn) % servers.len()])
            };
            let sent = tokio::spawn(async move { server.chat(&request).await }).await;
            let weather = [before, self.weather()];
            match sent {
                Ok(reply) if reply.status == 200 => {
                    let text = if stream {
                        joined(&reply.chunks(), "content")
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
                        weather.iter().any(|weather| matches!(weather, Weather::Told(told) if *told == code));
                    assert!(is_expected, "{weather:?}: {reply:?}");
                    self.told.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => assert!(weather.contains(&Weather::Down), "{weather:?}: no answer at all"),
            }
            tokio::time::sleep(Duration::from_millis(100 + 7 * number as u64)).await;
        }
        turn
    }
}

pub async fn a_day_in_fast_motion(case: Arc<Case>) {
    // A longer day is for measuring: docs/operation.md.
    let length = std::env::var("DAY_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(24);
    let part = Duration::from_secs(length) / 6;
    let began = Instant::now();
    let fake = Fake::start();
    fake.refresh_rotation(true);
    fake.set_access_life(TOKEN_SECONDS as i64);
    let cookies = || format!("token={}; refresh_token={}", Fake::token("day", -9), Fake::refresh_token("day"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("day.db").to_str().unwrap().to_owned();
    let (first, in_flight) = (cookies(), IN_FLIGHT.to_string());
    let mut settings =
        vec![("QWEN_COOKIES", first.as_str()), ("ADMIN_TOKEN", "admin-key"), ("UPSTREAM_IN_FLIGHT", &in_flight)];
    let servers = match case.product {
        Product::Box => {
            settings.push(("DATABASE_PATH", &path));
            vec![case.start_with(&fake, &settings).await]
        }
        Product::Edge => case.start_twins(&fake, &settings).await.to_vec(),
    };
    let day = Arc::new(Day {
        fake,
        servers: RwLock::new(servers),
        weather: RwLock::new(Weather::Fine),
        over: AtomicBool::new(false),
        told: AtomicUsize::new(0),
    });
    let clients: Vec<_> = (0..CLIENTS).map(|number| tokio::spawn(Arc::clone(&day).client(number))).collect();
    tokio::time::sleep(part).await;

    // The token in use is revoked: nobody sees it.
    let seen = day.fake.seen();
    let sent = seen.iter().rev().find_map(|seen| seen.header("cookie")?.split("token=").nth(1)).unwrap();
    day.fake.revoke(sent.split(';').next().unwrap());
    tokio::time::sleep(part).await;

    // A human check: the site is left alone until fresh cookies come.
    day.turns(Weather::Told("qwen_challenge"));
    day.fake.set_failure(TURN, Some("waf_json"));
    let all = day.servers.read().unwrap().clone();
    for server in &all {
        while server.get("/health").await.json()["session"]["state"] != "challenged" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    // Turns that were on their way then have ended.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    day.fake.set_failure(TURN, None);
    let asked = day.fake.requests();
    tokio::time::sleep(part).await;
    assert_eq!(day.fake.requests(), asked, "no call during the pause");
    let admin = [("authorization", "Bearer admin-key")];
    let reply = all[0].http.send("PUT", "/admin/session", &admin, cookies()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    for server in &all {
        while server.get("/health").await.json()["session"]["state"] == "challenged" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    day.turns(Weather::Fine);
    tokio::time::sleep(part).await;

    // The day's quota is used up, and comes back.
    day.turns(Weather::Told("quota_exceeded"));
    day.fake.set_quota("day", Some(0));
    tokio::time::sleep(part / 2).await;
    day.fake.set_quota("day", None);
    tokio::time::sleep(Duration::from_secs(1)).await;
    day.turns(Weather::Fine);

    // The box is killed and started again, twice.
    let restarts = if case.product == Product::Box { 2 } else { 0 };
    let mut server = Arc::clone(&all[0]);
    for _ in 0..restarts {
        day.turns(Weather::Down);
        let _ = server.signal("KILL").await.await;
        server = case.start_with(&day.fake, &settings).await;
        *day.servers.write().unwrap() = vec![Arc::clone(&server)];
        // Whoever was cut off has noticed by then.
        tokio::time::sleep(Duration::from_secs(1)).await;
        day.turns(Weather::Fine);
        tokio::time::sleep(part / 2).await;
    }
    tokio::time::sleep(part / 2).await;
    day.over.store(true, Ordering::Relaxed);
    let mut turns = 0;
    for client in clients {
        turns += client.await.unwrap();
    }
    let took = began.elapsed();

    let seen = day.fake.seen();
    assert_eq!(seen.len(), day.fake.requests(), "none of them is forgotten");
    let renewals: Vec<&str> = seen
        .iter()
        .filter(|seen| seen.path_and_query.starts_with(REFRESH))
        .map(|seen| seen.header("cookie").unwrap())
        .collect();
    let distinct: BTreeSet<&str> = renewals.iter().copied().collect();
    assert_eq!(distinct.len(), renewals.len(), "no refresh token was used twice");
    // Tokens live for whole seconds of the clock, so for up to one less than they should; three more for the revocation and
    // the two sessions that began ended.
    let most = took.as_secs() / (TOKEN_SECONDS - 1) + 3;
    assert!((renewals.len() as u64) <= most && renewals.len() > 3, "{} of {most} renewals", renewals.len());
    let chats = day.fake.chats();
    eprintln!(
        "{:?}: {took:?}, {turns} turns of {chats} chats answered, {} refused as they had to be, {} renewals",
        case.product,
        day.told.load(Ordering::Relaxed),
        renewals.len()
    );
    let asked = seen.iter().filter(|seen| seen.path_and_query.starts_with(TURN)).count();
    assert!(turns > 2 * CLIENTS && asked >= turns, "{asked} asked for {turns} turns");
    // A chat amid whose turn the box was killed may still be busy when its client asks again, and then another one is made.
    let most = CLIENTS + restarts * IN_FLIGHT;
    assert!((CLIENTS..=most).contains(&chats), "{chats} chats of {CLIENTS} clients");
}
