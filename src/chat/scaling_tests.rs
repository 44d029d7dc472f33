//! The time grows with the input and not with its square, whatever its form: each function that reads what a client sends,
//! over the bodies of `tests/integration/hostile_bodies.rs` and over texts of any repeated unit.

use std::{cell::RefCell, collections::BTreeMap, ops::ControlFlow, time::Duration};

use cpu_time::ThreadTime;
use proptest::prelude::*;
use serde_json::json;

use super::{
    attachments::{Attachment, Attachments},
    check::check,
    citations::citations,
    conversations::digest::History,
    conversations::system_text::without_times,
    filters::StopFilter,
};
use crate::{
    api::{Parsed, anthropic, openai},
    credentials_input,
    error::Result,
    llm::{Message, Source, estimate_text, estimate_tokens},
    upstream::{PromptMessage, RenderedPrompt, SseReader, ToolText, answered_calls, render_prompt, speaker_names},
    visible,
};

#[path = "../../tests/integration/hostile_bodies.rs"]
#[allow(unreachable_pub, reason = "a module of two crates")]
mod hostile_bodies;

pub(super) const MIB: usize = 1024 * 1024;

/// The time of this thread that each function has taken.
#[derive(Default)]
pub(super) struct Times(RefCell<BTreeMap<&'static str, Duration>>);

impl Times {
    pub(super) fn of<T>(&self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let begin = ThreadTime::now();
        let result = work();
        *self.0.borrow_mut().entry(name).or_default() += begin.elapsed();
        result
    }
}

/// What becomes of a request's body before anything is asked of the site.
pub(super) fn read_request(body: &str) -> Times {
    read_with(openai::chat_completions::parse, body)
}

/// The same for a request of Messages.
fn read_messages(body: &str) -> Times {
    read_with(anthropic::parse, body)
}

fn read_with(parse: fn(&[u8]) -> Result<Parsed>, body: &str) -> Times {
    let times = Times::default();
    let Ok(parsed) = times.of("from_json", || parse(body.as_bytes())) else { return times };
    let mut request = parsed.request;
    times.of("estimate", || estimate_tokens(&request));
    let Ok(attachments) = times.of("attachments", || Attachments::take(&mut request.messages)) else { return times };
    let messages = request.messages;
    drop(times.of("check", || check("messages", &messages, &attachments)));
    let history = times.of("history", || History::new(("scope", ""), &messages, &attachments));
    times.of("with_answer", || history.with_answer(body, []));
    times.of("second_chance", || history.second_chance(body));
    times.of("title", || super::conversations::title(&messages));
    times.of("names", || speaker_names(&messages));
    times.of("answers", || answered_calls(&messages));
    times.of("fold", || render(&messages, &attachments, &ToolText::default()));
    times
}

/// The messages as the site gets them.
pub(super) fn render(messages: &[Message], attachments: &Attachments, tools: &ToolText) -> RenderedPrompt {
    let (names, answers) = (speaker_names(messages), answered_calls(messages));
    let prompt_message = |(index, message): (usize, _)| PromptMessage {
        message,
        name: names[index].as_deref(),
        answers: answers[index].as_ref(),
        attached: attachments.of(index).iter().map(Attachment::name).collect(),
    };
    render_prompt(messages.iter().enumerate().map(prompt_message), 0, tools)
}

/// What any text goes through that a client, or the site, sends.
fn read_text(text: &str) -> Times {
    let times = Times::default();
    times.of("without_times", || without_times(text));
    drop(times.of("pasted", || credentials_input::read(text)));
    for begin in
        ["curl ", "curl ^\"", "fetch(", "token=", "{\"token\":\"", "[{\"name\":\"", "# Netscape HTTP Cookie File\n"]
    {
        drop(times.of(begin, || credentials_input::read_part(&format!("{begin}{text}"))));
    }
    times.of("cookie_value", || credentials_input::cookie_value(text, "token").map(str::len));
    times.of("visible::text", || visible::text(text).len());
    times.of("estimate", || estimate_text(text));
    times.of("visible::lines", || visible::lines(text).len());
    let sources = vec![Source { title: String::new(), url: String::new() }; 500];
    times.of("annotations", || citations(text, &sources));
    times.of("stops", || {
        let mut filter = StopFilter::new(vec!["aab".to_owned(), "token;".to_owned()]);
        let mut length = 0;
        for piece in text.as_bytes().chunks(7) {
            filter.push(&String::from_utf8_lossy(piece), |text| length += text.len());
        }
        length
    });
    times.of("events", || {
        let mut reader = SseReader::default();
        text.as_bytes().chunks(64).try_for_each(|piece| reader.feed(piece, |_| ControlFlow::Continue(()))).is_continue()
    });
    times
}

/// Measures `read` on `make`'s input of half of `bytes` and of twice as much as `bytes`: time in proportion is four times as
/// long, time that grows with the square sixteen times. The limit is in the middle of the two, so that neither caches nor
/// what else the machine does decides; and as a disturbance only makes a measurement longer, the shortest of a few counts.
pub(super) fn assert_linear(what: &str, bytes: usize, make: impl Fn(usize) -> String, read: impl Fn(&str) -> Times) {
    const MEASUREMENTS: usize = 7;
    const LIMIT: f64 = 8.0;
    /// Below, the allocator and the clock decide more of the time than the input does.
    const FLOOR: Duration = Duration::from_millis(10);
    let inputs = [make(bytes / 2), make(bytes * 2)];
    let mut least: [BTreeMap<&str, Duration>; 2] = Default::default();
    let mut slow = Vec::new();
    for _ in 0..MEASUREMENTS {
        for (least, input) in least.iter_mut().zip(&inputs) {
            for (name, time) in read(input).0.into_inner() {
                let shortest = least.entry(name).or_insert(time);
                *shortest = time.min(*shortest);
            }
        }
        let [small, large] = &least;
        let ratio = |(name, time): (&&'static str, &Duration)| {
            let small = small.get(*name).copied().unwrap_or_default().max(FLOOR);
            (*name, time.as_secs_f64() / small.as_secs_f64())
        };
        slow = large.iter().map(ratio).filter(|(_, ratio)| *ratio > LIMIT).collect();
        if slow.is_empty() {
            return;
        }
    }
    panic!("{what}, {} bytes and four times as many: {slow:?}, of {least:?}", bytes / 2);
}

#[test]
fn hostile_bodies_take_time_in_proportion() {
    for (form, make) in hostile_bodies::FORMS {
        for bytes in [2 * MIB, 4 * MIB] {
            assert_linear(form, bytes, make, read_request);
        }
    }
    for (form, make) in hostile_bodies::MESSAGES_FORMS {
        for bytes in [2 * MIB, 4 * MIB] {
            assert_linear(form, bytes, make, read_messages);
        }
    }
}

/// What may begin, end, escape or repeat something in any of the forms.
const TOKENS: [&str; 40] = [
    "a",
    "1",
    " ",
    "\n",
    "\r",
    "\t",
    "\"",
    "'",
    "\\",
    "^",
    "$",
    "&",
    ";",
    "=",
    ",",
    ":",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "<",
    ">",
    "<think>",
    "</think>",
    "<tool_use>",
    "&amp;",
    "may ",
    "12:30",
    "e\u{301}",
    "\u{301}",
    "\u{1F600}",
    "\\u00",
    "$'",
    "-H ",
    "--cookie ",
    "data: ",
    "token=",
    "\"cookie\": ",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn texts_of_any_unit_take_time_in_proportion(unit in proptest::collection::vec(proptest::sample::select(&TOKENS[..]), 1..6)) {
        let unit = unit.concat();
        let text = |bytes: usize| unit.repeat(bytes / unit.len());
        assert_linear(&unit, MIB / 2, text, read_text);
        for role in ["user", "system", "assistant"] {
            let body = |bytes| json!({ "messages": [
                { "role": "user", "content": "a" },
                { "role": role, "content": text(bytes) },
                { "role": "user", "content": "b" },
            ]}).to_string();
            assert_linear(&format!("{role}: {unit}"), MIB / 2, body, read_request);
        }
        assert_linear(&format!("as the body: {unit}"), MIB / 2, text, read_request);
    }
}
