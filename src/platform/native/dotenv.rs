//! `.env` files, parsed as python-dotenv and Docker Compose parse them. Stricter parsers refuse
//! `VALID_TOKENS=["a", "b"]` without outer quotes, which existing files hold.

use std::{collections::HashMap, io, path::Path};

pub use super::database::others_may;

/// Reads a file. A missing file is an empty one.
///
/// # Errors
/// The file exists and cannot be read, or is not UTF-8. The latter error names the variable.
pub fn read(path: &Path) -> io::Result<HashMap<String, String>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(error) => return Err(error),
    };
    match String::from_utf8(bytes) {
        Ok(text) => Ok(parse(&text)),
        Err(error) => {
            let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
            let name = last_name(&String::from_utf8_lossy(before)).map(|name| format!("{name}: ")).unwrap_or_default();
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("{name}is not text in UTF-8: copy it again")))
        }
    }
}

/// Returns the variable of the last line of a text that names one.
fn last_name(text: &str) -> Option<&str> {
    let names = text.lines().rev().filter_map(|line| {
        let start = line.trim_start();
        start.strip_prefix("export ").unwrap_or(start).split_once('=').map(|(name, _)| name.trim())
    });
    names.into_iter().find(|name| is_name(name))
}

/// Parses lines of the form `NAME=value` and skips other lines. The last line of a name counts.
fn parse(text: &str) -> HashMap<String, String> {
    let mut pairs = HashMap::new();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    while !rest.is_empty() {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let start = line.trim_start();
        let name_and_value = start.strip_prefix("export ").unwrap_or(start).split_once('=');
        let Some((name, value)) = name_and_value.filter(|(name, _)| !start.starts_with('#') && is_name(name.trim()))
        else {
            rest = after;
            continue;
        };
        let offset = rest
            .len()
            .saturating_sub(after.len())
            .saturating_sub(value.len())
            .saturating_sub(usize::from(line.len() < rest.len()));
        let from_value = rest.get(offset..).unwrap_or_default().trim_start_matches([' ', '\t']);
        let (value, after) = match from_value
            .chars()
            .next()
            .filter(|first| matches!(first, '"' | '\''))
            .and_then(|quote| quoted(from_value, quote))
        {
            Some((value, behind)) => (value, behind.split_once('\n').map_or("", |(_, next)| next)),
            None => (unquoted(value).to_owned(), after),
        };
        pairs.insert(name.trim().to_owned(), value);
        rest = after;
    }
    pairs
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// An unquoted value ends at the end of its line or at ` #`.
fn unquoted(value: &str) -> &str {
    value.find(" #").and_then(|at| value.get(..at)).unwrap_or(value).trim()
}

/// Returns a quoted value, which may span lines, and the text after it. `None` if the quote is not closed.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' if quote == '"' => match characters.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                'r' => value.push('\r'),
                same @ ('"' | '\\' | '$') => value.push(same),
                other => value.extend(['\\', other]),
            },
            '\\' if text.get(at.saturating_add(1)..).is_some_and(|next| next.starts_with(['\'', '\\'])) => {
                value.push(characters.next()?.1);
            }
            end if end == quote => return text.get(at.saturating_add(1)..).map(|behind| (value, behind)),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_python_dotenv_reads_them() {
        let text = "\u{feff}# comment\n\nA=1\n B = two words \nexport C=3\nD=\"a; b=\\\"c\\\" # no\\n\"\nE='it\\'s $HOME'  # yes\n\
            VALID_TOKENS=[\"sk-token1\", \"sk-token2\"]\nF=x # comment\nG=x#y\nH=\nI=\"two\nlines\"\nJ=\"open\nno line\nK=a=b\r\nA=2\n1 2=x";
        let pairs = parse(text);
        for (name, value) in [
            ("A", "2"),
            ("B", "two words"),
            ("C", "3"),
            ("D", "a; b=\"c\" # no\n"),
            ("E", "it's $HOME"),
            ("VALID_TOKENS", r#"["sk-token1", "sk-token2"]"#),
            ("F", "x"),
            ("G", "x#y"),
            ("H", ""),
            ("I", "two\nlines"),
            ("J", "\"open"),
            ("K", "a=b"),
        ] {
            assert_eq!(pairs.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert_eq!(pairs.len(), 12);
    }

    #[test]
    fn a_missing_file_is_empty_and_an_unreadable_one_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(&folder.path().join("none")).unwrap().is_empty());
        assert!(read(folder.path()).is_err());
    }
}
