//! A turn in progress: asks the site, feeds its stream through the translation, hands out what the client gets.
//!
//! It is polled by whoever writes the response body. There is no task for reading and no channel: when the client leaves,
//! the body is dropped, and with it the upstream request.

use std::{
    borrow::Cow,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, future::poll_fn};

use super::{
    attachments::Entries,
    coalesce::Coalescer,
    conversations::{ConversationMatch, Conversations},
    generation_options::GenerationOptions,
    limiter::{ConcurrencyLimiter, KeyedLimiters, Permit},
    output::{Delivery, Output},
    render_prompt::{FILE_NAME, RenderedPrompt, without_missing},
};
use crate::{
    api::openai::{FinishReason, Identity},
    config::Config,
    error::{Error, ErrorKind, Result},
    platform::{BoxFuture, ByteStream, FetchError, Platform, Reach},
    upstream::qwen::{
        Client, CredentialsLease, Decoder, FileEntry, NewFile, Turn, TurnStream, empty_answer, unreachable_error,
    },
};

/// The waits of a turn.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long the status line of a stream waits for the first word.
    pub first_byte: Duration,
    /// How long a stream may be silent towards the client.
    pub heartbeat: Duration,
    /// How long deltas are gathered after the first word.
    pub coalesce: Duration,
    /// How long the site may be silent.
    pub idle: Duration,
}

impl From<&Config> for Timing {
    fn from(config: &Config) -> Self {
        Self {
            first_byte: config.first_byte,
            heartbeat: config.heartbeat,
            coalesce: config.coalesce,
            idle: config.upstream_idle,
        }
    }
}

/// At most this much is gathered before it goes out.
const MAX_UNSENT: usize = 32 * 1024;
/// The platforms give what has come in pieces of so many bytes at least, or the rest of it.
const READ_SIZE: usize = 16 * 1024;
/// How long a chat that is busy with an earlier turn is waited for, before a new chat is made.
const BUSY_WAITS: [Duration; 2] = [Duration::from_millis(500), Duration::from_millis(1500)];
/// How long and how much is read of a stream after its finishing event. Left unread it would look like a client that
/// broke off, and the connection could not be used again.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_DRAIN_PIECES: usize = 64;
/// One silent repeat, and only while the client has got nothing.
const MAX_RETRIES: u32 = 1;

/// A turn in progress. As a [`Stream`] it gives the bytes of the event stream.
pub struct Answer<P> {
    platform: P,
    qwen: Arc<Client>,
    conversations: Arc<Conversations>,
    limiter: Arc<ConcurrencyLimiter>,
    attachment_limiters: Arc<KeyedLimiters>,
    plan: Arc<Plan>,
    timing: Timing,
    stage: Stage,
    /// Held while the site is busy with this turn.
    permit: Option<Permit>,
    /// What the stream that is being read was asked for with.
    lease: Option<CredentialsLease>,
    session_was_refreshed: bool,
    began_at: Duration,
    /// Whether the first word is out.
    first_token_recorded: bool,
    stream: Decoder,
    output: Output,
    retries_left: u32,
    /// The chat that the answer comes from.
    chat_id: String,
    /// The place in the conversation did not work out: a new chat is to be made.
    needs_new_chat: bool,
    /// The chat of that place is no more.
    chat_is_gone: bool,
    /// When the site last sent something, in milliseconds since 1970.
    received_at: u64,
    /// When the last event came, in milliseconds since 1970. Comments keep a connection alive, not an answer.
    event_at: u64,
    /// When the client last got something.
    flushed_at: u64,
    timer: Option<BoxFuture<()>>,
    coalescer: Coalescer,
    whole: Option<String>,
}

/// What a repeat needs to begin anew.
struct Plan {
    options: GenerationOptions,
    conversation: ConversationMatch,
    identity: Identity,
    /// Where attachments may be fetched from.
    reach: Reach,
}

impl Plan {
    fn turn<'a>(&'a self, chat_id: &'a str, parent_id: Option<&'a str>, input: &'a TurnInput<'a>) -> Turn<'a> {
        let GenerationOptions { model, thinking, search, .. } = &self.options;
        let TurnInput { text, files } = input;
        Turn { chat_id, parent_id, model, text, files, thinking: *thinking, search: *search }
    }

    /// Uploads what is too long for a message, and what is attached to messages that the chat does not know. What of those
    /// can no longer be had is named in the text.
    async fn input<'a, P: Platform>(
        &'a self,
        platform: &P,
        qwen: &Client,
        folded: &'a RenderedPrompt,
        known_messages: usize,
    ) -> Result<TurnInput<'a>> {
        let mut files = Vec::new();
        if let Some(text) = &folded.file {
            let (media_type, param) = ("text/plain".to_owned(), "messages".to_owned());
            let new = NewFile::whole(FILE_NAME.to_owned(), Some(media_type), text.clone(), param);
            // Apart: else each chat took an upload's memory for as long as it is being opened.
            files.push(Box::pin(qwen.upload(platform, &self.conversation.scope, new)).await?.entry(platform));
        }
        let ConversationMatch { attachments, scope, .. } = &self.conversation;
        let Entries { files: attached, missing } =
            attachments.entries(platform, qwen, scope, self.reach, known_messages).await?;
        files.extend(attached);
        Ok(TurnInput { text: without_missing(&folded.text, &missing), files })
    }

    fn has_files(&self, folded: &RenderedPrompt, known_messages: usize) -> bool {
        folded.file.is_some() || self.conversation.attachments.sent(known_messages).next().is_some()
    }

    /// The prompt, before the turn's own place is taken: a client's link may be slow, and only its own key waits for it.
    async fn prepare<'a, P: Platform>(
        &'a self,
        platform: &P,
        qwen: &Client,
        attachment_limiters: &KeyedLimiters,
        folded: &'a RenderedPrompt,
        known_messages: usize,
    ) -> Result<TurnInput<'a>> {
        if !self.has_files(folded, known_messages) {
            return Ok(TurnInput { text: Cow::Borrowed(&folded.text), files: Vec::new() });
        }
        let _share = attachment_limiters.acquire(platform, &self.conversation.scope).await?;
        // While it waited the site may have asked for a check.
        qwen.session().check(platform.now())?;
        self.input(platform, qwen, folded, known_messages).await
    }

    /// Says the news in the chat that knows the rest; waits a little while it is busy.
    async fn continue_chat<P: Platform>(
        &self,
        platform: &P,
        qwen: &Client,
        chat_id: &str,
        parent_id: &str,
        input: &TurnInput<'_>,
    ) -> Result<TurnStream> {
        let turn = self.turn(chat_id, Some(parent_id), input);
        for wait in BUSY_WAITS {
            match qwen.complete(platform, &turn).await {
                Err(error) if error.kind() == ErrorKind::ChatBusy => platform.sleep(wait).await,
                done => return done,
            }
        }
        qwen.complete(platform, &turn).await
    }

    fn output(&self) -> Output {
        let delivery = match self.options {
            GenerationOptions { stream: true, include_usage, .. } => Delivery::Stream { include_usage },
            GenerationOptions { stream: false, .. } => Delivery::Whole,
        };
        Output::new(self.identity.clone(), &delivery, self.options.stop.clone(), self.options.max_tokens)
    }
}

/// What is sent to the site: a text, and the entries of the files that go along.
struct TurnInput<'a> {
    text: Cow<'a, str>,
    files: Vec<FileEntry>,
}

enum Stage {
    Opening(BoxFuture<Result<Opened>>),
    Reading(ByteStream),
    /// The answer is complete and is being recorded; the client gets its end afterwards, so that its next turn is known.
    Recording(BoxFuture<()>),
    Ended,
}

/// A stream that has begun, and the chat it comes from.
struct Opened {
    stream: TurnStream,
    chat_id: String,
    permit: Permit,
}

impl<P: Platform> Answer<P> {
    /// Prepares a turn; nothing is sent before it is polled. `reach`: where attachments may be fetched from.
    #[expect(clippy::too_many_arguments, reason = "each is another part of the turn")]
    pub fn new(
        platform: P,
        qwen: Arc<Client>,
        conversations: Arc<Conversations>,
        (limiter, attachment_limiters): (Arc<ConcurrencyLimiter>, Arc<KeyedLimiters>),
        timing: Timing,
        options: GenerationOptions,
        conversation: ConversationMatch,
        identity: Identity,
        reach: Reach,
    ) -> Self {
        let plan = Arc::new(Plan { options, conversation, identity, reach });
        let now = platform.now();
        let mut answer = Self {
            output: plan.output(),
            stage: Stage::Ended,
            permit: None,
            lease: None,
            session_was_refreshed: false,
            began_at: platform.elapsed(),
            first_token_recorded: false,
            stream: Decoder::default(),
            retries_left: MAX_RETRIES,
            chat_id: String::new(),
            needs_new_chat: false,
            chat_is_gone: false,
            received_at: now,
            event_at: now,
            flushed_at: now,
            timer: None,
            coalescer: Coalescer::default(),
            whole: None,
            platform,
            qwen,
            conversations,
            limiter,
            attachment_limiters,
            plan,
            timing,
        };
        answer.open(None);
        answer
    }

    /// Begins; after the site refused what was `refused`, only if the session can be healed.
    fn open(&mut self, refused: Option<(CredentialsLease, Error)>) {
        let (platform, qwen, plan) = (self.platform.clone(), Arc::clone(&self.qwen), Arc::clone(&self.plan));
        self.stream = Decoder::default();
        self.output = plan.output();
        (self.permit, self.lease) = (None, None);
        let (conversations, limiter, attachment_limiters) =
            (Arc::clone(&self.conversations), Arc::clone(&self.limiter), Arc::clone(&self.attachment_limiters));
        let (anchor, chat_is_gone) = (!self.needs_new_chat, self.chat_is_gone);
        self.stage = Stage::Opening(Box::pin(async move {
            let conversation = &plan.conversation;
            if let Some((lease, error)) = refused
                && !qwen.heal(&platform, &lease, &error).await
            {
                return Err(error);
            }
            let enter = async || {
                let permit = limiter.acquire(&platform).await?;
                // While it waited the site may have asked for a check.
                qwen.session().check(platform.now()).map(|()| permit)
            };
            if chat_is_gone {
                conversations.forget(&platform, conversation).await;
            }
            let mut held = None;
            if let (Some(anchor), true) = (&conversation.anchor, anchor) {
                let input = plan
                    .prepare(&platform, &qwen, &attachment_limiters, &conversation.delta, conversation.known_messages)
                    .await?;
                let permit = enter().await?;
                match plan.continue_chat(&platform, &qwen, &anchor.chat_id, &anchor.response_id, &input).await {
                    Ok(stream) => return Ok(Opened { stream, chat_id: anchor.chat_id.clone(), permit }),
                    Err(error) if error.kind() == ErrorKind::ChatGone => {
                        conversations.forget(&platform, conversation).await
                    }
                    Err(error) if error.kind() == ErrorKind::ChatBusy => {}
                    Err(error) => return Err(error),
                }
                // A place that was had is kept, unless there is more to fetch.
                held = Some(permit).filter(|_| !plan.has_files(&conversation.whole, 0));
            }
            let input = plan.prepare(&platform, &qwen, &attachment_limiters, &conversation.whole, 0).await?;
            let permit = match held {
                Some(permit) => permit,
                None => enter().await?,
            };
            let chat_id = qwen.new_chat(&platform, &plan.options.model).await?;
            let stream = qwen.complete(&platform, &plan.turn(&chat_id, None, &input)).await?;
            Ok(Opened { stream, chat_id, permit })
        }));
    }

    /// Waits until the stream has its first word, so that a refusal can still be a status; at most `first_byte`.
    ///
    /// # Errors
    /// Any refusal that comes before the first word.
    pub async fn head(&mut self) -> Result<()> {
        let mut limit = self.platform.sleep(self.timing.first_byte);
        poll_fn(|cx| {
            if let Poll::Ready(done) = self.poll_progress(cx) {
                return Poll::Ready(done);
            }
            if self.output.waiting() > 0 {
                return Poll::Ready(Ok(()));
            }
            if self.poll_timer(cx, false)? || limit.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            Poll::Pending
        })
        .await
        .inspect_err(|error| self.note(error))?;
        // From here on heartbeats count, from the status line.
        self.flushed_at = self.platform.now();
        self.timer = None;
        Ok(())
    }

    /// Waits for the whole answer, an object in JSON.
    ///
    /// # Errors
    /// Any refusal, and an answer without an end.
    pub async fn whole(mut self) -> Result<String> {
        poll_fn(|cx| {
            loop {
                match self.poll_progress(cx) {
                    Poll::Ready(Ok(())) if self.whole.is_none() => {}
                    Poll::Ready(done) => return Poll::Ready(done),
                    Poll::Pending => break,
                }
            }
            self.poll_timer(cx, false)?;
            Poll::Pending
        })
        .await
        .inspect_err(|error| self.note(error))?;
        self.whole.take().ok_or_else(empty_answer)
    }

    /// What comes instead of a stream is noted where it is read; this is about what comes within one.
    fn note(&self, error: &Error) {
        if let Some(lease) = &self.lease {
            self.qwen.note(&self.platform, lease, error);
        }
    }

    /// Works on until the answer has ended, or much is written. A fault is repeated once if that is allowed.
    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            let error = match ready!(self.poll_stage(cx)) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(error) => error,
            };
            self.stage = Stage::Ended;
            self.permit = None;
            if error.kind() == ErrorKind::ContentFilter && self.output.began() {
                self.complete(FinishReason::ContentFilter);
                return Poll::Ready(Ok(()));
            }
            // A stream that has begun is as good as sent, also when its first words wait here together with the fault:
            // what the client sees must not depend on how the bytes were packed.
            if self.output.is_stream() && self.output.began() {
                self.fail(&error);
                return Poll::Ready(Ok(()));
            }
            if let Some(lease) =
                self.lease.take_if(|_| error.kind() == ErrorKind::SessionExpired && !self.session_was_refreshed)
            {
                self.qwen.note(&self.platform, &lease, &error);
                self.session_was_refreshed = true;
                self.open(Some((lease, error)));
                continue;
            }
            if !error.is_retryable() || self.retries_left == 0 {
                return Poll::Ready(Err(error));
            }
            tracing::warn!(%error, "repeating a turn of which nothing was sent");
            self.needs_new_chat |= matches!(error.kind(), ErrorKind::ChatGone | ErrorKind::ChatBusy);
            self.chat_is_gone |= error.kind() == ErrorKind::ChatGone;
            self.retries_left = self.retries_left.saturating_sub(1);
            self.open(None);
        }
    }

    fn poll_stage(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            match &mut self.stage {
                Stage::Ended => return Poll::Ready(Ok(())),
                Stage::Opening(opening) => {
                    let Opened { stream: TurnStream { body, lease }, chat_id, permit } =
                        ready!(opening.as_mut().poll(cx))?;
                    self.stage = Stage::Reading(body);
                    self.chat_id = chat_id;
                    (self.permit, self.lease) = (Some(permit), Some(lease));
                    self.received_at = self.platform.now();
                    self.event_at = self.received_at;
                }
                Stage::Recording(recording) => {
                    ready!(recording.as_mut().poll(cx));
                    self.complete(self.stream.finished().unwrap_or(FinishReason::Stop));
                }
                Stage::Reading(body) => match body.as_mut().poll_next(cx) {
                    Poll::Ready(Some(Ok(piece))) => {
                        self.received_at = self.platform.now();
                        let events = self.stream.events();
                        let goes_on = self.stream.feed(&piece, &mut self.output)?;
                        if self.stream.events() > events {
                            self.event_at = self.received_at;
                        }
                        if !goes_on {
                            self.end()?;
                            continue;
                        }
                        self.coalescer.bytes = self.coalescer.bytes.saturating_add(piece.len());
                        let early = self.received_at < self.coalescer.early_until;
                        if self.output.waiting() >= if early { 1 } else { MAX_UNSENT } {
                            return Poll::Ready(Ok(()));
                        }
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(self.broken(&error))),
                    Poll::Ready(None) => {
                        self.stream.finish(&mut self.output)?;
                        self.end()?;
                    }
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }

    /// The end of the answer was seen, or it was cut. An answer with its own end is recorded first.
    fn end(&mut self) -> Result<()> {
        if self.output.is_empty() {
            return Err(empty_answer());
        }
        let finish = self.stream.finished();
        // Dropping the body of a cut answer cancels what would still come.
        let body = std::mem::replace(&mut self.stage, Stage::Ended);
        self.permit = None;
        let (Some(finish), Some(answer), Some(response_id)) = (finish, self.output.said(), self.stream.response_id())
        else {
            self.complete(finish.unwrap_or(FinishReason::Stop));
            return Ok(());
        };
        if finish != FinishReason::Stop {
            self.complete(finish);
            return Ok(());
        }
        if let Stage::Reading(body) = body {
            let platform = self.platform.clone();
            self.platform.defer(async move {
                let rest = body.take(MAX_DRAIN_PIECES).for_each(|_| std::future::ready(()));
                crate::platform::timeout(&platform, DRAIN_TIMEOUT, rest).await;
            });
        }
        let (answer, response_id) = (answer.to_owned(), response_id.to_owned());
        let (platform, plan, chat_id) = (self.platform.clone(), Arc::clone(&self.plan), self.chat_id.clone());
        let conversations = Arc::clone(&self.conversations);
        self.stage = Stage::Recording(Box::pin(async move {
            let Plan { options, conversation, .. } = &*plan;
            conversations.record(&platform, conversation, &chat_id, &response_id, &options.model, &answer).await;
        }));
        Ok(())
    }

    fn complete(&mut self, finish: FinishReason) {
        self.stage = Stage::Ended;
        self.whole = self.output.finish(finish, self.stream.usage(), self.stream.sources());
        if self.stream.unknown_events() > 0 {
            tracing::warn!(count = self.stream.unknown_events(), "events of the site that are not known");
        }
    }

    fn broken(&self, error: &FetchError) -> Error {
        if self.stream.said_something() {
            Error::new(
                ErrorKind::UpstreamTruncated,
                "The connection to chat.qwen.ai broke before the end of the answer. Send the request again.",
            )
            .with_detail(error.detail.clone())
            .retryable()
        } else {
            unreachable_error(error)
        }
    }

    /// Looks whether the site or we have been silent for too long. `true` = a heartbeat was written.
    fn poll_timer(&mut self, cx: &mut Context<'_>, heartbeats: bool) -> Result<bool> {
        loop {
            let rings = self.timer.as_mut().map(|timer| timer.as_mut().poll(cx));
            if rings == Some(Poll::Pending) {
                return Ok(false);
            }
            self.timer = None;
            let now = self.platform.now();
            let left =
                |since: u64, limit: Duration| limit.saturating_sub(Duration::from_millis(now.saturating_sub(since)));
            if rings.is_some() {
                // Opening has time limits of its own, one for each request.
                if matches!(self.stage, Stage::Reading(_)) && left(self.event_at, self.timing.idle).is_zero() {
                    self.stage = Stage::Ended;
                    return Err(self.qwen.idle_error());
                }
                if heartbeats && left(self.flushed_at, self.timing.heartbeat).is_zero() {
                    self.output.heartbeat();
                    return Ok(true);
                }
            }
            let idle = if matches!(self.stage, Stage::Reading(_)) {
                left(self.event_at, self.timing.idle)
            } else {
                self.timing.idle
            };
            let wait = if heartbeats { idle.min(left(self.flushed_at, self.timing.heartbeat)) } else { idle };
            // A timer may fire a little early; a wait of nothing would then spin.
            self.timer = Some(self.platform.sleep(wait.max(Duration::from_millis(1))));
        }
    }

    /// Whether what is written may wait for more.
    fn is_coalescing(&self) -> bool {
        matches!(self.stage, Stage::Reading(_))
            && self.received_at < self.coalescer.early_until
            && self.output.waiting() < MAX_UNSENT
    }

    fn flush(&mut self) -> Poll<Option<Result<Bytes, FetchError>>> {
        self.flushed_at = self.platform.now();
        if self.output.began() {
            if !self.first_token_recorded {
                self.first_token_recorded = true;
                let took = self.platform.elapsed().saturating_sub(self.began_at);
                self.platform.request_metrics().record().first_token = Some(took);
            }
            let is_open = !matches!(self.stage, Stage::Ended);
            // The platform had no room for all that was there, so the rest need not wait.
            let is_all = std::mem::take(&mut self.coalescer.bytes) < READ_SIZE;
            if is_open && is_all && !self.timing.coalesce.is_zero() {
                let is_fast = self.output.deltas() > 1;
                self.coalescer.begin(&self.platform, self.flushed_at, self.timing.coalesce, is_fast);
            }
        }
        Poll::Ready(Some(Ok(self.output.take())))
    }

    /// Ends a stream whose status line is out with an error event.
    fn fail(&mut self, error: &Error) {
        tracing::warn!(%error, "a stream ended with an error");
        self.platform.request_metrics().record().code = Some(error.kind().wire().code);
        self.note(error);
        self.output.fail(error);
        self.stage = Stage::Ended;
        self.permit = None;
    }
}

impl<P: Platform> Stream for Answer<P> {
    type Item = Result<Bytes, FetchError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        ready!(this.coalescer.poll_pause(&this.platform, this.output.waiting() > 0, cx));
        let mut progress = this.poll_progress(cx);
        while progress.is_ready() && this.is_coalescing() {
            // The rest of the time in which nothing need go out is slept through, and the site is read afterwards.
            this.coalescer.sleep(&this.platform, this.received_at);
            ready!(this.coalescer.poll_pause(&this.platform, true, cx));
            progress = this.poll_progress(cx);
        }
        if let Poll::Ready(Err(error)) = &progress {
            this.fail(error);
        }
        if this.output.waiting() > 0 {
            if progress.is_pending() {
                ready!(this.coalescer.poll_drained(cx));
            }
            return this.flush();
        }
        if progress.is_ready() {
            return Poll::Ready(None);
        }
        match this.poll_timer(cx, true) {
            Ok(false) => Poll::Pending,
            Ok(true) => this.flush(),
            Err(error) => {
                this.fail(&error);
                this.flush()
            }
        }
    }
}
