//! A turn with tools on the virtual clock: where it is stopped, when it is asked once more, and what fills the silence meanwhile.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    Answer,
    engine_tests::{
        Piece, STREAM, TIMING, asked, count, created, delta, end, event, json as answered, owner, pieces, prepared_for,
        seconds, services, stream,
    },
    test_requests::request,
};
use crate::{
    api::openai::chat_completions::ChatDelivery,
    error::ErrorKind,
    platform::{Clock as _, FetchResponse, Payload, testing::Sim},
    store::MIGRATIONS,
};

/// A site that answers turns as `turn` says, which gets how many turns came before, and that can be stopped.
fn site(mut turn: impl FnMut(usize) -> FetchResponse + Send + 'static) -> Sim {
    let mut turns = 0;
    Sim::answering(move |request: &http::Request<Payload>, _| match request.uri().path() {
        "/api/v2/chats/new" => Ok(answered(200, r#"{"success":true,"data":{"id":"new-chat"}}"#)),
        "/api/v2/chat/completions/stop" => Ok(answered(200, r#"{"success":true}"#)),
        "/api/v2/chat/completions" => {
            turns += 1;
            Ok(turn(turns - 1))
        }
        path => panic!("{path} was asked"),
    })
    .with_database(MIGRATIONS)
}

/// A turn whose request has a tool, and these fields more.
async fn answer(platform: &Sim, fields: &str, delivery: ChatDelivery) -> Answer<Sim> {
    answer_to(platform, r#"[{"role":"user","content":"hi"}]"#, fields, delivery).await
}

async fn answer_to(platform: &Sim, messages: &str, fields: &str, delivery: ChatDelivery) -> Answer<Sim> {
    let schema = r#"{"type":"object","properties":{"path":{"type":"string"}},"required":["path"]}"#;
    let tools = format!(r#"[{{"type":"function","function":{{"name":"read","parameters":{schema}}}}}]"#);
    let request = request(&format!(r#"{{"messages":{messages},"tools":{tools}{fields}}}"#));
    prepared_for(platform, &services(), owner(), request, delivery, TIMING).await
}

const REQUIRED: &str = r#","tool_choice":"required""#;
/// A call as text, within a JSON text.
const CALL: &str = r#"[TOOL CALL]\n{\"name\":\"read\",\"arguments\":{\"path\":\"a\"}}\n[END TOOL CALL]"#;

fn native(pause: Duration, arguments: &str) -> Piece {
    let call = json!({"name": "read", "arguments": arguments});
    let delta =
        json!({"role": "assistant", "content": "", "phase": "answer", "status": "typing", "function_call": call});
    event(pause, &json!({"choices": [{"delta": delta}], "response_id": "r"}).to_string())
}

fn refused(pause: Duration) -> Piece {
    let content = "Tool read does not exists.";
    let delta = json!({"role": "function", "content": content, "phase": "answer", "status": "typing", "name": "read"});
    event(pause, &json!({"choices": [{"delta": delta}], "response_id": "r"}).to_string())
}

/// The bodies of the requests to this path.
fn bodies(platform: &Sim, path: &str) -> Vec<Value> {
    let requests = platform.requests();
    let of_path = requests.iter().filter(|request| request.uri().path() == path);
    let body = |payload: &Payload| payload.pieces().flat_map(|piece| piece.to_vec()).collect::<Vec<u8>>();
    of_path.map(|request| serde_json::from_slice(&body(request.body())).unwrap()).collect()
}

const COMPLETIONS: &str = "/api/v2/chat/completions";
const STOP: &str = "/api/v2/chat/completions/stop";

#[tokio::test(start_paused = true)]
async fn the_site_is_stopped_where_it_refuses_the_call() {
    let platform = site(|_| {
        let more = (0..100).map(|_| delta(seconds(1), "sorry"));
        let call = [created(), native(seconds(1), ""), native(seconds(1), r#"{"path":"a"}"#), refused(seconds(1))];
        stream(call.into_iter().chain(more))
    });
    let mut answer = answer(&platform, "", STREAM).await;
    answer.head().await.unwrap();
    let pieces = pieces(&platform, answer).await;
    let (at, last) = pieces.last().unwrap();
    assert!(at / 1000 == 3 && last.contains(r#""finish_reason":"tool_calls""#), "{pieces:?}");
    assert_eq!((count(&pieces, r#""name":"read""#), count(&pieces, "sorry"), count(&pieces, "does not")), (1, 0, 0));
    assert_eq!(bodies(&platform, STOP), [json!({"chat_id": "new-chat", "response_id": "r"})]);
    assert_eq!(bodies(&platform, COMPLETIONS).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_turn_of_refusals_alone_is_asked_once_more() {
    let platform = site(|turn| match turn {
        0 => stream([created(), delta(seconds(1), "Tool read does not exists."), end(seconds(1))]),
        _ => stream([created(), delta(seconds(1), CALL), end(seconds(1))]),
    });
    let whole = answer(&platform, "", ChatDelivery::WHOLE).await.whole().await.unwrap();
    assert!(str::from_utf8(&whole).unwrap().contains(r#""name":"read""#));
    let asked: Vec<Value> = bodies(&platform, COMPLETIONS);
    assert_eq!(asked.len(), 2);
    let platform = site(|_| stream([created(), delta(seconds(1), "Tool read does not exists."), end(seconds(1))]));
    let error = answer(&platform, "", ChatDelivery::WHOLE).await.whole().await.unwrap_err();
    assert_eq!((error.kind(), bodies(&platform, COMPLETIONS).len()), (ErrorKind::UpstreamInvalid, 2));
}

/// The place in the chat that a turn continues from, and its text.
fn place(body: &Value) -> (&Value, &Value, &str) {
    let message = &body["messages"][0];
    (&body["chat_id"], &body["parent_id"], message["content"].as_str().unwrap())
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_used_is_asked_for_once_more_at_the_same_place() {
    for (delivery, good) in [(STREAM, true), (ChatDelivery::WHOLE, true), (STREAM, false), (ChatDelivery::WHOLE, false)]
    {
        let platform = site(move |turn| {
            let text = if good && turn == 1 { CALL } else { "No tool is needed." };
            stream([created(), delta(seconds(1), text), end(seconds(1))])
        });
        let mut answer = answer(&platform, REQUIRED, delivery).await;
        let got = answer.whole().await.map_err(|error| error.kind());
        assert_eq!(got.is_ok(), good);
        assert!(good || got == Err(ErrorKind::ToolChoiceUnsatisfied));
        let turns = bodies(&platform, COMPLETIONS);
        assert_eq!(turns.len(), 2, "once, and no more");
        let ((chat, parent, first), (same_chat, same_parent, second)) = (place(&turns[0]), place(&turns[1]));
        assert_eq!((chat, parent, chat), (same_chat, same_parent, &json!("new-chat")));
        assert!(parent.is_null() && second.starts_with(first) && second.len() > first.len(), "{second}");
        let made = asked(&platform).iter().filter(|path| path.contains("/chats/new")).count();
        assert_eq!((made, bodies(&platform, STOP).len()), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_is_not_asked_for_again() {
    // Text was sent before the block that cannot be read: it is text as well.
    let platform = site(|_| {
        let block = r#"[TOOL CALL]\n{\"path\":\"a\"}\n[END TOOL CALL]"#;
        stream([created(), delta(seconds(1), "Let me look."), delta(seconds(1), block), end(seconds(1))])
    });
    let mut answer = answer(&platform, "", STREAM).await;
    answer.head().await.unwrap();
    let pieces = pieces(&platform, answer).await;
    assert_eq!((bodies(&platform, COMPLETIONS).len(), count(&pieces, "[TOOL CALL]")), (1, 1), "{pieces:?}");
}

#[tokio::test(start_paused = true)]
async fn heartbeats_are_sent_while_text_is_held_back() {
    for (fields, text) in
        [(REQUIRED, "I think. "), ("", r#"[TOOL CALL]\n{\"name\":\"read\",\"arguments\":{\"path\":\""#)]
    {
        let closing = if fields.is_empty() { r#"\"}}\n[END TOOL CALL]"# } else { CALL };
        let platform = site(move |_| {
            let held = std::iter::once(delta(seconds(1), text)).chain((0..50).map(|_| delta(seconds(1), "x")));
            stream([created()].into_iter().chain(held).chain([delta(seconds(1), closing), end(Duration::ZERO)]))
        });
        let mut answer = answer(&platform, fields, STREAM).await;
        answer.head().await.unwrap();
        assert_eq!(platform.elapsed().as_secs(), 10, "the status does not wait for what is held back");
        let pieces = pieces(&platform, answer).await;
        let call = pieces.iter().position(|(_, piece)| piece.contains(r#""name":"read""#)).unwrap();
        let (beats, rest) = pieces.split_at(call);
        assert!(beats.len() >= 2 && beats.iter().all(|(_, piece)| piece == ": keep-alive\n\n"), "{beats:?}");
        let times: Vec<u64> = [10_000].into_iter().chain(pieces.iter().map(|(at, _)| *at)).collect();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= 15_000), "{times:?}");
        assert_eq!(rest[0].0 / 1000, 52);
        assert!(rest.last().unwrap().1.ends_with("data: [DONE]\n\n"));
    }
}
