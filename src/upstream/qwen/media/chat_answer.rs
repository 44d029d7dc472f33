//! The newest answer of a chat, read back from the chat's detail: what a lost stream was about.

use serde_json::Value as Json;

use super::{
    drawing::{DrawnPicture, FilmTask},
    task,
};
use crate::upstream::qwen::pictures::{Pictures, is_link};

/// How many messages are looked at.
const MAX_MESSAGES: usize = 10_000;

/// Which answer of a chat is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WantedAnswer<'a> {
    /// The newest, unless it is this node, which was there before.
    After(Option<&'a str>),
    /// The one of this node.
    Node(&'a str),
}

/// An answer in a chat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatAnswer {
    /// Its node.
    pub response_id: String,
    /// The site's links to the pictures or the video in it.
    pub links: Vec<DrawnPicture>,
    /// The task that makes its video.
    pub task: Option<FilmTask>,
    /// Whether it has ended.
    pub is_finished: bool,
}

impl ChatAnswer {
    /// The pictures that are none of `echoes`, the links that came with the question.
    #[must_use]
    pub fn pictures<'a>(&self, echoes: impl IntoIterator<Item = &'a str>) -> Vec<DrawnPicture> {
        let mut pictures = Pictures::default();
        pictures.expect_echoes(echoes);
        let mut all: Vec<DrawnPicture> =
            self.links.iter().filter(|drawn| pictures.take(&drawn.link, None)).cloned().collect();
        all.extend(pictures.end().into_iter().map(|(link, size)| DrawnPicture { link, size }));
        all
    }
}

/// Reads a chat's detail. The outer `None` = it is none; the inner = it has no such answer.
#[expect(clippy::option_option, reason = "two different absences")]
pub(super) fn read(json: &Json, wanted: WantedAnswer<'_>) -> Option<Option<ChatAnswer>> {
    let data = json.get("data").filter(|_| json.get("success") != Some(&Json::Bool(false)))?;
    let chat = data.get("chat").filter(|chat| chat.is_object())?;
    let mapped = chat.pointer("/history/messages").and_then(Json::as_object);
    let listed = chat.get("messages").and_then(Json::as_array);
    let nodes = || {
        let mapped = mapped.into_iter().flatten().map(|(id, node)| (id.as_str(), node));
        let listed = listed.into_iter().flatten().filter_map(|node| Some((node.get("id")?.as_str()?, node)));
        mapped.chain(listed).take(MAX_MESSAGES)
    };
    let text = |json: &Json, place: &str| json.pointer(place).and_then(Json::as_str).map(str::to_owned);
    let current = text(data, "/currentId").or_else(|| text(chat, "/history/currentId"));
    let is_answer = |node: &Json| node.get("role").is_some_and(|role| role == "assistant");
    // The list repeats nodes, at times with more of them than the map has.
    let with_id = |id: &str| nodes().filter(|(known, node)| *known == id && is_answer(node)).last();
    let newest = || nodes().filter(|(_, node)| is_answer(node)).max_by_key(|(_, node)| stamp(node));
    let found = match wanted {
        WantedAnswer::Node(id) => with_id(id),
        WantedAnswer::After(parent) => {
            current.as_deref().and_then(with_id).or_else(newest).filter(|(id, _)| Some(*id) != parent)
        }
    };
    Some(found.map(|(id, node)| answer(id, node)))
}

/// When a message was made; the later of two without a time is the later in the list.
fn stamp(node: &Json) -> u64 {
    node.get("timestamp").and_then(Json::as_u64).unwrap_or(0)
}

fn answer(id: &str, node: &Json) -> ChatAnswer {
    let mut links = Vec::new();
    let mut take = |link: Option<&Json>| {
        if let Some(link) = link.and_then(Json::as_str).filter(|link| is_link(link)) {
            links.push(DrawnPicture { link: link.to_owned(), size: None });
        }
    };
    take(node.get("content"));
    let pieces = || node.get("content_list").and_then(Json::as_array).into_iter().flatten();
    for piece in pieces() {
        take(piece.get("content"));
        for list in ["/extra/image_list", "/extra/tool_result"] {
            for entry in piece.pointer(list).and_then(Json::as_array).into_iter().flatten() {
                take(entry.get("image"));
            }
        }
    }
    let is_done = node.get("done") == Some(&Json::Bool(true));
    let has_ended = pieces().last().and_then(|piece| piece.get("status")).is_some_and(|status| status == "finished");
    ChatAnswer { response_id: id.to_owned(), links, task: task::of_message(node), is_finished: is_done || has_ended }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LINK: &str = "https://cdn.example/output/u/t2i/r/7001.png?key=k";

    fn links(answer: Option<Option<ChatAnswer>>) -> Vec<String> {
        answer.unwrap().unwrap().pictures([]).into_iter().map(|drawn| drawn.link).collect()
    }

    #[test]
    fn the_pictures_of_the_newest_answer_are_found() {
        let user = json!({ "id": "u", "role": "user", "parentId": null, "content": "a kite" });
        let drawn = json!({ "id": "r", "role": "assistant", "parentId": "u", "content": "", "extra": null,
            "content_list": [{ "content": LINK, "phase": "image_gen", "status": "finished" }] });
        let mapped = json!({ "success": true, "data": { "currentId": "r", "chat": { "history": { "messages": { "u": user, "r": drawn } } } } });
        assert_eq!(links(read(&mapped, WantedAnswer::After(None))), [LINK]);
        assert_eq!(links(read(&mapped, WantedAnswer::After(Some("before")))), [LINK]);
        assert_eq!(read(&mapped, WantedAnswer::After(Some("r"))), Some(None), "the answer before");
        let listed = json!({ "data": { "chat": { "messages": [user, drawn] } } });
        assert_eq!(links(read(&listed, WantedAnswer::Node("r"))), [LINK], "without currentId");
        let only_asked = json!({ "data": { "currentId": "u", "chat": { "messages": [user] } } });
        assert_eq!(read(&only_asked, WantedAnswer::After(None)), Some(None));
        for other in [json!([]), json!({}), json!({ "success": false, "data": { "chat": {} } }), json!({ "data": 5 })] {
            assert_eq!(read(&other, WantedAnswer::After(None)), None, "{other}");
        }
    }

    #[test]
    fn echoes_and_previews_do_not_count_and_the_end_is_seen() {
        let node = json!({ "id": "r", "role": "assistant", "done": true, "content": "", "content_list": [
            { "content": "https://oss.example/u/sea.png?sig=2", "status": "typing" },
            { "content": LINK, "status": "typing" },
            { "content": "", "status": "typing", "extra": { "image_list": [{ "image": "https://cdn.example/output/u/image_gen/r/7001.png?key=k" }] } },
        ] });
        let detail = json!({ "data": { "currentId": "r", "chat": { "messages": [node] } } });
        let answer = read(&detail, WantedAnswer::After(None)).unwrap().unwrap();
        assert!(answer.is_finished);
        let left = answer.pictures(["https://oss.example/u/sea.png?sig=1"]);
        assert_eq!(left.len(), 1);
        assert!(left[0].link.contains("/image_gen/"));
    }

    #[test]
    fn a_videos_task_is_found() {
        let node = json!({ "id": "r", "role": "assistant", "content": "", "extra": { "wanx": { "task_id": "t-9" } } });
        let detail = json!({ "data": { "currentId": "r", "chat": { "history": { "messages": { "r": node } } } } });
        let answer = read(&detail, WantedAnswer::After(None)).unwrap().unwrap();
        assert_eq!(answer.task.unwrap().task_id, "t-9");
        assert!(!answer.is_finished);
    }
}
