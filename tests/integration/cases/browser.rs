//! The pages in a real browser.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{process::Command, time::timeout};

use super::images::drawing;
use crate::{
    fake_compatible::Compatible,
    fake_qwen::Fake,
    server::{Case, KEY, unique},
};

pub async fn chats_work_in_the_console(case: Arc<Case>) {
    let (fake, second) = (Fake::start(), Compatible::start());
    let server = case.start_with_second(&fake, &second, &[("FALLBACK_ON", "never")]).await;
    let output = run("console.mjs", &[("BASE_URL", &server.url), ("API_KEY", KEY)]).await;
    assert!(output.lines().filter(|line| line.starts_with("ok ")).count() >= 22, "{output}");
}

pub async fn the_console_fits_every_person_and_screen(case: Arc<Case>) {
    let server = case.server().await;
    let output = run("screens.mjs", &[("BASE_URL", &server.url), ("API_KEY", KEY)]).await;
    assert!(output.lines().filter(|line| line.starts_with("ok ")).count() >= 6, "{output}");
}

pub async fn the_console_shows_the_server_and_its_accounts(case: Arc<Case>) {
    let fake = Fake::start();
    let keys = format!(r#"["{KEY}",{{"key":"sk-of-anna","account":"anna"}}]"#);
    let server = case.start_with(&fake, &[("ADMIN_TOKEN", "admin-key"), ("VALID_TOKENS", &keys)]).await;
    let output = run(
        "menu.mjs",
        &[
            ("BASE_URL", &server.url),
            ("API_KEY", KEY),
            ("ADMIN_KEY", "admin-key"),
            ("SESSION", &format!("cna=x; token={}", Fake::token(&unique("browser"), 86_400))),
            ("OTHER_SESSION", &format!("cna=x; token={}", Fake::token(&unique("other"), 86_400))),
        ],
    )
    .await;
    assert!(output.lines().filter(|line| line.starts_with("ok ")).count() >= 6, "{output}");
}

pub async fn pictures_work_in_the_console(case: Arc<Case>) {
    let (fake, server) = drawing(&case, &[]).await;
    let output = run("pictures.mjs", &[("BASE_URL", &server.url), ("API_KEY", KEY)]).await;
    assert!(output.lines().filter(|line| line.starts_with("ok ")).count() >= 16, "{output}");
    let jobs = |text: &str| fake.media_jobs(text);
    let two = jobs("number two");
    assert_eq!((two.len(), two[0].model.as_deref()), (6, Some("qwen-image-3.0-pro")), "the same again is drawn anew");
    let tall = jobs("a tall one");
    assert_eq!((tall[0].model.as_deref(), tall[0].size.as_deref()), (Some("qwen-image-2.0-pro"), Some("1:1")));
    for (text, kind, files) in [
        ("a red kite above", "t2i", 0),
        ("dropped-edit", "image_edit", 1),
        ("result-edit", "image_edit", 2),
        ("left-alone", "t2i", 0),
        ("a kite rises", "i2v", 1),
    ] {
        let jobs = jobs(text);
        assert_eq!(jobs.len(), 1, "{text}: drawn once");
        assert_eq!((jobs[0].chat_type.as_str(), jobs[0].files.len()), (kind, files), "{text}");
    }
    assert_eq!(jobs("a red kite above")[0].size.as_deref(), Some("16:9"));
    assert!(jobs("not sent").is_empty() && jobs("in itself").is_empty());
    assert_eq!(fake.violations(""), [""; 0]);
}

pub async fn foreign_pages_have_no_access_without_keys(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[("VALID_TOKENS", "")]).await;
    let output = run("stranger.mjs", &[("BASE_URL", &server.url)]).await;
    assert!(output.lines().filter(|line| line.starts_with("ok ")).count() > 60, "{output}");
    assert!(fake.requests_containing("from a stranger").is_empty());
    assert!(!fake.requests_containing("from its own page").is_empty());
    assert!(!fake.requests_containing("from the console itself").is_empty());
}

/// Runs a script of `tests/browser`; returns its standard output.
async fn run(script: &str, settings: &[(&str, &str)]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let run = Command::new("node")
        .arg(root.join("tests/browser").join(script))
        .current_dir(root)
        .envs(settings.iter().copied())
        .kill_on_drop(true)
        .output();
    let output = timeout(Duration::from_secs(280), run).await.expect("the script does not end").expect("node starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    stdout.into_owned()
}
