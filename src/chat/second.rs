//! The second upstream of a turn: what it is asked, and after which errors.
//!
//! It keeps no history, so it gets the whole conversation. What it needs for that is held only until the client gets its first
//! byte: after that nobody else is asked.

use std::sync::Arc;

use super::{attachments::Attachments, tool_rules::ToolRules};
use crate::{
    config::FallbackAfter,
    error::{Error, Result},
    llm::{Message, OutputFormat, Reasoning, Request, Role, Sampling, Tool, ToolChoice},
    platform::Platform,
    upstream::{Attached, Opened, Upstream, WholeAsk},
};

/// The most calls of a conversation: each becomes some hundred bytes more than the client sent.
const MAX_CALLS: usize = 20_000;

/// The second upstream, for one turn.
#[derive(Clone, Debug)]
pub struct Second {
    /// The upstream.
    pub upstream: Upstream,
    /// Its name of the model.
    pub model: String,
    /// What it is asked.
    pub whole: Arc<WholeTurn>,
    /// What calls of tools have to keep to, if the request has tools.
    pub rules: Option<ToolRules>,
    /// After which errors it is asked.
    pub after: FallbackAfter,
    /// Whether the first upstream is not asked at all.
    pub is_only: bool,
}

/// A turn with all that was said before it.
#[derive(Debug)]
pub struct WholeTurn {
    messages: Arc<Vec<Message>>,
    attached: Vec<Attached>,
    tools: Arc<[Tool]>,
    tool_choice: ToolChoice,
    allowed_tools: Option<Vec<String>>,
    parallel_tool_calls: bool,
    format: Option<OutputFormat>,
    sampling: Sampling,
    reasoning: Option<Reasoning>,
    search: bool,
    stop: Vec<String>,
    max_tokens: Option<u64>,
}

impl WholeTurn {
    /// The turn of a request whose messages and attachments were taken out of it. `reasoning` = whether to think, where the
    /// client says; `search` = whether to search the web. `tells_stop`: the client is to know which stop text ended the answer;
    /// `says_effort`: the client's word for how hard to think counts.
    ///
    /// # Errors
    /// `invalid_request` for a file that only this server, or chat.qwen.ai, has, and for results with nothing before them.
    pub fn new(
        request: &Request,
        (messages, attachments): (&Arc<Vec<Message>>, &Attachments),
        (reasoning, search): (Option<Reasoning>, bool),
        (tells_stop, says_effort): (bool, bool),
    ) -> Result<Self> {
        // Some clients send results alone, and name the answer with the calls.
        let first = messages.iter().find(|message| message.role != Role::System);
        if first.is_some_and(|message| message.role == Role::Tool) {
            let problem = "The request begins with the result of a call, and the second upstream keeps no conversations. Send the whole conversation.";
            return Err(Error::invalid("messages", problem));
        }
        let calls = messages.iter().map(|message| message.tool_calls.len()).fold(0, usize::saturating_add);
        if calls > MAX_CALLS {
            let problem = format!("The second upstream gets at most {MAX_CALLS} calls of tools in one conversation.");
            return Err(Error::invalid("messages", problem));
        }
        Ok(Self {
            messages: Arc::clone(messages),
            attached: attachments.as_sent()?,
            tools: Arc::clone(&request.tools),
            tool_choice: request.tool_choice.clone(),
            allowed_tools: request.allowed_tools.clone(),
            parallel_tool_calls: request.parallel_tool_calls,
            format: request.format.clone(),
            sampling: Sampling {
                effort: request.sampling.effort.clone().filter(|_| says_effort),
                ..request.sampling.clone()
            },
            reasoning,
            search,
            stop: if tells_stop { Vec::new() } else { request.stop.clone() },
            max_tokens: request.max_tokens,
        })
    }

    fn ask<'a>(&'a self, model: &'a str) -> WholeAsk<'a> {
        let Self { messages, attached, tools, tool_choice, allowed_tools, parallel_tool_calls, .. } = self;
        let Self { format, sampling, reasoning, search, stop, max_tokens, .. } = self;
        WholeAsk {
            model,
            messages,
            attached,
            tools,
            tool_choice,
            allowed_tools: allowed_tools.as_deref(),
            parallel_tool_calls: *parallel_tool_calls,
            format: format.as_ref(),
            sampling,
            reasoning: *reasoning,
            search: *search,
            stop,
            max_tokens: *max_tokens,
        }
    }
}

impl Second {
    /// Whether it is asked after this error.
    pub(super) fn is_asked_after(&self, error: &Error) -> bool {
        self.after.has(error.kind().code())
    }

    /// Asks it.
    ///
    /// # Errors
    /// Any refusal.
    pub(super) async fn open(&self, platform: &impl Platform) -> Result<Opened> {
        self.upstream.answer_whole(platform, &self.whole.ask(&self.model)).await
    }
}
