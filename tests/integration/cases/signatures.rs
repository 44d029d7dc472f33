//! The fake storage accepts what the program signs and rejects it with any bit flipped.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use qwen_edge::{
    oss::{Credentials, Scope, Signable, UNSIGNED_PAYLOAD, escape, escape_path},
    secret::Secret,
};
use serde_json::{Value, json};

use crate::{fake_qwen::Fake, server::Case};

struct Storage {
    client: Client<HttpConnector, Full<Bytes>>,
    origin: String,
}

impl Storage {
    /// Sends a request; returns status and body, or `None` when the request is not valid HTTP.
    async fn send(&self, method: &str, path: &str, headers: &[(String, Vec<u8>)], body: &str) -> Option<(u16, String)> {
        let mut request = Request::new(Full::new(Bytes::from(body.to_owned())));
        *request.method_mut() = Method::from_bytes(method.as_bytes()).ok()?;
        *request.uri_mut() = format!("{}{path}", self.origin).parse().ok()?;
        for (name, value) in headers {
            request
                .headers_mut()
                .insert(HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_bytes(value).ok()?);
        }
        let answer = self.client.request(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        Some((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

/// Copies of `text` with the lowest bit of one byte flipped, one for each byte.
fn with_one_bit_flipped(text: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..text.len()).map(|at| {
        let mut other = text.to_vec();
        other[at] ^= 1;
        other
    })
}

pub async fn the_fake_storage_rejects_any_flipped_bit(_: Arc<Case>) {
    let fake = Fake::start();
    let storage = Storage { client: Client::builder(TokioExecutor::new()).build_http(), origin: fake.url() };
    let cookie = format!("token={}", Fake::token("signer", 3600)).into_bytes();
    let upload = json!({ "filename": "a b+%\u{4e2d}.png", "filesize": 5, "filetype": "image" }).to_string();
    let headers = [("cookie".to_owned(), cookie), ("content-type".to_owned(), b"application/json".to_vec())];
    let (_, granted) = storage.send("POST", "/api/v2/files/getstsToken", &headers, &upload).await.unwrap();
    let granted: Value = serde_json::from_str(&granted).unwrap();
    let field = |name: &str| granted["data"][name].as_str().unwrap().to_owned();
    let (bucket, key, token) = (field("bucketname"), field("file_path"), field("security_token"));
    let credentials = Credentials {
        access_key_id: field("access_key_id"),
        access_key_secret: Secret::new(field("access_key_secret")),
    };
    // The link contains the current time of the fake.
    let time = field("file_url").split_once("x-oss-date=").unwrap().1[..16].to_owned();
    let region = field("region").replace("oss-", "");
    let signed = |method: &str, query: &[(&str, Option<&str>)]| {
        let plain = [
            ("content-type", "image/png"),
            ("x-oss-content-sha256", UNSIGNED_PAYLOAD),
            ("x-oss-date", time.as_str()),
            ("x-oss-security-token", token.as_str()),
        ];
        let signable = Signable { method, bucket: &bucket, key: &key, query, headers: &plain, additional_headers: &[] };
        let authorization = signable.authorization(&credentials, Scope { region: &region, time: &time });
        let plain = plain.into_iter().chain([("authorization", authorization.as_str())]);
        plain.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).collect::<Vec<_>>()
    };
    let path = format!("/{}", escape_path(&key));
    let (status, initiated) =
        storage.send("POST", &format!("{path}?uploads"), &signed("POST", &[("uploads", None)]), "").await.unwrap();
    assert_eq!(status, 200, "{initiated}");
    let upload_id = initiated.split_once("<UploadId>").unwrap().1.split_once('<').unwrap().0.to_owned();
    let query = [("partNumber", Some("1")), ("uploadId", Some(upload_id.as_str()))];
    let raw_query = format!("partNumber=1&uploadId={}", escape(&upload_id));

    let mut refused = 0;
    for (method, query, raw_query) in
        [("PUT", &query[..], format!("?{raw_query}")), ("PUT", &query[..0], String::new())]
    {
        let good = signed(method, query);
        let target = format!("{path}{raw_query}");
        let expect_refusal = async |what: &str, method: &str, target: &str, headers: &[(String, Vec<u8>)]| {
            let Some((status, answer)) = storage.send(method, target, headers, "hello").await else { return 0 };
            assert!((400..500).contains(&status), "{what} {status} {method} {target}: {answer}");
            1
        };
        for (at, (name, value)) in good.iter().enumerate() {
            for other in with_one_bit_flipped(value) {
                let mut headers = good.clone();
                headers[at].1 = other;
                refused += expect_refusal(name, method, &target, &headers).await;
            }
            let mut headers = good.clone();
            headers.remove(at);
            refused += expect_refusal(&format!("without {name}"), method, &target, &headers).await;
        }
        for other in with_one_bit_flipped(target.as_bytes()).filter_map(|other| String::from_utf8(other).ok()) {
            // `%2B` and `%2b` are the same character.
            let is_same = other.eq_ignore_ascii_case(&target);
            if other.starts_with('/') && !other.contains(['#', ' ']) && !is_same {
                refused += expect_refusal("target", method, &other, &good).await;
            }
        }
        for other in ["POST", "GET", "DELETE"] {
            refused += expect_refusal("method", other, &target, &good).await;
        }
        let more = if target.contains('?') { "&x-oss-process=x" } else { "?x-oss-process=x" };
        refused += expect_refusal("query", method, &format!("{target}{more}"), &good).await;
        assert!(fake.objects().is_empty());
        let (status, answer) = storage.send(method, &target, &good, "hello").await.unwrap();
        assert_eq!(status, 200, "an intact signature is accepted: {answer}");
    }
    assert!(refused > 500, "{refused}");
}
