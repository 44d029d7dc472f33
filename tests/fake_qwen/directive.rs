//! `[[fake key=value …]]` in a prompt: the response to this turn.
//!
//! | Keys | Meaning |
//! |---|---|
//! | `stream=NAME` | a file of `tests/streams`, or `default` (2026), `old` (2025), `plain` (no thinking), `count` |
//! | `say` `think` | the answer and the thinking, percent-encoded; `piece=K` splits them into K characters per delta |
//! | `files=1` | the answer is a line for each file of the message: kind, name, size, SHA-256 |
//! | `n` `thinking` | that many numbered deltas instead |
//! | `usage=0` `ascii` `cumulative` `crlf` `done` `charset` | variations of the format |
//! | `first_ms` `delay_ms` `gap_ms` `keepalive_ms` | pauses before the headers, between events, after the first event |
//! | `split=K` `group=N` | K bytes per write (0: a single write), N events per write |
//! | `cut=N` `cut_clean=N` `stall=N` | break or end the response after N bytes, stall after N events |
//! | `hang` `reset` | no response headers; no response |
//! | `fail=NAME` `num` `code` | see `failures.rs`; `error_*`, `created_only`, `empty`, `bare_error` shape the stream |
//! | `fail=recorded` `name=ROW` | a response of `tests/refusals/table.json`, split by `split=K` |
//! | `status=CODE` `body=…` | any other response |
//! | `times=N` `id=ID` | the failing keys apply only to the first N requests with this id |
//! | `linger_ms` | the chat stays busy for this long after the turn |

/// The last directive of a prompt; values are percent-decoded (`+` stays a plus), a key without a value counts as `1`.
#[derive(Clone, Debug, Default)]
pub(super) struct Directive {
    pairs: Vec<(String, String)>,
    source: String,
}

/// Keys that make a turn fail; they are ignored after `times` requests.
const FAILING: &[&str] = &["fail", "status", "cut", "cut_clean", "hang", "stall", "reset", "first_ms"];

const OPEN: &str = "[[fake ";
const CLOSE: &str = "]]";

impl Directive {
    pub(super) fn last_of(prompt: &str) -> Directive {
        let Some(source) = prompt.rfind(OPEN).map(|at| &prompt[at + OPEN.len()..]) else {
            return Directive::default();
        };
        let source = source.split(CLOSE).next().unwrap_or_default();
        let pairs = source.split_whitespace().map(|word| {
            let (key, value) = word.split_once('=').unwrap_or((word, "1"));
            (key.to_owned(), percent_decoded(value))
        });
        Directive { pairs: pairs.collect(), source: source.to_owned() }
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.get(key)?.parse().ok()
    }

    pub(super) fn size(&self, key: &str) -> Option<usize> {
        self.get(key)?.parse().ok()
    }

    pub(super) fn on(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value != "0")
    }

    /// The key under which `times` counts.
    pub(super) fn id(&self) -> &str {
        self.get("id").unwrap_or(&self.source)
    }

    pub(super) fn set(&mut self, key: &str, value: &str) {
        self.pairs.push((key.to_owned(), value.to_owned()));
    }

    /// Removes the failing keys.
    pub(super) fn remove_failures(&mut self) {
        self.pairs.retain(|(key, _)| !FAILING.contains(&key.as_str()));
    }
}

/// The last line of the prompt that has text besides directives.
pub(super) fn last_line(prompt: &str) -> String {
    let mut plain = String::new();
    let mut rest = prompt;
    while let Some((before, after)) = rest.split_once(OPEN) {
        plain.push_str(before);
        rest = after.split_once(CLOSE).map_or("", |(_, rest)| rest);
    }
    plain.push_str(rest);
    plain.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("ok").to_owned()
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match code {
            Some(code) if first == b'%' => {
                bytes.push(code);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
