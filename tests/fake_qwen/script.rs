//! Turns a directive into the steps of a response.

use std::time::Duration;

use bytes::Bytes;

use super::Shared;
use super::body::{Reply, Start, Step};
use super::directive::{Directive, last_line};
use super::failures;
use super::fixtures::{self, Fixture};
use super::recorded;
use super::streams::{self, Shape, Stream, Style};
use super::tools::{self, Part, split_text};
use super::transcript;
use super::turn::{Exchange, Turn};

const MAX_DELTAS: u64 = 100_000;
/// The delay before a connection is cut, so that the bytes before arrive.
const BEFORE_CUT: Duration = Duration::from_millis(20);

/// Values of `stream` that are generated.
const GENERATORS: &[&str] = &["default", "old", "plain", "count"];

/// Values of `fail` that apply to a stream.
const STREAM_FAILURES: &[&str] = &[
    "empty",
    "created_only",
    "bare_error",
    "error_before",
    "error_created",
    "error_amid",
    "error_amid_bare",
    "error_after",
];

/// What an answer consists of.
pub(super) enum Answer<'a> {
    /// Text as the directive has it, or a file of `tests/streams`.
    Text(&'a Allowed),
    /// The events of pictures, or a file of `tests/streams`.
    Drawn(Stream),
}

/// The format that the request asks for.
pub(super) struct Allowed {
    pub(super) thinking: bool,
    pub(super) phases: bool,
    pub(super) cumulative: bool,
    /// Events of the site's own tool, before the text.
    pub(super) tool_events: Vec<String>,
}

/// The response to a completion that passed all checks.
pub(super) fn play(shared: &Shared, directive: Directive, turn: Turn, answer: Answer<'_>, request_id: &str) -> Reply {
    let reply = canned(&directive, turn.exchange(), request_id).unwrap_or_else(|| {
        stream(
            &directive,
            turn.exchange(),
            answer,
            request_id,
            shared.default_delay_ms.load(std::sync::atomic::Ordering::Relaxed),
        )
    });
    finish(&directive, turn, reply)
}

/// Removes the failing keys after the first `times` requests.
pub(super) fn expire_failures(shared: &Shared, directive: &mut Directive) {
    if let Some(times) = directive.number("times")
        && !shared.is_among_first(directive.id(), times)
    {
        directive.remove_failures();
    }
}

/// The response with its turn, and with the pauses around it.
pub(super) fn finish(directive: &Directive, mut turn: Turn, mut reply: Reply) -> Reply {
    if let Start::After(wait) = &mut reply.start {
        *wait = millis(directive, "first_ms");
    }
    turn.set_linger(millis(directive, "linger_ms"));
    if directive.on("busy_until_stop") {
        turn.stay_busy(length(&reply.steps).map(|length| length + millis(directive, "first_ms")));
    }
    turn.complete_at(complete_at(&reply.steps, &turn.exchange().response_id));
    reply.turn = Some(turn);
    reply
}

fn millis(directive: &Directive, key: &str) -> Duration {
    Duration::from_millis(directive.number(key).unwrap_or(0))
}

/// Responses that are not a stream.
fn canned(directive: &Directive, exchange: &Exchange, request_id: &str) -> Option<Reply> {
    if directive.on("hang") {
        return Some(Reply::never());
    }
    if directive.on("reset") {
        return Some(Reply::reset());
    }
    if let Some(status) = directive.number("status") {
        let body = directive.get("body").unwrap_or_default().to_owned();
        let content_type = if body.starts_with('{') { "application/json" } else { "text/html" };
        return Some(Reply::whole(u16::try_from(status).ok()?, content_type, body));
    }
    if let Some(name) = directive.get("stream").filter(|name| !GENERATORS.contains(name))
        && Fixture::load(name).is_none()
    {
        return Some(failures::unknown(name));
    }
    let name = directive.get("fail").filter(|name| !STREAM_FAILURES.contains(name))?;
    if name == "recorded" {
        return Some(recorded_response(directive, exchange));
    }
    Some(failures::named(name, directive.number("num"), request_id).unwrap_or_else(|| failures::unknown(name)))
}

/// A response of the table with the ids of the turn filled in.
fn recorded_response(directive: &Directive, exchange: &Exchange) -> Reply {
    let name = directive.get("name").unwrap_or_default();
    let Some(row) = recorded::all().into_iter().find(|row| row.name == name) else {
        return failures::unknown(name);
    };
    let body = fixtures::filled(&row.body(), &exchange.chat_id, &exchange.user_id, &exchange.response_id);
    let headers = row.headers();
    let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    let steps = regroup(directive, vec![Step::Bytes(body.into())]);
    Reply { headers, steps, ..Reply::whole(row.status().as_u16(), "", "") }
}

fn stream(
    directive: &Directive,
    exchange: &Exchange,
    answer: Answer<'_>,
    request_id: &str,
    default_delay_ms: u64,
) -> Reply {
    let (mut events, pauses) = events(directive, exchange, answer, request_id);
    if directive.on("done") {
        events.push(b"data: [DONE]\n\n".to_vec());
    }
    if directive.on("crlf") {
        for event in &mut events {
            *event = String::from_utf8_lossy(event).replace("\r\n", "\n").replace('\n', "\r\n").into_bytes();
        }
    }
    let steps = regroup(directive, cut(directive, paced(directive, exchange, events, &pauses, default_delay_ms)));
    let content_type = if directive.on("charset") { "text/event-stream; charset=utf-8" } else { "text/event-stream" };
    Reply { steps, sized: false, ..Reply::whole(200, content_type, "") }.header("cache-control", "no-cache")
}

/// The events with their line ends, and an error at its position; the pauses before some of them.
fn events(
    directive: &Directive,
    exchange: &Exchange,
    answer: Answer<'_>,
    request_id: &str,
) -> (Vec<Vec<u8>>, Vec<(usize, Duration)>) {
    let (mut events, amid, after, pauses) = match directive.get("stream").and_then(Fixture::load) {
        Some(fixture) => {
            let events = fixtures::events(&fixture.filled(&exchange.chat_id, &exchange.user_id, &exchange.response_id));
            let (amid, after) = (events.len() / 2, events.len().saturating_sub(1));
            (events, amid, after, Vec::new())
        }
        None => {
            let stream = match answer {
                Answer::Text(allowed) => streams::generate(&shape(directive, exchange, allowed), exchange),
                Answer::Drawn(stream) => stream,
            };
            let events = stream.events.into_iter().map(|event| format!("{event}\n\n").into_bytes());
            (events.collect(), stream.amid, stream.after, stream.pauses)
        }
    };
    let error = failures::in_stream(directive.get("code").unwrap_or("internal"), &exchange.response_id, request_id);
    let prefixed = format!("data: {error}\n\n").into_bytes();
    let (keep, error) = match directive.get("fail") {
        Some("empty") => (0, None),
        Some("created_only") => (1, None),
        Some("bare_error") => (0, Some(error.into_bytes())),
        Some("error_before") => (0, Some(prefixed)),
        Some("error_created") => (1, Some(prefixed)),
        Some("error_amid") => (amid, Some(prefixed)),
        Some("error_amid_bare") => (amid, Some(format!("{error}\n").into_bytes())),
        Some("error_after") => (after, Some(prefixed)),
        _ => (events.len(), None),
    };
    events.truncate(keep);
    events.extend(error);
    (events, pauses)
}

fn shape(directive: &Directive, exchange: &Exchange, allowed: &Allowed) -> Shape {
    let name = directive.get("stream").unwrap_or("default");
    let numbered = |count: u64| (1..=count.min(MAX_DELTAS)).map(|number| format!("{number} ")).collect::<Vec<_>>();
    let numbered_answer = |count: u64| numbered(count).into_iter().map(Part::Text).collect();
    let has_calls = !directive.calls().is_empty();
    let mut answer = match (directive.get("say"), directive.number("n")) {
        (Some(text), _) => tools::of_text(directive, text),
        (None, Some(count)) => numbered_answer(count),
        (None, None) if name == "count" => numbered_answer(10),
        (None, None) if has_calls => Vec::new(),
        (None, None) => tools::of_text(directive, &last_line(&exchange.prompt)),
    };
    if !allowed.tool_events.is_empty() {
        answer.insert(0, Part::Events(allowed.tool_events.clone()));
    }
    let thinking = match (directive.get("think"), directive.number("thinking")) {
        _ if !allowed.thinking || name == "plain" => Vec::new(),
        (Some(text), _) => split_text(text, directive.size("piece")),
        (None, Some(count)) => numbered(count),
        (None, None) if name == "count" => Vec::new(),
        (None, None) => split_text("I read the last line. I repeat it.", None),
    };
    Shape {
        style: if name == "old" { Style::Think } else { Style::Summary },
        answer: tools::with_calls(directive, answer, allowed.thinking),
        thinking,
        cumulative: allowed.cumulative || directive.on("cumulative"),
        phases: allowed.phases,
        usage: directive.get("usage") != Some("0"),
        end: directive.get("end") != Some("0"),
        ascii: directive.on("ascii"),
        input_tokens: 1_000 + exchange.prompt.len() / 4,
    }
}

/// Inserts pauses, keep-alives and a stall between the events.
fn paced(
    directive: &Directive,
    exchange: &Exchange,
    events: Vec<Vec<u8>>,
    pauses: &[(usize, Duration)],
    default_delay_ms: u64,
) -> Vec<Step> {
    let delay = Duration::from_millis(directive.number("delay_ms").unwrap_or(default_delay_ms));
    let gap = millis(directive, "gap_ms");
    let every = millis(directive, "keepalive_ms");
    let stall = directive.size("stall");
    let mut steps = Vec::new();
    for (index, event) in events.into_iter().enumerate() {
        if stall == Some(index) {
            break;
        }
        for (_, pause) in pauses.iter().filter(|(before, _)| *before == index) {
            steps.extend(silence(exchange, *pause, every));
        }
        if index > 0 && !delay.is_zero() {
            steps.push(Step::Pause(delay));
        }
        steps.push(Step::Bytes(event.into()));
        if index == 0 && !gap.is_zero() {
            steps.extend(silence(exchange, gap, every));
        }
    }
    if stall.is_some() {
        steps.push(Step::Stall);
    }
    steps
}

/// A pause with a keep-alive after each `every`, unless that is 0.
fn silence(exchange: &Exchange, pause: Duration, every: Duration) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut left = pause;
    while !every.is_zero() && left > every {
        steps.push(Step::Pause(every));
        steps.push(Step::Bytes(format!("{}\n\n", streams::keep_alive(exchange)).into()));
        left -= every;
    }
    steps.push(Step::Pause(left));
    steps
}

/// The sum of the pauses; `None` if the response has no end.
fn length(steps: &[Step]) -> Option<Duration> {
    steps.iter().try_fold(Duration::ZERO, |sum, step| match step {
        Step::Pause(pause) => Some(sum + *pause),
        Step::Bytes(_) | Step::Abort => Some(sum),
        Step::Fill { .. } | Step::Repeat(..) | Step::Stall => None,
    })
}

/// Ends the response early, with or without a proper end of the body.
fn cut(directive: &Directive, mut steps: Vec<Step>) -> Vec<Step> {
    let (limit, is_clean) = match (directive.size("cut"), directive.size("cut_clean")) {
        (Some(limit), _) => (limit, false),
        (None, Some(limit)) => (limit, true),
        (None, None) => return steps,
    };
    let mut left = limit;
    let mut kept_steps = 0;
    for step in &mut steps {
        if left == 0 {
            break;
        }
        if let Step::Bytes(bytes) = step {
            bytes.truncate(left);
            left -= bytes.len();
        }
        kept_steps += 1;
    }
    steps.truncate(kept_steps);
    if !is_clean {
        steps.push(Step::Pause(BEFORE_CUT));
        steps.push(Step::Abort);
    }
    steps
}

/// Regroups the bytes into writes: `split=K` of K bytes, `split=0` into one, `group=N` of N events.
fn regroup(directive: &Directive, steps: Vec<Step>) -> Vec<Step> {
    let split = directive.size("split");
    let group = if split == Some(0) { Some(usize::MAX) } else { directive.size("group").filter(|size| *size > 1) };
    let mut out = Vec::new();
    let mut grouped = Vec::new();
    let mut count = 0;
    for step in steps {
        match (step, group) {
            (Step::Bytes(bytes), Some(group)) => {
                grouped.extend_from_slice(&bytes);
                count += 1;
                if count == group {
                    out.push(Step::Bytes(std::mem::take(&mut grouped).into()));
                    count = 0;
                }
            }
            (Step::Bytes(bytes), None) => match split {
                Some(size) => out.extend(bytes.chunks(size).map(|piece| Step::Bytes(Bytes::copy_from_slice(piece)))),
                None => out.push(Step::Bytes(bytes)),
            },
            (Step::Pause(_), Some(usize::MAX)) => {}
            (Step::Pause(pause), _) => out.push(Step::Pause(pause)),
            (end, _) => {
                out.push(Step::Bytes(std::mem::take(&mut grouped).into()));
                if matches!(end, Step::Abort) {
                    out.push(Step::Pause(BEFORE_CUT));
                }
                out.push(end);
            }
        }
    }
    if !grouped.is_empty() {
        out.push(Step::Bytes(grouped.into()));
    }
    out
}

/// The offset at which the turn is complete: after the finishing event, or at the proper end of the body.
fn complete_at(steps: &[Step], response_id: &str) -> Option<usize> {
    let mut bytes = Vec::new();
    for step in steps {
        match step {
            Step::Bytes(piece) => bytes.extend_from_slice(piece),
            Step::Pause(_) => {}
            Step::Fill { .. } | Step::Repeat(..) | Step::Stall | Step::Abort => {
                return transcript::end_of_answer(&bytes, response_id);
            }
        }
    }
    transcript::end_of_answer(&bytes, response_id).or(Some(bytes.len()))
}
