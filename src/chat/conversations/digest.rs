//! Keys of conversations: digests chained over a history's messages. `docs/conversations.md` has the rules with examples.
//!
//! Two chains run side by side. The *exact* chain has every message without its thinking. The chain *without tools* is the
//! history as a client shows it later: tool calls, tool results and `<tool_use>` blocks are removed, and answers that are then
//! adjacent count as one. Without tools the two chains are equal.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

use super::{
    compared_text::{canonical, normalised, without_blocks},
    system_text::without_times,
};
use crate::{
    chat::{attachments::Attachments, tool_rules::stem_of},
    digest::{key, link},
    llm::{Message, Role},
};

/// The keys of a history up to and including one of its answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::chat) struct HistoryKey {
    /// How many of the request's messages the keys cover.
    pub(in crate::chat) message_count: usize,
    /// The exact chain.
    pub(in crate::chat) exact: String,
    /// The chain without tool steps.
    pub(in crate::chat) without_tools: String,
}

/// The digests of a request's messages.
#[derive(Clone, Debug)]
pub(in crate::chat) struct History {
    /// One entry for each answer in the history, oldest first.
    pub(in crate::chat) keys: Vec<HistoryKey>,
    /// Digest of the system text; empty when there is none.
    pub(in crate::chat) system: String,
    /// The number of the user's questions, without tool results.
    pub(in crate::chat) questions: usize,
    scope: String,
    /// The scope, with what came before.
    end_scope: String,
    state: State,
    /// Digest of the newest question that was answered.
    answered: Option<[u8; 32]>,
    /// The newest question.
    asked: Option<[u8; 32]>,
    /// Where the newest turn brings results of calls: the key of these calls.
    pub(in crate::chat) call: Option<CallKey>,
}

/// The key of the calls of one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::chat) struct CallKey {
    /// The key.
    pub(in crate::chat) key: String,
    /// How many of the request's messages go up to and including the answer with these calls.
    pub(in crate::chat) message_count: usize,
}

/// The shortest answer, in characters, that may identify a conversation by itself.
const IDENTIFYING: usize = 64;

#[derive(Clone, Debug)]
struct State {
    exact: [u8; 32],
    without_tools: [u8; 32],
    /// The answers that no question follows yet, as one.
    pending: Option<AnswerHash>,
}

/// The digest of an answer whose text may still grow; no text is hashed twice.
#[derive(Clone, Debug)]
struct AnswerHash {
    hash: Sha256,
    length: u64,
}

impl AnswerHash {
    fn new(before: [u8; 32]) -> Self {
        let mut hash = Sha256::new();
        hash.update(before);
        hash.update([b'a']);
        Self { hash, length: 0 }
    }

    fn push(&mut self, text: &str) {
        self.hash.update(text.as_bytes());
        self.length = self.length.saturating_add(text.len() as u64);
    }

    /// Ends the answer with the tools that it calls.
    fn end(self, calls: &str) -> [u8; 32] {
        let Self { mut hash, length } = self;
        hash.update(length.to_le_bytes());
        link(hash.finalize().into(), b'c', calls.as_bytes())
    }
}

impl State {
    fn new(scope: &str) -> Self {
        let start = link([0; 32], b's', scope.as_bytes());
        Self { exact: start, without_tools: start, pending: None }
    }

    fn question(&mut self, text: &str) {
        self.exact = link(self.exact, b'u', text.as_bytes());
        if !is_tool_result(text) {
            self.without_tools = link(self.after_pending(), b'u', text.as_bytes());
            self.pending = None;
        }
    }

    fn tool_result(&mut self, text: &str) {
        self.exact = link(self.exact, b't', text.as_bytes());
    }

    fn answer(&mut self, text: &str, calls: &str) {
        if !(text.is_empty() && calls.is_empty()) {
            let mut answer = AnswerHash::new(self.exact);
            answer.push(text);
            self.exact = answer.end(calls);
        }
        let shown = without_blocks(text, "<tool_use>", "</tool_use>");
        let shown = shown.trim();
        if !shown.is_empty() {
            match &mut self.pending {
                Some(pending) => pending.push("\n\n"),
                None => self.pending = Some(AnswerHash::new(self.without_tools)),
            }
            if let Some(pending) = &mut self.pending {
                pending.push(shown);
            }
        }
    }

    fn after_pending(&self) -> [u8; 32] {
        self.pending.clone().map_or(self.without_tools, |pending| pending.end(""))
    }

    fn key(&self, message_count: usize) -> HistoryKey {
        HistoryKey { message_count, exact: key(self.exact), without_tools: key(self.after_pending()) }
    }
}

impl History {
    /// Digests `messages` within a scope (API key and account). `salt` = what came before, where the messages do not say it.
    pub(in crate::chat) fn new((scope, salt): (&str, &str), messages: &[Message], attachments: &Attachments) -> Self {
        let whole = if salt.is_empty() { Cow::Borrowed(scope) } else { Cow::Owned(format!("{scope}\0{salt}")) };
        let mut state = State::new(&whole);
        let mut keys = Vec::new();
        let mut system = String::new();
        let mut questions = 0_usize;
        let (mut asked, mut answered) = (None, None);
        for (index, message) in messages.iter().enumerate() {
            let text = message.content_text();
            let mut text = canonical(&text);
            if message.role != Role::Assistant {
                for attachment in attachments.of(index) {
                    text.to_mut().push_str(&format!("\0{}", attachment.fingerprint()));
                }
            }
            match message.role {
                Role::System => {
                    system.push_str(&text);
                    system.push('\n');
                }
                Role::User => {
                    if !is_tool_result(&text) {
                        questions = questions.saturating_add(1);
                        asked = Some(index);
                    }
                    state.question(&text);
                }
                Role::Tool => state.tool_result(&text),
                Role::Assistant => {
                    state.answer(&text, &calls(message));
                    // An answer at the end is the beginning of the one that the client wants.
                    if index.saturating_add(1) < messages.len() {
                        keys.push(state.key(index.saturating_add(1)));
                        answered = asked;
                    }
                }
            }
        }
        let system = without_times(system.trim());
        let system = if system.is_empty() { String::new() } else { key(link([0; 32], b'y', system.as_bytes())) };
        let question = |index: usize| {
            let mut text = messages.get(index).map(|message| normalised(&message.content_text())).unwrap_or_default();
            for attachment in attachments.of(index) {
                text.push_str(&format!("\0{}", attachment.fingerprint()));
            }
            link([0; 32], b'q', text.as_bytes())
        };
        let (asked, answered) = match (asked, answered) {
            (Some(asked), Some(answered)) if asked == answered => {
                let question = question(asked);
                (Some(question), Some(question))
            }
            (asked, answered) => (asked.map(question), answered.map(question)),
        };
        let call = call_key(scope, messages);
        Self {
            keys,
            system,
            questions,
            scope: scope.to_owned(),
            end_scope: whole.into_owned(),
            state,
            answered,
            asked,
            call,
        }
    }

    /// The number of answers.
    pub(in crate::chat) fn depth(&self) -> i64 {
        i64::try_from(self.keys.len()).unwrap_or(i64::MAX)
    }

    /// The keys of this history followed by `answer`, which calls these tools.
    pub(in crate::chat) fn with_answer<'a>(
        &self,
        answer: &str,
        calls: impl IntoIterator<Item = &'a str>,
    ) -> HistoryKey {
        let mut state = self.state.clone();
        state.answer(&canonical(answer), &names(calls));
        state.key(0)
    }

    /// The key of the calls of an answer, by the id of one of them.
    pub(in crate::chat) fn call_key(&self, id: &str) -> Option<String> {
        stem_of(id).map(|stem| key_of_stem(&self.scope, stem))
    }

    /// The keys of a second chance for this history up to its newest answer, whose text is `answer`.
    pub(in crate::chat) fn second_chance(&self, answer: &str) -> SecondChance {
        self.end_keys(self.answered, answer)
    }

    /// The keys of a second chance for this history followed by `answer`.
    pub(in crate::chat) fn second_chance_with(&self, answer: &str) -> SecondChance {
        self.end_keys(self.asked, answer)
    }

    fn end_keys(&self, question: Option<[u8; 32]>, answer: &str) -> SecondChance {
        let text = normalised(answer);
        if text.is_empty() {
            return SecondChance::default();
        }
        let scope = link([0; 32], b's', self.end_scope.as_bytes());
        SecondChance {
            pair: question.map(|question| key(link(link(scope, b'p', &question), b'l', text.as_bytes()))),
            answer: (text.chars().count() >= IDENTIFYING).then(|| key(link(scope, b'l', text.as_bytes()))),
        }
    }
}

/// Keys of the end of a history, for a client that shows the rest of it differently.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::chat) struct SecondChance {
    /// Of the newest question and its answer.
    pub(in crate::chat) pair: Option<String>,
    /// Of the newest answer alone, if it is long enough to be unique.
    pub(in crate::chat) answer: Option<String>,
}

/// Returns the key that the history in `messages` is looked up by; `None` when it has no answer yet.
#[must_use]
pub fn history_key(scope: &str, messages: &[Message], attachments: &Attachments) -> Option<String> {
    History::new((scope, ""), messages, attachments).keys.pop().map(|key| key.exact)
}

/// The tools that a message calls. Clients rewrite arguments, so these do not count.
fn calls(message: &Message) -> String {
    names(message.calls().map(|call| call.name.as_deref().unwrap_or_default()))
}

fn names<'a>(calls: impl IntoIterator<Item = &'a str>) -> String {
    calls.into_iter().map(|name| format!("{name}\0")).collect()
}

/// The key of the calls that the newest turn brings results of. The calls of one answer have the beginning of their ids in
/// common, so that one key finds all of them.
fn call_key(scope: &str, messages: &[Message]) -> Option<CallKey> {
    let answer = messages.iter().rposition(|message| message.role == Role::Assistant);
    let newest = answer.map_or(0, |answer| answer.saturating_add(1));
    let results = messages.iter().skip(newest).filter(|message| message.role == Role::Tool);
    let stem = results.filter_map(|message| stem_of(message.tool_call_id.as_deref()?)).next_back()?;
    Some(CallKey { key: key_of_stem(scope, stem), message_count: newest })
}

fn key_of_stem(scope: &str, stem: &str) -> String {
    key(link(link([0; 32], b's', scope.as_bytes()), b'i', stem.as_bytes()))
}

/// Whether the text is a tool result that a client such as Cherry Studio sends as the user's message.
fn is_tool_result(text: &str) -> bool {
    text.starts_with("<tool_use_result>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::test_requests::messages;

    fn history(messages: &str) -> History {
        History::new(("scope", ""), &crate::chat::test_requests::messages(messages), &Attachments::default())
    }

    fn last(messages: &str) -> HistoryKey {
        history(messages).keys.pop().unwrap()
    }

    const BASE: &str =
        r#"[{"role":"user","content":"q"},{"role":"assistant","content":"a"},{"role":"user","content":"x"}]"#;

    #[test]
    fn without_tools_one_key_does() {
        assert_eq!(last(BASE).exact, last(BASE).without_tools);
    }

    #[test]
    fn these_are_the_same_history() {
        for other in [
            r#"[{"role":"user","content":" q\n"},{"role":"assistant","content":"a\r\n"},{"role":"user","content":"other"}]"#,
            r#"[{"role":"system","content":"s"},{"role":"user","content":"q"},{"role":"assistant","content":"a"},{"role":"user","content":"x"}]"#,
            r#"[{"role":"user","content":[{"type":"text","text":"q"}]},{"role":"assistant","content":[{"type":"text","text":"a"}]},{"role":"user","content":"x"}]"#,
            r#"[{"role":"user","content":"q"},{"role":"assistant","content":"<think>hm</think>a","reasoning_content":"hm"},{"role":"user","content":"x"}]"#,
            r#"[{"role":"user","content":"q"},{"role":"assistant","content":"<details type=\"reasoning\" done=\"true\">hm</details>\na"},{"role":"user","content":"x"}]"#,
            r#"[{"role":"user","content":"q"},{"role":"assistant","content":"a"},{"role":"user","content":"x"},{"role":"user","content":"y"}]"#,
        ] {
            assert_eq!(
                (last(other).exact, last(other).without_tools),
                (last(BASE).exact, last(BASE).without_tools),
                "{other}"
            );
        }
        let composed = r#"[{"role":"user","content":"caf\u00e9"},{"role":"assistant","content":"a"},{"role":"user","content":"x"}]"#;
        let decomposed = r#"[{"role":"user","content":"cafe\u0301"},{"role":"assistant","content":"a"},{"role":"user","content":"x"}]"#;
        assert_eq!(last(composed), last(decomposed));
    }

    #[test]
    fn these_are_different_histories() {
        for other in [
            r#"[{"role":"user","content":"Q"},{"role":"assistant","content":"a"},{"role":"user","content":"x"}]"#,
            r#"[{"role":"user","content":"q"},{"role":"assistant","content":"b"},{"role":"user","content":"x"}]"#,
            r#"[{"role":"assistant","content":"q"},{"role":"assistant","content":"a"},{"role":"user","content":"x"}]"#,
            r#"[{"role":"user","content":"qa"},{"role":"assistant","content":""},{"role":"user","content":"x"}]"#,
            r#"[{"role":"user","content":"q"},{"role":"user","content":"q"},{"role":"assistant","content":"a"},{"role":"user","content":"x"}]"#,
            r#"[{"role":"user","content":"a b"},{"role":"assistant","content":"a"},{"role":"user","content":"x"}]"#,
        ] {
            assert_ne!(last(other).exact, last(BASE).exact, "{other}");
            assert_ne!(last(other).without_tools, last(BASE).without_tools, "{other}");
        }
        let elsewhere = History::new(("another scope", ""), &messages(BASE), &Attachments::default());
        assert_ne!(elsewhere.keys.last().unwrap().exact, last(BASE).exact);
        let (one, other) = (elsewhere.second_chance("a"), history(BASE).second_chance("a"));
        assert!(one.pair.is_some() && one.pair != other.pair);
        let long = "a".repeat(IDENTIFYING);
        let (one, other) = (elsewhere.second_chance(&long), history(BASE).second_chance(&long));
        assert!(one.answer.is_some() && one.answer != other.answer);
    }

    #[test]
    fn a_history_that_begins_behind_another_answer_meets_no_other() {
        let at = |salt: &str| History::new(("scope", salt), &messages(BASE), &Attachments::default());
        let (one, other, whole) = (at("resp_1"), at("resp_2"), at(""));
        let long = "a".repeat(IDENTIFYING);
        for (left, right) in [(&one, &other), (&one, &whole)] {
            assert_ne!(left.keys.last().unwrap().exact, right.keys.last().unwrap().exact);
            assert_ne!(left.keys.last().unwrap().without_tools, right.keys.last().unwrap().without_tools);
            assert_ne!(left.second_chance("a").pair, right.second_chance("a").pair);
            assert_ne!(left.second_chance(&long).answer, right.second_chance(&long).answer);
        }
        // The ids of calls lead to their chat from anywhere.
        let id = format!("call_{}00", "i".repeat(22));
        assert_eq!(one.call_key(&id), whole.call_key(&id));
    }

    #[test]
    fn the_key_of_an_answer_is_the_boundary_of_the_next_turn() {
        let asked = history(r#"[{"role":"system","content":"s"},{"role":"user","content":"q"}]"#);
        assert!(asked.keys.is_empty());
        let answered = asked.with_answer("<think>x</think> a ", []);
        assert_eq!((&answered.exact, &answered.without_tools), (&last(BASE).exact, &last(BASE).without_tools));
    }

    #[test]
    fn a_tool_loop_and_what_the_client_shows_of_it_are_found_alike() {
        let step = r#"{"role":"user","content":"q"},{"role":"assistant","content":"I look.\n<tool_use><name>f</name></tool_use>"},{"role":"user","content":"<tool_use_result>7</tool_use_result>"}"#;
        let looped = history(&format!("[{step}]")).with_answer("It is 7.", []);
        let shown = last(
            r#"[{"role":"user","content":"q"},{"role":"assistant","content":"I look.\n\nIt is 7."},{"role":"user","content":"next"}]"#,
        );
        assert_eq!(looped.without_tools, shown.without_tools);
        assert_ne!(looped.exact, shown.exact);
        let other_result = history(&format!("[{}]", step.replace(">7<", ">8<"))).with_answer("It is 7.", []);
        assert_ne!(other_result.exact, looped.exact, "the exact key tells results apart");
        // Function mode: tool calls and results are fields of their own.
        let function = history(
            r#"[{"role":"user","content":"q"},{"role":"assistant","content":"I look.","tool_calls":[{"id":"1","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"1","content":"7"}]"#,
        );
        assert_eq!(function.with_answer("It is 7.", []).without_tools, shown.without_tools);
        assert_eq!(function.questions, 1);
        // An answer that is nothing but a tool call is not shown at all.
        let silent = history(
            r#"[{"role":"user","content":"q"},{"role":"assistant","content":"<tool_use>x</tool_use>"},{"role":"user","content":"<tool_use_result>7</tool_use_result>"}]"#,
        );
        let shown = last(
            r#"[{"role":"user","content":"q"},{"role":"assistant","content":"It is 7."},{"role":"user","content":"next"}]"#,
        );
        assert_eq!(silent.with_answer("It is 7.", []).without_tools, shown.without_tools);
    }

    #[test]
    fn ends_are_compared_by_their_words() {
        let history = history(BASE);
        for (one, other) in [
            ("**Hello**  world\n", "Hello world"),
            ("a &lt;b&gt; &amp; c", "a <b> & c"),
            ("Done \u{2728}", "Done"),
            ("x<tool_use>y</tool_use>", "x"),
            ("It is so[[1]][[23]].", "It is so."),
        ] {
            assert_eq!(history.second_chance(one), history.second_chance(other), "{one}");
        }
        for (one, other) in [("Hello", "hello"), ("[[a]]", "a"), ("[[]]", "")] {
            assert_ne!(history.second_chance(one), history.second_chance(other), "{one}");
        }
        assert_eq!(history.second_chance(" * "), SecondChance::default());
    }

    #[test]
    fn an_end_is_a_question_with_its_answer_and_long_answers_by_themselves() {
        let of = |messages: &str, answer: &str| history(messages).second_chance(answer);
        let question = |text: &str| {
            format!(
                r#"[{{"role":"user","content":"{text}"}},{{"role":"assistant","content":"x"}},{{"role":"user","content":"y"}}]"#
            )
        };
        assert_eq!(of(&question("q"), "a"), of(&question(" **q** "), "a"));
        assert_ne!(of(&question("q"), "a").pair, of(&question("r"), "a").pair);
        assert_ne!(of(&question("q"), "a").pair, of(&question("q"), "b").pair);
        let almost = "\u{4e2d}".repeat(IDENTIFYING - 1);
        assert_eq!(of(&question("q"), &almost).answer, None);
        let long = format!("{almost}.");
        let answer = of(&question("q"), &long).answer;
        assert!(answer.is_some() && answer == of(&question("r"), &long).answer);
        assert_eq!(of(r#"[{"role":"assistant","content":"x"},{"role":"user","content":"y"}]"#, "a").pair, None);
        // What is recorded with an answer is what is looked for with it in the history.
        let asked = history(r#"[{"role":"system","content":"s"},{"role":"user","content":"q"}]"#);
        assert_eq!(asked.second_chance_with(&long), of(&question("q"), &long));
    }
}
