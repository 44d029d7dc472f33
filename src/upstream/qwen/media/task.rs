//! The state of a video in the making, as either route reports it.

use serde_json::Value as Json;

use super::drawing::FilmTask;
use crate::upstream::qwen::{ids, pictures::is_link};

/// The state of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// It runs, or is in a state that is not known.
    Running,
    /// It is done: the site's link to the video, empty where it names none. Never for clients or logs: it holds the account's
    /// id.
    Done(String),
    /// It has failed, for this reason; the reason may be empty.
    Failed(String),
    /// The site does not know the task.
    Unknown,
}

/// The places of a task's id, the usual one first.
const TASK_IDS: &[&str] = &[
    "/data/messages/0/extra/wanx/task_id",
    "/data/extra/wanx/task_id",
    "/data/task_id",
    "/data/taskId",
    "/data/output/task_id",
    "/data/result/taskId",
    "/task_id",
    "/taskId",
];

/// The words for a state that is an end, in lower case.
const DONE: &[&str] = &["success", "succeeded", "completed"];
const FAILED: &[&str] = &["failed", "error", "canceled", "cancelled"];

fn text<'a>(json: &'a Json, places: &[&str]) -> Option<&'a str> {
    places.iter().filter_map(|place| json.pointer(place)?.as_str()).find(|text| !text.is_empty())
}

/// The task that the site began; `None` when its answer names none.
pub(super) fn begun(json: &Json) -> Option<FilmTask> {
    let id = |places: &[&str]| text(json, places).filter(|id| ids::is_id(id)).map(str::to_owned);
    Some(FilmTask { task_id: id(TASK_IDS)?, response_id: id(&["/data/message_id"]).unwrap_or_default() })
}

/// The task of a message in a chat's detail.
pub(super) fn of_message(message: &Json) -> Option<FilmTask> {
    let task_id = text(message, &["/extra/wanx/task_id"]).filter(|id| ids::is_id(id))?;
    let response_id = text(message, &["/id"]).unwrap_or_default();
    Some(FilmTask { task_id: task_id.to_owned(), response_id: response_id.to_owned() })
}

/// Reads the answer of either route; `None` when it says nothing about the task.
pub(super) fn read(body: &[u8]) -> Option<TaskState> {
    let json: Json = crate::json::from_bytes(body).ok()?;
    let data = json.get("data").filter(|data| data.is_object()).unwrap_or(&json);
    if json.get("success") == Some(&Json::Bool(false)) {
        let code = text(data, &["/code"]).unwrap_or_default().to_ascii_lowercase();
        let words = text(data, &["/details", "/detail", "/message"]).unwrap_or_default().to_ascii_lowercase();
        let is_unknown = matches!(code.as_str(), "not_found" | "notfound") || words.contains("task not found");
        return is_unknown.then_some(TaskState::Unknown);
    }
    let reason = || {
        let words =
            text(data, &["/error/message", "/error/details", "/error/detail", "/message", "/error", "/error/code"]);
        words.unwrap_or_default().to_owned()
    };
    if data.get("error").is_some_and(|error| error.is_object()) {
        // The code says more than the words, which may be for everything.
        let code = text(data, &["/error/code"]).filter(|code| *code != reason());
        return Some(TaskState::Failed(code.map_or_else(reason, |code| format!("{code}: {}", reason()))));
    }
    let word = text(data, &["/task_status", "/status"])?.to_ascii_lowercase();
    let link = text(data, &["/content", "/video_url", "/url"]).filter(|link| link.starts_with("http") || is_link(link));
    Some(match word.as_str() {
        word if DONE.contains(&word) => TaskState::Done(link.unwrap_or_default().to_owned()),
        word if FAILED.contains(&word) => TaskState::Failed(reason()),
        _ => TaskState::Running,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_state_is_read_from_either_route() {
        let link = "https://cdn.example/output/u/t2v/c/t.mp4?key=k";
        for (status, content, expected) in [
            ("running", "", TaskState::Running),
            ("PENDING", "", TaskState::Running),
            ("queued", "", TaskState::Running),
            ("Processing", "", TaskState::Running),
            ("dreaming", "", TaskState::Running),
            ("success", link, TaskState::Done(link.to_owned())),
            ("SUCCEEDED", link, TaskState::Done(link.to_owned())),
            ("Failed", "", TaskState::Failed("why".to_owned())),
            ("ERROR", "", TaskState::Failed("why".to_owned())),
            ("canceled", "", TaskState::Failed("why".to_owned())),
        ] {
            let flat = json!({ "chat_type": "t2v", "task_status": status, "message": "why", "content": content });
            let nested = json!({ "success": true, "data": flat });
            for body in [flat, nested] {
                assert_eq!(read(body.to_string().as_bytes()), Some(expected.clone()), "{body}");
            }
        }
        let failed =
            json!({ "success": true, "data": { "task_status": "running", "error": { "code": "x", "message": "no" } } });
        assert_eq!(read(failed.to_string().as_bytes()), Some(TaskState::Failed("x: no".to_owned())));
        let lost = json!({ "success": false, "data": { "code": "Not_Found", "details": "Task not found" } });
        assert_eq!(read(lost.to_string().as_bytes()), Some(TaskState::Unknown));
        for nothing in ["", "<html>", "[]", "{}", "7", r#"{"success":false,"data":{"code":"Unauthorized"}}"#] {
            assert_eq!(read(nothing.as_bytes()), None, "{nothing}");
        }
        let without_link = json!({ "task_status": "success", "content": "" });
        assert_eq!(read(without_link.to_string().as_bytes()), Some(TaskState::Done(String::new())));
    }

    #[test]
    fn the_task_is_found_where_the_site_names_it() {
        let usual = json!({ "success": true, "data": { "message_id": "r", "messages": [{ "extra": { "wanx": { "task_id": "t-1" } } }] } });
        assert_eq!(begun(&usual), Some(FilmTask { task_id: "t-1".to_owned(), response_id: "r".to_owned() }));
        assert_eq!(begun(&json!({ "data": { "output": { "task_id": "t" } } })).unwrap().task_id, "t");
        for none in [json!({}), json!({ "data": { "task_id": "" } }), json!({ "data": { "task_id": "../x" } })] {
            assert_eq!(begun(&none), None, "{none}");
        }
    }
}
