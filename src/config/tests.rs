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

/// All variables, in the order of the list.
fn variables() -> impl Iterator<Item = &'static Variable> {
    VARIABLES.iter().flat_map(|group| group.variables)
}

/// The default of a variable as a value of the environment, where it has one of its own.
fn value_of(variable: &Variable, product: &Product) -> Option<&'static str> {
    match variable.default {
        DefaultValue::Value(value) => Some(value),
        DefaultValue::PerProduct { native, worker } => {
            Some(if product.name == Product::NATIVE.name { native } else { worker })
        }
        DefaultValue::Unset | DefaultValue::Of(_) | DefaultValue::Decided(_) => None,
    }
}

#[test]
fn the_program_reads_the_listed_variables_and_no_others() {
    let read = RefCell::new(BTreeSet::new());
    let note = |name: &str| {
        read.borrow_mut().insert(name.to_owned());
        None
    };
    Config::from_lookup(note, Product::NATIVE).unwrap();
    assert_eq!(read.into_inner(), variables().map(|variable| variable.name.to_owned()).collect());
}

#[test]
fn the_listed_defaults_are_what_the_program_uses() {
    for product in [Product::NATIVE, Product::WORKER] {
        // The second upstream exists once it has an address.
        let base = |name: &str| (name == "FALLBACK_BASE_URL").then(|| "https://other.example/v1".to_owned());
        let unset = Config::from_lookup(base, product).unwrap();
        let listed = |name: &str| {
            let variable = variables().find(|variable| variable.name == name).unwrap();
            base(name).or_else(|| match variable.default {
                DefaultValue::Of(other) => {
                    value_of(variables().find(|variable| variable.name == other).unwrap(), &product).map(str::to_owned)
                }
                _ => value_of(variable, &product).map(str::to_owned),
            })
        };
        let set = Config::from_lookup(listed, product).unwrap();
        assert_eq!(format!("{unset:#?}"), format!("{set:#?}"));
    }
}

/// The rows of a group as a Markdown table.
fn table(group: &Group) -> String {
    let mut table = "| name | default | product | meaning |\n|---|---|---|---|\n".to_owned();
    for Variable { name, default, native_only, meaning } in group.variables {
        let default = match default {
            DefaultValue::Unset => "–".to_owned(),
            DefaultValue::Value(value) => format!("`{value}`"),
            DefaultValue::PerProduct { native, worker } => format!("`{native}` native server, `{worker}` Worker"),
            DefaultValue::Of(other) => format!("`{other}`"),
            DefaultValue::Decided(words) => (*words).to_owned(),
        };
        let product = if *native_only { "native server" } else { "both" };
        table += &format!("| `{name}` | {default} | {product} | {meaning} |\n");
    }
    table
}

/// A page with the table below the heading of each group replaced by that of the list.
fn with_tables(page: &str) -> String {
    let mut lines: Vec<String> = page.lines().map(str::to_owned).collect();
    for group in VARIABLES {
        let heading = format!("## {}", group.title);
        let at = lines.iter().position(|line| *line == heading).unwrap_or_else(|| panic!("{heading} is missing"));
        let from = at + 2;
        let length = lines[from..].iter().take_while(|line| line.starts_with('|')).count();
        lines.splice(from..from + length, table(group).lines().map(str::to_owned));
    }
    lines.join("\n") + "\n"
}

#[test]
fn the_document_has_the_tables_of_the_list() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let mut page = std::fs::read_to_string(path).unwrap();
    let expected = with_tables(&page);
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        std::fs::write(path, &expected).unwrap();
        page.clone_from(&expected);
    }
    assert_eq!(page, expected, "UPDATE_DOCUMENTS=1 cargo test --lib config");
    let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let titles: Vec<&str> = VARIABLES.iter().map(|group| group.title).collect();
    assert!(headings.windows(titles.len()).any(|window| window == titles), "the groups are in the order of the list");
    let is_row = |line: &&str| line.starts_with("| `") && line.matches(" | ").count() == 3;
    assert_eq!(page.lines().filter(is_row).count(), variables().count(), "rows that are not of the list");
}

/// A value in a file of settings. Compose reads a `$` outside of single quotes, and shells more than that.
fn quoted(value: &str) -> String {
    let plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:/".contains(&byte));
    if plain { value.to_owned() } else { format!("'{value}'") }
}

/// A text as comment lines of at most 120 characters.
fn comment(text: &str) -> String {
    let mut lines = vec!["#".to_owned()];
    for word in text.split(' ') {
        if lines.last().unwrap().chars().count() + 1 + word.chars().count() > 120 {
            lines.push("#".to_owned());
        }
        let line = lines.last_mut().unwrap();
        line.push(' ');
        line.push_str(word);
    }
    lines.join("\n")
}

/// `.env.example`: the first group to fill in, all others commented out.
fn env_example() -> String {
    let head = "Settings of the native server, on a machine or in a container. Copy this file to .env and fill in the first two. \
        Lines that are commented out have the default. An empty value counts as not set. The process environment has priority. \
        Put values with $, # or blanks in single quotes; otherwise Compose reads the $ as a variable. docs/configuration.md \
        has this list as a table.";
    let mut text = format!("{}\n", comment(head));
    for (index, group) in VARIABLES.iter().enumerate() {
        let rule = "-".repeat(120 - 7 - group.title.len());
        text += &format!("\n# --- {} {rule}\n", group.title);
        for variable in group.variables {
            let default = quoted(value_of(variable, &Product::NATIVE).unwrap_or_default());
            let (mark, default) = if index == 0 { ("", "''".to_owned()) } else { ("#", default) };
            text += &format!("\n{}\n{mark}{}={default}\n", comment(variable.meaning), variable.name);
        }
    }
    text
}

#[test]
fn the_example_of_settings_is_made_of_the_list() {
    let expected = env_example();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/.env.example");
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        std::fs::write(path, &expected).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), expected, "UPDATE_DOCUMENTS=1 cargo test --lib config");
    // With every line in force the settings are the defaults.
    let lines = expected.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|first: char| first.is_ascii_uppercase()) => rest,
        _ => line,
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".env");
    std::fs::write(&path, lines.collect::<Vec<_>>().join("\n")).unwrap();
    let read = crate::platform::native::dotenv::read(&path).unwrap();
    assert_eq!(read.len(), variables().count());
    let filled = Config::from_lookup(|name| read.get(name).cloned(), Product::NATIVE).unwrap();
    assert_eq!(format!("{filled:#?}"), format!("{:#?}", config(&[]).unwrap()));
}

#[test]
fn the_example_for_wrangler_has_names_and_defaults_of_the_list() {
    let mut list = variables();
    for line in include_str!("../../.dev.vars.example").lines() {
        let line = line.strip_prefix('#').unwrap_or(line);
        if line.starts_with(' ') || line.is_empty() {
            continue;
        }
        let (name, value) = line.split_once('=').unwrap();
        let variable = list.find(|variable| variable.name == name).unwrap_or_else(|| panic!("{name}, or its place"));
        assert!(!variable.native_only, "{name} has no effect on the Worker");
        // The Worker refuses chats without a key.
        if name != "VALID_TOKENS" {
            let default = value_of(variable, &Product::WORKER).unwrap_or_default();
            assert_eq!(value.trim_matches('\''), default, "{name}");
        }
    }
}
