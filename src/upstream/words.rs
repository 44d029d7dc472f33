//! What an upstream says of its refusals.

/// The most of it that is passed on, in bytes.
const MAX_WORDS: usize = 300;

/// An upstream's own words, made safe to pass on: one line, of a bounded length.
pub(in crate::upstream) fn words(text: &str) -> String {
    let mut words = String::new();
    for character in text.chars().filter(|character| !character.is_control()) {
        if words.len() >= MAX_WORDS {
            words.push('…');
            break;
        }
        words.push(character);
    }
    words
}
