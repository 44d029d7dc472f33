//! Pictures on the virtual clock: how long the site may take, and that nothing is asked for twice meanwhile.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;

use super::{Order, Progress, request_key};
use crate::{
    config::{Config, Product},
    error::{ErrorKind, Result},
    media::{Drawn, Outcome, Pictures},
    platform::{
        Clock as _, FetchError, FetchErrorKind, FetchResponse, Payload,
        testing::{Sim, streamed},
    },
    store::MIGRATIONS,
    upstream::{AccountId, Owner, ScopeKey},
};

const LINK: &str = "https://cdn.example/output/u/t2i/r/7001.png?key=k";
const CREATED: &str = r#"{"response.created":{"chat_id":"c","parent_id":"u","response_id":"r","response_index":"0"}}"#;
const EMPTY_CHAT: &str = r#"{"success":true,"data":{"chat":{"history":{"messages":{}}}}}"#;

type Piece = (Duration, Result<Bytes, FetchError>);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn event(pause: Duration, data: &str) -> Piece {
    (pause, Ok(Bytes::from(format!("data: {data}\n\n"))))
}

fn picture(pause: Duration) -> Piece {
    let delta = format!(r#"{{"role":"assistant","content":"{LINK}","phase":"image_gen","status":"typing"}}"#);
    event(pause, &format!(r#"{{"choices":[{{"delta":{delta}}}],"response_id":"r"}}"#))
}

fn json(body: String) -> FetchResponse {
    streamed(200, "application/json", [(Duration::ZERO, Ok(Bytes::from(body)))])
}

/// A site that answers requests for pictures with these pieces, and has this chat.
fn site(pieces: impl Fn(usize) -> Vec<Piece> + Send + 'static, chat: impl Fn() -> String + Send + 'static) -> Sim {
    let (mut chats, mut turns) = (0, 0);
    Sim::answering(move |request: &http::Request<Payload>, _| match request.uri().path() {
        "/api/v2/chats/new" => {
            chats += 1;
            Ok(json(format!(r#"{{"success":true,"data":{{"id":"chat-{chats}"}}}}"#)))
        }
        "/api/v2/chat/completions" => {
            turns += 1;
            Ok(streamed(200, "text/event-stream", pieces(turns - 1)))
        }
        path if path.starts_with("/api/v2/chats/chat-") => Ok(json(chat())),
        path => panic!("{path} was asked"),
    })
    .with_database(MIGRATIONS)
}

fn pictures() -> Pictures {
    // A token without an end: nothing is to be renewed.
    let lookup = |name: &str| (name == "QWEN_AUTH_TOKEN").then(|| "a-token-of-some-length".to_owned());
    let app = crate::server::App::new(Config::from_lookup(lookup, Product::NATIVE).unwrap());
    app.pictures(app.accounts.default_account())
}

fn order(count: usize) -> Order {
    Order {
        owner: Owner {
            scope: ScopeKey::new("scope".to_owned()),
            account: AccountId::new("account".to_owned()),
            session_epoch: 1,
        },
        key: request_key("scope", ["a kite"]),
        is_fresh: false,
        text_model: "qwen3-max".to_owned(),
        image_model: None,
        ratio: None,
        prompt: "a kite".to_owned(),
        files: Vec::new(),
        count,
        node: None,
        is_edit: false,
    }
}

/// What a client gets, and how long it takes in seconds.
async fn drawn(site: &Sim, pictures: &Pictures, order: Order) -> (Vec<Drawn>, Result<Outcome>, u64) {
    let begun = site.elapsed();
    let mut progress = pictures.draw(site, order);
    let mut all = Vec::new();
    while let Some(next) = progress.next().await {
        match next {
            Progress::Picture(picture) => all.push(picture),
            Progress::Ended(ended) => return (all, ended, (site.elapsed() - begun).as_secs()),
        }
    }
    panic!("it ended without a word");
}

/// How many pictures the site was asked for.
fn asked(site: &Sim) -> usize {
    site.requests().iter().filter(|request| request.uri().path() == "/api/v2/chat/completions").count()
}

#[tokio::test(start_paused = true)]
async fn a_slow_picture_is_waited_for_and_a_silent_site_given_up() {
    for (pause, expected) in [(80, None), (290, None), (400, Some(ErrorKind::UpstreamTimeout))] {
        let site =
            site(move |_| vec![event(Duration::ZERO, CREATED), picture(seconds(pause))], || EMPTY_CHAT.to_owned());
        let (all, ended, took) = drawn(&site, &pictures(), order(1)).await;
        let error = ended.err();
        assert_eq!(error.as_ref().map(crate::error::Error::kind), expected, "{pause}");
        assert_eq!((all.len(), asked(&site)), (usize::from(expected.is_none()), 1), "{pause}");
        // Two pauses of five seconds between three looks at the chat.
        assert!(took == pause || (expected.is_some() && (300..=312).contains(&took)), "{pause}: {took}");
        assert!(error.is_none_or(|error| error.is_final()), "each one counts");
    }
    // What keeps the connection alive is no picture.
    let beats = |_| (0..100).map(|_| (seconds(10), Ok(Bytes::from_static(b": ping\n\n")))).collect();
    let site = site(beats, || EMPTY_CHAT.to_owned());
    let (_, ended, took) = drawn(&site, &pictures(), order(1)).await;
    assert_eq!((ended.unwrap_err().kind(), asked(&site)), (ErrorKind::UpstreamTimeout, 1));
    assert!((300..=312).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn a_cut_stream_is_looked_up_three_times() {
    let cut = |_| {
        let error = FetchError { kind: FetchErrorKind::Broken, detail: "reset".to_owned() };
        vec![event(Duration::ZERO, CREATED), (seconds(1), Err(error))]
    };
    let site = site(cut, || EMPTY_CHAT.to_owned());
    let (_, ended, took) = drawn(&site, &pictures(), order(1)).await;
    assert_eq!((ended.unwrap_err().kind(), took, asked(&site)), (ErrorKind::UpstreamEmpty, 11, 1));
    let reads = site.requests().iter().filter(|request| request.uri().path() == "/api/v2/chats/chat-1").count();
    assert_eq!(reads, 3);
}

#[tokio::test(start_paused = true)]
async fn an_equal_request_waits_for_the_first_however_long_that_takes() {
    let site = site(|_| vec![event(Duration::ZERO, CREATED), picture(seconds(200))], || EMPTY_CHAT.to_owned());
    let (one, two) = (pictures(), pictures());
    let late = async {
        // Long after the time for which a request belongs to a process that does not renew it.
        site.sleep(seconds(100)).await;
        drawn(&site, &two, order(1)).await
    };
    let (first, second) = futures::future::join(drawn(&site, &one, order(1)), late).await;
    assert_eq!((first.0.len(), second.0.len(), asked(&site)), (1, 1, 1));
    assert_eq!(first.0[0].picture, second.0[0].picture);
    // Ten minutes later it is another one.
    site.sleep(seconds(601)).await;
    let (third, ..) = drawn(&site, &two, order(1)).await;
    assert_eq!((third.len(), asked(&site)), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn two_are_drawn_at_a_time() {
    let site = site(|_| vec![event(Duration::ZERO, CREATED), picture(seconds(30))], || EMPTY_CHAT.to_owned());
    let (all, ended, took) = drawn(&site, &pictures(), order(4)).await;
    assert_eq!((all.len(), ended.unwrap().wanted, took), (4, 4, 60));
}
