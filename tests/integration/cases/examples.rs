//! The programs in the documents, run unchanged but for addresses, keys and ids.

use std::{collections::BTreeSet, path::Path, process::Stdio, sync::Arc, time::Duration};

use tokio::{process::Command, time::timeout};

use super::clients::python;
use crate::{
    Product,
    documents::{self, Kind},
    fake_qwen::{Fake, Page, encoded},
    http::chat,
    server::{Case, KEY, Server, unique},
};

/// Examples in the style of qwen_reverse_fastapi, the program that this one replaces: `-X POST`, long options, quoted form
/// values.
const QWEN_REVERSE_FASTAPI: &str = r#"curl -X POST http://127.0.0.1:8000/v1/chat/completions \
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
"#;

/// The id in the newest link to a picture among the answers.
const NEWEST_PICTURE: &str = r"$(sed -n 's|.*/v1/media/\([A-Za-z0-9_-]*\).*|\1|p' answers | tail -n 1)";

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
    // Videos that are there as soon as they are asked for.
    fake.set_directive("kite rises over the sea", "polls=0");
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

/// What the programs run in: the server of a case, the site behind it, and a folder with the files that they name.
struct Stage {
    product: Product,
    server: Arc<Server>,
    fake: Fake,
    folder: tempfile::TempDir,
}

impl Stage {
    async fn new(case: &Case) -> Self {
        let fake = Fake::start();
        let server = case.start_with(&fake, &[("ADMIN_TOKEN", ADMIN), ("ALLOW_PRIVATE_URLS", "true")]).await;
        let folder = tempfile::tempdir().unwrap();
        let files = ["exif.jpg", "isom.mp4", "libreoffice.pdf"].map(|file| format!("tests/files/{file}"));
        for (name, file) in [
            ("photo.jpg", files[0].as_str()),
            ("holiday.mp4", &files[1]),
            ("paper.pdf", &files[2]),
            (".env.example", ".env.example"),
        ] {
            std::fs::copy(Path::new(ROOT).join(file), folder.path().join(name)).unwrap();
        }
        let photo = std::fs::read(folder.path().join("photo.jpg")).unwrap();
        for page in ["image.jpg", "another.png"] {
            fake.serve_page(page, Page::new("image/jpeg", photo.clone()));
        }
        teach(&fake);
        Self { product: case.product, server, fake, folder }
    }

    /// The text of a program with the addresses, keys and cookies of this stage.
    fn adapt(&self, program: &str) -> String {
        program
            .replace("http://127.0.0.1:8000", &self.server.url)
            .replace("sk-anything", KEY)
            .replace("https://example.com/image.jpg", &self.fake.web_url("image.jpg"))
            .replace("https://example.com/another.png", &self.fake.web_url("another.png"))
            .replace("https://chat.qwen.ai", &self.fake.url())
            .replace("user-agent: …", "user-agent: Mozilla/5.0")
            .replace("cna=…; token=…", &format!("cna=x; token={}", Fake::token(&unique("example"), 9_000)))
    }

    /// Runs a program in the folder; returns what it prints.
    ///
    /// # Panics
    /// When it fails.
    async fn succeed(&self, mut command: Command, place: &str) -> String {
        let run = command
            .current_dir(self.folder.path())
            .env("ADMIN_TOKEN", ADMIN)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env_remove("http_proxy")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = timeout(LIMIT, run).await.unwrap_or_else(|_| panic!("{place} does not end")).unwrap();
        let (printed, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let answers = std::fs::read_to_string(self.folder.path().join("answers")).unwrap_or_default();
        assert!(output.status.success(), "{place}\n{printed}\n{answers}\n{log}");
        printed.into_owned()
    }

    /// Runs a block of calls of curl; returns their number.
    async fn curl(&self, block: &str, place: &str) -> usize {
        let created = self.server.chat(&chat(&unique("example"))).await;
        let chats = self.server.http.send("GET", "/v1/chats", &Server::auth_headers(), "").await.json();
        let conversation = created.header("x-conversation-id").unwrap();
        let listed = chats["data"].as_array().unwrap().iter().find(|chat| chat["conversation_id"] == conversation);
        let text = self.adapt(block).replace("CHAT_ID", listed.expect("the chat is listed")["id"].as_str().unwrap());
        let text: String = match self.product {
            Product::Native => text,
            // The Worker has no metrics route.
            Product::Worker => {
                text.lines().filter(|line| !line.contains("/metrics")).map(|line| format!("{line}\n")).collect()
            }
        };
        let url = &self.server.url;
        // A video that is there as soon as it is asked for.
        let video = if text.contains("VIDEO_ID") {
            format!(
                "VIDEO_ID=$(command curl -s '{url}/v1/videos' -H 'authorization: Bearer {KEY}' -H 'x-fresh: true' -d '{{\"prompt\":\"[[fake polls=0]] a kite\"}}' | sed 's/.*\"id\":\"\\(video_[^\"]*\\).*/\\1/')\n"
            )
        } else {
            String::new()
        };
        let script = format!(
            "set -euo pipefail\n\
             curl() {{ command curl --fail-with-body --silent --show-error --max-time 60 \"$@\" >>answers; echo >>answers; }}\n\
             FILE_ID=$(command curl -s '{url}/v1/files' -H 'authorization: Bearer {KEY}' -F file=@photo.jpg | sed 's/.*\"id\":\"\\([^\"]*\\)\".*/\\1/')\n\
             RESPONSE_ID=$(command curl -s '{url}/v1/responses' -H 'authorization: Bearer {KEY}' -d '{{\"input\":\"hi\"}}' | sed 's/.*\"id\":\"\\(resp_[^\"]*\\)\".*/\\1/')\n{video}{}",
            text.replace("FILE_ID", "$FILE_ID")
                .replace("RESPONSE_ID", "$RESPONSE_ID")
                .replace("MEDIA_ID", NEWEST_PICTURE)
                .replace("VIDEO_ID", "$VIDEO_ID")
        );
        let mut command = Command::new("bash");
        command.args(["-c", &script]);
        self.succeed(command, place).await;
        let answers = std::fs::read_to_string(self.folder.path().join("answers")).unwrap();
        assert!(!answers.contains("\"error\":{"), "{place}\n{answers}");
        check(&text, &answers);
        if text.contains("kite.png") {
            assert!(std::fs::read(self.folder.path().join("kite.png")).unwrap().starts_with(b"\x89PNG"));
            assert_eq!(answers.matches(&format!("{url}/v1/media/")).count(), 2, "{answers}");
        }
        std::fs::remove_file(self.folder.path().join("answers")).unwrap();
        documents::commands(&text).len()
    }

    /// Runs a block of commands of the native server and of the repository.
    async fn commands(&self, block: &str, place: &str) {
        let prepared = std::fs::read_to_string(Path::new(ROOT).join("scripts/test")).unwrap();
        assert!(prepared.contains(documents::PREPARATION), "scripts/test prepares this machine");
        let block = block.replace(documents::PREPARATION, ":");
        let script = format!("{COMMANDS}\n{}", self.adapt(&block).replace("scripts/", &format!("{ROOT}/scripts/")));
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("bash");
        // What cargo says of this package; with it, cargo in a script would build the libraries anew that read it.
        let of_cargo =
            |name: &str| name == "OUT_DIR" || name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_PKG_");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_cargo)) {
            command.env_remove(name);
        }
        command
            .args(["-c", &script])
            .env("EDGE", env!("CARGO_BIN_EXE_qwen-edge"))
            .env("DEMO_PROFILE", "dev")
            .env("PORT", free.to_string())
            .env("QWEN_BASE_URL", self.fake.url())
            .env("QWEN_AUTH_URL", self.fake.url())
            .env("QWEN_COOKIES", format!("cna=x; token={}", Fake::token(&unique("example"), 9_000)));
        let printed = self.succeed(command, place).await;
        if block.contains("scripts/demo") {
            assert!(printed.contains("data: [DONE]"), "{printed}");
        }
    }
}

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const ADMIN: &str = "admin-key";
/// How long one block may take. `scripts/demo` builds what no test has built.
const LIMIT: Duration = Duration::from_secs(400);
/// Commands of documents, with the program under test in the place of an installed one. A server stops once it has answered.
const COMMANDS: &str = r#"set -euo pipefail
qwen-edge() {
    if [ "${1-serve}" != serve ]; then "$EDGE" "$@"; return; fi
    "$EDGE" & server=$!
    until "$EDGE" healthcheck 2>/dev/null; do kill -0 "$server"; sleep 0.1; done
    kill "$server"
    wait "$server"
}
cargo() {
    [ "$1 $2" = "run --release" ]
    shift 2
    if [ "${1-}" = -- ]; then shift; fi
    qwen-edge "$@"
}
curl() { command curl --fail-with-body --silent --show-error --max-time 60 "$@"; }
"#;

pub async fn every_program_in_the_documents_works(case: Arc<Case>) {
    let stage = Stage::new(&case).await;
    let mut ran = BTreeSet::new();
    let mut count = 0;
    for document in documents::all() {
        // The blocks of one language continue each other.
        let (mut python_blocks, mut last) = (String::new(), String::new());
        for block in &document.blocks {
            let kind = block.kind().unwrap();
            match kind {
                Kind::Curl => count += stage.curl(&block.code, &block.place).await,
                Kind::Commands if case.product == Product::Native => stage.commands(&block.code, &block.place).await,
                Kind::Python => {
                    python_blocks.push_str(&block.code);
                    last.clone_from(&block.place);
                }
                Kind::JavaScript => {
                    let mut command = Command::new("bash");
                    // Packages are found from the working folder.
                    command.args(["-c", "cd \"$0\" && exec node --input-type=module -e \"$1\"", ROOT]);
                    command.arg(stage.adapt(&block.code));
                    assert!(!stage.succeed(command, &block.place).await.is_empty(), "{}", block.place);
                }
                Kind::Commands | Kind::Settings | Kind::NotRun(_) | Kind::NoProgram => continue,
            }
            ran.insert(format!("{kind:?}"));
        }
        if !python_blocks.is_empty() {
            let mut command = Command::new(python());
            command.args(["-c", &stage.adapt(&python_blocks)]);
            assert!(!stage.succeed(command, &last).await.is_empty(), "{last}");
        }
    }
    count += stage.curl(QWEN_REVERSE_FASTAPI, "qwen_reverse_fastapi").await;
    assert!(count > 45, "only {count} calls of curl");
    assert_eq!(ran.len(), if case.product == Product::Native { 4 } else { 3 }, "{ran:?}");
    assert!(std::fs::read(stage.folder.path().join("kite.mp4")).unwrap().len() > 100, "the video of the last example");
}

pub async fn every_route_has_an_example(case: Arc<Case>) {
    let server = case.server().await;
    let routes = server.get("/").await.json();
    let text = std::fs::read_to_string(Path::new(ROOT).join("docs/api.md")).unwrap();
    for route in routes["routes"].as_array().unwrap() {
        let path = route["path"].as_str().unwrap();
        // Nothing can be cancelled.
        if path.ends_with("/cancel") {
            continue;
        }
        let path = path.split('{').next().unwrap();
        let pages = ["/docs", "/assets/"];
        assert!(
            pages.contains(&path) || text.contains(&format!("http://127.0.0.1:8000{path}")),
            "{path} has no example"
        );
    }
}

pub async fn commands_in_sentences_exist(_: Arc<Case>) {
    let mut names = BTreeSet::new();
    for document in documents::all() {
        let spans = document.spans.iter().filter_map(|span| span.strip_prefix("qwen-edge "));
        names
            .extend(spans.filter(|rest| !rest.starts_with('-')).map(|rest| rest.split(' ').next().unwrap().to_owned()));
    }
    assert!(names.len() > 4, "{names:?}");
    for name in names.iter().filter(|name| *name != "help") {
        let output = Command::new(env!("CARGO_BIN_EXE_qwen-edge")).args(["help", name]).output().await.unwrap();
        assert!(output.status.success(), "qwen-edge {name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
