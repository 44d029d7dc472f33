use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::state::{Need, SessionStatus};
use super::*;
use crate::{
    config::Product,
    error::ErrorKind,
    platform::{
        self, Value,
        testing::{START as NOW, Sim},
    },
    upstream::StoredSession,
};

pub(super) fn session(pairs: &[(&str, &str)]) -> Session {
    let lookup = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let config = Config::from_lookup(lookup, Product::NATIVE).unwrap();
    Session::new(&config, &AccountName::default(), Arc::new(HttpClient::new(&config)), Arc::default())
}

/// A token that ends so many seconds after [`NOW`].
fn token(left: i64) -> String {
    let end = i64::try_from(NOW.seconds().get()).unwrap() + left;
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(format!(r#"{{"id":"u","exp":{end}}}"#)))
}

fn of_token(left: i64) -> Session {
    session(&[("QWEN_AUTH_TOKEN", &token(left))])
}

fn renewable(left: i64) -> Session {
    session(&[("QWEN_COOKIES", &format!("token={}; refresh_token=r", token(left)))])
}

fn state(session: &Session) -> SessionState {
    session.report(NOW).state
}

fn later(millis: u64) -> UnixMillis {
    NOW.saturating_add(Duration::from_millis(millis))
}

fn accept(session: &Session, used: &CredentialsLease, now: UnixMillis) -> bool {
    session.state().mark_accepted(used, now)
}

fn refuse(session: &Session, used: &CredentialsLease, error: &Error) -> bool {
    session.state().mark_refused(used, NOW, error)
}

fn challenge(seconds: u64) -> Error {
    Error::new(ErrorKind::Challenge, "x").with_retry_after(Duration::from_secs(seconds)).with_link("https://x/")
}

fn expired() -> Error {
    Error::new(ErrorKind::SessionExpired, "x")
}

#[test]
fn the_state_follows_the_token_and_the_site() {
    assert_eq!(state(&session(&[])), SessionState::Missing);
    assert_eq!(state(&session(&[("QWEN_AUTH_TOKEN", "opaque")])), SessionState::Unknown);
    assert_eq!(state(&of_token(-1)), SessionState::Expired);
    assert_eq!(state(&of_token(100)), SessionState::Expiring);
    let session = of_token(100_000);
    assert_eq!(state(&session), SessionState::Unknown);
    assert!(!accept(&session, &session.current(), NOW), "nothing new for other isolates");
    assert_eq!(state(&session), SessionState::Valid);
    assert!(refuse(&session, &session.current(), &challenge(120)));
    assert_eq!(state(&session), SessionState::Challenged);
    accept(&session, &session.current(), later(1_000));
    assert_eq!(state(&session), SessionState::Challenged, "that was sent before");
    let error = session.check(later(20_000)).unwrap_err();
    assert_eq!((error.kind(), error.link()), (ErrorKind::Challenge, Some("https://x/")));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(100)));
    assert!(session.check(later(120_000)).is_ok());
    assert_eq!(session.report(later(120_000)).state, SessionState::Unknown);
    accept(&session, &session.current(), later(121_000));
    assert_eq!(session.report(later(121_000)).state, SessionState::Valid);
    assert!(refuse(&session, &session.current(), &expired()));
    assert!(!refuse(&session, &session.current(), &expired()), "other isolates know already");
    assert_eq!(session.report(later(121_000)).state, SessionState::Expired);
    assert_eq!(
        session.check(later(29_000)).unwrap_err().kind(),
        ErrorKind::SessionExpired,
        "clients repeat it at once"
    );
    assert!(session.check(later(121_000)).is_ok(), "some time after a refusal a request asks again");
    assert!(accept(&session, &session.current(), later(122_000)), "an acceptance after a refusal is shared");
    assert_eq!(session.report(later(122_000)).state, SessionState::Valid);
}

#[test]
fn a_refresh_token_keeps_the_session_alive() {
    for (left, expected, need) in [
        (100_000, SessionState::Unknown, Need::Nothing),
        (600, SessionState::Unknown, Need::Nothing),
        (179, SessionState::Expiring, Need::Soon),
        (18, SessionState::Expiring, Need::Now),
        (0, SessionState::Expiring, Need::Now),
        (-900, SessionState::Expiring, Need::Now),
    ] {
        let session = renewable(left);
        assert_eq!((state(&session), session.state().need(NOW, Duration::ZERO)), (expected, need), "{left}");
        assert!(state(&session).usable() && session.check(NOW).is_ok());
    }
    assert_eq!(
        renewable(600).state().need(NOW, Duration::from_secs(660)),
        Need::Soon,
        "it would not last until the next check"
    );
    assert_eq!(of_token(-5).state().need(NOW, Duration::ZERO), Need::Nothing, "without a refresh token");
    let session = renewable(600);
    refuse(&session, &session.current(), &expired());
    assert_eq!((state(&session), session.state().need(NOW, Duration::ZERO)), (SessionState::Expiring, Need::Now));
    session.state().status.refresh_refused = true;
    assert_eq!((state(&session), session.state().need(NOW, Duration::ZERO)), (SessionState::Expired, Need::Nothing));
    assert_eq!(session.state().refresh_obstacle(NOW).unwrap().kind(), ErrorKind::SessionExpired);
}

#[test]
fn the_back_off_doubles_up_to_five_minutes() {
    let session = renewable(0);
    let mut locked = session.state();
    assert!(locked.refresh_obstacle(NOW).is_none());
    let mut waits = Vec::new();
    for _ in 0..9 {
        locked.mark_refresh_failed(NOW, ErrorKind::UpstreamTimeout);
        waits.push(locked.refresh_obstacle(NOW).unwrap().retry_after().unwrap().as_secs());
    }
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
    assert_eq!(locked.refresh_obstacle(NOW).unwrap().kind(), ErrorKind::UpstreamTimeout);
    assert!(locked.refresh_obstacle(later(300_000)).is_none());
    drop(locked);
    let lasting = renewable(100);
    lasting.state().mark_refresh_failed(NOW, ErrorKind::UpstreamError);
    assert_eq!(lasting.state().need(NOW, Duration::ZERO), Need::Nothing, "it still lasts");
}

#[test]
fn answers_about_old_credentials_do_not_count() {
    let session = renewable(600);
    let old = session.current();
    let new = old.credentials.as_ref().unwrap().refreshed(&token(900), Some("r2"), None, NOW.seconds());
    session.state().adopt(Some(Arc::new(new)), true, 1);
    assert!(!refuse(&session, &old, &expired()) && !accept(&session, &old, NOW));
    assert_eq!(state(&session), SessionState::Unknown);
    assert!(refuse(&session, &old, &challenge(120)), "the site asks everybody who has these cookies");
    assert_eq!(state(&session), SessionState::Challenged);
    session.state().begin_epoch(SessionStatus::default());
    assert!(!refuse(&session, &old, &challenge(120)), "a person has replaced them since");
    assert_eq!(state(&session), SessionState::Unknown);
}

#[test]
fn the_stored_session_is_merged() {
    let session = renewable(600);
    let replacement = Credentials::new(Some("token=other"), None).unwrap();
    let status = |changed_at, refused| {
        serde_json::to_string(&SessionStatus { changed_at, refused, ..SessionStatus::default() }).unwrap()
    };
    let stored = |version, credentials: Option<&Credentials>, status: String| {
        let value = credentials.map(|credentials| {
            session
                .cipher
                .encrypt(&serde_json::to_string(&credentials.to_record()).unwrap(), &session.origin, [[1; 16]; 2])
                .unwrap()
        });
        Some(StoredSession { version, value: value.unwrap_or_default(), status })
    };
    let cookie = || session.current().credentials.unwrap().cookie().to_owned();
    let configured = cookie();
    session.merge(None, NOW).unwrap();
    session.merge(stored(0, None, status(UnixMillis::new(5), true)), NOW).unwrap();
    assert_eq!((cookie(), session.state().status.refused), (configured.clone(), true), "what other isolates saw");
    session.merge(stored(0, None, status(UnixMillis::new(4), false)), NOW).unwrap();
    assert!(session.state().status.refused, "an older status does not count");
    let dead = SessionStatus { changed_at: UnixMillis::new(4), refresh_refused: true, ..SessionStatus::default() };
    session.merge(stored(0, None, serde_json::to_string(&dead).unwrap()), NOW).unwrap();
    session.merge(stored(0, None, status(UnixMillis::new(6), true)), NOW).unwrap();
    assert!(session.state().status.refresh_refused, "the refusal of a refresh token is final, however old");
    session.merge(stored(3, Some(&replacement), status(UnixMillis::new(9), false)), NOW).unwrap();
    assert!(!session.report(NOW).encrypted, "there is no key");
    assert_eq!((cookie().as_str(), session.report(NOW).stored), ("token=other", true));
    session.merge_or_log(2, stored(2, None, status(UnixMillis::new(8), true)), NOW);
    assert_eq!((cookie().as_str(), session.state().version), ("token=other", 3), "a row from before the change");
    assert_eq!(session.state().synced_at, Some(NOW));
    session.merge(stored(4, None, status(UnixMillis::new(10), false)), NOW).unwrap();
    assert_eq!((cookie(), session.report(NOW).stored), (configured.clone(), false), "it was cleared");
    let unreadable = Some(StoredSession { version: 5, value: "sealed:AAAA".to_owned(), status: "[".to_owned() });
    assert!(session.merge(unreadable, NOW).unwrap_err().contains("SESSION_KEY"));
    assert_eq!((cookie(), session.state().version), (configured, 5));
    session.merge(stored(6, Some(&replacement), "{}".to_owned()), NOW).unwrap();
    session.merge(None, NOW).unwrap();
    assert!(session.state().credentials_dirty && cookie() == "token=other", "a store that lost the row gets it again");
    session.merge(stored(1, None, "{}".to_owned()), NOW).unwrap();
    assert_eq!(cookie(), "token=other", "unsaved credentials are kept");
}

#[tokio::test(start_paused = true)]
async fn replacing_the_session_gives_up_when_others_write_all_the_time() {
    let mut calls = 0;
    let platform = Sim::alone().with_database_script(move |batch| {
        calls += 1;
        assert!(calls < 1000, "it never ends");
        let row = || vec![Value::Integer(calls), Value::Text(String::new()), Value::Text("{}".to_owned())];
        let is_read = |statement: &platform::Statement| statement.sql.starts_with("SELECT");
        Ok(batch.iter().map(|statement| if is_read(statement) { vec![row()] } else { Vec::new() }).collect())
    });
    assert_eq!(renewable(600).write(&platform, None, &SessionStatus::default()).await, None);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_encrypted_without_randomness() {
    let key = base64::engine::general_purpose::STANDARD.encode([7; 32]);
    let cookies = format!("token={}", token(600));
    for (key, is_random, expected) in
        [(Some(&key), true, Some("sealed:")), (Some(&key), false, None), (None, false, Some("plain:"))]
    {
        let mut settings = vec![("QWEN_COOKIES", cookies.as_str())];
        settings.extend(key.map(|key| ("SESSION_KEY", key.as_str())));
        let session = session(&settings);
        let credentials = session.current().credentials;
        let platform = if is_random { Sim::alone() } else { Sim::alone().without_randomness() };
        let row = session.encode(&platform, credentials.as_deref(), &SessionStatus::default(), 1);
        let begins = row.as_ref().and_then(|stored| stored.value.get(..expected.unwrap_or_default().len()));
        assert_eq!(begins, expected);
    }
    let platform = Sim::alone().without_randomness();
    assert_ne!(platform::unique(&platform), platform::unique(&platform), "names are still different");
}
