//! The JSON of a chat request: whatever it is, it is understood or refused with words.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qwen_edge::{
    api::openai::{error_body, parse, wire_form},
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
        let told: serde_json::Value = serde_json::from_str(&error_body(&error)).expect("JSON");
        assert_eq!(told["error"]["code"], error.kind().code());
    }
});
