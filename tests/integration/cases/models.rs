use std::sync::Arc;

use futures::{StreamExt as _, stream};

use crate::{
    Product,
    fake_qwen::Fake,
    http::chat,
    server::{Case, Server},
};

pub async fn the_list_has_openai_shape(case: Arc<Case>) {
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

pub async fn one_model_is_found_by_id_and_alias(case: Arc<Case>) {
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

fn asked(fake: &Fake) -> usize {
    fake.seen().iter().filter(|seen| seen.path_and_query.starts_with("/api/models")).count()
}

pub async fn the_list_is_cached(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    for _ in 0..5 {
        assert_eq!(server.get("/v1/models").await.status, 200);
        assert_eq!(server.chat(&chat("hi")).await.status, 200);
    }
    // The box asks once at its start and may be asked by the first request meanwhile.
    let most = if case.product == Product::Box { 2 } else { 1 };
    assert!((1..=most).contains(&asked(&fake)), "{}", asked(&fake));
}

pub async fn the_last_good_list_outlives_the_site_and_a_restart(case: Arc<Case>) {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept.db").display().to_string();
    let settings = [("DATABASE_PATH", path.as_str())];
    let server = case.start_with(&fake, &settings).await;
    let list = server.get("/v1/models").await.json();
    fake.set_models_failure(Some("http_500"));
    // On the edge an instance's database ends with it, so only the box can show a restart here.
    let server = if case.product == Product::Box {
        server.stop().await;
        case.start_with(&fake, &settings).await
    } else {
        server
    };
    assert_eq!(server.get("/v1/models").await.json(), list);
    assert_eq!(server.get("/v1/models/qwen3").await.json()["id"], "qwen3-max");
    assert_eq!(server.chat(&chat("hi")).await.status, 200);
}

pub async fn without_any_list_the_error_is_told(case: Arc<Case>) {
    let fake = Fake::start();
    fake.set_models_failure(Some("bad_gateway_html"));
    let server = case.start_with(&fake, &[]).await;
    server.get("/v1/models").await.error(502, "upstream_error");
    server.get("/v1/models/qwen3").await.error(502, "upstream_error");
    let reply = server.chat(&chat("hi")).await;
    assert_eq!(reply.status, 200, "a chat goes on without a list: {reply:?}");
    let asked = asked(&fake);
    fake.set_models_failure(None);
    let reply = server.get("/v1/models").await;
    reply.error(502, "upstream_error");
    let wait: u64 = reply.header("retry-after").expect("when the site is asked again").parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(self::asked(&fake), asked, "the site is left alone for a while");
}

/// A thousand requests, many of them at once, on every route that may need the list; how many were answered well.
async fn a_thousand(servers: &[Arc<Server>]) -> usize {
    let ask = |number: usize| {
        let server = Arc::clone(&servers[number % servers.len()]);
        let path = match number % 4 {
            0 => "/v1/models".to_owned(),
            1 => "/models/qwen3-max".to_owned(),
            2 => format!("/v1/models/nothing-{number}"),
            _ => "/v1/models/qwen3".to_owned(),
        };
        async move { server.get(&path).await.status.as_u16() }
    };
    let statuses: Vec<u16> = stream::iter((0..1000).map(ask)).buffer_unordered(100).collect().await;
    statuses.into_iter().filter(|status| matches!(status, 200 | 404)).count()
}

pub async fn the_site_is_asked_once_however_many_ask(case: Arc<Case>) {
    // No list, then a fresh one.
    let fake = Fake::start();
    let server = case.start_with(&fake, &[]).await;
    assert_eq!((a_thousand(&[Arc::clone(&server)]).await, asked(&fake)), (1000, 1), "at first");
    assert_eq!((a_thousand(&[server]).await, asked(&fake)), (1000, 1), "fresh");
    // A list that is slow to come, when there is none yet.
    let fake = Fake::start();
    fake.set_first_ms("/api/models", 1500);
    let server = case.start_with(&fake, &[]).await;
    assert_eq!((a_thousand(&[server]).await, asked(&fake)), (1000, 1), "slow");
    // No list, and the site fails: at once, or after a while.
    for wait in [0, 1500] {
        let fake = Fake::start();
        fake.set_models_failure(Some("http_500"));
        fake.set_first_ms("/api/models", wait);
        let server = case.start_with(&fake, &[]).await;
        assert_eq!((a_thousand(&[Arc::clone(&server)]).await, asked(&fake)), (0, 1), "failing");
        server.get("/v1/models/qwen3").await.error(502, "upstream_error");
        assert_eq!(server.chat(&chat("hi")).await.status, 200, "chats go on");
        assert_eq!(asked(&fake), 1, "chats neither");
    }
}

/// A human check is asked for of whoever asks for the list, too: then nothing is sent for a while.
pub async fn a_check_at_the_list_is_a_pause(case: Arc<Case>) {
    let fake = Fake::start();
    fake.set_models_failure(Some("waf_html"));
    let server = case.start_with(&fake, &[]).await;
    let error = server.get("/v1/models").await.error(403, "qwen_challenge");
    assert!(error["verify_url"].as_str().unwrap().starts_with("https://"), "{error}");
    let before = fake.seen().len();
    server.get("/v1/models/qwen3").await.error(403, "qwen_challenge");
    server.chat(&chat("hi")).await.error(403, "qwen_challenge");
    assert_eq!(fake.seen().len(), before);
}

/// An old list, and what becomes of it: it is renewed once by all, and kept while the site fails.
pub async fn isolates_ask_the_site_together(case: Arc<Case>) {
    // Each process of the box asks once at its start, whatever there is.
    let most = if case.product == Product::Box { 2 } else { 1 };
    for failure in [None, Some("http_500")] {
        let fake = Fake::start();
        fake.set_models_failure(failure);
        let twins = case.start_twins(&fake, &[]).await;
        let good = a_thousand(&twins).await;
        assert_eq!(good, if failure.is_some() { 0 } else { 1000 });
        assert!((1..=most).contains(&asked(&fake)), "{failure:?}: {}", asked(&fake));
    }
    let old = "UPDATE cache SET updated_at = updated_at - 3600000;";
    for (failure, wait) in [(None, 0), (None, 1500), (Some("http_500"), 0)] {
        let fake = Fake::start();
        let servers = match case.product {
            Product::Edge => {
                let [one, two] = case.start_twins(&fake, &[]).await;
                assert_eq!(one.get("/v1/models").await.status, 200);
                one.sql(old).await;
                vec![two]
            }
            Product::Box => {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("old.db").display().to_string();
                let settings = [("DATABASE_PATH", path.as_str())];
                let server = case.start_with(&fake, &settings).await;
                assert_eq!(server.get("/v1/models").await.status, 200);
                server.stop().await;
                rusqlite::Connection::open(&path).unwrap().execute_batch(old).unwrap();
                fake.set_models_failure(failure);
                let server = case.start_with(&fake, &settings).await;
                server.keep(folder).await;
                vec![server]
            }
        };
        let before = asked(&fake);
        fake.set_models_failure(failure);
        fake.set_first_ms("/api/models", wait);
        assert_eq!(a_thousand(&servers).await, 1000, "an old list is better than none");
        let more = asked(&fake) - before;
        assert!(more <= 1, "{failure:?} {wait}: {more}");
    }
}
