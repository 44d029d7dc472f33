use std::sync::Arc;

use futures::{StreamExt as _, stream};

use crate::{
    Product,
    fake_qwen::Fake,
    http::{chat, eventually},
    server::{Case, Server},
};

pub async fn list_has_the_openai_shape(case: Arc<Case>) {
    let server = case.server().await;
    let reply = server.get("/v1/models").await;
    assert_eq!(reply.status, 200);
    let list = reply.json();
    assert_eq!(list["object"], "list");
    let models = list["data"].as_array().unwrap();
    assert!(models.len() > 5);
    for model in models {
        assert!(model["id"].is_string() && model["object"] == "model" && model["owned_by"].is_string(), "{model}");
        assert!(model["created"].is_u64() && model["name"].is_string(), "{model}");
        assert!(model.get("context_length").is_some() && model["capabilities"].is_object(), "{model}");
    }
    let plus = models.iter().find(|model| model["id"] == "qwen3.7-plus").unwrap();
    assert_eq!(
        (plus["context_length"].as_u64(), plus["capabilities"]["vision"].as_bool()),
        (Some(1_000_000), Some(true))
    );
}

pub async fn a_model_is_found_by_id_and_alias(case: Arc<Case>) {
    let server = case.server().await;
    for (name, id) in [
        ("qwen3-max", "qwen3-max"),
        ("qwen3", "qwen3-max"),
        ("GPT-4-turbo", "qwen3-max"),
        ("gpt-4", "qwen-plus-2025-09-11"),
        ("qwen3.7-plus", "qwen3.7-plus"),
    ] {
        let model = server.get(&format!("/v1/models/{name}")).await.json();
        assert_eq!((model["id"].as_str(), model["object"].as_str()), (Some(id), Some("model")), "{name}");
    }
    server.get("/v1/models/no-such-model").await.error(404, "model_not_found");
}

/// Makes the stored list one hour older.
const AGE_LIST: &str = "UPDATE cache SET updated_at = updated_at - 3600000;";

fn list_requests(fake: &Fake) -> usize {
    fake.requests().iter().filter(|request| request.path_and_query.starts_with("/api/models")).count()
}

pub async fn list_is_cached(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    for _ in 0..5 {
        assert_eq!(server.get("/v1/models").await.status, 200);
        assert_eq!(server.chat(&chat("hi")).await.status, 200);
    }
    // The native server fetches the list at its start; the first request may fetch it at the same time.
    let max_requests = if case.product == Product::Native { 2 } else { 1 };
    assert!((1..=max_requests).contains(&list_requests(&fake)), "{}", list_requests(&fake));
}

pub async fn the_last_list_survives_upstream_failure_and_restart(case: Arc<Case>) {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept.db").display().to_string();
    let settings = [("DATABASE_PATH", path.as_str())];
    let fetch_list = async |server: &Server| {
        let list = server.get("/v1/models").await.json();
        let before = list_requests(&fake);
        fake.set_models_failure(Some("http_500"));
        (list, before)
    };
    // The stored list is too old, and the second server, a restarted process or another isolate, has no list in memory.
    let (server, list, before) = match case.product {
        Product::Native => {
            let server = case.start_with(&fake, &settings).await;
            let (list, before) = fetch_list(&server).await;
            server.stop().await;
            rusqlite::Connection::open(&path).unwrap().execute_batch(AGE_LIST).unwrap();
            (case.start_with(&fake, &settings).await, list, before)
        }
        Product::Worker => {
            let [one, two] = case.start_pair(&fake, &[]).await;
            let (list, before) = fetch_list(&one).await;
            one.sql(AGE_LIST).await;
            (two, list, before)
        }
    };
    assert_eq!(server.get("/v1/models").await.json(), list);
    eventually("the failing upstream is asked", || async { list_requests(&fake) > before }).await;
    assert_eq!(server.get("/v1/models").await.json(), list, "after the failure");
    assert_eq!(server.get("/v1/models/qwen3").await.json()["id"], "qwen3-max");
    assert_eq!(server.chat(&chat("hi")).await.status, 200);
}

pub async fn without_a_list_the_upstream_error_is_returned(case: Arc<Case>) {
    let fake = Fake::start();
    fake.set_models_failure(Some("bad_gateway_html"));
    let server = case.start_with(&fake, &[]).await;
    server.get("/v1/models").await.error(502, "upstream_error");
    server.get("/v1/models/qwen3").await.error(502, "upstream_error");
    let reply = server.chat(&chat("hi")).await;
    assert_eq!(reply.status, 200, "a chat needs no list: {reply:?}");
    let before = list_requests(&fake);
    fake.set_models_failure(None);
    let reply = server.get("/v1/models").await;
    reply.error(502, "upstream_error");
    let wait: u64 = reply.header("retry-after").expect("a retry-after header").parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(list_requests(&fake), before, "the upstream is asked again too early");
}

/// Sends a thousand concurrent requests to the routes that need the list; returns how many got 200 or 404.
async fn send_a_thousand(servers: &[Arc<Server>]) -> usize {
    let send = |number: usize| {
        let server = Arc::clone(&servers[number % servers.len()]);
        let path = match number % 4 {
            0 => "/v1/models".to_owned(),
            1 => "/models/qwen3-max".to_owned(),
            2 => format!("/v1/models/nothing-{number}"),
            _ => "/v1/models/qwen3".to_owned(),
        };
        async move { server.get(&path).await.status.as_u16() }
    };
    let statuses: Vec<u16> = stream::iter((0..1000).map(send)).buffer_unordered(100).collect().await;
    statuses.into_iter().filter(|status| matches!(status, 200 | 404)).count()
}

pub async fn concurrent_requests_fetch_the_list_once(case: Arc<Case>) {
    // There is no list, then a fresh one.
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    assert_eq!((send_a_thousand(&[Arc::clone(&server)]).await, list_requests(&fake)), (1000, 1), "no list");
    assert_eq!((send_a_thousand(&[server]).await, list_requests(&fake)), (1000, 1), "fresh list");
    // There is no list, and the upstream is slow.
    let fake = Fake::start();
    fake.set_first_byte_delay_ms("/api/models", 1500);
    let server = case.start_with(&fake, &[]).await;
    assert_eq!((send_a_thousand(&[server]).await, list_requests(&fake)), (1000, 1), "slow upstream");
    // There is no list, and the upstream fails, at once or late.
    for delay_ms in [0, 1500] {
        let fake = Fake::start();
        fake.set_models_failure(Some("http_500"));
        fake.set_first_byte_delay_ms("/api/models", delay_ms);
        let server = case.start_with(&fake, &[]).await;
        assert_eq!((send_a_thousand(&[Arc::clone(&server)]).await, list_requests(&fake)), (0, 1), "failing");
        server.get("/v1/models/qwen3").await.error(502, "upstream_error");
        assert_eq!(server.chat(&chat("hi")).await.status, 200, "a chat needs no list");
        assert_eq!(list_requests(&fake), 1, "the upstream is asked again");
    }
}

/// A captcha that answers the list request stops all upstream requests for a while.
pub async fn a_challenge_on_the_list_starts_a_cooldown(case: Arc<Case>) {
    let fake = Fake::start();
    fake.set_models_failure(Some("waf_html"));
    let server = case.start_with(&fake, &[]).await;
    let error = server.get("/v1/models").await.error(403, "qwen_challenge");
    assert!(error["verify_url"].as_str().unwrap().starts_with("https://"), "{error}");
    let before = fake.requests().len();
    server.get("/v1/models/qwen3").await.error(403, "qwen_challenge");
    server.chat(&chat("hi")).await.error(403, "qwen_challenge");
    assert_eq!(fake.requests().len(), before);
}

/// Two servers refresh an old list once, and keep it while the upstream fails.
pub async fn servers_sharing_a_database_fetch_the_list_once(case: Arc<Case>) {
    // Each native process fetches the list at its start, even with a stored list.
    let max_requests = if case.product == Product::Native { 2 } else { 1 };
    for failure in [None, Some("http_500")] {
        let fake = Fake::start();
        fake.set_models_failure(failure);
        let pair = case.start_pair(&fake, &[]).await;
        let answered = send_a_thousand(&pair).await;
        assert_eq!(answered, if failure.is_some() { 0 } else { 1000 });
        assert!((1..=max_requests).contains(&list_requests(&fake)), "{failure:?}: {}", list_requests(&fake));
    }
    for (failure, delay_ms) in [(None, 0), (None, 1500), (Some("http_500"), 0)] {
        let fake = Fake::start();
        let servers = match case.product {
            Product::Worker => {
                let [one, two] = case.start_pair(&fake, &[]).await;
                assert_eq!(one.get("/v1/models").await.status, 200);
                one.sql(AGE_LIST).await;
                vec![two]
            }
            Product::Native => {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("old.db").display().to_string();
                let settings = [("DATABASE_PATH", path.as_str())];
                let server = case.start_with(&fake, &settings).await;
                assert_eq!(server.get("/v1/models").await.status, 200);
                server.stop().await;
                rusqlite::Connection::open(&path).unwrap().execute_batch(AGE_LIST).unwrap();
                fake.set_models_failure(failure);
                let server = case.start_with(&fake, &settings).await;
                server.own(folder).await;
                vec![server]
            }
        };
        let before = list_requests(&fake);
        fake.set_models_failure(failure);
        fake.set_first_byte_delay_ms("/api/models", delay_ms);
        assert_eq!(send_a_thousand(&servers).await, 1000, "an old list is used");
        let requests = list_requests(&fake) - before;
        assert!(requests <= 1, "{failure:?} {delay_ms}: {requests}");
    }
}
