//! Clients that upload files and have pictures and videos made, and one that looks whether all is still there.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    ACCOUNTS, MEDIA_SECONDS, TTL_TICKS, World,
    ledger::{BROKEN, Own, Sent},
};
use crate::{
    cases::{
        dialects::Dialect,
        files::{fixture, sha256},
    },
    form::{Form, LargeUpload},
    http::with,
};

const LARGE: u64 = 20 * 1024 * 1024;

/// Something that was acknowledged, and has to be there until it is too old.
#[derive(Clone, Debug)]
pub struct Kept {
    account: usize,
    kind: &'static str,
    path: String,
    /// What its object has to contain.
    text: String,
    tick: u64,
    at: Instant,
}

impl Kept {
    fn new(account: usize, kind: &'static str, path: String, text: &str) -> Self {
        Self { account, kind, path, text: text.to_owned(), tick: u64::MAX, at: Instant::now() }
    }

    pub fn response(account: usize, id: &str, text: &str) -> Self {
        Self::new(account, "responses, found again", format!("/v1/responses/{id}"), text)
    }

    /// The same, from now on.
    pub fn at(mut self, tick: u64) -> Self {
        (self.tick, self.at) = (tick, Instant::now());
        self
    }

    /// Whether it has to be there, and whether it may be: it is forgotten some time after it has become too old.
    fn expected(&self, tick: u64) -> (bool, bool) {
        if self.kind == LINK {
            let age = self.at.elapsed();
            return (age < Duration::from_secs(MEDIA_SECONDS - 2), age < Duration::from_secs(MEDIA_SECONDS + 2));
        }
        (tick < self.tick + TTL_TICKS, true)
    }
}

const LINK: &str = "links to pictures, followed again";

/// Looks at things that were acknowledged: all of them at the end, else one after the other.
pub async fn auditor(world: Arc<World>) {
    while !world.is_over() {
        world.pause(400).await;
        let kept = {
            let mut all = world.kept.lock().unwrap();
            let count = all.len();
            if count == 0 { continue } else { all.swap_remove(world.below(count)) }
        };
        if look(&world, &kept).await {
            world.kept.lock().unwrap().push(kept);
        }
    }
}

/// Looks at one thing; returns whether it is to be looked at again.
pub async fn look(world: &World, kept: &Kept) -> bool {
    let (must_before, _) = kept.expected(world.tick());
    let sent = world.send(kept.account, "GET", &kept.path, &[], "").await;
    // It may have become too old while it was asked for.
    let (must, may) = kept.expected(world.tick());
    let own = match (must && must_before, may) {
        (true, _) => Own::NONE,
        (false, true) => Own { codes: &["not_found", "video_not_found"], may_succeed: true },
        (false, false) => Own::fails(&["not_found", "video_not_found"]),
    };
    let found = world.settle(kept.kind, &sent, own, |reply| {
        let text = String::from_utf8_lossy(&reply.body);
        if text.contains(&kept.text) { Ok(()) } else { Err(format!("{:.200} is not in it", kept.text)) }
    });
    found.is_some() || !matches!(&sent.result, Ok(reply) if reply.status == 404)
}

/// A client of files: small ones as attachments, and large videos.
pub async fn uploader(world: Arc<World>, place: usize) {
    let mut count = 0_u64;
    while !world.is_over() {
        let account = (place + usize::try_from(count).unwrap()) % ACCOUNTS.len();
        small(&world, account).await;
        if place == 0 && count.is_multiple_of(4) {
            large(&world, account).await;
        }
        count += 1;
        world.pause(2_000).await;
    }
}

async fn send_form(world: &World, account: usize, path: &str, form: Form) -> Sent {
    let (content_type, body) = form.body();
    world.send(account, "POST", path, &[("content-type", &content_type)], body).await
}

async fn small(world: &World, account: usize) {
    let number = world.next();
    let content = format!("file {number}: {}", "line of text\n".repeat(1 + world.below(3_000)));
    let name = format!("soak-{number}.txt");
    let form = Form::new().text("purpose", "user_data").file("file", &name, Some("text/plain"), &content);
    let sent = send_form(world, account, "/v1/files", form).await;
    let read = |reply: &crate::http::Reply| {
        let object = reply.json();
        (object["bytes"] == content.len()).then_some(object).ok_or_else(|| "another size".to_owned())
    };
    let Some(object) = world.settle("files, small", &sent, Own::NONE, read) else { return };
    let id = object["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/files/{id}");
    if world.fake.object(&name).is_none_or(|stored| stored.sha256 != sha256(content.as_bytes())) {
        world.ledger.unexplained(format!("the storage has other bytes of {name}"));
    }
    let parts = json!([
        { "type": "text", "text": "[[fake files=1]] what is it?" },
        { "type": "file", "file": { "file_id": id } },
    ]);
    let request = json!({ "model": "qwen3-max", "messages": [{ "role": "user", "content": parts }] });
    let sent = world.post(account, Dialect::Chat.path(), &request).await;
    world.settle("chats about a file", &sent, Own::NONE, |reply| {
        let text = Dialect::Chat.read(reply).text;
        if text.contains(&sha256(content.as_bytes())) { Ok(()) } else { Err(format!("another file: {text}")) }
    });
    if world.below(3) > 0 {
        world.keep(Kept::new(account, "files, found again", path, &name));
        return;
    }
    let sent = world.send(account, "DELETE", &path, &[], "").await;
    // A connection that breaks leaves open whether it was done.
    let is_broken = sent.result.is_err();
    let deleted = |reply: &crate::http::Reply| {
        (reply.json()["deleted"] == true).then_some(()).ok_or_else(|| "not deleted".to_owned())
    };
    if world.settle("files, deleted", &sent, Own::NONE, deleted).is_some() && !is_broken {
        let sent = world.send(account, "GET", &path, &[], "").await;
        world.settle("files, gone", &sent, Own::fails(&["not_found"]), |_| Ok(()));
    }
}

async fn large(world: &World, account: usize) {
    let number = world.next();
    let name = format!("soak-{number}.mp4");
    let mut upload = LargeUpload::new(&name, LARGE);
    upload.head = fixture("isom.mp4").into_iter().take(4_096).collect();
    upload.seed = number;
    let id = format!("soak-{number}");
    upload.headers = vec![
        ("authorization".to_owned(), format!("Bearer {}", ACCOUNTS[account].1)),
        ("x-request-id".to_owned(), id.clone()),
    ];
    let begun = Instant::now();
    let server = world.server();
    let sending = upload.clone();
    // The upload panics when its connection breaks.
    let task = tokio::spawn(async move { sending.send_all(server.http.address(), "/v1/files/upload").await });
    let result = task.await.map(|uploaded| uploaded.reply).map_err(|_| BROKEN.to_owned());
    let sent = Sent::new(id, account, begun, result);
    let done = world.settle("files, 20 MiB", &sent, Own::NONE, |reply| {
        let object = reply.json();
        (object["bytes"] == LARGE).then_some(object).ok_or_else(|| "another size".to_owned())
    });
    let Some(object) = done else { return };
    if world.fake.object(&name).is_none_or(|stored| stored.sha256 != upload.sha256()) {
        world.ledger.unexplained(format!("the storage has other bytes of {name}"));
    }
    world.keep(Kept::new(
        account,
        "files, found again",
        format!("/v1/files/{}", object["id"].as_str().unwrap()),
        &name,
    ));
}

/// A client of pictures.
pub async fn painter(world: Arc<World>) {
    const FAULTS: &[(&str, Own)] = &[
        ("", Own::NONE),
        ("", Own::NONE),
        ("lost=cut", Own::NONE),
        ("lost=created", Own::NONE),
        ("cdn=500 cdn_times=1", Own::NONE),
        ("cdn=html cdn_times=1", Own::NONE),
        ("fail=picture_quota", Own::fails(&["quota_exceeded"])),
        ("fail=overload", Own::fails(&["upstream_overloaded"])),
        ("fail=data_inspection", Own::fails(&["content_filter"])),
    ];
    while !world.is_over() {
        let number = world.next();
        let account = world.below(ACCOUNTS.len());
        let (fault, own) = FAULTS[world.below(FAULTS.len())];
        let prompt = format!("[[fake px=320x{} {fault}]] p:{number};", 200 + number % 97);
        let by_link = world.below(2) == 0;
        let fields = json!({ "prompt": prompt, "response_format": if by_link { "url" } else { "b64_json" } });
        let (kind, sent) = if world.below(3) == 0 {
            let (content_type, body) = Form::new()
                .text("prompt", &prompt)
                .text("response_format", fields["response_format"].as_str().unwrap())
                .file("image", "in.png", Some("image/png"), fixture("truecolor.png"))
                .body();
            let headers = [("content-type", content_type.as_str())];
            ("pictures, edited", world.send(account, "POST", "/v1/images/edits", &headers, body).await)
        } else {
            ("pictures, drawn", world.post(account, "/v1/images/generations", &fields).await)
        };
        let mark = format!("p:{number};");
        let link = world.settle(kind, &sent, own, |reply| {
            let picture = reply.json()["data"][0].clone();
            if by_link {
                return Ok(picture["url"].as_str().map(str::to_owned));
            }
            let bytes = STANDARD.decode(picture["b64_json"].as_str().unwrap()).map_err(|error| error.to_string())?;
            let outputs = world.fake.outputs(&mark);
            let same = outputs.iter().any(|output| world.fake.output_bytes(&output.path).as_deref() == Some(&bytes));
            if same { Ok(None) } else { Err("another picture".to_owned()) }
        });
        if world.fake.pictures_begun(&mark) > 1 {
            world.ledger.unexplained(format!("the picture {mark} was drawn twice"));
        }
        if let Some(Some(link)) = link {
            let path = format!("/v1/media/{}", link.rsplit('/').next().unwrap());
            world.keep(Kept::new(account, LINK, path, "PNG"));
        }
        world.pause(1_500).await;
    }
}

/// A client of videos: begins one, waits for it, and takes it.
pub async fn filmer(world: Arc<World>) {
    while !world.is_over() {
        let account = world.below(ACCOUNTS.len());
        let number = world.next();
        let (state, own) =
            [("", Own::NONE), ("", Own::NONE), ("end_state=failed message=no", Own::NONE)][world.below(3)];
        let refused = world.below(6) == 0;
        let (fault, own) = if refused { ("fail=video_quota", Own::fails(&["quota_exceeded"])) } else { (state, own) };
        let prompt = format!("[[fake polls=1 bytes=150000 {fault}]] v:{number};");
        let sent = world.post(account, "/v1/videos", &json!({ "prompt": prompt })).await;
        let id = world.settle("videos, begun", &sent, own, |reply| Ok(reply.json()["id"].as_str().unwrap().to_owned()));
        if let Some(id) = id {
            let path = format!("/v1/videos/{id}");
            world.keep(Kept::new(account, "videos, found again", path.clone(), &id));
            follow(&world, account, &path, state.is_empty(), number).await;
        }
        if world.fake.videos_begun(&format!("v:{number};")) > 1 {
            world.ledger.unexplained(format!("the video {number} was begun twice"));
        }
        world.pause(3_000).await;
    }
}

async fn follow(world: &World, account: usize, path: &str, succeeds: bool, number: u64) {
    let began = Instant::now();
    let status = loop {
        world.pause(1_500).await;
        let sent = world.send(account, "GET", path, &[], "").await;
        let job = world.settle("videos, state", &sent, Own::NONE, |reply| Ok(reply.json()));
        match job.as_ref().and_then(|job| job["status"].as_str()) {
            Some("queued" | "in_progress") | None => {}
            Some(status) => break status.to_owned(),
        }
        if world.is_over() {
            return;
        }
        if began.elapsed() > Duration::from_secs(60) {
            return world.ledger.unexplained(format!("the video {path} does not end: {job:?}"));
        }
    };
    if status != if succeeds { "completed" } else { "failed" } {
        return world.ledger.unexplained(format!("the video {path} is {status}"));
    }
    if !succeeds {
        return;
    }
    let sent = world.send(account, "GET", &format!("{path}/content"), &[], "").await;
    world.settle("videos, content", &sent, Own::NONE, |reply| {
        let outputs = world.fake.outputs(&format!("v:{number};"));
        let bytes = outputs.first().and_then(|output| world.fake.output_bytes(&output.path)).map(Bytes::from);
        if bytes.as_ref() == Some(&reply.body) { Ok(()) } else { Err("another video".to_owned()) }
    });
}

/// The lists of a key: chats, files, videos, models; and what is the server's own.
pub async fn lister(world: Arc<World>) {
    let paths: [(&'static str, &'static str); 10] = [
        ("chats, listed", "/v1/chats"),
        ("files, listed", "/v1/files?limit=20"),
        ("videos, listed", "/v1/videos?limit=20"),
        ("models, listed", "/v1/models"),
        ("a model", "/v1/models/qwen3-max"),
        ("health", "/health"),
        ("readiness", "/ready"),
        ("the document", "/openapi.json"),
        ("pages", "/docs"),
        ("the server's information", "/"),
    ];
    let mut at = 0;
    while !world.is_over() {
        let (kind, path) = paths[at % paths.len()];
        let sent = world.send(at / paths.len() % ACCOUNTS.len(), "GET", path, &[], "").await;
        world.settle(kind, &sent, Own::NONE, |_| Ok(()));
        at += 1;
        world.pause(600).await;
    }
}

/// Estimates of tokens, in both dialects that have them.
pub async fn counter(world: Arc<World>) {
    while !world.is_over() {
        let text = "How many tokens has this? ".repeat(1 + world.below(400));
        let (path, request) = match world.below(2) {
            0 => ("/v1/messages/count_tokens", Dialect::Messages.question(&text)),
            _ => ("/v1/responses/input_tokens", Dialect::Responses.question(&text)),
        };
        let sent = world.post(world.below(ACCOUNTS.len()), path, &with(request, json!({}))).await;
        world.settle("counts of tokens", &sent, Own::NONE, |reply| {
            let counted: Value = reply.json()["input_tokens"].clone();
            (counted.as_u64() > Some(0)).then_some(()).ok_or_else(|| counted.to_string())
        });
        world.pause(1_500).await;
    }
}
