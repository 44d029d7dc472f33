//! Tests of the fake site: pictures, videos, and their files.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    fake_qwen::{Fake, encoded},
    http::{Http, Reply},
    server::Case,
};

const ANY: &str = "";
const NONE: [&str; 0] = [];

struct Site {
    fake: Fake,
    http: Http,
    cookie: String,
}

/// A completion of a media type.
#[derive(Clone)]
struct Order {
    new: Value,
    body: Value,
}

impl Site {
    fn start() -> Self {
        let fake = Fake::start();
        Self { http: Http::new(&fake.url()), fake, cookie: format!("token={}", Fake::token("ada", 900)) }
    }

    async fn send(&self, method: &str, path: &str, body: &Value) -> Reply {
        let headers = [("cookie", self.cookie.as_str()), ("version", "0.2"), ("content-type", "application/json")];
        self.http.send_plain(method, path, &headers, body.to_string()).await
    }

    async fn new_chat(&self, order: &Order) -> String {
        let reply = self.send("POST", "/api/v2/chats/new", &order.new).await.json();
        reply["data"]["id"].as_str().unwrap_or_else(|| panic!("{reply}")).to_owned()
    }

    async fn complete(&self, chat: &str, order: &Order) -> Reply {
        let mut body = order.body.clone();
        body["chat_id"] = chat.into();
        self.send("POST", &format!("/api/v2/chat/completions?chat_id={chat}"), &body).await
    }

    /// The chat and the response.
    async fn order(&self, order: &Order) -> (String, Reply) {
        let chat = self.new_chat(order).await;
        let reply = self.complete(&chat, order).await;
        (chat, reply)
    }

    async fn draw(&self, directive: &str) -> (String, Reply) {
        self.order(&picture(&format!("[[fake {directive}]] a kite"), "16:9")).await
    }

    /// The newest message of a chat.
    async fn newest(&self, chat: &str) -> Value {
        let detail =
            self.send("GET", &format!("/api/v2/chats/{chat}?direction=up&limit=10"), &Value::Null).await.json();
        let messages = &detail["data"]["chat"]["messages"];
        messages.as_array().and_then(|messages| messages.last()).cloned().unwrap_or_default()
    }

    async fn in_chat(&self, chat: &str) -> Vec<String> {
        let newest = self.newest(chat).await;
        let list = newest["content_list"].as_array().cloned().unwrap_or_default();
        let texts = list.iter().filter_map(|entry| entry["content"].as_str().filter(|text| !text.is_empty()));
        texts.map(str::to_owned).collect()
    }

    async fn get(&self, url: &str, headers: &[(&str, &str)]) -> Reply {
        let path = url.strip_prefix(&self.fake.url()).unwrap_or(url);
        self.http.send_plain("GET", path, headers, "").await
    }

    async fn poll(&self, task: &str) -> Reply {
        self.send("GET", &format!("/api/v2/task/status/{task}"), &Value::Null).await
    }
}

fn order(chat_type: &str, prompt: &str, size: Option<&str>, files: usize) -> Order {
    let is_video = chat_type.ends_with("2v");
    let file = json!({
        "type": "image", "name": "a.png", "url": "https://cdn.qwenlm.ai/in/a.png?x=1", "file_type": "image/png",
        "showType": "image", "file_class": "vision", "status": "uploaded"
    });
    let mut meta = json!({"subChatType": chat_type});
    let mut body = json!({
        "stream": !is_video, "version": "2.1", "incremental_output": true, "chat_mode": "normal", "model": "qwen3.7-plus",
        "parent_id": null, "timestamp": 1_790_000_001
    });
    if let Some(size) = size {
        meta["size"] = size.into();
        body["size"] = size.into();
    }
    body["messages"] = json!([{
        "role": "user", "content": prompt, "files": vec![file; files], "models": ["qwen3.7-plus"], "model": "",
        "chat_type": chat_type, "sub_chat_type": chat_type,
        "feature_config": {"thinking_enabled": false, "output_schema": "phase", "auto_thinking": false},
        "extra": {"meta": meta}
    }]);
    let new = json!({"models": ["qwen3.7-plus"], "chat_type": chat_type, "chat_mode": "normal"});
    Order { new, body }
}

fn picture(prompt: &str, size: &str) -> Order {
    order("t2i", prompt, Some(size), 0)
}

impl Order {
    fn with(mut self, pointer: &str, value: Value) -> Self {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        self.body.pointer_mut(parent).unwrap()[name] = value;
        self
    }

    fn model(self, model: &str) -> Self {
        self.with("/messages/0/extra/meta/model", model.into())
    }
}

/// The links of a stream.
fn links(stream: &Reply) -> Vec<String> {
    let text = stream.text();
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let contents = events.filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned));
    contents.filter(|content| content.contains("://") || content.contains("?key=")).collect()
}

/// Width and height of a PNG.
fn png_size(bytes: &[u8]) -> (u32, u32) {
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

pub async fn pictures_are_drawn(_: Arc<Case>) {
    let site = Site::start();
    for (size, model, pixels) in [
        ("auto", None, (1024, 1024)),
        ("16:9", None, (2688, 1536)),
        ("3:4", Some("qwen-image"), (1728, 2368)),
        ("auto", Some("qwen-image-3.0"), (1024, 1024)),
        ("auto", Some("qwen-image-3.0-pro"), (1792, 2400)),
        ("9:16", Some("qwen-image-2.0-pro"), (1536, 2688)),
    ] {
        let mut wanted = picture("a kite", size);
        if let Some(model) = model {
            wanted = wanted.model(model);
        }
        let (chat, stream) = site.order(&wanted).await;
        let text = stream.text();
        let frame = format!(r#""output_image_hw": [[{}, {}]]"#, pixels.1, pixels.0);
        assert!(text.contains("response.created") && text.contains(&frame), "{text}");
        assert!(text.contains(r#""phase": "image_gen""#) && text.contains("\"image_count\": 1"), "{text}");
        let found = links(&stream);
        assert_eq!(found.len(), 1, "{text}");
        assert!(found[0].contains("/output/ada/t2i/") && found[0].contains("/1.png?key="), "{found:?}");
        assert_eq!(site.in_chat(&chat).await, found);
        let file = site.get(&found[0], &[]).await;
        assert_eq!(file.header("content-type"), Some("application/octet-stream"));
        assert_eq!(png_size(&file.body), pixels);
        let job = site.fake.media_jobs(ANY).pop().unwrap();
        assert_eq!((job.model.as_deref(), job.size.as_deref(), job.chat_id), (model, Some(size), chat));
        let path = site.fake.outputs(ANY).pop().unwrap().path;
        assert_eq!(site.fake.output_bytes(&path).unwrap(), file.body);
        assert_eq!((site.fake.output_url(&path), site.fake.downloads(&path).len()), (found[0].clone(), 1));
    }
    assert_eq!(site.fake.violations(ANY), NONE);

    let (_, stream) = site.draw("pictures=2 preview=1 think=I%20see. gap_ms=120 keepalive_ms=50").await;
    let found = links(&stream);
    assert_eq!(found.len(), 4);
    assert!(found[2].contains("/t2i/") && found[2].contains("/2.png") && found[3].contains("/image_gen/"));
    assert!(stream.text().contains("keep_alive") && stream.text().contains("image_gen_think"));
    for (name, start) in [("jpeg", &b"\xff\xd8\xff"[..]), ("webp", b"RIFF"), ("text", b"t2i/")] {
        let (_, stream) = site.draw(&format!("type={name}")).await;
        assert!(site.get(&links(&stream)[0], &[]).await.body.starts_with(start), "{name}");
    }

    let edit = order("image_edit", "[[fake echo=1]] a boat", None, 2);
    let (chat, stream) = site.order(&edit).await;
    let found = links(&stream);
    assert_eq!(found.len(), 3);
    assert!(found[1].contains("/in/a.png") && found[2].contains("/image_edit/"), "{found:?}");
    assert!(stream.text().contains(r#""status": "finished", "phase": "image_edit""#));
    assert_eq!(site.fake.media_jobs("a boat")[0].files.len(), 2);
    // Without new files the last picture is edited.
    let parent = site.fake.chat_nodes(&chat).pop().unwrap().id;
    let again = order("image_edit", "make it night", None, 0).with("/parent_id", parent.into());
    assert_eq!(links(&site.complete(&chat, &again).await).len(), 1);
    let (_, stream) = site.order(&order("t2i", "two boats", Some("auto"), 2)).await;
    assert!(links(&stream)[0].contains("/image_edit/"));
    assert_eq!((site.fake.violations(ANY), site.fake.videos_begun(ANY)), (Vec::new(), 0));
}

pub async fn misuse_is_refused_and_recorded(_: Arc<Case>) {
    let site = Site::start();
    let kite = picture("a kite", "1:1");
    let video = order("t2v", "a kite", Some("1:1"), 0);
    let meta = "/messages/0/extra/meta";
    for (wrong, violation) in [
        (kite.clone().with("/messages/0/sub_chat_type", "t2t".into()), "sub_chat_type"),
        (kite.clone().with(&format!("{meta}/subChatType"), Value::Null), "subChatType"),
        (kite.clone().with("/stream", false.into()), "stream"),
        (kite.clone().with("/chat_mode", "local".into()), "chat_mode"),
        (kite.clone().with("/messages/0/feature_config/thinking_enabled", true.into()), "thinking"),
        (kite.clone().with("/size", "16:9".into()), "extra.meta.size"),
        (picture("a kite", "2:1"), "2:1"),
        (picture("a kite", "auto").model("qwen-image-2.0-pro"), "auto"),
        (order("image_edit", "a kite", Some("1:1"), 1), "image_edit has the size"),
        (order("image_edit", "a kite", None, 0), "no picture"),
        (order("image_gen", "a kite", Some("1:1"), 0), "image_gen"),
        (video.clone().with("/stream", true.into()), "stream"),
        (order("t2v", "a kite", Some("auto"), 0), "auto"),
        (order("i2v", "a kite", Some("1:1"), 0), "0 pictures"),
        (order("i2v", "a kite", Some("1:1"), 2), "2 pictures"),
        (Order { new: json!({"models": ["qwen3.7-plus"]}), ..kite.clone() }, "the chat's chat_type"),
    ] {
        let before = site.fake.violations(ANY).len();
        let (_, reply) = site.order(&wrong).await;
        assert_eq!(reply.json()["data"]["code"], "Bad_Request", "{violation}: {reply:?}");
        let found = site.fake.violations("a kite");
        assert!(found.len() == before + 1 && found[before].contains(violation), "{violation}: {found:?}");
    }
    let before = site.fake.violations(ANY).len();
    for (wrong, is_violation) in [
        (kite.clone().with("/model", "qwen-image-3.0".into()), true),
        (kite.clone().with("/messages/0/models", json!(["qwen-image-3.0"])), true),
        (kite.clone().with("/model", "qwen-unknown".into()), false),
        (kite.clone().model("wan2.7-image"), false),
    ] {
        let count = site.fake.violations(ANY).len();
        let (_, reply) = site.order(&wrong).await;
        assert_eq!(reply.json()["data"], json!({"code": "Not_Found", "details": "Model not found"}));
        assert_eq!(site.fake.violations(ANY).len() - count, usize::from(is_violation));
    }
    let new = site.send("POST", "/api/v2/chats/new", &json!({"models": ["qwen-image"], "chat_type": "t2i"})).await;
    assert_eq!(new.json()["data"]["code"], "Not_Found");
    assert_eq!((site.fake.media_jobs(ANY).len(), site.fake.outputs(ANY).len()), (0, 0));
    assert_eq!(site.fake.violations(ANY).len(), before + 2);

    // These are answered.
    let (_, stream) = site.order(&picture("in pixels", "2688*1536")).await;
    assert_eq!(links(&stream).len(), 1);
    let (_, stream) = site.order(&picture("in pixels", "2688*1536").model("qwen-image-3.0-pro")).await;
    assert!(stream.text().starts_with("data: {\"error\": {\"code\": \"internal_error\""));
    let (_, reply) = site.order(&order("t2v", "with a file", Some("1:1"), 1)).await;
    assert_eq!(reply.json()["success"], true);
    assert_eq!(site.fake.media_jobs("with a file")[0].dropped_files, 1);
    assert_eq!((site.fake.violations("with a file").len(), site.fake.violations("in pixels").len()), (1, 2));
    let path = site.fake.outputs("in pixels").pop().unwrap().path;
    assert_eq!(site.get(&site.fake.output_url(&path), &[("cookie", "token=x")]).await.status, 200);
    assert_eq!(site.fake.violations("the CDN"), ["the CDN receives the header cookie"]);
}

pub async fn pictures_fail_as_told(_: Arc<Case>) {
    let site = Site::start();
    for (how, data) in [("empty", false), ("created", true), ("finished", true), ("error", true)] {
        let (chat, stream) = site.draw(&format!("lost={how} reads=1")).await;
        assert!(links(&stream).is_empty() && stream.text().contains("data:") == data, "{stream:?}");
        assert_eq!(site.in_chat(&chat).await, NONE);
        assert_eq!(site.in_chat(&chat).await.len(), 1, "{how}");
    }
    assert_eq!(site.fake.pictures_begun(ANY), 4);
    let (chat, stream) = site.draw("pictures=0").await;
    assert!(stream.text().contains("finished") && links(&stream).is_empty());
    assert_eq!(site.in_chat(&chat).await, NONE);
    let (chat, stream) = site.draw("fail=empty").await;
    assert_eq!((stream.status.as_u16(), stream.text()), (200, String::new()));
    assert!(site.fake.chat_nodes(&chat).is_empty());

    let begun = site.fake.pictures_begun(ANY);
    for (directive, part) in [
        ("fail=picture_quota", r#""code":"RateLimited""#),
        ("fail=picture_quota", "额度已用完"),
        ("fail=overload", "访问量较大"),
        ("fail=error_before code=picture_quota", r#""code": "quota_limit", "detail": "今日"#),
        ("fail=error_before code=overload", r#""code": "quota_limit", "detail": "目前"#),
        ("fail=error_before code=inspection_input", r#""stage": "input""#),
        ("fail=waf_html", "aliyun_waf"),
        ("fail=unauthorized", "Unauthorized"),
    ] {
        let (chat, reply) = site.draw(directive).await;
        assert!(reply.text().contains(part) && links(&reply).is_empty(), "{directive}: {reply:?}");
        assert_eq!(site.in_chat(&chat).await, NONE);
    }
    assert_eq!(site.fake.pictures_begun(ANY), begun);
    let (_, stream) = site.draw("fail=error_after").await;
    assert!(links(&stream).len() == 1 && stream.text().contains("Internal error!"));

    site.fake.set_picture_quota("ada", Some(1));
    assert_eq!(links(&site.draw("px=8x8").await.1).len(), 1);
    assert!(site.draw("px=8x8").await.1.text().contains("额度已用完"));
    let (_, stream) = site.order(&picture("more", "1:1").model("qwen-image-3.0-pro")).await;
    assert!(stream.text().starts_with("data: {\"error\": {\"code\": \"quota_limit\", \"detail\""), "{stream:?}");
    site.fake.set_picture_quota("ada", None);

    // What is in the making ends with a stop, and only then.
    for (is_stopped, count) in [(true, 0), (false, 1)] {
        let chat = site.new_chat(&picture("", "1:1")).await;
        let wanted = picture("[[fake gap_ms=700]] a kite", "1:1");
        tokio::select! {
            _ = site.complete(&chat, &wanted) => panic!("the picture is there"),
            () = tokio::time::sleep(std::time::Duration::from_millis(300)) => {}
        }
        if is_stopped {
            site.send("POST", "/api/v2/chat/completions/stop", &json!({"chat_id": chat})).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        assert_eq!(site.in_chat(&chat).await.len(), count);
    }
}

pub async fn the_cdn_behaves_as_told(_: Arc<Case>) {
    let site = Site::start();
    let link = async |directive: &str| links(&site.draw(&format!("px=8x8 {directive}")).await.1).remove(0);
    for (directive, status) in [("cdn=404", 404), ("cdn=html", 200), ("cdn=503", 503)] {
        let url = link(&format!("{directive} cdn_times=2")).await;
        for _ in 0..2 {
            let reply = site.get(&url, &[]).await;
            assert_eq!((reply.status.as_u16(), reply.body.len()), (status, 226), "{reply:?}");
            assert!(reply.header("content-type").unwrap().starts_with("text/html"));
        }
        assert_eq!(png_size(&site.get(&url, &[]).await.body), (8, 8));
    }
    assert_eq!(site.get(&link("cdn=302").await, &[]).await.status, 302);
    let reply = site.get(&link("cdn=redirect cdn_to=http%3A%2F%2F10.0.0.1%2F").await, &[]).await;
    assert_eq!(reply.header("location"), Some("http://10.0.0.1/"));
    assert_eq!(link("link=http%3A%2F%2F10.0.0.1%2Fx.png").await, "http://10.0.0.1/x.png");

    let url = link("bytes=31457280 cdn_chunked=1").await;
    let reply = site.get(&url, &[]).await;
    assert_eq!((reply.body.len(), reply.header("content-length")), (30 << 20, None));
    let (path, _) = url.strip_prefix(&site.fake.url()).unwrap().split_once('?').unwrap();
    let path = path.to_owned();
    assert!(site.fake.output_bytes(&path).unwrap() == reply.body);
    for (range, part) in [
        ("bytes=70000-70010", 70_000..70_011),
        ("bytes=31457270-", 31_457_270..31_457_280),
        ("bytes=-7", 31_457_273..31_457_280),
    ] {
        let found = site.get(&url, &[("range", range)]).await;
        assert_eq!((found.status.as_u16(), &found.body), (206, &reply.body.slice(part)), "{range}");
        assert!(found.header("content-range").unwrap().ends_with("/31457280"));
    }
    let beyond = site.get(&url, &[("range", "bytes=31457280-")]).await;
    assert_eq!((beyond.status.as_u16(), beyond.header("content-range")), (416, Some("bytes */31457280")));
    let url = link("range=0").await;
    assert_eq!(site.get(&url, &[("range", "bytes=0-3")]).await.status, 200);
    let path = url.strip_prefix(&site.fake.url()).unwrap();
    let head = site.http.send_plain("HEAD", path, &[], "").await;
    assert!(head.status == 200 && head.body.is_empty() && head.header("content-length") != Some("0"), "{head:?}");

    let (chat, stream) = site.draw("px=8x8 link=relative").await;
    let relative = links(&stream).remove(0);
    assert!(relative.starts_with("t2i/") && relative.contains("?key="), "{relative}");
    assert_eq!(png_size(&site.get(&format!("/api/v2/chat/{chat}/{relative}"), &[]).await.body), (8, 8));

    let (chat, stream) = site.draw("px=8x8").await;
    let old = links(&stream).remove(0);
    for status in [403, 404] {
        site.fake.end_links(&chat, status);
        assert_eq!(site.get(&old, &[]).await.status.as_u16(), status);
        let new = site.in_chat(&chat).await.remove(0);
        assert_ne!(new, old);
        assert_eq!(site.get(&new, &[]).await.status, 200);
    }
    assert_eq!(site.get(old.split('?').next().unwrap(), &[]).await.status, 403);
    // The model's own tool.
    let text = order("t2t", "[[fake draw=1 px=8x8 say=Here%20it%20is.]] draw", None, 0);
    let (chat, stream) = site.order(&text).await;
    let frames = stream.text().matches(r#""role": "function", "name": "image_gen_tool""#).count();
    assert!(frames == 2 && stream.text().contains("it "), "{stream:?}");
    site.fake.end_links(&chat, 403);
    let list = site.newest(&chat).await["content_list"].clone();
    let url = list.as_array().unwrap().iter().rev().find_map(|entry| entry["extra"]["image_list"][0]["image"].as_str());
    assert_eq!(png_size(&site.get(url.unwrap(), &[]).await.body), (8, 8), "{list}");
    assert_eq!((site.fake.media_jobs("draw=1").len(), site.fake.violations(ANY)), (1, Vec::new()));
}

pub async fn videos_are_tasks(_: Arc<Case>) {
    let site = Site::start();
    let begin = async |directive: &str| {
        let wanted = order("t2v", &format!("[[fake {directive}]] a kite"), Some("16:9"), 0);
        let (chat, reply) = site.order(&wanted).await;
        let task = site.fake.media_jobs(ANY).pop().unwrap().task_id.unwrap();
        (chat, reply, task)
    };
    let (chat, reply, task) = begin("bytes=100000000 polls=2").await;
    let data = &reply.json()["data"];
    assert_eq!(data["messages"][0]["extra"]["wanx"]["task_id"], json!(task));
    assert_eq!((&data["chat_id"], &data["messages"][0]["size"]), (&json!(chat), &json!("16:9")));
    for expected in ["running", "running", "success"] {
        let reply = site.poll(&task).await;
        assert_eq!(
            (reply.header("x-actual-status-code"), &reply.json()["data"]["task_status"]),
            (Some("200"), &json!(expected))
        );
    }
    let flat = site.send("GET", &format!("/api/v1/tasks/status/{task}"), &Value::Null).await.json();
    assert_eq!((&flat["task_status"], &flat["duration"]), (&json!("success"), &Value::Null));
    let url = flat["content"].as_str().unwrap();
    assert!(url.contains("/output/ada/t2v/") && url.contains(&format!("{task}.mp4?key=")));
    assert_eq!(site.fake.task_polls(&task), 4);
    let part = site.get(url, &[("range", "bytes=4-11")]).await;
    assert_eq!((part.status.as_u16(), &part.body[..]), (206, &b"ftypisom"[..]));
    assert_eq!(part.header("content-range"), Some("bytes 4-11/100000000"));
    assert!(site.in_chat(&chat).await.is_empty());
    let other = [("cookie", format!("token={}", Fake::token("bob", 900)))];
    let headers: Vec<(&str, &str)> = other.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let reply = site.http.send_plain("GET", &format!("/api/v2/task/status/{task}"), &headers, "").await;
    assert_eq!((reply.status.as_u16(), reply.header("x-actual-status-code")), (200, Some("404")));
    assert_eq!(reply.json()["data"]["details"], "Task not found");

    let (_, _, task) = begin("poll_1=401 poll_2=html poll_3=missing polls=3 state=Pending end_state=SUCCEEDED").await;
    assert_eq!(site.poll(&task).await.header("x-actual-status-code"), Some("401"));
    assert_eq!(site.poll(&task).await.status, 502);
    assert_eq!(site.poll(&task).await.json()["data"]["code"], "Not_Found");
    let last = site.poll(&task).await.json();
    assert_eq!(last["data"]["task_status"], "SUCCEEDED");
    assert!(last["data"]["content"].as_str().unwrap().contains(".mp4"));

    let (_, _, task) = begin("polls=1 state=weird end_state=failed message=No%20video.").await;
    assert_eq!(site.poll(&task).await.json()["data"]["task_status"], "weird");
    let failed = &site.poll(&task).await.json()["data"];
    assert_eq!(
        (&failed["task_status"], &failed["message"], &failed["content"]),
        (&json!("failed"), &json!("No video."), &json!(""))
    );
    let (_, _, task) = begin("polls=0 task_error=data_inspection_failed").await;
    assert_eq!(site.poll(&task).await.json()["data"]["error"]["code"], "data_inspection_failed");

    let (chat, _, task) = begin("gone=1 detail=1 v1=404").await;
    assert_eq!(site.poll(&task).await.json()["success"], true);
    for _ in 0..2 {
        assert_eq!(site.poll(&task).await.header("x-actual-status-code"), Some("404"));
    }
    assert_eq!(site.send("GET", &format!("/api/v1/tasks/status/{task}"), &Value::Null).await.status, 404);
    assert!(site.in_chat(&chat).await[0].contains(&task));
    let (chat, reply, task) = begin("task_id=detail").await;
    assert!(!reply.text().contains(&task));
    assert_eq!(site.newest(&chat).await["extra"]["wanx"]["task_id"], json!(task));
    let (chat, reply, _) = begin("lost=empty task_id=none").await;
    assert_eq!(reply.text(), "{}");
    assert_eq!(site.newest(&chat).await["extra"], json!({"wanx": {}}));

    let begun = site.fake.videos_begun(ANY);
    let (_, reply, _) = begin("fail=video_quota").await;
    assert_eq!(reply.json()["data"]["code"], "RateLimited");
    site.fake.set_video_quota("", Some(1));
    assert_eq!(begin("say=1").await.1.json()["success"], true);
    assert_eq!(begin("say=2").await.1.json()["data"]["code"], "RateLimited");
    assert_eq!((site.fake.videos_begun(ANY), site.fake.pictures_begun(ANY)), (begun + 1, 0));
    let first = order("i2v", &format!("[[fake say={}]] from it", encoded("x")), Some("1:1"), 1);
    site.fake.set_video_quota("ada", None);
    site.fake.set_video_quota("", None);
    let (_, reply) = site.order(&first).await;
    assert_eq!(reply.json()["data"]["chat_type"], "i2v");
    assert_eq!((site.fake.media_jobs("from it")[0].files.len(), site.fake.violations(ANY)), (1, Vec::new()));
    assert_eq!(site.fake.media_requests("from it").len(), 1);
}
