//! Conversation matching: which upstream chat knows a request's history, and which messages that chat has not seen.
//!
//! A failure of the store never fails a chat: it is logged and counted, and the turn goes to a new chat.

use std::{sync::Arc, time::Duration};

mod compared_text;
pub(in crate::chat) mod digest;
pub(in crate::chat) mod system_text;

pub use digest::history_key;
use digest::{History, HistoryKey, SecondChance};

use super::attachments::{Attachment, Attachments};
use crate::{
    llm::{Message, Role},
    platform::{self, Platform, StoreHealth},
    store::conversations::{self as table, Anchor, Keys},
    unix_time::UnixMillis,
    upstream::{Capabilities, Owner, PromptMessage, RenderedPrompt, render_prompt, speaker_names},
};
#[cfg(not(target_arch = "wasm32"))]
use crate::{
    platform::DatabaseError,
    upstream::{PastChat, PastMessage},
};

/// The most earlier answers of an unknown history that are looked up.
const MAX_EARLIER: usize = 40;
/// A request with another system text and at most this many questions is a side call (title, tags, translation).
const SIDE_CALL_QUESTIONS: usize = 2;
const TITLE_CHARACTERS: usize = 80;

/// Finds and records conversations.
#[derive(Debug)]
pub struct Conversations {
    lifetime: Duration,
    store_health: Arc<StoreHealth>,
}

/// How a request names its conversation, beside its messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConversationHint {
    /// The client's own id: field `conversation_id` or header `x-conversation-id`.
    pub explicit: Option<String>,
    /// Open WebUI's chat id. Its side calls carry the same id.
    pub open_webui: Option<String>,
}

/// What a request continues.
#[derive(Debug)]
pub struct ConversationMatch {
    /// The conversation's id, as the client may name it.
    pub id: String,
    pub(in crate::chat) anchor: Option<Anchor>,
    /// What the chat at `anchor` has not seen.
    pub(in crate::chat) delta: RenderedPrompt,
    /// The whole conversation, for a new chat.
    pub(in crate::chat) full_prompt: RenderedPrompt,
    pub(in crate::chat) attachments: Attachments,
    /// How many messages the chat at `anchor` knows.
    pub(in crate::chat) known_messages: usize,
    history: History,
    pub(in crate::chat) owner: Owner,
    title: String,
    is_throwaway: bool,
}

/// A request's messages with their speakers and attachments.
struct Transcript {
    messages: Vec<Message>,
    /// Who speaks, or which tool call a result answers.
    names: Vec<Option<String>>,
    attachments: Attachments,
}

impl Transcript {
    fn all(&self) -> impl Iterator<Item = PromptMessage<'_>> + Clone {
        self.messages.iter().zip(&self.names).enumerate().map(|(index, (message, name))| PromptMessage {
            message,
            name: name.as_deref(),
            attached: self.attachments.of(index).iter().map(Attachment::name).collect(),
        })
    }
}

impl ConversationMatch {
    /// Whether an upstream chat knows the history.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.anchor.is_some()
    }
}

impl Conversations {
    /// Matches expire after `lifetime`.
    #[must_use]
    pub fn new(lifetime: Duration, store_health: Arc<StoreHealth>) -> Self {
        Self { lifetime, store_health }
    }

    /// The oldest time that still counts.
    pub fn not_before(&self, now: UnixMillis) -> UnixMillis {
        now.saturating_sub(self.lifetime)
    }

    /// Finds the chat that knows what a request continues, on behalf of `owner`, if the
    /// upstream keeps histories at all; `new_id` is the id of a new conversation.
    pub async fn find_match(
        &self,
        platform: &impl Platform,
        (owner, capabilities): (Owner, Capabilities),
        (messages, attachments): (Vec<Message>, Attachments),
        hint: &ConversationHint,
        new_id: String,
    ) -> ConversationMatch {
        let length = messages.iter().map(Message::text_length).fold(0, usize::saturating_add);
        let scope = owner.scope.clone();
        let (transcript, history, full_prompt) = platform::work_on(platform, length, move || {
            let transcript = Transcript { names: speaker_names(&messages), messages, attachments };
            let history = History::new(scope.as_str(), &transcript.messages, &transcript.attachments);
            let full_prompt = render_prompt(transcript.all(), transcript.attachments.sent(0).count());
            (transcript, history, full_prompt)
        })
        .await;
        let mut conversation = ConversationMatch {
            id: hint.explicit.clone().or_else(|| hint.open_webui.clone()).unwrap_or_else(|| new_id.clone()),
            anchor: None,
            delta: RenderedPrompt::default(),
            full_prompt,
            known_messages: 0,
            attachments: Attachments::default(),
            title: title(&transcript.messages),
            is_throwaway: false,
            history,
            owner,
        };
        let scope = conversation.owner.scope.as_str();
        let found = if capabilities.keeps_history {
            self.find(platform, scope, &conversation.history, &transcript.messages, hint).await
        } else {
            Found::Nothing
        };
        let (anchor, message_count) = match found {
            Found::Anchor(anchor, message_count) => (anchor, message_count),
            other => {
                conversation.attachments = transcript.attachments;
                conversation.is_throwaway = matches!(other, Found::SideCall);
                if !matches!(other, Found::Nothing) {
                    conversation.id = new_id;
                }
                return conversation;
            }
        };
        let system_changed = anchor.system != conversation.history.system && !conversation.history.system.is_empty();
        let (delta, files, attachments) = platform::work_on(platform, length, move || {
            let is_system = |prompt: &PromptMessage<'_>| prompt.message.role == Role::System;
            let system = transcript.all().filter(is_system).filter(|_| system_changed);
            let fresh = transcript.all().skip(message_count).filter(|prompt| !is_system(prompt));
            let files = transcript.attachments.sent(message_count).count();
            (render_prompt(system.chain(fresh), files), files, transcript.attachments)
        })
        .await;
        conversation.attachments = attachments;
        if delta.text.trim().is_empty() && files == 0 {
            // The known chat has seen everything; only a new chat can answer this request.
            return conversation;
        }
        conversation.delta = delta;
        conversation.known_messages = message_count;
        if hint.explicit.is_none() {
            conversation.id.clone_from(&anchor.conversation);
        }
        conversation.anchor = Some(anchor);
        conversation
    }

    /// Finds the anchor, by the client's own id, by the history, or by the last answer.
    async fn find(
        &self,
        platform: &impl Platform,
        scope: &str,
        history: &History,
        messages: &[Message],
        hints: &ConversationHint,
    ) -> Found {
        let not_before = self.not_before(platform.now());
        let last = history.keys.last();
        let by_history = match last {
            Some(last) => {
                let found = table::find(platform, &last.exact, &last.without_tools, not_before);
                self.store_health
                    .ok_or_log("finding a history", found.await)
                    .flatten()
                    .map(|anchor| (anchor, last.message_count))
            }
            None => None,
        };
        let found = match (by_history, last) {
            (None, Some(_)) => self.find_earlier(platform, scope, history, messages, not_before).await,
            (found, _) => found,
        };
        match (found, &hints.explicit, &hints.open_webui) {
            (Some((anchor, message_count)), Some(_), _) => Found::Anchor(anchor, message_count),
            (Some((anchor, _)), None, _) if is_side_call(history, &anchor) => Found::SideCall,
            (Some((anchor, message_count)), None, _) => Found::Anchor(anchor, message_count),
            (None, Some(id), _) => {
                // The history is unknown or empty: the id means the end of that conversation.
                let head = table::head(platform, scope, id, not_before);
                let head = self.store_health.ok_or_log("finding a conversation", head.await).flatten();
                head.map_or(Found::Nothing, |head| Found::Anchor(head, last.map_or(0, |last| last.message_count)))
            }
            (None, None, Some(id)) if last.is_none() => {
                // A side call, or the first question again: neither is the conversation's next turn.
                let head = table::head(platform, scope, id, not_before).await;
                let known_messages = self.store_health.ok_or_log("finding a conversation", head).flatten().is_some();
                if known_messages { Found::AnotherBeginning } else { Found::Nothing }
            }
            (None, None, _) => Found::Nothing,
        }
    }

    /// Finds the longest known beginning of an unknown history, else the one chat that ends like it.
    async fn find_earlier(
        &self,
        platform: &impl Platform,
        scope: &str,
        history: &History,
        messages: &[Message],
        not_before: UnixMillis,
    ) -> Option<(Anchor, usize)> {
        let last = history.keys.last()?;
        let answer = messages.get(last.message_count.checked_sub(1)?).map(Message::content_text)?;
        let SecondChance { pair, answer } = history.second_chance(&answer);
        let earlier = history.keys.iter().rev().skip(1).take(MAX_EARLIER);
        let mut keys: Vec<&str> =
            earlier.clone().flat_map(|key| [key.exact.as_str(), key.without_tools.as_str()]).collect();
        keys.extend(pair.as_deref());
        keys.extend(answer.as_deref());
        let shown = history.depth();
        let found = table::find_first(platform, scope, &keys, shown, not_before);
        let (key, anchor) = self.store_health.ok_or_log("finding an earlier history", found.await).flatten()?;
        let message_count = earlier.clone().find(|earlier| earlier.exact == key || earlier.without_tools == key);
        Some((anchor, message_count.map_or(last.message_count, |key| key.message_count)))
    }

    /// Records a finished turn.
    pub(in crate::chat) async fn record(
        &self,
        platform: &impl Platform,
        conversation: &ConversationMatch,
        chat_id: &str,
        response_id: &str,
        model: &str,
        answer: &str,
    ) {
        let ConversationMatch { id, history, owner, title, is_throwaway, anchor, .. } = conversation;
        let known_messages = anchor.as_ref().map_or(0, |anchor| anchor.depth);
        let turn = table::Turn {
            scope: owner.scope.to_string(),
            anchor: Anchor {
                conversation: id.clone(),
                chat_id: chat_id.to_owned(),
                response_id: response_id.to_owned(),
                system: history.system.clone(),
                depth: known_messages.max(history.depth()).saturating_add(1),
            },
            keys: if *is_throwaway { Keys::default() } else { keys(history, answer) },
            title: title.clone(),
            model: model.to_owned(),
        };
        self.store_health.ok_or_log("recording a turn", table::record(platform, &turn, platform.now()).await);
    }

    /// Records the finished answers of a chat that was started elsewhere, as if this server had asked for them. Returns how
    /// many.
    ///
    /// # Errors
    /// Those of SQLite or D1.
    #[cfg(not(target_arch = "wasm32"))]
    pub async fn learn(
        &self,
        platform: &impl Platform,
        scope: &str,
        chat_id: &str,
        chat: &PastChat,
    ) -> Result<usize, DatabaseError> {
        let (mut prompt_message, mut turns) = (Vec::new(), 0_usize);
        for PastMessage { id, is_answer, text, is_finished } in &chat.messages {
            if *is_answer && *is_finished && !text.trim().is_empty() {
                let history = History::new(scope, &prompt_message, &Attachments::default());
                let keys = keys(&history, text);
                let anchor = Anchor {
                    conversation: chat_id.to_owned(),
                    chat_id: chat_id.to_owned(),
                    response_id: id.clone(),
                    depth: history.depth().saturating_add(1),
                    system: history.system,
                };
                let (scope, title, model) = (scope.to_owned(), chat.title.clone(), chat.model.clone());
                let turn = table::Turn { scope, anchor, keys, title, model };
                table::record(platform, &turn, platform.now()).await?;
                turns = turns.saturating_add(1);
            }
            let role = if *is_answer { Role::Assistant } else { Role::User };
            prompt_message.push(Message::text(role, text.clone()));
        }
        Ok(turns)
    }

    /// Forgets an anchor whose chat no longer exists.
    pub(in crate::chat) async fn forget(&self, platform: &impl Platform, conversation: &ConversationMatch) {
        let keys: Vec<&str> = conversation
            .history
            .keys
            .iter()
            .rev()
            .take(MAX_EARLIER)
            .flat_map(|key| [key.exact.as_str(), key.without_tools.as_str()])
            .collect();
        self.store_health.ok_or_log("forgetting a chat", table::forget(platform, &keys).await);
        if let Some(anchor) = &conversation.anchor {
            let remove = table::remove(platform, conversation.owner.scope.as_str(), &anchor.conversation).await;
            self.store_health.ok_or_log("forgetting a chat", remove);
        }
    }
}

/// Returns the keys that find a turn again: of its history, of its history without tools, and of its end.
fn keys(history: &History, answer: &str) -> Keys {
    let HistoryKey { exact, without_tools, message_count: _ } = history.with_answer(answer);
    let SecondChance { pair, answer } = history.second_chance_with(answer);
    let without_tools = Some(without_tools).filter(|without_tools| *without_tools != exact);
    Keys { history: Some(exact), without_tools, pair, answer }
}

/// What the look-ups find.
enum Found {
    /// The request continues here, where this many of its messages are known.
    Anchor(Anchor, usize),
    /// The history is unknown or empty.
    Nothing,
    /// The request shows a conversation's history with other instructions (title, tags, translation) and must not continue it.
    SideCall,
    /// The request names a known conversation and starts from its beginning, so it is not that conversation's next turn.
    AnotherBeginning,
}

fn is_side_call(history: &History, anchor: &Anchor) -> bool {
    history.system != anchor.system && history.questions <= SIDE_CALL_QUESTIONS
}

/// Returns the beginning of the first question, on one line.
pub(in crate::chat) fn title(messages: &[Message]) -> String {
    let question =
        messages.iter().find(|message| message.role == Role::User).map(Message::content_text).unwrap_or_default();
    // Each word has at least one character: no more words can be in the title.
    let words = question.split_whitespace().take(TITLE_CHARACTERS).collect::<Vec<_>>().join(" ");
    words.chars().take(TITLE_CHARACTERS).collect()
}
