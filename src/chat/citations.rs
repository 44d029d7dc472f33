//! Where an answer cites its sources.

use crate::llm::{Citation, Source};

/// The longest number in a mark, in digits.
const MAX_CITATION_DIGITS: usize = 6;

/// The sources in the order of their marks, each with the place of its first `[[n]]` in the text, counted in characters.
pub(super) fn citations(content: &str, sources: &[Source]) -> Vec<Citation> {
    if sources.is_empty() {
        return Vec::new();
    }
    let mut marks: Vec<Option<(usize, usize)>> = vec![None; sources.len()];
    // One walk over the text, however many sources there are.
    let (mut rest, mut characters) = (content, 0_usize);
    while let Some((before, inside)) = rest.split_once("[[") {
        let start = characters.saturating_add(before.chars().count());
        let digits = inside.bytes().take_while(u8::is_ascii_digit).count().min(MAX_CITATION_DIGITS);
        let (number, after) = inside.split_at_checked(digits).unwrap_or((inside, ""));
        let index = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        (rest, characters) = match after.strip_prefix("]]") {
            Some(after) if digits > 0 && !number.starts_with('0') => {
                let end = start.saturating_add(digits).saturating_add(4);
                if let Some(mark) = index.and_then(|index| marks.get_mut(index)) {
                    mark.get_or_insert((start, end));
                }
                (after, end)
            }
            // The second bracket may begin a mark.
            _ => (rest.get(before.len().saturating_add(1)..).unwrap_or_default(), start.saturating_add(1)),
        };
    }
    let citation = |(source, mark): (&Source, Option<(usize, usize)>)| {
        let (start, end) = mark.unwrap_or_default();
        Citation { url: source.url.clone(), title: source.title.clone(), start, end }
    };
    sources.iter().zip(marks).map(citation).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_found_by_their_marks() {
        let sources: Vec<Source> =
            (1..=12).map(|number| Source { url: format!("u{number}"), title: String::new() }).collect();
        for (content, expected) in [
            ("", vec![]),
            ("a[[1]]b[[2]]c[[1]]", vec![(1, 1, 6), (2, 7, 12)]),
            ("\u{4e2d}\u{1F600}[[12]]", vec![(12, 2, 8)]),
            ("[[[3]] [[x]] [[ [[]] [[0]] [[01]] [[13]] [[99999999999999999999]] [[4]", vec![(3, 1, 6)]),
        ] {
            let found: Vec<(usize, usize, usize)> = citations(content, &sources)
                .iter()
                .enumerate()
                .filter(|(_, citation)| citation.end > 0)
                .map(|(index, citation)| (index + 1, citation.start, citation.end))
                .collect();
            assert_eq!(found, expected, "{content}");
        }
    }
}
