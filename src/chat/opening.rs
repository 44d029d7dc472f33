//! Asking the site for an answer: in the chat that knows the conversation, or in a new one.

use std::{borrow::Cow, sync::Arc, time::Duration};

use super::{
    attachments::Entries,
    conversations::{ConversationMatch, Conversations},
    generation_options::GenerationOptions,
    limiter::{ConcurrencyLimiter, KeyedLimiters, Permit},
    render_prompt::{FILE_NAME, RenderedPrompt, without_missing},
};
use crate::{
    error::{Error, ErrorKind, Result},
    platform::{Platform, Reach},
    upstream::qwen::{Client, CredentialsLease, FileEntry, NewFile, Turn, TurnStream},
};

/// How long a chat that is busy with an earlier turn is waited for, before a new chat is made.
const BUSY_WAITS: [Duration; 2] = [Duration::from_millis(500), Duration::from_millis(1500)];

/// What all turns share.
#[derive(Clone, Debug)]
pub struct Services {
    /// The upstream.
    pub qwen: Arc<Client>,
    /// Which chats know which conversations.
    pub conversations: Arc<Conversations>,
    /// Limits the turns that the upstream is busy with.
    pub limiter: Arc<ConcurrencyLimiter>,
    /// Limit, for each key, the requests that fetch and upload what is attached.
    pub attachment_limiters: Arc<KeyedLimiters>,
}

/// One turn: all that is needed to ask for its answer, also once more.
#[derive(Debug)]
pub struct Plan {
    /// What goes upstream beside the messages.
    pub options: GenerationOptions,
    /// The messages, and the chat that knows some of them.
    pub conversation: ConversationMatch,
    /// Which hosts attachments may be fetched from.
    pub reach: Reach,
}

/// What an earlier attempt showed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attempt {
    /// The chat that knows the conversation cannot be used: a new one is needed.
    pub(super) needs_new_chat: bool,
    /// That chat does not exist any more.
    pub(super) chat_is_gone: bool,
}

/// An answer that has begun, and the chat it comes from.
pub(super) struct Opened {
    pub(super) stream: TurnStream,
    pub(super) chat_id: String,
    pub(super) permit: Permit,
}

/// What is sent to the site: a text, and the entries of the files that go along.
struct TurnInput<'a> {
    text: Cow<'a, str>,
    files: Vec<FileEntry>,
}

/// Asks for the answer. After a session that ended amid an answer (`refused`), only if the session can be refreshed.
///
/// # Errors
/// Any refusal that comes instead of an answer.
pub(super) async fn open<P: Platform>(
    platform: P,
    services: Services,
    plan: Arc<Plan>,
    attempt: Attempt,
    refused: Option<(CredentialsLease, Error)>,
) -> Result<Opened> {
    let Services { qwen, conversations, .. } = &services;
    let conversation = &plan.conversation;
    if let Some((lease, error)) = refused
        && !qwen.refresh_after(&platform, &lease, &error).await
    {
        return Err(error);
    }
    let opening = Opening { platform: &platform, services: &services, plan: &plan };
    if attempt.chat_is_gone {
        conversations.forget(&platform, conversation).await;
    }
    let mut held = None;
    if let (Some(anchor), false) = (&conversation.anchor, attempt.needs_new_chat) {
        let input = opening.prepare(&conversation.delta, conversation.known_messages).await?;
        let permit = opening.permit().await?;
        match opening.continue_chat(&anchor.chat_id, &anchor.response_id, &input).await {
            Ok(stream) => return Ok(Opened { stream, chat_id: anchor.chat_id.clone(), permit }),
            Err(error) if error.kind() == ErrorKind::ChatGone => conversations.forget(&platform, conversation).await,
            Err(error) if error.kind() == ErrorKind::ChatBusy => {}
            Err(error) => return Err(error),
        }
        // The permit is kept, unless there is more to fetch first.
        held = Some(permit).filter(|_| !opening.has_files(&conversation.full_prompt, 0));
    }
    let input = opening.prepare(&conversation.full_prompt, 0).await?;
    let permit = match held {
        Some(permit) => permit,
        None => opening.permit().await?,
    };
    let chat_id = qwen.new_chat(&platform, &conversation.owner, &plan.options.model).await?;
    let stream = qwen.complete(&platform, &conversation.owner, &opening.turn(&chat_id, None, &input)).await?;
    Ok(Opened { stream, chat_id, permit })
}

struct Opening<'a, P> {
    platform: &'a P,
    services: &'a Services,
    plan: &'a Plan,
}

impl<'a, P: Platform> Opening<'a, P> {
    fn turn(&self, chat_id: &'a str, parent_id: Option<&'a str>, input: &'a TurnInput<'_>) -> Turn<'a> {
        let GenerationOptions { model, reasoning, search, stop: _, max_tokens: _ } = &self.plan.options;
        let TurnInput { text, files } = input;
        Turn { chat_id, parent_id, model, text, files, reasoning: *reasoning, search: *search }
    }

    /// Waits for a permit to ask the site.
    async fn permit(&self) -> Result<Permit> {
        let permit = self.services.limiter.acquire(self.platform).await?;
        // Meanwhile the site may have asked for a human check.
        self.services.qwen.session().check(self.platform.now())?;
        Ok(permit)
    }

    fn has_files(&self, prompt: &RenderedPrompt, known: usize) -> bool {
        prompt.file.is_some() || self.plan.conversation.attachments.sent(known).next().is_some()
    }

    /// Uploads what goes along, before the turn has its permit: a client's link may be slow, and only its own key waits for it.
    async fn prepare(&self, prompt: &'a RenderedPrompt, known: usize) -> Result<TurnInput<'a>> {
        if !self.has_files(prompt, known) {
            return Ok(TurnInput { text: Cow::Borrowed(&prompt.text), files: Vec::new() });
        }
        let limiters = &self.services.attachment_limiters;
        let _permit = limiters.acquire(self.platform, self.plan.conversation.owner.scope.as_str()).await?;
        // Meanwhile the site may have asked for a human check.
        self.services.qwen.session().check(self.platform.now())?;
        self.upload(prompt, known).await
    }

    /// Uploads what is too long for a message, and what is attached to messages that the chat does not know. The text names
    /// the attachments that are no longer available.
    async fn upload(&self, prompt: &'a RenderedPrompt, known: usize) -> Result<TurnInput<'a>> {
        let (platform, qwen) = (self.platform, &self.services.qwen);
        let ConversationMatch { attachments, owner, .. } = &self.plan.conversation;
        let mut files = Vec::new();
        if let Some(text) = &prompt.file {
            let (media_type, param) = ("text/plain".to_owned(), "messages".to_owned());
            let new = NewFile::whole(FILE_NAME.to_owned(), Some(media_type), text.clone(), param);
            // Boxed: else each chat would take an upload's memory for as long as it is being opened.
            files.push(Box::pin(qwen.upload(platform, owner, new)).await?.entry(platform));
        }
        let Entries { files: attached, missing } =
            attachments.entries(platform, qwen, owner, self.plan.reach, known).await?;
        files.extend(attached);
        Ok(TurnInput { text: without_missing(&prompt.text, &missing), files })
    }

    /// Sends the delta to the chat that knows the rest; waits a little while that chat is busy.
    async fn continue_chat(&self, chat_id: &str, parent_id: &str, input: &TurnInput<'_>) -> Result<TurnStream> {
        let (platform, qwen) = (self.platform, &self.services.qwen);
        let turn = self.turn(chat_id, Some(parent_id), input);
        for wait in BUSY_WAITS {
            match qwen.complete(platform, &self.plan.conversation.owner, &turn).await {
                Err(error) if error.kind() == ErrorKind::ChatBusy => platform.sleep(wait).await,
                done => return done,
            }
        }
        qwen.complete(platform, &self.plan.conversation.owner, &turn).await
    }
}
