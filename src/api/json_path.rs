//! The path of a field in a JSON text, from its position in bytes.

/// The paths of the last value that begins before a position, and of the array or object around that position.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Paths {
    pub(super) value: String,
    pub(super) container: String,
}

/// An open array or object.
enum Open<'a> {
    Array { index: usize },
    Object { key: &'a str, in_key: bool },
}

/// How many characters of a key, and of a whole path, an error shows.
const MAX_KEY_SHOWN: usize = 100;
const MAX_PATH_SHOWN: usize = 300;

fn path(open: &[Open<'_>]) -> String {
    let mut path = String::new();
    for step in open {
        match step {
            Open::Array { index } => path.push_str(&format!("[{index}]")),
            Open::Object { key, .. } => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.extend(key.chars().take(MAX_KEY_SHOWN));
            }
        }
    }
    path.chars().take(MAX_PATH_SHOWN).collect()
}

/// Finds the paths at the position after the first `end` bytes of a valid JSON text, in time linear in the text. The library
/// for this, `serde_path_to_error`, instantiates all deserialization code a second time, a tenth of the Worker
/// (docs/decisions/0005-json-error-paths.md).
pub(super) fn locate(text: &str, end: usize) -> Paths {
    let (mut open, last_value) = scan(text, end);
    let (open_before, _) = scan(text, last_value);
    open.pop();
    Paths { value: path(&open_before), container: path(&open) }
}

/// Returns what is open after the first `end` bytes, and where the last value begins.
fn scan(text: &str, end: usize) -> (Vec<Open<'_>>, usize) {
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut last_value = 0_usize;
    let (mut string, mut escaped, mut scalar) = (None, false, false);
    for (at, byte) in text.bytes().enumerate().take(end) {
        if let Some(start) = string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    string = None;
                    if let Some(Open::Object { key, in_key: true }) = open.last_mut() {
                        *key = text.get(start..at).unwrap_or_default();
                    }
                }
                _ => {}
            }
            continue;
        }
        let in_key = matches!(open.last(), Some(Open::Object { in_key: true, .. }));
        if matches!(byte, b'"' | b'{' | b'[') && !in_key {
            last_value = at;
        }
        match byte {
            b'"' => string = Some(at.saturating_add(1)),
            b'{' => open.push(Open::Object { key: "", in_key: true }),
            b'[' => open.push(Open::Array { index: 0 }),
            b'}' | b']' if at.saturating_add(1) < end => drop(open.pop()),
            b',' => match open.last_mut() {
                Some(Open::Array { index }) => *index = index.saturating_add(1),
                Some(Open::Object { in_key, .. }) => *in_key = true,
                None => {}
            },
            b':' => {
                if let Some(Open::Object { in_key, .. }) = open.last_mut() {
                    *in_key = false;
                }
            }
            b' ' | b'\t' | b'\r' | b'\n' | b'}' | b']' => {}
            _ if !scalar => last_value = at,
            _ => {}
        }
        scalar = !matches!(byte, b'"' | b'{' | b'[' | b'}' | b']' | b',' | b':' | b' ' | b'\t' | b'\r' | b'\n');
    }
    (open, last_value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_text_has_its_paths() {
        let text = r#"{"a":[1, {"b\"]":[true]}, "x,y"],
            "c":{"d":{}}}"#;
        for (until, value, container) in [
            ("{", "", ""),
            ("1", "a[0]", "a"),
            ("{\"b", "a[1]", "a[1]"),
            ("tr", "a[1].b\\\"][0]", "a[1].b\\\"]"),
            ("true]", "a[1].b\\\"][0]", "a[1].b\\\"]"),
            ("x,y", "a[2]", "a"),
            ("\"c\":", "a[2]", ""),
            ("\"c\":{", "c", "c"),
            ("{}", "c.d", "c.d"),
            ("{}}", "c.d", "c"),
            ("{}}}", "c.d", ""),
        ] {
            let end = text.find(until).unwrap() + until.len();
            let place = locate(text, end);
            assert_eq!((place.value.as_str(), place.container.as_str()), (value, container), "{until}");
        }
    }
}
