//! One turn on the virtual clock: what the waits, the repeats and the coalescing do, in microseconds of real time.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures::StreamExt as _;

use super::{Answer, ConversationHint, Plan, Second, Services, Timing, test_requests::request};
use crate::{
    accounts::{KeyHolder, KeyId},
    api::{
        AnswerMeta, Delivery, Encoder,
        openai::{self, chat_completions::ChatDelivery},
    },
    config::{Config, Product},
    credentials_input::CredentialsInput,
    error::{ErrorKind, Result},
    llm::Request,
    platform::{
        Clock as _, FetchError, FetchErrorKind, FetchResponse, Payload, Reach,
        testing::{START, Sim, streamed},
    },
    secret::Secret,
    store::MIGRATIONS,
    upstream::{AccountId, Owner, ScopeKey, shown_tool_name},
};

pub(super) type Piece = (Duration, Result<Bytes, FetchError>);

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const CREATED: &str = r#"{"response.created":{"chat_id":"c","parent_id":"u","response_id":"r","response_index":"0"}}"#;

pub(super) fn event(pause: Duration, data: &str) -> Piece {
    (pause, Ok(Bytes::from(format!("data: {data}\n\n"))))
}

pub(super) fn created() -> Piece {
    event(Duration::ZERO, CREATED)
}

pub(super) fn delta(pause: Duration, text: &str) -> Piece {
    let data = format!(
        r#"{{"choices":[{{"delta":{{"role":"assistant","content":"{text}","phase":"answer","status":"typing"}}}}],"response_id":"r"}}"#
    );
    event(pause, &data)
}

pub(super) fn end(pause: Duration) -> Piece {
    event(
        pause,
        r#"{"choices":[{"delta":{"role":"assistant","content":"","phase":"answer","status":"finished"}}],"response_id":"r"}"#,
    )
}

fn comment(pause: Duration) -> Piece {
    (pause, Ok(Bytes::from_static(b": ping\n\n")))
}

pub(super) fn broken(pause: Duration) -> Piece {
    (pause, Err(FetchError { kind: FetchErrorKind::Broken, detail: "reset".to_owned() }))
}

pub(super) fn stream(pieces: impl IntoIterator<Item = Piece>) -> FetchResponse {
    streamed(200, "text/event-stream", pieces)
}

pub(super) fn json(status: u16, json: &str) -> FetchResponse {
    streamed(status, "application/json", [(Duration::ZERO, Ok(Bytes::from(json.to_owned())))])
}

pub(super) fn refusal(code: &str, details: &str) -> FetchResponse {
    json(200, &format!(r#"{{"success":false,"data":{{"code":"{code}","details":"{details}"}}}}"#))
}

/// A site that makes chats and answers turns as `turn` says, which gets how many turns came before.
fn site(mut turn: impl FnMut(usize) -> FetchResponse + Send + 'static) -> Sim {
    let mut turns = 0;
    Sim::answering(move |request: &http::Request<Payload>, _| match request.uri().path() {
        "/api/v2/chats/new" => Ok(json(200, r#"{"success":true,"data":{"id":"new-chat"}}"#)),
        "/api/v2/chat/completions" => {
            turns += 1;
            Ok(turn(turns - 1))
        }
        path => panic!("{path} was asked"),
    })
    .with_database(MIGRATIONS)
}

/// The paths and chats that the site was asked for.
pub(super) fn asked(platform: &Sim) -> Vec<String> {
    platform.requests().iter().map(|request| request.uri().path_and_query().unwrap().to_string()).collect()
}

pub(super) const TIMING: Timing = Timing {
    first_byte: Duration::from_secs(10),
    heartbeat: Duration::from_secs(15),
    coalesce: Duration::ZERO,
    idle: Duration::from_secs(120),
};

pub(super) fn owner() -> Owner {
    Owner { scope: ScopeKey::new("scope".to_owned()), account: AccountId::new("account".to_owned()), session_epoch: 1 }
}

/// A program on this platform.
pub(super) fn services() -> Services {
    // A token without an end: nothing is to be renewed.
    let lookup = |name: &str| (name == "QWEN_AUTH_TOKEN").then(|| "a-token-of-some-length".to_owned());
    let config = Config::from_lookup(lookup, Product::NATIVE).unwrap();
    let app = crate::server::App::new(config);
    app.services(app.accounts.default_account())
}

async fn prepared(
    platform: &Sim,
    services: &Services,
    owner: Owner,
    messages: &str,
    delivery: ChatDelivery,
    timing: Timing,
) -> Answer<Sim> {
    prepared_for(platform, services, owner, request(&format!(r#"{{"messages":{messages}}}"#)), delivery, timing).await
}

/// The same of a whole request.
pub(super) async fn prepared_for(
    platform: &Sim,
    services: &Services,
    owner: Owner,
    request: Request,
    delivery: ChatDelivery,
    timing: Timing,
) -> Answer<Sim> {
    prepared_with(platform, services, owner, request, delivery, (timing, None)).await
}

/// The same with a second upstream.
pub(super) async fn prepared_with(
    platform: &Sim,
    services: &Services,
    owner: Owner,
    request: Request,
    delivery: ChatDelivery,
    (timing, second): (Timing, Option<Second>),
) -> Answer<Sim> {
    let tools = super::ToolRules::new(&request, &"s".repeat(22), shown_tool_name);
    let format = super::AnswerFormat::new(&request).unwrap();
    let turn_tools = super::TurnTools::new(&request, false);
    let hint = ConversationHint::default();
    let conversation = services
        .conversations
        .find_match(
            platform,
            (owner, services.upstream.capabilities()),
            (request.messages.into(), super::Attachments::default(), turn_tools),
            (&hint, None),
            "conv".to_owned(),
        )
        .await;
    let options = super::GenerationOptions {
        model: "m".to_owned(),
        reasoning: crate::llm::Reasoning::Off,
        search: false,
        stop: request.stop,
        max_tokens: request.max_tokens,
    };
    let meta = AnswerMeta { id: "id".to_owned(), created: START.seconds(), model: "m".to_owned() };
    let encoder = Encoder::new(meta, Delivery::ChatCompletions(delivery));
    let plan = Plan { options, conversation, reach: Reach::PublicOnly, tools, format, kept: None, links: None, second };
    Answer::new(platform.clone(), services.clone(), plan, encoder, timing)
}

async fn answer(
    platform: &Sim,
    services: &Services,
    messages: &str,
    delivery: ChatDelivery,
    timing: Timing,
) -> Answer<Sim> {
    prepared(platform, services, owner(), messages, delivery, timing).await
}

async fn answer_for(platform: &Sim, services: &Services, owner: Owner, messages: &str) -> Answer<Sim> {
    prepared(platform, services, owner, messages, ChatDelivery::WHOLE, TIMING).await
}

pub(super) const STREAM: ChatDelivery = ChatDelivery::stream(false);
const QUESTION: &str = r#"[{"role":"user","content":"hi"}]"#;

async fn streamed_answer(platform: &Sim, timing: Timing) -> Answer<Sim> {
    answer(platform, &services(), QUESTION, STREAM, timing).await
}

async fn whole_answer(platform: &Sim) -> Result<Bytes> {
    answer(platform, &services(), QUESTION, ChatDelivery::WHOLE, TIMING).await.whole().await
}

/// What the client gets: when, in milliseconds since the start of the stream, and the bytes.
pub(super) async fn pieces(platform: &Sim, mut answer: Answer<Sim>) -> Vec<(u64, String)> {
    let mut pieces = Vec::new();
    while let Some(piece) = answer.next().await {
        let at = u64::try_from(platform.elapsed().as_millis()).unwrap();
        pieces.push((at, String::from_utf8(piece.unwrap().to_vec()).unwrap()));
    }
    pieces
}

pub(super) fn count(pieces: &[(u64, String)], text: &str) -> usize {
    pieces.iter().map(|(_, piece)| piece.matches(text).count()).sum()
}

#[tokio::test(start_paused = true)]
async fn the_status_waits_for_the_first_word_but_not_for_long() {
    for (first_word, expected) in [(3, 3), (9, 9), (30, 10)] {
        let platform = site(move |_| stream([created(), delta(seconds(first_word), "a"), end(seconds(1))]));
        let mut answer = streamed_answer(&platform, TIMING).await;
        answer.head().await.unwrap();
        assert_eq!(platform.elapsed().as_secs(), expected, "first word after {first_word} s");
        let pieces = pieces(&platform, answer).await;
        assert!(pieces.last().unwrap().1.ends_with("data: [DONE]\n\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_before_the_first_word_is_a_status() {
    let platform = site(|_| refusal("quotaLimited", "Allocated quota exceeded"));
    let mut answer = streamed_answer(&platform, TIMING).await;
    let error = answer.head().await.unwrap_err();
    assert_eq!(openai::wire_form(error.kind()).status, 429);
}

#[tokio::test(start_paused = true)]
async fn silence_is_filled_with_heartbeats() {
    let platform = site(|_| stream([created(), delta(seconds(1), "a"), delta(seconds(40), "b"), end(seconds(1))]));
    let mut answer = streamed_answer(&platform, TIMING).await;
    answer.head().await.unwrap();
    let pieces = pieces(&platform, answer).await;
    let beats: Vec<u64> =
        pieces.iter().filter(|(_, piece)| piece == ": keep-alive\n\n").map(|(at, _)| at / 1000).collect();
    assert_eq!(beats, [16, 31], "15 s after the last bytes, and again");
}

#[tokio::test(start_paused = true)]
async fn a_site_that_says_nothing_is_given_up() {
    // Comments keep a connection alive, not an answer.
    let silent = |_| {
        let comments = (0..100).map(|_| comment(seconds(10)));
        stream([created(), delta(seconds(1), "a")].into_iter().chain(comments))
    };
    let platform = site(silent);
    let mut answer = streamed_answer(&platform, TIMING).await;
    answer.head().await.unwrap();
    let pieces = pieces(&platform, answer).await;
    let (at, last) = pieces.last().unwrap();
    assert_eq!(at / 1000, 121);
    assert!(last.contains("upstream_timeout") && !last.contains("[DONE]"), "{last}");
    let platform = site(silent);
    assert_eq!(whole_answer(&platform).await.unwrap_err().kind(), ErrorKind::UpstreamTimeout);
    assert_eq!(platform.elapsed().as_secs(), 121);
}

#[tokio::test(start_paused = true)]
async fn what_comes_within_the_coalescing_time_goes_out_together() {
    let fast = |_| {
        let deltas = (0..200).map(|_| delta(millis(2), "x"));
        stream([created()].into_iter().chain(deltas).chain([end(millis(2))]))
    };
    let timing = |coalesce| Timing { coalesce: millis(coalesce), ..TIMING };
    let platform = site(fast);
    let mut answer = streamed_answer(&platform, timing(0)).await;
    answer.head().await.unwrap();
    let each = pieces(&platform, answer).await;
    assert!(each.len() >= 200, "{}", each.len());
    let platform = site(fast);
    let mut answer = streamed_answer(&platform, timing(20)).await;
    answer.head().await.unwrap();
    let together = pieces(&platform, answer).await;
    assert!((15..=30).contains(&together.len()), "400 ms in pieces of 20 ms: {}", together.len());
    assert_eq!(count(&together, r#""content":"x""#), 200);
    let waits = together.windows(2).map(|pair| pair[1].0 - pair[0].0);
    assert!(waits.max().unwrap() <= 30, "nothing waits for long");
    // A site that is slower than that is not held up.
    let platform = site(|_| {
        stream([created()].into_iter().chain((0..10).map(|_| delta(millis(50), "x"))).chain([end(millis(50))]))
    });
    let mut answer = streamed_answer(&platform, timing(20)).await;
    answer.head().await.unwrap();
    let slow = pieces(&platform, answer).await;
    let times: Vec<u64> = slow.iter().map(|(at, _)| *at).collect();
    assert!((1..=10).all(|number| times.iter().any(|at| at.abs_diff(number * 50) <= 1)), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_turn_is_repeated_once_while_the_client_has_nothing() {
    let platform = site(|turn| match turn {
        0 => stream([broken(seconds(1))]),
        _ => stream([created(), delta(Duration::ZERO, "a"), end(Duration::ZERO)]),
    });
    assert!(String::from_utf8(whole_answer(&platform).await.unwrap().to_vec()).unwrap().contains(r#""content":"a""#));
    assert_eq!(asked(&platform).len(), 4, "a new chat each time: {:?}", asked(&platform));
    let platform = site(|_| stream([broken(seconds(1))]));
    assert_eq!(whole_answer(&platform).await.unwrap_err().kind(), ErrorKind::UpstreamError);
    assert_eq!(asked(&platform).len(), 4, "once and no more");
    // What was written is not written again.
    let platform = site(|_| stream([created(), delta(Duration::ZERO, "a"), broken(seconds(1))]));
    let mut answer = streamed_answer(&platform, TIMING).await;
    answer.head().await.unwrap();
    let pieces = pieces(&platform, answer).await;
    assert_eq!(
        (count(&pieces, r#""content":"a""#), count(&pieces, "upstream_truncated"), asked(&platform).len()),
        (1, 1, 2)
    );
}

/// A conversation whose first turn this server knows, and its second question.
async fn second_question(platform: &Sim, services: &Services) -> Answer<Sim> {
    answer(platform, services, QUESTION, ChatDelivery::WHOLE, TIMING).await.whole().await.unwrap();
    let messages =
        r#"[{"role":"user","content":"hi"},{"role":"assistant","content":"a"},{"role":"user","content":"and?"}]"#;
    answer(platform, services, messages, ChatDelivery::WHOLE, TIMING).await
}

fn good() -> FetchResponse {
    stream([created(), delta(Duration::ZERO, "a"), end(Duration::ZERO)])
}

#[tokio::test(start_paused = true)]
async fn a_busy_chat_is_waited_for_and_then_left() {
    for (busy, chats, waited) in [(0, 1, 0), (1, 1, 500), (2, 1, 2_000), (3, 2, 2_000)] {
        let platform =
            site(
                move |turn| {
                    if (1..=busy).contains(&turn) { refusal("Bad_Request", "The chat is in progress!") } else { good() }
                },
            );
        let services = services();
        let mut answer = second_question(&platform, &services).await;
        let begun = platform.elapsed();
        answer.whole().await.unwrap();
        assert_eq!((platform.elapsed() - begun).as_millis(), waited, "busy {busy} times");
        let made = asked(&platform).iter().filter(|path| path.contains("/chats/new")).count();
        assert_eq!(made, chats, "busy {busy} times");
    }
}

#[tokio::test(start_paused = true)]
async fn a_chat_that_is_gone_is_forgotten_and_made_anew() {
    let platform = site(|turn| if turn == 1 { refusal("CHAT_NOT_FOUND", "The chat is not exist.") } else { good() });
    let services = services();
    second_question(&platform, &services).await.whole().await.unwrap();
    let paths = asked(&platform);
    assert_eq!(paths.iter().filter(|path| path.contains("/chats/new")).count(), 2, "{paths:?}");
}

#[tokio::test(start_paused = true)]
async fn a_permit_is_held_only_while_the_site_answers() {
    let platform = site(|_| stream([created(), delta(seconds(1), "a"), end(seconds(1))]));
    let services = services();
    let mut answer = answer(&platform, &services, QUESTION, STREAM, TIMING).await;
    assert_eq!(services.limiter.count(), (0, 0));
    answer.head().await.unwrap();
    assert_eq!(services.limiter.count(), (1, 0));
    drop(answer);
    assert_eq!(services.limiter.count(), (0, 0), "a client that leaves gives it back");
}

/// A token of this account that does not end.
fn token(account: &str) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(format!(r#"{{"id":"{account}"}}"#)))
}

#[tokio::test(start_paused = true)]
async fn a_session_replaced_amid_a_request_gets_nothing_of_the_old_accounts_chat() {
    let platform = Sim::answering(move |request: &http::Request<Payload>, _| match request.uri().path() {
        "/api/v2/chats/new" => Ok(json(200, r#"{"success":true,"data":{"id":"chat-of-one"}}"#)),
        "/api/v2/chat/completions" => Ok(good()),
        "/api/v1/auths/" => Ok(json(200, r#"{"id":"two","name":"Two","role":"user"}"#)),
        path => panic!("{path} was asked"),
    })
    .with_database(MIGRATIONS);
    let lookup = |name: &str| (name == "QWEN_AUTH_TOKEN").then(|| token("one"));
    let app = crate::server::App::new(Config::from_lookup(lookup, Product::NATIVE).unwrap());
    let services = app.services(app.accounts.default_account());
    let turn = async |messages: &str| {
        let account = app.accounts.default_account().clone();
        let owner = KeyHolder { key: KeyId::of("key"), account }.caller(&platform).await.owner;
        answer_for(&platform, &services, owner, messages).await
    };
    turn(QUESTION).await.whole().await.unwrap();
    let messages =
        r#"[{"role":"user","content":"hi"},{"role":"assistant","content":"a"},{"role":"user","content":"and?"}]"#;
    // The request has begun, and waits for the site.
    let mut begun = turn(messages).await;
    let two = CredentialsInput { token: Some(Secret::new(token("two"))), ..CredentialsInput::default() };
    app.accounts.default_account().qwen.give_session(&platform, two).await.unwrap();
    let before = platform.requests().len();
    let error = begun.whole().await.unwrap_err();
    assert!(error.message().contains("replaced"), "{error}");
    assert_eq!(platform.requests().len(), before, "nothing was asked with the other account's cookies");
    // The client repeats it: the other account does not know that conversation.
    turn(messages).await.whole().await.unwrap();
    assert!(asked(&platform)[before..].iter().any(|path| path.contains("/chats/new")));
    // The first account's chat is still known.
    let one = CredentialsInput { token: Some(Secret::new(token("one"))), ..CredentialsInput::default() };
    app.accounts.default_account().qwen.give_session(&platform, one).await.unwrap();
    let before = platform.requests().len();
    turn(messages).await.whole().await.unwrap();
    assert_eq!(asked(&platform)[before..], ["/api/v2/chat/completions?chat_id=chat-of-one"]);
}
