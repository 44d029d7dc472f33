//! A pasted session: it is understood or refused, and a refusal repeats nothing of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qwen_edge::credentials_input;

fuzz_target!(|text: &str| {
    match credentials_input::read(text) {
        Ok(pasted) => assert!(pasted.host.as_deref().is_none_or(|host| host.len() <= text.len() * 3)),
        Err(error) => {
            // What has a meaning of its own may stand in both.
            let told = error.to_string();
            for word in text.split(|character: char| !character.is_ascii_alphanumeric()).filter(|word| word.len() >= 16)
            {
                assert!(!told.contains(word), "{told}");
            }
        }
    }
});
