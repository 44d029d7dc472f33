//! The upstream's event stream, translated for a client. The result does not depend on the packet boundaries and is an event
//! stream of JSON.
#![no_main]

mod pieces;

use libfuzzer_sys::fuzz_target;
use qwen_edge::{
    api::{
        AnswerMeta, Delivery, Encoder,
        anthropic::MessagesDelivery,
        openai::{self, chat_completions::ChatDelivery},
    },
    chat::Translator,
    unix_time::UnixSeconds,
    upstream::Decoder,
};

fn client_gets(delivery: Delivery, pieces: &[&[u8]]) -> String {
    let meta = AnswerMeta { id: "chatcmpl-1".to_owned(), created: UnixSeconds::new(1), model: "m".to_owned() };
    let encoder = Encoder::new(meta, delivery);
    match Translator::new(Decoder::qwen(), encoder, vec!["STOP".to_owned()], Some(500)).run(pieces.iter().copied()) {
        Ok(bytes) => String::from_utf8(bytes.to_vec()).expect("text"),
        Err(error) => openai::error_body(&error),
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((cuts, data)) = pieces::parts(input) else { return };
    let chats = [ChatDelivery::WHOLE, ChatDelivery::stream(true)].map(Delivery::ChatCompletions);
    let messages = [true, false].map(|is_stream| Delivery::Messages(MessagesDelivery { is_stream, input_tokens: 1 }));
    for delivery in chats.into_iter().chain(messages) {
        let at_once = client_gets(delivery.clone(), &[data]);
        assert_eq!(at_once, client_gets(delivery.clone(), &pieces::pieces(cuts, data)));
        if at_once.starts_with('{') {
            serde_json::from_str::<serde_json::Value>(&at_once).expect("an object");
            continue;
        }
        for event in at_once.split_terminator("\n\n") {
            let event = match delivery {
                Delivery::Messages(_) => event.split_once('\n').expect("a name and data").1,
                _ => event,
            };
            let data = event.strip_prefix("data: ").expect("a data line");
            assert!(!data.contains(['\n', '\r']));
            assert!(data == "[DONE]" || serde_json::from_str::<serde_json::Value>(data).is_ok(), "{data}");
        }
    }
});
