//! A fake of an OpenAI-compatible endpoint on loopback, such as the official paid API or a local server.
//!
//! It answers `POST /v1/chat/completions`, whole and as a stream, and `GET /v1/models`, and keeps nothing between two requests:
//! each one has to bring the whole conversation. It is as strict as an official server: what a request does wrong is a 400 (401
//! without its key), and [`Compatible::violations`] has it.
//!
//! A `[[api key=value …]]` directive in the newest user message decides the answer (see [`answer`], [`chunks`] and [`refusals`]);
//! without one it is the number of the messages and the newest text. In a prompt that has none, the answering keys of the fake
//! site's `[[fake …]]` count, so that a script that was written for that one is answered alike; how the site fails is not its
//! concern. It stands beside that fake, and reads directives, sends its answers and keeps its log as that one does.

#![allow(dead_code, unreachable_pub, unused_imports, reason = "a shared module; each binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    reason = "test support"
)]

mod answer;
mod check;
mod chunks;
mod refusals;
mod server;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::fake_qwen::directive::Directive;
use crate::fake_qwen::listener::Running;
use crate::fake_qwen::log;
pub use crate::fake_qwen::{Outcome, RecordedRequest};

/// The key that it accepts.
pub const KEY: &str = "sk-of-the-second-upstream-5e7c1d";

/// State shared by all requests.
#[derive(Default)]
struct Shared {
    log: log::Log,
    asked: Mutex<Vec<Asked>>,
    violations: Mutex<Vec<(String, String)>>,
    /// Directives by a word of the prompt.
    standing: Mutex<Vec<(String, Directive)>>,
}

/// A completion that it was asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    pub request: Arc<RecordedRequest>,
    /// The whole body; `Null` if it is not JSON.
    pub body: Value,
}

impl Asked {
    /// The messages.
    ///
    /// # Panics
    /// When there are none.
    pub fn messages(&self) -> &[Value] {
        self.body["messages"].as_array().expect("messages")
    }

    /// Role and text of each message; the texts of parts are joined.
    pub fn texts(&self) -> Vec<(String, String)> {
        let role = |message: &Value| message["role"].as_str().unwrap_or_default().to_owned();
        self.messages().iter().map(|message| (role(message), answer::text_of(&message["content"]))).collect()
    }
}

/// A running fake; dropping it stops it.
pub struct Compatible {
    shared: Arc<Shared>,
    addr: SocketAddr,
    /// Stops the fake when it is dropped.
    _running: Running,
}

impl Compatible {
    /// Starts on a free loopback port.
    pub fn start() -> Compatible {
        Compatible::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free loopback port")
    }

    /// Starts on `addr` with its own threads.
    ///
    /// # Errors
    /// The error of binding the address.
    pub fn bind(addr: SocketAddr) -> io::Result<Compatible> {
        let shared = Arc::new(Shared::default());
        let (addr, running) = server::spawn(addr, Arc::clone(&shared))?;
        Ok(Compatible { shared, addr, _running: running })
    }

    /// Its address without a path.
    pub fn origin(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The base URL, up to and with `/v1`.
    pub fn url(&self) -> String {
        format!("{}/v1", self.origin())
    }

    /// All requests, oldest first, whatever their route.
    pub fn requests(&self) -> Vec<Arc<RecordedRequest>> {
        self.shared.log.all()
    }

    /// The completions that it was asked for, oldest first.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// The completions whose body contains `marker`, oldest first.
    pub fn asked_with(&self, marker: &str) -> Vec<Asked> {
        let mut asked = self.asked();
        asked.retain(|asked| asked.body.to_string().contains(marker));
        asked
    }

    /// The only completion whose body contains `marker`.
    ///
    /// # Panics
    /// When there is none, or more than one.
    #[track_caller]
    pub fn asked_once(&self, marker: &str) -> Asked {
        let asked = self.asked_with(marker);
        let [one] = &asked[..] else { panic!("{marker}: asked {} times: {asked:#?}", asked.len()) };
        one.clone()
    }

    /// What clients did wrong: the problem, and the body with which it came.
    pub fn violations(&self) -> Vec<String> {
        let violations = self.shared.violations.lock().unwrap();
        violations.iter().map(|(problem, body)| format!("{problem} in {body:.600}")).collect()
    }

    /// Answers each prompt that contains `marker` as if it had this directive, which is written without brackets. `POST
    /// /fake/directive` with `{"marker": …, "directive": …}` does the same.
    pub fn set_directive(&self, marker: &str, directive: &str) {
        self.shared.set_directive(marker, directive);
    }
}

impl Shared {
    fn set_directive(&self, marker: &str, directive: &str) {
        let mut standing = self.standing.lock().unwrap();
        standing.retain(|(known, _)| known != marker);
        standing.push((marker.to_owned(), Directive::parse(directive)));
    }
}
