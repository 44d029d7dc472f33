//! `/v1/chats`: the conversations that this server created, and their clean-up.

use std::time::Duration;

use http::{Response, StatusCode};
use serde::Serialize;

use super::{App, reply};
use crate::{
    accounts::KeyId,
    config::DeleteChats,
    error::{Error, ErrorKind, Result},
    platform::{Body, Platform},
    store::{
        self,
        conversations::{self as table, Conversation},
        files,
    },
};

/// The most that one answer lists.
const MAX_LISTED: u32 = 1000;
/// How much one clean-up looks at, and how many chats it deletes upstream: it runs often and must stay small.
const TURNS_A_STEP: u32 = 1000;
const FILES_A_STEP: u32 = 1000;
/// The Free plan allows 50 queries, and each removal is one.
const CONVERSATIONS_A_STEP: u32 = 25;
const DELETIONS_A_STEP: usize = 5;
/// A chat that nobody continued for this long is a throw-away chat.
const UNMATCHED_AFTER: Duration = Duration::from_secs(60 * 60);
/// Where the clean-up left off, in the store.
const CURSOR_KEY: &str = "cleanup";

/// A conversation that this server began.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = Chat))]
pub(super) struct ChatObject {
    /// Of the chat at the site.
    id: String,
    /// `chat`
    object: &'static str,
    /// As in the field and the header of that name.
    conversation_id: String,
    title: String,
    model: String,
    /// Finished answers.
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

/// A conversation that is no more.
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

pub(super) async fn list(app: &App, platform: &impl Platform, key: KeyId) -> Result<Response<Body>> {
    let caller = app.caller(platform, key).await;
    let found = table::list(platform, caller.scope(), MAX_LISTED).await.map_err(Error::store_unavailable)?;
    let data = found.into_iter().map(object).collect();
    Ok(reply::json(StatusCode::OK, &ChatList { object: "list", data }))
}

pub(super) async fn delete(app: &App, platform: &impl Platform, key: KeyId, id: &str) -> Result<Response<Body>> {
    let caller = app.caller(platform, key).await;
    let found = table::by_chat(platform, caller.scope(), id).await.map_err(Error::store_unavailable)?;
    let Some(conversation) = found else {
        return Err(Error::new(
            ErrorKind::NotFound,
            "There is no such chat among those this server created with this key. GET /v1/chats lists them.",
        ));
    };
    app.qwen.session().ready(platform).await?;
    app.qwen.delete_chat(platform, Some(&caller.owner), &conversation.chat_id).await?;
    table::remove(platform, caller.scope(), &conversation.id).await.map_err(Error::store_unavailable)?;
    let message = format!("The chat {} is deleted.", conversation.chat_id);
    let answer =
        DeletedChat { id: conversation.chat_id, object: "chat.deleted", deleted: true, success: true, message };
    Ok(reply::json(StatusCode::OK, &answer))
}

/// One step of the clean-up. Only ever touches what this server created.
pub(super) async fn clean_up(app: &App, platform: &impl Platform) {
    let step = async {
        let cursor = store::cached(platform, CURSOR_KEY).await?.map(|(text, _)| text).unwrap_or_default();
        let mut parts = cursor.split(' ');
        let mut part = || parts.next().unwrap_or_default().to_owned();
        let (turn, scope, id, file_scope, file_id) = (part(), part(), part(), part(), part());
        let now = platform.now();
        let before = app.conversations.not_before(now);
        let turn = table::expire_turns(platform, &turn, before, TURNS_A_STEP).await?.unwrap_or_default();
        let file = files::expire_files(platform, (&file_scope, &file_id), before, FILES_A_STEP).await?;
        let (file_scope, file_id) = file.unwrap_or_default();
        let page = table::page(platform, (&scope, &id), CONVERSATIONS_A_STEP).await?;
        let mut deleted = 0_usize;
        let mut done = None;
        for conversation in &page {
            let expired = conversation.updated_at < before;
            let unmatched = conversation.turns <= 1 && conversation.updated_at < now.saturating_sub(UNMATCHED_AFTER);
            let upstream = match app.config.delete_chats {
                DeleteChats::Never => false,
                DeleteChats::Expired => expired,
                DeleteChats::Unmatched => unmatched,
            };
            if upstream && !table::is_shared(platform, conversation).await? {
                if deleted >= DELETIONS_A_STEP || app.qwen.session().check(now).is_err() {
                    break;
                }
                deleted = deleted.saturating_add(1);
                if let Err(error) = app.qwen.delete_chat(platform, None, &conversation.chat_id).await {
                    tracing::warn!(%error, "a chat could not be deleted; it stays for the next round");
                    done = Some(conversation);
                    continue;
                }
            }
            if expired || upstream {
                table::remove(platform, &conversation.scope, &conversation.id).await?;
            }
            done = Some(conversation);
        }
        // Behind the last page it begins anew.
        let (scope, id) = match done {
            Some(done) => (done.scope.as_str(), done.id.as_str()),
            None if page.is_empty() => ("", ""),
            None => (scope.as_str(), id.as_str()),
        };
        store::keep(platform, CURSOR_KEY, format!("{turn} {scope} {id} {file_scope} {file_id}"), now).await
    };
    if let Err(error) = step.await {
        tracing::warn!(%error, "the clean-up failed; the next one goes on");
    }
}
