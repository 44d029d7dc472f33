//! The web pages over HTTP; `browser.rs` opens them in a browser.

use std::sync::Arc;

use crate::{Product, server::Case};

const BROWSER: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");

fn file(path: &str) -> Vec<u8> {
    std::fs::read(format!("{}/web{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

pub async fn pages_are_served_with_csp_and_gzip(case: Arc<Case>) {
    let server = case.server().await;
    for (path, name, media_type) in [
        ("/", "/index.html", "text/html; charset=utf-8"),
        ("/docs", "/docs.html", "text/html; charset=utf-8"),
        ("/openapi.json", "/openapi.json", "application/json"),
        ("/assets/vendor/swagger-ui.css", "/assets/vendor/swagger-ui.css", "text/css; charset=utf-8"),
        ("/assets/vendor/marked.esm.js", "/assets/vendor/marked.esm.js", "text/javascript; charset=utf-8"),
    ] {
        let page = server.http.send("GET", path, &[BROWSER], "").await;
        assert_eq!((page.status.as_u16(), page.header("content-type")), (200, Some(media_type)), "{path}");
        assert!(page.body == file(name), "{path} is not its file");
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(policy.contains("img-src 'self' data: blob:; media-src 'self' blob:;"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));

        let compressed = server.http.send("GET", path, &[BROWSER, ("accept-encoding", "gzip, br")], "").await;
        if case.product == Product::Native {
            // Cloudflare compresses the responses of Workers.
            assert_eq!(compressed.header("content-encoding"), Some("gzip"), "{path}");
            assert!(compressed.body.starts_with(b"\x1f\x8b") && compressed.body.len() < 600_000, "{path}");
        }
        let head = server.http.send("HEAD", path, &[BROWSER], "").await;
        assert!(head.status == 200 && head.body.is_empty(), "{head:?}");
    }
    let program = server.get("/").await;
    assert_eq!(program.json()["docs"], "/docs");
}

pub async fn a_matching_etag_returns_304(case: Arc<Case>) {
    let server = case.server().await;
    let page = server.get("/docs").await;
    let etag = page.header("etag").unwrap();
    let again = server.http.send("GET", "/docs", &[("if-none-match", etag)], "").await;
    assert!(again.status == 304 && again.body.is_empty() && again.header("etag") == Some(etag), "{again:?}");
    let other = server.http.send("GET", "/docs", &[("if-none-match", "\"other\"")], "").await;
    assert!(other.status == 200 && other.body == page.body, "{other:?}");
}

pub async fn unlisted_paths_are_not_served(case: Arc<Case>) {
    let server = case.server().await;
    for path in [
        "/index.html",
        "/docs.html",
        "/_headers",
        "/assets/_headers",
        "/assets/",
        "/assets/nothing.js",
        "/assets/vendor",
        "/assets/..%2fopenapi.json",
        "/assets/%2e%2e/_headers",
        "/assets/..%5c..%5cCargo.toml",
        "/assets//etc/passwd",
        "/v1/docs",
    ] {
        server.get(path).await.error(404, "not_found");
    }
    server.http.send("POST", "/docs", &[], "").await.error(405, "method_not_allowed");
}
