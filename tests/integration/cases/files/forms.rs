//! The forms in which uploads arrive.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{MIB, answer, fixture, png, send, sha256, with_storage};
use crate::{
    fake_qwen::{FaultKind, Stage, StorageFault},
    form::{Form, LargeUpload},
    http::{EVENT_STREAM, Raw},
    server::{Case, KEY},
};

pub async fn form_variants_are_accepted(case: Arc<Case>) {
    let (fake, server) = with_storage(&case, &[]).await;
    let image = fixture("jfif.jpg");
    let describing = || Form::new().text("prompt", "[[fake files=1]]");
    let description = |name: &str| format!("image {name} {} {}", image.len(), sha256(&image));
    let path = "/v1/image/upload_and_chat";
    for (form, name) in [
        (describing().file("image", "a.jpg", None, &image), "a.jpg"),
        (Form::new().file("image", "b.jpg", None, &image).text("prompt", "[[fake files=1]]"), "b.jpg"),
        (describing().file("image", "C:\\Users\\YourName\\Pictures\\photo.jpg", None, &image), "photo.jpg"),
        (
            describing().file("image", "/tmp/x/\u{4e2d}\u{6587} \u{1f600}+%.jpg", None, &image),
            "\u{4e2d}\u{6587} \u{1f600}+%.jpg",
        ),
        (
            describing()
                .raw_part("Content-Disposition: form-data; name=\"image\"; filename*=UTF-8''%E4%B8%AD.jpg", &image),
            "\u{4e2d}.jpg",
        ),
        (describing().raw_part("content-disposition: form-data; name=image; filename=plain.jpg", &image), "plain.jpg"),
        (describing().raw_part("Content-Disposition: form-data; name=\"image\"", &image), "file"),
        (
            describing()
                .text("stream", "\"false\"")
                .text("model", "\"qwen3-vl-plus\"")
                .file("image", "q.jpg", None, &image),
            "q.jpg",
        ),
        (
            describing()
                .text("unknown", "x")
                .text("thinking_budget", "500")
                .text("enable_thinking", "true")
                .file("image", "t.jpg", None, &image),
            "t.jpg",
        ),
    ] {
        let reply = send(&server, path, form).await;
        assert_eq!(answer(&reply), description(name));
        assert_eq!(reply.json()["model"], "qwen3-vl-plus");
    }
    // The video route streams by default; the image route streams on request.
    let video = fixture("isom.mp4");
    let form = describing().file("video", "v.mp4", None, &video);
    assert_eq!(send(&server, "/v1/video/upload_and_chat", form).await.header("content-type"), Some(EVENT_STREAM));
    let form = describing().text("stream", "true").file("image", "s.jpg", None, &image);
    assert_eq!(send(&server, path, form).await.header("content-type"), Some(EVENT_STREAM));
    let body = fake
        .requests()
        .into_iter()
        .rfind(|request| request.path_and_query.starts_with("/api/v2/chat/completions"))
        .unwrap()
        .json();
    assert_eq!(body["messages"][0]["feature_config"]["thinking_enabled"], false);

    for (form, param) in [
        (Form::new().file("image", "a.jpg", None, &image), "prompt"),
        (describing().text("prompt", " ").file("image", "a.jpg", None, &image), "prompt"),
        (describing(), "image"),
        (describing().file("picture", "a.jpg", None, b"\xff"), "image"),
        (describing().raw_part("Content-Disposition: form-data; name=\"model\"", b"\xff"), "model"),
        (describing().file("image", "a.jpg", None, b""), "image"),
        (describing().file("image", "a.jpg", None, &image).file("image", "b.jpg", None, &image), "image"),
        (describing().text("stream", "maybe").file("image", "a.jpg", None, &image), "stream"),
        (describing().text("thinking_budget", "much").file("image", "a.jpg", None, &image), "thinking_budget"),
    ] {
        assert_eq!(send(&server, path, form).await.error(400, "invalid_request")["param"], param);
    }
}

pub async fn malformed_forms_are_rejected(case: Arc<Case>) {
    let (fake, server) = with_storage(&case, &[]).await;
    let (content_type, body) = Form::new().file("file", "a.png", None, png(2000)).text("purpose", "x").body();
    let text = content_type.clone();
    let key = ("authorization", "Bearer sk-test-key");
    for (what, content_type, body) in [
        ("no type", "", body.to_vec()),
        ("JSON", "application/json", b"{}".to_vec()),
        ("no boundary", "multipart/form-data", body.to_vec()),
        ("another boundary", "multipart/form-data; boundary=other", body.to_vec()),
        ("an empty body", &text, vec![]),
        ("random bytes", &text, vec![0xA5; 300_000]),
        ("cut in the file", &text, body[..1000].to_vec()),
        ("cut in the part headers", &text, body[..60].to_vec()),
        ("endless headers", &text, [&body[..60], &vec![b'x'; 3 * 1024 * 1024][..]].concat()),
        ("many fields", &text, (0..200).fold(Form::new(), |form, _| form.text("x", "y")).body().1.to_vec()),
        ("no final boundary", &text, body[..body.len() - 4].to_vec()),
    ] {
        let headers = if content_type.is_empty() { vec![key] } else { vec![key, ("content-type", content_type)] };
        let reply = server.http.send("POST", "/v1/files/upload", &headers, body).await;
        assert_eq!(reply.error(400, "invalid_request")["param"], Value::Null, "{what}");
        // Without the final boundary the file itself is complete.
        assert_eq!(fake.objects().len(), usize::from(what == "no final boundary"), "{what}");
    }
    // The text fields have a common size limit; unknown fields are skipped and do not count.
    let three_mebibytes = vec![b'x'; 3 * 1024 * 1024];
    let thrice = |name: &str| {
        let head = format!("Content-Disposition: form-data; name=\"{name}\"");
        (0..3).fold(Form::new(), |form, _| form.raw_part(&head, &three_mebibytes)).file(
            "file",
            "a.png",
            None,
            png(2000),
        )
    };
    send(&server, "/v1/files/upload", thrice("purpose")).await.error(413, "request_too_large");
    assert_eq!(fake.objects().len(), 1);
    let unknown = thrice("unknown").raw_part("Content-Disposition: form-data; name=\"noise\"", b"\xff");
    assert_eq!(send(&server, "/v1/files/upload", unknown).await.status, 200);
    // A small form, cut or split at each position.
    for at in 0..body.len().min(700) {
        let mut raw = Raw::connect(server.http.address()).await;
        let head = format!(
            "POST /v1/files/upload HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        use tokio::io::AsyncWriteExt as _;
        raw.0.write_all(head.as_bytes()).await.unwrap();
        raw.0.write_all(&body[..at]).await.unwrap();
        if at % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(3)).await;
            raw.0.write_all(&body[at..]).await.unwrap();
            assert!(raw.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 200"), "{at}");
        } else {
            raw.reset();
        }
    }
    let reply = send(&server, "/v1/files/upload", Form::new().file("file", "after.png", None, png(1000))).await;
    assert_eq!(reply.status, 200);
}

pub async fn chunked_and_slow_uploads_work(case: Arc<Case>) {
    let (fake, server) = with_storage(&case, &[]).await;
    fake.set_storage_fault("slow", &[StorageFault::new(Stage::Part(None), FaultKind::SlowRead(20_000_000))]);
    for (name, size, chunked, speed) in [
        ("chunked.mp4", 17 * MIB, true, None),
        ("paced.mp4", 6 * MIB, false, Some(8_000_000)),
        ("slow.mp4", 26 * MIB, false, None),
    ] {
        let upload = LargeUpload {
            head: fixture("isom.mp4"),
            seed: size,
            chunked,
            bytes_per_second: speed,
            ..LargeUpload::new(name, size)
        };
        let reply = upload.send_all(server.http.address(), "/v1/files/upload").await.reply;
        assert_eq!((reply.status.as_u16(), &reply.json()["bytes"]), (200, &json!(size)), "{name}");
        assert_eq!(fake.object(name).unwrap().sha256, upload.sha256(), "{name}");
    }
}
