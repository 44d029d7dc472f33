//! The session against a scripted site and a shared store, on the virtual clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures::future::join_all;

use super::{Session, SessionState, credentials::Credentials, tests::session};
use crate::{
    error::ErrorKind,
    platform::{
        Clock as _, DatabaseError, FetchError, FetchErrorKind, FetchResponse, Payload, Statement, Value,
        testing::{START, Sim, streamed},
    },
    store::MIGRATIONS,
    upstream::SessionStore as _,
};

const REFRESH: &str = "/api/v2/auths/refresh";
const WHO: &str = "/api/v1/auths/";

/// An access token that ends this many seconds after the start.
fn token(life: u64) -> String {
    let end = START.seconds().get() + life;
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(format!(r#"{{"id":"u","exp":{end}}}"#)))
}

fn ended() -> Arc<Session> {
    Arc::new(session(&[("QWEN_COOKIES", &format!("token={}; refresh_token=r1", token(0)))]))
}

fn answer(status: u16, body: &str) -> FetchResponse {
    streamed(status, "application/json", [(Duration::ZERO, Ok(Bytes::from(body.to_owned())))])
}

fn new_tokens(life: u64) -> FetchResponse {
    answer(200, &format!(r#"{{"success":true,"data":{{"access_token":"{}","refresh_token":"r2"}}}}"#, token(life)))
}

fn unreachable() -> FetchError {
    FetchError { kind: FetchErrorKind::Connect, detail: "refused".to_owned() }
}

/// A site that knows who is signed in, and answers a refresh as `refresh` says, which gets how many came before.
fn site(mut refresh: impl FnMut(usize) -> Result<FetchResponse, FetchError> + Send + 'static) -> Sim {
    let mut refreshes = 0;
    Sim::answering(move |request: &http::Request<Payload>, _| match request.uri().path() {
        REFRESH => {
            refreshes += 1;
            refresh(refreshes - 1)
        }
        WHO => Ok(answer(200, r#"{"id":"u","name":"A","role":"user"}"#)),
        path => panic!("{path} was asked"),
    })
    .with_database(MIGRATIONS)
}

fn refreshes(platform: &Sim) -> usize {
    platform.requests().iter().filter(|request| request.uri().path() == REFRESH).count()
}

fn cookie(session: &Session) -> String {
    session.current().credentials.unwrap().cookie().to_owned()
}

#[tokio::test(start_paused = true)]
async fn failed_refreshes_back_off_and_requests_meanwhile_are_refused() {
    let platform = site(|_| Err(unreachable()));
    let session = ended();
    for (attempt, pause) in [5, 10, 20, 40, 80, 160, 300, 300].into_iter().enumerate() {
        for left in [pause, 1] {
            let error = session.ready(&platform).await.unwrap_err();
            assert_eq!(refreshes(&platform), attempt + 1, "the back-off ends after {pause} s");
            assert_eq!(error.kind(), ErrorKind::UpstreamError);
            assert!(error.retry_after().is_some_and(|wait| wait.as_secs().abs_diff(left) <= 1), "{error}");
            platform.sleep(Duration::from_secs(if left == 1 { 2 } else { pause - 1 })).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_refresh_serves_all_requests_that_wait() {
    let platform = site(|_| {
        let body = format!(r#"{{"success":true,"data":{{"access_token":"{}"}}}}"#, token(3600));
        Ok(streamed(200, "application/json", [(Duration::from_secs(3), Ok(Bytes::from(body)))]))
    });
    let session = ended();
    let all = join_all((0..50).map(|_| session.ready(&platform))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(refreshes(&platform), 1);
    assert_eq!(cookie(&session), format!("token={}; refresh_token=r1", token(3600)));
}

#[tokio::test(start_paused = true)]
async fn the_process_without_the_lease_takes_over_the_tokens_of_the_one_with_it() {
    let platform = site(|before| {
        assert_eq!(before, 0, "a rotated refresh token works once");
        Ok(new_tokens(3600))
    });
    let (one, other) = (ended(), ended());
    let (first, second) = futures::join!(one.ready(&platform), other.ready(&platform));
    first.unwrap();
    second.unwrap();
    assert_eq!(refreshes(&platform), 1);
    assert_eq!(cookie(&one), format!("token={}; refresh_token=r2", token(3600)));
    assert_eq!(cookie(&other), cookie(&one));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_without_the_lease_is_no_end_of_a_shared_session() {
    for (is_distributed, expected) in [(true, ErrorKind::UpstreamError), (false, ErrorKind::SessionExpired)] {
        let platform = site(|before| match before {
            0 => Ok(answer(401, r#"{"success":false,"data":{"code":"Unauthorized"}}"#)),
            _ => Ok(new_tokens(3600)),
        });
        let leases = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&leases);
        let platform = platform.with_database_script(move |batch| {
            count.fetch_add(usize::from(batch.iter().any(|it| it.sql.contains("lease_until = ?4"))), Ordering::Relaxed);
            Err(DatabaseError("busy".to_owned()))
        });
        let mut session = Arc::into_inner(ended()).unwrap();
        session.is_distributed = is_distributed;
        let session = Arc::new(session);
        assert_eq!(session.ready(&platform).await.unwrap_err().kind(), expected);
        assert_eq!((leases.load(Ordering::Relaxed), refreshes(&platform)), (3, 1), "the lease is tried again");
        // The other isolate, which has used the refresh token, stores what it got.
        let platform = platform.with_database(MIGRATIONS);
        let other = ended();
        other.ready(&platform).await.unwrap();
        platform.sleep(Duration::from_secs(3)).await;
        session.ready(&platform).await.unwrap();
        assert_eq!((cookie(&session), refreshes(&platform)), (cookie(&other), 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_captcha_cooldown_stops_all_requests_until_its_end() {
    let platform = site(|_| Ok(new_tokens(3600)));
    let session = ended();
    session.ready(&platform).await.unwrap();
    let asked = platform.requests().len();
    let challenge = crate::error::Error::new(ErrorKind::Challenge, "x")
        .with_retry_after(Duration::from_secs(120))
        .with_link("https://x/");
    session.refused(&platform, &session.current(), &challenge);
    platform.sleep(Duration::from_secs(119)).await;
    let error = session.ready(&platform).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Challenge, Some(Duration::from_secs(1))));
    session.maintain(&platform).await.unwrap();
    let other = ended();
    assert_eq!(other.ready(&platform).await.unwrap_err().kind(), ErrorKind::Challenge, "other processes learn of it");
    assert_eq!(platform.requests().len(), asked, "nothing is sent");
    platform.sleep(Duration::from_secs(1)).await;
    session.ready(&platform).await.unwrap();
    session.maintain(&platform).await.unwrap();
    assert!(platform.requests().len() > asked);
}

#[tokio::test(start_paused = true)]
async fn an_ended_session_is_reported_and_a_replacement_is_used_at_once() {
    let refused = r#"{"success":false,"data":{"code":"Unauthorized","details":"gone"}}"#;
    let platform = site(move |_| Ok(answer(401, refused)));
    let session = ended();
    for _ in 0..3 {
        assert_eq!(session.ready(&platform).await.unwrap_err().kind(), ErrorKind::SessionExpired);
    }
    assert_eq!(refreshes(&platform), 1, "a refused refresh token is not sent again");
    assert_eq!(session.report(platform.now()).state, SessionState::Expired);
    let (_, epoch) = session.identity();
    let replacement = Credentials::new(Some(&format!("token={}", token(9000))), None).unwrap();
    assert!(session.replace(&platform, replacement).await.unwrap(), "it is stored");
    session.ready(&platform).await.unwrap();
    assert_eq!(cookie(&session), format!("token={}", token(9000)));
    assert_eq!(session.report(platform.now()).state, SessionState::Valid);
    assert!(session.identity().1 > epoch);
    let other = ended();
    other.ready(&platform).await.unwrap();
    assert_eq!(cookie(&other), cookie(&session), "other processes use it, too");
}

#[tokio::test(start_paused = true)]
async fn rotated_tokens_are_stored_before_they_are_used() {
    let session = ended();
    let observed = Arc::clone(&session);
    let failures = AtomicUsize::new(2);
    let old = cookie(&session);
    // The site takes almost all of the time that it has.
    let platform = site(|_| {
        let body = format!(r#"{{"success":true,"data":{{"access_token":"{}","refresh_token":"r2"}}}}"#, token(3600));
        Ok(streamed(200, "application/json", [(Duration::from_millis(19_900), Ok(Bytes::from(body)))]))
    });
    let mut rows: Option<(i64, String, String)> = None;
    let platform = platform.with_database_script(move |batch: &[Statement]| {
        let mut answers = Vec::new();
        for statement in batch {
            let text = |at: usize| match statement.parameters.get(at) {
                Some(Value::Text(text)) => text.clone(),
                _ => String::new(),
            };
            let row = |row: &(i64, String, String)| {
                vec![Value::Integer(row.0), Value::Text(row.1.clone()), Value::Text(row.2.clone())]
            };
            answers.push(if statement.sql.starts_with("SELECT") {
                rows.iter().map(row).collect()
            } else if statement.sql.contains("lease_until = ?4") {
                vec![vec![Value::Integer(0)]]
            } else if statement.sql.contains("SET version") {
                assert_eq!(cookie(&observed), old, "the tokens are not in use before they are stored");
                if failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                    return Err(DatabaseError("busy".to_owned()));
                }
                rows = Some((1, text(3), text(4)));
                vec![vec![Value::Integer(1)]]
            } else {
                rows.get_or_insert((0, String::new(), "{}".to_owned()));
                Vec::new()
            });
        }
        Ok(answers)
    });
    session.ready(&platform).await.unwrap();
    let row = platform.read_session(&session.origin).await.unwrap().unwrap();
    assert_eq!(row.version, 1);
    assert!(row.value.contains("refresh_token=r2"), "stored at the third attempt");
    assert!(platform.elapsed() > Duration::from_secs(20), "after the time limit of the request");
    assert_eq!(cookie(&session), format!("token={}; refresh_token=r2", token(3600)));
}

#[tokio::test(start_paused = true)]
async fn tokens_that_cannot_be_stored_are_used_and_stored_later() {
    let platform = site(|_| Ok(new_tokens(3600)));
    let session = ended();
    let broken = platform.clone().with_database_script(|_| Err(DatabaseError("gone".to_owned())));
    session.ready(&broken).await.unwrap();
    assert_eq!(cookie(&session), format!("token={}; refresh_token=r2", token(3600)));
    assert!(session.state().credentials_dirty);
    let mended = platform.with_database(MIGRATIONS);
    mended.sleep(Duration::from_secs(3)).await;
    session.ready(&mended).await.unwrap();
    assert!(!session.state().credentials_dirty);
    assert!(mended.read_session(&session.origin).await.unwrap().unwrap().value.contains("refresh_token=r2"));
}
