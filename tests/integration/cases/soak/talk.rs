//! Clients that hold conversations, in every dialect. Each turn of a conversation is found again at the site: in one path of one
//! chat, once, below all that was said before.

use std::{collections::HashSet, sync::Arc, time::Instant};

use serde_json::{Value, json};

use super::{
    World,
    ledger::{FOUND, Own},
};
use crate::{
    cases::{agent, dialects::Dialect, response_reader},
    fake_qwen::{ChatNode, encoded, steps},
    http::with,
};

/// What goes wrong at the site in a turn, and what the client may get for it. `ID` is replaced.
const FAULTS: &[(&str, Own)] = &[
    ("fail=rate_limited_busy", Own::fails(&["rate_limit_exceeded"])),
    ("fail=rate_limited num=3", Own::fails(&["quota_exceeded"])),
    ("fail=data_inspection", Own::fails(&["content_filter"])),
    ("fail=http_429", Own::fails(&["rate_limit_exceeded"])),
    ("fail=empty", Own::fails(&["upstream_empty"])),
    ("fail=html_login", Own::fails(&["upstream_invalid"])),
    ("fail=created_only", Own::fails(&["upstream_empty"])),
    ("cut=900", Own { codes: &["upstream_truncated"], may_succeed: false }),
    // What was not sent yet is asked for at the second upstream.
    ("cut=150", Own { codes: &["upstream_error"], may_succeed: true }),
    ("stall=5", Own { codes: &["upstream_timeout"], may_succeed: true }),
    ("hang=1", Own { codes: &["upstream_timeout"], may_succeed: true }),
    ("fail=error_amid", Own { codes: &["upstream_error"], may_succeed: true }),
    ("fail=http_500", Own::NONE),
    ("fail=bad_gateway_html", Own::NONE),
    // A repeat heals these.
    ("fail=http_500 times=1 id=ID", Own::NONE),
    ("fail=empty times=1 id=ID", Own::NONE),
    ("fail=in_progress times=1 id=ID", Own::NONE),
    ("fail=chat_not_found times=1 id=ID", Own::NONE),
    ("reset=1 times=1 id=ID", Own::NONE),
    ("linger_ms=700", Own::NONE),
];

/// A turn that the client got the answer of.
struct Turn {
    question: String,
    answer: String,
}

struct Talk<'a> {
    world: &'a Arc<World>,
    number: u64,
    account: usize,
    dialect: Dialect,
    /// Whether responses go on by their ids; else the client sends the whole history.
    by_id: bool,
    system: Option<String>,
    turns: Vec<Turn>,
    previous: Option<String>,
    /// The tick before the last answered turn.
    answered: u64,
    /// The site's chats that have it, oldest first.
    chats: Vec<String>,
    /// Whether something since the last turn explains another chat.
    is_excused: bool,
    attempts: u64,
}

/// One client: holds conversations until the end.
pub async fn client(world: Arc<World>, place: usize) {
    while !world.is_over() {
        hold(&world, place).await;
        match world.below(8) {
            0 => tools(&world, place).await,
            1 => structured(&world, place).await,
            _ => {}
        }
    }
}

async fn hold(world: &Arc<World>, place: usize) {
    let dialect = [Dialect::Chat, Dialect::Responses, Dialect::Messages][place % 3];
    let mut talk = Talk {
        world,
        number: world.next(),
        account: place / 3 % super::ACCOUNTS.len(),
        dialect,
        by_id: dialect == Dialect::Responses && world.below(2) == 0,
        system: (world.below(3) == 0).then(|| format!("You are number {place}.")),
        turns: Vec::new(),
        previous: None,
        answered: world.tick(),
        chats: Vec::new(),
        is_excused: true,
        attempts: 0,
    };
    let length = 3 + world.below(9);
    let mut failures = 0;
    while talk.turns.len() < length && !world.is_over() {
        world.pause(700).await;
        if talk.chats.len() == 1 && world.below(40) == 0 {
            // Its owner deletes the chat in the browser: it is told again.
            world.fake.delete_chat(&talk.chats.remove(0));
            talk.is_excused = true;
            world.ledger.event("chats deleted in the browser");
        }
        if talk.turn().await {
            failures = 0;
            continue;
        }
        talk.is_excused = true;
        failures += 1;
        if failures > 12 {
            break;
        }
    }
    world.ledger.event("conversations");
    if world.below(5) == 0 {
        talk.delete().await;
    }
    world.settled.lock().unwrap().extend(talk.chats);
}

impl Talk<'_> {
    fn mark(&self, kind: char, turn: usize) -> String {
        format!("{kind}:{}.{turn};", self.number)
    }

    /// Asks one question; returns whether it was answered.
    async fn turn(&mut self) -> bool {
        let world = self.world;
        let turn = self.turns.len();
        self.attempts += 1;
        let tick = world.tick();
        if tick >= self.answered + super::TTL_TICKS {
            // What is stored of it may be gone.
            self.previous = None;
            self.is_excused = true;
        }
        let words = [3, 20, 20, 120, 700][world.below(5)];
        let answer = format!("{} {}", self.mark('a', turn), "so it is, ".repeat(words));
        let answer = answer.trim_end().to_owned();
        let (fault, own) = match world.below(9) {
            0 => FAULTS[world.below(FAULTS.len())],
            _ => ("", Own::NONE),
        };
        let fault = fault.replace("ID", &format!("{}-{}", self.number, self.attempts));
        let attempt = format!("try:{}.{turn}.{};", self.number, self.attempts);
        let question =
            format!("[[fake say={} piece=40 {fault}]] {} {attempt} what next?", encoded(&answer), self.mark('q', turn));
        let stream = world.below(2) == 0;
        let request = self.request(&question, stream);
        let begun = Instant::now();
        let mut sent = world.post(self.account, self.dialect.path(), &request).await;
        sent.by_second |= sent.is_unnamed() && !world.second.asked_with(&attempt).is_empty();
        let dialect = self.dialect;
        let kind = match (dialect, stream) {
            (Dialect::Chat, false) => "chat completions, whole",
            (Dialect::Chat, true) => "chat completions, streamed",
            (Dialect::Responses, false) => "responses, whole",
            (Dialect::Responses, true) => "responses, streamed",
            (Dialect::Messages, false) => "messages, whole",
            (Dialect::Messages, true) => "messages, streamed",
        };
        let read = world.settle(kind, &sent, own, |reply| {
            let seen = dialect.read(reply);
            if seen.text != answer || seen.finish != "stop" {
                return Err(format!("{:?} {:.200?} instead of {answer:.200?}", seen.finish, seen.text));
            }
            let id = (dialect == Dialect::Responses).then(|| response_reader::Response::read(reply).id().to_owned());
            Ok(id)
        });
        let Some(id) = read else { return false };
        self.is_excused |= !fault.is_empty();
        self.turns.push(Turn { question, answer: answer.clone() });
        if let Some(id) = &id {
            world.keep(super::things::Kept::response(self.account, id, &answer));
        }
        self.previous = id;
        self.answered = tick;
        if sent.by_second {
            self.is_excused = true;
            return true;
        }
        self.find(turn, begun).await;
        true
    }

    fn request(&self, question: &str, stream: bool) -> Value {
        let mut history: Vec<(&str, &str)> = Vec::new();
        let by_id = self.previous.as_deref().filter(|_| self.by_id);
        if let Some(system) = self.system.as_deref().filter(|_| self.dialect == Dialect::Chat) {
            history.push(("system", system));
        }
        if by_id.is_none() {
            for turn in &self.turns {
                history.extend([("user", turn.question.as_str()), ("assistant", turn.answer.as_str())]);
            }
        }
        history.push(("user", question));
        let mut request = with(self.dialect.history(&history), json!({ "stream": stream }));
        match (self.dialect, &self.system) {
            (Dialect::Messages, Some(system)) => request["system"] = json!(system),
            (Dialect::Responses, Some(system)) => request["instructions"] = json!(system),
            _ => {}
        }
        if let Some(id) = by_id {
            request["previous_response_id"] = json!(id);
        }
        request
    }

    /// Finds a turn at the site, and looks at what stands above it.
    async fn find(&mut self, turn: usize, begun: Instant) {
        let mut problem = String::new();
        // The site keeps an answer when its last byte is sent, which may be later than the client has it.
        for _ in 0..400 {
            match self.look(turn) {
                Ok(chat) => {
                    self.world.ledger.verified(FOUND);
                    let is_new = self.chats.last().is_some_and(|last| *last != chat);
                    if is_new {
                        self.world.ledger.event("conversations begun anew in another chat");
                        let restarted = self.world.ledger.met("restart", begun) || self.world.ledger.met("kill", begun);
                        if !self.is_excused && !restarted {
                            self.world.ledger.unexplained(format!(
                                "conversation {} turn {turn} began anew in {chat} after {:?}",
                                self.number, self.chats
                            ));
                        }
                    }
                    if self.chats.last() != Some(&chat) {
                        self.chats.push(chat);
                    }
                    self.is_excused = false;
                    return;
                }
                Err(text) => problem = text,
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        self.world.ledger.unexplained(format!("conversation {} turn {turn}: {problem}", self.number));
    }

    fn look(&self, turn: usize) -> Result<String, String> {
        let (question, answer) = (self.mark('q', turn), self.mark('a', turn));
        let fake = &self.world.fake;
        let mut ids: Vec<String> = self.chats.iter().rev().cloned().collect();
        let settled = self.world.settled.lock().unwrap().clone();
        ids.extend(fake.chat_ids().into_iter().rev().filter(|id| !settled.contains(id)));
        let mut seen = Vec::new();
        for id in ids {
            let nodes = fake.chat_nodes(&id);
            let leaf = |node: &&ChatNode| node.role == "assistant" && node.text.contains(&answer);
            for node in nodes.iter().rev().filter(leaf) {
                let path = path(&nodes, node);
                let asked = path.iter().rev().find(|node| node.role == "user");
                if !asked.is_some_and(|node| node.text.contains(&question)) {
                    continue;
                }
                match self.check_path(&path, turn) {
                    Ok(()) => return Ok(id),
                    Err(problem) => seen.push(format!("{id}: {problem}")),
                }
            }
        }
        Err(format!("not found at the site: {seen:?}"))
    }

    /// Each earlier question and answer is above a turn, once; the beginning of a long history may be a file.
    fn check_path(&self, path: &[&ChatNode], turn: usize) -> Result<(), String> {
        let all: String = path.iter().map(|node| node.text.as_str()).collect::<Vec<_>>().join("\n");
        let count = |mark: &str| all.matches(mark).count();
        for earlier in 0..=turn {
            for mark in [self.mark('q', earlier), self.mark('a', earlier)] {
                let times = count(&mark);
                if times != 1 && (times != 0 || !self.is_in_a_file(&mark)) {
                    return Err(format!("{mark} is {times} times in what leads to turn {turn}"));
                }
            }
        }
        Ok(())
    }

    fn is_in_a_file(&self, mark: &str) -> bool {
        let has_mark = |text: &String| text.contains(mark);
        let is_told = self.world.fake.objects().iter().any(|object| object.text.as_ref().is_some_and(has_mark));
        if is_told {
            self.world.ledger.event("earlier messages found in a file");
        }
        is_told
    }

    /// Deletes its chats here and at the site.
    async fn delete(&mut self) {
        for chat in std::mem::take(&mut self.chats) {
            let path = format!("/v1/chats/{chat}");
            let sent = self.world.send(self.account, "DELETE", &path, &[], "").await;
            // The chat of an earlier start of the conversation may be forgotten here already.
            let own = Own { codes: &["not_found"], may_succeed: true };
            self.world.settle("chats, deleted", &sent, own, |reply| {
                (reply.json()["deleted"] == true).then_some(()).ok_or_else(|| "not deleted".to_owned())
            });
        }
    }
}

/// The messages from the root to a node.
fn path<'a>(nodes: &'a [ChatNode], leaf: &'a ChatNode) -> Vec<&'a ChatNode> {
    let mut path = vec![leaf];
    while let Some(parent) = path.last().and_then(|node| node.parent.as_deref())
        && let Some(node) = nodes.iter().find(|node| node.id == parent)
    {
        path.push(node);
    }
    path.reverse();
    path
}

/// A loop of two calls and a text.
async fn tools(world: &Arc<World>, place: usize) {
    let dialect = [Dialect::Chat, Dialect::Responses, Dialect::Messages][world.below(3)];
    let account = place / 3 % super::ACCOUNTS.len();
    let word = format!("t:{};", world.next());
    let answers = [agent::weather_text("Oslo"), agent::weather_text("Rome"), format!("It rains. {word}")];
    let answers: Vec<&str> = answers.iter().map(String::as_str).collect();
    let prompt = format!("[[fake {}]] {word} compare", steps(&answers));
    let tool = dialect.tool(&agent::weather());
    let mut request = with(dialect.question(&prompt), json!({ "tools": [tool] }));
    // A chat that is begun anew has the steps of the first one again.
    for step in 0..8 {
        let stream = world.below(2) == 0;
        let sent = world.post(account, dialect.path(), &with(request.clone(), json!({ "stream": stream }))).await;
        let seen = world.settle("tool loops", &sent, Own::NONE, |reply| {
            let seen = dialect.read(reply);
            let called: Vec<&str> = seen.calls.iter().map(|(_, name, _)| name.as_str()).collect();
            let is_end = called.is_empty() && seen.text.contains(&word);
            if called == ["get_weather"] || is_end { Ok(seen) } else { Err(format!("step {step}: {seen:?}")) }
        });
        match (seen, &sent.result) {
            (Some(seen), Ok(reply)) if !seen.calls.is_empty() => {
                request = dialect.with_results(request, reply, &["rain"]);
            }
            (Some(_), _) => return world.ledger.verified("tool loops that came to their end"),
            _ => return,
        }
        world.pause(200).await;
    }
    world.ledger.unexplained(format!("a tool loop without an end: {word}"));
}

/// An answer of a schema.
async fn structured(world: &Arc<World>, place: usize) {
    let account = place / 3 % super::ACCOUNTS.len();
    let object = json!({ "name": format!("s:{};", world.next()), "age": 36 });
    let text = format!("Here you are:\n```json\n{object}\n```");
    let schema = json!({
        "type": "object",
        "properties": { "name": { "type": "string" }, "age": { "type": "integer" } },
        "required": ["name", "age"],
    });
    let format =
        json!({ "type": "json_schema", "json_schema": { "name": "person", "strict": true, "schema": schema } });
    let prompt = format!("[[fake say={} piece=7]] who?", encoded(&text));
    let stream = world.below(2) == 0;
    let fields = json!({ "response_format": format, "stream": stream });
    let request = with(Dialect::Chat.question(&prompt), fields);
    let sent = world.post(account, Dialect::Chat.path(), &request).await;
    world.settle("structured output", &sent, Own::NONE, |reply| {
        let seen = Dialect::Chat.read(reply);
        let read: Value = serde_json::from_str(&seen.text).map_err(|error| format!("{error}: {}", seen.text))?;
        if read == object { Ok(()) } else { Err(format!("{read} instead of {object}")) }
    });
}

/// Chats that no conversation looks into any more.
pub type Settled = HashSet<String>;
