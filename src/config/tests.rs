//! What the variables mean, and that the documents name all of them.

use std::{cell::RefCell, collections::BTreeSet};

use super::*;

fn config(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_lookup(
        |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()),
        Product::NATIVE,
    )
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = config(&[]).unwrap();
    assert_eq!(config.base_url, "https://chat.qwen.ai");
    assert_eq!(config.auth_url, "https://auth.qwen.ai");
    assert_eq!(config.web_version, "0.3.12");
    assert_eq!(config.default_model, "qwen3-max");
    assert_eq!((config.host, config.port), (IpAddr::from([127, 0, 0, 1]), 8000));
    assert_eq!(config.database_path, "data/qwen-edge.db");
    assert_eq!(config.heartbeat, Duration::from_secs(15));
    assert_eq!(config.first_byte, Duration::from_secs(10));
    assert_eq!(config.upstream_idle, Duration::from_secs(120));
    assert_eq!(config.conversation_ttl, Duration::from_secs(30 * 24 * 60 * 60));
    assert_eq!((config.media_text_model.as_str(), config.max_images), ("qwen3-max", 4));
    assert_eq!((config.media_ttl, config.video_timeout), (Duration::from_secs(3600), Duration::from_secs(900)));
    assert_eq!(config.max_image_bytes, 10 * MIB);
    assert_eq!(config.max_file_bytes, 500 * MIB);
    assert!(config.valid_tokens.is_empty() && !config.allow_anonymous && !config.bearer);
}

#[test]
fn a_session_is_read_however_it_was_copied() {
    const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJpZCI6InUifQ.c2ln";
    let jar = format!("cna=1; token={TOKEN}");
    let list = format!(r#"[{{"name":"cna","value":"1","domain":".qwen.ai"}},{{"name":"token","value":"{TOKEN}"}}]"#);
    let file = format!(".qwen.ai\tTRUE\t/\tTRUE\t0\tcna\t1\n.qwen.ai\tTRUE\t/\tTRUE\t0\ttoken\t{TOKEN}");
    for name in ["QWEN_COOKIES", "QWEN_AUTH_TOKEN"] {
        for (value, cookies, token) in [
            (jar.clone(), Some(&*jar), None),
            (format!("Cookie: {jar}"), Some(&*jar), None),
            (format!("'{jar}'"), Some(&*jar), None),
            (format!("Cookie: token={TOKEN}"), Some(&*format!("token={TOKEN}")), None),
            (list.clone(), Some(&*jar), None),
            (file.clone(), Some(&*jar), None),
            (format!("curl 'https://chat.qwen.ai/' -b '{jar}'"), Some(&*jar), None),
            (TOKEN.to_owned(), None, Some(TOKEN)),
            (format!("Bearer {TOKEN}"), None, Some(TOKEN)),
            (format!("token={TOKEN}"), Some(&*format!("token={TOKEN}")), None),
            (format!("\"{TOKEN}\""), None, Some(TOKEN)),
        ] {
            let config = config(&[(name, &value)]).unwrap();
            let read = (config.cookies.as_ref().map(Secret::expose), config.auth_token.as_ref().map(Secret::expose));
            assert_eq!(read, (cookies, token), "{name}={value}");
        }
        for value in ["cna=1; isg=2", "hello world", "curl 'https://evil.example/' -b 'token=abcdefgh'", "[]", "{}"] {
            let error = config(&[(name, value)]).unwrap_err();
            assert_eq!(error.name, name, "{value}");
        }
    }
    let both = config(&[("QWEN_COOKIES", "cna=1; isg=2"), ("QWEN_AUTH_TOKEN", TOKEN)]).unwrap();
    assert_eq!(both.cookies.unwrap().expose(), "cna=1; isg=2", "the other variable has the token");
    let copied = config(&[("QWEN_COOKIES", "curl 'https://chat.qwen.ai/' -b 'token=abcdefgh' -A Mine/1")]).unwrap();
    assert_eq!(copied.user_agent, "Mine/1");
}

#[test]
fn a_wrong_value_names_the_variable_and_not_the_value() {
    for (name, value) in [
        ("PORT", "99999"),
        ("PORT", "secret-value"),
        ("HOST", "example.org"),
        ("ALLOW_ANONYMOUS", "secret-value"),
        ("SESSION_KEY", "c2VjcmV0LXZhbHVl"),
        ("QWEN_BASE_URL", "secret-value"),
        ("QWEN_AUTH_URL", "ftp://secret-value"),
        ("OSS_URL", "secret-value"),
        ("QWEN_COOKIES", "token=secret-value\r\nx: y"),
        ("QWEN_AUTH_TOKEN", "secret-value\u{e9}"),
        ("VALID_TOKENS", "secret-value\u{7f}"),
        ("VALID_TOKENS", "[secret-value"),
        ("VALID_TOKENS", ","),
        ("VALID_TOKENS", "[]"),
        ("QWEN_HEADERS", "[\"secret-value\"]"),
        ("QWEN_HEADERS", "{\"bad name\":\"secret-value\"}"),
        ("QWEN_HEADERS", "{\"x\":\"secret-value\\n\"}"),
        ("MODEL_ALIASES", "{\"secret-value\":1}"),
        ("LOG_FORMAT", "secret-value"),
        ("DELETE_CHATS", "secret-value"),
        ("ALLOWED_ORIGINS", "secret-value"),
        ("ALLOWED_ORIGINS", "https://fine.example,*"),
        ("HEARTBEAT_SECONDS", "0"),
        ("FIRST_BYTE_SECONDS", "-1"),
        ("COALESCE_MS", "1e3"),
        ("UPSTREAM_IDLE_SECONDS", "0"),
        ("CONVERSATION_TTL_DAYS", "0"),
        ("MAX_IMAGE_BYTES", "10MB"),
        ("MAX_FILE_BYTES", "0"),
    ] {
        let error = config(&[(name, value)]).unwrap_err();
        assert_eq!(error.name, name);
        assert!(!error.to_string().contains("secret-value"), "{error}");
    }
}

#[test]
fn blank_values_count_as_absent() {
    assert!(config(&[("PORT", ""), ("VALID_TOKENS", " "), ("QWEN_COOKIES", "")]).unwrap().cookies.is_none());
}

#[test]
fn only_loopback_is_served_without_keys() {
    assert!(config(&[]).unwrap().check_exposure().is_ok());
    assert!(config(&[("HOST", "::1")]).unwrap().check_exposure().is_ok());
    assert!(config(&[("HOST", "0.0.0.0"), ("VALID_TOKENS", "k")]).unwrap().check_exposure().is_ok());
    assert!(config(&[("HOST", "0.0.0.0"), ("ALLOW_ANONYMOUS", "true")]).unwrap().check_exposure().is_ok());
    assert_eq!(config(&[("HOST", "0.0.0.0")]).unwrap().check_exposure().unwrap_err().name, "VALID_TOKENS");
    let admin = |host, key| config(&[("HOST", host), ("VALID_TOKENS", "k"), ("ADMIN_TOKEN", key)]).unwrap();
    assert_eq!(admin("0.0.0.0", "fifteen-letters").check_exposure().unwrap_err().name, "ADMIN_TOKEN");
    assert!(admin("0.0.0.0", "sixteen-letters!").check_exposure().is_ok());
    assert!(admin("127.0.0.1", "fifteen-letters").check_exposure().is_ok());
}

#[test]
fn short_keys_cause_a_warning() {
    for (keys, admin, warned) in [
        ("sixteen-letters!", "seventeen-letters", &[][..]),
        ("sixteen-letters!,fifteen-letters", "seventeen-letters", &["VALID_TOKENS"]),
        ("fifteen-letters", "x", &["VALID_TOKENS", "ADMIN_TOKEN"]),
        ("", "", &[]),
    ] {
        let warnings = config(&[("VALID_TOKENS", keys), ("ADMIN_TOKEN", admin)]).unwrap().warnings();
        let named: Vec<&str> = warnings.iter().map(|warning| warning.split(':').next().unwrap()).collect();
        assert_eq!(named, warned);
        assert!(!warnings.iter().any(|warning| warning.contains("letters")));
    }
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let secrets = [("QWEN_COOKIES", "token=hidden"), ("VALID_TOKENS", "hidden-1"), ("ADMIN_TOKEN", "hidden-2")];
    assert!(!format!("{:?}", config(&secrets).unwrap()).contains("hidden"));
    let shared = config(&[("VALID_TOKENS", "a,hidden"), ("ADMIN_TOKEN", "hidden")]).unwrap_err();
    assert!(shared.name == "ADMIN_TOKEN" && !shared.problem.contains("hidden"));
}

/// The names in the first column of the Markdown table that documents the variables.
fn documented(page: &str) -> Vec<&str> {
    let rows = page.lines().skip_while(|line| !line.starts_with("| `QWEN_COOKIES` |"));
    let first_cells = rows.take_while(|line| line.starts_with('|')).filter_map(|row| row.split('|').nth(1));
    first_cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn the_program_reads_the_listed_variables_and_no_others() {
    let read = RefCell::new(BTreeSet::new());
    let note = |name: &str| {
        read.borrow_mut().insert(name.to_owned());
        None
    };
    Config::from_lookup(note, Product::NATIVE).unwrap();
    assert_eq!(read.into_inner(), VARIABLES.iter().map(|name| (*name).to_owned()).collect());
}

#[test]
fn the_documents_name_every_variable() {
    assert_eq!(documented(include_str!("../../README.md")), VARIABLES);
    assert_eq!(documented(include_str!("../../README.zh-CN.md")), VARIABLES);
    // A setting for tests and private gateways; the file is for everybody else.
    let expected: BTreeSet<&str> = VARIABLES.iter().copied().filter(|name| *name != "OSS_URL").collect();
    let assignments = include_str!("../../.env.example").lines().filter_map(|line| line.split_once('='));
    let names = assignments.map(|(name, _)| name.strip_prefix('#').unwrap_or(name));
    let is_name = |name: &&str| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    assert_eq!(names.filter(is_name).collect::<BTreeSet<_>>(), expected);
}
