//! The curl examples of the documents, run unchanged but for addresses, keys and ids.

use std::{path::Path, process::Stdio, sync::Arc};

use tokio::{process::Command, time::timeout};

use crate::{
    Product,
    fake_qwen::{Fake, Page, encoded},
    http::{TIMEOUT, chat},
    server::{Case, KEY, Server, unique},
};

/// Examples in the style of qwen_reverse_fastapi, the program that this one replaces: `-X POST`, long options, quoted form
/// values.
const QWEN_REVERSE_FASTAPI: &str = r#"
```sh
curl -X POST http://127.0.0.1:8000/v1/chat/completions \
  -H "Authorization: Bearer sk-anything" \
  -H "Content-Type: application/json" \
  -d '{
    "model": "qwen3",
    "messages": [{"role": "user", "content": "解释量子力学"}],
    "enable_thinking": true,
    "thinking_budget": 20
  }'
curl --location --request POST 'http://127.0.0.1:8000/v1/image/upload_and_chat' \
--header 'Authorization: Bearer sk-anything' \
--form 'image=@"photo.jpg"' \
--form 'model="qwen3-vl-plus"' \
--form 'prompt="请分析这张图片"' \
--form 'stream="false"'
curl -X POST http://127.0.0.1:8000/v1/image/upload_and_chat \
  -H "Authorization: Bearer sk-anything" \
  -F "image=@photo.jpg" \
  -F "model=qwen3-vl-plus" \
  -F "prompt=请识别图片中的物体和场景" \
  -F "stream=true"
curl -X POST http://127.0.0.1:8000/v1/video/upload_and_chat \
  -H "Authorization: Bearer sk-anything" \
  -F "video=@holiday.mp4" \
  -F "model=qwen3-vl-plus" \
  -F "prompt=总结这个视频的主要内容" \
  -F "stream=false"
curl --location --request POST 'http://127.0.0.1:8000/v1/video/upload_and_chat' \
--header 'Authorization: Bearer sk-anything' \
--form 'video=@"holiday.mp4"' \
--form 'model="qwen3-vl-plus"' \
--form 'prompt="请分析视频中的内容"' \
--form 'stream="true"' \
--form 'enable_thinking="false"'
```
"#;

/// The id in the newest link to a picture among the answers.
const NEWEST_PICTURE: &str = r"$(sed -n 's|.*/v1/media/\([A-Za-z0-9_-]*\).*|\1|p' answers | tail -n 1)";

/// The code blocks of a document that call curl.
fn blocks(document: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<Vec<&str>> = None;
    for line in document.lines() {
        match (&mut open, line.trim_start().starts_with("```")) {
            (None, true) => open = Some(Vec::new()),
            (Some(lines), true) => {
                if lines.iter().any(|line| line.starts_with("curl ")) {
                    blocks.push(lines.join("\n"));
                }
                open = None;
            }
            (Some(lines), false) => lines.push(line),
            (None, false) => {}
        }
    }
    blocks
}

/// What the fake site answers to the examples with tools and with a schema.
fn teach(fake: &Fake) {
    let call = "[TOOL CALL]\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}\n[END TOOL CALL]";
    for (marker, answer) in [
        ("\"name\":\"get_weather\"", call),
        ("[TOOL RESULT #1: get_weather]", "It is sunny."),
        ("the following JSON schema", "Here it is:\n```json\n{\"name\": \"Bob\", \"age\": 42}\n```"),
    ] {
        fake.set_directive(marker, &format!("say={}", encoded(answer)));
    }
}

/// Checks that the answer to a block with tools or with a schema is what the document says.
fn check(block: &str, answers: &str) {
    let answer = || serde_json::from_str::<serde_json::Value>(answers.trim()).unwrap();
    if block.contains("tool_call_id") {
        assert_eq!(answer()["choices"][0]["message"]["content"], "It is sunny.", "{answers}");
    } else if block.contains("\"tools\"") {
        let choice = &answer()["choices"][0];
        assert_eq!(choice["message"]["tool_calls"][0]["function"]["name"], "get_weather", "{answers}");
        assert_eq!(choice["finish_reason"], "tool_calls", "{answers}");
    } else if block.contains("json_schema") {
        assert_eq!(answer()["choices"][0]["message"]["content"], "{\"name\": \"Bob\", \"age\": 42}", "{answers}");
    }
}

/// Runs the commands of a block; returns their number.
async fn run(case: &Case, server: &Server, fake: &Fake, folder: &Path, block: &str) -> usize {
    let created = server.chat(&chat(&unique("example"))).await;
    let chats = server.http.send("GET", "/v1/chats", &Server::auth_headers(), "").await.json();
    let conversation = created.header("x-conversation-id").unwrap();
    let listed = chats["data"].as_array().unwrap().iter().find(|chat| chat["conversation_id"] == conversation);
    let text = block
        .replace("http://127.0.0.1:8000", &server.url)
        .replace("sk-anything", KEY)
        .replace("https://example.com/image.jpg", &fake.web_url("image.jpg"))
        .replace("https://chat.qwen.ai", &fake.url())
        .replace("user-agent: …", "user-agent: Mozilla/5.0")
        .replace("cna=…; token=…", &format!("cna=x; token={}", Fake::token(&unique("example"), 9_000)))
        .replace("CHAT_ID", listed.expect("the chat is listed")["id"].as_str().unwrap());
    let text: String = match case.product {
        Product::Native => text,
        // The Worker has no metrics route.
        Product::Worker => {
            text.lines().filter(|line| !line.contains("/metrics")).map(|line| format!("{line}\n")).collect()
        }
    };
    // A video that is there as soon as it is asked for.
    let video = if text.contains("VIDEO_ID") {
        format!(
            "VIDEO_ID=$(command curl -s '{}/v1/videos' -H 'authorization: Bearer {KEY}' -H 'x-fresh: true' -d '{{\"prompt\":\"[[fake polls=0]] a kite\"}}' | sed 's/.*\"id\":\"\\(video_[^\"]*\\).*/\\1/')\n",
            server.url
        )
    } else {
        String::new()
    };
    let script = format!(
        "set -euo pipefail\n\
         curl() {{ command curl --fail-with-body --silent --show-error --max-time 60 \"$@\" >>answers; echo >>answers; }}\n\
         FILE_ID=$(command curl -s '{}/v1/files' -H 'authorization: Bearer {KEY}' -F file=@photo.jpg | sed 's/.*\"id\":\"\\([^\"]*\\)\".*/\\1/')\n\
         RESPONSE_ID=$(command curl -s '{}/v1/responses' -H 'authorization: Bearer {KEY}' -d '{{\"input\":\"hi\"}}' | sed 's/.*\"id\":\"\\(resp_[^\"]*\\)\".*/\\1/')\n{video}{}",
        server.url,
        server.url,
        text.replace("FILE_ID", "$FILE_ID")
            .replace("RESPONSE_ID", "$RESPONSE_ID")
            .replace("MEDIA_ID", NEWEST_PICTURE)
            .replace("VIDEO_ID", "$VIDEO_ID")
    );
    let run = Command::new("bash")
        .args(["-c", &script])
        .current_dir(folder)
        .env("ADMIN_TOKEN", "admin-key")
        .env_remove("http_proxy")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(TIMEOUT, run).await.expect("the commands do not end").unwrap();
    let answers = std::fs::read_to_string(folder.join("answers")).unwrap_or_default();
    assert!(
        output.status.success() && !answers.contains("\"error\":{"),
        "{text}\n{answers}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    check(&text, &answers);
    if text.contains("kite.png") {
        assert!(std::fs::read(folder.join("kite.png")).unwrap().starts_with(b"\x89PNG"));
        assert_eq!(answers.matches(&format!("{}/v1/media/", server.url)).count(), 2, "{answers}");
    }
    std::fs::remove_file(folder.join("answers")).unwrap();
    text.lines().filter(|line| line.starts_with("curl ")).count()
}

pub async fn every_curl_example_works(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[("ADMIN_TOKEN", "admin-key"), ("ALLOW_PRIVATE_URLS", "true")]).await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    for (name, file) in [("photo.jpg", "exif.jpg"), ("holiday.mp4", "isom.mp4")] {
        std::fs::copy(root.join("tests/files").join(file), folder.path().join(name)).unwrap();
    }
    fake.serve_page("image.jpg", Page::new("image/jpeg", std::fs::read(folder.path().join("photo.jpg")).unwrap()));
    teach(&fake);
    let mut count = 0;
    for document in ["README.md", "README.zh-CN.md"] {
        for block in blocks(&std::fs::read_to_string(root.join(document)).unwrap()) {
            count += run(&case, &server, &fake, folder.path(), &block).await;
        }
    }
    for block in blocks(QWEN_REVERSE_FASTAPI) {
        count += run(&case, &server, &fake, folder.path(), &block).await;
    }
    assert!(count > 57, "only {count} examples");
    // Every route has an example.
    let routes = server.get("/").await.json();
    let text = ["README.md", "README.zh-CN.md"].map(|name| std::fs::read_to_string(root.join(name)).unwrap());
    for route in routes["routes"].as_array().unwrap() {
        let path = route["path"].as_str().unwrap();
        // Nothing can be cancelled.
        if path.ends_with("/cancel") {
            continue;
        }
        let path = path.split('{').next().unwrap();
        for text in &text {
            assert!(path == "/docs" || text.contains(&format!("http://127.0.0.1:8000{path}")), "{path} has no example");
        }
    }
}
