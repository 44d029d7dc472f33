use std::{process::Stdio, sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::json;
use tokio::process::Command;

use crate::{
    Product,
    fake_qwen::Fake,
    http::{Raw, TIMEOUT, chat, concat_deltas, eventually, with},
    server::{Case, Server},
};

pub async fn an_invalid_variable_is_named(case: Arc<Case>) {
    for (name, value) in
        [("HEARTBEAT_SECONDS", "secret-value"), ("QWEN_BASE_URL", "secret-value"), ("LOG", "secret=value=x")]
    {
        let log = match case.product {
            Product::Native => case.start_error(&[(name, value)]).await,
            Product::Worker => {
                let server = case.start(&[(name, value)]).await;
                let reply = server.get("/health").await;
                reply.error(500, "configuration_error");
                reply.text()
            }
        };
        assert!(log.contains(name) && !log.contains("secret"), "{log}");
        if case.product == Product::Native {
            assert!(log.starts_with("exit status: 2: qwen-edge: ") && !log.contains('\n'), "not one line: {log}");
        }
    }
}

pub async fn listening_on_a_network_address_requires_keys(case: Arc<Case>) {
    let log = case.start_error(&[("HOST", "0.0.0.0"), ("PORT", "0")]).await;
    assert!(log.contains("VALID_TOKENS") && log.contains("ALLOW_ANONYMOUS"), "{log}");
    case.start(&[("HOST", "0.0.0.0")]).await;
    case.start(&[("HOST", "0.0.0.0"), ("VALID_TOKENS", ""), ("ALLOW_ANONYMOUS", "true")]).await;
}

pub async fn env_files_are_read(case: Arc<Case>) {
    let folder = tempfile::tempdir().unwrap();
    let token = Fake::token("env-file", 9_000);
    // A JSON array with spaces, as in the example of qwen_reverse_fastapi.
    let text = format!(
        "QWEN_COOKIES=\"a=1; token={token}\"\nVALID_TOKENS=[\"sk-token1\", \"sk-token2\"]\nQWEN_BASE_URL={}\nPORT=1\n",
        case.fake.url()
    );
    std::fs::write(folder.path().join(".env"), text).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_qwen-edge"))
        .current_dir(folder.path())
        .env_clear()
        .envs([("PORT", "0"), ("LOG_FORMAT", "json")])
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(child.stderr.take().unwrap()));
    let line = lines.next_line().await.unwrap().unwrap();
    let url = serde_json::from_str::<serde_json::Value>(&line).unwrap()["url"].as_str().expect(&line).to_owned();
    let http = crate::http::Http::new(&url);
    for (key, status) in [("sk-token1", 200), ("sk-token2", 200), ("sk-token3", 403)] {
        let authorization = format!("Bearer {key}");
        let reply = http
            .send("POST", "/v1/chat/completions", &[("authorization", &authorization)], chat("hi").to_string())
            .await;
        assert_eq!(reply.status, status, "{key}");
    }
    assert!(folder.path().join("data/qwen-edge.db").exists());
}

pub async fn open_streams_finish_after_a_termination_signal(case: Arc<Case>) {
    for signal in ["TERM", "INT"] {
        let server = case.start(&[]).await;
        let mut client = Raw::connect(server.http.address()).await;
        let prompt = "[[fake stream=count n=20 delay_ms=50]]";
        client.chat(&with(chat(prompt), json!({ "stream": true, "enable_thinking": false }))).await;
        client.read_until("\"content\":\"2 \"").await;
        let exited = server.signal(signal).await;
        let rest = client.read_until("[DONE]").await;
        assert!(rest.contains("\"content\":\"20 \""));
        assert!(exited.await, "the exit status is not 0");
        assert!(tokio::net::TcpStream::connect(server.http.address()).await.is_err(), "the port is still open");
    }
}

pub async fn the_healthcheck_command_reports_health(case: Arc<Case>) {
    let server = case.start(&[]).await;
    let port = server.url.rsplit(':').next().unwrap().to_owned();
    let check = |port: String| async move {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qwen-edge"));
        command.arg("healthcheck").env_clear().env("PORT", port).env("HOST", "0.0.0.0").env("VALID_TOKENS", "x");
        command.output().await.unwrap()
    };
    assert!(check(port.clone()).await.status.success());
    server.stop().await;
    let output = check(port).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no answer"));
}

pub async fn http2_works_without_tls(case: Arc<Case>) {
    let server = case.server().await;
    let client: Client<_, Full<bytes::Bytes>> = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let request = http::Request::post(format!("{}/v1/chat/completions", server.url))
        .header("authorization", "Bearer sk-test-key")
        .body(with(chat("[[fake say=over%20h2]]"), json!({ "stream": true })).to_string().into())
        .unwrap();
    let response = client.request(request).await.unwrap();
    assert_eq!((response.version(), response.status().as_u16()), (http::Version::HTTP_2, 200));
    let text = String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let chunks: Vec<serde_json::Value> =
        crate::http::events(&text).iter().filter_map(|data| serde_json::from_str(data).ok()).collect();
    assert_eq!(concat_deltas(&chunks, "content"), "over h2");
    // HTTP/1.1 and HTTP/2 are distinguished by the first bytes, in any packets.
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    for (start, rest, mark) in [
        ("P", "RI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\u{4}"),
        ("PR", "I * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\u{4}"),
        ("P", "UT /health HTTP/1.1\r\nhost: x\r\n\r\n", "HTTP/1.1 405 "),
        ("PR", "OPFIND /health HTTP/1.1\r\nhost: x\r\n\r\n", "HTTP/1.1 405 "),
        ("G", "ET /health HTTP/1.1\r\nhost: x\r\n\r\n", "HTTP/1.1 200 "),
    ] {
        let mut raw = Raw::connect(server.http.address()).await;
        raw.0.set_nodelay(true).unwrap();
        raw.send(start.as_bytes()).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
        raw.send(rest.as_bytes()).await;
        if mark == "\u{4}" {
            raw.send(&settings).await;
        }
        raw.read_until(mark).await;
    }
}

/// Runs a command of the native server; returns its output with its log, and whether it succeeded.
pub(super) async fn command(
    folder: &std::path::Path,
    arguments: &[&str],
    settings: &[(&str, &str)],
    input: &str,
) -> (String, bool) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_qwen-edge"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .envs(settings.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that reads no input may have exited already.
    let _ = tokio::io::AsyncWriteExt::write_all(&mut stdin, input.as_bytes()).await;
    drop(stdin);
    let exited =
        tokio::time::timeout(TIMEOUT, child.wait_with_output()).await.expect("the command does not exit").unwrap();
    let output = [exited.stdout, exited.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    (output, exited.status.success())
}

pub async fn the_check_command_reports_what_is_wrong(case: Arc<Case>) {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let url = fake.url();
    let valid = format!("token={}", Fake::token("checked", 9_000));
    let expired = format!("token={}", Fake::token("checked", -9_000));
    for (settings, expected) in [
        (
            &[("QWEN_COOKIES", valid.as_str())][..],
            &["ok  configuration", "ok  store", "ok  session", "checked", "ok  models"][..],
        ),
        (&[], &["BAD session", "QWEN_COOKIES"]),
        (&[("QWEN_COOKIES", &expired)], &["BAD session", "has ended"]),
        (&[("QWEN_AUTH_TOKEN", "no-such-token")], &["BAD session", "has ended"]),
        (&[("QWEN_COOKIES", &valid), ("HOST", "0.0.0.0")], &["BAD configuration", "VALID_TOKENS"]),
        (&[("QWEN_COOKIES", &valid), ("DATABASE_PATH", "/proc/none/x.db")], &["BAD store", "/proc/none/x.db"]),
        (&[("QWEN_COOKIES", &valid), ("PORT", "many")], &["qwen-edge: PORT"]),
    ] {
        let site = [("QWEN_BASE_URL", url.as_str()), ("QWEN_AUTH_URL", url.as_str())];
        let (output, succeeded) = command(folder.path(), &["check"], &[&site, settings].concat(), "").await;
        assert!(expected.iter().all(|words| output.contains(words)), "{expected:?}: {output}");
        assert_eq!(succeeded, !expected[0].starts_with("BAD") && !expected[0].starts_with("qwen"), "{output}");
        assert!(!output.contains(&valid) && !output.contains(&expired), "{output}");
    }
    drop(case);
}

pub async fn import_curl_stores_a_session_for_the_server(case: Arc<Case>) {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let (url, path) = (fake.url(), folder.path().join("kept.db"));
    let path = path.to_str().unwrap();
    let server = case.start_with(&fake, &[("QWEN_COOKIES", ""), ("DATABASE_PATH", path)]).await;
    assert_eq!(server.get("/ready").await.status, 503);
    let settings = [("QWEN_BASE_URL", url.as_str()), ("QWEN_AUTH_URL", url.as_str()), ("DATABASE_PATH", path)];
    for (text, wrong) in [("nonsense, this", "neither"), ("token=no-such-token", "has ended"), ("", "empty")] {
        let (output, succeeded) = command(folder.path(), &["import-curl"], &settings, text).await;
        assert!(!succeeded && output.contains(wrong), "{text}: {output}");
    }
    let token = Fake::token("imported", 9_000);
    let text = format!("curl '{url}/api/v1/auths/' \\\n  -H 'accept: */*' \\\n  -b 'cna=x; token={token}'");
    let file = folder.path().join("curl.txt");
    std::fs::write(&file, &text).unwrap();
    let (output, succeeded) = command(folder.path(), &["import-curl", file.to_str().unwrap()], &settings, "").await;
    assert!(succeeded && output.contains("within seconds") && !output.contains(&token), "{output}");
    eventually("the server uses the imported session", || async { server.get("/ready").await.status == 200 }).await;
    assert_eq!(server.chat(&chat("hi")).await.status, 200);
}

pub async fn an_unwritable_database_falls_back_to_memory(case: Arc<Case>) {
    // Even root cannot create files there.
    let server = case.start(&[("DATABASE_PATH", "/sys/qwen-edge.db")]).await;
    let log = server.log().await.join("\n");
    assert!(log.contains("/sys/qwen-edge.db") && log.contains("in memory"), "{log}");
    let health = server.get("/health").await.json();
    assert_eq!(
        (&health["status"], &health["store"]["ok"], &health["store"]["persistent"]),
        (&json!("degraded"), &json!(true), &json!(false))
    );
    let first = chat("[[fake say=one]] first");
    assert_eq!(server.chat(&first).await.status, 200);
    assert_eq!(
        server.http.send("GET", "/v1/chats", &Server::auth_headers(), "").await.json()["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

pub async fn key_lists_without_a_key_are_rejected(case: Arc<Case>) {
    for wrong in
        ["[]", ",", " , ,", r#"[""]"#, r#"["sk-secret""#, "[sk-secret, sk-other]", "['sk-secret']", "[1]", "\"\""]
    {
        let log = match case.product {
            Product::Native => case.start_error(&[("VALID_TOKENS", wrong)]).await,
            Product::Worker => {
                let reply = case.start(&[("VALID_TOKENS", wrong)]).await.get("/v1/models").await;
                reply.error(500, "configuration_error");
                reply.text()
            }
        };
        assert!(log.contains("VALID_TOKENS") && !log.contains("secret"), "{wrong}: {log}");
    }
    // A blank value, as in the example file.
    case.start(&[("VALID_TOKENS", " ")]).await;
}

pub async fn non_utf8_variables_are_named(case: Arc<Case>) {
    use std::os::unix::ffi::OsStrExt as _;
    let latin = std::ffi::OsStr::from_bytes(b"caf\xe9");
    for name in ["VALID_TOKENS", "ADMIN_TOKEN", "SESSION_KEY", "QWEN_COOKIES", "HOST", "LOG", "ALLOW_ANONYMOUS"] {
        for in_file in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let mut command = Command::new(env!("CARGO_BIN_EXE_qwen-edge"));
            command.current_dir(folder.path()).env_clear().env("PORT", "0").stderr(Stdio::piped()).kill_on_drop(true);
            if in_file {
                let text = [b"QWEN_WEB_VERSION=1\n", name.as_bytes(), b"='caf\xe9'\nDEFAULT_MODEL=x\n"].concat();
                std::fs::write(folder.path().join(".env"), text).unwrap();
            } else {
                command.env(name, latin);
            }
            let exited = tokio::time::timeout(TIMEOUT, command.output()).await.expect("the server starts").unwrap();
            let log = String::from_utf8(exited.stderr).unwrap();
            assert_eq!(exited.status.code(), Some(2), "{name}: {log}");
            assert!(log.contains(name) && log.contains("UTF-8") && !log.contains("caf"), "{name}: {log}");
        }
    }
    drop(case);
}

pub async fn files_with_secrets_are_private_to_the_user(case: Arc<Case>) {
    use std::os::unix::fs::PermissionsExt;
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let mode = |name: &str| std::fs::metadata(file(name)).unwrap().permissions().mode() & 0o777;
    let loosen = |name: &str| std::fs::set_permissions(file(name), PermissionsExt::from_mode(0o644)).unwrap();
    let path = file("kept.db").display().to_string();
    let settings = [("DATABASE_PATH", path.as_str())];
    let server = case.start_with(&fake, &settings).await;
    assert_eq!(server.chat(&chat("hi")).await.status, 200);
    // A killed server leaves the WAL files behind.
    let _ = server.signal("KILL").await.await;
    let names = ["kept.db", "kept.db-wal", "kept.db-shm"];
    names.iter().for_each(|name| loosen(name));
    let server = case.start_with(&fake, &settings).await;
    assert_eq!(server.chat(&chat("hi")).await.status, 200);
    assert_eq!(names.map(mode), [0o600; 3]);
    // The exported SQL contains conversations.
    let (url, cookies) = (fake.url(), format!("token={}", Fake::token("exported", 9_000)));
    let site = [("QWEN_BASE_URL", url.as_str()), ("QWEN_AUTH_URL", url.as_str()), ("QWEN_COOKIES", cookies.as_str())];
    let command_settings = [&settings[..], &site].concat();
    let import = ["import-history", "--pause-ms", "0", "--sql", "history.sql"];
    for exists in [false, true] {
        if exists {
            loosen("history.sql");
        }
        let (output, succeeded) = command(folder.path(), &import, &command_settings, "").await;
        assert!(succeeded, "{output}");
        assert_eq!(mode("history.sql"), 0o600, "{exists}");
    }
    // The `.env` file contains the cookies.
    for (bits, warned) in [(0o644, true), (0o640, true), (0o600, false)] {
        std::fs::write(file(".env"), "PORT=0\n").unwrap();
        std::fs::set_permissions(file(".env"), PermissionsExt::from_mode(bits)).unwrap();
        let (output, _) = command(folder.path(), &["check"], &command_settings, "").await;
        assert_eq!(output.contains(".env") && output.contains("chmod 600"), warned, "{bits:o}: {output}");
    }
}
