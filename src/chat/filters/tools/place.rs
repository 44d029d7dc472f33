//! The reader's place in the answer, which decides what is done next with the text that it holds.

use super::{
    call::Call,
    code::Code,
    marker::{self, Marker, Not},
    markup::Found,
    payload::{self, Payload},
    toolset::ToolSet,
};

/// The largest call, in bytes.
pub(super) const MAX_CALL: usize = 1024 * 1024;
/// How much white space, and how long a fence's beginning, is kept back, in bytes.
pub(super) const MAX_BLANKS: usize = 64;

/// A place in the answer.
#[derive(Debug)]
pub(super) enum Place {
    Plain,
    Call(Call),
    /// After a call. `is_open`: its end marker has not come.
    After {
        is_open: bool,
    },
    /// Within `<think>`.
    Thinking,
    /// In the white space behind it.
    Thought,
}

/// The text that nothing is decided about yet, and what it stands in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held<'a> {
    pub(super) text: &'a str,
    /// Whether nothing follows it.
    pub(super) has_ended: bool,
    /// The state at its beginning.
    pub(super) code: &'a Code,
    /// Whether text stands in front of it.
    pub(super) has_text: bool,
    pub(super) tools: &'a ToolSet,
}

/// What is done with the beginning of the held text.
pub(super) enum Step {
    /// So many bytes are text.
    Text(usize),
    /// So many bytes are thinking.
    Reasoning(usize),
    /// So many bytes are left out.
    Skip(usize),
    /// So many bytes are left out, and thinking follows.
    Think(usize),
    /// So many bytes end a call.
    End(usize),
    /// A call begins; whether it stands in code.
    Call(Call, bool),
    /// The call is over after so many bytes.
    Over(usize, Payload),
    /// What follows is nothing that may follow.
    Guard,
    /// More has to come.
    More,
}

impl Place {
    /// The next step.
    pub(super) fn step(&mut self, held: &Held<'_>) -> Step {
        let Held { text, has_ended, tools, .. } = *held;
        match self {
            Self::Plain => held.plain(),
            Self::Thinking => {
                let step = thinking(text, has_ended);
                if let Step::Skip(_) = step {
                    *self = Self::Thought;
                }
                step
            }
            Self::Thought => {
                let blanks = text.len().saturating_sub(text.trim_start().len());
                if blanks < text.len() {
                    *self = Self::Plain;
                }
                if text.is_empty() { Step::More } else { Step::Skip(blanks) }
            }
            Self::After { is_open } => after(text, *is_open, has_ended),
            Self::Call(call) => {
                // However it is split, the same of a call that is too long is looked at.
                let most = text.floor_char_boundary(MAX_CALL);
                let (head, rest) = text.split_at_checked(most).unwrap_or((text, ""));
                match call.read(head, has_ended && rest.is_empty(), tools) {
                    Found::Over(length, payload) => Step::Over(length, payload),
                    Found::More if !rest.is_empty() => Step::Over(most, Payload::Unreadable),
                    Found::More => Step::More,
                }
            }
        }
    }
}

impl Held<'_> {
    /// In plain text.
    fn plain(&self) -> Step {
        let Self { text: held, has_ended, .. } = *self;
        let trimmed = held.trim_start();
        let (blanks, _) = held.split_at_checked(held.len().saturating_sub(trimmed.len())).unwrap_or_default();
        if trimmed.is_empty() && has_ended && !held.is_empty() {
            return Step::Text(held.len());
        }
        // Of much white space only the end is kept back.
        if let Some(most) = blanks.len().checked_sub(MAX_BLANKS).filter(|most| *most > 0) {
            return Step::Text(blanks.ceil_char_boundary(most));
        }
        if trimmed.is_empty() {
            return Step::More;
        }
        let code = self.code.after(blanks);
        let is_first = !self.has_text;
        if trimmed.starts_with('`') {
            return self.backticks(trimmed, blanks.len(), &code);
        }
        if marker::candidate(trimmed) == Some(0) {
            let at_line_start = code.is_line_start();
            match marker::marker(trimmed, at_line_start) {
                Ok(marker @ (Marker::Json { .. } | Marker::Tags { .. })) => {
                    return Step::Call(Call::new(marker, blanks.len()), code.is_code());
                }
                Ok(Marker::End { length }) if !code.is_code() => {
                    return Step::Skip(blanks.len().saturating_add(length));
                }
                Ok(Marker::Result) if !code.is_code() && at_line_start => return Step::Guard,
                Ok(Marker::Think { length }) if is_first => {
                    return Step::Think(blanks.len().saturating_add(length));
                }
                Err(Not::Yet) if !has_ended => return Step::More,
                Err(Not::Yet) if at_line_start && !code.is_code() && marker::is_cut(trimmed) => {
                    return Step::Over(held.len(), Payload::Cut);
                }
                _ => {}
            }
        }
        if is_first && trimmed.starts_with(['{', '\u{FF5B}']) {
            match payload::may_be_call(trimmed, self.tools) {
                Some(true) => return Step::Call(Call::bare(blanks.len()), false),
                None if !has_ended => return Step::More,
                _ => {}
            }
        }
        // Up to what may be a marker, without the white space before that.
        let first = trimmed.chars().next().map_or(0, char::len_utf8);
        let rest = trimmed.get(first..).unwrap_or_default();
        let sure = rest.get(..marker::candidate(rest).unwrap_or(rest.len())).unwrap_or(rest);
        let sure = if has_ended && sure.len() == rest.len() { sure } else { sure.trim_end() };
        Step::Text(blanks.len().saturating_add(first).saturating_add(sure.len()))
    }

    /// Backticks: inline code, or a fence. Before a call a fence belongs to it.
    fn backticks(&self, text: &str, blanks: usize, code: &Code) -> Step {
        let has_ended = self.has_ended;
        // A longer run counts as several.
        let most = text.floor_char_boundary(MAX_BLANKS.saturating_add(1));
        let run = text.bytes().take(most).take_while(|byte| *byte == b'`').count();
        let rest = text.get(run..).unwrap_or_default();
        let whole = |length: usize| Step::Text(blanks.saturating_add(run).saturating_add(length));
        if rest.is_empty() && !has_ended && run <= MAX_BLANKS {
            return Step::More;
        }
        if run < 3 || !code.is_line_start() || code.is_fence() {
            return whole(0);
        }
        // A fence that opens: its language and a line end, then perhaps a call.
        let Some((language, inside)) = rest.split_once('\n') else {
            return if has_ended || rest.len() > MAX_BLANKS { whole(0) } else { Step::More };
        };
        if language.len() > MAX_BLANKS || language.contains('`') {
            return whole(0);
        }
        let trimmed = inside.trim_start();
        let begin = blanks.saturating_add(text.len().saturating_sub(trimmed.len()));
        if inside.len().saturating_sub(trimmed.len()) > MAX_BLANKS {
            return whole(language.len().saturating_add(1));
        }
        if trimmed.is_empty() && !has_ended {
            return Step::More;
        }
        if !trimmed.starts_with('`') && marker::candidate(trimmed) == Some(0) {
            match marker::marker(trimmed, true) {
                Ok(marker @ (Marker::Json { .. } | Marker::Tags { .. })) => {
                    return Step::Call(Call::new(marker, begin), true);
                }
                Err(Not::Yet) if !has_ended => return Step::More,
                _ => {}
            }
        }
        if !self.has_text && trimmed.starts_with('{') {
            match payload::may_be_call(trimmed, self.tools) {
                Some(true) => return Step::Call(Call::bare(begin), true),
                None if !has_ended => return Step::More,
                _ => {}
            }
        }
        whole(language.len().saturating_add(1))
    }
}

/// Within `<think>`: everything up to its end, which alone is left out.
fn thinking(held: &str, has_ended: bool) -> Step {
    const END: &str = "</think>";
    match held.find(END) {
        Some(0) => return Step::Skip(END.len()),
        Some(end) => return Step::Reasoning(end),
        None => {}
    }
    let begins_end = |at: &usize| *at > 0 && END.get(..*at).is_some_and(|head| held.ends_with(head));
    let kept = if has_ended { None } else { (1..END.len()).rev().find(begins_end) };
    match held.len().saturating_sub(kept.unwrap_or(0)) {
        0 => Step::More,
        length => Step::Reasoning(length),
    }
}

/// After a call: white space, closers, its end, another call. `is_open`: its end marker has not come.
fn after(held: &str, is_open: bool, has_ended: bool) -> Step {
    let is_left_out =
        |character: char| character.is_whitespace() || matches!(character, '}' | '\u{FF5D}' | ',' | ';' | '`');
    let Some(first) = held.chars().next() else { return Step::More };
    if is_left_out(first) {
        return Step::Skip(held.len().saturating_sub(held.trim_start_matches(is_left_out).len()));
    }
    if marker::candidate(held) == Some(0) {
        match marker::marker(held, true) {
            Ok(Marker::End { length }) => return Step::End(length),
            Ok(marker @ (Marker::Json { .. } | Marker::Tags { .. })) => return Step::Call(Call::new(marker, 0), false),
            Err(Not::Yet) if !has_ended => return Step::More,
            Err(Not::Yet) => return Step::Skip(held.len()),
            _ => {}
        }
    }
    match first {
        '{' if is_open => Step::Call(Call::bare(0), false),
        ']' => Step::Skip(1),
        _ => Step::Guard,
    }
}
