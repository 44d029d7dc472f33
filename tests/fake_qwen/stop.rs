//! `POST /api/v2/chat/completions/stop`: ends the running answer of a chat (upstream-protocol 3.4).

use std::time::Duration;

use serde_json::{Value, json};

use super::Shared;
use super::body::{Reply, Start};
use super::chats::Obstacle;
use super::failures;
use super::routes::Call;
use super::turn::Exchange;

pub(super) const ROUTE: &str = "/api/v2/chat/completions/stop";
/// The delay of the response, so that the stopped answer is stored before it.
const AFTER_STOP: Duration = Duration::from_millis(20);

/// The chat id stands in the body or in the query.
pub(super) fn answer(shared: &Shared, call: &Call, account: &str) -> Reply {
    let body = call.json();
    let id = body["chat_id"].as_str().or_else(|| call.query_text("chat_id")).unwrap_or_default();
    let mut chats = shared.chats.lock().unwrap();
    match chats.check(account, id) {
        Ok(()) => {}
        Err(Obstacle::Missing) => return failures::chat_missing(&call.request_id, id),
        Err(Obstacle::Deleted) => return failures::chat_deleted(&call.request_id),
    }
    chats.stop(id, body["response_id"].as_str());
    shared.media.lock().unwrap().cancel(id);
    Reply { start: Start::After(AFTER_STOP), ..call.success(&json!({"status": true})) }
}

/// The last event of a stopped stream.
pub(super) fn event(exchange: &Exchange) -> String {
    let (chat_id, response_id) = (Value::from(&*exchange.chat_id), Value::from(&*exchange.response_id));
    format!("data: {{\"response.stopped\": {{\"chat_id\": {chat_id}, \"response_id\": {response_id}}}}}\n\n")
}
