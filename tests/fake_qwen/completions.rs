//! `POST /api/v2/chat/completions`: the checks, in the order of the upstream.

use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use super::Shared;
use super::accounts::Sender;
use super::body::Reply;
use super::catalogue;
use super::chats::Obstacle;
use super::directive::Directive;
use super::failures;
use super::media;
use super::routes::{Call, NEW_CHAT_MODEL};
use super::script::{self, Allowed, Answer};
use super::standing;
use super::storage;
use super::turn::{Exchange, Turn};

/// The WAF rejects bodies of this size and above.
const WAF_BODY_LIMIT: usize = 131_072;

pub(super) fn answer(shared: &Arc<Shared>, call: &Call) -> Reply {
    run(shared, call).unwrap_or_else(|refusal| *refusal)
}

fn run(shared: &Arc<Shared>, call: &Call) -> Result<Reply, Box<Reply>> {
    let id = call.request_id.as_str();
    let refuse = |code: &str, details: &str| Err(Box::new(failures::refusal(200, id, code, details)));
    if call.body.len() >= WAF_BODY_LIMIT {
        return Err(Box::new(failures::waf_html()));
    }
    let account = match shared.accounts.lock().unwrap().sender(&call.headers) {
        Sender::Cookie(account) => account,
        Sender::Bearer(_) => return Err(Box::new(failures::waf_json())),
        Sender::Rejected => return refuse("Unauthorized", "Your session has expired, please sign in again."),
        Sender::Anonymous => return Err(Box::new(failures::refusal(401, id, "Unauthorized", "Please sign in."))),
    };
    let body = call.json();
    let Some(chat_id) = body["chat_id"].as_str().filter(|id| !id.is_empty()) else {
        return Err(Box::new(
            failures::refusal(200, id, "RequestValidationError", "Field 'chat_id': Field required")
                .header("x-actual-status-code", "400"),
        ));
    };
    if !call.headers.contains_key("version") {
        return refuse("Bad_Request", "Internal error, please contact customer support.");
    }
    let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let exchange = {
        let chats = shared.chats.lock().unwrap();
        match chats.check(&account, chat_id) {
            Ok(()) => {}
            Err(Obstacle::Missing) => return Err(Box::new(failures::chat_missing(id, chat_id))),
            Err(Obstacle::Deleted) => return Err(Box::new(failures::chat_deleted(id))),
        }
        let [message] = messages else {
            let details =
                if messages.is_empty() { "Something wrong with request!" } else { "Invalid input too many messages" };
            return refuse("Bad_Request", details);
        };
        let exchange = exchange(chat_id, &body, message);
        if exchange.parent_id.as_ref().is_some_and(|parent| !chats.has_node(chat_id, parent)) {
            return refuse("PARENT_NOT_FOUND", "The parent message does not exist.");
        }
        if chats.is_busy(chat_id) {
            return refuse("Bad_Request", "The chat is in progress!");
        }
        exchange
    };
    if !storage::check_files(&shared.storage.lock().unwrap(), &account, &exchange.files) {
        return refuse("Bad_Request", "Invalid file information!");
    }
    let chat_type = shared.chats.lock().unwrap().kind(chat_id).chat_type;
    if media::is_media(&exchange.chat_type) || media::is_media(&chat_type) {
        return media::complete(shared, call, &account, &body, exchange);
    }
    if !shared.accounts.lock().unwrap().spend(&account) {
        return Err(Box::new(failures::daily_limit(12, id)));
    }
    if body["stream"] == false {
        return refuse("Bad_Request", "Something wrong with request!");
    }
    let model = catalogue::find(&exchange.model);
    if model.is_none() && !exchange.model.starts_with(NEW_CHAT_MODEL) {
        return refuse("Not_Found", "Model not found");
    }

    let message = &messages[0];
    let features = &message["feature_config"];
    let wants_thinking = features["thinking_enabled"] != false;
    let mut allowed = Allowed {
        thinking: wants_thinking && model.is_none_or(catalogue::Model::thinks),
        phases: features["output_schema"] == "phase",
        cumulative: !exchange.incremental,
        tool_events: Vec::new(),
    };
    let Some(turn) = Turn::begin(shared, exchange) else {
        return refuse("Bad_Request", "The chat is in progress!");
    };
    let exchange = turn.exchange();
    let mut directive = standing::directive_of(shared, &exchange.chat_id, &exchange.prompt);
    if directive.on("files") {
        directive.set("say", &storage::describe_files(&shared.storage.lock().unwrap(), &account, &exchange.files));
    }
    if model.is_some_and(catalogue::Model::must_think) && !wants_thinking {
        directive = Directive::default();
        directive.set("fail", "error_before");
        directive.set("code", "invalid_input");
    } else if message["role"] != "user" {
        directive = Directive::default();
        directive.set("say", "");
    }
    script::expire_failures(shared, &mut directive);
    allowed.tool_events = media::own_tool(shared, &account, turn.exchange(), &directive);
    Ok(script::play(shared, directive, turn, Answer::Text(&allowed), id))
}

fn exchange(chat_id: &str, body: &Value, message: &Value) -> Exchange {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    Exchange {
        chat_id: chat_id.to_owned(),
        parent_id: text(&body["parent_id"]).or_else(|| text(&body["parentId"])).or_else(|| text(&message["parentId"])),
        user_id: Uuid::new_v4().to_string(),
        response_id: Uuid::new_v4().to_string(),
        fid: text(&message["fid"]).unwrap_or_default(),
        prompt: prompt(&message["content"]),
        model: text(&body["model"]).unwrap_or_default(),
        chat_type: text(&message["chat_type"]).unwrap_or_else(|| "t2t".to_owned()),
        files: message["files"].clone(),
        incremental: body["incremental_output"] != false,
    }
}

/// The text of a message, or the text parts of an array.
fn prompt(content: &Value) -> String {
    match content {
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n"),
        content => content.as_str().unwrap_or_default().to_owned(),
    }
}
