//! Which room may use which: reads the paths in `src/` as text and holds the arrows of `docs/architecture.md`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What each room may use beside itself. The rooms on the ground use nothing.
const ARROWS: &[(&str, &[&str])] = &[
    ("digest", &[]),
    ("error", &[]),
    ("llm", &[]),
    ("media_type", &[]),
    ("origin", &[]),
    ("sealing", &[]),
    ("secret", &[]),
    ("surrogates", &[]),
    ("unix_time", &[]),
    ("visible", &[]),
    ("json", &["surrogates"]),
    ("platform", &["unix_time", "error"]),
    ("content_encoding", &["platform"]),
    ("credentials_input", &["error", "json", "secret"]),
    ("config", &["credentials_input", "origin", "secret"]),
    ("oss", &["unix_time", "error", "platform", "secret"]),
    ("store", &["unix_time", "error", "platform"]),
    ("api", &["unix_time", "error", "json", "llm", "surrogates"]),
    (
        "upstream",
        &[
            "unix_time",
            "config",
            "credentials_input",
            "error",
            "json",
            "llm",
            "media_type",
            "oss",
            "platform",
            "sealing",
            "secret",
            "surrogates",
        ],
    ),
    ("accounts", &["unix_time", "config", "digest", "error", "limiter", "platform", "store", "upstream"]),
    ("limiter", &["error", "platform"]),
    ("media", &["unix_time", "digest", "error", "limiter", "llm", "platform", "sealing", "store", "upstream"]),
    (
        "chat",
        &[
            "unix_time",
            "config",
            "content_encoding",
            "digest",
            "error",
            "limiter",
            "llm",
            "media",
            "media_type",
            "platform",
            "sealing",
            "store",
            "surrogates",
            "upstream",
        ],
    ),
    (
        "server",
        &[
            "unix_time",
            "accounts",
            "api",
            "chat",
            "config",
            "content_encoding",
            "credentials_input",
            "error",
            "json",
            "limiter",
            "llm",
            "media",
            "media_type",
            "origin",
            "platform",
            "sealing",
            "secret",
            "store",
            "surrogates",
            "upstream",
            "visible",
        ],
    ),
    ("worker", &["config", "platform", "server", "visible"]),
    ("cli", &["unix_time", "config", "credentials_input", "error", "platform", "server", "store", "visible"]),
];

/// What the engine may use of a dialect: the encoder, and nothing else.
const ENCODER: &str = "api::Encoder";

/// What lies behind a seam: rooms that may use the room, but not this part of it.
const BEHIND_A_SEAM: &[(&str, &str)] = &[("chat", "upstream::qwen"), ("media", "upstream::qwen")];

/// A file of the crate, without its tests.
struct Source {
    module: Vec<String>,
    /// Every path that its code names, from the crate's root.
    paths: BTreeSet<Vec<String>>,
    /// What it passes on of other files (`pub use`): whoever names that uses the other file.
    passed_on: BTreeSet<Vec<String>>,
}

impl Source {
    fn room(&self) -> &str {
        self.module.first().map_or("", String::as_str)
    }
}

fn files(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push(path);
        }
    }
}

fn is_of_tests(path: &Path) -> bool {
    let name = path.file_stem().unwrap().to_str().unwrap();
    matches!(name, "tests" | "schema" | "test_requests")
        || name.ends_with("_tests")
        || name == "fuzzing"
        || path.components().any(|part| part.as_os_str() == "openapi")
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&root, &mut all);
    all.retain(|path| !is_of_tests(path));
    all.sort();
    let module = |path: &PathBuf| {
        let path = path.strip_prefix(&root).unwrap().with_extension("");
        let mut parts: Vec<String> =
            path.components().map(|part| part.as_os_str().to_str().unwrap().to_owned()).collect();
        parts.pop_if(|last| matches!(last.as_str(), "mod" | "lib" | "main"));
        parts
    };
    let modules: BTreeSet<Vec<String>> = all.iter().map(module).collect();
    let sources: Vec<Source> =
        all.iter().map(|path| source(module(path), &modules, &code(&fs::read_to_string(path).unwrap()))).collect();
    assert!(sources.len() > 80);
    sources
}

fn source(module: Vec<String>, modules: &BTreeSet<Vec<String>>, code: &str) -> Source {
    let children: Vec<&str> = modules
        .iter()
        .filter(|other| other.len() == module.len() + 1 && other.starts_with(&module) && !module.is_empty())
        .map(|child| child.last().unwrap().as_str())
        .collect();
    let (mut paths, mut passed_on) = (BTreeSet::new(), BTreeSet::new());
    for start in ["crate", "self", "super", "qwen_edge"].iter().chain(&children) {
        for (at, _) in code.match_indices(&format!("{start}::")) {
            let (before, rest) = code.split_at(at);
            if before.ends_with(|character: char| character.is_alphanumeric() || "_:".contains(character)) {
                continue;
            }
            let mut found = BTreeSet::new();
            expand(rest, &mut Vec::new(), &mut found);
            // What stands in braces beside others is found by way of its `use`.
            let statement = before.rsplit([';', '}']).next().unwrap().trim_start();
            let is_passed_on = statement.starts_with("pub") && statement.ends_with("use ");
            let target = if is_passed_on { &mut passed_on } else { &mut paths };
            target.extend(found.into_iter().map(|path| absolute(&module, path)));
        }
    }
    Source { module, paths, passed_on }
}

/// The code without comments, texts and what follows the first `#[cfg(test)] mod`.
fn code(text: &str) -> String {
    let end = text.match_indices("#[cfg(test)]\nmod ").map(|(at, _)| at);
    let tests = end.clone().find(|at| text[*at..].lines().nth(1).is_some_and(|line| line.ends_with('{')));
    let mut code = String::new();
    let lines = text[..tests.unwrap_or(text.len())].lines();
    for line in lines.filter(|line| !line.trim_start().starts_with("#[cfg_attr(test,")) {
        let line = line.split("//").next().unwrap();
        code.push_str(line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"").trim());
        code.push(' ');
    }
    code
}

/// Reads one path, or a tree of them: `crate::{a::{B, C}, d}` is `crate::a::B`, `crate::a::C` and `crate::d`.
fn expand<'a>(mut rest: &'a str, before: &mut Vec<String>, paths: &mut BTreeSet<Vec<String>>) -> &'a str {
    let depth = before.len();
    loop {
        rest = rest.trim_start();
        if let Some(inner) = rest.strip_prefix('{') {
            rest = inner.trim_start();
            while !rest.is_empty() && !rest.starts_with('}') {
                rest = expand(rest, before, paths).trim_start();
                rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
            }
            rest = rest.strip_prefix('}').unwrap_or(rest);
            break;
        }
        let end = rest.find(|character: char| !character.is_alphanumeric() && character != '_').unwrap_or(rest.len());
        if end == 0 {
            // A glob, or the type arguments of a call.
            rest = rest.strip_prefix('*').unwrap_or(rest);
            paths.insert(before.clone());
            break;
        }
        before.push(rest[..end].to_owned());
        rest = &rest[end..];
        let Some(after) = rest.strip_prefix("::") else {
            paths.insert(before.clone());
            if let Some(renamed) = rest.strip_prefix(" as ") {
                rest = renamed.trim_start_matches(|character: char| character.is_alphanumeric() || character == '_');
            }
            break;
        };
        rest = after;
    }
    before.truncate(depth);
    rest
}

/// The path from the root of the crate, which is left out.
fn absolute(module: &[String], path: Vec<String>) -> Vec<String> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    let is_from_root = matches!(path.first().map(String::as_str), Some("crate" | "qwen_edge"));
    let mut whole = if is_from_root { Vec::new() } else { module[..module.len() - ups.min(module.len())].to_vec() };
    whole.extend(path.into_iter().skip(if is_from_root { 1 } else { ups }).filter(|part| part != "self"));
    whole
}

#[test]
fn rooms_use_only_what_they_may() {
    let mut wrong = Vec::new();
    for source in sources() {
        let room = source.room();
        if room.is_empty() {
            continue;
        }
        let (_, allowed) =
            ARROWS.iter().find(|(name, _)| *name == room).unwrap_or_else(|| panic!("ARROWS lacks the room {room}"));
        for path in source.paths.union(&source.passed_on) {
            // `crate::*`, or another name for the root: whatever follows could not be seen.
            if path.is_empty() {
                wrong.push(format!("{} uses the root as a whole", source.module.join("::")));
            }
            let Some(used) = path.first().filter(|used| *used != room) else { continue };
            // A macro or a type at the root has no room.
            if !ARROWS.iter().any(|(name, _)| name == used) {
                continue;
            }
            let path = path.join("::");
            let is_allowed = allowed.contains(&used.as_str()) || (room == "chat" && path == ENCODER);
            let is_behind_a_seam = BEHIND_A_SEAM.iter().any(|(from, part)| {
                *from == room
                    && (part.starts_with(&format!("{path}::"))
                        || path == *part
                        || path.starts_with(&format!("{part}::")))
            });
            if !is_allowed || is_behind_a_seam {
                wrong.push(format!("{} uses crate::{path}", source.module.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that may not be:\n{}", wrong.join("\n"));
}

#[test]
fn no_file_uses_itself_by_way_of_others() {
    let sources = sources();
    let names: BTreeMap<String, usize> =
        sources.iter().enumerate().map(|(index, source)| (source.module.join("::"), index)).collect();
    // The file that a path leads to: of what a room's own mod.rs passes on, the file that it comes from.
    let file_of = |path: &[String]| -> Option<usize> {
        (1..=path.len()).rev().find_map(|length| names.get(&path[..length].join("::")).copied())
    };
    let passed_on: BTreeMap<(usize, &str), usize> = sources
        .iter()
        .enumerate()
        .flat_map(|(index, source)| source.passed_on.iter().map(move |path| (index, path)))
        .filter_map(|(index, path)| Some(((index, path.last()?.as_str()), file_of(path)?)))
        .collect();
    let mut uses: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); sources.len()];
    for (index, source) in sources.iter().enumerate() {
        for path in &source.paths {
            let Some(mut used) = file_of(path) else { continue };
            while let Some(next) =
                path.last().and_then(|name| passed_on.get(&(used, name.as_str()))).filter(|next| **next != used)
            {
                used = *next;
            }
            uses[index].insert(used);
        }
        uses[index].remove(&index);
    }
    let reachable = |from: usize| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(next) = open.pop() {
            open.extend(uses[next].iter().copied().filter(|used| seen.insert(*used)));
        }
        seen
    };
    let reachable: Vec<BTreeSet<usize>> = (0..sources.len()).map(reachable).collect();
    let circle: Vec<String> = (0..sources.len())
        .filter(|index| reachable[*index].contains(index))
        .map(|index| {
            let back = uses[index].iter().filter(|used| reachable[**used].contains(&index));
            let back: Vec<String> = back.map(|used| sources[*used].module.join("::")).collect();
            format!("{} uses {}", sources[index].module.join("::"), back.join(", "))
        })
        .collect();
    assert!(circle.is_empty(), "{}", circle.join("\n"));
}

/// The texts of the code that are sentences: they begin with a capital and end with a full stop, wherever the file has them.
fn sentences(text: &str) -> Vec<String> {
    let mut sentences = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for part in line.split('"').skip(1).step_by(2) {
            let is_sentence =
                part.len() > 24 && part.starts_with(|first: char| first.is_ascii_uppercase()) && part.contains(' ');
            if is_sentence && part.ends_with(['.', '!']) {
                sentences.push(part.to_owned());
            }
        }
    }
    sentences
}

#[test]
fn no_sentence_stands_twice() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&root, &mut all);
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in all.iter().filter(|path| !is_of_tests(path)) {
        let text = fs::read_to_string(path).unwrap();
        let tests = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
        for sentence in sentences(&text[..tests]) {
            places.entry(sentence).or_default().push(path.strip_prefix(&root).unwrap().display().to_string());
        }
    }
    assert!(places.len() > 60, "{}", places.len());
    places.retain(|_, places| places.len() > 1);
    assert!(places.is_empty(), "these need one constructor: {places:#?}");
}
