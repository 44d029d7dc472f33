//! One turn: opens it, reads the upstream through the translator, repeats it where that is allowed, records the answer.
//!
//! It is polled by whoever writes the response body. There is no task for reading and no channel: when the client leaves,
//! the body is dropped, and with it the upstream request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, channel::oneshot};

use super::{
    conversations::RecordedAnswer,
    opening::{Attempt, Begun, Corrected, Plan, Services, open},
    second::Second,
    translator::{AnswerToRecord, Progress, Translator},
};
use crate::{
    api::Encoder,
    error::{Error, ErrorKind, Result},
    limiter::Permit,
    media::MadeIn,
    platform::{self, BoxFuture, ByteStream, Platform},
    unix_time::UnixMillis,
    upstream::{Lease, Opened},
};

/// So many bytes go to the client at the latest.
pub(super) const MAX_UNSENT: usize = 32 * 1024;
/// How long and how much is read of a stream after its finishing event. Left unread it would look like a client that
/// broke off, and the connection could not be used again.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_DRAIN_PIECES: usize = 64;
/// One silent repeat, and only while the client has got nothing.
const MAX_RETRIES: u32 = 1;

/// A turn in progress.
pub(super) struct Engine<P> {
    platform: P,
    services: Services,
    plan: Arc<Plan>,
    /// How long the site may be silent.
    idle: Duration,
    stage: Stage,
    /// Held while the site is busy with this turn.
    permit: Option<Permit>,
    /// What the stream that is being read was asked for with: what the site says counts for these credentials alone.
    lease: Option<Lease>,
    translator: Translator,
    attempt: Attempt,
    retries_left: u32,
    session_was_refreshed: bool,
    /// The second upstream, as long as it may still be asked.
    second: Option<Second>,
    /// Whether it is the one that is asked.
    is_second: bool,
    /// Whether the client has got a part of the answer.
    is_committed: Arc<AtomicBool>,
    /// When the site last sent something.
    received_at: UnixMillis,
    /// How many bytes it has sent.
    received: u64,
    /// When the last event came. Comments keep a connection alive, not an answer.
    event_at: UnixMillis,
    /// Ends when the links in what waits for the client are kept: the client may follow them at once.
    keeping: Option<oneshot::Receiver<()>>,
}

enum Stage {
    Opening(BoxFuture<Result<Begun>>),
    Reading {
        body: ByteStream,
        /// The chat that the answer comes from.
        chat_id: String,
    },
    /// The answer is complete and is being recorded; the client gets its end afterwards, so that its next turn is known.
    Recording(BoxFuture<()>),
    Ended,
}

impl<P: Platform> Engine<P> {
    /// Prepares a turn; nothing is sent before it is polled. `idle` = how long the site may be silent.
    pub(super) fn new(platform: P, services: Services, mut plan: Plan, encoder: Encoder, idle: Duration) -> Self {
        let now = platform.now();
        let second = plan.second.take();
        let plan = Arc::new(plan);
        let mut engine = Self {
            translator: translator(&services, encoder, (&plan, None), true),
            platform,
            services,
            plan,
            idle,
            stage: Stage::Ended,
            permit: None,
            lease: None,
            attempt: Attempt::default(),
            retries_left: MAX_RETRIES,
            session_was_refreshed: false,
            second: None,
            is_second: false,
            is_committed: Arc::default(),
            received_at: now,
            received: 0,
            event_at: now,
            keeping: None,
        };
        match second {
            Some(second) if second.is_only => engine.ask_second(second),
            second => {
                engine.second = second;
                engine.begin(None);
            }
        }
        engine
    }

    /// The upstream that the answer comes from, as the header `x-upstream` names it; `None` while another may still be asked.
    pub(super) fn upstream_name(&self) -> Option<&'static str> {
        let is_certain =
            self.second.is_none() || self.has_ended() || (self.translator.is_stream() && self.translator.began());
        is_certain.then(|| self.services.upstream.name())
    }

    /// The client gets a part of the answer now: nobody else is asked any more.
    pub(super) fn commit(&mut self) {
        self.second = None;
        self.is_committed.store(true, Ordering::Relaxed);
    }

    /// Becomes true when the client gets a part of the answer.
    pub(super) fn is_committed(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_committed)
    }

    /// Asks the second upstream after an error of the first, if it may be asked.
    ///
    /// # Errors
    /// The error itself.
    fn fall_back(&mut self, error: Error) -> Result<()> {
        let Some(second) = self.second.take_if(|second| second.is_asked_after(&error)) else { return Err(error) };
        self.note(&error);
        tracing::warn!(%error, "the second upstream is asked");
        self.ask_second(second);
        Ok(())
    }

    fn ask_second(&mut self, second: Second) {
        self.services.upstream = second.upstream.clone();
        // It is asked once.
        self.retries_left = 0;
        self.session_was_refreshed = true;
        self.platform.request_metrics().record().upstream = Some(self.services.upstream.name());
        self.is_second = true;
        self.attempt = Attempt { second: Some(Arc::new(second)), ..Attempt::default() };
        self.begin(None);
    }

    /// Begins an attempt.
    fn begin(&mut self, refused: Option<(Lease, Error)>) {
        let (encoder, unsent) = self.translator.restart();
        let plan = (&*self.plan, self.attempt.second.as_deref());
        self.translator = translator(&self.services, encoder, plan, self.retries_left > 0).with_unsent(unsent);
        (self.permit, self.lease) = (None, None);
        let (platform, services, plan) = (self.platform.clone(), self.services.clone(), Arc::clone(&self.plan));
        self.stage = Stage::Opening(Box::pin(open(platform, services, plan, self.attempt.clone(), refused)));
    }

    /// What the client gets.
    pub(super) fn translator(&mut self) -> &mut Translator {
        &mut self.translator
    }

    /// How many bytes wait for the client.
    pub(super) fn waiting(&self) -> usize {
        if self.keeping.is_some() { 0 } else { self.translator.waiting() }
    }

    /// Whether the answer has ended, for better or worse.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }

    /// Whether the answer is being read.
    pub(super) fn is_reading(&self) -> bool {
        matches!(self.stage, Stage::Reading { .. })
    }

    /// When the site last sent something.
    pub(super) fn received_at(&self) -> UnixMillis {
        self.received_at
    }

    /// How many bytes the site has sent.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Works on until the answer has ended, or enough waits for the client: any byte if it came before `early_until`
    ///, else [`MAX_UNSENT`]. An error is repeated once if that is allowed.
    ///
    /// # Errors
    /// An error of which the client has got nothing.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, early_until: UnixMillis) -> Poll<Result<()>> {
        loop {
            let error = match ready!(self.poll_stage(cx, early_until)) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(error) => error,
            };
            let chat_id = match std::mem::replace(&mut self.stage, Stage::Ended) {
                Stage::Reading { chat_id, .. } => Some(chat_id),
                Stage::Opening(_) | Stage::Recording(_) | Stage::Ended => None,
            };
            self.permit = None;
            let error = self.services.upstream.for_account(error);
            let error = match self.translator.abort(error) {
                Ok(None) => {
                    let kept = self.plan.kept.is_some().then(|| self.translator.kept()).flatten();
                    self.keep_or_complete(kept);
                    continue;
                }
                Ok(Some(error)) => {
                    self.note_end(&error);
                    return Poll::Ready(Ok(()));
                }
                Err(error) => error,
            };
            if let Some(lease) =
                self.lease.take_if(|_| error.kind() == ErrorKind::SessionExpired && !self.session_was_refreshed)
            {
                self.services.upstream.note(&self.platform, &lease, &error);
                self.session_was_refreshed = true;
                self.begin(Some((lease, error)));
                continue;
            }
            let needs_new_chat = matches!(error.kind(), ErrorKind::ChatGone | ErrorKind::ChatBusy);
            let is_stuck = needs_new_chat && self.plan.conversation.is_partial;
            if !error.is_retryable() || self.retries_left == 0 || is_stuck {
                match self.fall_back(error) {
                    Ok(()) => continue,
                    Err(error) => return Poll::Ready(Err(self.named(error))),
                }
            }
            tracing::warn!(%error, "repeating a turn of which nothing was sent");
            self.attempt.needs_new_chat |= needs_new_chat;
            self.attempt.chat_is_gone |= error.kind() == ErrorKind::ChatGone;
            let is_running = self.translator.is_cut();
            self.attempt.corrected = chat_id.zip(self.translator.correction()).map(|(chat_id, correction)| Corrected {
                chat_id,
                correction,
                is_running,
            });
            self.retries_left = self.retries_left.saturating_sub(1);
            self.begin(None);
        }
    }

    fn poll_stage(&mut self, cx: &mut Context<'_>, early_until: UnixMillis) -> Poll<Result<()>> {
        loop {
            if let Some(keeping) = &mut self.keeping {
                // Its sender is dropped in any case.
                let _ = ready!(keeping.poll_unpin(cx));
                self.keeping = None;
            }
            match &mut self.stage {
                Stage::Ended => return Poll::Ready(Ok(())),
                Stage::Opening(opening) => {
                    let Begun { opened: Opened { body, chat_id, lease }, permit, echoes } =
                        ready!(opening.as_mut().poll(cx))?;
                    self.translator.expect_echoes(echoes.iter().map(String::as_str));
                    self.stage = Stage::Reading { body, chat_id };
                    (self.permit, self.lease) = (permit, Some(lease));
                    if self.attempt.second.take().is_some() {
                        // It is asked once: what that needed is not needed any more.
                        self.plan.conversation.attachments.release();
                    }
                    self.received_at = self.platform.now();
                    self.event_at = self.received_at;
                }
                Stage::Recording(recording) => {
                    ready!(recording.as_mut().poll(cx));
                    self.complete();
                }
                Stage::Reading { body, .. } => match ready!(body.as_mut().poll_next(cx)) {
                    Some(Ok(piece)) => {
                        self.received_at = self.platform.now();
                        self.received = self.received.saturating_add(piece.len() as u64);
                        let events = self.translator.events();
                        let progress = self.translator.feed(&piece);
                        self.keep_links();
                        let progress = progress?;
                        if self.translator.events() > events {
                            self.event_at = self.received_at;
                        }
                        if progress == Progress::Complete {
                            self.end();
                            continue;
                        }
                        let enough = if self.received_at < early_until { 1 } else { MAX_UNSENT };
                        if self.translator.waiting() >= enough {
                            return Poll::Ready(Ok(()));
                        }
                    }
                    // Its end was seen: what breaks afterwards is nothing of the answer.
                    Some(Err(_)) if self.translator.has_end() => {
                        self.translator.end()?;
                        self.end();
                    }
                    Some(Err(error)) => {
                        return Poll::Ready(Err(self
                            .services
                            .upstream
                            .broken_error(&error, self.translator.has_text())));
                    }
                    None => {
                        let ended = self.translator.end();
                        self.keep_links();
                        ended?;
                        self.end();
                    }
                },
            }
        }
    }

    /// Keeps the links that were made for pictures, also if the client leaves meanwhile.
    fn keep_links(&mut self) {
        let new = self.translator.take_links();
        let Stage::Reading { chat_id, .. } = &self.stage else { return };
        if new.is_empty() {
            return;
        }
        let (platform, plan, links) =
            (self.platform.detached(), Arc::clone(&self.plan), Arc::clone(&self.services.media_links));
        let (chat_id, response_id) = (chat_id.clone(), self.translator.response_id().unwrap_or_default().to_owned());
        let (done, keeping) = oneshot::channel();
        self.keeping = Some(keeping);
        self.platform.defer(async move {
            let conversation = &plan.conversation;
            let made_in = MadeIn {
                owner: &conversation.owner,
                conversation: Some(&conversation.id),
                chat_id: &chat_id,
                response_id: &response_id,
                expires_at: platform.now().saturating_add(links.conversation_ttl()),
            };
            links.keep(&platform, &new, made_in).await;
            let _ = done.send(());
        });
    }

    /// The end of the answer was seen, or it was cut. An answer with its own end is recorded first.
    fn end(&mut self) {
        // Dropping the body of a cut answer cancels what would still come.
        let stage = std::mem::replace(&mut self.stage, Stage::Ended);
        self.permit = None;
        let kept = self.plan.kept.is_some().then(|| self.translator.kept()).flatten();
        if self.is_second {
            if let (Stage::Reading { body, .. }, false) = (stage, self.translator.is_cut()) {
                self.drain(body);
            }
            return self.keep_or_complete(kept);
        }
        let (Some(answer), Stage::Reading { body, chat_id }) = (self.translator.answer_to_record(), stage) else {
            return self.keep_or_complete(kept);
        };
        let AnswerToRecord { text, calls, response_id, is_spoiled } = answer;
        let (text, calls, response_id) = (text.to_owned(), calls.to_vec(), response_id.to_owned());
        let answer = RecordedAnswer { text, calls, response_id, is_spoiled };
        let is_cut = self.translator.is_cut();
        if is_cut {
            // What the site still writes is nobody's.
            drop(body);
        } else {
            self.drain(body);
        }
        let (platform, plan) = (self.platform.clone(), Arc::clone(&self.plan));
        let Services { conversations, upstream, .. } = self.services.clone();
        self.stage = Stage::Recording(Box::pin(async move {
            let Plan { options, conversation, .. } = &*plan;
            let kept = plan.kept.as_ref().zip(kept.as_deref());
            let recorded = conversations.record(&platform, conversation, &chat_id, &options.model, &answer, kept);
            if is_cut {
                let stopped = upstream.stop(&platform, &conversation.owner, &chat_id, Some(&answer.response_id));
                futures::future::join(recorded, stopped).await;
            } else {
                recorded.await;
            }
        }));
    }

    /// Reads what follows the end of an answer.
    fn drain(&self, body: ByteStream) {
        let platform = self.platform.clone();
        self.platform.defer(async move {
            let rest = body.take(MAX_DRAIN_PIECES).for_each(|_| std::future::ready(()));
            platform::timeout(&platform, DRAIN_TIMEOUT, rest).await;
        });
    }

    /// An answer that is no turn of its chat may be retrieved all the same.
    fn keep_or_complete(&mut self, kept: Option<String>) {
        if self.is_second {
            return self.record_elsewhere(kept);
        }
        let Some(json) = kept else { return self.complete() };
        let (platform, plan) = (self.platform.clone(), Arc::clone(&self.plan));
        let conversations = Arc::clone(&self.services.conversations);
        self.stage = Stage::Recording(Box::pin(async move {
            if let Some(kept) = &plan.kept {
                conversations.keep(&platform, &plan.conversation, (kept, &json)).await;
            }
        }));
    }

    /// The second upstream has answered: the chat of the first has not seen it.
    fn record_elsewhere(&mut self, kept: Option<String>) {
        let answer = self.translator.complete_answer().map(|(text, calls)| RecordedAnswer {
            text: text.to_owned(),
            calls: calls.to_vec(),
            ..RecordedAnswer::default()
        });
        if kept.is_none() && (answer.is_none() || !self.plan.conversation.is_known()) {
            return self.complete();
        }
        let (platform, plan) = (self.platform.clone(), Arc::clone(&self.plan));
        let conversations = Arc::clone(&self.services.conversations);
        self.stage = Stage::Recording(Box::pin(async move {
            let Plan { options, conversation, .. } = &*plan;
            let kept = plan.kept.as_ref().zip(kept.as_deref());
            conversations.record_elsewhere(&platform, conversation, &options.model, (answer, kept)).await;
        }));
    }

    /// An error with the upstream that it comes from.
    fn named(&self, error: Error) -> Error {
        if self.is_second { error.of_fallback() } else { error }
    }

    fn complete(&mut self) {
        self.stage = Stage::Ended;
        self.translator.complete();
        self.log_unknown_events();
    }

    fn log_unknown_events(&self) {
        let count = self.translator.unknown_events();
        if count > 0 {
            tracing::warn!(count, "events of the site that are not known");
        }
    }

    /// How long the site may still be silent at `now`. Opening has time limits of its own, one for
    /// each request.
    pub(super) fn idle_left(&self, now: UnixMillis) -> Duration {
        let silent = if self.is_reading() { now.since(self.event_at) } else { Duration::ZERO };
        self.idle.saturating_sub(silent)
    }

    /// Ends the attempt because the upstream was silent for too long.
    ///
    /// # Errors
    /// That it was, unless another upstream is asked, or the end of the answer was seen.
    pub(super) fn give_up(&mut self) -> Result<()> {
        if self.translator.has_end() {
            self.translator.end()?;
            self.end();
            return Ok(());
        }
        self.stage = Stage::Ended;
        let error = self.services.upstream.idle_error();
        self.fall_back(error)
    }

    /// The session's state follows an error that came within a stream. One that came instead of a stream was noted where it
    /// was read.
    pub(super) fn note(&self, error: &Error) {
        if let Some(lease) = &self.lease {
            self.services.upstream.note(&self.platform, lease, error);
        }
    }

    /// Ends a stream whose status line is out with an error event.
    pub(super) fn fail(&mut self, error: &Error) {
        self.translator.fail(error);
        self.stage = Stage::Ended;
        self.permit = None;
        self.note_end(error);
    }

    fn note_end(&self, error: &Error) {
        tracing::warn!(%error, "a stream ended with an error");
        self.platform.request_metrics().record().code = Some(error.kind().code());
        self.note(error);
    }
}

fn translator(
    services: &Services,
    encoder: Encoder,
    (plan, second): (&Plan, Option<&Second>),
    may_repeat: bool,
) -> Translator {
    let Plan { options, tools, format, links, .. } = plan;
    let decoder = services.upstream.decoder();
    // The second upstream counts the tokens itself.
    let limit = options.max_tokens.filter(|_| second.is_none());
    let translator = Translator::new(decoder, encoder, options.stop.clone(), limit).with_links(links.clone());
    let translator = match second.map_or(tools, |second| &second.rules) {
        Some(rules) if services.upstream.capabilities().has_tools => translator.with_native_tools(rules.clone()),
        Some(rules) => translator.with_tools(rules.clone(), may_repeat),
        None => translator,
    };
    match format {
        Some(format) => translator.with_format(format.clone(), may_repeat),
        None => translator,
    }
}
