//! Pictures and videos: their completions, their tasks, and the CDN with the results (upstream-protocol 8).
//!
//! Forms that no source shows are assumed: the refusal of an unknown image model (`Not_Found`, "Model not found"), of a daily
//! quota of videos, a failed task, a video in its chat (`content_list` with the phase `video_gen`, the task in `extra.wanx`), and
//! a picture of the model's own tool in its chat (`extra.image_list`).

mod bytes;
mod check;
mod outputs;
mod pictures;
mod videos;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::accounts::Sender;
use super::body::Reply;
use super::failures;
use super::log::RecordedRequest;
use super::routes::Call;
use super::script;
use super::standing;
use super::turn::{Exchange, Turn};
use super::{Fake, Shared};
use check::Refusal;

pub(super) use check::{is_image_model, is_media};
pub use outputs::Output;
pub(super) use pictures::own_tool;

/// Relative links are resolved below this and the chat's id.
const CHAT_FILES: &str = "/api/v2/chat/";
/// What reached the site, for tests in another process.
const INSPECT: &str = "/fake/media";

#[derive(Default)]
pub(super) struct Media {
    jobs: Vec<MediaJob>,
    violations: Vec<(String, String)>,
    picture_quota: Quota,
    video_quota: Quota,
    outputs: outputs::Outputs,
    /// By the id of the answer.
    drawings: HashMap<String, pictures::Drawing>,
    tasks: HashMap<String, videos::Task>,
}

/// A picture or video that the site has begun to make: from here on it counts against the quota.
#[derive(Clone, Debug, Default)]
pub struct MediaJob {
    /// Who ordered it.
    pub account: String,
    /// The chat of the order.
    pub chat_id: String,
    /// The message with the result.
    pub response_id: String,
    /// `t2i`, `image_edit`, `t2v`, `i2v`, or another for what the model draws by itself.
    pub chat_type: String,
    /// The text of the order.
    pub prompt: String,
    /// `extra.meta.model`
    pub model: Option<String>,
    /// `size`
    pub size: Option<String>,
    /// The links of the files that the site uses.
    pub files: Vec<String>,
    /// The number of files that it dropped.
    pub dropped_files: usize,
    /// The task of a video.
    pub task_id: Option<String>,
}

impl MediaJob {
    /// Whether it is a video.
    pub fn is_video(&self) -> bool {
        check::is_video(&self.chat_type)
    }
}

/// The numbers of jobs that accounts have left; the account `""` stands for those without a number of their own.
#[derive(Default)]
struct Quota(HashMap<String, u64>);

impl Quota {
    fn set(&mut self, account: &str, left: Option<u64>) {
        match left {
            Some(left) => self.0.insert(account.to_owned(), left),
            None => self.0.remove(account),
        };
    }

    /// Takes one off; returns false when none is left.
    fn spend(&mut self, account: &str) -> bool {
        let Some(left) = self.0.get(account).or_else(|| self.0.get("")).copied() else { return true };
        self.0.insert(account.to_owned(), left.saturating_sub(1));
        left > 0
    }
}

/// The response to a completion of a media type, or in a chat of one.
pub(super) fn complete(
    shared: &Arc<Shared>,
    call: &Call,
    account: &str,
    body: &Value,
    exchange: Exchange,
) -> Result<Reply, Box<Reply>> {
    let refuse = |code: &str, details: &str| Err(Box::new(failures::refusal(200, &call.request_id, code, details)));
    let chat = shared.chats.lock().unwrap().kind(&exchange.chat_id);
    let order = {
        let mut media = shared.media.lock().unwrap();
        let continues = media.jobs.iter().any(|job| job.chat_id == exchange.chat_id);
        let order = check::order(body, &chat, continues);
        let violation = match &order {
            Err(Refusal::Misuse(text) | Refusal::ImageModelOnTop(text)) => Some(text.clone()),
            Ok(order) if order.dropped_files > 0 => Some(format!("t2v has {} files", order.dropped_files)),
            Ok(order) if order.size.as_deref().and_then(check::pixels).is_some() => {
                Some(format!("size is in pixels: {:?}", order.size))
            }
            _ => None,
        };
        media.violations.extend(violation.map(|text| (exchange.prompt.clone(), text)));
        order
    };
    let order = match order {
        Ok(order) => order,
        Err(Refusal::Misuse(_)) => return refuse("Bad_Request", "Something wrong with request!"),
        Err(Refusal::ImageModelOnTop(_) | Refusal::UnknownModel) => return refuse("Not_Found", "Model not found"),
    };
    let Some(turn) = Turn::begin(shared, exchange) else {
        return refuse("Bad_Request", "The chat is in progress!");
    };
    let exchange = turn.exchange();
    let mut directive = standing::directive_of(shared, &exchange.chat_id, &exchange.prompt);
    script::expire_failures(shared, &mut directive);
    let answer = if check::is_video(&order.chat_type) { videos::answer } else { pictures::answer };
    Ok(answer(shared, account, &order, directive, turn, &call.request_id))
}

/// The response of the CDN, of a task's route, or of the control route, if the request is for one of them.
pub(super) fn answer(shared: &Shared, call: &Call) -> Option<Reply> {
    if call.path.starts_with(outputs::PREFIX) {
        let credentials = ["cookie", "authorization"].iter().find(|name| call.headers.contains_key(**name));
        let mut media = shared.media.lock().unwrap();
        if let Some(name) = credentials {
            let violation = format!("the CDN receives the header {name}");
            media.violations.push((call.path.clone(), violation));
        }
        return Some(media.outputs.answer(call, &call.path));
    }
    if let Some((id, is_flat)) = videos::polled(&call.path).filter(|_| call.method == hyper::Method::GET) {
        let sender = shared.accounts.lock().unwrap().sender(&call.headers);
        let unauthorized = || {
            failures::refusal(200, &call.request_id, "Unauthorized", "Your session has expired, please sign in again.")
        };
        return Some(match sender {
            Sender::Cookie(account) | Sender::Bearer(account) => videos::poll(shared, call, &account, id, is_flat),
            Sender::Rejected | Sender::Anonymous => unauthorized().header("x-actual-status-code", "401"),
        });
    }
    let (chat_id, relative) = call.path.strip_prefix(CHAT_FILES)?.split_once('/')?;
    let mut media = shared.media.lock().unwrap();
    let path = media.outputs.of_chat(chat_id, relative)?;
    Some(media.outputs.answer(call, &path))
}

/// `GET /fake/media?word=WORD`: the jobs whose prompt contains the word, how many requests for them came, refused ones too, and
/// the violations.
pub(super) fn inspect(shared: &Shared, call: &Call) -> Option<Reply> {
    if call.path != INSPECT {
        return None;
    }
    let word = call.query_text("word").unwrap_or_default();
    let requests = requests(shared, word).len();
    let media = shared.media.lock().unwrap();
    let jobs = media.jobs.iter().filter(|job| job.prompt.contains(word)).map(|job| {
        json!({
            "chat_id": job.chat_id, "chat_type": job.chat_type, "model": job.model, "size": job.size,
            "files": job.files.len(), "task_id": job.task_id
        })
    });
    let body = json!({
        "jobs": jobs.collect::<Value>(), "requests": requests, "violations": media.violations(word)
    });
    Some(Reply::whole(200, "application/json", body.to_string()))
}

/// The completions of a media type whose body contains `marker`, oldest first.
fn requests(shared: &Shared, marker: &str) -> Vec<Arc<RecordedRequest>> {
    let mut requests = shared.log.all();
    requests.retain(|request| {
        request.body.contains(marker)
            && request.path_and_query.split('?').next() == Some("/api/v2/chat/completions")
            && request.json()["messages"][0]["chat_type"].as_str().is_some_and(is_media)
    });
    requests
}

impl Media {
    fn violations(&self, marker: &str) -> Vec<String> {
        let found = self.violations.iter().filter(|(prompt, text)| prompt.contains(marker) || text.contains(marker));
        found.map(|(_, text)| text.clone()).collect()
    }

    /// The `content_list` and `extra` of an answer for one read of its chat, if it is a picture or video.
    pub(super) fn message(&mut self, response_id: &str) -> Option<(Vec<Value>, Value)> {
        self.drawings.get_mut(response_id).map(pictures::Drawing::read)
    }

    /// Renews the links in a chat's detail.
    pub(super) fn renew(&self, origin: &str, detail: &mut Value) {
        self.outputs.renew(origin, detail);
    }

    /// Ends what a chat has not finished yet.
    pub(super) fn cancel(&mut self, chat_id: &str) {
        self.drawings.values_mut().filter(|drawing| drawing.chat_id == chat_id).for_each(pictures::Drawing::cancel);
    }
}

impl Fake {
    /// Sets the number of pictures that `account` (empty: each) has left today; `None` removes the limit. What the model draws by
    /// itself does not count.
    pub fn set_picture_quota(&self, account: &str, left: Option<u64>) {
        self.shared.media.lock().unwrap().picture_quota.set(account, left);
    }

    /// [`Fake::set_picture_quota`] for videos.
    pub fn set_video_quota(&self, account: &str, left: Option<u64>) {
        self.shared.media.lock().unwrap().video_quota.set(account, left);
    }

    /// The pictures and videos that were begun for prompts that contain `marker`, oldest first.
    pub fn media_jobs(&self, marker: &str) -> Vec<MediaJob> {
        let mut jobs = self.shared.media.lock().unwrap().jobs.clone();
        jobs.retain(|job| job.prompt.contains(marker));
        jobs
    }

    /// The number of pictures that were begun for prompts that contain `marker`.
    pub fn pictures_begun(&self, marker: &str) -> usize {
        self.media_jobs(marker).iter().filter(|job| !job.is_video()).count()
    }

    /// The number of videos that were begun for prompts that contain `marker`.
    pub fn videos_begun(&self, marker: &str) -> usize {
        self.media_jobs(marker).iter().filter(|job| job.is_video()).count()
    }

    /// The completions of a media type, refused ones too, whose body contains `marker`, oldest first.
    pub fn media_requests(&self, marker: &str) -> Vec<Arc<RecordedRequest>> {
        requests(&self.shared, marker)
    }

    /// What clients did wrong in requests for pictures and videos, with `marker` in the prompt or in the text: the site refuses
    /// such a request, or makes something else of it.
    pub fn violations(&self, marker: &str) -> Vec<String> {
        self.shared.media.lock().unwrap().violations(marker)
    }

    /// The files that were made for prompts that contain `marker`, oldest first.
    pub fn outputs(&self, marker: &str) -> Vec<Output> {
        let mut outputs = self.shared.media.lock().unwrap().outputs.all();
        outputs.retain(|output| output.prompt.contains(marker));
        outputs
    }

    /// The bytes of a file.
    pub fn output_bytes(&self, path: &str) -> Option<Vec<u8>> {
        self.shared.media.lock().unwrap().outputs.content(path)
    }

    /// The whole link to a file, as a chat has it now.
    pub fn output_url(&self, path: &str) -> String {
        format!("{}{}", self.shared.origin(), self.shared.media.lock().unwrap().outputs.link(path))
    }

    /// The requests for a file at the CDN, oldest first.
    pub fn downloads(&self, path: &str) -> Vec<Arc<RecordedRequest>> {
        let mut requests = self.shared.log.all();
        requests.retain(|request| request.path_and_query.split('?').next() == Some(path));
        requests
    }

    /// Ends all links to the files of a chat, so that the CDN answers them with `status` (403 or 404); the chat's detail has new
    /// ones from now on.
    pub fn end_links(&self, chat_id: &str, status: u16) {
        self.shared.media.lock().unwrap().outputs.end_links(chat_id, status);
    }

    /// The number of polls of a task that reached it, on both routes.
    pub fn task_polls(&self, task_id: &str) -> u64 {
        self.shared.media.lock().unwrap().tasks.get(task_id).map_or(0, |task| task.polls)
    }
}
