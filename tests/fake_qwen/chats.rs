//! The chats of the accounts: trees of messages.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::accounts::now;
use super::standing::Progress;
use super::transcript::{ToolPart, Transcript};
use super::turn::Exchange;

const MAX_CHATS: usize = 50_000;
const PAGE: usize = 50;

#[derive(Default)]
pub(super) struct Chats {
    chats: HashMap<String, Chat>,
    /// Oldest first.
    order: Vec<String>,
    deleted: HashSet<String>,
    /// How often an account asked for a chat of another.
    foreign: Cell<usize>,
}

struct Chat {
    id: String,
    account: String,
    title: String,
    models: Value,
    chat_type: String,
    chat_mode: String,
    project_id: Value,
    created_at: i64,
    updated_at: i64,
    /// In order of creation; parents come before children.
    nodes: Vec<Node>,
    current: Option<String>,
    running: Option<Running>,
    /// The steps of a directive.
    progress: Option<Progress>,
    busy_until: Option<Instant>,
}

/// The running answer of a chat.
struct Running {
    response_id: String,
    stop: oneshot::Sender<()>,
}

/// A message of a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatNode {
    pub id: String,
    pub parent: Option<String>,
    /// `user` or `assistant`.
    pub role: &'static str,
    pub text: String,
}

struct Node {
    id: String,
    parent: Option<String>,
    at: i64,
    message: Message,
}

enum Message {
    User { fid: String, text: String, files: Value, model: String, chat_type: String },
    Assistant { model: String, answer: Transcript },
}

/// What a chat was created for.
#[derive(Default)]
pub(super) struct ChatKind {
    pub(super) chat_type: String,
    pub(super) chat_mode: String,
    pub(super) models: Value,
}

/// The `content_list` and `extra` of a picture or video, by the id of its message.
type MediaOf<'a> = &'a mut dyn FnMut(&str) -> Option<(Vec<Value>, Value)>;

/// The reason why a chat cannot take a turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    Missing,
    Deleted,
}

impl Chats {
    pub(super) fn create(&mut self, account: &str, body: &Value) -> String {
        let id = Uuid::new_v4().to_string();
        let chat = Chat {
            id: id.clone(),
            account: account.to_owned(),
            title: body["title"].as_str().unwrap_or("New Chat").to_owned(),
            models: body["models"].clone(),
            chat_type: body["chat_type"].as_str().unwrap_or("t2t").to_owned(),
            chat_mode: body["chat_mode"].as_str().unwrap_or("normal").to_owned(),
            project_id: body["project_id"].as_str().filter(|id| !id.is_empty()).into(),
            created_at: now(),
            updated_at: now(),
            nodes: Vec::new(),
            current: None,
            running: None,
            progress: None,
            busy_until: None,
        };
        if self.order.len() >= MAX_CHATS {
            let oldest = self.order.remove(0);
            self.chats.remove(&oldest);
        }
        self.order.push(id.clone());
        self.chats.insert(id.clone(), chat);
        id
    }

    /// Checks that the chat exists and belongs to `account`.
    pub(super) fn check(&self, account: &str, id: &str) -> Result<(), Obstacle> {
        match self.chats.get(id) {
            Some(chat) if chat.account == account => Ok(()),
            Some(_) => {
                self.foreign.set(self.foreign.get() + 1);
                Err(Obstacle::Missing)
            }
            None if self.deleted.contains(id) => Err(Obstacle::Deleted),
            None => Err(Obstacle::Missing),
        }
    }

    pub(super) fn kind(&self, id: &str) -> ChatKind {
        let kind = self.chats.get(id).map(|chat| ChatKind {
            chat_type: chat.chat_type.clone(),
            chat_mode: chat.chat_mode.clone(),
            models: chat.models.clone(),
        });
        kind.unwrap_or_default()
    }

    pub(super) fn has_node(&self, id: &str, node: &str) -> bool {
        self.chats.get(id).is_some_and(|chat| chat.nodes.iter().any(|known| known.id == node))
    }

    pub(super) fn is_busy(&self, id: &str) -> bool {
        self.chats
            .get(id)
            .is_some_and(|chat| chat.running.is_some() || chat.busy_until.is_some_and(|until| until > Instant::now()))
    }

    /// Marks the chat busy; returns `None` if it is busy already or does not exist, else what receives a message when the answer is
    /// stopped.
    pub(super) fn begin(&mut self, id: &str, response_id: &str) -> Option<oneshot::Receiver<()>> {
        let free = !self.is_busy(id);
        let chat = self.chats.get_mut(id).filter(|_| free)?;
        let (stop, stopped) = oneshot::channel();
        chat.running = Some(Running { response_id: response_id.to_owned(), stop });
        Some(stopped)
    }

    /// Marks the chat idle if this answer is still the running one.
    pub(super) fn end(&mut self, id: &str, response_id: &str, linger: Duration) {
        if let Some(chat) = self.chats.get_mut(id).filter(|chat| chat.runs(response_id)) {
            chat.running = None;
            chat.busy_until = Instant::now().checked_add(linger);
        }
    }

    /// Stops the running answer and frees the chat, also one that stays busy without a client. With a response id it stops no
    /// other.
    pub(super) fn stop(&mut self, id: &str, response_id: Option<&str>) {
        let Some(chat) = self.chats.get_mut(id) else { return };
        if response_id.is_some_and(|id| chat.running.is_some() && !chat.runs(id)) {
            return;
        }
        chat.busy_until = None;
        if let Some(running) = chat.running.take() {
            // Without a receiver the answer has just ended.
            let _ = running.stop.send(());
        }
    }

    /// The steps of a chat.
    pub(super) fn progress(&mut self, id: &str) -> Option<&mut Option<Progress>> {
        self.chats.get_mut(id).map(|chat| &mut chat.progress)
    }

    /// Adds the question and the answer.
    pub(super) fn record(&mut self, exchange: &Exchange, answer: Transcript) {
        let Some(chat) = self.chats.get_mut(&exchange.chat_id) else { return };
        let user = Message::User {
            fid: exchange.fid.clone(),
            text: exchange.prompt.clone(),
            files: exchange.files.clone(),
            model: exchange.model.clone(),
            chat_type: exchange.chat_type.clone(),
        };
        let answer = Message::Assistant { model: exchange.model.clone(), answer };
        let nodes = [
            (&exchange.user_id, exchange.parent_id.clone(), user),
            (&exchange.response_id, Some(exchange.user_id.clone()), answer),
        ];
        for (id, parent, message) in nodes {
            chat.nodes.push(Node { id: id.clone(), parent, at: now(), message });
        }
        // A stopped answer may be recorded after the next turn has begun.
        if chat.running.is_none() || chat.runs(&exchange.response_id) {
            chat.current = Some(exchange.response_id.clone());
        }
        chat.updated_at = now();
    }

    pub(super) fn delete(&mut self, id: &str) -> bool {
        let existed = self.chats.remove(id).is_some();
        if existed {
            self.order.retain(|known| known != id);
            self.deleted.insert(id.to_owned());
        }
        existed
    }

    pub(super) fn foreign(&self) -> usize {
        self.foreign.get()
    }

    /// The account of a chat.
    pub(super) fn account(&self, id: &str) -> Option<String> {
        self.chats.get(id).map(|chat| chat.account.clone())
    }

    pub(super) fn len(&self) -> usize {
        self.chats.len()
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.order.clone()
    }

    /// `(role, text)` from the root to the current message.
    pub(super) fn path(&self, id: &str) -> Vec<(String, String)> {
        let Some(chat) = self.chats.get(id) else { return Vec::new() };
        let mut path = Vec::new();
        let mut next = chat.current.as_deref();
        while let Some(node) = next.and_then(|id| chat.nodes.iter().find(|node| node.id == id)) {
            path.push((node.message.role().to_owned(), node.message.text()));
            next = node.parent.as_deref();
        }
        path.reverse();
        path
    }

    pub(super) fn nodes(&self, id: &str) -> Vec<ChatNode> {
        let nodes = self.chats.get(id).into_iter().flat_map(|chat| &chat.nodes);
        nodes
            .map(|node| ChatNode {
                id: node.id.clone(),
                parent: node.parent.clone(),
                role: node.message.role(),
                text: node.message.text(),
            })
            .collect()
    }

    /// A page of the account's chats, newest first; temporary ones are in none.
    pub(super) fn page(&self, account: &str, page: usize, limit: Option<usize>) -> Value {
        let size = limit.unwrap_or(PAGE);
        let chats = self
            .order
            .iter()
            .rev()
            .filter_map(|id| self.chats.get(id))
            .filter(|chat| chat.account == account && chat.chat_mode != "local");
        chats.skip(page.saturating_sub(1).saturating_mul(size)).take(size).map(Chat::summary).collect()
    }

    /// The chat with its last `limit` messages.
    pub(super) fn detail(&self, id: &str, limit: Option<usize>, media: MediaOf<'_>) -> Value {
        self.chats.get(id).map_or(Value::Null, |chat| chat.detail(limit, media))
    }
}

impl Message {
    fn role(&self) -> &'static str {
        match self {
            Message::User { .. } => "user",
            Message::Assistant { .. } => "assistant",
        }
    }

    fn text(&self) -> String {
        match self {
            Message::User { text, .. } => text.clone(),
            Message::Assistant { answer, .. } => answer.with_calls(),
        }
    }
}

impl Chat {
    fn runs(&self, response_id: &str) -> bool {
        self.running.as_ref().is_some_and(|running| running.response_id == response_id)
    }

    fn summary(&self) -> Value {
        json!({
            "id": self.id, "title": self.title, "updated_at": self.updated_at, "created_at": self.created_at,
            "chat_type": self.chat_type, "pinned": false, "project_id": self.project_id
        })
    }

    fn detail(&self, limit: Option<usize>, media: MediaOf<'_>) -> Value {
        let nodes = &self.nodes[limit.map_or(0, |limit| self.nodes.len().saturating_sub(limit))..];
        let messages: Vec<Value> = nodes.iter().map(|node| self.node(node, media)).collect();
        let by_id: serde_json::Map<String, Value> =
            nodes.iter().map(|node| node.id.clone()).zip(messages.iter().cloned()).collect();
        let responses: Vec<&String> = self.current.iter().collect();
        json!({
            "id": self.id, "user_id": self.account, "title": self.title, "chat_type": self.chat_type,
            "chat_mode": self.chat_mode,
            "created_at": self.created_at, "updated_at": self.updated_at, "pinned": false, "archived": false,
            "folder_id": null, "project_id": self.project_id, "currentId": self.current,
            "chat": {
                "models": self.models, "messages": messages,
                "history": {"messages": by_id, "currentId": self.current, "currentResponseIds": responses}
            }
        })
    }

    fn node(&self, node: &Node, media: MediaOf<'_>) -> Value {
        let children: Vec<&str> = self
            .nodes
            .iter()
            .filter(|child| child.parent.as_deref() == Some(&node.id))
            .map(|child| child.id.as_str())
            .collect();
        match &node.message {
            Message::User { fid, text, files, model, chat_type } => json!({
                "id": node.id, "fid": fid, "role": "user", "content": text, "parentId": node.parent, "childrenIds": children,
                "files": files, "timestamp": node.at, "models": [model], "chat_type": chat_type
            }),
            Message::Assistant { model, answer } => {
                let made = media(&node.id);
                let (list, extra) =
                    made.map_or_else(|| (content_list(answer), None), |(list, extra)| (list, Some(extra)));
                let mut message = json!({
                    "id": node.id, "fid": node.id, "role": "assistant", "content": "", "parentId": node.parent,
                    "childrenIds": children, "content_list": list, "model": model, "timestamp": node.at,
                    "done": answer.finished
                });
                if let Some(extra) = extra {
                    message["done"] = list_is_finished(&message["content_list"]).into();
                    message["extra"] = extra;
                }
                message
            }
        }
    }
}

fn list_is_finished(list: &Value) -> bool {
    list.as_array().is_some_and(|list| list.last().is_some_and(|last| last["status"] == "finished"))
}

fn content_list(answer: &Transcript) -> Vec<Value> {
    let mut list = Vec::new();
    if !answer.thinking.is_empty() {
        list.push(json!({"phase": "think", "content": answer.thinking, "status": "finished"}));
    }
    if !answer.thoughts.is_empty() {
        let extra =
            json!({"summary_title": {"content": answer.titles}, "summary_thought": {"content": answer.thoughts}});
        list.push(json!({"phase": "thinking_summary", "content": "", "status": "finished", "extra": extra}));
    }
    list.extend(answer.tools.iter().map(ToolPart::entry));
    let status = if answer.finished { "finished" } else { "typing" };
    list.push(json!({"phase": "answer", "content": answer.text, "status": status}));
    list
}
