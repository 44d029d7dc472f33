//! Compressed bodies and files.

use std::{io::Write as _, sync::Arc};

use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};
use serde_json::json;

use super::{answer, send_raw};
use crate::{
    Product,
    cases::files::fixture,
    fake_qwen::{Fake, Page},
    form::Form,
    http::chat,
    server::{Case, Server, unique},
};

fn compressed(coding: &str, content: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" | "x-gzip" | "GZIP" => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        }
        "raw deflate" => {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        }
        "zstd" => zstd::encode_all(content, 3).unwrap(),
        _ => content.to_vec(),
    }
}

pub async fn compressed_bodies_are_decoded_within_the_size_limit(case: Arc<Case>) {
    let fake = Fake::start();
    let server = case.start_with(&fake, &[("ADMIN_TOKEN", "an-administrators-key")]).await;
    let body = chat("hello").to_string();
    for (header, coding) in [
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("GZIP", "gzip"),
        ("deflate", "deflate"),
        ("deflate", "raw deflate"),
        ("zstd", "zstd"),
        ("identity", "identity"),
        ("", "identity"),
        ("identity, gzip", "gzip"),
    ] {
        let reply = send_raw(&server, &[("content-encoding", header)], compressed(coding, body.as_bytes())).await;
        assert_eq!(answer(&reply), "hello", "{header}");
    }
    for header in ["br", "compress", "gzip, gzip", "aes128gcm"] {
        let reply = send_raw(&server, &[("content-encoding", header)], body.clone()).await;
        let message = reply.error(415, "unsupported_encoding")["message"].to_string();
        assert!(message.contains(header) && message.contains("zstd"), "{message}");
    }
    // Declared as compressed, but plain or truncated.
    for coding in ["gzip", "deflate", "zstd"] {
        let whole = compressed(coding, body.as_bytes());
        for bytes in [body.as_bytes(), &whole[..whole.len() / 2], b""] {
            let reply = send_raw(&server, &[("content-encoding", coding)], bytes.to_vec()).await;
            assert_eq!(reply.status, 400, "{coding}: {reply:?}");
        }
        // A decompression bomb: decoded, it exceeds the size limit.
        let bomb = compressed(coding, &vec![b' '; 40 << 20]);
        assert!(bomb.len() < 100_000);
        send_raw(&server, &[("content-encoding", coding)], bomb).await.error(413, "request_too_large");
    }
    assert_eq!(server.get("/health").await.status, 200);
    // The other routes with a body.
    let body = json!({ "filename": "a.png", "filesize": 3, "filetype": "image" }).to_string();
    let headers = [Server::auth_headers()[0], ("content-encoding", "gzip")];
    let reply = server.http.send("POST", "/v2/files/getstsToken", &headers, compressed("gzip", body.as_bytes())).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let token = json!({ "token": Fake::token(&unique("packed"), 900) }).to_string();
    let admin = [("authorization", "Bearer an-administrators-key"), ("content-encoding", "zstd")];
    let reply = server.http.send("PUT", "/admin/session", &admin, compressed("zstd", token.as_bytes())).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    for coding in ["gzip", "deflate", "zstd"] {
        let name = format!("{coding}.jpg");
        let (content_type, form) =
            Form::new().text("purpose", "vision").file("file", &name, None, fixture("jfif.jpg")).body();
        let headers =
            [Server::auth_headers()[0], ("content-type", content_type.as_str()), ("content-encoding", coding)];
        let reply = server.http.send("POST", "/v1/files", &headers, compressed(coding, &form)).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["bytes"]),
            (200, &json!(fixture("jfif.jpg").len())),
            "{reply:?}"
        );
        let broken = compressed(coding, &form);
        let reply = server.http.send("POST", "/v1/files", &headers, broken[..broken.len() - 9].to_vec()).await;
        assert_eq!(reply.status, 400, "{coding}: {reply:?}");
    }
}

pub async fn compressed_linked_files_are_decoded(case: Arc<Case>) {
    let fake = Arc::new(Fake::start());
    let server = case.start_with(&fake, &[("ALLOW_PRIVATE_URLS", "true"), ("MAX_IMAGE_BYTES", "300000")]).await;
    let png = fixture("truecolor.png");
    let link = |name: &str| {
        json!({ "model": "qwen3-vl-plus", "messages": [{ "role": "user", "content": [
            { "type": "text", "text": "[[fake files=1]]" }, { "type": "image_url", "image_url": { "url": fake.web_url(name) } }] }] })
    };
    for (name, header, coding) in [
        ("plain.png", "identity", "identity"),
        ("gzip.png", "gzip", "gzip"),
        ("deflate.png", "deflate", "deflate"),
        ("raw.png", "deflate", "raw deflate"),
    ] {
        // Different content, or the previous upload is reused.
        let content = [&png[..], name.as_bytes()].concat();
        fake.serve_page(name, Page::new("image/png", compressed(coding, &content)).header("content-encoding", header));
        let reply_text = answer(&server.chat(&link(name)).await);
        assert!(reply_text.starts_with(&format!("image {name} {} ", content.len())), "{name}: {reply_text}");
        let headers = fake.web_request_headers(name);
        if case.product == Product::Native {
            assert!(headers.contains(&("accept-encoding".to_owned(), "identity".to_owned())), "{headers:?}");
        }
    }
    fake.serve_page("odd.png", Page::new("image/png", png.clone()).header("content-encoding", "aes128gcm"));
    server.chat(&link("odd.png")).await.error(400, "invalid_request");
    let cut = compressed("gzip", &png);
    fake.serve_page(
        "cut.png",
        Page::new("image/png", cut[..cut.len() - 12].to_vec()).header("content-encoding", "gzip"),
    );
    assert_eq!(server.chat(&link("cut.png")).await.status, 400);
    // The size limit applies to the decoded file.
    let large = [&png[..], &vec![0; 400_000]].concat();
    fake.serve_page("large.png", Page::new("image/png", compressed("gzip", &large)).header("content-encoding", "gzip"));
    server.chat(&link("large.png")).await.error(413, "request_too_large");
}
