//! The JSON of a chat request: any input is accepted or rejected with a message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qwen_edge::{
    api::Dialect,
    chat::{Attachments, check},
    error::Error,
};

fn read(dialect: Dialect, data: &[u8]) -> Result<(), Error> {
    let mut request = dialect.parse(data)?.request;
    let attachments = Attachments::take(&mut request.messages)?;
    check(&request.messages, &attachments)
}

fuzz_target!(|data: &[u8]| {
    for dialect in [Dialect::ChatCompletions, Dialect::Messages] {
        if let Err(error) = read(dialect, data) {
            let reply = dialect.error(&error, "req_1");
            assert!((400..500).contains(&reply.status) && !error.message().is_empty(), "{error}");
            let body: serde_json::Value = serde_json::from_str(&reply.body).expect("JSON");
            assert_eq!(body["error"]["code"], error.kind().code());
        }
    }
});
