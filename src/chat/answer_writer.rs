//! The last step of an answer: stop texts, the rules for calls, and the encoder.

use std::ops::ControlFlow;

use bytes::{Bytes, BytesMut};

use super::{
    answer_format::{AnswerFormat, FormattedAnswer},
    filters::{ReadCall, Schema, StopFilter, bare_arguments, has_call},
    tool_rules::ToolRules,
};
use crate::{
    api::Encoder,
    error::{Error, Result},
    llm::{Answer, Call, CallEvent, Citation, Correction, Event, FinishReason, Tool, ToolKind, Usage},
};

/// What an answer says that was to be JSON, and that content inspection ended.
const REFUSAL: &str = "chat.qwen.ai ended this answer because of its content inspection.";

/// What the answer is so far, and what the client has not got of it yet.
#[derive(Debug)]
pub(super) struct AnswerWriter {
    encoder: Encoder,
    /// What is written and not yet taken.
    out: BytesMut,
    /// How many deltas that is.
    deltas: u32,
    text: String,
    reasoning: String,
    calls: Vec<Call>,
    /// This server's links to the pictures in the text.
    pictures: Vec<String>,
    began: bool,
    stop: StopFilter,
    cut: Option<FinishReason>,
    /// The answer is whole although the upstream goes on.
    is_whole: bool,
    rules: Option<ToolRules>,
    /// What the text has to be.
    format: Option<FormattedAnswer>,
    /// Kept back until the first call, where one has to come.
    held: Option<Held>,
    /// Whether the turn may be asked once more.
    may_repeat: bool,
    /// Why the answer cannot be used.
    fault: Option<Error>,
    correction: Option<Correction>,
}

#[derive(Debug, Default)]
struct Held {
    text: String,
    reasoning: String,
}

impl AnswerWriter {
    pub(super) fn new(encoder: Encoder, stop: Vec<String>) -> Self {
        Self {
            encoder,
            out: BytesMut::new(),
            deltas: 0,
            text: String::new(),
            reasoning: String::new(),
            calls: Vec::new(),
            pictures: Vec::new(),
            began: false,
            stop: StopFilter::new(stop),
            cut: None,
            is_whole: false,
            rules: None,
            format: None,
            held: None,
            may_repeat: false,
            fault: None,
            correction: None,
        }
    }

    /// The same with rules for calls.
    pub(super) fn with_tools(self, rules: ToolRules, may_repeat: bool) -> Self {
        let held = rules.is_enforced().then(Held::default);
        Self { rules: Some(rules), held, may_repeat, ..self }
    }

    /// The same for a text that has to have a form.
    pub(super) fn with_format(self, format: AnswerFormat, may_repeat: bool) -> Self {
        let format = Some(FormattedAnswer::new(format, self.encoder.is_stream()));
        Self { format, may_repeat, ..self }
    }

    /// Takes a piece of the text.
    pub(super) fn text_piece(&mut self, piece: &str) -> ControlFlow<()> {
        if let Some(held) = &mut self.held {
            held.text.push_str(piece);
            return ControlFlow::Continue(());
        }
        let Some(mut format) = self.format.take() else { return self.sure_text(piece) };
        let mut flow = ControlFlow::Continue(());
        format.push(piece, |sure| flow = self.sure_text(sure));
        // A call may follow where the request has tools.
        let is_over = format.is_over() && self.rules.is_none();
        self.format = Some(format);
        flow?;
        if is_over {
            self.is_whole = true;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// Takes a piece of the text that is surely part of the answer.
    fn sure_text(&mut self, piece: &str) -> ControlFlow<()> {
        self.begin();
        let Self { encoder, out, text, stop, .. } = self;
        let found = stop.push(piece, |piece| {
            text.push_str(piece);
            encoder.event(Event::Text(piece), out);
        });
        if found { self.end_at(FinishReason::Stop) } else { ControlFlow::Continue(()) }
    }

    /// Notes a picture that the text shows.
    pub(super) fn picture(&mut self, url: &str) {
        self.pictures.push(url.to_owned());
    }

    /// Takes a piece of the thinking.
    pub(super) fn reasoning_piece(&mut self, piece: &str) {
        if let Some(held) = &mut self.held {
            held.reasoning.push_str(piece);
            return;
        }
        self.begin();
        self.encoder.event(Event::Reasoning(piece), &mut self.out);
        if self.encoder.keeps_reasoning() {
            self.reasoning.push_str(piece);
        }
    }

    /// Takes a call.
    pub(super) fn call(&mut self, call: &ReadCall) -> ControlFlow<()> {
        let Some(rules) = self.rules.as_ref() else { return ControlFlow::Continue(()) };
        let ReadCall { name, arguments } = call;
        if !rules.allows(name) {
            let error = Error::tool_choice_unsatisfied(rules.named());
            let correction = Correction::CallOther { named: rules.named().map(str::to_owned) };
            return self.fail_with(error, correction);
        }
        let tool = rules.tools.all().iter().find(|tool| tool.name == *name);
        if let Some(Tool { strict: true, parameters: Some(schema), .. }) = tool
            && self.can_repeat()
            && let Ok(schema) = Schema::new(schema)
            && let Err(fault) = schema.check(arguments)
        {
            return self.fail_with(Error::unreadable_call(), Correction::Arguments(fault));
        }
        let kind = tool.map_or(ToolKind::Function, |tool| tool.kind);
        let input = (kind == ToolKind::Custom).then(|| input_of(arguments)).flatten();
        let index = self.calls.len();
        let (id, is_last) = (rules.id(index), rules.ends_with_first());
        let call = Call { id, name: name.clone(), arguments: input.unwrap_or_else(|| arguments.clone()), kind };
        // A call wins over a text that has to have a form.
        if let Some(format) = self.format.take()
            && !self.began
            && !format.text().is_empty()
        {
            self.sure_text(format.text())?;
        }
        if let Some(Held { text, reasoning }) = self.held.take() {
            if !reasoning.is_empty() {
                self.reasoning_piece(&reasoning);
            }
            if !text.is_empty() {
                self.text_piece(&text)?;
            }
        }
        self.begin();
        self.flush();
        let Call { id, name, arguments, kind } = &call;
        let event = CallEvent { index, id, name, arguments, kind: *kind };
        self.encoder.event(Event::ToolCall(event), &mut self.out);
        self.calls.push(call);
        if is_last { self.end_at(FinishReason::ToolCalls) } else { ControlFlow::Continue(()) }
    }

    /// Takes a call that cannot be read. It is text where the turn is not to be repeated.
    pub(super) fn unreadable(&mut self, text: &str) -> ControlFlow<()> {
        if self.can_repeat() {
            return self.fail_with(Error::unreadable_call(), Correction::UnreadableCall);
        }
        // Beside a call that can be read it is left out.
        if text.is_empty() || !self.calls.is_empty() { ControlFlow::Continue(()) } else { self.text_piece(text) }
    }

    /// The answer has ended without text and without calls: a call in its thinking belongs into the answer.
    ///
    /// # Errors
    /// That the call cannot be used, where the turn can be repeated.
    pub(super) fn check_thinking(&mut self) -> Result<()> {
        let is_in_thinking = |rules: &ToolRules| has_call(&self.reasoning, &rules.tools);
        if self.can_repeat() && self.rules.as_ref().is_some_and(is_in_thinking) {
            let _ = self.fail_with(Error::unreadable_call(), Correction::CallInThinking);
        }
        self.check()
    }

    /// Whether the answer may still be replaced by another.
    fn can_repeat(&self) -> bool {
        self.may_repeat && self.calls.is_empty() && !(self.began && self.encoder.is_stream())
    }

    fn fail_with(&mut self, error: Error, correction: Correction) -> ControlFlow<()> {
        self.fault.get_or_insert(error);
        self.correction.get_or_insert(correction);
        ControlFlow::Break(())
    }

    /// Whether the answer can be used so far.
    ///
    /// # Errors
    /// Why it cannot.
    pub(super) fn check(&mut self) -> Result<()> {
        self.fault.take().map_or(Ok(()), Err)
    }

    /// The answer has ended: what has to be in it is looked for.
    ///
    /// # Errors
    /// `tool_choice_unsatisfied` where no tool was called.
    pub(super) fn settle(&mut self) -> Result<()> {
        self.check()?;
        if let (Some(held), Some(rules)) = (&self.held, &self.rules)
            && self.cut.is_none()
        {
            let only = rules.only().map(str::to_owned);
            let bare = only.as_deref().and_then(|only| bare_arguments(&held.text, only, &rules.tools));
            let Some(call) = bare else {
                let named = rules.named().map(str::to_owned);
                let error = Error::tool_choice_unsatisfied(named.as_deref());
                self.correction = Some(Correction::CallOther { named });
                return Err(error);
            };
            if let Some(held) = &mut self.held {
                held.text.clear();
            }
            let _ = self.call(&call);
            self.check()?;
        }
        if let (Some(format), None) = (&self.format, self.cut) {
            match format.finish() {
                Ok(rest) if rest.is_empty() => {}
                Ok(rest) => drop(self.sure_text(&rest)),
                Err(fault) => {
                    let error = Error::invalid_structured_output(&fault);
                    self.correction = Some(Correction::Json(fault));
                    return Err(error);
                }
            }
        }
        if self.cut.is_none() {
            self.flush();
        }
        Ok(())
    }

    /// What the model should do otherwise.
    pub(super) fn correction(&mut self) -> Option<Correction> {
        self.correction.take()
    }

    /// A call was cut off.
    pub(super) fn call_was_cut(&mut self) {
        self.held = None;
        if self.calls.is_empty() {
            self.cut = Some(FinishReason::Length);
        }
    }

    /// Ends the answer here.
    pub(super) fn end_at(&mut self, finish: FinishReason) -> ControlFlow<()> {
        self.cut.get_or_insert(finish);
        ControlFlow::Break(())
    }

    fn begin(&mut self) {
        self.deltas = self.deltas.saturating_add(1);
        if !std::mem::replace(&mut self.began, true) {
            self.encoder.begin(&mut self.out);
        }
    }

    /// What might have been the beginning of a stop sequence belongs to the answer.
    fn flush(&mut self) {
        let Self { encoder, out, text, stop, .. } = self;
        stop.flush(|piece| {
            text.push_str(piece);
            encoder.event(Event::Text(piece), out);
        });
    }

    /// Writes the end of the answer. `finish` = why it ended, unless it was cut.
    pub(super) fn finish(&mut self, finish: FinishReason, citations: impl FnOnce(&str) -> Vec<Citation>, usage: Usage) {
        let deltas = self.deltas;
        self.begin();
        self.deltas = deltas;
        let is_stream = self.encoder.is_stream();
        let Self { encoder, out, format, text, reasoning, calls, pictures, stop, cut, .. } = self;
        let parts = Parts { format: format.as_ref(), is_stream, text, reasoning, calls, pictures, stop, cut: *cut };
        let citations = citations(parts.text(finish));
        encoder.finish(&parts.answer(finish, &citations, usage), out);
    }

    /// The whole answer as one object, where the dialect keeps it.
    pub(super) fn kept(
        &self,
        finish: FinishReason,
        citations: impl FnOnce(&str) -> Vec<Citation>,
        usage: Usage,
    ) -> Option<String> {
        let is_stream = self.encoder.is_stream();
        let Self { encoder, format, text, reasoning, calls, pictures, stop, cut, .. } = self;
        let parts = Parts { format: format.as_ref(), is_stream, text, reasoning, calls, pictures, stop, cut: *cut };
        let citations = citations(parts.text(finish));
        encoder.kept(&parts.answer(finish, &citations, usage))
    }

    pub(super) fn fail(&mut self, error: &Error) {
        self.encoder.fail(error, &mut self.out);
    }

    pub(super) fn restart(&mut self) -> (Encoder, Bytes) {
        (self.encoder.clone(), self.out.split().freeze())
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(super) fn keep_alive(&mut self) {
        self.encoder.keep_alive(&mut self.out);
    }

    pub(super) fn is_stream(&self) -> bool {
        self.encoder.is_stream()
    }

    pub(super) fn began(&self) -> bool {
        self.began
    }

    /// Whether a whole answer that has to have a form has text so far.
    pub(super) fn is_held_whole(&self) -> bool {
        !self.is_stream() && self.format.as_ref().is_some_and(|format| !format.text().trim().is_empty())
    }

    /// Whether the answer is whole although the upstream goes on.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    pub(super) fn cut(&self) -> Option<FinishReason> {
        self.cut
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn calls(&self) -> &[Call] {
        &self.calls
    }

    pub(super) fn waiting(&self) -> usize {
        self.out.len()
    }

    pub(super) fn deltas(&self) -> u32 {
        self.deltas
    }

    pub(super) fn take(&mut self) -> Bytes {
        self.deltas = 0;
        self.out.split().freeze()
    }
}

/// What a complete answer is made of, apart from the encoder that writes it.
struct Parts<'a> {
    format: Option<&'a FormattedAnswer>,
    is_stream: bool,
    text: &'a str,
    reasoning: &'a str,
    calls: &'a [Call],
    pictures: &'a [String],
    stop: &'a StopFilter,
    cut: Option<FinishReason>,
}

impl<'a> Parts<'a> {
    /// The text; of an object that was cut, as much as there is.
    fn text(&self, finish: FinishReason) -> &'a str {
        match (self.format, self.is_stream, self.cut.unwrap_or(finish)) {
            (Some(format), false, FinishReason::Length) => {
                let text = format.text();
                text.get(text.find('{').unwrap_or(0)..).unwrap_or_default()
            }
            _ => self.text,
        }
    }

    fn answer(&self, finish: FinishReason, citations: &'a [Citation], usage: Usage) -> Answer<'a> {
        let is_refused = self.format.is_some() && finish == FinishReason::ContentFilter;
        let text = self.text(finish);
        let finish = match self.cut.unwrap_or(finish) {
            FinishReason::Stop | FinishReason::Length if !self.calls.is_empty() => FinishReason::ToolCalls,
            FinishReason::ToolCalls if self.calls.is_empty() => FinishReason::Stop,
            finish => finish,
        };
        Answer {
            text,
            reasoning: self.reasoning,
            calls: self.calls,
            pictures: self.pictures,
            citations,
            refusal: is_refused.then_some(REFUSAL),
            finish,
            stop_text: self.stop.hit(),
            usage,
        }
    }
}

/// The text of a custom tool's only parameter.
fn input_of(arguments: &str) -> Option<String> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(arguments).ok()?;
    object.get("input")?.as_str().map(str::to_owned)
}
