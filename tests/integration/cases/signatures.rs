//! What the program signs, and a storage that looks closely: one bit off anywhere, and it is refused.

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
    /// The status of an answer; `None` when the request cannot even be written.
    async fn ask(&self, method: &str, path: &str, headers: &[(String, Vec<u8>)], body: &str) -> Option<(u16, String)> {
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

/// A text with one bit of one byte changed, for each byte.
fn flipped(text: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..text.len()).map(|at| {
        let mut other = text.to_vec();
        other[at] ^= 1;
        other
    })
}

pub async fn one_bit_off_and_the_storage_refuses(_: Arc<Case>) {
    let fake = Fake::start();
    let storage = Storage { client: Client::builder(TokioExecutor::new()).build_http(), origin: fake.url() };
    let cookie = format!("token={}", Fake::token("signer", 3600)).into_bytes();
    let asked = json!({ "filename": "a b+%\u{4e2d}.png", "filesize": 5, "filetype": "image" }).to_string();
    let headers = [("cookie".to_owned(), cookie), ("content-type".to_owned(), b"application/json".to_vec())];
    let (_, ticket) = storage.ask("POST", "/api/v2/files/getstsToken", &headers, &asked).await.unwrap();
    let ticket: Value = serde_json::from_str(&ticket).unwrap();
    let told = |name: &str| ticket["data"][name].as_str().unwrap().to_owned();
    let (bucket, key, token) = (told("bucketname"), told("file_path"), told("security_token"));
    let credentials =
        Credentials { access_key_id: told("access_key_id"), access_key_secret: Secret::new(told("access_key_secret")) };
    // The link was signed just now.
    let time = told("file_url").split_once("x-oss-date=").unwrap().1[..16].to_owned();
    let region = told("region").replace("oss-", "");
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
    let (status, begun) =
        storage.ask("POST", &format!("{path}?uploads"), &signed("POST", &[("uploads", None)]), "").await.unwrap();
    assert_eq!(status, 200, "{begun}");
    let upload = begun.split_once("<UploadId>").unwrap().1.split_once('<').unwrap().0.to_owned();
    let query = [("partNumber", Some("1")), ("uploadId", Some(upload.as_str()))];
    let written = format!("partNumber=1&uploadId={}", escape(&upload));

    let mut refused = 0;
    for (method, query, written) in [("PUT", &query[..], format!("?{written}")), ("PUT", &query[..0], String::new())] {
        let good = signed(method, query);
        let target = format!("{path}{written}");
        let refuse = async |what: &str, method: &str, target: &str, headers: &[(String, Vec<u8>)]| {
            let Some((status, answer)) = storage.ask(method, target, headers, "hello").await else { return 0 };
            assert!((400..500).contains(&status), "{what} {status} {method} {target}: {answer}");
            1
        };
        for (at, (name, value)) in good.iter().enumerate() {
            for other in flipped(value) {
                let mut headers = good.clone();
                headers[at].1 = other;
                refused += refuse(name, method, &target, &headers).await;
            }
            let mut headers = good.clone();
            headers.remove(at);
            refused += refuse(&format!("without {name}"), method, &target, &headers).await;
        }
        for other in flipped(target.as_bytes()).filter_map(|other| String::from_utf8(other).ok()) {
            // `%2B` and `%2b` are the same character.
            let is_same = other.eq_ignore_ascii_case(&target);
            if other.starts_with('/') && !other.contains(['#', ' ']) && !is_same {
                refused += refuse("target", method, &other, &good).await;
            }
        }
        for other in ["POST", "GET", "DELETE"] {
            refused += refuse("method", other, &target, &good).await;
        }
        let more = if target.contains('?') { "&x-oss-process=x" } else { "?x-oss-process=x" };
        refused += refuse("query", method, &format!("{target}{more}"), &good).await;
        assert!(fake.objects().is_empty());
        let (status, answer) = storage.ask(method, &target, &good, "hello").await.unwrap();
        assert_eq!(status, 200, "what is signed well is taken: {answer}");
    }
    assert!(refused > 500, "{refused}");
}
