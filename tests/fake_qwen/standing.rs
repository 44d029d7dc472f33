//! Directives that last longer than a prompt: those of all prompts with a marker, and the steps of a chat.
//!
//! A chat receives only the news of a conversation, so that later prompts lack the directive: the chat remembers its steps.

use serde_json::json;

use super::body::Reply;
use super::directive::Directive;
use super::failures;
use super::routes::Call;
use super::{Fake, Shared};

/// The route that sets a directive from outside of the process.
const ROUTE: &str = "/fake/directive";

/// Directives by marker.
#[derive(Default)]
pub(super) struct Standing(Vec<(String, Directive)>);

impl Standing {
    fn set(&mut self, marker: &str, directive: &str) {
        self.0.retain(|(known, _)| known != marker);
        if !directive.trim().is_empty() {
            self.0.push((marker.to_owned(), Directive::parse(directive)));
            // The directive of all prompts comes first, so that the others override it.
            self.0.sort_by_key(|(marker, _)| !marker.is_empty());
        }
    }

    /// The directives of all markers in the prompt, joined.
    fn of(&self, prompt: &str) -> Directive {
        let matching = self.0.iter().filter(|(marker, _)| prompt.contains(marker));
        matching.fold(Directive::default(), |joined, (_, directive)| directive.clone().after(&joined))
    }
}

/// The steps of a chat, with the directive that stood at the first one.
pub(super) struct Progress {
    directive: Directive,
    next: usize,
}

/// The directive of a completion: the one in its prompt, else the next step of its chat, else the one of a marker.
pub(super) fn directive_of(shared: &Shared, chat_id: &str, prompt: &str) -> Directive {
    let own = Directive::last_of(prompt);
    let standing = shared.standing.lock().unwrap().of(prompt);
    let mut chats = shared.chats.lock().unwrap();
    let Some(progress) = chats.progress(chat_id) else { return own.after(&standing) };
    if own.get("steps").is_none() && !own.is_empty() {
        return own.after(&standing);
    }
    let repeats = progress.as_ref().is_some_and(|running| running.directive.get("steps") == own.get("steps"));
    let whole = own.clone().after(&standing);
    // A prompt that repeats the whole conversation repeats the directive too.
    if whole.get("steps").is_some() && (progress.is_none() || !own.is_empty() && !repeats) {
        *progress = Some(Progress { directive: whole, next: 0 });
    }
    let Some(running) = progress else { return standing };
    let number = match running.directive.get("id") {
        Some(id) => usize::try_from(shared.count(&format!("steps {id}"))).unwrap() - 1,
        None => running.next,
    };
    running.next += 1;
    running.directive.step(number).after(&running.directive)
}

/// The response of the control route, if the request is for it.
pub(super) fn answer(shared: &Shared, call: &Call) -> Option<Reply> {
    if call.path != ROUTE {
        return None;
    }
    let body = call.json();
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    shared.standing.lock().unwrap().set(&text("marker"), &text("directive"));
    Some(failures::success(&call.request_id, &json!({ "marker": text("marker"), "directive": text("directive") })))
}

impl Fake {
    /// Answers every prompt that contains `marker` (empty: all) as if it began with this directive, which is written without the
    /// brackets. It replaces the previous one of this marker; an empty one removes it. `POST /fake/directive` with
    /// `{"marker": …, "directive": …}` does the same.
    pub fn set_directive(&self, marker: &str, directive: &str) {
        self.shared.standing.lock().unwrap().set(marker, directive);
    }
}
