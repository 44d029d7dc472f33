//! Sessions of several accounts in one store, on the virtual clock: what happens to one leaves the others as they are.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    config::Product,
    error::ErrorKind,
    platform::{
        Clock as _, FetchResponse, Payload,
        testing::{START, Sim, streamed},
    },
    store::MIGRATIONS,
    upstream::SessionStore as _,
};

const NAMES: [&str; 3] = ["default", "anna", "bert"];
/// 32 bytes in base64.
const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn session_of(name: &str) -> Arc<Session> {
    let lookup = |variable: &str| match variable {
        "QWEN_AUTH_TOKEN" => Some(jwt("configured", 90_000)),
        "SESSION_KEY" => Some(KEY.to_owned()),
        _ => None,
    };
    let config = Config::from_lookup(lookup, Product::NATIVE).unwrap();
    let name = AccountName::parse(name).unwrap();
    Arc::new(Session::new(&config, &name, Arc::new(HttpClient::new(&config)), Arc::default()))
}

fn jwt(user: &str, life: u64) -> String {
    let end = START.seconds().get() + life;
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(format!(r#"{{"id":"{user}","exp":{end}}}"#)))
}

fn credentials(user: &str, life: u64) -> Credentials {
    Credentials::new(Some(&format!("token={}; refresh_token=r-{user}", jwt(user, life))), None).unwrap()
}

fn answer(body: String) -> FetchResponse {
    streamed(200, "application/json", [(Duration::ZERO, Ok(Bytes::from(body)))])
}

/// A site that knows every user by the token, and refreshes each.
fn site() -> Sim {
    let script = |request: &http::Request<Payload>, _| {
        let jar = request.headers()["cookie"].to_str().unwrap().to_owned();
        if request.uri().path().ends_with("/refresh") {
            let user = jar.split("refresh_token=r-").nth(1).unwrap().split(';').next().unwrap().to_owned();
            let tokens = format!(r#"{{"access_token":"{}","refresh_token":"r-{user}"}}"#, jwt(&user, 80_000));
            return Ok(answer(format!(r#"{{"success":true,"data":{tokens}}}"#)));
        }
        let claims = jar.split("token=").nth(1).unwrap().split('.').nth(1).unwrap();
        let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        let user = claims.split('"').nth(3).unwrap().to_owned();
        Ok(answer(format!(r#"{{"id":"{user}","name":"name of {user}","role":"user"}}"#)))
    };
    Sim::answering(script).with_database(MIGRATIONS)
}

/// What happens to an account.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Pasted,
    Renewed,
    Refused,
    Challenged,
    Accepted,
    Checked,
    Cleared,
    Forgotten,
}

async fn happen(platform: &Sim, session: &Arc<Session>, name: &str, number: usize, happening: Happening) {
    let used = session.current();
    let error = |kind| Error::new(kind, "x").with_retry_after(Duration::from_secs(120)).with_link("https://x/");
    match happening {
        Happening::Pasted => {
            assert!(session.replace(platform, credentials(&format!("{name}{number}"), 9_000)).await.unwrap());
        }
        Happening::Renewed => {
            let _ = session.replace(platform, credentials(&format!("{name}{number}"), 1)).await;
            platform.sleep(Duration::from_secs(2)).await;
            let _ = session.ready(platform).await;
        }
        Happening::Refused => session.refused(platform, &used, &error(ErrorKind::SessionExpired)),
        Happening::Challenged => session.refused(platform, &used, &error(ErrorKind::Challenge)),
        Happening::Accepted => session.accepted(platform, &used),
        Happening::Checked => drop(session.maintain(platform).await),
        Happening::Cleared => session.clear(platform).await.unwrap(),
        Happening::Forgotten => session.forget(platform).await.unwrap(),
    }
    session.flush(platform).await;
}

/// All that can be seen of a session.
fn seen(session: &Session) -> String {
    let lease = session.current();
    let jar = lease.credentials.map(|credentials| credentials.cookie().to_owned());
    // The time at which it is seen decides how a state looks.
    format!("{:?} {:?} {jar:?}", session.identity(), session.state().status)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn what_happens_to_one_account_leaves_the_others(
        happenings in prop::collection::vec((0..3_usize, prop_oneof![
            Just(Happening::Pasted), Just(Happening::Renewed), Just(Happening::Refused), Just(Happening::Challenged),
            Just(Happening::Accepted), Just(Happening::Checked), Just(Happening::Cleared), Just(Happening::Forgotten),
        ]), 1..24)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let platform = site();
            // Two processes, which share the store alone.
            let (here, there) = (NAMES.map(session_of), NAMES.map(session_of));
            for (number, (index, happening)) in happenings.into_iter().enumerate() {
                let before: Vec<String> = here.iter().map(|session| seen(session)).collect();
                happen(&platform, &here[index], NAMES[index], number, happening).await;
                for (other, session) in here.iter().enumerate().filter(|(other, _)| *other != index) {
                    assert_eq!(seen(session), before[other], "{happening:?} of {} changed {}", NAMES[index], NAMES[other]);
                }
                platform.sleep(Duration::from_secs(3)).await;
                for (one, other) in here.iter().zip(&there) {
                    other.sync(&platform).await;
                    assert_eq!(one.identity().0, other.identity().0, "the other process uses another session");
                }
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_cannot_be_moved_to_another_account() {
    let platform = site();
    let (anna, bert) = (session_of("anna"), session_of("bert"));
    anna.replace(&platform, credentials("a", 9_000)).await.unwrap();
    let row = platform.read_session("account:anna").await.unwrap().unwrap();
    assert!(bert.merge(Some(row), platform.now()).is_err(), "the encryption binds it to its account");
    assert!(bert.current().credentials.is_none());
    assert_eq!(bert.check(platform.now()).unwrap_err().kind(), ErrorKind::SessionMissing);
    assert!(bert.check(platform.now()).unwrap_err().message().contains("'bert'"));
}

#[tokio::test(start_paused = true)]
async fn the_same_user_behind_two_accounts_is_two() {
    let platform = site();
    let all = NAMES.map(session_of);
    for session in &all {
        session.replace(&platform, credentials("same", 9_000)).await.unwrap();
    }
    let [default, anna, bert] = all.map(|session| session.identity().0);
    assert_eq!((default.as_str(), anna.as_str(), bert.as_str()), ("same", "anna/same", "bert/same"));
}

#[tokio::test(start_paused = true)]
async fn accounts_are_listed_until_they_are_forgotten() {
    let platform = site();
    let (default, anna, bert) = (session_of("default"), session_of("anna"), session_of("bert"));
    for session in [&default, &anna, &bert] {
        session.replace(&platform, credentials("u", 9_000)).await.unwrap();
    }
    anna.clear(&platform).await.unwrap();
    bert.forget(&platform).await.unwrap();
    let listed = async || {
        let found = list(&platform, &StoreHealth::default(), 9).await.unwrap();
        found.into_iter().map(|found| (found.name.to_string(), found.is_forgotten)).collect::<Vec<_>>()
    };
    assert_eq!(listed().await, [("anna".to_owned(), false), ("bert".to_owned(), true)]);
    bert.replace(&platform, credentials("u2", 9_000)).await.unwrap();
    assert_eq!(listed().await, [("anna".to_owned(), false), ("bert".to_owned(), false)]);
}
