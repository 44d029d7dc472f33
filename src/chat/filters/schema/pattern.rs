//! Regular expressions, in time linear in the text.

use super::values::shown;
use regex_lite::{Regex, RegexBuilder};

/// The sizes in bytes that an expression may have when it is ready for use, and what it costs to match one byte of text, in steps.
/// Of a larger one the time would be too long.
const SIZES: [(usize, u64); 3] = [(2 * 1024, 1), (16 * 1024, 8), (64 * 1024, 32)];
/// What it costs to begin, in bytes of text.
const BEGIN: u64 = 8;

/// A regular expression of a schema.
#[derive(Debug)]
pub(super) struct Pattern {
    regex: Regex,
    weight: u64,
    /// Its beginning as a person reads it.
    pub(super) shown: String,
}

impl Pattern {
    /// Reads an expression. Returns `None` if it is wrong, too large, or needs what cannot be matched in linear time.
    pub(super) fn new(source: &str) -> Option<Self> {
        SIZES.iter().find_map(|(size, weight)| {
            let regex = RegexBuilder::new(source).size_limit(*size).build().ok()?;
            Some(Self { regex, weight: *weight, shown: shown(source, 60) })
        })
    }

    /// What it costs to look at a text, in steps.
    pub(super) fn cost(&self, text: &str) -> u64 {
        u64::try_from(text.len()).unwrap_or(u64::MAX).saturating_add(BEGIN).saturating_mul(self.weight)
    }

    /// Whether the expression matches some part of the text.
    pub(super) fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}
