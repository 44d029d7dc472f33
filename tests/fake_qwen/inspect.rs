//! What reached the site, for tests in another process.

use serde_json::{Value, json};

use super::Shared;
use super::body::Reply;
use super::routes::Call;

/// `GET /fake/chats?word=WORD`: the chats of which a message contains the word, oldest first, each with all its messages in order
/// of creation.
const ROUTE: &str = "/fake/chats";

/// The response of the route, if the request is for it.
pub(super) fn answer(shared: &Shared, call: &Call) -> Option<Reply> {
    if call.path != ROUTE {
        return None;
    }
    let word = call.query_text("word").unwrap_or_default();
    let chats = shared.chats.lock().unwrap();
    let found = chats.ids().into_iter().filter_map(|id| {
        let nodes = chats.nodes(&id);
        let message =
            |node: &super::ChatNode| json!({"id": node.id, "parent": node.parent, "role": node.role, "text": node.text});
        nodes.iter().any(|node| node.text.contains(word)).then(|| {
            json!({"id": id, "messages": nodes.iter().map(message).collect::<Value>()})
        })
    });
    let body = found.collect::<Value>().to_string();
    Some(Reply::whole(200, "application/json", body))
}
