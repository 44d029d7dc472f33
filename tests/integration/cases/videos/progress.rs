//! What becomes of jobs, with clients or without, and over a restart.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use serde_json::json;

use super::{
    ANY, LOOPBACK, SESSION_KEY, VIDEOS, assert_no_site_link, begin, content, create, ended, filming, get, job, listed,
    newest, prompt,
};
use crate::{
    Product,
    fake_qwen::Fake,
    http::{Raw, eventually},
    server::{Case, KEY, Server},
};

pub async fn a_lost_answer_is_looked_up(case: Arc<Case>) {
    let (fake, server) = filming(&case, &[]).await;
    let all = [
        ("lost=empty task_id=detail", 200),
        ("lost=html task_id=detail", 200),
        ("lost=reset task_id=detail", 200),
        ("task_id=detail", 200),
        ("task_id=flat", 200),
        ("lost=reset task_id=none detail=1", 200),
        ("lost=empty task_id=none", 502),
    ];
    join_all(all.iter().enumerate().map(|(number, (directive, status))| {
        let (server, fake, status) = (&server, &fake, *status);
        let name = format!("id=number{number}");
        async move {
            let reply = create(server, &format!("{directive} polls=0 {name}"), json!({})).await;
            if status == 200 {
                assert_eq!(reply.status, 200, "{directive}: {reply:?}");
                let id = reply.json()["id"].as_str().unwrap().to_owned();
                assert_eq!(ended(server, &id).await["status"], "completed", "{directive}");
                assert_eq!(content(server, &id, &[]).await.status, 200, "{directive}");
            } else {
                reply.error(status, "upstream_empty");
                assert_eq!(reply.header("x-should-retry"), Some("false"));
            }
            assert_eq!(fake.media_requests(&name).len(), 1, "{directive}: asked once");
        }
    }))
    .await;
    assert_eq!(listed(&server, "").await.0.len(), all.len() - 1);
}

pub async fn each_word_of_the_site_is_a_state(case: Arc<Case>) {
    let (fake, server) = filming(&case, &[]).await;
    let all = [
        ("state=Pending end_state=SUCCEEDED", Ok(())),
        ("state=queued end_state=success", Ok(())),
        ("state=PROCESSING end_state=Succeeded v2=404", Ok(())),
        ("state=dreaming end_state=success v1=html", Ok(())),
        ("state=running v2=json", Ok(())),
        ("end_state=failed message=No%20video.", Err("video_failed")),
        ("end_state=ERROR message=https%3A%2F%2Fcdn.example%2Foutput%2Fu%2Fx.mp4", Err("video_failed")),
        ("end_state=Canceled", Err("video_failed")),
        ("task_error=Whatever", Err("video_failed")),
        ("task_error=data_inspection_failed", Err("content_filter")),
        ("end_state=failed message=Content%20security%20warning", Err("content_filter")),
        ("end_state=failed message=Allocated%20quota%20exceeded", Err("quota_exceeded")),
    ];
    join_all(all.map(|(directive, expected)| {
        let (server, fake) = (&server, &fake);
        async move {
            let id = begin(server, &format!("{directive} polls=1")).await;
            assert_eq!(job(server, &id).await["status"], "in_progress", "{directive}");
            let over = ended(server, &id).await;
            assert_no_site_link(fake, &over.to_string());
            match expected {
                Ok(()) => assert_eq!(over["status"], "completed", "{directive} {over}"),
                Err(code) => {
                    assert_eq!((&over["status"], &over["error"]["code"]), (&json!("failed"), &json!(code)), "{over}");
                    assert!(over["completed_at"].is_null() && over["progress"].as_u64().unwrap() < 100, "{over}");
                    let error = content(server, &id, &[]).await.error(400, code);
                    assert_eq!(error["message"], over["error"]["message"]);
                }
            }
        }
    }))
    .await;
    assert_eq!(fake.violations(ANY), Vec::<String>::new());
}

pub async fn answers_that_say_nothing_change_nothing(case: Arc<Case>) {
    let (fake, server) = filming(&case, &[]).await;
    let all = ["poll_1=html poll_2=html", "poll_1=http_500 poll_2=empty_json", "poll_1=missing poll_2=missing"];
    join_all(all.map(|directive| {
        let server = &server;
        async move {
            let id = begin(server, &format!("{directive} polls=1")).await;
            assert_eq!(job(server, &id).await["status"], "in_progress", "{directive}");
            assert_eq!(ended(server, &id).await["status"], "completed", "{directive}");
        }
    }))
    .await;
    assert_eq!(fake.videos_begun(ANY), all.len());
}

pub async fn an_ended_session_fails_no_job(case: Arc<Case>) {
    let cookies = format!("token={}; refresh_token={}", Fake::token("film", 9_000), Fake::refresh_token("film"));
    let (_fake, server) = filming(&case, &[("QWEN_COOKIES", &cookies)]).await;
    let id = begin(&server, "poll_1=401 polls=1").await;
    assert_eq!(ended(&server, &id).await["status"], "completed", "the session is renewed");

    let token = Fake::token("film", 9_000);
    let cookies = format!("token={token}");
    let settings = [("QWEN_COOKIES", cookies.as_str()), ("ADMIN_TOKEN", "admin-key"), ("VIDEO_TIMEOUT_SECONDS", "1")];
    let (fake, server) = filming(&case, &settings).await;
    let id = begin(&server, "polls=0").await;
    let task = newest(&fake).task_id.unwrap();
    fake.revoke(&token);
    eventually("the session has ended", || async {
        assert_eq!(job(&server, &id).await["status"], "in_progress");
        server.get("/health").await.json()["session"]["state"] == "expired"
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(job(&server, &id).await["status"], "in_progress", "also after the time-out");
    assert_eq!(fake.task_polls(&task), 0);
    get(&server, &format!("{id}/content")).await.error(400, "video_not_ready");
    let body = json!({ "cookies": format!("token={}", Fake::token("film", 9_500)) }).to_string();
    let put = server.http.send("PUT", "/admin/session", &[("authorization", "Bearer admin-key")], body).await;
    assert_eq!(put.status, 200, "{put:?}");
    assert_eq!(ended(&server, &id).await["status"], "completed");
}

pub async fn the_site_is_asked_by_one_at_a_time(case: Arc<Case>) {
    let fake = Fake::start();
    let cookies = format!("token={}", Fake::token("pair", 9_000));
    let pair = case.start_pair(&fake, &[LOOPBACK, ("QWEN_COOKIES", &cookies)]).await;
    // The first poll gets no answer: meanwhile the others get the job as it is.
    let id = begin(&pair[0], "poll_1=hang polls=1").await;
    let task = newest(&fake).task_id.unwrap();
    let first = {
        let (server, id) = (Arc::clone(&pair[0]), id.clone());
        tokio::spawn(async move { job(&server, &id).await })
    };
    eventually("the site is asked", || async { fake.task_polls(&task) == 1 }).await;
    let all = (0..20).map(|number| job(&pair[number % 2], &id));
    assert!(join_all(all).await.iter().all(|job| job["status"] == "in_progress"));
    assert_eq!(fake.task_polls(&task), 1);
    assert_eq!(first.await.unwrap()["status"], "in_progress");
    assert_eq!(ended(&pair[1], &id).await["status"], "completed");

    // At most every five seconds.
    let id = begin(&pair[0], "polls=99").await;
    let task = newest(&fake).task_id.unwrap();
    let begun = std::time::Instant::now();
    for _ in 0..5 {
        join_all((0..10).map(|number| job(&pair[number % 2], &id))).await;
    }
    let polls = fake.task_polls(&task);
    assert!(polls >= 1 && polls <= 1 + begun.elapsed().as_secs() / 5, "{polls}");
}

pub async fn a_lost_task_is_looked_up_and_fails(case: Arc<Case>) {
    let (_fake, server) = filming(&case, &[]).await;
    let all = [("gone=0", "failed"), ("gone=1", "failed"), ("gone=0 detail=1", "completed")];
    join_all(all.map(|(directive, expected)| {
        let server = &server;
        async move {
            let id = begin(server, &format!("{directive} polls=9")).await;
            assert_eq!(job(server, &id).await["status"], "in_progress", "{directive}: once is no proof");
            let over = ended(server, &id).await;
            assert_eq!(over["status"], expected, "{directive}");
            if expected == "failed" {
                assert_eq!(over["error"]["code"], "task_lost");
                content(server, &id, &[]).await.error(400, "task_lost");
            }
        }
    }))
    .await;
}

pub async fn a_video_that_takes_too_long_fails(case: Arc<Case>) {
    let (_fake, server) = filming(&case, &[("VIDEO_TIMEOUT_SECONDS", "1")]).await;
    let all = [("polls=99", "failed"), ("v1=html v2=html", "failed"), ("polls=99 detail=1", "completed")];
    join_all(all.map(|(directive, expected)| {
        let server = &server;
        async move {
            let id = begin(server, directive).await;
            let over = ended(server, &id).await;
            assert_eq!(over["status"], expected, "{directive}");
            if expected == "failed" {
                assert_eq!(over["error"]["code"], "upstream_timeout");
            }
        }
    }))
    .await;
}

/// A client that has asked for a video and waits for the answer.
async fn waiting_client(server: &Server, directive: &str) -> Raw {
    let mut client = Raw::connect(server.http.address()).await;
    let body = json!({ "prompt": prompt(directive) }).to_string();
    let head = format!(
        "POST {VIDEOS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.send(format!("{head}{body}").as_bytes()).await;
    client
}

pub async fn a_job_outlives_its_client(case: Arc<Case>) {
    let (fake, server) = filming(&case, &[]).await;
    let client = waiting_client(&server, "first_ms=2000 polls=0").await;
    eventually("the video is begun", || async { fake.videos_begun(ANY) == 1 }).await;
    client.reset();
    eventually("the job is there", || {
        let server = server.with_new_client();
        async move { listed(&server, "").await.1["data"][0]["status"] == "in_progress" }
    })
    .await;
    let (ids, _) = listed(&server, "").await;
    assert_eq!(ended(&server, &ids[0]).await["status"], "completed");
    // The same request gets this job.
    assert_eq!(begin(&server, "first_ms=2000 polls=0").await, ids[0]);
    assert_eq!(fake.videos_begun(ANY), 1);
}

/// A server on a database that outlives it.
async fn on_database(case: &Case, fake: &Fake, path: &str, cookies: &str, key: &str) -> Arc<Server> {
    let settings = [LOOPBACK, ("DATABASE_PATH", path), ("QWEN_COOKIES", cookies), ("SESSION_KEY", key)];
    case.start_with(fake, &settings).await
}

pub async fn a_restart_loses_no_job(case: Arc<Case>) {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept.db").display().to_string();
    let cookies = format!("token={}", Fake::token("restart", 9_000));
    let server = on_database(&case, &fake, &path, &cookies, SESSION_KEY).await;
    let id = begin(&server, "polls=1").await;
    assert_eq!(job(&server, &id).await["status"], "in_progress");
    server.stop().await;
    let server = on_database(&case, &fake, &path, &cookies, SESSION_KEY).await;
    let over = ended(&server, &id).await;
    assert_eq!((&over["status"], &over["prompt"]), (&json!("completed"), &json!(prompt("polls=1"))));
    assert_eq!(content(&server, &id, &[]).await.status, 200);

    // Killed before the site has answered: the chat has the task, or nothing.
    let mut server = server;
    for (directive, expected) in
        [("first_ms=60000 polls=0", "completed"), ("first_ms=60000 polls=0 task_id=none", "failed")]
    {
        let begun = fake.videos_begun(ANY);
        let _client = waiting_client(&server, directive).await;
        eventually("the video is begun", || async { fake.videos_begun(ANY) == begun + 1 }).await;
        let id = listed(&server, "?limit=1").await.0.remove(0);
        assert_eq!(job(&server, &id).await["status"], "queued");
        // With SIGKILL.
        server.stop().await;
        // As after the time for which the dead process had the job, and for which a chat is looked into.
        let age = "UPDATE videos SET held_until = 0, created_at = created_at - 600000 WHERE state = 'creating';";
        rusqlite::Connection::open(&path).unwrap().execute_batch(age).unwrap();
        server = on_database(&case, &fake, &path, &cookies, SESSION_KEY).await;
        let over = ended(&server, &id).await;
        assert_eq!(over["status"], expected, "{directive} {over}");
        if expected == "failed" {
            assert_eq!(over["error"]["code"], "task_lost");
        }
        assert_eq!(fake.videos_begun(ANY), begun + 1, "it is not begun anew");
    }
    // Killed before the site was asked: the same request begins it.
    let begun = fake.videos_begun(ANY);
    fake.set_first_byte_delay_ms("/api/v2/chats/new", 60_000);
    let _client = waiting_client(&server, "polls=0 id=never").await;
    eventually("the job is there", || async { listed(&server, "?limit=1").await.1["data"][0]["status"] == "queued" })
        .await;
    server.stop().await;
    fake.set_first_byte_delay_ms("/api/v2/chats/new", 0);
    let age = "UPDATE videos SET held_until = 0 WHERE state = 'creating';";
    rusqlite::Connection::open(&path).unwrap().execute_batch(age).unwrap();
    let server = on_database(&case, &fake, &path, &cookies, SESSION_KEY).await;
    let id = begin(&server, "polls=0 id=never").await;
    assert_eq!(ended(&server, &id).await["status"], "completed");
    assert_eq!(fake.videos_begun(ANY), begun + 1);
    server.stop().await;

    // Nobody reads the database without its key.
    let mut found = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let stored = std::fs::read(entry.unwrap().path()).unwrap();
        for words in ["a red kite", "/output/"] {
            found += usize::from(memchr::memmem::find(&stored, words.as_bytes()).is_some());
        }
    }
    assert_eq!(found, 0);
}

pub async fn jobs_are_followed_without_a_client(case: Arc<Case>) {
    let (fake, server) = filming(&case, &[]).await;
    let id = begin(&server, "polls=0").await;
    let task = newest(&fake).task_id.unwrap();
    if case.product == Product::Worker {
        assert_eq!(fake.task_polls(&task), 0);
        server.scheduled().await;
    }
    eventually("the site is asked", || async { fake.task_polls(&task) == 1 }).await;
    eventually("the job has ended", || {
        let server = server.with_new_client();
        async move { listed(&server, "").await.1["data"][0]["status"] == "completed" }
    })
    .await;
    assert_eq!(job(&server, &id).await["progress"], 100);
    assert_eq!(fake.task_polls(&task), 1);
}
