//! What goes wrong while the clients work: at the site, with the accounts, and with the server itself.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    ACCOUNTS, ADMIN, World,
    ledger::{BROKEN, CRON, Own},
};
use crate::{
    Product,
    fake_qwen::{Fake, FaultKind, Stage, StorageFault},
    http::{chat, eventually},
};

const TURN: &str = "/api/v2/chat/completions";
const REFRESH: &str = "/api/v2/auths/refresh";
/// For how long a renewal of an access token is not tried again after the site has failed to renew it.
const RENEWAL_PAUSE: Duration = Duration::from_secs(5);
/// The share of the time after which the server is left alone, so that its last life is a long one.
const RESTARTS_UNTIL: f64 = 0.6;
/// One tick makes everything in the database half a day older.
const TICK_MS: i64 = 12 * 3600 * 1000;

/// Disturbs everything until the time is over.
pub async fn disturb(world: Arc<World>, length: Duration) {
    let pace = Duration::from_secs_f64((length.as_secs_f64() / 30.0).clamp(0.7, 5.0));
    let tick = super::tick_length(length);
    let restarts = (length.as_secs_f64() * RESTARTS_UNTIL / 150.0).ceil().max(2.0);
    let each = length.mul_f64(RESTARTS_UNTIL / restarts);
    let begun = Instant::now();
    let (mut next_restart, mut next_tick) = (each, tick);
    let (mut restarted, mut step) = (0, 0);
    while begun.elapsed() + pace < length {
        if begun.elapsed() >= next_tick {
            age(&world).await;
            next_tick += tick;
        }
        if begun.elapsed() >= next_restart && f64::from(restarted) < restarts {
            restart(&world, restarted % 2 == 1).await;
            restarted += 1;
            next_restart += each;
        } else {
            one(&world, step, pace).await;
            step += 1;
        }
        tokio::time::sleep(pace).await;
    }
}

/// Runs the Worker's cron handler: as often within a tick as it comes in half a day, or nearly.
pub async fn cron(world: Arc<World>) {
    while !world.is_over() {
        tokio::time::sleep(Duration::from_millis(900)).await;
        let _quiet = world.steps.read().await;
        world.server().scheduled().await;
        world.ledger.event(CRON);
    }
}

async fn one(world: &Arc<World>, step: usize, pace: Duration) {
    let account = step / 3 % ACCOUNTS.len();
    let user = world.user(account);
    let fake = &world.fake;
    match step % 9 {
        0 => {
            // The site forgets the access token in use: it is renewed, and no client sees it.
            if let Some(jar) = last_jar(fake, &user) {
                fake.revoke(cookie(&jar, "token"));
                world.ledger.event("access tokens revoked");
            }
        }
        1 => {
            let it = world.ledger.begin("daily quota used up", Some(account), &["quota_exceeded"]);
            fake.set_quota(&user, Some(0));
            tokio::time::sleep(pace).await;
            fake.set_quota(&user, None);
            world.ledger.end(it);
        }
        2 => {
            // A check of a person is asked for, until somebody brings new cookies.
            let it = world.ledger.begin("human check", Some(account), &["qwen_challenge"]);
            let prompt = format!("[[fake fail=waf_html]] w:{};", world.next());
            let sent = world.post(account, "/v1/chat/completions", &chat(&prompt)).await;
            world.settle("chats that meet a human check", &sent, Own::fails(&["qwen_challenge"]), |_| Ok(()));
            tokio::time::sleep(pace).await;
            give(world, account).await;
            world.ledger.end(it);
        }
        3 => {
            // Text is answered by the second upstream; pictures and videos are the site's own.
            // Whether a video whose order fails is made all the same, is looked up in its chat, in vain.
            let codes = &["upstream_error", "videos, begun: upstream_empty"];
            let it = world.ledger.begin("site down", None, codes);
            fake.set_failure(TURN, Some("http_500"));
            tokio::time::sleep(pace).await;
            fake.set_failure(TURN, None);
            world.ledger.end(it);
        }
        4 => {
            // Each of these is healed by a repeat or by the other way of uploading.
            world.ledger.event("faults of the storage");
            let faults = [
                StorageFault::new(Stage::Part(Some(2)), FaultKind::Status(500)).times(1),
                StorageFault::new(Stage::Part(Some(3)), FaultKind::Drop(100_000)).times(1),
                StorageFault::new(Stage::Put, FaultKind::Status(503)).times(1),
            ];
            fake.set_storage_fault("", &faults);
            tokio::time::sleep(pace).await;
            fake.set_storage_fault("", &[]);
        }
        5 => {
            // Both tokens are worthless: only a person can help.
            let codes = &["qwen_session_expired", "qwen_session_missing"];
            let it = world.ledger.begin("session refused", Some(account), codes);
            if let Some(jar) = last_jar(fake, &user) {
                fake.revoke(cookie(&jar, "token"));
                fake.revoke(cookie(&jar, "refresh_token"));
            }
            tokio::time::sleep(pace).await;
            give(world, account).await;
            world.ledger.end(it);
        }
        6 => {
            let it = world.ledger.begin("renewals and models fail", None, &["upstream_error"]);
            fake.set_failure(REFRESH, Some("http_500"));
            fake.set_models_failure(Some("bad_gateway_html"));
            tokio::time::sleep(pace / 3).await;
            fake.set_failure(REFRESH, None);
            fake.set_models_failure(None);
            // A renewal that failed is tried again after a while.
            let world = Arc::clone(world);
            tokio::spawn(async move {
                tokio::time::sleep(RENEWAL_PAUSE).await;
                world.ledger.end(it);
            });
        }
        7 => {
            world.ledger.event("the site answers late");
            fake.set_first_byte_delay_ms(TURN, 1_500);
            tokio::time::sleep(pace).await;
            fake.set_first_byte_delay_ms(TURN, 0);
        }
        _ => {
            // While requests run.
            world.ledger.event("sessions replaced amid requests");
            give(world, account).await;
        }
    }
}

/// Gives an account new cookies of its user.
pub async fn give(world: &World, account: usize) {
    let cookies = world.cookies(account);
    let path = format!("/admin/accounts/{}/session", ACCOUNTS[account].0);
    let sent = world.send_as(ADMIN, account, "PUT", &path, &[], cookies).await;
    world.settle("sessions given", &sent, Own::NONE, |_| Ok(()));
}

/// Ends the server and starts it again with the same database.
async fn restart(world: &World, kill: bool) {
    let _quiet = world.steps.write().await;
    let (name, codes): (_, &[&str]) = if kill { ("kill", &[BROKEN]) } else { ("restart", &[BROKEN]) };
    let it = world.ledger.begin(name, None, codes);
    let old = world.server();
    let new = match world.case.product {
        Product::Worker => old.restarted(kill).await,
        Product::Native => {
            let ended = old.signal(if kill { "KILL" } else { "TERM" }).await;
            if !ended.await && !kill {
                world.ledger.unexplained("the server did not end well after SIGTERM".to_owned());
            }
            world.start().await
        }
    };
    eventually("the server is back", || async { new.http.attempt("GET", "/health", &[], "").await.is_ok() }).await;
    world.enter(new).await;
    world.ledger.end(it);
}

/// Makes all that is stored half a day older, but for what still runs.
async fn age(world: &World) {
    let older = |column: &str| format!("{column} = {column} - {TICK_MS}");
    let sql = [
        format!("UPDATE turns SET {};", older("created_at")),
        format!("UPDATE conversations SET {}, {};", older("created_at"), older("updated_at")),
        format!("UPDATE responses SET {};", older("created_at")),
        format!("UPDATE files SET {};", older("created_at")),
        format!("UPDATE drawings SET {} WHERE state <> 'running';", older("updated_at")),
        format!("UPDATE videos SET {}, {} WHERE ended_at > 0;", older("created_at"), older("ended_at")),
    ];
    world.begin_tick();
    match (&world.database, world.case.product) {
        (Some(path), Product::Native) => {
            let path = path.clone();
            let batch = sql.join("\n");
            let done = tokio::task::spawn_blocking(move || {
                let database = rusqlite::Connection::open(path)?;
                database.busy_timeout(Duration::from_secs(20))?;
                database.execute_batch(&batch)
            });
            done.await.unwrap().unwrap();
        }
        _ => world.server().sql(&sql.join("\n")).await,
    }
    world.ledger.event("half days");
}

/// The value of a cookie in a header.
fn cookie<'a>(jar: &'a str, name: &str) -> &'a str {
    let pairs = jar.split("; ").filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next().unwrap_or_default()
}

/// The cookies that were sent last for a user.
fn last_jar(fake: &Fake, user: &str) -> Option<String> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let requests = fake.requests();
    let jars = requests.iter().rev().filter_map(|request| request.header("cookie"));
    let is_of_user = |jar: &&str| {
        let claims = cookie(jar, "token").split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
        let claims = claims.and_then(|claims| serde_json::from_slice::<serde_json::Value>(&claims).ok());
        claims.is_some_and(|claims| claims["id"] == user)
    };
    jars.filter(is_of_user).map(str::to_owned).next()
}
