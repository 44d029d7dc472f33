//! Conversations and their turns.

#[cfg(not(target_arch = "wasm32"))]
use super::unsigned;
use super::{Storage, columns, expire_page, integer, json_list, moment, rows, run, text, unexpected_row};
use crate::platform::{DatabaseError, Row, Statement, Value};
use crate::unix_time::UnixMillis;

/// The point of an upstream chat that a history leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The conversation's id, from this server or from the client.
    pub conversation: String,
    /// The upstream chat.
    pub chat_id: String,
    /// The answer to continue from; empty for the beginning of the chat.
    pub response_id: String,
    /// The digest of the system text that the chat has.
    pub system: String,
    /// The digest of the tools that the chat was told of; empty for none.
    pub tools: String,
    /// How many answers lead there, including this one.
    pub depth: i64,
    /// How many messages at the end of the history `response_id` has not seen.
    pub unseen: i64,
}

/// A conversation that this server created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// The digest of API key and account.
    pub scope: String,
    /// Its id, from this server or from the client.
    pub id: String,
    /// The upstream chat.
    pub chat_id: String,
    /// The beginning of its first question.
    pub title: String,
    /// The upstream model of its newest turn.
    pub model: String,
    /// How many turns were recorded.
    pub turns: i64,
    /// When its newest turn was recorded.
    pub updated_at: UnixMillis,
}

/// A finished turn, to be recorded.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The digest of API key and account.
    pub scope: String,
    /// The point that the next turn continues from.
    pub anchor: Anchor,
    /// How it is found again. A throw-away chat, which nobody is to continue, has no keys.
    pub keys: Keys,
    /// The beginning of the first question.
    pub title: String,
    /// The upstream model.
    pub model: String,
}

/// Digests by which a turn is found again.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// The whole history.
    pub history: Option<String>,
    /// The history without its tool steps, if it has any.
    pub without_tools: Option<String>,
    /// The newest question and its answer.
    pub pair: Option<String>,
    /// The newest answer alone.
    pub answer: Option<String>,
    /// The ids of the newest answer's calls.
    pub call: Option<String>,
}

fn anchor(row: Row) -> Result<(String, Anchor), DatabaseError> {
    match columns("turns", row)? {
        [
            Value::Text(key),
            Value::Text(conversation),
            Value::Text(chat_id),
            Value::Text(response_id),
            Value::Text(system),
            Value::Text(tools),
            Value::Integer(depth),
            Value::Integer(unseen),
        ] => Ok((key, Anchor { conversation, chat_id, response_id, system, tools, depth, unseen })),
        _ => Err(unexpected_row("turns")),
    }
}

/// Finds the anchor of the first of up to three keys that is known, and its key: of call ids, of a history, of that without
/// tool steps. Reads one row in the ordinary case.
pub async fn find(
    platform: &impl Storage,
    keys: &[&str],
    not_before: UnixMillis,
) -> Result<Option<(String, Anchor)>, DatabaseError> {
    // A list of keys costs one more row read, so the ordinary case has no list.
    let sql = match keys {
        [] => return Ok(None),
        [_] => {
            "SELECT key, conversation, chat_id, response_id, system, tools, depth, unseen FROM turns \
             WHERE key = ?2 AND created_at >= ?1 AND kind IN ('history', 'call')"
        }
        [_, _] => {
            "SELECT key, conversation, chat_id, response_id, system, tools, depth, unseen FROM turns \
             WHERE key IN (?2, ?3) AND created_at >= ?1 AND kind IN ('history', 'call')"
        }
        _ => {
            "SELECT key, conversation, chat_id, response_id, system, tools, depth, unseen FROM turns \
             WHERE key IN (?2, ?3, ?4) AND created_at >= ?1 AND kind IN ('history', 'call')"
        }
    };
    let parameters = [integer(not_before)].into_iter().chain(keys.iter().take(3).map(|key| text(key))).collect();
    let read = Statement { sql, parameters };
    let mut found = rows(platform, read).await?.into_iter().map(anchor).collect::<Result<Vec<_>, _>>()?;
    let best = keys.iter().find_map(|key| found.iter().position(|(found, _)| found == key));
    Ok(best.map(|best| found.swap_remove(best)))
}

/// Finds the anchor of the first of `keys` that is known. The key of a pair or an answer counts only while that is the last of
/// its chat, and the key of an answer alone only if more than `shown` answers lead to it.
pub async fn find_first(
    platform: &impl Storage,
    scope: &str,
    keys: &[&str],
    shown: i64,
    not_before: UnixMillis,
) -> Result<Option<(String, Anchor)>, DatabaseError> {
    let read = Statement {
        sql: "SELECT t.key, t.conversation, t.chat_id, t.response_id, t.system, t.tools, t.depth, t.unseen FROM turns t \
              WHERE t.key IN (SELECT value FROM json_each(?1)) AND t.created_at >= ?2 AND t.chat_id IS NOT NULL \
              AND (t.kind = 'history' OR (t.kind = 'pair' OR t.depth > ?4) AND EXISTS ( \
                  SELECT 1 FROM conversations c WHERE c.scope = ?3 AND c.id = t.conversation AND c.head = t.response_id))",
        parameters: vec![json_list(keys), integer(not_before), text(scope), Value::Integer(shown)],
    };
    let mut found = rows(platform, read).await?.into_iter().map(anchor).collect::<Result<Vec<_>, _>>()?;
    let best = keys.iter().find_map(|key| found.iter().position(|(found, _)| found == *key));
    Ok(best.map(|best| found.swap_remove(best)))
}

/// The newest answer of the conversation with this id.
pub async fn head(
    platform: &impl Storage,
    scope: &str,
    id: &str,
    not_before: UnixMillis,
) -> Result<Option<Anchor>, DatabaseError> {
    let read = Statement {
        sql: "SELECT id AS key, id, chat_id, head, system, tools, turns, unseen FROM conversations WHERE scope = ?1 AND id = ?2 AND updated_at >= ?3",
        parameters: vec![text(scope), text(id), integer(not_before)],
    };
    Ok(rows(platform, read).await?.pop().map(anchor).transpose()?.map(|(_, anchor)| anchor))
}

/// Records a turn, and what goes along with it:
/// four rows, five where it has tool steps; four where its answer calls tools.
pub async fn record(
    platform: &impl Storage,
    turn: &Turn,
    along: Option<Statement>,
    now: UnixMillis,
) -> Result<(), DatabaseError> {
    let Turn { scope, anchor, keys: Keys { history, without_tools, pair, answer, call }, title, model } = turn;
    let Anchor { conversation, chat_id, response_id, system, tools, depth, unseen } = anchor;
    let key = |key: &Option<String>| key.as_deref().map_or(Value::Null, text);
    let keys = Statement {
        // A pair or an answer that ends two chats identifies neither.
        sql: "INSERT INTO turns (key, kind, conversation, chat_id, response_id, system, created_at, depth, tools, unseen) \
              SELECT key, kind, ?6, ?7, ?8, ?9, ?10, ?11, ?13, ?14 FROM \
              (SELECT ?1 AS key, 'history' AS kind UNION ALL SELECT ?2, 'history' UNION ALL SELECT ?3, 'pair' \
              UNION ALL SELECT ?4, 'answer' UNION ALL SELECT ?12, 'call') WHERE key IS NOT NULL \
              ON CONFLICT (key) DO UPDATE SET \
              chat_id = CASE WHEN excluded.kind NOT IN ('history', 'call') AND (turns.chat_id IS NULL OR \
                  turns.chat_id IS NOT excluded.chat_id AND EXISTS ( \
                  SELECT 1 FROM conversations c WHERE c.scope = ?5 AND c.id = turns.conversation AND c.head = turns.response_id \
              )) THEN NULL ELSE excluded.chat_id END, \
              kind = excluded.kind, conversation = excluded.conversation, response_id = excluded.response_id, \
              system = excluded.system, depth = excluded.depth, tools = excluded.tools, unseen = excluded.unseen, \
              created_at = CASE WHEN turns.chat_id IS NULL THEN turns.created_at ELSE excluded.created_at END",
        parameters: vec![
            key(history),
            key(without_tools),
            key(pair),
            key(answer),
            text(scope),
            text(conversation),
            text(chat_id),
            text(response_id),
            text(system),
            integer(now),
            Value::Integer(*depth),
            key(call),
            text(tools),
            Value::Integer(*unseen),
        ],
    };
    let conversation = Statement {
        sql: "INSERT INTO conversations \
              (scope, id, chat_id, head, system, title, model, turns, created_at, updated_at, tools, unseen) \
              VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8, ?8, ?9, ?10) \
              ON CONFLICT (scope, id) DO UPDATE SET chat_id = excluded.chat_id, head = excluded.head, \
              system = excluded.system, model = excluded.model, turns = turns + 1, updated_at = excluded.updated_at, \
              tools = excluded.tools, unseen = excluded.unseen",
        parameters: vec![
            text(scope),
            text(conversation),
            text(chat_id),
            text(response_id),
            text(system),
            text(title),
            text(model),
            integer(now),
            text(tools),
            Value::Integer(*unseen),
        ],
    };
    run(platform, [keys, conversation].into_iter().chain(along).collect()).await.map(drop)
}

/// Deletes keys that led to a deleted chat.
pub async fn forget(platform: &impl Storage, keys: &[&str]) -> Result<(), DatabaseError> {
    let delete = Statement {
        sql: "DELETE FROM turns WHERE key IN (SELECT value FROM json_each(?1))",
        parameters: vec![json_list(keys)],
    };
    run(platform, vec![delete]).await.map(drop)
}

fn conversation(row: Row) -> Result<Conversation, DatabaseError> {
    match columns("conversations", row)? {
        [
            Value::Text(scope),
            Value::Text(id),
            Value::Text(chat_id),
            Value::Text(title),
            Value::Text(model),
            Value::Integer(turns),
            Value::Integer(updated_at),
        ] => Ok(Conversation { scope, id, chat_id, title, model, turns, updated_at: moment(updated_at) }),
        _ => Err(unexpected_row("conversations")),
    }
}

/// The conversations of a scope, newest first.
pub async fn list(platform: &impl Storage, scope: &str, limit: u32) -> Result<Vec<Conversation>, DatabaseError> {
    let read = Statement {
        sql: "SELECT scope, id, chat_id, title, model, turns, updated_at FROM conversations \
              WHERE scope = ?1 AND NOT EXISTS (SELECT 1 FROM imported_chats i WHERE i.chat_id = conversations.chat_id) \
              ORDER BY updated_at DESC LIMIT ?2",
        parameters: vec![text(scope), Value::Integer(limit.into())],
    };
    rows(platform, read).await?.into_iter().map(conversation).collect()
}

/// Finds the conversation with this upstream chat or this id.
pub async fn by_chat(platform: &impl Storage, scope: &str, id: &str) -> Result<Option<Conversation>, DatabaseError> {
    let read = Statement {
        sql: "SELECT scope, id, chat_id, title, model, turns, updated_at FROM conversations \
              WHERE scope = ?1 AND (id = ?2 OR chat_id = ?2) \
              AND NOT EXISTS (SELECT 1 FROM imported_chats i WHERE i.chat_id = conversations.chat_id) LIMIT 1",
        parameters: vec![text(scope), text(id)],
    };
    rows(platform, read).await?.pop().map(conversation).transpose()
}

/// Whether the chat belongs to more than this conversation: another one continues in it, or it was imported.
pub async fn is_shared(platform: &impl Storage, conversation: &Conversation) -> Result<bool, DatabaseError> {
    let read = Statement {
        sql: "SELECT 1 AS found FROM conversations WHERE scope = ?1 AND chat_id = ?2 AND id <> ?3 \
              UNION ALL SELECT 1 FROM imported_chats WHERE chat_id = ?2 LIMIT 1",
        parameters: vec![text(&conversation.scope), text(&conversation.chat_id), text(&conversation.id)],
    };
    Ok(!rows(platform, read).await?.is_empty())
}

/// Up to `limit` conversations after a cursor, in the order of their keys, for a clean-up in bounded steps. Each with the name
/// of its account; `None` for `default`.
pub async fn page(
    platform: &impl Storage,
    after: (&str, &str),
    limit: u32,
) -> Result<Vec<(Conversation, Option<String>)>, DatabaseError> {
    let read = Statement {
        sql: "SELECT scope, id, chat_id, title, model, turns, updated_at, \
              (SELECT account FROM scopes s WHERE s.scope = conversations.scope) AS account FROM conversations \
              WHERE (scope, id) > (?1, ?2) ORDER BY scope, id LIMIT ?3",
        parameters: vec![text(after.0), text(after.1), Value::Integer(limit.into())],
    };
    let with_account = |mut row: Row| {
        let account = match row.pop() {
            Some(Value::Text(account)) => Some(account),
            Some(Value::Null) => None,
            _ => return Err(unexpected_row("conversations")),
        };
        Ok((conversation(row)?, account))
    };
    rows(platform, read).await?.into_iter().map(with_account).collect()
}

/// Removes a conversation. Its turns stay until they expire, or until a request finds that their chat is deleted.
pub async fn remove(platform: &impl Storage, scope: &str, id: &str) -> Result<(), DatabaseError> {
    let delete = Statement {
        sql: "DELETE FROM conversations WHERE scope = ?1 AND id = ?2",
        parameters: vec![text(scope), text(id)],
    };
    run(platform, vec![delete]).await.map(drop)
}

/// Removes what is older than `before` among the next `limit` turns after `after`. Returns the last key that was looked at.
pub async fn expire_turns(
    platform: &impl Storage,
    after: &str,
    before: UnixMillis,
    limit: u32,
) -> Result<Option<String>, DatabaseError> {
    let read = "SELECT max(key) FROM (SELECT key FROM turns WHERE key > ?1 ORDER BY key LIMIT ?2)";
    let delete = "DELETE FROM turns WHERE key > ?1 AND key <= ?2 AND created_at < ?3";
    expire_page(platform, ("turns", read, delete), after, before, limit).await
}

/// The imported chats, each with the site's time of its last change, in seconds since 1970.
#[cfg(not(target_arch = "wasm32"))]
pub async fn imported(platform: &impl Storage) -> Result<std::collections::HashMap<String, u64>, DatabaseError> {
    let read = Statement { sql: "SELECT chat_id, updated_at FROM imported_chats", parameters: Vec::new() };
    let pair = |row: Row| match columns("imported_chats", row)? {
        [Value::Text(chat), Value::Integer(updated_at)] => Ok((chat, unsigned(updated_at))),
        _ => Err(unexpected_row("imported_chats")),
    };
    rows(platform, read).await?.into_iter().map(pair).collect()
}

/// Notes that a chat was imported.
#[cfg(not(target_arch = "wasm32"))]
pub async fn mark_imported(platform: &impl Storage, chat_id: &str, updated_at: u64) -> Result<(), DatabaseError> {
    let write = Statement {
        sql: "INSERT INTO imported_chats (chat_id, updated_at) VALUES (?1, ?2) \
              ON CONFLICT (chat_id) DO UPDATE SET updated_at = excluded.updated_at",
        parameters: vec![text(chat_id), integer(updated_at)],
    };
    run(platform, vec![write]).await.map(drop)
}

/// Whether a conversation of this server continues in a chat.
#[cfg(not(target_arch = "wasm32"))]
pub async fn is_begun_here(platform: &impl Storage, chat_id: &str) -> Result<bool, DatabaseError> {
    let read = Statement {
        sql: "SELECT 1 AS found FROM conversations WHERE chat_id = ?1 LIMIT 1",
        parameters: vec![text(chat_id)],
    };
    Ok(!rows(platform, read).await?.is_empty())
}

/// Everything that is recorded of imported chats, as statements for the Worker's database.
#[cfg(not(target_arch = "wasm32"))]
pub async fn imported_sql(platform: &impl Storage) -> Result<String, DatabaseError> {
    const TABLES: [(&str, &str, &str); 4] = [
        (
            "SELECT scope, account FROM scopes WHERE scope IN (SELECT scope FROM conversations \
             WHERE chat_id IN (SELECT chat_id FROM imported_chats))",
            "INSERT OR IGNORE INTO scopes (scope, account) VALUES",
            "",
        ),
        (
            "SELECT chat_id, updated_at FROM imported_chats",
            "INSERT OR REPLACE INTO imported_chats (chat_id, updated_at) VALUES",
            "",
        ),
        (
            "SELECT key, kind, conversation, chat_id, response_id, system, created_at, depth FROM turns \
             WHERE chat_id IN (SELECT chat_id FROM imported_chats)",
            "INSERT OR REPLACE INTO turns (key, kind, conversation, chat_id, response_id, system, created_at, depth) VALUES",
            "",
        ),
        (
            "SELECT scope, id, chat_id, head, system, title, model, turns, created_at, updated_at FROM conversations \
             WHERE chat_id IN (SELECT chat_id FROM imported_chats)",
            "INSERT INTO conversations (scope, id, chat_id, head, system, title, model, turns, created_at, updated_at) VALUES",
            " ON CONFLICT (scope, id) DO UPDATE SET head = excluded.head, model = excluded.model, \
             updated_at = excluded.updated_at WHERE excluded.updated_at > conversations.updated_at",
        ),
    ];
    let literal = |value: &Value| match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => format!("'{}'", text.replace('\0', "").replace('\'', "''")),
    };
    let mut sql = String::new();
    for (read, write, conflict) in TABLES {
        for row in rows(platform, Statement { sql: read, parameters: Vec::new() }).await? {
            let values = row.iter().map(literal).collect::<Vec<_>>().join(", ");
            sql.push_str(&format!("{write} ({values}){conflict};\n"));
        }
    }
    Ok(sql)
}
