//! Cutting an answer at a stop text, also when the text comes in several deltas.

/// Holds back only what may be the beginning of a stop text.
#[derive(Debug, Default)]
pub(in crate::chat) struct StopFilter {
    stops: Vec<String>,
    held: String,
    /// The stop text that was hit, by its place in `stops`.
    hit: Option<usize>,
}

impl StopFilter {
    /// A filter for these texts; empty ones are ignored.
    pub(in crate::chat) fn new(stops: Vec<String>) -> Self {
        Self { stops: stops.into_iter().filter(|stop| !stop.is_empty()).collect(), held: String::new(), hit: None }
    }

    /// Takes a delta and hands out what is surely part of the answer. `true` = a stop text was hit, and nothing may follow.
    pub(in crate::chat) fn push(&mut self, delta: &str, mut each: impl FnMut(&str)) -> bool {
        if self.stops.is_empty() {
            each(delta);
            return false;
        }
        self.held.push_str(delta);
        if let Some((at, hit)) = first_hit(&self.stops, &self.held) {
            self.hit = Some(hit);
            self.held.truncate(at);
            let rest = std::mem::take(&mut self.held);
            if !rest.is_empty() {
                each(&rest);
            }
            return true;
        }
        let kept = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let (sure, held) = self.held.split_at(self.held.len().saturating_sub(kept));
        if !sure.is_empty() {
            each(sure);
        }
        self.held = held.to_owned();
        false
    }

    /// The stop text that was hit.
    pub(in crate::chat) fn hit(&self) -> Option<&str> {
        self.stops.get(self.hit?).map(String::as_str)
    }

    /// The answer has ended by itself: what was held back belongs to it.
    pub(in crate::chat) fn flush(&mut self, mut each: impl FnMut(&str)) {
        let rest = std::mem::take(&mut self.held);
        if !rest.is_empty() {
            each(&rest);
        }
    }
}

/// Where the stop text begins that is complete first, and which one it is. Going by completion makes the cut independent of the deltas' bounds.
fn first_hit(stops: &[String], text: &str) -> Option<(usize, usize)> {
    stops
        .iter()
        .enumerate()
        .filter_map(|(stop, word)| text.find(word.as_str()).map(|at| (at.saturating_add(word.len()), at, stop)))
        .min()
        .map(|(_, at, stop)| (at, stop))
}

/// The length of the longest end of `text` that is a beginning of `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    stop.char_indices()
        .map(|(at, _)| at)
        .filter(|at| *at > 0)
        .rev()
        .find(|at| stop.get(..*at).is_some_and(|head| text.ends_with(head)))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(stops: &[&str], deltas: &[&str]) -> (String, bool) {
        let mut filter = StopFilter::new(stops.iter().map(|stop| (*stop).to_owned()).collect());
        let mut out = String::new();
        for delta in deltas {
            if filter.push(delta, |text| out.push_str(text)) {
                return (out, true);
            }
        }
        filter.flush(|text| out.push_str(text));
        (out, false)
    }

    #[test]
    fn the_first_hit_ends_the_answer() {
        for (stops, deltas, text, hit) in [
            (&["END"][..], &["abcEND", "x"][..], "abc", true),
            (&["END"], &["abcE", "N", "D", "x"], "abc", true),
            (&["END"], &["abcE", "N", "x"], "abcENx", false),
            (&["END"], &["abcEN"], "abcEN", false),
            (&["b", "abc"], &["xab", "c"], "xa", true),
            (&["abc", "bc"], &["xab", "c"], "x", true),
            (&["\n\n"], &["a\n", "b\n", "\nc"], "a\nb", true),
            (&["\u{4e2d}\u{6587}"], &["a\u{4e2d}", "\u{6587}b"], "a", true),
            (&["\u{4e2d}\u{6587}"], &["a\u{4e2d}", "b"], "a\u{4e2d}b", false),
            (&["aab"], &["aaab"], "a", true),
            (&["aab"], &["a", "a", "a", "b"], "a", true),
            (&[""], &["abc"], "abc", false),
            (&["x"], &["x"], "", true),
        ] {
            assert_eq!(run(stops, deltas), (text.to_owned(), hit), "{stops:?} {deltas:?}");
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_text(text in "[ab\u{e9}]{0,24}", stops in proptest::collection::vec("[ab\u{e9}]{1,4}", 1..4), cuts in proptest::collection::vec(0_usize..25, 0..6)) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let boundaries: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| boundaries[cut % boundaries.len()]).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let deltas: Vec<&str> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            let owned: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
            let hit = first_hit(&owned, &text);
            let expected = (text[..hit.map_or(text.len(), |(at, _)| at)].to_owned(), hit.is_some());
            prop_assert_eq!(run(&stops, &deltas), expected);
        }
    }
}
