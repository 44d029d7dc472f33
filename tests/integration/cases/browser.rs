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
    let told = run(
        "console.mjs",
        &[
            ("BASE_URL", &server.url),
            ("API_KEY", KEY),
            ("ADMIN_KEY", "admin-key"),
            ("SESSION", &format!("cna=x; token={}", Fake::token(&unique("browser"), 86_400))),
        ],
    )
    .await;
    assert!(told.lines().filter(|line| line.starts_with("ok ")).count() >= 15, "{told}");
}

pub async fn pages_of_others_can_do_nothing_without_keys(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[("VALID_TOKENS", "")]).await;
    let told = run("stranger.mjs", &[("BASE_URL", &server.url)]).await;
    assert!(told.lines().filter(|line| line.starts_with("ok ")).count() > 60, "{told}");
    assert!(fake.seen_with("from a stranger").is_empty());
    assert!(!fake.seen_with("from its own page").is_empty());
}

/// Runs one of the scripts in `tests/browser`, and gives what it printed.
async fn run(script: &str, settings: &[(&str, &str)]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let work = Command::new("node")
        .arg(root.join("tests/browser").join(script))
        .current_dir(root)
        .envs(settings.iter().copied())
        .kill_on_drop(true)
        .output();
    let output = timeout(Duration::from_secs(300), work).await.expect("the browser ends").expect("node runs");
    let (told, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}\n{complained}");
    told.into_owned()
}
