//! The account's chats as the site reports them, including those that a browser began.
//!
//! The forms vary from version to version, so everything that is not needed may be missing.

use std::collections::{HashMap, HashSet};

use serde_json::Value as Json;

use super::ids;

/// Longer conversations are read from their end.
const MAX_MESSAGES: usize = 2_000;

/// A chat in the account's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatSummary {
    /// Its id.
    pub id: String,
    /// The site's time of the last change, in seconds since 1970; compared for equality only.
    pub updated_at: u64,
}

/// A chat with its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastChat {
    /// What the site calls it.
    pub title: String,
    /// The upstream id of the model, if known.
    pub model: String,
    /// The branch that the site shows, oldest first.
    pub messages: Vec<PastMessage>,
}

/// A message of a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastMessage {
    /// Its id.
    pub id: String,
    /// Whether the model said it.
    pub is_answer: bool,
    /// What was said, without thinking.
    pub text: String,
    /// Whether it came to its end.
    pub is_finished: bool,
}

/// Reads one page of the list; `None` for any other answer.
pub(super) fn page(body: &[u8]) -> Option<Vec<ChatSummary>> {
    let json: Json = crate::json::from_bytes(body).ok()?;
    let entries = json.get("data").filter(|_| json.get("success") != Some(&Json::Bool(false)))?.as_array()?;
    let summary = |entry: &Json| {
        let id = entry.get("id")?.as_str().filter(|id| ids::is_id(id))?;
        let updated_at = entry.get("updated_at").and_then(Json::as_u64).unwrap_or(1);
        Some(ChatSummary { id: id.to_owned(), updated_at })
    };
    Some(entries.iter().filter_map(summary).collect())
}

/// Reads a chat; `None` for any other answer.
pub(super) fn chat(body: &[u8]) -> Option<PastChat> {
    let json: Json = crate::json::from_bytes(body).ok()?;
    let data = json.get("data").filter(|_| json.get("success") != Some(&Json::Bool(false)))?;
    let chat = data.get("chat")?;
    let mut nodes: HashMap<&str, &Json> = HashMap::new();
    let known = chat.pointer("/history/messages").and_then(Json::as_object);
    nodes.extend(known.into_iter().flatten().map(|(id, node)| (id.as_str(), node)));
    let listed = chat.get("messages").and_then(Json::as_array);
    nodes.extend(listed.into_iter().flatten().filter_map(|node| Some((node.get("id")?.as_str()?, node))));
    let text = |json: &Json, key: &str| json.get(key).and_then(Json::as_str).map(str::to_owned);
    let end = text(data, "currentId").or_else(|| chat.pointer("/history/currentId")?.as_str().map(str::to_owned));
    let (mut messages, mut seen, mut next) = (Vec::new(), HashSet::new(), end);
    while let Some((id, node)) = next.take().and_then(|id| nodes.get_key_value(id.as_str())) {
        // A tree that turns back on itself has no beginning.
        if messages.len() >= MAX_MESSAGES || !seen.insert(*id) {
            break;
        }
        messages.extend(message(id, node));
        next = text(node, "parentId");
    }
    messages.reverse();
    let model = messages_model(&nodes, &messages).or_else(|| chat.pointer("/models/0")?.as_str().map(str::to_owned));
    Some(PastChat { title: text(data, "title").unwrap_or_default(), model: model.unwrap_or_default(), messages })
}

fn message(id: &str, node: &Json) -> Option<PastMessage> {
    let is_answer = match node.get("role")?.as_str()? {
        "user" => false,
        "assistant" => true,
        _ => return None,
    };
    let content = node.get("content").and_then(Json::as_str).unwrap_or_default();
    let pieces = node.get("content_list").and_then(Json::as_array);
    let mut answers =
        pieces.into_iter().flatten().filter(|piece| piece.get("phase").is_some_and(|phase| phase == "answer"));
    let last = answers.next_back();
    let text = last.and_then(|piece| piece.get("content")?.as_str()).filter(|text| !text.is_empty()).unwrap_or(content);
    let is_finished = node.get("done") != Some(&Json::Bool(false))
        && node.get("error").is_none_or(Json::is_null)
        && last.and_then(|piece| piece.get("status")).is_none_or(|status| status == "finished");
    Some(PastMessage { id: id.to_owned(), is_answer, text: text.to_owned(), is_finished })
}

/// The model of the newest answer.
fn messages_model(nodes: &HashMap<&str, &Json>, messages: &[PastMessage]) -> Option<String> {
    let answer = messages.iter().rev().find(|message| message.is_answer)?;
    nodes.get(answer.id.as_str())?.get("model")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(data: Json) -> Option<String> {
        let chat = chat(json!({ "success": true, "data": data }).to_string().as_bytes())?;
        let line = |message: &PastMessage| {
            let (who, end) = (if message.is_answer { "<" } else { ">" }, if message.is_finished { "" } else { "…" });
            format!("{who}{}{end}", message.text)
        };
        Some(chat.messages.iter().map(line).collect::<Vec<_>>().join(" "))
    }

    fn user(id: &str, parent: Option<&str>, text: &str) -> Json {
        json!({ "id": id, "role": "user", "content": text, "parentId": parent })
    }

    fn answer(id: &str, parent: &str, text: &str) -> Json {
        json!({ "id": id, "role": "assistant", "content": "", "parentId": parent, "done": true, "content_list": [
            { "phase": "thinking_summary", "content": "", "status": "finished" },
            { "phase": "answer", "content": text, "status": "finished" },
        ] })
    }

    #[test]
    fn the_shown_branch_is_read() {
        let all = json!([
            user("a", None, "hi"),
            answer("b", "a", "Hello"),
            answer("c", "a", "Other"),
            user("d", Some("b"), "more"),
            answer("e", "d", "Much")
        ]);
        let tree = |current: &str| json!({ "currentId": current, "chat": { "messages": all } });
        assert_eq!(read(tree("e")).unwrap(), ">hi <Hello >more <Much");
        assert_eq!(read(tree("c")).unwrap(), ">hi <Other");
        assert_eq!(read(tree("gone")).unwrap(), "");
        let mapped = json!({ "chat": { "history": { "currentId": "b", "messages": { "a": user("a", None, "hi"), "b": answer("b", "a", "Hello") } } } });
        assert_eq!(read(mapped).unwrap(), ">hi <Hello");
    }

    #[test]
    fn unexpected_forms_are_tolerated() {
        let circle = json!({ "currentId": "b", "chat": { "messages": [user("a", Some("b"), "hi"), answer("b", "a", "Hello")] } });
        assert_eq!(read(circle).unwrap(), ">hi <Hello");
        let mut cut = answer("b", "a", "Hel");
        cut["content_list"][1]["status"] = json!("typing");
        let cut =
            json!({ "currentId": "b", "chat": { "messages": [user("a", None, "hi"), cut, { "id": 5 }, "text"] } });
        assert_eq!(read(cut).unwrap(), ">hi <Hel…");
        let old = json!({ "id": "b", "role": "assistant", "content": "Plain", "parentId": "a" });
        let old = json!({ "currentId": "b", "chat": { "messages": [user("a", None, "hi"), old] } });
        assert_eq!(read(old).unwrap(), ">hi <Plain");
        for other in ["", "[]", "{}", "{\"data\":5}", "{\"success\":false,\"data\":{\"chat\":{}}}", "<html>"] {
            assert_eq!(chat(other.as_bytes()), None, "{other}");
            assert_eq!(page(other.as_bytes()), None, "{other}");
        }
        let list =
            json!({ "success": true, "data": [{ "id": "c1", "updated_at": 5 }, { "id": "../x" }, {}, { "id": "c2" }] });
        let list = page(list.to_string().as_bytes()).unwrap();
        assert_eq!(
            list.iter().map(|chat| (chat.id.as_str(), chat.updated_at)).collect::<Vec<_>>(),
            [("c1", 5), ("c2", 1)]
        );
    }
}
