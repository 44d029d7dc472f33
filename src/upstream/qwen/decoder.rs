//! The answer stream of chat.qwen.ai: bytes in, what the model thinks and says out.
//!
//! A state machine without a clock and without input or output of its own, so that any split of the bytes gives the same
//! signals. It knows both eras (`think`, cumulative `thinking_summary`), keeps one of several interleaved answers, and skips
//! and counts what it does not know: the site changes monthly.

use std::{collections::HashSet, ops::ControlFlow};

use serde_json::value::RawValue;

use super::{
    errors,
    event::{Counts, Extra, PictureExtra, UpstreamEvent},
    native_calls::{NativeCall, NativeCalls},
    pictures::{Pictures, is_link},
    plain_event,
    refusal::{RefusalFilter, is_refusal},
};
use crate::{
    error::{Error, ErrorKind, Result},
    llm::{CallEvent, Event, FinishReason, PictureEvent, Source, ToolKind, Usage},
    upstream::{
        halves::{Joiner, marked, whole},
        sse::{Flow, SseItem, SseReader, settle},
    },
};

/// Receives the answer, piece by piece.
pub trait EventSink {
    /// Takes a piece. `Break` ends the reading: the receiver wants no more.
    fn accept(&mut self, event: Event<'_>) -> ControlFlow<()>;
    /// Whether it wants [`Event::OutputTokens`].
    fn counts_tokens(&self) -> bool;
    /// Whether it wants [`Event::ToolCall`]: whether the request has tools. The answer then ends with its calls; else they are
    /// left out.
    fn takes_calls(&self) -> bool;
    /// Whether the name of one of the request's tools begins with `head`.
    fn has_tool_with(&self, head: &str) -> bool;
}

/// How many answers to one question are distinguished.
const MAX_OTHER_ANSWERS: usize = 16;
/// How many pages of the web one answer may name.
const MAX_SOURCES: usize = 500;
/// How much is kept of what is no event: the firewall's page, or JSON on several lines.
const MAX_RAW: usize = 64 * 1024;

/// The state between two pieces.
#[derive(Debug, Default)]
pub struct Decoder {
    reader: SseReader,
    state: State,
}

#[derive(Debug, Default)]
struct State {
    response_id: Option<String>,
    /// Answers of another index that were announced before ours.
    others: Vec<String>,
    summary: Summary,
    usage: Counts,
    sources: Vec<Source>,
    /// Their addresses.
    known_sources: HashSet<String>,
    finished: Option<FinishReason>,
    finish_reason: Option<FinishReason>,
    said_something: bool,
    unknown: u32,
    events: u64,
    raw: Option<Vec<u8>>,
    /// Keeps back the half of a character that the last text ended with.
    joiner: Joiner,
    /// What that text was.
    channel: Channel,
    calls: NativeCalls,
    /// Leave out refusals in either text.
    thoughts: RefusalFilter,
    words: RefusalFilter,
    /// Whether the site tried to run a tool of the client's itself.
    took_call: bool,
    /// How many tools it refused.
    refusals: u32,
    /// The answer is over, and the site goes on.
    is_cut: bool,
    pictures: Pictures,
}

/// The two texts of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Channel {
    Reasoning,
    #[default]
    Content,
}

impl Decoder {
    /// The answer may repeat these links, which are what the question came with; they are no pictures of the model's.
    pub fn expect_echoes<'a>(&mut self, links: impl IntoIterator<Item = &'a str>) {
        self.state.pictures.expect_echoes(links);
    }

    /// Hands on the pictures that may be previews. Only for an answer whose end was not seen.
    pub(super) fn end_pictures(&mut self, sink: &mut impl EventSink) {
        self.state.end_pictures(sink);
    }

    /// Reads one piece. `Ok(true)` = read on; `Ok(false)` = the answer is over, or the sink has enough.
    ///
    /// # Errors
    /// What the stream itself reports as an error.
    pub fn feed(&mut self, piece: &[u8], sink: &mut impl EventSink) -> Result<bool> {
        let state = &mut self.state;
        settle(self.reader.feed(piece, |item| state.item(item, sink)))
    }

    /// The bytes have ended.
    ///
    /// # Errors
    /// `upstream_empty` or `upstream_truncated` when the end of the answer was not seen.
    pub fn finish(&mut self, sink: &mut impl EventSink) -> Result<()> {
        let state = &mut self.state;
        if !settle(self.reader.finish(|item| state.item(item, sink)))? {
            return Ok(());
        }
        state.end_pictures(sink);
        if state.finished.is_some() {
            state.end_text(sink);
            return Ok(());
        }
        if state.calls.is_complete() && sink.takes_calls() {
            state.end_calls(sink);
            return Ok(());
        }
        if let Some(body) = &state.raw {
            return Err(errors::from_event(body));
        }
        Err(if state.said_something {
            Error::new(
                ErrorKind::UpstreamTruncated,
                "chat.qwen.ai broke the answer off before its end. Send the request again.",
            )
            .retryable()
        } else {
            errors::empty_answer()
        })
    }

    /// Why the answer ended, once its end was seen.
    #[must_use]
    pub fn finished(&self) -> Option<FinishReason> {
        self.state.finished
    }

    /// Whether any text came.
    #[must_use]
    pub fn said_something(&self) -> bool {
        self.state.said_something
    }

    /// The last token counts that the stream reported; zeros if it reported none.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let counts = &self.state.usage;
        let prompt = counts.input_tokens.0.unwrap_or(0);
        let completion = counts.output_tokens.0.unwrap_or(0);
        Usage {
            prompt,
            completion,
            total: counts.total_tokens.0.unwrap_or_else(|| prompt.saturating_add(completion)),
            reasoning: counts.output_tokens_details.0.reasoning_tokens.0,
            cached: counts.prompt_tokens_details.0.cached_tokens.0,
        }
    }

    /// The pages that the model found, in the order of their marks: `[[1]]` is the first.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.state.sources
    }

    /// Whether the site tried to run a tool of the client's itself. Its failure then stands in this node of the chat.
    #[must_use]
    pub fn took_call(&self) -> bool {
        self.state.took_call
    }

    /// Whether the answer is over although the site goes on.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.state.is_cut
    }

    /// How many tools of the client's the site refused.
    #[must_use]
    pub fn refusals(&self) -> u32 {
        self.state.refusals.saturating_add(self.state.words.removed())
    }

    /// The answer's node in the upstream chat: the parent of the next turn.
    #[must_use]
    pub fn response_id(&self) -> Option<&str> {
        self.state.response_id.as_deref()
    }

    /// How many events came so far. What comes between events, such as comments, is not one.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.state.events
    }

    /// How many events were not understood.
    #[must_use]
    pub fn unknown_events(&self) -> u32 {
        self.state.unknown
    }
}

const ENOUGH: Flow = Flow::Break(Ok(()));

impl State {
    fn item(&mut self, item: SseItem<'_>, sink: &mut impl EventSink) -> Flow {
        self.events = self.events.saturating_add(1);
        match item {
            SseItem::Data(b"[DONE]") => {
                // The older streams ended so; the newer ones end with a finishing event, and most have no such mark.
                if self.said_something {
                    self.finished = self.finished.or(self.finish_reason).or(Some(FinishReason::Stop));
                }
                Flow::Continue(())
            }
            SseItem::Data(data) => {
                let read = |text| plain_event::read(text).or_else(|| serde_json::from_str(text).ok());
                let plain = str::from_utf8(data).ok().and_then(read);
                if let Some(event) = plain {
                    return self.event(&event, data, false, sink);
                }
                let marked = marked(data);
                match marked.as_deref().and_then(|marked| serde_json::from_str::<UpstreamEvent<'_>>(marked).ok()) {
                    Some(event) => self.event(&event, data, true, sink),
                    None => self.skip(),
                }
            }
            SseItem::Raw(line) => {
                let marked = marked(line);
                let text = marked.as_deref().or_else(|| str::from_utf8(line).ok()).unwrap_or_default();
                match serde_json::from_str::<UpstreamEvent<'_>>(text) {
                    Ok(event) if line.starts_with(b"{") && event.is_known() => {
                        self.event(&event, line, marked.is_some(), sink)
                    }
                    _ => {
                        // Kept for the case that nothing else comes: then it says what went wrong.
                        let raw = self.raw.get_or_insert_default();
                        let room = MAX_RAW.saturating_sub(raw.len());
                        raw.extend(line.iter().chain(b"\n").take(room));
                        self.skip()
                    }
                }
            }
        }
    }

    fn skip(&mut self) -> Flow {
        self.unknown = self.unknown.saturating_add(1);
        Flow::Continue(())
    }

    /// `data` are the bytes that the frame was read from, `is_marked` = from a copy with marks ([`marked`]).
    fn event(&mut self, event: &UpstreamEvent<'_>, data: &[u8], is_marked: bool, sink: &mut impl EventSink) -> Flow {
        if let Some(created) = &event.created {
            // Two answers at once: the first is kept.
            let id = created.response_id.as_str();
            if self.response_id.is_none() && !id.is_empty() && matches!(created.response_index.as_str(), "" | "0") {
                self.response_id = Some(id.to_owned());
            } else if self.response_id.is_none() && !id.is_empty() && self.others.len() < MAX_OTHER_ANSWERS {
                self.others.push(id.to_owned());
            }
            return Flow::Continue(());
        }
        let Some(choice) = &event.choices.0 else {
            return if event.is_refusal() {
                Flow::Break(Err(errors::from_event(data)))
            } else if event.info.is_some() {
                Flow::Continue(())
            } else {
                self.skip()
            };
        };
        let id = event.response_id.as_str();
        let of_another = match &self.response_id {
            Some(ours) => !id.is_empty() && id != ours,
            None => self.others.iter().any(|other| other == id),
        };
        if of_another {
            return Flow::Continue(());
        }
        let reported = event.usage.0;
        if reported != Counts::default() {
            self.usage = reported;
        }
        let Some(delta) = &choice.delta else { return Flow::Continue(()) };
        match delta.finish_reason.as_str() {
            "length" => self.finish_reason = Some(FinishReason::Length),
            "content_filter" => self.finish_reason = Some(FinishReason::ContentFilter),
            _ => {}
        }
        let text = delta.content.as_str();
        let is_ours = delta.function_id.as_str().is_empty();
        if let (Some(call), true) = (delta.function_call, is_ours && !is_thinking(delta.phase.as_str())) {
            return self.native_call(call, is_marked, sink);
        }
        let is_result = delta.role.as_str() == "function";
        if is_result && is_ours && is_refusal(text) {
            self.refusals = self.refusals.saturating_add(1);
            self.took_call = true;
        }
        // After calls of the client's the site goes on by itself: with their refusals, or with more text.
        let is_thought = is_thinking(delta.phase.as_str());
        let is_more = if is_result { is_ours } else { is_thought || !text.is_empty() };
        if self.calls.any && is_more && sink.takes_calls() {
            self.is_cut = true;
            self.end_calls(sink);
            return ENOUGH;
        }
        let mut go_on = true;
        match delta.phase.as_str() {
            "image_gen_tool" | "image_edit_tool" => go_on = self.tool_pictures(delta.extra, sink),
            _ if is_result => self.tool_result(delta.extra, is_marked),
            "think" => go_on = self.text(Channel::Reasoning, text, is_marked, sink),
            "thinking_summary" => go_on = self.thinking_summary(delta.extra, is_marked, sink),
            "answer" | "" => go_on = self.text(Channel::Content, text, is_marked, sink),
            "image_gen" | "image_edit" if is_link(text) => {
                let link = whole(text, is_marked);
                go_on = self.picture(&link, picture_size(delta.extra, &reported), sink);
            }
            "image_gen" | "image_edit" => go_on = self.text(Channel::Content, text, is_marked, sink),
            "web_search" | "image_search" | "code_interpreter" => self.tool_result(delta.extra, is_marked),
            _ => {
                self.unknown = self.unknown.saturating_add(1);
                return Flow::Continue(());
            }
        }
        if !go_on {
            return ENOUGH;
        }
        let ends = matches!(delta.phase.as_str(), "answer" | "image_gen" | "image_edit" | "");
        if ends && delta.status.as_str() == "finished" && delta.role.as_str() != "function" {
            self.finished = Some(self.finish_reason.unwrap_or(FinishReason::Stop));
            self.end_pictures(sink);
            self.end_text(sink);
            if self.calls.any && sink.takes_calls() {
                self.end_calls(sink);
            }
            return ENOUGH;
        }
        if sink.counts_tokens()
            && let Some(output) = reported.output_tokens.0
            && sink.accept(Event::OutputTokens(output)).is_break()
        {
            return ENOUGH;
        }
        Flow::Continue(())
    }

    /// Takes a report of a call of one of the client's tools.
    fn native_call(&mut self, call: &RawValue, is_marked: bool, sink: &mut impl EventSink) -> Flow {
        self.took_call = true;
        if !sink.takes_calls() {
            return Flow::Continue(());
        }
        self.end_text(sink);
        self.said_something = true;
        match self.calls.take(call, is_marked) {
            Some(before) if !emit_call(&before, sink) => {
                self.is_cut = true;
                self.finished = Some(FinishReason::ToolCalls);
                ENOUGH
            }
            _ => Flow::Continue(()),
        }
    }

    /// The calls are complete, and with them the answer.
    fn end_calls(&mut self, sink: &mut impl EventSink) {
        self.finished = Some(FinishReason::ToolCalls);
        if let Some(last) = self.calls.end() {
            emit_call(&last, sink);
        }
    }

    /// Hands text on, with halves of characters joined. `false` ends the reading.
    fn text(&mut self, channel: Channel, text: &str, is_marked: bool, sink: &mut impl EventSink) -> bool {
        if text.is_empty() {
            return true;
        }
        if channel == Channel::Content && !self.end_pictures(sink) {
            return false;
        }
        if self.channel != channel && !self.end_text(sink) {
            return false;
        }
        self.channel = channel;
        self.said_something = true;
        let Self { joiner, thoughts, words, .. } = self;
        let text = joiner.join(text, is_marked);
        text.is_empty() || emit(channel, &text, (thoughts, words), sink)
    }

    /// Nothing completes what was kept back: half of a character, the beginning of a refusal. `false` ends the reading.
    fn end_text(&mut self, sink: &mut impl EventSink) -> bool {
        let Self { joiner, thoughts, words, channel, .. } = self;
        let mut rest = String::new();
        joiner.end(&mut rest);
        if !rest.is_empty() && !emit(*channel, &rest, (thoughts, words), sink) {
            return false;
        }
        let filter = if *channel == Channel::Reasoning { thoughts } else { words };
        let mut go_on = true;
        filter.flush(|rest| go_on = hand_on(*channel, rest, sink));
        go_on
    }

    fn thinking_summary(&mut self, extra: Option<&RawValue>, is_marked: bool, sink: &mut impl EventSink) -> bool {
        let mut go_on = true;
        read_extra(extra, is_marked, |extra, is_marked| {
            let Self { summary, joiner, channel, said_something, thoughts, words, .. } = self;
            // The whole thinking comes anew, also what was kept back of it; a half of the answer stays, unless more is thought.
            let half = std::mem::take(joiner);
            let mut of_content = (*channel == Channel::Content).then_some(half);
            let kept = summary.grow(extra, is_marked, |text| {
                if let Some(mut half) = of_content.take() {
                    let mut rest = String::new();
                    half.end(&mut rest);
                    go_on &= rest.is_empty() || emit(Channel::Content, &rest, (thoughts, words), sink);
                    *channel = Channel::Reasoning;
                }
                *said_something = true;
                go_on = go_on && emit(Channel::Reasoning, text, (thoughts, words), sink);
            });
            *joiner = of_content.unwrap_or(kept);
        });
        go_on
    }

    /// Hands a picture on, or keeps it back until it is known to be no preview. `false` ends the reading.
    fn picture(&mut self, link: &str, size: Option<(u32, u32)>, sink: &mut impl EventSink) -> bool {
        if !self.pictures.take(link, size) {
            return true;
        }
        self.said_something = true;
        self.end_text(sink) && sink.accept(Event::Picture(PictureEvent { link, size })).is_continue()
    }

    /// The pictures of one of the site's own tools.
    fn tool_pictures(&mut self, extra: Option<&RawValue>, sink: &mut impl EventSink) -> bool {
        let extra = extra.and_then(|extra| serde_json::from_str::<PictureExtra<'_>>(extra.get()).ok());
        let Some(extra) = extra else { return true };
        let size = extra.size();
        extra.links().iter().all(|link| !is_link(link) || self.picture(link, size, sink))
    }

    /// No final picture follows: what was kept back as a preview is one. `false` ends the reading.
    fn end_pictures(&mut self, sink: &mut impl EventSink) -> bool {
        let kept = self.pictures.end();
        if kept.is_empty() {
            return true;
        }
        self.said_something = true;
        self.end_text(sink)
            && kept
                .iter()
                .all(|(link, size)| sink.accept(Event::Picture(PictureEvent { link, size: *size })).is_continue())
    }

    fn tool_result(&mut self, extra: Option<&RawValue>, is_marked: bool) {
        read_extra(extra, is_marked, |extra, is_marked| {
            for page in extra.web_search_info.as_deref().unwrap_or_default() {
                let (url, title) = (whole(page.url.as_str(), is_marked), whole(page.title.as_str(), is_marked));
                if !url.is_empty()
                    && self.sources.len() < MAX_SOURCES
                    && self.known_sources.insert(url.clone().into_owned())
                {
                    self.sources.push(Source { url: url.into_owned(), title: title.into_owned() });
                }
            }
        });
    }
}

/// Width and height of a picture, from either place.
fn picture_size(extra: Option<&RawValue>, counts: &Counts) -> Option<(u32, u32)> {
    let side = |count: Option<u64>| count.and_then(|side| u32::try_from(side).ok()).filter(|side| *side > 0);
    let of_usage = side(counts.width.0).zip(side(counts.height.0));
    let of_extra = || serde_json::from_str::<PictureExtra<'_>>(extra?.get()).ok()?.size();
    of_usage.or_else(of_extra)
}

fn is_thinking(phase: &str) -> bool {
    matches!(phase, "think" | "thinking_summary")
}

/// Hands a call on. `false` ends the reading.
fn emit_call(call: &NativeCall, sink: &mut impl EventSink) -> bool {
    let NativeCall { name, arguments } = call;
    let call = CallEvent { index: 0, id: "", name, arguments, kind: ToolKind::Function };
    sink.accept(Event::ToolCall(call)).is_continue()
}

/// Hands text on without refusals. `false` ends the reading.
fn emit(
    channel: Channel,
    text: &str,
    (thoughts, words): (&mut RefusalFilter, &mut RefusalFilter),
    sink: &mut impl EventSink,
) -> bool {
    let filter = if channel == Channel::Reasoning { thoughts } else { words };
    if filter.is_plain(text) {
        return hand_on(channel, text, sink);
    }
    let mut sure = String::new();
    filter.push(text, |head| sink.has_tool_with(head), |piece| sure.push_str(piece));
    sure.is_empty() || hand_on(channel, &sure, sink)
}

fn hand_on(channel: Channel, text: &str, sink: &mut impl EventSink) -> bool {
    let event = match channel {
        Channel::Content => Event::Text(text),
        Channel::Reasoning => Event::Reasoning(text),
    };
    sink.accept(event).is_continue()
}

/// Reads what goes along with a delta, and hands it to `each` together with whether halves are marked in it. What cannot be
/// read is left out.
fn read_extra(extra: Option<&RawValue>, is_marked: bool, each: impl FnOnce(&Extra<'_>, bool)) {
    let Some(raw) = extra.map(RawValue::get) else { return };
    if let Ok(extra) = serde_json::from_str::<Extra<'_>>(raw) {
        return each(&extra, is_marked);
    }
    // The event around it was read without a look into it.
    let copy = if is_marked { None } else { marked(raw.as_bytes()) };
    if let Some(extra) = copy.as_deref().and_then(|copy| serde_json::from_str::<Extra<'_>>(copy).ok()) {
        each(&extra, true);
    }
}

/// How much of the cumulative thinking was handed on: whole paragraphs before `at`, and parts of the one at `at`.
#[derive(Debug, Default)]
struct Summary {
    at: usize,
    title: usize,
    thought: usize,
}

impl Summary {
    /// Hands on what is new. A paragraph is its title, a line end, its thought; paragraphs are a blank line apart. Keeps the
    /// half of a character back that all of it ends with, and returns that.
    fn grow(&mut self, extra: &Extra<'_>, is_marked: bool, mut each: impl FnMut(&str)) -> Joiner {
        let titles = extra.summary_title.as_ref().map_or(&[][..], |titles| &titles.content);
        let thoughts = extra.summary_thought.as_ref().map_or(&[][..], |thoughts| &thoughts.content);
        let count = titles.len().max(thoughts.len());
        let mut kept = Joiner::default();
        while self.at < count {
            let title = titles.get(self.at).map_or("", |text| text.as_str());
            let thought = thoughts.get(self.at).map_or("", |text| text.as_str());
            let is_last = self.at.saturating_add(1) >= count;
            let mut joined =
                |text, may_grow| if may_grow { kept.join(text, is_marked) } else { whole(text, is_marked) };
            let title = joined(title, is_last && thought.is_empty());
            let thought = joined(thought, is_last);
            let fresh = self.title == 0 && self.thought == 0;
            if fresh && self.at > 0 && !(title.is_empty() && thought.is_empty()) {
                each("\n\n");
            }
            if self.thought == 0
                && let Some(more) = title.get(self.title..).filter(|more| !more.is_empty())
            {
                each(more);
                self.title = title.len();
            }
            if let Some(more) = thought.get(self.thought..).filter(|more| !more.is_empty()) {
                if self.thought == 0 && self.title > 0 {
                    each("\n");
                }
                each(more);
                self.thought = thought.len();
            }
            if is_last {
                break;
            }
            *self = Self { at: self.at.saturating_add(1), title: 0, thought: 0 };
        }
        kept
    }
}
