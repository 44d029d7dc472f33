//! `/v1/chats`: the conversations that this server created.

use http::{Response, StatusCode};
use serde::Serialize;

use super::reply;
use crate::{
    accounts::KeyHolder,
    error::{Error, ErrorKind, Result},
    platform::{Body, Platform},
    store::conversations::{self as table, Conversation},
};

/// The maximum length of the list in one answer.
const MAX_LISTED: u32 = 1000;
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
