//! The OpenAPI document against the running server: schemathesis (<https://schemathesis.readthedocs.io>) sends requests that the
//! document allows and forbids, and compares each response with it.

use std::{sync::Arc, time::Duration};

use tokio::{process::Command, time::timeout};

use super::images::LOOPBACK;
use crate::{
    Product,
    fake_qwen::{Fake, encoded},
    server::{Case, KEY, Server},
};

const ADMIN: &str = "admin-key";
/// Reports server errors and undocumented statuses, fields and media types.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,missing_required_header,unsupported_method,allow_header_conformance";

async fn schemathesis(server: &Server, key: &str, phases: &str, paths: &[&str]) {
    let python = std::env::var("QWEN_EDGE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let folder = tempfile::tempdir().unwrap();
    let run = Command::new(python)
        .args(["-m", "schemathesis.cli", "run"])
        .arg(format!("{}/openapi.json", server.url))
        .args(["--header", &format!("Authorization: Bearer {key}"), "--checks", CHECKS, "--phases", phases])
        .args(["--max-examples", "25", "--seed", "1", "--workers", "1", "--request-timeout", "30"])
        .args(["--generation-database", "none", "--no-color", "--continue-on-failure"])
        .args(paths)
        .current_dir(folder.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .kill_on_drop(true)
        .output();
    let output =
        timeout(Duration::from_secs(900), run).await.expect("schemathesis does not end").expect("schemathesis starts");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(report.contains("Test cases:"), "{report}");
}

pub async fn responses_conform_to_the_openapi_document(case: Arc<Case>) {
    let fake = Fake::start();
    // What is to be JSON is: else it would be a server error.
    fake.set_directive("JSON object", &format!("say={}", encoded("{}")));
    // The storage of the fake, where pictures are, is on this machine.
    let server = case.start_with(&fake, &[("ADMIN_TOKEN", ADMIN), LOOPBACK]).await;
    // The coverage phase sends thousands of requests; one product is enough, because the same code answers on both.
    let phases = match case.product {
        Product::Native => "examples,coverage,fuzzing",
        Product::Worker => "examples,fuzzing",
    };
    schemathesis(&server, KEY, phases, &["--exclude-path-regex", "^/admin"]).await;
    schemathesis(&server, ADMIN, phases, &["--include-path-regex", "^/admin"]).await;
}
