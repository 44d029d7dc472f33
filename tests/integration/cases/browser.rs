//! The pages in a real browser.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{process::Command, time::timeout};

use crate::{
    fake_qwen::Fake,
    server::{Case, KEY, unique},
};

pub async fn a_person_uses_the_console(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[("ADMIN_TOKEN", "admin-key")]).await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let work = Command::new("node")
        .arg(root.join("tests/browser/console.mjs"))
        .current_dir(root)
        .env("BASE_URL", &server.url)
        .env("API_KEY", KEY)
        .env("ADMIN_KEY", "admin-key")
        .env("SESSION", format!("cna=x; token={}", Fake::token(&unique("browser"), 86_400)))
        .kill_on_drop(true)
        .output();
    let output = timeout(Duration::from_secs(300), work).await.expect("the browser ends").expect("node runs");
    let (told, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}\n{complained}");
    assert!(told.lines().filter(|line| line.starts_with("ok ")).count() >= 15, "{told}");
}
