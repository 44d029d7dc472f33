//! What is asked of the upstream for one request.

use crate::{
    digest::{key, link},
    llm::Ratio,
    upstream::{FileEntry, Owner},
};

/// Pictures to be drawn.
#[derive(Clone, Debug)]
pub struct Order {
    /// For whom.
    pub owner: Owner,
    /// What requests have in common that are the same, as [`request_key`] returns it.
    pub key: String,
    /// Whether to draw anew although the same was drawn a short while ago.
    pub is_fresh: bool,
    /// The upstream id of the text model that carries the request.
    pub text_model: String,
    /// The upstream's name of the image model; `None` = its default.
    pub image_model: Option<String>,
    /// The shape.
    pub ratio: Option<Ratio>,
    /// What to draw.
    pub prompt: String,
    /// The pictures to draw from.
    pub files: Vec<FileEntry>,
    /// How many; one chat each.
    pub count: usize,
    /// The chat and the answer in it to go on from, if an earlier picture is to be changed.
    pub node: Option<(String, Option<String>)>,
    /// Whether the chat is one that began with pictures of the client's. The upstream has two types of chats for pictures, and
    /// each message has the type of its chat.
    pub is_edit: bool,
}

/// The digest of a request for pictures: of all that decides what is drawn. `parts` are its texts, in a fixed order, with a
/// fixed number before those whose number varies.
#[must_use]
pub fn request_key<'a>(scope: &str, parts: impl IntoIterator<Item = &'a str>) -> String {
    let whole = link([0; 32], b'd', scope.as_bytes());
    key(parts.into_iter().fold(whole, |before, part| link(before, b'p', part.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_and_its_place_counts() {
        let all = [
            request_key("s", ["a", "b"]),
            request_key("s", ["b", "a"]),
            request_key("s", ["ab", ""]),
            request_key("s", ["ab"]),
            request_key("sa", ["b"]),
            request_key("t", ["a", "b"]),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one));
        }
    }
}
