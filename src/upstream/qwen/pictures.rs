//! The pictures of an answer: which of the links in it are pictures that the model drew.
//!
//! Of one picture a preview under `/t2i/` and a final one under another name may come; then the final one counts. In chats that
//! only draw, `/t2i/` is the final one. The links of pictures that came with the question may be repeated with another query
//! (docs/upstream-protocol.md, 8.1 and 8.2).

use std::collections::HashSet;

/// The most pictures of one answer. The site draws one, or as many as a prompt asks for.
const MAX_PICTURES: usize = 50;
/// The longest link. Its key has some hundred bytes.
const MAX_LINK: usize = 4096;
/// The folder of what may be a preview.
const PREVIEW: &str = "/t2i/";
/// How the names of pictures end.
const EXTENSIONS: &[&str] = &[".png", ".jpg", ".jpeg", ".webp", ".gif"];

/// A link to a picture, and its width and height in pixels when known.
type Drawn = (String, Option<(u32, u32)>);

/// What is known of an answer's pictures.
#[derive(Debug, Default)]
pub(super) struct Pictures {
    /// What counts of the links that are known, so that none comes twice.
    known: HashSet<String>,
    /// What may be previews.
    kept: Vec<Drawn>,
}

impl Pictures {
    /// The answer may repeat these links.
    pub(super) fn expect_echoes<'a>(&mut self, links: impl IntoIterator<Item = &'a str>) {
        self.known.extend(links.into_iter().map(|link| place(link).to_owned()));
    }

    /// Takes a link. Returns whether it is a picture to hand on now.
    pub(super) fn take(&mut self, link: &str, size: Option<(u32, u32)>) -> bool {
        if self.known.len() >= MAX_PICTURES || !self.known.insert(place(link).to_owned()) {
            return false;
        }
        if place(link).contains(PREVIEW) {
            self.kept.push((link.to_owned(), size));
            return false;
        }
        if !self.kept.is_empty() {
            // The oldest preview is that of the oldest final picture.
            self.kept.remove(0);
        }
        true
    }

    /// No further final picture comes: what is kept back are no previews.
    pub(super) fn end(&mut self) -> Vec<Drawn> {
        std::mem::take(&mut self.kept)
    }
}

/// What identifies a link: host and path, without the key.
fn place(link: &str) -> &str {
    let link = link.split(['?', '#']).next().unwrap_or(link);
    link.split_once("://").map_or(link, |(_, rest)| rest)
}

/// Whether a text is a link: a URL, or a relative path to a picture.
pub(super) fn is_link(text: &str) -> bool {
    if text.is_empty() || text.len() > MAX_LINK || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return false;
    }
    let lower = text.to_ascii_lowercase();
    lower.starts_with("https://")
        || lower.starts_with("http://")
        || EXTENSIONS.iter().any(|extension| place(&lower).ends_with(extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed_on(echoes: &[&str], links: &[&str]) -> Vec<String> {
        let mut pictures = Pictures::default();
        pictures.expect_echoes(echoes.iter().copied());
        let mut all: Vec<String> =
            links.iter().filter(|link| pictures.take(link, None)).map(|link| (*link).to_owned()).collect();
        all.extend(pictures.end().into_iter().map(|(link, _)| link));
        all
    }

    #[test]
    fn of_preview_and_final_the_final_counts() {
        const A: &str = "https://cdn/output/u/t2i/r/1.png?key=a";
        const B: &str = "https://cdn/output/u/t2i/r/2.png?key=a";
        const FINAL_A: &str = "https://cdn/output/u/image_gen/r/1.png?key=a";
        const FINAL_B: &str = "https://cdn/output/u/image_edit/r/2.png?key=a";
        for (links, expected) in [
            (&[A][..], &[A][..]),
            (&[A, A], &[A]),
            (&[A, "https://cdn/output/u/t2i/r/1.png?key=other"], &[A]),
            (&[A, B], &[A, B]),
            (&[A, FINAL_A], &[FINAL_A]),
            (&[A, B, FINAL_A, FINAL_B], &[FINAL_A, FINAL_B]),
            (&[A, FINAL_A, B, FINAL_B], &[FINAL_A, FINAL_B]),
            (&[A, B, FINAL_A], &[FINAL_A, B]),
            (&[FINAL_A], &[FINAL_A]),
        ] {
            assert_eq!(handed_on(&[], links), expected, "{links:?}");
        }
    }

    #[test]
    fn what_came_with_the_question_is_no_picture() {
        let echo = "https://qwen.oss.example/u/6_sea.png?x-oss-signature=2";
        let drawn = "https://cdn/output/u/image_edit/r/2.png?key=a";
        assert_eq!(handed_on(&["https://qwen.oss.example/u/6_sea.png?x-oss-signature=1"], &[echo, drawn]), [drawn]);
        assert_eq!(handed_on(&[], &[echo, drawn]), [echo, drawn]);
    }

    #[test]
    fn links_are_told_from_text() {
        for text in ["https://a/b", "http://a", "HTTPS://A", "output/7001.png?key=x", "/a/b.JPG", "c.webp"] {
            assert!(is_link(text), "{text}");
        }
        for text in ["", "Sorry, not possible.", "no", "https://a b", "\u{751f}.png", &"a".repeat(5000)] {
            assert!(!is_link(text), "{text}");
        }
    }
}
