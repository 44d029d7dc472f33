//! `/v1/chats`: the conversations that this server created, and their clean-up.

use std::{sync::Arc, time::Duration};

use http::{Response, StatusCode};
use serde::Serialize;

use super::{App, reply};
use crate::{
    accounts::{Account, KeyHolder},
    config::{AccountName, DeleteChats},
    error::{Error, ErrorKind, Result},
    platform::{Body, DatabaseError, Platform},
    store::{
        self,
        conversations::{self as table, Conversation},
        files, responses,
    },
};

/// The maximum length of the list in one answer.
const MAX_LISTED: u32 = 1000;
/// The bounds of one step of the clean-up: rows that it reads.
const MAX_TURNS: u32 = 1000;
const MAX_FILES: u32 = 1000;
/// Cloudflare's Free plan allows 50 queries for each invocation, and each removal takes one.
const MAX_CONVERSATIONS: u32 = 15;
/// How many chats one run of the clean-up deletes upstream.
const MAX_DELETIONS: usize = 5;
/// How many steps one run takes at the most where queries are free.
const MAX_STEPS: usize = 100;
/// A chat that nobody continued for this long is a throw-away chat.
const UNMATCHED_AFTER: Duration = Duration::from_secs(60 * 60);
/// The key of the store under which the clean-up keeps its position.
const CURSOR_KEY: &str = "cleanup";

/// A conversation that this server began.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = Chat))]
pub(super) struct ChatObject {
    /// The id of the chat at the site.
    id: String,
    /// `chat`
    object: &'static str,
    /// The id that requests send as the field `conversation_id` or the header `x-conversation-id`.
    conversation_id: String,
    title: String,
    model: String,
    /// The number of finished answers.
    turns: i64,
    /// Unix time in seconds.
    updated: u64,
}

/// Conversations, newest first.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct ChatList {
    /// `list`
    object: &'static str,
    data: Vec<ChatObject>,
}

/// A deleted conversation.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct DeletedChat {
    id: String,
    /// `chat.deleted`
    object: &'static str,
    deleted: bool,
    success: bool,
    message: String,
}

fn object(conversation: Conversation) -> ChatObject {
    let Conversation { scope: _, id, chat_id, title, model, turns, updated_at } = conversation;
    ChatObject {
        id: chat_id,
        object: "chat",
        conversation_id: id,
        title,
        model,
        turns,
        updated: updated_at.seconds().get(),
    }
}

pub(super) async fn list(platform: &impl Platform, key: KeyHolder) -> Result<Response<Body>> {
    let caller = key.caller(platform).await;
    let found = table::list(platform, caller.scope(), MAX_LISTED).await.map_err(Error::store_unavailable)?;
    let data = found.into_iter().map(object).collect();
    Ok(reply::json(StatusCode::OK, &ChatList { object: "list", data }))
}

pub(super) async fn delete(platform: &impl Platform, key: KeyHolder, id: &str) -> Result<Response<Body>> {
    let caller = key.caller(platform).await;
    let found = table::by_chat(platform, caller.scope(), id).await.map_err(Error::store_unavailable)?;
    let Some(conversation) = found else {
        return Err(Error::new(
            ErrorKind::NotFound,
            "There is no such chat among those this server created with this key. GET /v1/chats lists them.",
        ));
    };
    key.ready(platform).await?;
    key.account.qwen.delete_chat(platform, Some(&caller.owner), &conversation.chat_id).await?;
    table::remove(platform, caller.scope(), &conversation.id).await.map_err(Error::store_unavailable)?;
    let message = format!("The chat {} is deleted.", conversation.chat_id);
    let answer =
        DeletedChat { id: conversation.chat_id, object: "chat.deleted", deleted: true, success: true, message };
    Ok(reply::json(StatusCode::OK, &answer))
}

/// The account whose scope's name in the store is this; `None` when it was deleted.
fn owner(app: &App, name: Option<&str>) -> Option<Arc<Account>> {
    let name = name.map_or_else(|| Some(AccountName::default()), AccountName::parse);
    app.accounts.find(&name?)
}

/// What one run of the clean-up has reached.
#[derive(Default)]
struct Run {
    /// Chats deleted upstream.
    deletions: usize,
    /// Whether the end was seen of `turns`, `responses`, `files` and `conversations`.
    ends: [bool; 4],
}

/// Runs the clean-up: one step on the Worker, a round of all tables on the native server. It deletes only what this server
/// created.
pub(super) async fn clean_up(app: &App, platform: &impl Platform) {
    let steps = if app.config.product.is_distributed { 1 } else { MAX_STEPS };
    let mut run = Run::default();
    for _ in 0..steps {
        if let Err(error) = clean_up_step(app, platform, &mut run).await {
            tracing::warn!(%error, "the clean-up failed; the next run continues");
            return;
        }
        if run.ends == [true; 4] {
            return;
        }
    }
}

/// Removes what has expired among the next rows of each table, and stores the position.
async fn clean_up_step(app: &App, platform: &impl Platform, run: &mut Run) -> Result<(), DatabaseError> {
    let cursor = store::cached(platform, CURSOR_KEY).await?.map(|(text, _)| text).unwrap_or_default();
    let mut parts = cursor.split(' ');
    let mut part = || parts.next().unwrap_or_default().to_owned();
    let (turn, scope, id, file_scope, file_id) = (part(), part(), part(), part(), part());
    let response = part();
    let now = platform.now();
    let before = app.conversations.not_before(now);
    let turn = table::expire_turns(platform, &turn, before, MAX_TURNS).await?.unwrap_or_default();
    let response = responses::expire(platform, &response, before, MAX_TURNS).await?.unwrap_or_default();
    let file = files::expire_files(platform, (&file_scope, &file_id), before, MAX_FILES).await?;
    let (file_scope, file_id) = file.unwrap_or_default();
    let page = table::page(platform, (&scope, &id), MAX_CONVERSATIONS).await?;
    let mut done = None;
    let mut may_go_on = true;
    for (conversation, account) in &page {
        let expired = conversation.updated_at < before;
        let unmatched = conversation.turns <= 1 && conversation.updated_at < now.saturating_sub(UNMATCHED_AFTER);
        let upstream = match app.config.delete_chats {
            DeleteChats::Never => false,
            DeleteChats::Expired => expired,
            DeleteChats::Unmatched => unmatched,
        };
        if upstream && !table::is_shared(platform, conversation).await? {
            if run.deletions >= MAX_DELETIONS {
                may_go_on = false;
                break;
            }
            let account = owner(app, account.as_deref());
            if account.is_none() && expired {
                // Nobody will ever delete it at the site.
                table::remove(platform, &conversation.scope, &conversation.id).await?;
            }
            let Some(account) = account.filter(|it| it.qwen.session().check(now).is_ok()) else {
                // The other accounts' chats do not wait for this one's session.
                done = Some(conversation);
                continue;
            };
            run.deletions = run.deletions.saturating_add(1);
            if let Err(error) = account.qwen.delete_chat(platform, None, &conversation.chat_id).await {
                tracing::warn!(%error, "a chat could not be deleted; the clean-up will retry it");
                done = Some(conversation);
                continue;
            }
        }
        if expired || upstream {
            table::remove(platform, &conversation.scope, &conversation.id).await?;
        }
        done = Some(conversation);
    }
    let reached = [turn.is_empty(), response.is_empty(), file_id.is_empty(), page.is_empty() || !may_go_on];
    for (end, reached) in run.ends.iter_mut().zip(reached) {
        *end |= reached;
    }
    // After the last page the next step begins again.
    let (scope, id) = match done {
        Some(done) => (done.scope.as_str(), done.id.as_str()),
        None if page.is_empty() => ("", ""),
        None => (scope.as_str(), id.as_str()),
    };
    store::keep(platform, CURSOR_KEY, format!("{turn} {scope} {id} {file_scope} {file_id} {response}"), now).await
}
