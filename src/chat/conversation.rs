//! Where a turn goes: which upstream chat knows its history, and what that chat has not heard yet.
//!
//! The store failing never fails a chat: it is logged and counted, and the turn goes to a new chat.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{
    digest::{History, scope},
    fold::{content_text, fold},
};
use crate::{
    openai::{Message, Role},
    platform::{self, DatabaseError, MaybeSend, Platform},
    store::conversations::{self as table, Place, SecondKey},
};

/// A store that takes longer is as good as none: the client waits.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many earlier answers of an unknown history are looked up.
const MOST_EARLIER: usize = 40;
/// A request with a new system text and at most so many questions is a side call (title, tags, translation).
const SIDE_CALL_QUESTIONS: usize = 2;
const TITLE_CHARACTERS: usize = 80;

/// The memory of all conversations.
#[derive(Debug)]
pub struct Conversations {
    lifetime: Duration,
    errors: AtomicU64,
}

/// What a request says of its conversation beside its messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// The client's own id: field `conversation_id` or header `x-conversation-id`.
    pub explicit: Option<String>,
    /// Open WebUI's chat id, which its side calls carry as well.
    pub open_webui: Option<String>,
}

/// One turn's place in a conversation.
#[derive(Debug)]
pub struct Thread {
    /// The conversation's id, for the client to name it by.
    pub id: String,
    pub(super) place: Option<Place>,
    /// What the chat at `place` has not heard yet.
    pub(super) news: String,
    /// The whole conversation, for a new chat.
    pub(super) whole: String,
    history: History,
    scope: String,
    title: String,
    throwaway: bool,
}

impl Conversations {
    /// A memory whose matches are forgotten after `lifetime`.
    #[must_use]
    pub fn new(lifetime: Duration) -> Self {
        Self { lifetime, errors: AtomicU64::new(0) }
    }

    /// How often the store failed since the start.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// The oldest time (milliseconds since 1970) that still counts.
    pub fn not_before(&self, now: u64) -> u64 {
        now.saturating_sub(u64::try_from(self.lifetime.as_millis()).unwrap_or(u64::MAX))
    }

    /// Waits for the store, but not for ever; a failure is logged, counted and read as `None`.
    pub async fn tried<T>(
        &self,
        platform: &impl Platform,
        what: &'static str,
        work: impl Future<Output = Result<T, DatabaseError>> + MaybeSend,
    ) -> Option<T> {
        let problem = match platform::timeout(platform, PATIENCE, work).await {
            Some(Ok(value)) => return Some(value),
            Some(Err(error)) => error,
            None => DatabaseError("no answer in time".to_owned()),
        };
        self.errors.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(error = %problem, what, "the store failed; the chat goes on without it");
        None
    }

    /// Finds where a request goes on. `caller` is its API key, `account` the Qwen account, `new_id` for a new conversation.
    pub async fn thread(
        &self,
        platform: &impl Platform,
        caller: &str,
        account: &str,
        messages: &[Message],
        hints: &Hints,
        new_id: String,
    ) -> Thread {
        let scope = scope(caller, account);
        let history = History::new(&scope, messages);
        let mut thread = Thread {
            id: hints.explicit.clone().or_else(|| hints.open_webui.clone()).unwrap_or_else(|| new_id.clone()),
            place: None,
            news: String::new(),
            whole: fold(messages),
            title: title(messages),
            throwaway: false,
            history,
            scope,
        };
        let (place, covers) = match self.find(platform, &thread.scope, &thread.history, messages, hints).await {
            Found::Place(place, covers) => (place, covers),
            Found::Nothing => return thread,
            Found::SideCall => return Thread { throwaway: true, id: new_id, ..thread },
            Found::AnotherBeginning => return Thread { id: new_id, ..thread },
        };
        let system_changed = place.system != thread.history.system && !thread.history.system.is_empty();
        let is_system = |message: &&Message| matches!(message.role, Role::System | Role::Developer);
        let system = messages.iter().filter(is_system).filter(|_| system_changed);
        let fresh = messages.iter().skip(covers).filter(|message| !is_system(message));
        thread.news = fold(system.chain(fresh));
        if hints.explicit.is_none() {
            thread.id.clone_from(&place.conversation);
        }
        thread.place = Some(place);
        thread
    }

    /// Finds the place to go on from, by the client's own id, by the history, or by the last answer.
    async fn find(
        &self,
        platform: &impl Platform,
        scope: &str,
        history: &History,
        messages: &[Message],
        hints: &Hints,
    ) -> Found {
        let not_before = self.not_before(platform.now());
        let last = history.boundaries.last();
        let by_history = match last {
            Some(last) => {
                let found = table::find(platform, &last.exact, &last.collapsed, not_before);
                self.tried(platform, "finding a history", found).await.flatten().map(|place| (place, last.covers))
            }
            None => None,
        };
        let covers = last.map_or(0, |last| last.covers);
        if let Some(id) = &hints.explicit {
            let head = table::head(platform, scope, id, not_before);
            let head = self.tried(platform, "finding a conversation", head).await.flatten();
            // The history tells where in the conversation it goes on; the id alone means its end.
            return match (by_history, head) {
                (Some((place, covers)), Some(head)) if place.conversation == head.conversation => {
                    Found::Place(place, covers)
                }
                (_, Some(head)) => Found::Place(head, covers),
                (Some((place, covers)), None) => Found::Place(place, covers),
                (None, None) => Found::Nothing,
            };
        }
        if let (None, Some(id)) = (&by_history, &hints.open_webui) {
            let head = table::head(platform, scope, id, not_before);
            match (self.tried(platform, "finding a conversation", head).await.flatten(), last) {
                (Some(head), Some(_)) if is_side_call(history, &head) => return Found::SideCall,
                (Some(head), Some(last)) => return Found::Place(head, last.covers),
                // A side call, or the first question anew: neither is the conversation's next turn.
                (Some(_), None) => return Found::AnotherBeginning,
                (None, _) => {}
            }
        }
        let found = match (by_history, last) {
            (None, Some(_)) => self.find_earlier(platform, scope, history, messages, not_before).await,
            (found, _) => found,
        };
        match found {
            Some((place, _)) if is_side_call(history, &place) => Found::SideCall,
            Some((place, covers)) => Found::Place(place, covers),
            None => Found::Nothing,
        }
    }

    /// An unknown history: its longest known beginning, else the one chat whose last answer is the newest here.
    async fn find_earlier(
        &self,
        platform: &impl Platform,
        scope: &str,
        history: &History,
        messages: &[Message],
        not_before: u64,
    ) -> Option<(Place, usize)> {
        let last = history.boundaries.last()?;
        let answer =
            messages.get(last.covers.checked_sub(1)?).and_then(|message| history.answer_key(&content_text(message)));
        let earlier = history.boundaries.iter().rev().skip(1).take(MOST_EARLIER);
        let mut keys: Vec<&str> =
            earlier.clone().flat_map(|boundary| [boundary.exact.as_str(), boundary.collapsed.as_str()]).collect();
        keys.extend(answer.as_deref());
        let found = table::find_first(platform, scope, &keys, not_before);
        let (key, place) = self.tried(platform, "finding an earlier history", found).await.flatten()?;
        let covers = earlier.clone().find(|boundary| boundary.exact == key || boundary.collapsed == key);
        Some((place, covers.map_or(last.covers, |boundary| boundary.covers)))
    }

    /// Records a finished turn.
    pub(super) async fn record(
        &self,
        platform: &impl Platform,
        thread: &Thread,
        chat_id: &str,
        response_id: &str,
        model: &str,
        answer: &str,
    ) {
        let Thread { id, history, scope, title, throwaway, .. } = thread;
        let keys = history.with_answer(answer);
        let second = if *throwaway {
            None
        } else if keys.exact == keys.collapsed {
            history.answer_key(answer).map(SecondKey::Answer)
        } else {
            Some(SecondKey::History(keys.collapsed))
        };
        let turn = table::Turn {
            scope: scope.clone(),
            place: Place {
                conversation: id.clone(),
                chat_id: chat_id.to_owned(),
                response_id: response_id.to_owned(),
                system: history.system.clone(),
            },
            key: (!throwaway).then_some(keys.exact),
            second,
            title: title.clone(),
            model: model.to_owned(),
        };
        self.tried(platform, "recording a turn", table::record(platform, &turn, platform.now())).await;
    }

    /// Forgets a place whose chat is no more.
    pub(super) async fn forget(&self, platform: &impl Platform, thread: &Thread) {
        let keys: Vec<&str> = thread
            .history
            .boundaries
            .iter()
            .rev()
            .take(MOST_EARLIER)
            .flat_map(|boundary| [boundary.exact.as_str(), boundary.collapsed.as_str()])
            .collect();
        self.tried(platform, "forgetting a chat", table::forget(platform, &keys)).await;
        if let Some(place) = &thread.place {
            let remove = table::remove(platform, &thread.scope, &place.conversation);
            self.tried(platform, "forgetting a chat", remove).await;
        }
    }
}

/// What the look-ups say of a request.
enum Found {
    /// It goes on here; so many of its messages are known there.
    Place(Place, usize),
    /// Its history is unknown, or it has none.
    Nothing,
    /// It shows a conversation's history with instructions of its own (title, tags, translation): it must leave that alone.
    SideCall,
    /// It names a known conversation and begins from the start: whatever it is, it is not that one's next turn.
    AnotherBeginning,
}

fn is_side_call(history: &History, place: &Place) -> bool {
    history.system != place.system && history.questions <= SIDE_CALL_QUESTIONS
}

/// The beginning of the first question, on one line.
fn title(messages: &[Message]) -> String {
    let question = messages.iter().find(|message| message.role == Role::User).map(content_text).unwrap_or_default();
    question.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(TITLE_CHARACTERS).collect()
}
