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
//! | `busy_until_stop=1` | if the client leaves, the chat stays busy until it is stopped or the answer would be over |
//! | `call=NAME` `args=JSON` | a native call after the text, then a refusal and an apology; repeatable, `args` after its `call` |
//! | `site=NAME` `args` `result` | a tool that the site runs, among the calls: an id, a phase of its own, a result |
//! | `calls=FORM` | `increments` or an `object` instead of snapshots of the arguments; `0`: refusals without their calls |
//! | `incomplete=1` `end=0` | the answer ends in the middle of its last call; there is no finishing event |
//! | `refusal` `refusal_finished=1` | `0`: none, `exist`: the other spelling; the refusals have `finished` as their status |
//! | `prose=1` | the refusals are text of the answer, glued together |
//! | `rounds=N` | the calls and their refusals come N times |
//! | `pause_ms` `then_think` `then` | after the refusals: a pause (with `keepalive_ms`), thinking, a text instead of the apology |
//! | `intercept=1` | `<tool_call>{"name":…,"arguments":…}</tool_call>` in the text becomes a native call |
//! | `steps=ONE\|TWO` | the answers to the completions of this chat in turn; the other keys apply to each |
//!
//! Pictures (`t2i`, `image_edit`) take the pauses, the forms, `fail`, `status`, `hang`, `reset`, `cut`, `stall`, `stream`,
//! `think` (as `image_gen_think`), `usage=0` and `end=0` of the above, and
//!
//! | Keys | Meaning |
//! |---|---|
//! | `pictures=N` | pictures of the turn; 1 without it, 0: never any |
//! | `preview=1` | each picture comes below `/t2i/` and then, as the final one, below `/image_gen/` |
//! | `echo=1` | the links of the inputs come before the results |
//! | `px=WxH` `type=png\|jpeg\|webp\|text` `bytes=N` | pixels, format and length of the file; `text`: no picture |
//! | `link=relative` `link=URL` | the link of the picture: relative to the chat, or this text |
//! | `image_tokens=N` | the usage has tokens |
//! | `lost=HOW` | the job is accepted, the chat gets the picture, the stream does not: `empty` (no data lines), `created`, `finished`, `error`, `cut` (after the first event), `stall` (the same, open), `silent` (open, no byte), `keepalive` (for ever), `hang` (no headers), `reset` |
//! | `reads=N` `draw_ms=N` | the first N reads of the chat lack the picture; it is there N ms after the order |
//! | `draw=1` `draw=final` `draw=edit` | in a text chat: the model draws with its own tool, a preview and a final (`final`: no preview) |
//! | `fail=picture_quota\|overload` | JSON `RateLimited` with the text of a used-up quota, or of overload |
//! | `fail=error_before code=picture_quota\|overload\|inspection_input` | the same in the stream, as `quota_limit` with `detail` |
//! | `fail=empty` | silent drop: no data line, nothing in the chat, no job |
//! | `cdn=FAULT` `cdn_times=N` | answer of the CDN to the first N requests (without it: all) for each file: a status (with a page of HTML), `html` (a page with 200), `reset`, `hang`, `cut`, `stall` (after half), `redirect` to `cdn_to=URL` |
//! | `cdn_first_ms` `cdn_delay_ms` `cdn_chunked=1` `range=0` | a pause before the headers, one before each 64 KiB, no `Content-Length`, no ranges |
//!
//! Videos (`t2v`, `i2v`) take `type=mp4`, `bytes`, `range`, `cdn…`, `fail`, `status`, `hang`, `reset`, and
//!
//! | Keys | Meaning |
//! |---|---|
//! | `polls=N` `run_ms=N` | the task runs for N polls (2 without it), or for this time |
//! | `state=WORD` `end_state=WORD` | `task_status` while it runs and after; what begins with `succ` has the video |
//! | `message=TEXT` `task_error=CODE` | `message` of a failed task; it ends with an `error` object instead of a state |
//! | `poll_N=NAME` | the Nth poll is answered with `401`, `missing`, `html` (502), or a name of `fail` |
//! | `gone=N` | after N polls the task is not found |
//! | `v1=404\|html\|json` `v2=…` | this route is switched off: `/api/v1/tasks/status/`, `/api/v2/task/status/` |
//! | `task_id=none\|detail\|flat` | the answer lacks the task id: it is nowhere, in the chat, or at `data.task_id` |
//! | `detail=1` `reads` `draw_ms` | the chat has the video (as soon as these say) |
//! | `lost=reset\|hang\|empty\|html` | the job is accepted, its answer lost |
//! | `fail=video_quota` | JSON `RateLimited` |
//!
//! A step is a percent-encoded text or a whole percent-encoded directive with its brackets; [`steps`] writes the key. The chat
//! remembers its steps, as later prompts lack the directive. A prompt with the same steps goes on, one with others starts anew,
//! one with a directive without steps uses none; after the last step the fake repeats the last line again. With `id=ID` all chats
//! count together. [`super::Fake::set_directive`] sets a directive for prompts without one.

use std::fmt::Write as _;

/// The keys of a directive; values are percent-decoded (`+` stays a plus) except `steps`, a key without a value counts as `1`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directive {
    pairs: Vec<(String, String)>,
    source: String,
}

/// Keys that make a turn fail; they are ignored after `times` requests.
const FAILING: &[&str] = &["fail", "status", "cut", "cut_clean", "hang", "stall", "reset", "first_ms", "lost"];

const OPEN: &str = "[[fake ";
const CLOSE: &str = "]]";

impl Directive {
    pub(crate) fn last_of(prompt: &str) -> Directive {
        match prompt.rfind(OPEN).map(|at| &prompt[at + OPEN.len()..]) {
            Some(source) => Directive::parse(source.split(CLOSE).next().unwrap_or_default()),
            None => Directive::default(),
        }
    }

    /// Reads a directive without its brackets.
    pub(crate) fn parse(source: &str) -> Directive {
        let pairs = source.split_whitespace().map(|word| {
            let (key, value) = word.split_once('=').unwrap_or((word, "1"));
            (key.to_owned(), if key == "steps" { value.to_owned() } else { percent_decoded(value) })
        });
        Directive { pairs: pairs.collect(), source: source.to_owned() }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        self.get(key)?.parse().ok()
    }

    pub(crate) fn size(&self, key: &str) -> Option<usize> {
        self.get(key)?.parse().ok()
    }

    pub(crate) fn on(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value != "0")
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Puts the keys of `base` before these, which override them.
    pub(crate) fn after(mut self, base: &Directive) -> Directive {
        self.pairs.splice(..0, base.pairs.iter().cloned());
        self
    }

    /// The calls in their order: name, arguments, and the result if the site runs the tool.
    pub(crate) fn calls(&self) -> Vec<(String, String, Option<String>)> {
        let mut calls: Vec<(String, String, Option<String>)> = Vec::new();
        for (key, value) in &self.pairs {
            match (key.as_str(), calls.last_mut()) {
                ("call", _) => calls.push((value.clone(), "{}".to_owned(), None)),
                ("site", _) => calls.push((value.clone(), "{}".to_owned(), Some(String::new()))),
                ("args", Some((_, arguments, _))) => arguments.clone_from(value),
                ("result", Some((_, _, Some(result)))) => result.clone_from(value),
                _ => {}
            }
        }
        calls
    }

    /// The directive of a step; empty after the last one.
    pub(crate) fn step(&self, number: usize) -> Directive {
        let Some(step) = self.get("steps").and_then(|steps| steps.split('|').nth(number)) else {
            return Directive::default();
        };
        let text = percent_decoded(step);
        if text.contains(OPEN) {
            return Directive::last_of(&text);
        }
        Directive { pairs: vec![("say".to_owned(), text)], source: step.to_owned() }
    }

    /// The key under which `times` counts.
    pub(crate) fn id(&self) -> &str {
        self.get("id").unwrap_or(&self.source)
    }

    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.pairs.push((key.to_owned(), value.to_owned()));
    }

    /// Removes the failing keys.
    pub(crate) fn remove_failures(&mut self) {
        self.pairs.retain(|(key, _)| !FAILING.contains(&key.as_str()));
    }
}

/// The last line of the prompt that has text besides directives.
pub(crate) fn last_line(prompt: &str) -> String {
    let mut plain = String::new();
    let mut rest = prompt;
    while let Some((before, after)) = rest.split_once(OPEN) {
        plain.push_str(before);
        rest = after.split_once(CLOSE).map_or("", |(_, rest)| rest);
    }
    plain.push_str(rest);
    plain.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("ok").to_owned()
}

/// The key `steps` with these texts or directives.
pub fn steps(steps: &[&str]) -> String {
    format!("steps={}", steps.iter().map(|step| encoded(step)).collect::<Vec<_>>().join("|"))
}

/// A percent-encoded value.
pub fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
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
