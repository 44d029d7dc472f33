//! Every vector in `tests/oss_vectors`. The official SDKs made them.

use serde_json::Value as Json;

use super::*;
use crate::secret::Secret;

fn vectors(group: &str) -> Vec<Json> {
    let all: Json = serde_json::from_str(include_str!("../../tests/oss_vectors/vectors.json")).unwrap();
    let vectors = all[group].as_array().unwrap().clone();
    assert!(vectors.len() >= 10);
    vectors
}

fn text<'a>(vector: &'a Json, name: &str) -> &'a str {
    vector[name].as_str().unwrap_or_else(|| panic!("{name}: {vector}"))
}

fn credentials(vector: &Json) -> Credentials {
    Credentials {
        access_key_id: text(vector, "access_key_id").to_owned(),
        access_key_secret: Secret::new(text(vector, "access_key_secret")),
    }
}

fn scope(vector: &Json) -> Scope<'_> {
    Scope { region: text(vector, "region"), time: text(vector, "time") }
}

fn pairs(list: &Json) -> Vec<(&str, Option<&str>)> {
    list.as_array().unwrap().iter().map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str())).collect()
}

fn headers(list: &Json) -> Vec<(&str, &str)> {
    pairs(list).into_iter().map(|(name, value)| (name, value.unwrap())).collect()
}

fn names(list: &Json) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

/// Returns the request of a vector without its query and headers.
fn bare(vector: &Json) -> Signable<'_> {
    Signable {
        method: text(vector, "method"),
        bucket: text(vector, "bucket"),
        key: text(vector, "key"),
        query: &[],
        headers: &[],
        additional_headers: &[],
    }
}

#[test]
fn header_signatures_equal_the_sdks() {
    for vector in vectors("header") {
        let (query, additional) = (pairs(&vector["query"]), names(&vector["additional_headers"]));
        let mut all = headers(&vector["headers"]);
        all.extend([("x-oss-date", text(&vector, "time")), ("x-oss-content-sha256", UNSIGNED_PAYLOAD)]);
        all.extend(vector["security_token"].as_str().map(|token| ("x-oss-security-token", token)));
        let signable = Signable { query: &query, headers: &all, additional_headers: &additional, ..bare(&vector) };
        let (name, expected) = (text(&vector, "name"), &vector["expected"]);
        assert_eq!(signable.canonical_request(), text(expected, "canonical_request"), "{name}");
        assert_eq!(signable.string_to_sign(scope(&vector)), text(expected, "string_to_sign"), "{name}");
        let authorization = signable.authorization(&credentials(&vector), scope(&vector));
        assert_eq!(authorization, text(expected, "authorization"), "{name}");
    }
}

#[test]
fn query_signatures_equal_the_sdks() {
    for vector in vectors("query") {
        let (query, all) = (pairs(&vector["query"]), headers(&vector["headers"]));
        let additional = names(&vector["additional_headers"]);
        let signable = Signable { query: &query, headers: &all, additional_headers: &additional, ..bare(&vector) };
        let expires = vector["expires"].as_u64().unwrap();
        let token = vector["security_token"].as_str();
        let signed = signable.presigned_query(&credentials(&vector), scope(&vector), expires, token);
        assert_eq!(signed, text(&vector["expected"], "url_query"), "{}", text(&vector, "name"));
    }
}

#[test]
fn policy_signatures_equal_the_sdks() {
    for vector in vectors("policy") {
        let signature = policy_signature(&credentials(&vector), scope(&vector), text(&vector, "policy_base64"));
        assert_eq!(signature, text(&vector["expected"], "signature"), "{}", text(&vector, "name"));
    }
}

#[test]
fn every_signed_part_changes_the_signature() {
    let base = Signable {
        method: "PUT",
        bucket: "b",
        key: "k",
        query: &[("q", Some("1"))],
        headers: &[("content-type", "text/plain"), ("x-oss-date", "20260922T041335Z"), ("host", "h")],
        additional_headers: &["host"],
    };
    let scope = Scope { region: "r", time: "20260922T041335Z" };
    let secret = |secret: &str| Credentials { access_key_id: "a".to_owned(), access_key_secret: Secret::new(secret) };
    let signature = base.authorization(&secret("s"), scope);
    for other in [
        Signable { method: "GET", ..base },
        Signable { bucket: "c", ..base },
        Signable { key: "l", ..base },
        Signable { query: &[("q", Some("2"))], ..base },
        Signable { query: &[], ..base },
        Signable {
            headers: &[("content-type", "text/html"), ("x-oss-date", "20260922T041335Z"), ("host", "h")],
            ..base
        },
        Signable {
            headers: &[("content-type", "text/plain"), ("x-oss-date", "20260922T041335Z"), ("host", "i")],
            ..base
        },
    ] {
        assert_ne!(other.authorization(&secret("s"), scope), signature);
    }
    assert_ne!(base.authorization(&secret("t"), scope), signature);
    assert_ne!(base.authorization(&secret("s"), Scope { region: "x", ..scope }), signature);
    assert_ne!(base.authorization(&secret("s"), Scope { time: "20260922T041336Z", ..scope }), signature);
    let ignored = [("content-type", "text/plain"), ("x-oss-date", "20260922T041335Z"), ("host", "h"), ("accept", "x")];
    assert_eq!(Signable { headers: &ignored, ..base }.authorization(&secret("s"), scope), signature);
}
