//! Uploads: the routes, the upload methods of the storage, and their failures.

mod forms;

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use crate::{
    Product,
    fake_qwen::{Fake, FaultKind, Stage, StorageFault},
    form::{Form, LargeUpload},
    http::{EVENT_STREAM, Reply, concat_deltas, eventually, with},
    server::{BROKEN_STORE, Case, KEY, SHORT_IDLE, Server},
};

pub use self::forms::*;

const MIB: u64 = 1024 * 1024;

/// Starts a server in front of a new fake, so that the case can count its requests.
pub async fn with_storage(case: &Case, settings: &[(&str, &str)]) -> (Arc<Fake>, Arc<Server>) {
    let fake = Arc::new(Fake::start());
    let server = case.start_with(&fake, settings).await;
    (fake, server)
}

pub async fn send(server: &Server, path: &str, form: Form) -> Reply {
    let (content_type, body) = form.body();
    let headers = [("authorization", "Bearer sk-test-key"), ("content-type", &content_type)];
    server.http.send("POST", path, &headers, body).await
}

pub fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/files/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

pub fn sha256(content: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The content of a chat response, streamed or not.
#[track_caller]
pub fn answer(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{reply:?}");
    if reply.header("content-type") == Some(EVENT_STREAM) {
        return concat_deltas(&reply.chunks(), "content");
    }
    reply.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

/// `size` bytes that start with a PNG.
fn png(size: u64) -> Vec<u8> {
    let mut content = fixture("truecolor.png");
    let mut state = size;
    while (content.len() as u64) < size {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(usize::try_from(size).unwrap());
    content
}

/// The requests that the storage received: method and first query parameter.
fn storage_requests(fake: &Fake, marker: &str) -> Vec<String> {
    let requests = fake.requests().into_iter().filter(|request| !request.path_and_query.starts_with("/api/"));
    let matching = requests.filter(|request| request.path_and_query.contains(marker) || request.path_and_query == "/");
    matching
        .map(|request| {
            let query = request.path_and_query.split_once('?').map_or("", |(_, query)| query);
            let name = query.split(['=', '&']).next().unwrap_or_default();
            format!("{} {name}", request.method).trim_end().to_owned()
        })
        .collect()
}

pub async fn an_upload_returns_a_usable_file_object(case: Arc<Case>) {
    let (fake, server) = with_storage(&case, &[]).await;
    for (path, name, declared, kind, class, content_type, purpose) in [
        ("/v1/files/upload", "jfif.jpg", None, "image", "vision", "image/jpeg", "multimodal"),
        ("/files/upload", "isom.mp4", Some("video/mp4"), "video", "video", "video/mp4", "multimodal"),
        ("/v1/files", "id3v2.mp3", None, "audio", "audio", "audio/mpeg", "vision"),
        (
            "/v1/files",
            "reportlab.pdf",
            Some("application/octet-stream"),
            "file",
            "document",
            "application/pdf",
            "assistants",
        ),
    ] {
        let content = fixture(name);
        let mut form = Form::new();
        if path == "/v1/files" {
            form = form.text("purpose", purpose);
        }
        let reply = send(&server, path, form.file("file", name, declared, &content)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let file = reply.json();
        let stored = fake.object(name).unwrap();
        assert_eq!((stored.size, stored.sha256.as_str()), (content.len() as u64, sha256(&content).as_str()));
        assert_eq!(stored.content_type, content_type);
        for (field, expected) in [
            ("object", json!("file")),
            ("bytes", json!(content.len())),
            ("filename", json!(name)),
            ("purpose", json!(purpose)),
            ("status", json!("uploaded")),
            ("filetype", json!(kind)),
            ("content_type", json!(content_type)),
        ] {
            assert_eq!(file[field], expected, "{field}");
        }
        assert!(file["created_at"].as_u64().unwrap() > 1_700_000_000);
        assert!(
            stored.key.contains(file["id"].as_str().unwrap())
                && file["url"].as_str().unwrap().contains("x-oss-signature=")
        );
        let entry = &file["file_info"];
        for (pointer, expected) in [
            ("/type", json!(kind)),
            ("/showType", json!(kind)),
            ("/file_class", json!(class)),
            ("/file_type", json!(content_type)),
            ("/status", json!("uploaded")),
            ("/size", json!(content.len())),
            ("/file/meta/size", json!(content.len())),
            ("/file/meta/content_type", json!(content_type)),
            ("/file/user_id", json!(stored.key.split('/').next().unwrap())),
            ("/id", file["id"].clone()),
            ("/url", file["url"].clone()),
        ] {
            assert_eq!(entry.pointer(pointer), Some(&expected), "{pointer}: {entry}");
        }
        let token =
            fake.requests().into_iter().rfind(|request| request.path_and_query.ends_with("getstsToken")).unwrap();
        assert_eq!(token.json(), json!({ "filename": name, "filesize": content.len(), "filetype": kind }));
        let parse_requests =
            fake.requests().iter().filter(|request| request.path_and_query.ends_with("/files/parse")).count();
        assert_eq!(parse_requests, usize::from(kind == "file"), "only documents are parsed");
        // The file object can be used in a chat.
        let part = json!({ "type": "file", "file": { "file_id": "unknown" }, "file_info": entry });
        let chat = json!({ "model": "qwen3-vl-plus", "messages": [{ "role": "user", "content": [{ "type": "text", "text": "[[fake files=1]]" }, part] }] });
        let description = answer(&server.chat(&chat).await);
        assert_eq!(description, format!("{kind} {name} {} {}", content.len(), sha256(&content)));
    }
    assert_eq!(fake.open_uploads(), 0);
}

pub async fn file_types_are_detected_by_content(case: Arc<Case>) {
    let (fake, server) = with_storage(&case, &[]).await;
    fake.set_parse_polls("", 0);
    let files: Value = serde_json::from_slice(&fixture("files.json")).unwrap();
    for file in files.as_array().unwrap() {
        let name = file["file"].as_str().unwrap();
        let content = fixture(name);
        let content_type = file["content_type"].as_str().unwrap();
        // Plain text and random bytes have no signature. All other files are detected although type and name are wrong.
        let is_plain = content_type.starts_with("text/")
            || ["json", "xml", "yaml"].iter().any(|text| content_type.ends_with(text))
            || name == "random.bin";
        let (declared, named) = if is_plain { (None, name) } else { (Some("image/png"), "lies.png") };
        let reply = send(&server, "/v1/files/upload", Form::new().file("file", named, declared, &content)).await;
        let kind = match file["kind"].as_str() {
            Some("document") => "file",
            Some(kind) => kind,
            None => {
                let error = reply.error(400, "unsupported_file_type");
                assert_eq!(error["param"], "file", "{name}");
                continue;
            }
        };
        assert_eq!(reply.status, 200, "{name}: {reply:?}");
        let detected = (reply.json()["filetype"].clone(), reply.json()["content_type"].clone());
        assert_eq!(detected, (json!(kind), json!(content_type)), "{name}");
        // The routes for images and videos accept only those.
        for (route, field, accepted) in [("image", "image", "image"), ("video", "video", "video")] {
            let form = Form::new().file(field, named, declared, &content).text("prompt", "x").text("stream", "false");
            let reply = send(&server, &format!("/v1/{route}/upload_and_chat"), form).await;
            if kind == accepted {
                assert_eq!(reply.status, 200, "{name}: {reply:?}");
            } else {
                assert_eq!(reply.error(400, "unsupported_file_type")["param"], field, "{name}");
            }
        }
    }
}

pub async fn images_are_uploaded_by_form_or_multipart_up_to_their_limit(case: Arc<Case>) {
    let (fake, server) = with_storage(&case, &[]).await;
    for (size, requests) in [
        (100, vec!["POST"]),
        (5 * MIB - 1, vec!["POST"]),
        (5 * MIB, vec!["POST uploads", "PUT partNumber", "POST uploadId"]),
        (10 * MIB - 1, vec!["POST uploads", "PUT partNumber", "PUT partNumber", "POST uploadId"]),
        (10 * MIB, vec!["POST uploads", "PUT partNumber", "PUT partNumber", "POST uploadId"]),
    ] {
        let name = format!("{size}.png");
        let content = png(size);
        let before = storage_requests(&fake, &name).len();
        let form = Form::new().file("image", &name, Some("image/png"), &content).text("prompt", "[[fake files=1]]");
        let description = answer(&send(&server, "/v1/image/upload_and_chat", form).await);
        assert_eq!(description, format!("image {name} {size} {}", sha256(&content)));
        assert_eq!(storage_requests(&fake, &name)[before..], requests, "{size}");
    }
    let form = Form::new().file("image", "much.png", None, png(10 * MIB + 1)).text("prompt", "x");
    let error = send(&server, "/v1/image/upload_and_chat", form).await.error(413, "request_too_large");
    assert!(error["message"].as_str().unwrap().contains("10 MiB"), "{error}");
    // The limit also applies to a body that is longer than the file.
    let form = Form::new().file("file", "more.png", None, png(10 * MIB + 1));
    send(&server, "/v1/files/upload", form).await.error(413, "request_too_large");
    eventually("the failed upload is aborted", || async { fake.open_uploads() == 0 }).await;
    assert!(fake.object("much.png").is_none() && fake.object("more.png").is_none());
}

pub async fn size_limits_are_configurable(case: Arc<Case>) {
    let (fake, server) = with_storage(&case, &[("MAX_IMAGE_BYTES", "1000"), ("MAX_FILE_BYTES", "2000")]).await;
    for (name, size, fits) in [("a.png", 1000, true), ("b.png", 1001, false)] {
        let reply = send(&server, "/v1/files/upload", Form::new().file("file", name, None, png(size))).await;
        assert_eq!(reply.status == 200, fits, "{reply:?}");
    }
    for (name, size, fits) in [("a.txt", 2000, true), ("b.txt", 2001, false)] {
        let reply = send(&server, "/v1/files/upload", Form::new().file("file", name, None, vec![b'a'; size])).await;
        assert_eq!(reply.status == 200, fits, "{reply:?}");
        if !fits {
            reply.error(413, "request_too_large");
        }
    }
    assert_eq!(fake.objects().len(), 2);
}

pub async fn failed_parts_are_retried(case: Arc<Case>) {
    let (fake, server) = with_storage(&case, &[]).await;
    fake.set_storage_fault("seven", &[StorageFault::part_fails(7, 2), StorageFault::drop_part(2, 1000, 1)]);
    let upload = LargeUpload { head: fixture("isom.mp4"), ..LargeUpload::new("seven.mp4", 42 * MIB + 17) };
    let reply = upload.send_all(server.http.address(), "/v1/files/upload").await.reply;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json()["bytes"], 42 * MIB + 17);
    assert_eq!(fake.object("seven.mp4").unwrap().sha256, upload.sha256());
    assert_eq!((fake.open_uploads(), fake.aborted_uploads()), (0, 0));
    let parts = storage_requests(&fake, "seven").iter().filter(|request| *request == "PUT partNumber").count();
    assert_eq!(parts, 9 + 2 + 1);
}

pub async fn a_failed_upload_method_falls_back_to_another(case: Arc<Case>) {
    let (fake, server) = with_storage(&case, &[]).await;
    let once = |stage, trouble| vec![StorageFault::new(stage, trouble).times(1)];
    let always = |stage, trouble| vec![StorageFault::new(stage, trouble)];
    for (name, size, faults, works) in [
        ("form-500.png", 1000, once(Stage::Put, FaultKind::Status(500)), true),
        ("form-denied.png", 1000, once(Stage::Put, FaultKind::Error("AccessDenied")), true),
        ("form-cut.png", 1000, once(Stage::Put, FaultKind::Drop(10)), true),
        ("form-always.png", 1000, always(Stage::Put, FaultKind::Status(500)), false),
        ("document.txt", 1000, once(Stage::Put, FaultKind::Status(500)), true),
        ("initiate.png", 6 * MIB, always(Stage::Initiate, FaultKind::Error("AccessDenied")), true),
        ("initiate-500.png", 6 * MIB, once(Stage::Initiate, FaultKind::Status(500)), true),
        ("part.png", 6 * MIB, always(Stage::Part(Some(2)), FaultKind::Status(500)), true),
        ("part-denied.png", 6 * MIB, always(Stage::Part(Some(1)), FaultKind::Error("SecurityTokenExpired")), true),
        ("complete.png", 6 * MIB, always(Stage::Complete, FaultKind::Status(500)), true),
        ("complete-once.png", 6 * MIB, once(Stage::Complete, FaultKind::Status(500)), true),
        ("video.mp4", 2000, always(Stage::Initiate, FaultKind::Status(500)), true),
        ("large.mp4", 30 * MIB, always(Stage::Part(Some(5)), FaultKind::Error("AccessDenied")), false),
    ] {
        fake.set_storage_fault(name, &faults);
        let mut content = if name.ends_with("txt") { vec![b'a'; 1000] } else { png(size) };
        if name.ends_with("mp4") {
            let head = fixture("isom.mp4");
            content[..head.len()].copy_from_slice(&head);
        }
        // Different content for each file, or a previous upload would be reused.
        let length = content.len();
        content[length - name.len()..].copy_from_slice(name.as_bytes());
        let reply = send(&server, "/v1/files/upload", Form::new().file("file", name, None, &content)).await;
        if works {
            assert_eq!(reply.status, 200, "{name}: {reply:?}");
            assert_eq!(fake.object(name).unwrap().sha256, sha256(&content), "{name}");
        } else {
            reply.error(502, "upstream_error");
            assert!(fake.object(name).is_none(), "{name}");
        }
        eventually(&format!("{name}: the upload is closed"), || async { fake.open_uploads_of(name) == 0 }).await;
    }
    // An error of the credentials request is returned to the client.
    for (name, status, code) in [("rate_limited_busy", 429, "rate_limit_exceeded"), ("waf_json", 403, "qwen_challenge")]
    {
        fake.set_storage_fault("token", &[StorageFault::refuse_tokens(name)]);
        let reply = send(&server, "/v1/files/upload", Form::new().file("file", "token.png", None, png(900))).await;
        reply.error(status, code);
    }
}

pub async fn uploads_of_disconnected_clients_are_aborted(case: Arc<Case>) {
    let (fake, server) = with_storage(&case, &[]).await;
    let late = |stage| vec![StorageFault::new(stage, FaultKind::Delay(Duration::from_millis(700)))];
    for (name, size, sent, faults) in [
        ("amid.mp4", 60 * MIB, 23 * MIB, vec![]),
        ("begin.mp4", 60 * MIB, 6 * MIB, late(Stage::Initiate)),
        // The whole body has arrived, so the server notices the disconnect at once, during the initiate request.
        ("begun.mp4", 2 * MIB, 3 * MIB, late(Stage::Initiate)),
        ("parts.mp4", 60 * MIB, 33 * MIB, late(Stage::Part(None))),
        ("end.mp4", 11 * MIB, 12 * MIB, late(Stage::Complete)),
    ] {
        fake.set_storage_fault(name, &faults);
        let upload = LargeUpload { head: fixture("isom.mp4"), seed: size + sent, ..LargeUpload::new(name, size) };
        let raw = upload.send_some(server.http.address(), "/v1/files/upload", sent).await;
        let wanted = if name == "end.mp4" { "POST uploadId" } else { "POST uploads" };
        eventually(&format!("{name}: {wanted} is sent"), || async {
            storage_requests(&fake, name).iter().any(|request| request == wanted)
        })
        .await;
        raw.reset();
        eventually(&format!("{name}: the upload is aborted"), || async {
            fake.open_uploads_of(name) == 0 && (fake.aborted_uploads_of(name) > 0 || fake.object(name).is_some())
        })
        .await;
    }
    // The server still accepts uploads.
    let reply = send(&server, "/v1/files/upload", Form::new().file("file", "after.png", None, png(1000))).await;
    assert_eq!(reply.status, 200);
}

pub async fn a_large_upload_uses_bounded_memory(case: Arc<Case>) {
    let (fake, server) = with_storage(&case, &[]).await;
    send(&server, "/v1/files/upload", Form::new().file("file", "warm.png", None, png(1000))).await;
    let (size, max_growth) = match case.product {
        Product::Native => (300 * MIB, 64 * MIB),
        Product::Worker => (95 * MIB, 64 * MIB),
    };
    // The storage is slower than the client, so unbounded buffers would grow.
    fake.set_storage_fault("large", &[StorageFault::new(Stage::Part(None), FaultKind::SlowRead(60_000_000))]);
    let idle = server.memory_bytes().await;
    let upload = LargeUpload {
        field: "video".to_owned(),
        head: fixture("isom.mp4"),
        fields_before: vec![("prompt".to_owned(), "[[fake files=1]]".to_owned())],
        fields_after: vec![("stream".to_owned(), "false".to_owned())],
        ..LargeUpload::new("large.mp4", size)
    };
    let sending = upload.send_all(server.http.address(), "/v1/video/upload_and_chat");
    let peak = async {
        let mut peak = 0;
        while fake.object("large.mp4").is_none() {
            peak = peak.max(server.memory_bytes().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        peak.max(server.memory_bytes().await)
    };
    let (sent, peak) = tokio::join!(sending, peak);
    assert_eq!(answer(&sent.reply), format!("video large.mp4 {size} {}", upload.sha256()));
    // The limit of the native server applies to the growth, that of the Worker to the whole isolate.
    let used = if case.product == Product::Native { peak - idle } else { peak };
    assert!(used <= max_growth, "{} MiB", used / MIB);
    if std::env::var_os("SHOW_TIMES").is_some() {
        eprintln!("{} MiB of memory for {} MiB", used / MIB, size / MIB);
    }
}

pub async fn at_most_three_parts_are_in_flight(case: Arc<Case>) {
    let (fake, server) = with_storage(&case, &[]).await;
    fake.set_storage_fault("three", &[StorageFault::slow_parts(Duration::from_secs(3))]);
    let upload = LargeUpload { head: fixture("isom.mp4"), ..LargeUpload::new("three.mp4", 80 * MIB) };
    let address = server.http.address().to_owned();
    let sending = tokio::spawn(async move { upload.send_some(&address, "/v1/files/upload", 79 * MIB).await });
    let parts = || storage_requests(&fake, "three").iter().filter(|request| *request == "PUT partNumber").count();
    eventually("three parts are in flight", || async { parts() >= 3 }).await;
    // The storage has answered none of them, and the client would send more.
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(parts(), 3);
    sending.abort();
}

pub async fn identical_content_is_uploaded_once(case: Arc<Case>) {
    let (fake, server) = with_storage(&case, &[]).await;
    for (name, size, is_multipart) in [("small.png", 3000, false), ("large.png", 6 * MIB, true)] {
        let content = png(size);
        let first = send(&server, "/v1/files/upload", Form::new().file("file", name, None, &content)).await.json();
        let second =
            send(&server, "/v1/files/upload", Form::new().file("file", "other.png", None, &content)).await.json();
        assert_eq!((&second["id"], &second["url"]), (&first["id"], &first["url"]), "{second}");
        assert_eq!((&second["filename"], &second["bytes"]), (&json!("other.png"), &json!(size)));
        eventually("the second upload is aborted", || async {
            fake.aborted_uploads() >= usize::from(is_multipart) && fake.open_uploads() == 0
        })
        .await;
        // After its deletion the content is uploaded again.
        let path = format!("/v1/files/{}", first["id"].as_str().unwrap());
        let deleted = server.http.send("DELETE", &path, &Server::auth_headers(), "").await;
        assert_eq!(deleted.json(), json!({ "id": first["id"], "object": "file", "deleted": true }));
        let repeated = send(&server, "/v1/files/upload", Form::new().file("file", name, None, &content)).await.json();
        assert_ne!(repeated["id"], first["id"]);
    }
    // Another account uploads its own copy.
    let other = case.start_with(&fake, &[("QWEN_COOKIES", &format!("token={}", Fake::token("other", 3600)))]).await;
    let before = fake.objects().len();
    send(&other, "/v1/files/upload", Form::new().file("file", "small.png", None, png(3000))).await;
    assert_eq!(fake.objects().len(), before + 1);
}

pub async fn files_are_listed_retrieved_and_deleted(case: Arc<Case>) {
    let keys = json!([KEY, "sk-other"]).to_string();
    let (_fake, server) = with_storage(&case, &[("VALID_TOKENS", &keys)]).await;
    let mut ids = Vec::new();
    for number in 0..5 {
        let file = Form::new().file("file", &format!("{number}.txt"), None, format!("text {number}"));
        ids.insert(0, send(&server, "/v1/files", file).await.json()["id"].as_str().unwrap().to_owned());
    }
    let get = async |path: &str, key: &str| {
        server.http.send("GET", path, &[("authorization", &format!("Bearer {key}"))], "").await
    };
    let listed = |list: &Value| -> Vec<String> {
        list["data"].as_array().unwrap().iter().map(|file| file["id"].as_str().unwrap().to_owned()).collect()
    };
    let all = get("/v1/files", KEY).await.json();
    assert_eq!((all["object"].as_str(), listed(&all), &all["has_more"]), (Some("list"), ids.clone(), &json!(false)));
    let page = get("/v1/files?limit=2", KEY).await.json();
    assert_eq!((listed(&page), &page["has_more"]), (ids[..2].to_vec(), &json!(true)));
    assert_eq!((&page["first_id"], &page["last_id"]), (&json!(ids[0]), &json!(ids[1])));
    let page = get(&format!("/v1/files?limit=10&after={}", ids[1]), KEY).await.json();
    assert_eq!((listed(&page), &page["has_more"]), (ids[2..].to_vec(), &json!(false)));
    for all in ["limit=0", "limit=10000", "limit=", "limit=99999&order=desc"] {
        assert_eq!(listed(&get(&format!("/v1/files?{all}"), KEY).await.json()), ids, "{all}");
    }
    let ascending: Vec<String> = ids.iter().rev().cloned().collect();
    assert_eq!(listed(&get("/v1/files?order=asc", KEY).await.json()), ascending);
    let page = get(&format!("/v1/files?order=asc&limit=2&after={}", ascending[0]), KEY).await.json();
    assert_eq!(listed(&page), ascending[1..3]);
    get("/v1/files?order=up", KEY).await.error(400, "invalid_request");
    for limit in ["-1", "many", "1.5"] {
        assert_eq!(get(&format!("/v1/files?limit={limit}"), KEY).await.error(400, "invalid_request")["param"], "limit");
    }
    let one = get(&format!("/v1/files/{}", ids[0]), KEY).await.json();
    assert_eq!((&one["id"], &one["filename"], &one["bytes"]), (&json!(ids[0]), &json!("4.txt"), &json!(6)));
    // Another key sees none of them.
    assert_eq!(listed(&get("/v1/files", "sk-other").await.json()), [""; 0]);
    get(&format!("/v1/files/{}", ids[0]), "sk-other").await.error(404, "not_found");
    let delete = async |id: &str, key: &str| {
        let key = format!("Bearer {key}");
        server.http.send("DELETE", &format!("/v1/files/{id}"), &[("authorization", &key)], "").await
    };
    delete(&ids[0], "sk-other").await.error(404, "not_found");
    assert_eq!(delete(&ids[0], KEY).await.status, 200);
    delete(&ids[0], KEY).await.error(404, "not_found");
    get(&format!("/v1/files/{}", ids[0]), KEY).await.error(404, "not_found");
    assert_eq!(listed(&get("/v1/files", KEY).await.json()), ids[1..]);
}

pub async fn uploads_require_a_key_and_a_session(case: Arc<Case>) {
    let (fake, server) = with_storage(&case, &[]).await;
    for path in ["/v1/files/upload", "/v1/files", "/v1/image/upload_and_chat", "/v1/video/upload_and_chat"] {
        let upload = LargeUpload { headers: vec![], ..LargeUpload::new("a.png", 20 * MIB) };
        let reply = upload.send_all(server.http.address(), path).await.reply;
        reply.error(401, "missing_api_key");
    }
    assert!(fake.requests().iter().all(|request| !request.path_and_query.contains("getstsToken")));
    let (_fake, server) = with_storage(&case, &[("QWEN_COOKIES", "")]).await;
    let upload = LargeUpload { head: fixture("truecolor.png"), ..LargeUpload::new("a.png", 9 * MIB) };
    let reply = upload.send_all(server.http.address(), "/v1/files/upload").await.reply;
    reply.error(401, "qwen_session_missing");
}

pub async fn upload_credentials_are_passed_through(case: Arc<Case>) {
    let (fake, server) = with_storage(&case, &[]).await;
    let path = "/v2/files/getstsToken";
    let good = json!({ "filename": "a b.png", "filesize": 214_310, "filetype": "image" });
    let reply = server.post(path, &good).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json()["success"], true);
    for field in [
        "access_key_id",
        "access_key_secret",
        "security_token",
        "file_url",
        "file_path",
        "file_id",
        "bucketname",
        "region",
        "endpoint",
    ] {
        assert!(reply.json()["data"][field].is_string(), "{field}");
    }
    let sent = fake.requests().into_iter().rfind(|request| request.path_and_query.ends_with("getstsToken")).unwrap();
    assert_eq!(sent.json(), good);
    for (fields, param) in [
        (json!({ "filename": "" }), "filename"),
        (json!({ "filename": 5 }), "filename"),
        (json!({ "filesize": "much" }), "filesize"),
        (json!({ "filesize": -1 }), "filesize"),
        (json!({ "filetype": "hologram" }), "filetype"),
        (json!({ "filetype": 5 }), "filetype"),
    ] {
        assert_eq!(server.post(path, &with(good.clone(), fields)).await.error(400, "invalid_request")["param"], param);
    }
    server.http.send("POST", path, &Server::auth_headers(), "{").await.error(400, "invalid_json");
    server.http.send("POST", path, &[], good.to_string()).await.error(401, "missing_api_key");
    let (_fake, open) = with_storage(&case, &[("PUBLIC_STS_TOKEN", "true")]).await;
    assert_eq!(open.http.send("POST", path, &[], good.to_string()).await.status, 200);
    let listed = open.get("/").await.json();
    let route = listed["routes"].as_array().unwrap().iter().find(|route| route["path"] == path).unwrap().clone();
    assert_eq!(route["key"], false);
}

pub async fn a_silent_storage_times_out(case: Arc<Case>) {
    let (fake, server) = with_storage(&case, &[SHORT_IDLE]).await;
    let late = |stage| StorageFault::new(stage, FaultKind::Delay(Duration::from_secs(30)));
    fake.set_storage_fault("whole", &[late(Stage::Put)]);
    fake.set_storage_fault("begin", &[late(Stage::Initiate), late(Stage::Put)]);
    fake.set_storage_fault("token", &[late(Stage::Token)]);
    for (name, size) in [("whole.png", 1000), ("begin.png", 6 * MIB), ("token.png", 900)] {
        let reply = send(&server, "/v1/files/upload", Form::new().file("file", name, None, png(size))).await;
        reply.error(504, "upstream_timeout");
    }
}

/// The disk of the native server is full; the database of the Worker returns errors.
pub async fn a_broken_store_does_not_stop_uploads(case: Arc<Case>) {
    let (fake, server) = with_storage(&case, &[(BROKEN_STORE, "true")]).await;
    let mut uploaded = 0;
    while server.get("/health").await.json()["store"]["errors"] == 0 {
        uploaded += 1;
        assert!(uploaded < 500, "the store did not break");
        let file = Form::new().file("file", "a.png", None, png(1000 + uploaded));
        let reply = send(&server, "/v1/files/upload", file).await;
        assert_eq!((reply.status.as_u16(), reply.json()["bytes"].as_u64()), (200, Some(1000 + uploaded)));
    }
    let form = Form::new().file("image", "b.png", None, png(3000)).text("prompt", "[[fake files=1]]");
    let description = answer(&send(&server, "/v1/image/upload_and_chat", form).await);
    assert_eq!(description, format!("image b.png 3000 {}", sha256(&png(3000))));
    assert_eq!(fake.objects().len() as u64, uploaded + 1);
    if case.product == Product::Worker {
        server.http.send("GET", "/v1/files", &Server::auth_headers(), "").await.error(503, "store_unavailable");
        let part = json!({ "type": "file", "file": { "file_id": "x" } });
        let chat = json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": "x" }, part] }] });
        server.chat(&chat).await.error(503, "store_unavailable");
    }
}

/// A response does not reveal whether another key has uploaded the same content.
pub async fn uploads_are_not_shared_between_keys(case: Arc<Case>) {
    let keys = json!([KEY, "sk-other"]).to_string();
    let (fake, server) = with_storage(&case, &[("VALID_TOKENS", &keys)]).await;
    for (name, size) in [("small.png", 3000), ("large.png", 6 * MIB)] {
        let content = png(size);
        let upload = async |key: &str| {
            let (content_type, body) = Form::new().file("file", name, None, &content).body();
            let authorization = format!("Bearer {key}");
            let headers = [("authorization", authorization.as_str()), ("content-type", &content_type)];
            server.http.send("POST", "/v1/files", &headers, body).await.json()
        };
        let before = fake.objects().len();
        let (first, other) = (upload(KEY).await, upload("sk-other").await);
        assert_ne!((&first["id"], &first["url"]), (&other["id"], &other["url"]), "{name}");
        assert_eq!(fake.objects().len(), before + 2, "{name}: each key uploads its own copy");
        assert_eq!(upload(KEY).await["id"], first["id"], "{name}: the own copy is reused");
        assert_eq!(upload("sk-other").await["id"], other["id"], "{name}");
        // An attachment uses the copy of the own key, too.
        let data =
            format!("data:image/png;base64,{}", base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &content));
        let part = json!({ "type": "image_url", "image_url": { "url": data } });
        let question = json!({ "model": "qwen3-vl-plus", "messages": [{ "role": "user", "content": [part] }] });
        for (key, file) in [(KEY, &first), ("sk-other", &other)] {
            let authorization = format!("Bearer {key}");
            let headers = [("authorization", authorization.as_str())];
            let reply = server.http.send("POST", "/v1/chat/completions", &headers, question.to_string()).await;
            assert_eq!(reply.status, 200, "{reply:?}");
            let turn = fake
                .requests()
                .into_iter()
                .rfind(|request| request.path_and_query.starts_with("/api/v2/chat/completions"));
            assert_eq!(turn.unwrap().json()["messages"][0]["files"][0]["id"], file["id"], "{name} {key}");
        }
    }
}

pub async fn expired_files_are_deleted(case: Arc<Case>) {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept.db").display().to_string();
    let path = if case.product == Product::Native { kept.as_str() } else { "" };
    let cookies = format!("token={}", Fake::token("old-files", 9_000));
    let settings = [("DATABASE_PATH", path), ("QWEN_COOKIES", cookies.as_str()), ("CONVERSATION_TTL_DAYS", "2")];
    let (fake, server) = with_storage(&case, &settings).await;
    let mut ids = Vec::new();
    for name in ["old.txt", "young.txt"] {
        let file = Form::new().file("file", name, None, format!("text of {name}"));
        ids.push(send(&server, "/v1/files", file).await.json()["id"].as_str().unwrap().to_owned());
    }
    let age = "UPDATE files SET created_at = created_at - 3 * 86400000 WHERE name = 'old.txt';";
    let server = match case.product {
        Product::Worker => {
            server.sql(age).await;
            server.scheduled().await;
            server
        }
        Product::Native => {
            server.stop().await;
            rusqlite::Connection::open(path).unwrap().execute_batch(age).unwrap();
            case.start_with(&fake, &settings).await
        }
    };
    let find = async |id: &str| {
        let path = format!("/v1/files/{id}");
        server.http.send("GET", &path, &Server::auth_headers(), "").await.status.as_u16()
    };
    eventually("the old file is deleted", || async { find(&ids[0]).await == 404 }).await;
    assert_eq!(find(&ids[1]).await, 200);
}
