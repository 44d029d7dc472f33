//! What the documents say of themselves and of the code: links, paths, names of settings, lengths, and which commands are run.

#[path = "../tests/documents/mod.rs"]
mod documents;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use documents::{Block, Document, Kind, all, commands, parse};

use crate::config::{Config, Product, VARIABLES};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Upper-case names in documents that are no settings of this server, and whose they are.
const OTHER_NAMES: &[(&str, &[&str])] = &[
    (
        "settings of clients",
        &[
            "ANTHROPIC_AUTH_TOKEN",
            "ANTHROPIC_BASE_URL",
            "ANTHROPIC_DEFAULT_HAIKU_MODEL",
            "ANTHROPIC_MODEL",
            "BASE_URL",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
            "CUSTOM_MODELS",
            "EDGE_KEY",
            "ENABLE_FORWARD_USER_INFO_HEADERS",
            "ENABLE_IMAGE_EDIT",
            "ENABLE_IMAGE_GENERATION",
            "IMAGES_EDIT_OPENAI_API_BASE_URL",
            "IMAGES_EDIT_OPENAI_API_KEY",
            "IMAGES_OPENAI_API_BASE_URL",
            "IMAGES_OPENAI_API_KEY",
            "IMAGE_EDIT_ENGINE",
            "IMAGE_EDIT_MODEL",
            "IMAGE_GENERATION_ENGINE",
            "IMAGE_GENERATION_MODEL",
            "IMAGE_SIZE",
            "OPENAI_API_BASE_URL",
            "OPENAI_API_KEY",
            "OPENAI_BASE_URL",
            "OPENAI_MODEL",
            "OPENAI_PROXY_URL",
        ],
    ),
    ("of this repository's scripts and tests", &["DAY_SECONDS", "DEMO_PROFILE", "QWEN_EDGE_TOOLS", "UPDATE_DOCUMENTS"]),
    ("of wrangler", &["CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_API_TOKEN"]),
    ("of the operating system", &["MALLOC_ARENA_MAX", "SO_REUSEPORT"]),
    ("what the server does not read, and says so", &["HTTPS_PROXY"]),
    ("places for ids in examples", &["CHAT_ID", "FILE_ID", "MEDIA_ID", "RESPONSE_ID", "VIDEO_ID"]),
];

/// Whether a text is written like a variable of the environment.
fn is_variable(text: &str) -> bool {
    text.contains('_')
        && text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

fn block(language: &str, code: &str, reason: Option<&str>) -> Block {
    let reason = reason.map(str::to_owned);
    Block { place: "x.md:1".to_owned(), language: language.to_owned(), code: code.to_owned(), reason }
}

#[test]
fn a_block_is_run_or_says_why_not() {
    for (language, code, reason, kind) in [
        ("sh", "curl http://127.0.0.1:8000/ \\\n  -d '{\n  \"x\": 1}'\n\n# twice\ncurl -N http://x", None, Kind::Curl),
        ("sh", "curl -T - http://x <<'END'\ndocker run x\nEND", None, Kind::Curl),
        ("sh", "A_B='x; y'   # a comment\nC=\"1\n2\"", None, Kind::Settings),
        ("bash", "cp .env.example .env # it's fine\ncargo run --release", None, Kind::Commands),
        ("sh", "docker compose up -d", Some("needs a container engine"), Kind::NotRun("needs a container engine")),
        ("python", "print(1)", None, Kind::Python),
        ("js", "1", Some("a part of a file"), Kind::NotRun("a part of a file")),
        ("json", "{}", None, Kind::NoProgram),
        ("", "bytes → Decoder", None, Kind::NoProgram),
    ] {
        assert_eq!(block(language, code, reason).kind(), Ok(kind), "{code}");
    }
    for (language, code, reason) in [
        ("sh", "docker compose up -d", None),
        ("sh", "curl http://x\nrm -rf y", None),
        ("sh", "A=1\nmake", None),
        ("sh", "# nothing", None),
        ("sh", "make", Some("")),
        ("json", "{}", Some("no need")),
    ] {
        assert!(block(language, code, reason).kind().is_err(), "{code}");
    }
    assert_eq!(commands("a 'b\nc' \\\n d\n\n# e\nf <<'END'\ng\nEND\nh"), ["a 'b\nc' \\\n d", "f <<'END'", "h"]);
}

#[test]
fn a_reason_counts_for_the_block_behind_it() {
    let text = "# One `two`\n\n<!-- not run: because -->\n```sh\nx\n```\n\n<!-- not run: far -->\n\ntext [l](a.md#b)\n\n```sh\ny\n```\n\n1. x\n\n   <!-- not run: in a list -->\n   ```js\n   z\n   ```\n\n# One two\n";
    let document = parse("x.md", text.to_owned());
    let read: Vec<_> = document.blocks.iter().map(|block| (block.code.as_str(), block.reason.as_deref())).collect();
    assert_eq!(read, [("x\n", Some("because")), ("y\n", None), ("z\n", Some("in a list"))]);
    assert_eq!(document.anchors, ["one-two", "one-two-1"]);
    assert_eq!(
        (document.links.as_slice(), document.spans.as_slice()),
        (&["a.md#b".to_owned()][..], &["two".to_owned()][..])
    );
}

#[test]
fn every_block_of_the_documents_is_run_or_says_why_not() {
    let documents = all();
    let kinds = documents.iter().flat_map(|document| &document.blocks).map(Block::kind);
    let wrong: Vec<String> = kinds.filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn settings_in_documents_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".env");
    let mut count = 0;
    for document in all() {
        for block in document.blocks.iter().filter(|block| block.kind() == Ok(Kind::Settings)) {
            std::fs::write(&path, block.code.replace('…', "eyJhbGciOiJI")).unwrap();
            let read = crate::platform::native::dotenv::read(&path).unwrap();
            assert_eq!(read.len(), commands(&block.code).len(), "{}", block.place);
            for name in read.keys() {
                assert!(variables().contains(name.as_str()), "{}: {name}", block.place);
            }
            Config::from_lookup(|name| read.get(name).cloned(), Product::NATIVE)
                .unwrap_or_else(|error| panic!("{}: {error}", block.place));
            count += 1;
        }
    }
    assert!(count > 3, "only {count} blocks");
}

/// The names of all settings.
fn variables() -> BTreeSet<&'static str> {
    VARIABLES.iter().flat_map(|group| group.variables).map(|variable| variable.name).collect()
}

#[test]
fn names_in_documents_are_settings_or_somebody_elses() {
    let settings = variables();
    let mut others: BTreeMap<&str, bool> =
        OTHER_NAMES.iter().flat_map(|(_, names)| names.iter().map(|name| (*name, false))).collect();
    let mut unknown = Vec::new();
    for document in all() {
        // The site's own words.
        if document.path == "docs/upstream-protocol.md" || document.path == "CHANGELOG.md" {
            continue;
        }
        for span in &document.spans {
            let name = span.split(['=', ' ', '"', ':']).next().unwrap();
            if !is_variable(name) || settings.contains(name) {
                continue;
            }
            match others.get_mut(name) {
                Some(used) => *used = true,
                None => unknown.push(format!("{}: {name}", document.path)),
            }
        }
    }
    assert!(unknown.is_empty(), "neither settings nor listed here: {unknown:?}");
    others.retain(|name, used| !*used && !name.ends_with("_ID"));
    assert!(others.is_empty(), "no document names {others:?}");
}

#[test]
fn links_lead_to_files_and_headings() {
    let documents = all();
    let by_path: BTreeMap<&str, &Document> =
        documents.iter().map(|document| (document.path.as_str(), document)).collect();
    for document in &documents {
        let folder = Path::new(&document.path).parent().unwrap();
        for link in document.links.iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            let (path, anchor) =
                link.split_once('#').map_or((link.as_str(), None), |(path, anchor)| (path, Some(anchor)));
            let target = if path.is_empty() { document.path.clone() } else { joined(folder, path) };
            assert!(Path::new(ROOT).join(&target).exists(), "{}: {link}", document.path);
            if let Some(anchor) = anchor {
                let headings =
                    &by_path.get(target.as_str()).unwrap_or_else(|| panic!("{}: {link}", document.path)).anchors;
                assert!(headings.iter().any(|heading| heading == anchor), "{}: {link}", document.path);
            }
        }
    }
}

/// A relative path from a folder, without `..`.
fn joined(folder: &Path, path: &str) -> String {
    let mut parts: Vec<&str> = folder.to_str().unwrap().split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

#[test]
fn every_document_is_in_the_index() {
    let documents = all();
    let index = documents.iter().find(|document| document.path == "docs/README.md").unwrap();
    let listed: BTreeSet<String> = index.links.iter().map(|link| joined(Path::new("docs"), link)).collect();
    let is_listed = |document: &&Document| {
        let path = document.path.as_str();
        (path.starts_with("docs/") && path != "docs/README.md" && !path.starts_with("docs/decisions/00"))
            || ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].contains(&path)
    };
    assert_eq!(listed, documents.iter().filter(is_listed).map(|document| document.path.clone()).collect());
}

#[test]
fn paths_in_documents_exist() {
    const FOLDERS: &[&str] =
        &["src/", "tests/", "scripts/", "docs/", "web/", "migrations/", "benches/", "examples/", ".env.", ".dev.vars."];
    let mut missing = Vec::new();
    for document in all() {
        // What was is not what is.
        if document.path == "CHANGELOG.md" || document.path.starts_with("docs/decisions/") {
            continue;
        }
        for span in &document.spans {
            let path = span.split(' ').next().unwrap();
            let is_path = FOLDERS.iter().any(|folder| path.starts_with(folder))
                && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte))
                && !["NAME", "NNNN"].iter().any(|any| path.contains(any));
            if is_path && !Path::new(ROOT).join(path).exists() {
                missing.push(format!("{}: {path}", document.path));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}

/// A program without its comments, which are translated.
fn without_comments(code: &str) -> String {
    let line = |line: &str| line.split(" # ").next().unwrap_or(line).trim_end().to_owned();
    code.lines().filter(|line| !line.starts_with('#')).map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn both_languages_say_the_same_in_at_most_200_lines() {
    let documents = all();
    let readme = |path: &str| documents.iter().find(|document| document.path == path).unwrap();
    let (english, chinese) = (readme("README.md"), readme("README.zh-CN.md"));
    for document in [english, chinese] {
        assert!(document.text.lines().count() <= 200, "{}", document.path);
    }
    assert_eq!(english.levels, chinese.levels);
    let blocks = |document: &Document| -> Vec<_> {
        let block = |block: &Block| (block.language.clone(), block.reason.clone(), without_comments(&block.code));
        document.blocks.iter().map(block).collect()
    };
    assert_eq!(blocks(english), blocks(chinese));
    // Each links to the other, to the picture and to its own headings in its own way.
    let links = |document: &Document| -> Vec<String> {
        let own = |link: &&String| !link.starts_with('#') && !link.contains("README") && !link.contains("images/");
        document.links.iter().filter(own).cloned().collect()
    };
    assert_eq!(links(english), links(chinese));
    let rows = |document: &Document| {
        document.text.lines().filter(|line| line.starts_with("| ") || line.starts_with("- ")).count()
    };
    assert_eq!(rows(english), rows(chinese));
}
