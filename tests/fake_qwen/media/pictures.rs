//! Pictures: `t2i`, `image_edit`, and those that the model draws by itself (upstream-protocol 8.1, 8.2, 5.6).

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::Shared;
use super::super::accounts::now;
use super::super::body::{Reply, Step};
use super::super::directive::Directive;
use super::super::failures;
use super::super::script::{self, Answer};
use super::super::streams::{self, Stream};
use super::super::tools;
use super::super::turn::{Exchange, Turn};
use super::bytes::{Content, Format};
use super::check::{self, Order};
use super::outputs::Output;
use super::{Media, MediaJob};

/// How long a pro model is silent about a size in pixels; the site takes 300 s.
const PIXEL_SIZE_HANG: Duration = Duration::from_millis(1_500);
/// How long the site takes to refuse in the stream.
const BEFORE_REFUSAL: Duration = Duration::from_millis(100);
/// Values of `fail` with which a stream still has its pictures before the error.
const LATE_FAILURES: [&str; 3] = ["error_amid", "error_amid_bare", "error_after"];

/// What a chat shows of a picture or video in the making.
pub(super) struct Drawing {
    pub(super) chat_id: String,
    /// The `content_list` when it is there.
    pub(super) entries: Vec<Value>,
    /// The `content_list` before.
    pub(super) waiting: Vec<Value>,
    pub(super) extra: Value,
    pub(super) ready_at: Instant,
    /// The number of reads of the chat that do not show it yet.
    pub(super) reads: u64,
    pub(super) is_cancelled: bool,
}

impl Drawing {
    /// The `content_list` and `extra` for one read of the chat.
    pub(super) fn read(&mut self) -> (Vec<Value>, Value) {
        let is_there = !self.is_cancelled && self.reads == 0 && Instant::now() >= self.ready_at;
        self.reads = self.reads.saturating_sub(1);
        (if is_there { self.entries.clone() } else { self.waiting.clone() }, self.extra.clone())
    }

    /// A stop ends what is not there yet.
    pub(super) fn cancel(&mut self) {
        self.is_cancelled |= Instant::now() < self.ready_at;
    }
}

/// A link in the stream.
struct Link {
    text: String,
    /// Width and height; an echo has none.
    pixels: Option<(u32, u32)>,
}

/// The response to a picture's completion that passed the checks.
pub(super) fn answer(
    shared: &Arc<Shared>,
    account: &str,
    order: &Order,
    directive: Directive,
    mut turn: Turn,
    request_id: &str,
) -> Reply {
    let phase = if order.chat_type == "image_edit" { "image_edit" } else { "image_gen" };
    let exchange = turn.exchange();
    let is_pro = order.model.as_deref() == Some("qwen-image-3.0-pro");
    let fails = directive.get("fail").is_some_and(|name| !LATE_FAILURES.contains(&name));
    if fails || ["status", "hang", "reset", "stream"].iter().any(|key| directive.get(key).is_some()) {
        let stream = stream(&directive, exchange, phase, &[]);
        return script::play(shared, directive, turn, Answer::Drawn(stream), request_id);
    }
    if !shared.media.lock().unwrap().picture_quota.spend(account) {
        if !is_pro {
            return script::finish(&directive, turn, failures::named("picture_quota", None, request_id).unwrap());
        }
        let error = failures::in_stream("picture_quota", &exchange.response_id, request_id);
        return script::finish(&directive, turn, late_error(BEFORE_REFUSAL, &error));
    }
    if is_pro && order.size.as_deref().and_then(check::pixels).is_some() {
        let error = r#"{"error": {"code": "internal_error", "details": "Internal error!"}}"#;
        return script::finish(&directive, turn, late_error(PIXEL_SIZE_HANG, error));
    }

    let has_base = exchange.parent_id.is_some() || !order.files.is_empty();
    let maker = if order.chat_type == "image_edit" || has_base { "image_edit" } else { "t2i" };
    let pixels =
        directive.get("px").and_then(check::pixels).unwrap_or_else(|| check::picture_size(order, &exchange.prompt));
    let origin = shared.origin();
    let mut links = Vec::new();
    {
        let mut media = shared.media.lock().unwrap();
        media.jobs.push(MediaJob {
            account: account.to_owned(),
            chat_id: exchange.chat_id.clone(),
            response_id: exchange.response_id.clone(),
            chat_type: order.chat_type.clone(),
            prompt: exchange.prompt.clone(),
            model: order.model.clone(),
            size: order.size.clone(),
            files: order.files.clone(),
            dropped_files: 0,
            task_id: None,
        });
        if directive.on("echo") {
            links.extend(order.files.iter().map(|url| Link { text: url.clone(), pixels: None }));
        }
        for number in 1..=directive.size("pictures").unwrap_or(1) {
            let makers: &[&str] = if directive.on("preview") { &["t2i", "image_gen"] } else { &[maker] };
            for maker in makers {
                let text = add(&mut media, &origin, account, exchange, &directive, maker, number, pixels);
                links.push(Link { text, pixels: Some(pixels) });
            }
        }
        let entry = |content: &str, status: &str| json!({"content": content, "phase": phase, "status": status});
        let lost = directive.get("lost").is_some();
        let drawn = Drawing {
            chat_id: exchange.chat_id.clone(),
            entries: links.iter().map(|link| entry(&link.text, "finished")).collect(),
            waiting: vec![entry("", "typing")],
            extra: Value::Null,
            ready_at: Instant::now() + ready_after(&directive, lost),
            reads: directive.number("reads").unwrap_or(0),
            is_cancelled: links.is_empty(),
        };
        media.drawings.insert(exchange.response_id.clone(), drawn);
    }
    turn.record_now();
    let exchange = turn.exchange();
    match directive.get("lost") {
        Some(how) => {
            let reply = lost(how, &directive, exchange, phase);
            script::finish(&directive, turn, reply)
        }
        None => {
            let stream = stream(&directive, exchange, phase, &links);
            script::play(shared, directive, turn, Answer::Drawn(stream), request_id)
        }
    }
}

/// When the chat has the picture: with the stream's link, but at once if the stream is lost.
fn ready_after(directive: &Directive, is_lost: bool) -> Duration {
    let millis = |key| directive.number(key).unwrap_or(0);
    Duration::from_millis(match directive.number("draw_ms") {
        Some(draw) => draw,
        None if is_lost => 0,
        None => millis("first_ms") + millis("gap_ms"),
    })
}

/// Adds a picture to the CDN; returns its link as the stream has it.
#[expect(clippy::too_many_arguments, reason = "they describe one file")]
fn add(
    media: &mut Media,
    origin: &str,
    account: &str,
    exchange: &Exchange,
    directive: &Directive,
    maker: &str,
    number: usize,
    pixels: (u32, u32),
) -> String {
    let relative = format!("{maker}/{}/{number}.png", exchange.response_id);
    let path = format!("/output/{account}/{relative}");
    let format = directive.get("type").and_then(Format::named).unwrap_or(Format::Png);
    let content = Content::new(format, pixels, &relative, directive.number("bytes"));
    let output = Output {
        path: path.clone(),
        account: account.to_owned(),
        chat_id: exchange.chat_id.clone(),
        prompt: exchange.prompt.clone(),
        maker: maker.to_owned(),
        size: content.size,
        pixels,
    };
    media.outputs.add(output, content, directive);
    let link = media.outputs.link(&path);
    match directive.get("link") {
        None => format!("{origin}{link}"),
        Some("relative") => link.strip_prefix(&format!("/output/{account}/")).unwrap_or(&link).to_owned(),
        Some(other) => other.to_owned(),
    }
}

/// The events of a picture.
fn stream(directive: &Directive, exchange: &Exchange, phase: &str, links: &[Link]) -> Stream {
    let id = &exchange.response_id;
    let frame = |content: &str, phase: &str| {
        let content = Value::from(content);
        format!(
            r#"data: {{"choices": [{{"delta": {{"role": "assistant", "content": {content}, "phase": "{phase}", "status": "typing"}}}}], "response_id": "{id}"}}"#
        )
    };
    let mut events = vec![streams::created(streams::Style::Summary, exchange)];
    if let Some(thinking) = directive.get("think") {
        events.extend(
            tools::split_text(thinking, directive.size("piece")).iter().map(|text| frame(text, "image_gen_think")),
        );
    }
    events.push(frame("", phase));
    let mut count = 0;
    let amid = events.len();
    for link in links {
        let Some((width, height)) = link.pixels else {
            events.push(frame(&link.text, phase));
            continue;
        };
        count += 1;
        let content = Value::from(link.text.as_str());
        let usage = usage(directive, exchange, width, height, count);
        events.push(format!(
            r#"data: {{"choices": [{{"delta": {{"role": "assistant", "content": {content}, "phase": "{phase}", "extra": {{"output_image_hw": [[{height}, {width}]]}}, "status": "typing"}}}}], "response_id": "{id}"{usage}, "timestamp": {}}}"#,
            now()
        ));
    }
    let after = events.len();
    if directive.get("end") != Some("0") {
        events.push(end(exchange, phase));
    }
    Stream { events, amid, after, pauses: Vec::new() }
}

fn end(exchange: &Exchange, phase: &str) -> String {
    format!(
        r#"data: {{"choices": [{{"delta": {{"content": "", "role": "assistant", "status": "finished", "phase": "{phase}"}}}}], "response_id": "{}"}}"#,
        exchange.response_id
    )
}

/// The usage of a picture; `image_tokens=N` adds tokens.
fn usage(directive: &Directive, exchange: &Exchange, width: u32, height: u32, count: usize) -> String {
    if directive.get("usage") == Some("0") {
        return String::new();
    }
    let output = directive.number("image_tokens");
    let input = output.map_or(0, |_| exchange.prompt.len() as u64 / 4 + 10);
    let details = output.map_or_else(String::new, |tokens| {
        format!(
            r#", "total_tokens": {}, "input_tokens_details": {{"text_tokens": {input}}}, "output_tokens_details": {{"image_tokens": {tokens}}}"#,
            input + tokens
        )
    });
    let output = output.unwrap_or(0);
    format!(
        r#", "usage": {{"input_tokens": {input}, "output_tokens": {output}, "characters": 0{details}, "width": {width}, "height": {height}, "image_count": {count}}}"#
    )
}

/// The response of a job that was accepted, without its pictures.
fn lost(how: &str, directive: &Directive, exchange: &Exchange, phase: &str) -> Reply {
    let bytes = |event: String| Step::Bytes(format!("{event}\n\n").into());
    let created = || bytes(streams::created(streams::Style::Summary, exchange));
    let every = Duration::from_millis(directive.number("keepalive_ms").unwrap_or(1_000));
    let steps = match how {
        "empty" => Vec::new(),
        "created" => vec![created()],
        "cut" => vec![created(), Step::Pause(BEFORE_REFUSAL), Step::Abort],
        "silent" => vec![Step::Stall],
        "stall" => vec![created(), Step::Stall],
        "keepalive" => {
            vec![created(), Step::Repeat(format!("{}\n\n", streams::keep_alive(exchange)).into(), every)]
        }
        "finished" => vec![created(), bytes(end(exchange, phase))],
        "error" => vec![created(), bytes(format!("data: {}", failures::in_stream("", "", "")))],
        "reset" => return Reply::reset(),
        "hang" => return Reply::never(),
        unknown => return failures::unknown(unknown),
    };
    Reply { steps, sized: false, ..Reply::whole(200, "text/event-stream", "") }
}

/// An event stream that is silent for a while and then has only this error.
fn late_error(wait: Duration, error: &str) -> Reply {
    let steps = vec![Step::Pause(wait), Step::Bytes(format!("data: {error}\n\n").into())];
    Reply { steps, sized: false, ..Reply::whole(200, "text/event-stream", "") }
}

/// The events of the model's own tool in a text answer; none without the key `draw`.
pub(in super::super) fn own_tool(
    shared: &Shared,
    account: &str,
    exchange: &Exchange,
    directive: &Directive,
) -> Vec<String> {
    let how = directive.get("draw").filter(|how| *how != "0");
    let Some(how) = how.filter(|_| ["fail", "status", "hang", "reset"].iter().all(|key| directive.get(key).is_none()))
    else {
        return Vec::new();
    };
    let (tool, last) = if how == "edit" { ("image_edit_tool", "image_edit") } else { ("image_gen_tool", "image_gen") };
    let pixels = directive.get("px").and_then(check::pixels).unwrap_or((1024, 1024));
    let origin = shared.origin();
    let mut media = shared.media.lock().unwrap();
    media.jobs.push(MediaJob {
        account: account.to_owned(),
        chat_id: exchange.chat_id.clone(),
        response_id: exchange.response_id.clone(),
        chat_type: exchange.chat_type.clone(),
        prompt: exchange.prompt.clone(),
        ..MediaJob::default()
    });
    let (id, call) = (&exchange.response_id, tools::new_id());
    let arguments = Value::from(json!({"prompt": super::super::directive::last_line(&exchange.prompt)}).to_string());
    let mut events = vec![format!(
        r#"data: {{"choices": [{{"delta": {{"role": "assistant", "content": "", "phase": "{tool}", "status": "typing", "function_call": {{"name": "{tool}", "arguments": {arguments}}}, "function_id": "{call}", "extra": {{"display_position": "answer"}}}}}}], "response_id": "{id}", "timestamp": {}}}"#,
        now()
    )];
    for number in 1..=directive.size("pictures").unwrap_or(1) {
        let frames = [("t2i", "typing"), (last, "finished")];
        for (maker, status) in frames.into_iter().filter(|(maker, _)| how != "final" || *maker == last) {
            let link = Value::from(add(&mut media, &origin, account, exchange, directive, maker, number, pixels));
            events.push(format!(
                r#"data: {{"choices": [{{"delta": {{"role": "function", "name": "{tool}", "function_id": "{call}", "content": "", "phase": "{tool}", "status": "{status}", "extra": {{"display_position": "answer", "function_id": "{call}", "image_list": [{{"image": {link}}}], "tool_result": [{{"image": {link}}}]}}}}}}], "response_id": "{id}"}}"#
            ));
        }
    }
    events
}
