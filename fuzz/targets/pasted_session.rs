//! Pasted credentials: any input is accepted or rejected, and the error does not repeat the input.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qwen_edge::credentials_input;

fuzz_target!(|text: &str| {
    match credentials_input::read(text) {
        Ok(credentials) => assert!(credentials.host.as_deref().is_none_or(|host| host.len() <= text.len() * 3)),
        Err(error) => {
            // Short words may occur in both.
            let message = error.to_string();
            for word in text.split(|character: char| !character.is_ascii_alphanumeric()).filter(|word| word.len() >= 16)
            {
                assert!(!message.contains(word), "{message}");
            }
        }
    }
});
