//! Images, videos, audio and documents in messages.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::process::Command;

use super::files::{answer, fixture, send, sha256, with_storage};
use crate::{
    fake_qwen::{Fake, Page},
    form::Form,
    http::{Raw, eventually, with},
    server::{Case, KEY},
};

/// The fake answers with a description of the attached files.
const DESCRIBE: &str = "[[fake files=1]]";

fn data(content_type: &str, content: &[u8]) -> String {
    format!("data:{content_type};base64,{}", BASE64.encode(content))
}

fn image(url: &str) -> Value {
    json!({ "type": "image_url", "image_url": { "url": url } })
}

fn user(text: &str, parts: Vec<Value>) -> Value {
    let mut content = vec![json!({ "type": "text", "text": text })];
    content.extend(parts);
    json!({ "role": "user", "content": content })
}

fn chat(messages: Vec<Value>) -> Value {
    json!({ "model": "qwen3-vl-plus", "messages": messages })
}

/// The description of one file by the fake.
fn description(kind: &str, name: &str, content: &[u8]) -> String {
    format!("{kind} {name} {} {}", content.len(), sha256(content))
}

/// The last turn that the upstream received.
fn last_turn(fake: &Fake) -> Value {
    let request =
        fake.requests().into_iter().rfind(|request| request.path_and_query.starts_with("/api/v2/chat/completions"));
    request.unwrap().json()
}

/// The number of upload credentials that the upstream issued.
fn credential_requests(fake: &Fake) -> usize {
    fake.requests().iter().filter(|request| request.path_and_query.ends_with("getstsToken")).count()
}

pub async fn each_kind_of_content_part_is_uploaded(case: Arc<Case>) {
    let (fake, server) = with_storage(&case, &[]).await;
    fake.set_parse_polls("", 0);
    let [jpg, svg, mp4, wav, mp3, pdf, md] =
        ["jfif.jpg", "prolog.svg", "isom.mp4", "wav.wav", "id3v2.mp3", "reportlab.pdf", "markdown.md"].map(fixture);
    let base64 = |content: &[u8]| BASE64.encode(content);
    for (part, expected) in [
        (image(&data("image/jpeg", &jpg)), description("image", "image.jpg", &jpg)),
        (json!({ "type": "image_url", "image_url": data("image/png", &jpg) }), description("image", "image.png", &jpg)),
        (
            image(&format!(
                "data:image/svg+xml,{}",
                utf8_percent_encode(std::str::from_utf8(&svg).unwrap(), NON_ALPHANUMERIC)
            )),
            description("image", "image.svg", &svg),
        ),
        (
            json!({ "type": "input_image", "image_url": data("image/jpeg", &jpg) }),
            description("image", "image.jpg", &jpg),
        ),
        (
            json!({ "type": "video_url", "video_url": { "url": data("video/mp4", &mp4) } }),
            description("video", "video.mp4", &mp4),
        ),
        (
            json!({ "type": "input_video", "input_video": { "data": base64(&mp4), "format": "mp4" } }),
            description("video", "video", &mp4),
        ),
        (
            json!({ "type": "input_audio", "input_audio": { "data": base64(&wav), "format": "wav" } }),
            description("audio", "audio.wav", &wav),
        ),
        (
            json!({ "type": "input_audio", "input_audio": { "data": data("audio/mpeg", &mp3), "format": "mp3" } }),
            description("audio", "audio.mp3", &mp3),
        ),
        (
            json!({ "type": "audio_url", "audio_url": { "url": data("audio/mpeg", &mp3) } }),
            description("audio", "audio.mp3", &mp3),
        ),
        (
            json!({ "type": "file", "file": { "filename": "C:\\x\\a.pdf", "file_data": data("application/pdf", &pdf) } }),
            description("file", "a.pdf", &pdf),
        ),
        (
            json!({ "type": "file", "file": { "filename": "b.md", "file_data": base64(&md) } }),
            description("file", "b.md", &md),
        ),
        (
            json!({ "type": "input_file", "filename": "c.md", "file_data": data("text/markdown", &md) }),
            description("file", "c.md", &md),
        ),
        (
            json!({ "type": "file", "file": { "filename": "film.mp4", "file_data": data("video/mp4", &mp4) } }),
            description("video", "film.mp4", &mp4),
        ),
    ] {
        for stream in [false, true] {
            let body = with(chat(vec![user(DESCRIBE, vec![part.clone()])]), json!({ "stream": stream }));
            assert_eq!(answer(&server.chat(&body).await), expected, "{part}");
        }
    }
    let turn = last_turn(&fake);
    assert_eq!(turn["messages"][0]["content"], DESCRIBE);
}

pub async fn attachments_of_one_message_keep_their_order(case: Arc<Case>) {
    let (fake, server) = with_storage(&case, &[]).await;
    let (jpg, png, mp4) = (fixture("jfif.jpg"), fixture("truecolor.png"), fixture("isom.mp4"));
    let parts = vec![
        image(&data("image/jpeg", &jpg)),
        json!({ "type": "text", "text": "and" }),
        image(&data("image/png", &png)),
        json!({ "type": "video_url", "video_url": { "url": data("video/mp4", &mp4) } }),
        image(&data("image/jpeg", &jpg)),
    ];
    let expected = [
        description("image", "image.jpg", &jpg),
        description("image", "image.png", &png),
        description("video", "video.mp4", &mp4),
        description("image", "image.jpg", &jpg),
    ];
    assert_eq!(answer(&server.chat(&chat(vec![user(DESCRIBE, parts)])).await), expected.join("\n"));
    assert_eq!(last_turn(&fake)["messages"][0]["content"], format!("{DESCRIBE}\nand"));
    // A message may consist of an image only.
    let image_only = json!({ "role": "user", "content": [image(&data("image/jpeg", &jpg))] });
    assert_eq!(server.chat(&chat(vec![image_only])).await.status, 200);
    assert_eq!(last_turn(&fake)["messages"][0]["files"].as_array().unwrap().len(), 1);
    // More than 20 attachments in one message.
    let many = vec![image(&data("image/png", &png)); 21];
    let error = server.chat(&chat(vec![user("x", many)])).await.error(400, "invalid_request");
    assert_eq!(error["param"], "messages[0].content");
}

pub async fn a_conversation_with_images_continues_in_its_chat(case: Arc<Case>) {
    let (fake, server) = with_storage(&case, &[]).await;
    let (jpg, png) = (fixture("jfif.jpg"), fixture("truecolor.png"));
    let mut messages = vec![user(DESCRIBE, vec![image(&data("image/jpeg", &jpg))])];
    for (question, parts) in
        [("and now?", vec![]), (DESCRIBE, vec![image(&data("image/png", &png))]), ("what was the first?", vec![])]
    {
        let reply = server.chat(&chat(messages.clone())).await;
        messages.push(json!({ "role": "assistant", "content": answer(&reply) }));
        messages.push(user(question, parts));
    }
    server.chat(&chat(messages.clone())).await;
    // One chat; each image is uploaded once and sent with its own turn.
    assert_eq!((fake.chats(), credential_requests(&fake)), (1, 2));
    let turns: Vec<Value> = fake
        .requests()
        .iter()
        .filter(|request| request.path_and_query.starts_with("/api/v2/chat/completions"))
        .map(|request| request.json()["messages"][0].clone())
        .collect();
    let files: Vec<usize> = turns.iter().map(|turn| turn["files"].as_array().unwrap().len()).collect();
    assert_eq!(files, [1, 0, 1, 0]);
    assert_eq!(turns[3]["content"], "what was the first?");
    // Replacing the first image makes it another conversation.
    messages[0] = user(DESCRIBE, vec![image(&data("image/png", &png))]);
    server.chat(&chat(messages)).await;
    assert_eq!(fake.chats(), 2);
}

pub async fn a_new_chat_gets_the_attachments_of_its_history(case: Arc<Case>) {
    let (fake, server) = with_storage(&case, &[]).await;
    let (jpg, png, pdf) = (fixture("jfif.jpg"), fixture("truecolor.png"), fixture("reportlab.pdf"));
    let pdf_part =
        json!({ "type": "file", "file": { "filename": "paper.pdf", "file_data": data("application/pdf", &pdf) } });
    let messages = vec![
        json!({ "role": "system", "content": "Be brief." }),
        user("look", vec![image(&data("image/jpeg", &jpg))]),
        json!({ "role": "assistant", "content": "a picture" }),
        user("read", vec![pdf_part]),
        json!({ "role": "assistant", "content": "a paper" }),
        user(DESCRIBE, vec![image(&data("image/png", &png))]),
    ];
    let expected = [
        description("image", "image.jpg", &jpg),
        description("file", "paper.pdf", &pdf),
        description("image", "image.png", &png),
    ];
    assert_eq!(answer(&server.chat(&chat(messages)).await), expected.join("\n"));
    let text = last_turn(&fake)["messages"][0]["content"].as_str().unwrap().to_owned();
    assert_eq!(
        text,
        format!(
            "System: Be brief.\n\nUser: look\n[attached: image.jpg]\n\nAssistant: a picture\n\nUser: read\n[attached: paper.pdf]\n\nAssistant: a paper\n\nUser: {DESCRIBE}\n[attached: image.png]"
        )
    );
    // The 20 newest attachments are sent, besides the file with the long history.
    let mut messages: Vec<Value> = Vec::new();
    for number in 0..24_u8 {
        let content = [png.clone(), vec![number]].concat();
        messages.push(user(&"word ".repeat(700), vec![image(&data("image/png", &content))]));
        messages.push(json!({ "role": "assistant", "content": format!("picture {number}") }));
    }
    messages.push(json!({ "role": "user", "content": DESCRIBE }));
    let descriptions = answer(&server.chat(&chat(messages)).await);
    let files: Vec<&str> = descriptions.lines().collect();
    assert_eq!(files.len(), 21, "{descriptions}");
    assert!(files[0].starts_with("file conversation.txt ") && files[20].starts_with("image image.png "));
}

pub async fn uploaded_files_are_attached_by_id(case: Arc<Case>) {
    let keys = json!([KEY, "sk-other"]).to_string();
    let (fake, server) = with_storage(&case, &[("VALID_TOKENS", &keys)]).await;
    let jpg = fixture("jfif.jpg");
    let file = send(&server, "/v1/files", Form::new().file("file", "a.jpg", None, &jpg)).await.json();
    let by_id = |id: &Value| json!({ "type": "file", "file": { "file_id": id } });
    let ask = |part: Value| chat(vec![user(DESCRIBE, vec![part])]);
    assert_eq!(answer(&server.chat(&ask(by_id(&file["id"]))).await), description("image", "a.jpg", &jpg));
    let image_by_id = json!({ "type": "input_image", "file_id": file["id"] });
    assert_eq!(answer(&server.chat(&ask(image_by_id)).await), description("image", "a.jpg", &jpg));
    // `file_info` takes precedence over the other fields of the part.
    let entry = json!({ "type": "image_url", "image_url": { "url": "http://127.0.0.1:1/none.png" }, "file_info": file["file_info"] });
    assert_eq!(answer(&server.chat(&ask(entry)).await), description("image", "a.jpg", &jpg));
    // The URL of an uploaded file is recognized, too.
    let linked = answer(&server.chat(&ask(image(file["url"].as_str().unwrap()))).await);
    assert_eq!(linked, description("image", "a.jpg", &jpg));
    assert_eq!((credential_requests(&fake), fake.objects().len()), (1, 1), "a file is uploaded twice");
    // Files of other keys and of the wrong kind are rejected.
    let body = ask(by_id(&file["id"])).to_string();
    let headers = [("authorization", "Bearer sk-other"), ("content-type", "application/json")];
    let reply = server.http.send("POST", "/v1/chat/completions", &headers, body).await;
    assert_eq!(reply.error(400, "invalid_request")["param"], "messages[0].content[1]");
    let as_video = json!({ "type": "video_url", "video_url": { "file_id": file["id"] } });
    server.chat(&ask(as_video)).await.error(400, "unsupported_file_type");
    server.chat(&ask(by_id(&json!("unknown")))).await.error(400, "invalid_request");
    let error = server.chat(&ask(json!({ "type": "file", "file_info": { "id": "x" } }))).await;
    assert_eq!(error.error(400, "invalid_request")["param"], "messages[0].content[1].file_info");
}

pub async fn invalid_attachments_are_rejected(case: Arc<Case>) {
    let (fake, server) = with_storage(&case, &[("MAX_IMAGE_BYTES", "2000")]).await;
    let (jpg, mp4, zip) = (fixture("jfif.jpg"), fixture("isom.mp4"), fixture("zip.zip"));
    for (part, status, code) in [
        (image(&data("image/png", &mp4)), 400, "unsupported_file_type"),
        (image(&data("image/png", &zip)), 400, "unsupported_file_type"),
        (json!({ "type": "video_url", "video_url": { "url": data("video/mp4", &jpg) } }), 400, "unsupported_file_type"),
        (
            json!({ "type": "input_audio", "input_audio": { "data": BASE64.encode(&jpg), "format": "wav" } }),
            400,
            "unsupported_file_type",
        ),
        (
            json!({ "type": "file", "file": { "filename": "a.zip", "file_data": BASE64.encode(&zip) } }),
            400,
            "unsupported_file_type",
        ),
        (image(&data("image/png", &[fixture("truecolor.png"), vec![0; 2000]].concat())), 413, "request_too_large"),
        (image("data:image/png;base64,*"), 400, "invalid_request"),
        (image("ftp://example.com/a.png"), 400, "invalid_request"),
        (json!({ "type": "hologram" }), 400, "invalid_request"),
    ] {
        for stream in [false, true] {
            let body = with(chat(vec![user("x", vec![part.clone()])]), json!({ "stream": stream }));
            let error = server.chat(&body).await.error(status, code);
            assert!(error["param"].as_str().unwrap().starts_with("messages[0].content[1]"), "{error}");
        }
    }
    assert_eq!((fake.chats(), credential_requests(&fake)), (0, 0));
}

pub async fn the_multimodal_route_has_its_own_default_model(case: Arc<Case>) {
    let (fake, server) = with_storage(&case, &[]).await;
    let jpg = fixture("jfif.jpg");
    let body = json!({ "messages": [user(DESCRIBE, vec![image(&data("image/jpeg", &jpg))])] });
    for path in ["/v1/chat/multimodal", "/chat/multimodal"] {
        let reply = server.post(path, &body).await;
        assert_eq!(
            (answer(&reply), &reply.json()["model"]),
            (description("image", "image.jpg", &jpg), &json!("qwen3-vl-plus"))
        );
        assert_eq!(last_turn(&fake)["model"], "qwen3-vl-plus");
    }
    let reply = server.post("/v1/chat/multimodal", &with(body, json!({ "model": "qwen3-vl" }))).await;
    assert_eq!(reply.json()["model"], "qwen3-vl");
    server.http.send("POST", "/v1/chat/multimodal", &[], "{}").await.error(401, "missing_api_key");
}

pub async fn links_are_fetched_and_uploaded(case: Arc<Case>) {
    let (fake, server) = with_storage(&case, &[("ALLOW_PRIVATE_URLS", "true")]).await;
    let (jpg, mp4, pdf) = (fixture("jfif.jpg"), fixture("isom.mp4"), fixture("reportlab.pdf"));
    let large = [mp4.clone(), vec![7; 12 * 1024 * 1024]].concat();
    fake.set_parse_polls("", 0);
    fake.serve_page("pic/a%20b.jpg", Page::new("image/jpeg", jpg.clone()));
    fake.serve_page("lies.txt", Page::new("text/plain", jpg.clone()));
    fake.serve_page("noname", Page::new("image/jpeg", jpg.clone()).chunked(100));
    fake.serve_page("paper", Page::new("application/pdf", pdf.clone()));
    fake.serve_page("film.mp4", Page::new("video/mp4", large.clone()));
    fake.serve_page("film-chunked.mp4", Page::new("video/mp4", large.clone()).chunked(100_000));
    fake.serve_page("late.jpg", Page::new("image/jpeg", jpg.clone()).delayed_by(Duration::from_millis(300)));
    fake.serve_page("hop.jpg", Page::redirect(302, "/web/lies.txt"));
    fake.serve_page("hops.jpg", Page::chain(5, &fake.web_url("lies.txt")));
    let video = |url: String| json!({ "type": "video_url", "video_url": { "url": url } });
    let file = |url: String| json!({ "type": "file", "file": { "file_url": url } });
    for (part, expected) in [
        (image(&fake.web_url("pic/a%20b.jpg")), description("image", "a b.jpg", &jpg)),
        (image(&fake.web_url("lies.txt")), description("image", "lies.txt", &jpg)),
        (image(&fake.web_url("noname")), description("image", "noname.jpg", &jpg)),
        (file(fake.web_url("paper")), description("file", "paper.pdf", &pdf)),
        (video(fake.web_url("film.mp4")), description("video", "film.mp4", &large)),
        (video(fake.web_url("film-chunked.mp4")), description("video", "film-chunked.mp4", &large)),
        (image(&fake.web_url("late.jpg")), description("image", "late.jpg", &jpg)),
        (image(&fake.web_url("hop.jpg")), description("image", "lies.txt", &jpg)),
        (image(&fake.web_url("hops.jpg")), description("image", "lies.txt", &jpg)),
        (
            json!({ "type": "file_url", "file_url": { "url": fake.web_url("paper") } }),
            description("file", "paper.pdf", &pdf),
        ),
    ] {
        let reply = server.chat(&chat(vec![user(DESCRIBE, vec![part.clone()])])).await;
        assert_eq!(answer(&reply), expected, "{part}");
    }
    for page in ["pic/a%20b.jpg", "lies.txt", "film.mp4", "hop.jpg"] {
        assert_eq!(fake.web_credentials(page), [], "{page}: a foreign host received the cookies");
        let headers = fake.web_request_headers(page);
        let agent = headers.iter().find(|(name, _)| name == "user-agent").unwrap();
        assert!(agent.1.starts_with("qwen-edge/"), "{agent:?}");
    }
    assert_eq!(fake.open_uploads(), 0);
}

pub async fn failing_links_return_an_error(case: Arc<Case>) {
    let (fake, server) = with_storage(&case, &[("ALLOW_PRIVATE_URLS", "true")]).await;
    let jpg = fixture("jfif.jpg");
    fake.serve_page("gone", Page::html(404, "Not found"));
    fake.serve_page("broken", Page::html(500, "Oops"));
    fake.serve_page("page", Page::html(200, "Please sign in"));
    fake.serve_page("loop", Page::redirect_loop());
    fake.serve_page("six", Page::chain(6, &fake.web_url("good")));
    fake.serve_page("good", Page::new("image/jpeg", jpg.clone()));
    fake.serve_page("nowhere", Page::redirect(302, "http://"));
    fake.serve_page("file", Page::redirect(302, "file:///etc/passwd"));
    fake.serve_page("secret", Page::redirect(302, "http://user:password@127.0.0.1/"));
    fake.serve_page("cut", Page::new("image/jpeg", jpg.clone()).cut_after(300));
    fake.serve_page("empty", Page::new("image/jpeg", ""));
    let png = fixture("truecolor.png");
    fake.serve_page("endless", Page::endless("image/png", [png, vec![0; 100_000]].concat()));
    for (name, status, code, word) in [
        ("gone", 400, "invalid_request", "404"),
        ("broken", 400, "invalid_request", "500"),
        ("page", 400, "unsupported_file_type", "image"),
        ("loop", 400, "invalid_request", "redirects"),
        ("six", 400, "invalid_request", "redirects"),
        ("nowhere", 400, "invalid_request", "redirects"),
        ("file", 400, "invalid_request", "http"),
        ("secret", 400, "invalid_request", "password"),
        ("cut", 400, "invalid_request", "broke"),
        ("empty", 400, "invalid_request", "empty"),
        ("endless", 413, "request_too_large", "10 MiB"),
    ] {
        let reply = server.chat(&chat(vec![user("x", vec![image(&fake.web_url(name))])])).await;
        let error = reply.error(status, code);
        assert!(error["message"].as_str().unwrap().contains(word), "{name}: {error}");
        assert_eq!(error["param"], "messages[0].content[1]", "{name}");
    }
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let reply = server.chat(&chat(vec![user("x", vec![image(&format!("http://{closed}/a.png"))])])).await;
    reply.error(400, "invalid_request");
    eventually("the endless page is closed", || async { fake.web_open("endless") == 0 && fake.open_uploads() == 0 })
        .await;
    assert_eq!(fake.chats(), 0);
}

pub async fn links_to_private_addresses_are_rejected(case: Arc<Case>) {
    let (fake, server) = with_storage(&case, &[]).await;
    fake.serve_page("secret.jpg", Page::new("image/jpeg", fixture("jfif.jpg")));
    let port = fake.url().rsplit(':').next().unwrap().to_owned();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "0.0.0.0",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "localhost",
        "LOCALHOST.",
        "x.localhost",
        "ip6-localhost",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "0xa9fea9fe",
        "metadata.google.internal",
        "printer.local",
        "\u{ff11}\u{ff12}\u{ff17}.0.0.1",
    ] {
        let url = format!("http://{host}:{port}/web/secret.jpg");
        let error = server.chat(&chat(vec![user("x", vec![image(&url)])])).await.error(400, "invalid_request");
        assert!(error["message"].as_str().unwrap().contains("not public"), "{host}: {error}");
    }
    assert_eq!(fake.web_hits("secret.jpg"), 0);
    // Host names are resolved; these resolve to a private address or not at all.
    let name = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    for host in [format!("{}.", name.trim()), "nothing.invalid".to_owned()] {
        let url = format!("http://{host}:{port}/web/secret.jpg");
        server.chat(&chat(vec![user("x", vec![image(&url)])])).await.error(400, "invalid_request");
    }
    assert_eq!((fake.web_hits("secret.jpg"), fake.chats(), credential_requests(&fake)), (0, 0, 0));
}

pub async fn a_disconnect_cancels_the_link_fetch(case: Arc<Case>) {
    let (fake, server) = with_storage(&case, &[("ALLOW_PRIVATE_URLS", "true")]).await;
    let mp4 = fixture("isom.mp4");
    fake.serve_page(
        "stalled.mp4",
        Page::new("video/mp4", [mp4.clone(), vec![0; 500_000]].concat()).stalled_after(100_000),
    );
    fake.serve_page(
        "endless.mp4",
        Page::endless("video/mp4", [mp4, vec![0; 50_000]].concat()).paced(Duration::from_millis(5)),
    );
    for name in ["stalled.mp4", "endless.mp4"] {
        let part = json!({ "type": "video_url", "video_url": { "url": fake.web_url(name) } });
        let mut raw = Raw::connect(server.http.address()).await;
        raw.chat(&chat(vec![user("x", vec![part])])).await;
        eventually(&format!("{name} is being fetched"), || async { fake.web_open(name) == 1 }).await;
        raw.reset();
        eventually(&format!("the fetch of {name} is cancelled"), || async {
            fake.web_open(name) == 0 && fake.open_uploads() == 0
        })
        .await;
    }
}

/// The examples of qwen_reverse_fastapi, the program that this one replaces, with the address of the server and local files.
pub async fn qwen_reverse_fastapi_examples_work(case: Arc<Case>) {
    let settings = [("VALID_TOKENS", "sk-your-token"), ("ALLOW_PRIVATE_URLS", "true")];
    let (fake, server) = with_storage(&case, &settings).await;
    fake.serve_page("image.jpg", Page::new("image/jpeg", fixture("jfif.jpg")));
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("image.jpg", "jfif.jpg"),
        ("video.mp4", "isom.mp4"),
        ("C:\\Users\\YourName\\Pictures\\photo.jpg", "jfif.jpg"),
        ("C:\\Users\\YourName\\Videos\\video.mp4", "isom.mp4"),
    ] {
        std::fs::write(folder.path().join(name), fixture(content)).unwrap();
    }
    for (script, streams, file) in [
        (
            r#"curl -X POST http://localhost:8000/v1/chat/completions \
  -H "Authorization: Bearer sk-your-token" \
  -H "Content-Type: application/json" \
  -d '{
    "model": "qwen3",
    "messages": [{"role": "user", "content": "你好"}]
  }'"#,
            false,
            "",
        ),
        (
            r#"curl -X POST http://localhost:8000/v1/chat/completions \
  -H "Authorization: Bearer sk-your-token" \
  -H "Content-Type: application/json" \
  -d '{
    "model": "qwen3",
    "messages": [{"role": "user", "content": "写一首诗"}],
    "stream": true
  }'"#,
            true,
            "",
        ),
        (
            r#"curl -X POST http://localhost:8000/v1/chat/multimodal \
  -H "Authorization: Bearer sk-your-token" \
  -H "Content-Type: application/json" \
  -d '{
    "model": "qwen3-vl-plus",
    "messages": [{
      "role": "user",
      "content": [
        {"type": "text", "text": "分析这张图片"},
        {"type": "image_url", "image_url": {"url": "https://example.com/image.jpg"}}
      ]
    }]
  }'"#,
            false,
            "image.jpg",
        ),
        (
            r#"curl -X POST http://localhost:8000/v1/image/upload_and_chat \
  -H "Authorization: Bearer sk-your-token" \
  -F "image=@/path/to/image.jpg" \
  -F "model=qwen3-vl-plus" \
  -F "prompt=请详细分析这张图片的内容" \
  -F "stream=false""#,
            false,
            "image.jpg",
        ),
        (
            r#"curl --location --request POST 'http://localhost:8000/v1/image/upload_and_chat' \
--header 'Authorization: Bearer sk-your-token' \
--form 'image=@"C:\\Users\\YourName\\Pictures\\photo.jpg"' \
--form 'model="qwen3-vl-plus"' \
--form 'prompt="请分析这张图片"' \
--form 'stream="false"'"#,
            false,
            "photo.jpg",
        ),
        (
            r#"curl -X POST http://localhost:8000/v1/image/upload_and_chat \
  -H "Authorization: Bearer sk-your-token" \
  -F "image=@/path/to/image.jpg" \
  -F "model=qwen3-vl-plus" \
  -F "prompt=请识别图片中的物体和场景" \
  -F "stream=true""#,
            true,
            "image.jpg",
        ),
        (
            r#"curl -X POST http://localhost:8000/v1/image/upload_and_chat \
  -H "Authorization: Bearer sk-your-token" \
  -F "image=@/path/to/image.jpg" \
  -F "model=qwen3-vl-plus" \
  -F "prompt=请深入分析这张图片的构图和艺术价值" \
  -F "stream=false" \
  -F "enable_thinking=true" \
  -F "thinking_budget=500""#,
            false,
            "image.jpg",
        ),
        (
            r#"curl -X POST http://localhost:8000/v1/video/upload_and_chat \
  -H "Authorization: Bearer sk-your-token" \
  -F "video=@/path/to/video.mp4" \
  -F "model=qwen3-vl-plus" \
  -F "prompt=请分析视频中的节日氛围和庆祝活动" \
  -F "stream=true" \
  -F "enable_thinking=true" \
  -F "thinking_budget=1000""#,
            true,
            "video.mp4",
        ),
        (
            r#"curl --location --request POST 'http://localhost:8000/v1/video/upload_and_chat' \
--header 'Authorization: Bearer sk-your-token' \
--form 'video=@"C:\\Users\\YourName\\Videos\\video.mp4"' \
--form 'model="qwen3-vl-plus"' \
--form 'prompt="请分析视频中的内容"' \
--form 'stream="true"' \
--form 'enable_thinking="false"'"#,
            true,
            "video.mp4",
        ),
        (
            r#"curl -X POST http://localhost:8000/v1/video/upload_and_chat \
  -H "Authorization: Bearer sk-your-token" \
  -F "video=@/path/to/video.mp4" \
  -F "model=qwen3-vl-plus" \
  -F "prompt=总结这个视频的主要内容" \
  -F "stream=false""#,
            false,
            "video.mp4",
        ),
    ] {
        let command = script
            .replace("http://localhost:8000", &server.url)
            .replace("/path/to/", "")
            .replace("https://example.com/image.jpg", &fake.web_url("image.jpg"));
        let output = Command::new("bash").args(["-c", &command]).current_dir(folder.path()).output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        if streams {
            assert!(text.starts_with("data: {") && text.ends_with("data: [DONE]\n\n"), "{command}\n{text}");
        } else {
            let json: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{command}\n{error}: {text}"));
            assert_eq!(json["object"], "chat.completion", "{command}\n{text}");
        }
        let files = last_turn(&fake)["messages"][0]["files"].clone();
        let names: Vec<&str> = files.as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap()).collect();
        assert_eq!(names, if file.is_empty() { vec![] } else { vec![file] }, "{command}");
        let features = &last_turn(&fake)["messages"][0]["feature_config"];
        if script.contains("enable_thinking=true") {
            assert_eq!(features["thinking_enabled"], true, "{command}");
            assert!(features["thinking_budget"].is_u64(), "{command}");
        }
    }
}
