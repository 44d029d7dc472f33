//! The site's event stream, translated for a client: any split of its bytes gives the same, and what comes out is an event
//! stream of JSON.
#![no_main]

mod pieces;

use libfuzzer_sys::fuzz_target;
use qwen_edge::{
    api::openai::{FinishReason, Identity},
    chat::{Delivery, Output},
    error::Error,
    upstream::qwen::Decoder,
};

fn client_gets(delivery: &Delivery, pieces: &[&[u8]]) -> String {
    let identity = Identity { id: "chatcmpl-1".to_owned(), created: 1, model: "m".to_owned() };
    let mut output = Output::new(identity, delivery, vec!["STOP".to_owned()], Some(500));
    let mut stream = Decoder::default();
    let mut read = || -> Result<(), Error> {
        for piece in pieces {
            if !stream.feed(piece, &mut output)? {
                return Ok(());
            }
        }
        stream.finish(&mut output)
    };
    let mut whole = None;
    match read() {
        Ok(()) => {
            let finish = stream.finished().unwrap_or(FinishReason::Stop);
            whole = output.finish(finish, stream.usage(), stream.sources());
        }
        Err(error) if output.is_stream() && output.began() => output.fail(&error),
        Err(error) => return qwen_edge::api::openai::error_body(&error),
    }
    match whole {
        Some(whole) => whole,
        None => String::from_utf8(output.take().to_vec()).expect("text"),
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((cuts, data)) = pieces::parts(input) else { return };
    for delivery in [Delivery::Whole, Delivery::Stream { include_usage: true }] {
        let at_once = client_gets(&delivery, &[data]);
        assert_eq!(at_once, client_gets(&delivery, &pieces::pieces(cuts, data)));
        if at_once.starts_with('{') {
            serde_json::from_str::<serde_json::Value>(&at_once).expect("an object");
            continue;
        }
        for event in at_once.split_terminator("\n\n") {
            let data = event.strip_prefix("data: ").expect("nothing but data");
            assert!(!data.contains(['\n', '\r']));
            assert!(data == "[DONE]" || serde_json::from_str::<serde_json::Value>(data).is_ok(), "{data}");
        }
    }
});
