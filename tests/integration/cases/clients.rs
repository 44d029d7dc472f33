//! The official SDKs and the libraries that are built on them. Each script has its own cases and prints which of them failed.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::process::Command;

use super::images::drawing;
use crate::{
    fake_compatible::Compatible,
    fake_qwen::Fake,
    server::{Case, KEY, SHORT_IDLE, Server},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

async fn run(case: &Case, program: &str, script: &str) {
    let server = case.start(&[]).await;
    // A challenge blocks the server and the account, so this case gets its own server and fake.
    let challenging_fake = Fake::start();
    let challenged = case.start_with(&challenging_fake, &[]).await;
    // A refused session is not tried again for a while, so this one is of an account of its own.
    let ended = case.start(&[]).await;
    let sessionless = case.start(&[("QWEN_COOKIES", "")]).await;
    let impatient = case.start(&[SHORT_IDLE]).await;
    let mut command = command(program, script, &server);
    command
        .env("CHALLENGED_URL", format!("{}/v1", challenged.url))
        .env("ENDED_URL", format!("{}/v1", ended.url))
        .env("SESSIONLESS_URL", format!("{}/v1", sessionless.url))
        .env("HASTY_URL", format!("{}/v1", impatient.url))
        // The setting of the server: the scripts then require comment lines.
        .env("HEARTBEAT_SECONDS", "1");
    succeed(command, 11).await;
}

fn command(program: &str, script: &str, server: &Server) -> Command {
    let mut command = Command::new(program);
    command
        .arg(Path::new(ROOT).join("tests/clients").join(script))
        .current_dir(ROOT)
        .env("BASE_URL", format!("{}/v1", server.url))
        .env("API_KEY", KEY)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Runs a script, which prints `ok` for at least `cases` cases and `FAILED` for none.
async fn succeed(mut command: Command, cases: usize) {
    let output = command.output().await.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.lines().filter(|line| line.starts_with("ok ")).count() >= cases, "{stdout}");
}

/// Runs a script that talks to the fake site too: it sets the answers there, and reads what the model was asked.
async fn run_with_tools(case: &Case, program: &str, script: &str, cases: usize) {
    let server = case.start(&[]).await;
    let mut command = command(program, script, &server);
    command.env("SITE_URL", case.fake.url());
    succeed(command, cases).await;
}

pub(super) fn python() -> String {
    std::env::var("QWEN_EDGE_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

/// The one beside [`python`] that has instructor, whose requirements exclude those of the other libraries.
fn python_of_instructor() -> String {
    let mut folder = PathBuf::from(python()).parent().and_then(Path::parent).map_or_else(PathBuf::new, Path::to_owned);
    folder.as_mut_os_string().push("-instructor");
    folder.join("bin/python").to_str().unwrap().to_owned()
}

pub async fn openai_python(case: Arc<Case>) {
    run(&case, &python(), "openai_python.py").await;
}

pub async fn anthropic_python(case: Arc<Case>) {
    run(&case, &python(), "anthropic_python.py").await;
}

pub async fn openai_node(case: Arc<Case>) {
    run(&case, "node", "openai_node.mjs").await;
}

pub async fn tools_of_openai_python(case: Arc<Case>) {
    run_with_tools(&case, &python(), "tools_openai.py", 16).await;
}

pub async fn tools_of_openai_node(case: Arc<Case>) {
    run_with_tools(&case, "node", "tools_openai.mjs", 9).await;
}

pub async fn langchain(case: Arc<Case>) {
    run_with_tools(&case, &python(), "tools_langchain.py", 8).await;
}

pub async fn langchain_anthropic(case: Arc<Case>) {
    run_with_tools(&case, &python(), "tools_langchain_anthropic.py", 10).await;
}

pub async fn pydantic_ai(case: Arc<Case>) {
    run_with_tools(&case, &python(), "tools_pydantic_ai.py", 10).await;
}

pub async fn instructor(case: Arc<Case>) {
    run_with_tools(&case, &python_of_instructor(), "tools_instructor.py", 6).await;
}

pub async fn ai_sdk(case: Arc<Case>) {
    run_with_tools(&case, "node", "tools_ai_sdk.mjs", 27).await;
}

/// Runs a script of the Responses API.
async fn run_responses(case: &Case, program: &str, script: &str, cases: usize) {
    let server = case.start(&[]).await;
    succeed(command(program, script, &server), cases).await;
}

pub async fn responses_of_openai_python(case: Arc<Case>) {
    run_responses(&case, &python(), "responses_openai.py", 26).await;
}

pub async fn responses_of_openai_node(case: Arc<Case>) {
    run_responses(&case, "node", "responses_openai.mjs", 7).await;
}

pub async fn responses_of_agents_and_langchain(case: Arc<Case>) {
    run_responses(&case, &python(), "responses_agents.py", 8).await;
}

pub async fn responses_of_the_ai_sdk(case: Arc<Case>) {
    run_responses(&case, "node", "responses_ai_sdk.mjs", 4).await;
}

/// Runs a script that draws or films: its own site, so that nobody else's pictures count.
async fn run_drawing(case: &Case, program: &str, script: &str, cases: usize) {
    let (fake, server) = drawing(case, &[]).await;
    let mut command = command(program, script, &server);
    command.env("SITE_URL", fake.url());
    succeed(command, cases).await;
    assert_eq!(fake.violations(""), [""; 0]);
}

pub async fn pictures_of_openai_python(case: Arc<Case>) {
    run_drawing(&case, &python(), "images_openai.py", 32).await;
}

pub async fn pictures_of_openai_node(case: Arc<Case>) {
    run_drawing(&case, "node", "images_openai.mjs", 9).await;
}

pub async fn pictures_of_the_ai_sdk(case: Arc<Case>) {
    run_drawing(&case, "node", "images_ai_sdk.mjs", 5).await;
}

pub async fn pictures_of_chat_programs(case: Arc<Case>) {
    run_drawing(&case, "node", "images_apps.mjs", 12).await;
}

pub async fn videos_of_openai_python(case: Arc<Case>) {
    run_drawing(&case, &python(), "videos_openai.py", 14).await;
}

pub async fn videos_of_openai_node(case: Arc<Case>) {
    run_drawing(&case, "node", "videos_openai.mjs", 6).await;
}

/// Runs cases of a script with the second upstream alone: no session, and the site has nothing to say. Left out are those about
/// the site's chats, files, refusals and prompts.
async fn run_with_second(case: &Case, script: &str, names: &[&str], cases: usize) {
    let second = Compatible::start();
    let settings = [("FALLBACK_ON", "always"), ("QWEN_COOKIES", "")];
    let server = case.start_with_second(&case.fake, &second, &settings).await;
    let mut command = command(&python(), script, &server);
    command.args(names).env("SITE_URL", second.origin()).env("SECOND_UPSTREAM", "1").env("HEARTBEAT_SECONDS", "1");
    succeed(command, cases).await;
    assert_eq!(second.violations(), [""; 0]);
}

pub async fn second_upstream_with_openai_python(case: Arc<Case>) {
    let names = [
        "models_list",
        "models_retrieve",
        "plain",
        "no_thinking",
        "stream",
        "stream_without_usage",
        "stream_helper",
        "heartbeat",
        "limit",
        "wrong_fields",
        "keys",
        "unknown_routes",
        "all_parameters",
        "roles",
        "request_id",
        "parallel",
    ];
    run_with_second(&case, "openai_python.py", &names, 2 * names.len()).await;
}

pub async fn second_upstream_with_tools_of_openai_python(case: Arc<Case>) {
    let names = [
        "tools_whole",
        "tools_streamed",
        "no_call_needed",
        "stream_helper",
        "custom_tool",
        "legacy_functions",
        "parsed_model",
        "streamed_model",
        "json_object",
        "tools_and_a_model",
        "synchronous_client",
    ];
    run_with_second(&case, "tools_openai.py", &names, names.len()).await;
}

/// The runner of tools is left out: it sends the results alone, which only the site's chat can go on from.
pub async fn second_upstream_with_anthropic_python(case: Arc<Case>) {
    let names = [
        "models_list",
        "models_retrieve",
        "plain",
        "no_thinking",
        "stream_helper",
        "stream_events",
        "heartbeat",
        "stop",
        "limit",
        "tools",
        "forced_tool",
        "parse",
        "count_tokens",
        "wrong_fields",
        "keys",
    ];
    run_with_second(&case, "anthropic_python.py", &names, 2 * names.len()).await;
}

pub async fn second_upstream_with_langchain(case: Arc<Case>) {
    let names = [
        "bind_tools",
        "bind_tools_streamed",
        "tool_choice",
        "structured_function_calling",
        "structured_json_mode",
        "structured_json_schema",
        "structured_streams",
    ];
    run_with_second(&case, "tools_langchain.py", &names, names.len()).await;
    let names = ["plain", "bind_tools", "tool_choice", "structured_function_calling", "structured_json_schema"];
    run_with_second(&case, "tools_langchain_anthropic.py", &names, names.len()).await;
}
