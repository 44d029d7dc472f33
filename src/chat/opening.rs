//! Asking the site for an answer: in the chat that knows the conversation, or in a new one.

use std::{borrow::Cow, sync::Arc};

use super::{
    answer_format::AnswerFormat,
    attachments::{Attachments, Entries, Uploader},
    conversations::{ConversationMatch, Conversations},
    generation_options::GenerationOptions,
    kept_response::KeptResponse,
    second::Second,
    tool_rules::ToolRules,
};
use crate::{
    error::{Error, ErrorKind, Result},
    limiter::{ConcurrencyLimiter, KeyedLimiters, Permit},
    llm::Correction,
    media::{LinkMaker, MediaLinks},
    platform::{Platform, Reach, StoreHealth},
    store::conversations::Anchor,
    upstream::{
        Ask, FileEntry, Lease, Opened, Owner, RenderedPrompt, Upstream, correction_text, prompt_file, without_missing,
    },
};

/// What all turns share.
#[derive(Clone, Debug)]
pub struct Services {
    /// The upstream.
    pub upstream: Upstream,
    /// How often the store failed.
    pub store_health: Arc<StoreHealth>,
    /// Which chats know which conversations.
    pub conversations: Arc<Conversations>,
    /// Limits the turns that the upstream is busy with.
    pub limiter: Arc<ConcurrencyLimiter>,
    /// This server's links to what the model draws.
    pub media_links: Arc<MediaLinks>,
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
    /// What calls of tools have to keep to, if the request has tools.
    pub tools: Option<ToolRules>,
    /// What the text of the answer has to be, if it has to be JSON.
    pub format: Option<AnswerFormat>,
    /// How the answer is kept, if it may be retrieved.
    pub kept: Option<KeptResponse>,
    /// Makes links to the pictures that the model draws; without it they are left out.
    pub links: Option<LinkMaker>,
    /// The second upstream, where there is one that can take the turn.
    pub second: Option<Second>,
}

/// Uploads the attachments of the messages from `first` on, unless that was done, and returns their entries in their order.
///
/// # Errors
/// Those of a file, and any refusal.
pub async fn upload_attachments<P: Platform>(
    platform: &P,
    services: &Services,
    (owner, reach): (&Owner, Reach),
    (attachments, first): (&Attachments, usize),
) -> Result<Vec<FileEntry>> {
    if attachments.sent(first).next().is_none() {
        return Ok(Vec::new());
    }
    let _permit = services.attachment_limiters.acquire(platform, owner.scope.as_str()).await?;
    let Services { upstream, store_health, media_links: links, .. } = services;
    let uploader = Uploader { platform, upstream, store_health, links, owner, reach };
    Ok(attachments.entries(&uploader, first).await?.files)
}

/// What an earlier attempt showed.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempt {
    /// The chat that knows the conversation cannot be used: a new one is needed.
    pub(super) needs_new_chat: bool,
    /// That chat does not exist any more.
    pub(super) chat_is_gone: bool,
    /// The answer could not be used: it is asked for again, from the same node of this chat, with this correction.
    pub(super) corrected: Option<Corrected>,
    /// The second upstream is asked.
    pub(super) second: Option<Arc<Second>>,
}

/// An answer that could not be used.
#[derive(Clone, Debug)]
pub(super) struct Corrected {
    /// The chat that it came from.
    pub(super) chat_id: String,
    /// What the model is to do otherwise.
    pub(super) correction: Correction,
    /// Whether the upstream still writes it.
    pub(super) is_running: bool,
}

/// An answer that has begun, and the permit that it holds.
pub(super) struct Begun {
    pub(super) opened: Opened,
    /// The permit to ask chat.qwen.ai.
    pub(super) permit: Option<Permit>,
    /// The links of the files that go along, which the answer may repeat.
    pub(super) echoes: Vec<String>,
}

/// What is sent: a text, and the entries of the files that go along.
struct Input<'a> {
    text: Cow<'a, str>,
    files: Vec<FileEntry>,
}

impl Input<'_> {
    fn echoes(&self) -> Vec<String> {
        let link = |file: &FileEntry| file.json().get("url")?.as_str().map(str::to_owned);
        self.files.iter().filter_map(link).collect()
    }
}

/// Asks for the answer. After an error amid an answer (`refused`), only if the upstream can recover from it.
///
/// # Errors
/// Any refusal that comes instead of an answer.
pub(super) async fn open<P: Platform>(
    platform: P,
    services: Services,
    plan: Arc<Plan>,
    attempt: Attempt,
    refused: Option<(Lease, Error)>,
) -> Result<Begun> {
    let Services { upstream, conversations, .. } = &services;
    let conversation = &plan.conversation;
    if let Some((lease, error)) = refused {
        upstream.recover(&platform, &lease, error).await?;
    }
    if let Some(second) = &attempt.second {
        return Ok(Begun { opened: second.open(&platform).await?, permit: None, echoes: Vec::new() });
    }
    let opening = Opening { platform: &platform, services: &services, plan: &plan };
    if let Some(corrected) = &attempt.corrected {
        return opening.again(corrected).await;
    }
    if attempt.chat_is_gone {
        conversations.forget(&platform, conversation).await;
    }
    let mut held = None;
    if let (Some(anchor), false) = (&conversation.anchor, attempt.needs_new_chat) {
        let input = opening.prepare(&conversation.delta, conversation.known_messages).await?;
        let permit = opening.permit().await?;
        let node = (anchor.chat_id.as_str(), parent(anchor));
        match upstream.continue_chat(&platform, &conversation.owner, node, &opening.ask(&input)).await {
            Ok(opened) => return Ok(Begun { opened, permit: Some(permit), echoes: input.echoes() }),
            Err(error) if conversation.is_partial => return Err(error),
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
    let opened = upstream.start_chat(&platform, &conversation.owner, &opening.ask(&input)).await?;
    Ok(Begun { opened, permit: Some(permit), echoes: input.echoes() })
}

/// The answer that the next turn follows; `None` at the beginning of a chat.
fn parent(anchor: &Anchor) -> Option<&str> {
    Some(anchor.response_id.as_str()).filter(|id| !id.is_empty())
}

struct Opening<'a, P> {
    platform: &'a P,
    services: &'a Services,
    plan: &'a Plan,
}

impl<'a, P: Platform> Opening<'a, P> {
    fn ask(&self, input: &'a Input<'_>) -> Ask<'a> {
        let GenerationOptions { model, reasoning, search, stop: _, max_tokens: _ } = &self.plan.options;
        let Input { text, files } = input;
        Ask { model, text, files, reasoning: *reasoning, search: *search, has_tools: self.plan.tools.is_some() }
    }

    /// Asks once more in the same chat, from the same node: what came of it is no part of the conversation.
    async fn again(&self, corrected: &Corrected) -> Result<Begun> {
        let Corrected { chat_id, correction, is_running } = corrected;
        let conversation = &self.plan.conversation;
        let anchor = conversation.anchor.as_ref().filter(|anchor| anchor.chat_id == *chat_id);
        let (prompt, known) = match anchor {
            Some(_) => (&conversation.delta, conversation.known_messages),
            None => (&conversation.full_prompt, 0),
        };
        let Input { text, files } = self.prepare(prompt, known).await?;
        let text = Cow::Owned(format!("{text}\n\n{}", correction_text(correction)));
        let permit = self.permit().await?;
        let node = (chat_id.as_str(), anchor.and_then(parent));
        let upstream = &self.services.upstream;
        if *is_running {
            upstream.stop(self.platform, &conversation.owner, chat_id, None).await;
        }
        let input = Input { text, files };
        let opened = upstream.continue_chat(self.platform, &conversation.owner, node, &self.ask(&input)).await?;
        Ok(Begun { opened, permit: Some(permit), echoes: input.echoes() })
    }

    /// Waits for a permit to ask the upstream.
    async fn permit(&self) -> Result<Permit> {
        let permit = self.services.limiter.acquire(self.platform).await?;
        // Meanwhile the site may have asked for a human check.
        self.services.upstream.check(self.platform.now())?;
        Ok(permit)
    }

    fn has_files(&self, prompt: &RenderedPrompt, known: usize) -> bool {
        prompt.file.is_some() || self.plan.conversation.attachments.sent(known).next().is_some()
    }

    /// Uploads what goes along, before the turn has its permit: a client's link may be slow, and only its own key waits for it.
    async fn prepare(&self, prompt: &'a RenderedPrompt, known: usize) -> Result<Input<'a>> {
        if !self.has_files(prompt, known) {
            return Ok(Input { text: Cow::Borrowed(&prompt.text), files: Vec::new() });
        }
        let limiters = &self.services.attachment_limiters;
        let _permit = limiters.acquire(self.platform, self.plan.conversation.owner.scope.as_str()).await?;
        // Meanwhile the site may have asked for a human check.
        self.services.upstream.check(self.platform.now())?;
        self.upload(prompt, known).await
    }

    /// Uploads what is too long for a message, and what is attached to messages that the chat does not know. The text names
    /// the attachments that are no longer available.
    async fn upload(&self, prompt: &'a RenderedPrompt, known: usize) -> Result<Input<'a>> {
        let Self { platform, services: Services { upstream, store_health, media_links: links, .. }, plan } = self;
        let ConversationMatch { attachments, owner, .. } = &plan.conversation;
        let mut files = Vec::new();
        if let Some(file) = prompt_file(prompt) {
            // Boxed: else each chat would take an upload's memory for as long as it is being opened.
            files.push(Box::pin(upstream.upload(*platform, owner, file)).await?.entry(*platform));
        }
        let Entries { files: attached, missing } = attachments
            .entries(&Uploader { platform: *platform, upstream, store_health, links, owner, reach: plan.reach }, known)
            .await?;
        files.extend(attached);
        Ok(Input { text: without_missing(&prompt.text, &missing), files })
    }
}
