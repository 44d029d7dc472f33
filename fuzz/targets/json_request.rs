//! The JSON of a chat request: any input is accepted or rejected with a message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qwen_edge::{
    api::openai::{chat_completions::parse, error_body, wire_form},
    chat::{Attachments, check},
    error::Error,
};

fn read(data: &[u8]) -> Result<(), Error> {
    let mut request = parse(data)?.request;
    let attachments = Attachments::take(&mut request.messages)?;
    check(&request.messages, &attachments)
}

fuzz_target!(|data: &[u8]| {
    if let Err(error) = read(data) {
        assert!((400..500).contains(&wire_form(error.kind()).status) && !error.message().is_empty(), "{error}");
        let body: serde_json::Value = serde_json::from_str(&error_body(&error)).expect("JSON");
        assert_eq!(body["error"]["code"], error.kind().code());
    }
});
