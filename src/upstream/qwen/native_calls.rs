//! Calls of tools in the site's own form: `delta.function_call`, whose arguments come as cumulative snapshots. The protocol
//! facts are in section 5.9 of docs/upstream-protocol.md.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::upstream::{
    fields::Text,
    halves::{marked, whole},
};

/// The longest arguments that are kept of a call, in bytes.
const MAX_ARGUMENTS: usize = 1024 * 1024;
/// The longest name, in bytes.
const MAX_NAME: usize = 256;

/// The call that is being reported.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct NativeCall {
    pub(super) name: String,
    pub(super) arguments: String,
}

/// One report of a call.
#[derive(Debug, Default, Deserialize)]
struct Frame<'a> {
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

/// The calls of one answer.
#[derive(Debug, Default)]
pub(super) struct NativeCalls {
    open: Option<NativeCall>,
    /// Whether any call was reported.
    pub(super) any: bool,
}

impl NativeCalls {
    /// Takes a report, and returns the call before it if another one begins.
    ///
    /// A snapshot replaces the one that it extends. Older streams report pieces instead, without the name: these are appended.
    /// A changed name, arguments that begin anew, and a snapshot that does not extend the last one begin another call.
    pub(super) fn take(&mut self, raw: &RawValue, is_marked: bool) -> Option<NativeCall> {
        let copy = if is_marked { None } else { marked(raw.get().as_bytes()) };
        let (json, is_marked) = copy.as_deref().map_or((raw.get(), is_marked), |copy| (copy, true));
        let frame: Frame<'_> = serde_json::from_str(json).ok().filter(|_| json.trim_start().starts_with('{'))?;
        let text = |raw: &RawValue| match serde_json::from_str::<Text<'_>>(raw.get()) {
            Ok(text) if raw.get().starts_with('"') => whole(text.as_str(), is_marked).into_owned(),
            // Some calls have an object in the place of its text.
            _ if raw.get().starts_with(['{', '[']) => whole(raw.get(), is_marked).into_owned(),
            _ => String::new(),
        };
        let arguments = frame.arguments.map(text).unwrap_or_default();
        let name = whole(frame.name.as_str(), is_marked);
        if arguments.len() > MAX_ARGUMENTS || name.len() > MAX_NAME {
            return None;
        }
        self.any = true;
        let begins = |arguments: String| NativeCall { name: name.clone().into_owned(), arguments };
        let Some(open) = &mut self.open else {
            self.open = Some(begins(arguments));
            return None;
        };
        if name.is_empty() {
            if arguments.starts_with(&open.arguments) {
                open.arguments = arguments;
            } else if open.arguments.len().saturating_add(arguments.len()) <= MAX_ARGUMENTS {
                open.arguments.push_str(&arguments);
            }
            return None;
        }
        if open.name == *name && arguments.starts_with(&open.arguments) {
            open.arguments = arguments;
            return None;
        }
        self.open.replace(begins(arguments))
    }

    /// Whether calls were reported, the last of them with arguments that are complete.
    pub(super) fn is_complete(&self) -> bool {
        let is_json = |call: &NativeCall| serde_json::from_str::<IgnoredAny>(&call.arguments).is_ok();
        self.any && self.open.as_ref().is_none_or(is_json)
    }

    /// Ends the reports, and returns the last call.
    pub(super) fn end(&mut self) -> Option<NativeCall> {
        self.open.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(frames: &[&str]) -> Vec<(String, String)> {
        let mut calls = NativeCalls::default();
        let mut all = Vec::new();
        for frame in frames {
            let raw: Box<RawValue> = serde_json::from_str(frame).unwrap();
            all.extend(calls.take(&raw, false));
        }
        all.extend(calls.end());
        all.into_iter().map(|NativeCall { name, arguments }| (name, arguments)).collect()
    }

    #[test]
    fn snapshots_and_pieces_become_calls() {
        let call = |name: &str, arguments: &str| (name.to_owned(), arguments.to_owned());
        for (frames, expected) in [
            (
                &[
                    r#"{"name":"f","arguments":""}"#,
                    r#"{"name":"f","arguments":"{\"a\""}"#,
                    r#"{"name":"f","arguments":"{\"a\":1}"}"#,
                    r#"{"name":"f","arguments":"{\"a\":1}"}"#,
                    r#"{"name":"f","arguments":""}"#,
                    r#"{"name":"f","arguments":"{\"a\":2}"}"#,
                    r#"{"name":"g","arguments":"{}"}"#,
                ][..],
                vec![call("f", r#"{"a":1}"#), call("f", r#"{"a":2}"#), call("g", "{}")],
            ),
            (
                &[r#"{"name":"f","arguments":"{\"a\""}"#, r#"{"arguments":":1}"}"#, r#"{"arguments":""}"#],
                vec![call("f", r#"{"a":1}"#)],
            ),
            (
                &[r#"{"name":"f","arguments":"{}"}"#, r#"{"name":"f","arguments":"{\"a\":1}"}"#],
                vec![call("f", "{}"), call("f", r#"{"a":1}"#)],
            ),
            (&[r#"{"name":"f","arguments":{"a":"\ud83d\ude00"}}"#], vec![call("f", r#"{"a":"\ud83d\ude00"}"#)]),
            (&[r#"{"name":"f"}"#, r#"{"name":"f","arguments":null}"#], vec![call("f", "")]),
            (&["null", "5", "[]"], vec![]),
        ] {
            assert_eq!(read(frames), expected, "{frames:?}");
        }
    }
}
