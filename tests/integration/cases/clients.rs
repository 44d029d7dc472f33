//! The official SDKs as clients. Each script has its own cases and prints which of them failed.

use std::{path::Path, sync::Arc};

use tokio::process::Command;

use crate::{
    fake_qwen::Fake,
    server::{Case, KEY},
};

async fn run(case: &Case, program: &str, script: &str) {
    let server = case.start(&[]).await;
    // A challenge blocks the server and the account, so this case gets its own server and fake.
    let challenging_fake = Fake::start();
    let challenged = case.start_with(&challenging_fake, &[]).await;
    let sessionless = case.start(&[("QWEN_COOKIES", "")]).await;
    let impatient = case.start(&[("UPSTREAM_IDLE_SECONDS", "1")]).await;
    let output = Command::new(program)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("BASE_URL", format!("{}/v1", server.url))
        .env("CHALLENGED_URL", format!("{}/v1", challenged.url))
        .env("SESSIONLESS_URL", format!("{}/v1", sessionless.url))
        .env("HASTY_URL", format!("{}/v1", impatient.url))
        .env("API_KEY", KEY)
        // The setting of the server: the scripts then require comment lines.
        .env("HEARTBEAT_SECONDS", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .await
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.lines().filter(|line| line.starts_with("ok ")).count() > 10, "{stdout}");
}

pub async fn openai_python(case: Arc<Case>) {
    let python = std::env::var("QWEN_EDGE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    run(&case, &python, "openai_python.py").await;
}

pub async fn openai_node(case: Arc<Case>) {
    run(&case, "node", "openai_node.mjs").await;
}
