//! A turn whose answer is a picture: the newest words of the user are what is drawn, and the answer shows it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{
    StreamExt as _,
    future::{Either, select},
    stream,
};

use super::{
    conversations::{ConversationMatch, RecordedAnswer, is_drawn},
    kept_response::KeptResponse,
    opening::{Services, upload_attachments},
};
use crate::{
    api::Encoder,
    error::{Error, Result},
    llm::{Answer, Event, FinishReason, Message, Ratio, Role, Usage},
    media::{Drawn, LinkMaker, MadeIn, Order, Outcome, Pictures, Progress, interrupted, markdown, request_key},
    platform::{BoxFuture, ByteStream, FetchError, Platform, Reach},
};

/// The longest text that is drawn, in characters.
const MAX_PROMPT: usize = 32_000;

/// What the anchors of these conversations have in the place of tools: whether their chat began with a picture of the client's.
const EDITS: &str = "edits";
const DRAWS: &str = "draws";

/// What is to be drawn, and how.
#[derive(Debug)]
pub struct DrawPlan {
    /// The messages, and the chat that drew the last picture of them.
    pub conversation: ConversationMatch,
    /// What is drawn, and the message that says it, as [`draw_prompt`] returns them.
    pub prompt: (String, usize),
    /// The upstream id of the text model that carries it.
    pub text_model: String,
    /// The upstream's name of the image model; `None` = its default.
    pub image_model: Option<String>,
    /// The shape; `None` = as the model likes.
    pub ratio: Option<Ratio>,
    /// Whether to draw anew although the same was drawn a short while ago.
    pub is_fresh: bool,
    /// Which hosts attachments may be fetched from.
    pub reach: Reach,
    /// Makes links to the pictures.
    pub links: LinkMaker,
    /// How the answer is kept, if it may be retrieved.
    pub kept: Option<KeptResponse>,
}

/// The newest words of the user, and which message they are.
///
/// # Errors
/// `invalid_request` when there are none, or too many; `field` has the messages.
pub fn draw_prompt(field: &str, messages: &[Message]) -> Result<(String, usize)> {
    let newest = messages.iter().enumerate().rev().find(|(_, message)| message.role == Role::User);
    let prompt = newest.map(|(at, message)| (message.content_text().trim().to_owned(), at));
    let prompt = prompt.filter(|(text, _)| !text.is_empty()).ok_or_else(|| {
        Error::invalid(field, "The newest message of the user has no text: it says what this model draws.")
    })?;
    if prompt.0.chars().nth(MAX_PROMPT).is_some() {
        let problem = format!("What is drawn may have at most {MAX_PROMPT} characters.");
        return Err(Error::invalid(field, problem));
    }
    Ok(prompt)
}

/// A picture on its way to a client.
pub struct DrawnAnswer<P> {
    platform: P,
    encoder: Encoder,
    work: BoxFuture<Result<Shown>>,
}

/// What the answer shows.
struct Shown {
    text: String,
    urls: Vec<String>,
    usage: Usage,
    finishing: Finishing,
}

/// What is left to do once the answer is written: the turn is recorded.
struct Finishing {
    services: Services,
    plan: DrawPlan,
    chat_id: String,
    response_id: String,
}

impl<P: Platform> DrawnAnswer<P> {
    /// Prepares a picture; nothing is sent before it is awaited.
    pub fn new(platform: &P, services: Services, pictures: Pictures, plan: DrawPlan, encoder: Encoder) -> Self {
        let work = draw(platform.clone(), services, pictures, plan);
        Self { platform: platform.clone(), encoder, work: Box::pin(work) }
    }

    /// Waits for the whole answer.
    ///
    /// # Errors
    /// Why there is no picture.
    pub async fn whole(self) -> Result<Bytes> {
        let Self { platform, mut encoder, work } = self;
        let shown = work.await?;
        let mut out = BytesMut::new();
        encoder.begin(&mut out);
        end(&platform, &mut encoder, shown, &mut out).await;
        Ok(out.freeze())
    }

    /// The answer as events: what keeps the connection alive, and the picture. The first may be waited for by `first_byte`, so
    /// that a refusal can still be a status.
    ///
    /// # Errors
    /// Refusals within that time.
    pub async fn events(self, first_byte: Duration, heartbeat: Duration) -> Result<ByteStream> {
        let Self { platform, encoder, mut work } = self;
        let early = match select(work.as_mut(), platform.sleep(first_byte)).await {
            Either::Left((shown, _)) => Some(shown?),
            Either::Right(_) => None,
        };
        let stage = match early {
            Some(shown) => Stage::Shown(Box::new(shown)),
            None => Stage::Begin(work),
        };
        let begun = Streaming { platform, encoder, stage };
        let next = move |streaming: Streaming<P>| streaming.next(heartbeat);
        Ok(Box::pin(stream::unfold(begun, next)))
    }
}

/// A stream that has begun.
struct Streaming<P> {
    platform: P,
    encoder: Encoder,
    stage: Stage,
}

enum Stage {
    /// Nothing is written.
    Begin(BoxFuture<Result<Shown>>),
    /// The beginning is written.
    Wait(BoxFuture<Result<Shown>>),
    /// All is there.
    Shown(Box<Shown>),
    Ended,
}

impl<P: Platform> Streaming<P> {
    async fn next(mut self, heartbeat: Duration) -> Option<(Result<Bytes, FetchError>, Self)> {
        let mut out = BytesMut::new();
        match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Ended => return None,
            Stage::Begin(work) => {
                self.encoder.begin(&mut out);
                self.stage = Stage::Wait(work);
            }
            Stage::Shown(shown) => {
                self.encoder.begin(&mut out);
                end(&self.platform, &mut self.encoder, *shown, &mut out).await;
            }
            Stage::Wait(mut work) => match select(work.as_mut(), self.platform.sleep(heartbeat)).await {
                Either::Left((Ok(shown), _)) => end(&self.platform, &mut self.encoder, shown, &mut out).await,
                Either::Left((Err(error), _)) => {
                    tracing::warn!(%error, "a stream ended with an error");
                    self.platform.request_metrics().record().code = Some(error.kind().code());
                    self.encoder.fail(&error, &mut out);
                }
                Either::Right(_) => {
                    self.encoder.keep_alive(&mut out);
                    self.stage = Stage::Wait(work);
                }
            },
        }
        Some((Ok(out.freeze()), self))
    }
}

/// Writes the picture and the end of the answer, and records the turn before the client gets it: its next turn is known then.
async fn end<P: Platform>(platform: &P, encoder: &mut Encoder, shown: Shown, out: &mut BytesMut) {
    let Shown { text, urls, usage, finishing } = shown;
    encoder.event(Event::Text(&text), out);
    let answer = Answer {
        text: &text,
        reasoning: "",
        calls: &[],
        pictures: &urls,
        citations: &[],
        refusal: None,
        finish: FinishReason::Stop,
        stop_text: None,
        usage,
    };
    let Finishing { services, plan, chat_id, response_id } = finishing;
    let json = plan.kept.is_some().then(|| encoder.kept(&answer)).flatten();
    let kept = plan.kept.as_ref().zip(json.as_deref());
    let recorded = RecordedAnswer { text: text.clone(), response_id, ..RecordedAnswer::default() };
    services.conversations.record(platform, &plan.conversation, &chat_id, &plan.text_model, &recorded, kept).await;
    encoder.finish(&answer, out);
}

/// Draws, and makes this server's links.
async fn draw<P: Platform>(platform: P, services: Services, pictures: Pictures, mut plan: DrawPlan) -> Result<Shown> {
    let (prompt, at) = plan.prompt.clone();
    let conversation = &plan.conversation;
    conversation.attachments.check_pictures(at)?;
    let attached: Vec<&str> = conversation.attachments.sent(at).map(|attachment| attachment.fingerprint()).collect();
    // Pictures of its own are what is changed; else the last one of this conversation.
    let anchor = conversation.anchor.as_ref().filter(|anchor| attached.is_empty() && is_drawn(anchor));
    let node =
        anchor.map(|anchor| (anchor.chat_id.clone(), Some(anchor.response_id.clone()).filter(|id| !id.is_empty())));
    let (chat, parent) = node.clone().unwrap_or_default();
    let ratio = plan.ratio.map_or("", Ratio::as_str);
    let fixed = [
        "chat",
        &prompt,
        &plan.text_model,
        plan.image_model.as_deref().unwrap_or_default(),
        ratio,
        &chat,
        parent.as_deref().unwrap_or_default(),
    ];
    let key = request_key(conversation.owner.scope.as_str(), fixed.into_iter().chain(attached.iter().copied()));
    let is_edit = anchor.map_or(!attached.is_empty(), |anchor| anchor.tools == EDITS);
    let account = (&conversation.owner, plan.reach);
    let files = upload_attachments(&platform, &services, account, (&conversation.attachments, at)).await?;
    let order = Order {
        owner: conversation.owner.clone(),
        key,
        is_fresh: plan.is_fresh,
        text_model: plan.text_model.clone(),
        image_model: plan.image_model.clone(),
        ratio: plan.ratio,
        prompt,
        is_edit,
        files,
        count: 1,
        node,
    };
    plan.conversation.note_chat(if is_edit { EDITS } else { DRAWS });
    let mut progress = pictures.draw(&platform, order);
    let (mut drawn, mut usage) = (Vec::new(), None);
    while let Some(next) = progress.next().await {
        match next {
            Progress::Picture(picture) => drawn.push(picture),
            Progress::Ended(ended) => {
                let Outcome { usage: counted, .. } = ended?;
                usage = Some(counted);
            }
        }
    }
    let usage = usage.ok_or_else(interrupted)?;
    let (chat_id, response_id) = drawn
        .first()
        .map(|Drawn { chat_id, response_id, .. }| (chat_id.clone(), response_id.clone()))
        .ok_or_else(interrupted)?;
    let urls: Vec<String> = drawn.iter().map(|drawn| plan.links.link(&drawn.picture.link)).collect();
    let new = plan.links.take();
    let made_in = MadeIn {
        owner: &plan.conversation.owner,
        conversation: Some(&plan.conversation.id),
        chat_id: &chat_id,
        response_id: &response_id,
        expires_at: platform.now().saturating_add(services.media_links.conversation_ttl()),
    };
    services.media_links.keep(&platform, &new, made_in).await;
    let text: String = urls.iter().map(|url| markdown(url)).collect();
    Ok(Shown { text, urls, usage, finishing: Finishing { services, plan, chat_id, response_id } })
}
