//! Whether text is in code: in a fence, or between backticks.

/// The state at the end of the text that was handed out.
#[derive(Clone, Debug, Default)]
pub(super) struct Code {
    /// Whether the line has anything but white space.
    line_has_text: bool,
    /// How many backticks opened the fence; 0 = none is open.
    fence: usize,
    /// Whether an odd number of backticks stands in the line.
    is_inline: bool,
}

impl Code {
    /// Goes on behind this text. Runs of backticks are never split.
    pub(super) fn pass(&mut self, text: &str) {
        let mut rest = text;
        while let Some(at) = memchr::memchr2(b'\n', b'`', rest.as_bytes()) {
            let (before, after) = rest.split_at_checked(at).unwrap_or((rest, ""));
            self.line_has_text |= !before.trim_start().is_empty();
            if let Some(next) = after.strip_prefix('\n') {
                (self.line_has_text, self.is_inline) = (false, false);
                rest = next;
                continue;
            }
            let next = after.trim_start_matches('`');
            self.backticks(after.len().saturating_sub(next.len()));
            rest = next;
        }
        self.line_has_text |= !rest.trim_start().is_empty();
    }

    fn backticks(&mut self, run: usize) {
        let is_fence = run >= 3 && !self.line_has_text;
        match (is_fence, self.fence) {
            (true, 0) => self.fence = run,
            (true, open) if run >= open => self.fence = 0,
            (false, 0) => self.is_inline = !self.is_inline,
            _ => {}
        }
        self.line_has_text = true;
    }

    /// The state behind some white space more.
    pub(super) fn after(&self, blanks: &str) -> Self {
        let mut after = self.clone();
        after.pass(blanks);
        after
    }

    /// Whether nothing but white space stands in the line.
    pub(super) fn is_line_start(&self) -> bool {
        !self.line_has_text
    }

    /// Whether a fence is open.
    pub(super) fn is_fence(&self) -> bool {
        self.fence > 0
    }

    /// Whether text is code.
    pub(super) fn is_code(&self) -> bool {
        self.is_fence() || self.is_inline
    }
}
