//! Accounts under load: what happens to one never touches another, in any order of events.

use std::{collections::HashMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures::future::{join, join_all};
use serde_json::{Value, json};

use super::accounts::{give, send, start};
use crate::{
    fake_qwen::Fake,
    http::{Reply, concat_deltas},
    server::{Case, Server},
};

const ACCOUNTS: [(&str, &str); 3] = [("default", "sk-test-key"), ("anna", "sk-of-anna"), ("bert", "sk-of-bert")];
const ROUNDS: usize = 36;
/// How many conversations an account has at once, and how many turns of each make a round.
const CONVERSATIONS: usize = 3;
const TURNS: usize = 2;

/// What happens to one account in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disturbance {
    /// The site forgets the access token: it is renewed.
    Renewal,
    /// The site asks for a human check.
    Check,
    /// The quota is used up.
    Quota,
    /// The site forgets both tokens.
    Refusal,
    /// A person replaces the session of the account by that of another user while requests run.
    Replacement,
}

const DISTURBANCES: [Disturbance; 5] =
    [Disturbance::Renewal, Disturbance::Check, Disturbance::Quota, Disturbance::Refusal, Disturbance::Replacement];

/// SplitMix64: the same numbers in each run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % below as u64).unwrap()
    }
}

/// The value of a cookie in a header.
fn cookie<'a>(jar: &'a str, name: &str) -> &'a str {
    let pairs = jar.split("; ").filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next().unwrap_or_default()
}

/// The user of the site whose access token this is.
fn user(token: &str) -> String {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice::<Value>(&claims).unwrap()["id"].as_str().unwrap().to_owned()
}

/// The cookies that were sent last for a user.
fn last_jar(fake: &Fake, wanted: &str) -> Option<String> {
    let requests = fake.requests();
    let jars = requests.iter().rev().filter_map(|request| request.header("cookie"));
    jars.filter(|jar| !cookie(jar, "token").is_empty() && user(cookie(jar, "token")) == wanted)
        .map(str::to_owned)
        .next()
}

/// One conversation of an account. Its questions name the account.
struct Conversation {
    account: &'static str,
    key: &'static str,
    messages: Vec<Value>,
    count: usize,
}

impl Conversation {
    /// Asks on; an answer that fails leaves the conversation as it was. Returns the status.
    async fn ask(&mut self, server: &Server, is_stream: bool) -> Reply {
        self.count += 1;
        let question = format!("of-{} {}", self.account, self.count);
        let mut messages = self.messages.clone();
        messages.push(json!({ "role": "user", "content": question }));
        let body = json!({ "model": "qwen3-max", "messages": messages, "stream": is_stream, "enable_thinking": false });
        let reply = send(server, self.key, "POST", "/v1/chat/completions", body.to_string()).await;
        if reply.status == 200 {
            let answer = if is_stream {
                concat_deltas(&reply.chunks(), "content")
            } else {
                reply.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
            };
            // The site repeats the last line, which in a new chat says who speaks.
            assert_eq!(answer.trim_start_matches("User: "), question, "an answer of another conversation");
            self.messages = messages;
            self.messages.push(json!({ "role": "assistant", "content": answer }));
        }
        reply
    }
}

/// The statuses that requests of a disturbed account may have.
const fn allowed(disturbance: Disturbance) -> &'static [u16] {
    match disturbance {
        Disturbance::Renewal => &[200],
        Disturbance::Check => &[403],
        Disturbance::Quota => &[429],
        Disturbance::Refusal => &[401],
        // A request that began with the old session may not go on with the new one.
        Disturbance::Replacement => &[200, 502],
    }
}

struct House {
    fake: Fake,
    server: Arc<Server>,
    /// The user of the site behind each account now, and all there ever were.
    users: HashMap<&'static str, Vec<String>>,
}

impl House {
    async fn give_new(&mut self, account: &'static str) {
        let users = self.users.entry(account).or_default();
        users.push(format!("user-{account}-{}", users.len()));
        give(&self.server, account, users.last().unwrap()).await;
    }

    fn user(&self, account: &str) -> &str {
        self.users[account].last().unwrap()
    }

    /// Makes it happen.
    async fn disturb(&mut self, account: &'static str, key: &str, disturbance: Disturbance) {
        let (fake, user) = (&self.fake, self.user(account).to_owned());
        let jar = last_jar(fake, &user).unwrap();
        match disturbance {
            Disturbance::Renewal => fake.revoke(cookie(&jar, "token")),
            Disturbance::Check => {
                let body = json!({ "model": "qwen3-max", "messages": [{ "role": "user", "content": "[[fake fail=waf_html]]" }] });
                let reply = send(&self.server, key, "POST", "/v1/chat/completions", body.to_string()).await;
                reply.error(403, "qwen_challenge");
            }
            Disturbance::Quota => fake.set_quota(&user, Some(0)),
            Disturbance::Refusal => {
                fake.revoke(cookie(&jar, "token"));
                fake.revoke(cookie(&jar, "refresh_token"));
            }
            Disturbance::Replacement => {}
        }
    }
}

pub async fn what_happens_to_one_account_never_touches_another(case: Arc<Case>) {
    let fake = Fake::start();
    fake.set_refresh_rotation(true);
    let server = start(&case, &fake, &[("QWEN_COOKIES", "")]).await;
    let mut house = House { fake, server: Arc::clone(&server), users: HashMap::new() };
    let mut conversations = Vec::new();
    for (account, key) in ACCOUNTS {
        house.give_new(account).await;
        for number in 0..CONVERSATIONS {
            // No two conversations of an account begin alike.
            conversations.push(Conversation { account, key, messages: Vec::new(), count: number * 10_000 });
        }
    }
    for conversation in &mut conversations {
        assert_eq!(conversation.ask(&server, false).await.status, 200);
    }
    let mut numbers = Numbers(11);
    for round in 0..ROUNDS {
        let (account, key) = ACCOUNTS[numbers.next(ACCOUNTS.len())];
        let disturbance = DISTURBANCES[numbers.next(DISTURBANCES.len())];
        house.disturb(account, key, disturbance).await;
        let streams: Vec<bool> = (0..conversations.len() * TURNS).map(|_| numbers.next(2) == 0).collect();
        let (server, streams) = (&server, &streams);
        let turns = conversations.iter_mut().enumerate().map(|(index, conversation)| async move {
            for turn in 0..TURNS {
                let reply = conversation.ask(server, streams[index * TURNS + turn]).await;
                let is_disturbed = conversation.account == account;
                let statuses = if is_disturbed { allowed(disturbance) } else { &[200] };
                assert!(
                    statuses.contains(&reply.status.as_u16()),
                    "round {round}, {disturbance:?} of {account}, a request of {}: {reply:?}",
                    conversation.account
                );
            }
        });
        let replacing = async {
            if disturbance == Disturbance::Replacement {
                house.give_new(account).await;
            }
        };
        join(join_all(turns), replacing).await;
        match disturbance {
            Disturbance::Quota => house.fake.set_quota(house.user(account), None),
            Disturbance::Check | Disturbance::Refusal => drop(give(server, account, house.user(account)).await),
            Disturbance::Renewal | Disturbance::Replacement => {}
        }
        for conversation in conversations.iter_mut().filter(|conversation| conversation.account == account) {
            assert_eq!(conversation.ask(server, false).await.status, 200, "round {round}: {account} is well again");
        }
    }
    assert_eq!(house.fake.foreign_requests(), 0, "a chat was asked for by another account");
    for (account, _) in ACCOUNTS {
        let marker = format!("of-{account} ");
        let requests = house.fake.requests_containing(&marker);
        assert!(requests.len() > ROUNDS, "{account}");
        for request in requests {
            let sender = user(cookie(request.header("cookie").unwrap(), "token"));
            assert!(house.users[account].contains(&sender), "a request of {account} was sent for {sender}");
        }
    }
    for chat in house.fake.chat_ids() {
        let owner = house.fake.chat_account(&chat).unwrap();
        let account = ACCOUNTS.iter().find(|(account, _)| house.users[account].contains(&owner)).unwrap().0;
        for (_, text) in house.fake.chat_messages(&chat) {
            assert!(text.contains(&format!("of-{account} ")) || text.contains("waf_html"), "{account}: {text}");
        }
    }
}
