//! The clean-up: removes what is older than `CONVERSATION_TTL_DAYS` from the store, and chats at the site as `DELETE_CHATS` says.
//! It deletes only what this server created.

use std::{sync::Arc, time::Duration};

use super::App;
use crate::{
    accounts::Account,
    config::{AccountName, DeleteChats},
    platform::{DatabaseError, Platform},
    store::{
        self,
        conversations::{self, Conversation},
        files, responses,
    },
    unix_time::UnixMillis,
};

/// The bounds of one step: rows that it reads.
const MAX_TURNS: u32 = 1000;
const MAX_FILES: u32 = 1000;
/// Cloudflare's Free plan allows 50 queries for each invocation, and each removal takes one.
const MAX_CONVERSATIONS: u32 = 15;
/// How many chats one run deletes at the site.
const MAX_DELETIONS: usize = 5;
/// How many steps one run takes at the most where queries are free.
const MAX_STEPS: usize = 100;
/// A chat that nobody continued for this long is a throw-away chat.
const UNMATCHED_AFTER: Duration = Duration::from_secs(60 * 60);
/// The key of the store under which the position is kept.
const CURSOR_KEY: &str = "cleanup";

/// Runs the clean-up: one step on the Worker, a round of all tables on the native server.
pub(super) async fn run(app: &App, platform: &impl Platform) {
    let steps = if app.config.product.is_distributed { 1 } else { MAX_STEPS };
    let mut run = Run::default();
    for _ in 0..steps {
        if let Err(error) = step(app, platform, &mut run).await {
            tracing::warn!(%error, "the clean-up failed; the next run continues");
            return;
        }
        if run.turns_ended && run.responses_ended && run.files_ended && run.conversations_ended {
            return;
        }
    }
}

/// What one run has done. A table whose end it has seen is left to the next one.
#[derive(Default)]
struct Run {
    /// Chats deleted at the site.
    deletions: usize,
    turns_ended: bool,
    responses_ended: bool,
    files_ended: bool,
    conversations_ended: bool,
}

/// The last row that was looked at in each table; empty = the table is begun.
#[derive(Default)]
struct Position {
    turn: String,
    conversation: (String, String),
    file: (String, String),
    response: String,
}

impl Position {
    async fn read(platform: &impl Platform) -> Result<Self, DatabaseError> {
        let text = store::cached(platform, CURSOR_KEY).await?.map(|(text, _)| text).unwrap_or_default();
        let mut parts = text.split(' ');
        let mut part = || parts.next().unwrap_or_default().to_owned();
        Ok(Self { turn: part(), conversation: (part(), part()), file: (part(), part()), response: part() })
    }

    async fn keep(&self, platform: &impl Platform, now: UnixMillis) -> Result<(), DatabaseError> {
        let Self { turn, conversation: (scope, id), file: (file_scope, file_id), response } = self;
        store::keep(platform, CURSOR_KEY, format!("{turn} {scope} {id} {file_scope} {file_id} {response}"), now).await
    }
}

/// Removes what has expired among the next rows of each table, and stores the position.
async fn step(app: &App, platform: &impl Platform, run: &mut Run) -> Result<(), DatabaseError> {
    let mut position = Position::read(platform).await?;
    let now = platform.now();
    let before = app.conversations.not_before(now);
    if !run.turns_ended {
        let next = conversations::expire_turns(platform, &position.turn, before, MAX_TURNS).await?;
        run.turns_ended = next.is_none();
        position.turn = next.unwrap_or_default();
    }
    if !run.responses_ended {
        let next = responses::expire(platform, &position.response, before, MAX_TURNS).await?;
        run.responses_ended = next.is_none();
        position.response = next.unwrap_or_default();
    }
    if !run.files_ended {
        let (scope, id) = &position.file;
        let next = files::expire_files(platform, (scope, id), before, MAX_FILES).await?;
        run.files_ended = next.is_none();
        position.file = next.unwrap_or_default();
    }
    if !run.conversations_ended {
        expire_conversations(app, platform, run, &mut position.conversation).await?;
    }
    position.keep(platform, now).await
}

/// The account whose scope's name in the store is this; `None` when it was deleted.
fn owner(app: &App, name: Option<&str>) -> Option<Arc<Account>> {
    let name = name.map_or_else(|| Some(AccountName::default()), AccountName::parse);
    app.accounts.find(&name?)
}

/// Removes what has expired among the next conversations after `position`, and moves it on.
async fn expire_conversations(
    app: &App,
    platform: &impl Platform,
    run: &mut Run,
    position: &mut (String, String),
) -> Result<(), DatabaseError> {
    let now = platform.now();
    let before = app.conversations.not_before(now);
    let page = conversations::page(platform, (&position.0, &position.1), MAX_CONVERSATIONS).await?;
    run.conversations_ended = page.is_empty();
    if page.is_empty() {
        *position = Default::default();
    }
    for (conversation, account) in page {
        let Conversation { scope, id, chat_id, .. } = &conversation;
        let expired = conversation.updated_at < before;
        let unmatched = conversation.turns <= 1 && conversation.updated_at < now.saturating_sub(UNMATCHED_AFTER);
        let upstream = match app.config.delete_chats {
            DeleteChats::Never => false,
            DeleteChats::Expired => expired,
            DeleteChats::Unmatched => unmatched,
        };
        let mut is_left = false;
        if upstream && !conversations::is_shared(platform, &conversation).await? {
            if run.deletions >= MAX_DELETIONS {
                // The next run begins with this one.
                run.conversations_ended = true;
                break;
            }
            match owner(app, account.as_deref()) {
                // Nobody will ever delete it at the site.
                None => is_left = !expired,
                // The other accounts' chats do not wait for this one's session.
                Some(account) if account.qwen.session().check(now).is_err() => is_left = true,
                Some(account) => {
                    run.deletions = run.deletions.saturating_add(1);
                    if let Err(error) = account.qwen.delete_chat(platform, None, chat_id).await {
                        tracing::warn!(%error, "a chat could not be deleted; the clean-up will retry it");
                        is_left = true;
                    }
                }
            }
        }
        if (expired || upstream) && !is_left {
            conversations::remove(platform, scope, id).await?;
        }
        *position = (conversation.scope, conversation.id);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::{
        config::{Config, Product},
        platform::{Row, Statement, Value, testing::Sim},
    };

    /// A store of these pages of young conversations, and nothing else. Notes what the clean-up reads.
    fn store(mut pages: Vec<Vec<Row>>, reads: Arc<Mutex<Vec<&'static str>>>) -> Sim {
        let mut position = String::new();
        let mut answer = move |Statement { sql, parameters }: &Statement| -> Vec<Row> {
            let table = ["turns", "responses", "files", "conversations"]
                .into_iter()
                .find(|table| sql.starts_with("SELECT") && sql.contains(&format!("FROM {table} WHERE")));
            reads.lock().unwrap().extend(table);
            match (table, &parameters[..]) {
                (Some("turns" | "responses"), _) => vec![vec![Value::Null]],
                (Some("conversations"), _) => pages.pop().unwrap_or_default(),
                (None, [_, Value::Text(kept), _]) => {
                    position.clone_from(kept);
                    Vec::new()
                }
                (None, [_]) => vec![vec![Value::Text(position.clone()), Value::Integer(0)]],
                _ => Vec::new(),
            }
        };
        Sim::alone().with_database_script(move |batch| Ok(batch.iter().map(&mut answer).collect()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_looks_at_each_table_to_its_end_and_no_further() {
        let page = |number: usize| -> Vec<Row> {
            let id = Value::Text(format!("c{number}"));
            let text = || Value::Text("x".to_owned());
            let numbers = [1, 1 << 52].map(Value::Integer);
            vec![[text(), id, text(), text(), text()].into_iter().chain(numbers).chain([Value::Null]).collect()]
        };
        let reads = Arc::<Mutex<Vec<_>>>::default();
        let platform = store((0..3).map(page).collect(), Arc::clone(&reads));
        let app = App::new(Config::from_lookup(|_: &str| None, Product::NATIVE).unwrap());
        run(&app, &platform).await;
        let all = ["turns", "responses", "files", "conversations", "conversations", "conversations", "conversations"];
        assert_eq!(*reads.lock().unwrap(), all);
        // The next run begins each table again.
        run(&app, &platform).await;
        assert_eq!(reads.lock().unwrap().get(all.len()..), all.get(..4));
    }
}
