//! The documents of this repository as the tests read them: code blocks, headings, links and code within sentences.

#![allow(dead_code, missing_docs, unreachable_pub, reason = "unit tests and cases use different parts")]

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// The root of the repository.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// What is written in front of a block that no test runs, before the reason.
const NOT_RUN: &str = "not run: ";
/// Programs that the tests can run from a document.
const PROGRAMS: &[&str] = &["curl", "cp", "qwen-edge", "cargo", "openssl", "scripts/demo", PREPARATION];
/// What `scripts/test` runs before any test: a document may have it, and no test repeats it.
pub const PREPARATION: &str = "scripts/setup";

/// A document.
pub struct Document {
    /// Its path in the repository.
    pub path: String,
    pub text: String,
    pub blocks: Vec<Block>,
    /// The anchors of its headings, as GitHub makes them.
    pub anchors: Vec<String>,
    /// The levels of its headings.
    pub levels: Vec<u8>,
    /// Where its links and pictures lead.
    pub links: Vec<String>,
    /// Code within sentences and tables.
    pub spans: Vec<String>,
}

/// A code block.
pub struct Block {
    /// `README.md:12`
    pub place: String,
    pub language: String,
    pub code: String,
    /// Why no test runs it.
    pub reason: Option<String>,
}

/// What a test does with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// Lines `NAME=value` of a file of settings.
    Settings,
    /// Calls of curl alone, which run on both products.
    Curl,
    /// Commands of the native server and of this repository.
    Commands,
    Python,
    JavaScript,
    /// A program that no test runs, and why.
    NotRun(&'a str),
    /// Anything else: data, a tree of files, a stream.
    NoProgram,
}

impl Block {
    /// Says what a test does with this block.
    ///
    /// # Errors
    /// It has a command that no test runs, without a reason; or a reason without need.
    pub fn kind(&self) -> Result<Kind<'_>, String> {
        let kind = match self.language.as_str() {
            "sh" | "bash" | "shell" | "console" => None,
            "python" | "py" => Some(Kind::Python),
            "js" | "javascript" | "mjs" => Some(Kind::JavaScript),
            _ => Some(Kind::NoProgram),
        };
        if let Some(reason) = &self.reason {
            return match kind {
                Some(Kind::NoProgram) => {
                    Err(format!("{}: a reason in front of a block that is no program", self.place))
                }
                _ if reason.is_empty() => Err(format!("{}: `{NOT_RUN}` without a reason", self.place)),
                _ => Ok(Kind::NotRun(reason)),
            };
        }
        kind.map_or_else(|| self.kind_of_commands(), Ok)
    }

    fn kind_of_commands(&self) -> Result<Kind<'_>, String> {
        let commands = commands(&self.code);
        let words: Vec<&str> = commands.iter().map(|command| command.split_whitespace().next().unwrap_or("")).collect();
        if !words.is_empty() && words.iter().all(|word| is_assignment(word)) {
            return Ok(Kind::Settings);
        }
        match words.iter().find(|word| !PROGRAMS.contains(word)) {
            Some(word) => Err(format!("{}: no test runs `{word}`; write <!-- {NOT_RUN}why --> in front", self.place)),
            None if words.is_empty() => Err(format!("{}: no command", self.place)),
            None if words.iter().all(|word| *word == "curl") => Ok(Kind::Curl),
            None => Ok(Kind::Commands),
        }
    }
}

/// Whether a word begins with `NAME=`.
fn is_assignment(word: &str) -> bool {
    let is_name =
        |name: &str| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_' || byte.is_ascii_digit());
    word.split_once('=').is_some_and(|(name, _)| !name.is_empty() && is_name(name))
}

/// The commands of a shell script: lines, joined where a quote is open or a backslash ends them, without comments and without
/// the text of `<<'END'`.
pub fn commands(script: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut command = String::new();
    let mut quote = None;
    let mut here = false;
    for line in script.lines() {
        if here {
            here = line != "END";
            continue;
        }
        let mut before = ' ';
        for character in line.chars() {
            match quote {
                Some(open) if open == character => quote = None,
                Some(_) => {}
                None if character == '#' && before.is_whitespace() => break,
                None if matches!(character, '\'' | '"') && before != '\\' => quote = Some(character),
                None => {}
            }
            command.push(character);
            before = character;
        }
        if quote.is_some() || command.ends_with('\\') {
            command.push('\n');
            continue;
        }
        here = command.contains("<<'END'");
        let whole = std::mem::take(&mut command);
        if !whole.trim().is_empty() {
            commands.push(whole.trim().to_owned());
        }
    }
    commands
}

/// The anchor that GitHub makes of a heading.
fn anchor(heading: &str, seen: &mut HashMap<String, usize>) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    let name = kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>();
    let count = seen.entry(name.clone()).or_default();
    *count += 1;
    if *count == 1 { name } else { format!("{name}-{}", *count - 1) }
}

/// Reads a document.
pub fn parse(path: &str, text: String) -> Document {
    let mut document = Document {
        path: path.to_owned(),
        text: String::new(),
        blocks: Vec::new(),
        anchors: Vec::new(),
        levels: Vec::new(),
        links: Vec::new(),
        spans: Vec::new(),
    };
    let mut seen = HashMap::new();
    let (mut heading, mut block): (Option<String>, Option<Block>) = (None, None);
    let mut comment: Option<String> = None;
    for (event, range) in Parser::new_ext(&text, Options::ENABLE_TABLES).into_offset_iter() {
        match event {
            Event::Start(Tag::CodeBlock(kind)) => {
                let line = text[..range.start].lines().count() + 1;
                let language = match kind {
                    CodeBlockKind::Fenced(language) => language.to_string(),
                    CodeBlockKind::Indented => String::new(),
                };
                let reason = comment.take();
                block = Some(Block { place: format!("{path}:{line}"), language, code: String::new(), reason });
            }
            Event::End(TagEnd::CodeBlock) => document.blocks.extend(block.take()),
            Event::Start(Tag::Heading { level, .. }) => {
                document.levels.push(level as u8);
                heading = Some(String::new());
            }
            Event::End(TagEnd::Heading(_)) => {
                document.anchors.extend(heading.take().map(|heading| anchor(&heading, &mut seen)));
            }
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                document.links.push(dest_url.to_string());
            }
            Event::Text(part) => {
                if let Some(block) = &mut block {
                    block.code.push_str(&part);
                } else if let Some(heading) = &mut heading {
                    heading.push_str(&part);
                }
            }
            Event::Code(part) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&part);
                }
                document.spans.push(part.to_string());
            }
            Event::Html(html) => {
                let text = html.trim().strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->"));
                comment =
                    text.and_then(|text| text.trim().strip_prefix(NOT_RUN.trim_end())).map(|why| why.trim().to_owned());
            }
            // The comment counts for what comes next to it.
            Event::Start(Tag::HtmlBlock) | Event::End(TagEnd::HtmlBlock) => {}
            Event::Start(_) => comment = None,
            _ => {}
        }
    }
    document.text = text;
    document
}

/// Reads all documents: those at the root, and those below `docs`.
pub fn all() -> Vec<Document> {
    let mut paths = Vec::new();
    let mut folders = vec![PathBuf::from("docs")];
    let markdown = |path: &Path| path.extension().is_some_and(|extension| extension == "md");
    for entry in fs::read_dir(ROOT).unwrap() {
        paths.push(PathBuf::from(entry.unwrap().file_name()));
    }
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(Path::new(ROOT).join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            if Path::new(ROOT).join(&path).is_dir() { folders.push(path) } else { paths.push(path) }
        }
    }
    paths.retain(|path| markdown(path));
    paths.sort();
    paths
        .iter()
        .map(|path| parse(path.to_str().unwrap(), fs::read_to_string(Path::new(ROOT).join(path)).unwrap()))
        .collect()
}
