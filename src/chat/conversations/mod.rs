//! Conversation matching: which upstream chat knows a request's history, and which messages that chat has not seen.
//!
//! A failure of the store never fails a chat: it is logged and counted, and the turn goes to a new chat.

use std::{sync::Arc, time::Duration};

mod compared_text;
pub(in crate::chat) mod digest;
pub(in crate::chat) mod system_text;
mod tools;

pub use digest::history_key;
use digest::{History, HistoryKey, SecondChance};
pub use tools::TurnTools;

use super::{
    attachments::{Attachment, Attachments},
    kept_response::KeptResponse,
};
use crate::{
    llm::{Call, Message, Role},
    platform::{self, Platform, StoreHealth},
    store::{
        conversations::{self as table, Anchor, Keys},
        responses,
    },
    unix_time::UnixMillis,
    upstream::{
        Answers, Capabilities, Owner, PromptMessage, RenderedPrompt, answered_calls, render_prompt, speaker_names,
    },
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
    /// Whether the answer is a picture. Chats that draw are other chats than those that answer in text, and neither goes on
    /// in the other's.
    pub is_drawing: bool,
}

/// How the ids of conversations begin, in the store, whose answers are pictures; and what their histories are salted with.
const DRAWINGS: &str = "drawn:";

/// The id of a conversation as clients know it.
#[must_use]
pub fn shown_conversation(id: &str) -> &str {
    id.strip_prefix(DRAWINGS).unwrap_or(id)
}

/// Whether the answers of a conversation are pictures.
#[must_use]
pub fn is_drawn(anchor: &Anchor) -> bool {
    anchor.conversation.starts_with(DRAWINGS)
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
    /// Whether the request does not say what came before: only the chat at `anchor` can answer it.
    pub(in crate::chat) is_partial: bool,
    lacks_history: bool,
    /// How many messages the request has.
    message_count: usize,
    /// The digest of the tools of this turn; empty where the upstream is not told of any.
    tools: String,
    history: History,
    pub(in crate::chat) owner: Owner,
    title: String,
    is_throwaway: bool,
}

/// Where a request goes on that names an earlier answer.
#[derive(Clone, Debug)]
pub struct Resumed {
    /// That answer's point in its chat.
    pub anchor: Anchor,
    /// What its key is made of: histories that begin there are no others'.
    pub salt: String,
    /// How many of the request's messages that chat knows.
    pub known: usize,
}

/// A request's messages with their speakers and attachments.
struct Transcript {
    messages: Arc<Vec<Message>>,
    /// Who speaks, or which tool call a result answers.
    names: Vec<Option<String>>,
    /// Which calls results answer.
    answers: Vec<Option<Answers>>,
    attachments: Attachments,
}

impl Transcript {
    fn all(&self) -> impl Iterator<Item = PromptMessage<'_>> + Clone {
        let named = self.messages.iter().zip(&self.names).zip(&self.answers);
        named.enumerate().map(|(index, ((message, name), answers))| PromptMessage {
            message,
            name: name.as_deref(),
            answers: answers.as_ref(),
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

    /// Whether the request shows less than was said in the conversation that it names: only the chat that knows the rest can
    /// answer it.
    #[must_use]
    pub fn lacks_history(&self) -> bool {
        self.lacks_history
    }

    /// Notes what the chat is, for the turns that follow. Only where the upstream is told of no tools.
    pub(in crate::chat) fn note_chat(&mut self, kind: &str) {
        kind.clone_into(&mut self.tools);
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
        (messages, attachments, tools): (Arc<Vec<Message>>, Attachments, TurnTools),
        (hint, resumed): (&ConversationHint, Option<Resumed>),
        new_id: String,
    ) -> ConversationMatch {
        let length = messages.iter().map(Message::text_length).fold(0, usize::saturating_add);
        let scope = owner.scope.clone();
        let own_salt = if hint.is_drawing { DRAWINGS } else { "" };
        let salt =
            resumed.as_ref().map_or_else(|| own_salt.to_owned(), |resumed| format!("{own_salt}{}", resumed.salt));
        let stored = |id: String| if hint.is_drawing { format!("{DRAWINGS}{id}") } else { id };
        let (explicit, new_id) = (hint.explicit.clone().map(stored), stored(new_id));
        let hint = &ConversationHint { explicit, ..hint.clone() };
        let (transcript, history, full_prompt, tools) = platform::work_on(platform, length, move || {
            let (names, answers) = (speaker_names(&messages), answered_calls(&messages));
            let transcript = Transcript { names, answers, messages, attachments };
            let history = History::new((scope.as_str(), &salt), &transcript.messages, &transcript.attachments);
            let files = transcript.attachments.sent(0).count();
            let full_prompt = render_prompt(transcript.all(), files, &tools.text(""));
            (transcript, history, full_prompt, tools)
        })
        .await;
        let mut conversation = ConversationMatch {
            id: hint.explicit.clone().or_else(|| hint.open_webui.clone().map(stored)).unwrap_or_else(|| new_id.clone()),
            anchor: None,
            delta: RenderedPrompt::default(),
            full_prompt,
            known_messages: 0,
            is_partial: resumed.is_some(),
            lacks_history: resumed.is_some(),
            message_count: transcript.messages.len(),
            tools: tools.digest().to_owned(),
            attachments: Attachments::default(),
            title: title(&transcript.messages),
            is_throwaway: false,
            history,
            owner,
        };
        let scope = conversation.owner.scope.as_str();
        let found = if let Some(Resumed { anchor, known, .. }) = resumed {
            Found::Anchor(anchor, known)
        } else if capabilities.keeps_history {
            self.find(platform, scope, &conversation.history, &transcript.messages, hint).await
        } else {
            Found::Nothing
        };
        let (anchor, message_count) = match found {
            Found::Anchor(anchor, message_count) => (anchor, message_count),
            Found::Head(anchor, message_count) => {
                conversation.lacks_history = conversation.history.depth() < anchor.depth;
                (anchor, message_count)
            }
            other => {
                conversation.attachments = transcript.attachments;
                conversation.is_throwaway = matches!(other, Found::SideCall);
                if !matches!(other, Found::Nothing) {
                    conversation.id = new_id;
                }
                return conversation;
            }
        };
        let message_count = message_count.saturating_sub(usize::try_from(anchor.unseen).unwrap_or(0));
        // At its beginning a chat knows nothing.
        let is_beginning = anchor.response_id.is_empty();
        let system_changed =
            (is_beginning || anchor.system != conversation.history.system) && !conversation.history.system.is_empty();
        let tool_text = tools.text(if is_beginning { "" } else { &anchor.tools });
        let (delta, files, attachments, is_empty) = platform::work_on(platform, length, move || {
            let is_system = |prompt: &PromptMessage<'_>| prompt.message.role == Role::System;
            let says_nothing = |prompt: PromptMessage<'_>| {
                let PromptMessage { message, attached, .. } = &prompt;
                let is_silent = message.content_text().trim().is_empty() && message.calls().next().is_none();
                is_silent && attached.is_empty() && message.role != Role::Tool
            };
            let system = transcript.all().filter(is_system).filter(|_| system_changed);
            let fresh = transcript.all().skip(message_count).filter(|prompt| !is_system(prompt));
            let files = transcript.attachments.sent(message_count).count();
            let is_empty = system.clone().chain(fresh.clone()).all(says_nothing);
            (render_prompt(system.chain(fresh), files, &tool_text), files, transcript.attachments, is_empty)
        })
        .await;
        conversation.attachments = attachments;
        if is_empty && files == 0 {
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
        let mut keys: Vec<&str> = history.call.iter().map(|call| call.key.as_str()).collect();
        if let Some(last) = last {
            keys.push(&last.exact);
            keys.extend(Some(last.without_tools.as_str()).filter(|key| *key != last.exact));
        }
        let by_key = table::find(platform, &keys, not_before).await;
        let by_key = self.store_health.ok_or_log("finding a history", by_key).flatten();
        let by_history = match (by_key, &history.call) {
            // Results of calls belong to the chat that asked for them, whatever else the client has rewritten.
            (Some((key, anchor)), Some(call)) if key == call.key => {
                return Found::Anchor(anchor, call.message_count);
            }
            (Some((_, anchor)), _) => Some((anchor, last.map_or(0, |last| last.message_count))),
            (None, _) => None,
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
                head.map_or(Found::Nothing, |head| Found::Head(head, last.map_or(0, |last| last.message_count)))
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
        model: &str,
        answer: &RecordedAnswer,
        kept: Option<(&KeptResponse, &str)>,
    ) {
        let ConversationMatch {
            id,
            history,
            owner,
            title,
            is_throwaway,
            anchor,
            tools,
            message_count,
            known_messages,
            ..
        } = conversation;
        let before = anchor.as_ref().filter(|anchor| anchor.chat_id == chat_id);
        let depth = anchor.as_ref().map_or(0, |anchor| anchor.depth).max(history.depth()).saturating_add(1);
        let known_tools = before.map_or("", |before| before.tools.as_str());
        let tools = if tools.is_empty() { known_tools } else { tools };
        let anchor = Anchor {
            conversation: id.clone(),
            chat_id: chat_id.to_owned(),
            response_id: answer.response_id.clone(),
            system: history.system.clone(),
            tools: tools.to_owned(),
            depth,
            unseen: 0,
        };
        let anchor =
            if answer.is_spoiled { anchor_before(anchor, before, *message_count, *known_messages) } else { anchor };
        let now = platform.now();
        let along = kept.map(|(kept, json)| {
            responses::insert(&kept.row(platform, anchor.clone(), json), owner.scope.as_str(), now)
        });
        let turn = table::Turn {
            scope: owner.scope.to_string(),
            anchor,
            keys: if *is_throwaway { Keys::default() } else { keys(history, answer) },
            title: title.clone(),
            model: model.to_owned(),
        };
        self.store_health.ok_or_log("recording a turn", table::record(platform, &turn, along, now).await);
    }

    /// Records a turn that another upstream has answered: the chat stays where it is, and the next turn brings what was said
    /// meanwhile. Without a chat there is nothing to record but the response that is kept.
    pub(in crate::chat) async fn record_elsewhere(
        &self,
        platform: &impl Platform,
        conversation: &ConversationMatch,
        model: &str,
        (answer, kept): (Option<RecordedAnswer>, Option<(&KeptResponse, &str)>),
    ) {
        match (&conversation.anchor, answer) {
            (Some(Anchor { chat_id, .. }), Some(answer)) => {
                let answer = RecordedAnswer { is_spoiled: true, ..answer };
                self.record(platform, conversation, chat_id, model, &answer, kept).await;
            }
            _ => {
                if let Some(kept) = kept {
                    self.keep(platform, conversation, kept).await;
                }
            }
        }
    }

    /// Keeps a response that no chat can go on from.
    pub(in crate::chat) async fn keep(
        &self,
        platform: &impl Platform,
        conversation: &ConversationMatch,
        (kept, json): (&KeptResponse, &str),
    ) {
        let anchor = Anchor {
            conversation: conversation.id.clone(),
            chat_id: String::new(),
            response_id: String::new(),
            system: String::new(),
            tools: String::new(),
            depth: conversation.history.depth(),
            unseen: 0,
        };
        let row = kept.row(platform, anchor, json);
        let scope = conversation.owner.scope.as_str();
        let kept = responses::record(platform, &row, scope, platform.now()).await;
        self.store_health.ok_or_log("keeping a response", kept);
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
                let history = History::new((scope, ""), &prompt_message, &Attachments::default());
                let keys = keys(&history, &RecordedAnswer { text: text.clone(), ..RecordedAnswer::default() });
                let anchor = Anchor {
                    tools: String::new(),
                    unseen: 0,
                    conversation: chat_id.to_owned(),
                    chat_id: chat_id.to_owned(),
                    response_id: id.clone(),
                    depth: history.depth().saturating_add(1),
                    system: history.system,
                };
                let (scope, title, model) = (scope.to_owned(), chat.title.clone(), chat.model.clone());
                let turn = table::Turn { scope, anchor, keys, title, model };
                table::record(platform, &turn, None, platform.now()).await?;
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

/// A complete answer, as it is recorded.
#[derive(Clone, Debug, Default)]
pub(in crate::chat) struct RecordedAnswer {
    /// Its text.
    pub(in crate::chat) text: String,
    /// The tools that it calls.
    pub(in crate::chat) calls: Vec<Call>,
    /// Its node in the upstream's chat.
    pub(in crate::chat) response_id: String,
    /// Whether that node is not to be continued.
    pub(in crate::chat) is_spoiled: bool,
}

/// Returns the keys that find a turn again: of its history, of its history without tools, of its end, and of its calls. An
/// answer that calls tools is found by its calls, not by its end.
fn keys(history: &History, answer: &RecordedAnswer) -> Keys {
    let RecordedAnswer { text, calls, .. } = answer;
    let names = calls.iter().map(|call| call.name.as_str());
    let HistoryKey { exact, without_tools, message_count: _ } = history.with_answer(text, names);
    let without_tools = Some(without_tools).filter(|without_tools| *without_tools != exact);
    let call = calls.first().and_then(|call| history.call_key(&call.id));
    let SecondChance { pair, answer } =
        if calls.is_empty() { history.second_chance_with(text) } else { SecondChance::default() };
    Keys { history: Some(exact), without_tools, pair, answer, call }
}

/// The anchor of a turn whose own node is spoiled: the node before it, which has not seen this turn.
fn anchor_before(anchor: Anchor, before: Option<&Anchor>, message_count: usize, known_messages: usize) -> Anchor {
    let unseen =
        |known: usize| i64::try_from(message_count.saturating_sub(known).saturating_add(1)).unwrap_or(i64::MAX);
    match before {
        Some(Anchor { response_id, system, tools, .. }) => Anchor {
            response_id: response_id.clone(),
            system: system.clone(),
            tools: tools.clone(),
            unseen: unseen(known_messages),
            ..anchor
        },
        None => Anchor { response_id: String::new(), tools: String::new(), unseen: unseen(0), ..anchor },
    }
}

/// What the look-ups find.
enum Found {
    /// The request continues here, where this many of its messages are known.
    Anchor(Anchor, usize),
    /// The same, by the conversation's id alone.
    Head(Anchor, usize),
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
