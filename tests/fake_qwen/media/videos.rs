//! Videos: `t2v` and `i2v`, and both routes that report a task (upstream-protocol 8.3).

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uuid::Uuid;

use super::super::Shared;
use super::super::body::Reply;
use super::super::directive::Directive;
use super::super::failures;
use super::super::routes::Call;
use super::super::script::{self, Answer};
use super::super::streams::Stream;
use super::super::turn::Turn;
use super::MediaJob;
use super::bytes::{Content, Format};
use super::check::Order;
use super::outputs::Output;
use super::pictures::Drawing;

/// The route with an envelope, and the flat one.
const ROUTES: [&str; 2] = ["/api/v2/task/status/", "/api/v1/tasks/status/"];
/// The number of polls that report a task as running, without the key `polls`.
const POLLS: u64 = 2;

pub(super) struct Task {
    account: String,
    chat_type: String,
    path: String,
    directive: Directive,
    begun: Instant,
    pub(super) polls: u64,
}

/// The response to a video's completion that passed the checks.
pub(super) fn answer(
    shared: &Arc<Shared>,
    account: &str,
    order: &Order,
    directive: Directive,
    mut turn: Turn,
    request_id: &str,
) -> Reply {
    if ["fail", "status", "hang", "reset"].iter().any(|key| directive.get(key).is_some()) {
        let stream = Stream { events: Vec::new(), amid: 0, after: 0, pauses: Vec::new() };
        return script::play(shared, directive, turn, Answer::Drawn(stream), request_id);
    }
    if !shared.media.lock().unwrap().video_quota.spend(account) {
        return script::finish(&directive, turn, failures::named("video_quota", None, request_id).unwrap());
    }
    let exchange = turn.exchange();
    let task_id = Uuid::new_v4().to_string();
    let path = format!("/output/{account}/{}/{}/{task_id}.mp4", order.chat_type, exchange.chat_id);
    let pixels = if order.size.as_deref() == Some("1:1") { (1440, 1440) } else { (1920, 1080) };
    let format = directive.get("type").and_then(Format::named).unwrap_or(Format::Mp4);
    let content = Content::new(format, pixels, &task_id, directive.number("bytes"));
    let output = Output {
        path: path.clone(),
        account: account.to_owned(),
        chat_id: exchange.chat_id.clone(),
        prompt: exchange.prompt.clone(),
        maker: order.chat_type.clone(),
        size: content.size,
        pixels,
    };
    let told = directive.get("task_id");
    let wanx = |is_told: bool| if is_told { json!({"wanx": {"task_id": task_id}}) } else { json!({"wanx": {}}) };
    let origin = shared.origin();
    {
        let mut media = shared.media.lock().unwrap();
        media.outputs.add(output, content, &directive);
        media.jobs.push(MediaJob {
            account: account.to_owned(),
            chat_id: exchange.chat_id.clone(),
            response_id: exchange.response_id.clone(),
            chat_type: order.chat_type.clone(),
            prompt: exchange.prompt.clone(),
            model: order.model.clone(),
            size: order.size.clone(),
            files: order.files.clone(),
            dropped_files: order.dropped_files,
            task_id: Some(task_id.clone()),
        });
        let link = format!("{origin}{}", media.outputs.link(&path));
        let drawing = Drawing {
            chat_id: exchange.chat_id.clone(),
            entries: vec![json!({"content": link, "phase": "video_gen", "status": "finished"})],
            waiting: Vec::new(),
            extra: wanx(told != Some("none")),
            ready_at: Instant::now() + Duration::from_millis(directive.number("draw_ms").unwrap_or(0)),
            reads: directive.number("reads").unwrap_or(0),
            is_cancelled: !directive.on("detail"),
        };
        media.drawings.insert(exchange.response_id.clone(), drawing);
        let task = Task {
            account: account.to_owned(),
            chat_type: order.chat_type.clone(),
            path,
            directive: directive.clone(),
            begun: Instant::now(),
            polls: 0,
        };
        media.tasks.insert(task_id.clone(), task);
    }
    let mut data = json!({
        "chat_id": exchange.chat_id, "chat_type": order.chat_type, "parent_id": exchange.user_id,
        "message_id": exchange.response_id,
        "messages": [{
            "role": "assistant", "content": "", "done": false, "size": order.size, "extra": wanx(told.is_none())
        }]
    });
    if told == Some("flat") {
        data["task_id"] = task_id.as_str().into();
    }
    let reply = match directive.get("lost") {
        None => failures::success(request_id, &data),
        Some("reset") => Reply::reset(),
        Some("hang") => Reply::never(),
        Some("empty") => Reply::whole(200, "application/json", "{}"),
        Some("html") => failures::named("bad_gateway_html", None, request_id).unwrap(),
        Some(unknown) => failures::unknown(unknown),
    };
    turn.record_now();
    script::finish(&directive, turn, reply)
}

/// The id in the path of a poll, and whether it is the flat route.
pub(super) fn polled(path: &str) -> Option<(&str, bool)> {
    ROUTES.iter().find_map(|route| Some((path.strip_prefix(route)?, *route == ROUTES[1])))
}

/// The response to a poll; the status is 200 and a header has the real one.
pub(super) fn poll(shared: &Shared, call: &Call, account: &str, id: &str, is_flat: bool) -> Reply {
    let origin = shared.origin();
    let mut media = shared.media.lock().unwrap();
    let media = &mut *media;
    let missing = || told(404, failures::refusal(200, &call.request_id, "Not_Found", "Task not found"));
    let Some(task) = media.tasks.get_mut(id).filter(|task| task.account == account) else { return missing() };
    match task.directive.get(if is_flat { "v1" } else { "v2" }) {
        Some("404") => return failures::not_found_page(),
        Some("html") => return failures::named("html_login", None, &call.request_id).unwrap(),
        Some("json") => return Reply::whole(200, "application/json", r#"{"code":"not found"}"#),
        _ => {}
    }
    task.polls += 1;
    let number = task.polls;
    match task.directive.get(&format!("poll_{number}")) {
        None => {}
        Some("401") => {
            return told(
                401,
                failures::refusal(
                    200,
                    &call.request_id,
                    "Unauthorized",
                    "Your session has expired, please sign in again.",
                ),
            );
        }
        Some("html") => return failures::named("bad_gateway_html", None, &call.request_id).unwrap(),
        Some("missing") => return missing(),
        Some(name) => {
            return failures::named(name, None, &call.request_id).unwrap_or_else(|| failures::unknown(name));
        }
    }
    if task.directive.number("gone").is_some_and(|polls| number > polls) {
        return missing();
    }
    let is_over = match task.directive.number("run_ms") {
        Some(run) => task.begun.elapsed() >= Duration::from_millis(run),
        None => number > task.directive.number("polls").unwrap_or(POLLS),
    };
    let link = format!("{origin}{}", media.outputs.link(&task.path));
    let data = task.report(is_over, link);
    told(
        200,
        if is_flat {
            Reply::whole(200, "application/json", data.to_string())
        } else {
            failures::success(&call.request_id, &data)
        },
    )
}

impl Task {
    fn report(&self, is_over: bool, link: String) -> Value {
        let word = if is_over { self.directive.get("end_state") } else { self.directive.get("state") };
        let word = word.unwrap_or(if is_over { "success" } else { "running" });
        let is_made = is_over && word.to_ascii_lowercase().starts_with("succ");
        let message = self.directive.get("message").filter(|_| is_over && !is_made).unwrap_or_default();
        let mut report = json!({
            "chat_type": self.chat_type, "sub_chat_type": self.chat_type, "task_status": word, "message": message,
            "content": if is_made { link } else { String::new() }, "remaining_time": "", "duration": null
        });
        if let Some(code) = self.directive.get("task_error").filter(|_| is_over) {
            let details = self.directive.get("message").unwrap_or("The video could not be made.");
            report["task_status"] = "".into();
            report["content"] = "".into();
            report["error"] = json!({"code": code, "details": details});
        }
        report
    }
}

fn told(status: u16, reply: Reply) -> Reply {
    reply.header("x-actual-status-code", status.to_string())
}
