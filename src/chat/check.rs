//! What every request needs.

use super::attachments::Attachments;
use crate::{
    error::{Error, Result},
    llm::Message,
};

/// Checks that there is something to ask. `field` has the messages in the dialect of the request.
///
/// # Errors
/// `invalid_request` when there is neither text nor an attachment.
pub fn check(field: &str, messages: &[Message], attachments: &Attachments) -> Result<()> {
    if messages.is_empty() {
        return Err(Error::invalid(field, format!("The field '{field}' is empty; it needs at least one message.")));
    }
    let says_nothing = |message: &Message| message.content_text().trim().is_empty() && message.calls().next().is_none();
    if attachments.is_empty() && messages.iter().all(says_nothing) {
        return Err(Error::invalid(field, "The messages hold no text."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_text_there_is_nothing_to_ask() {
        for (messages, param) in [
            ("[]", "messages"),
            (r#"[{"role":"user","content":" "}]"#, "messages"),
            (r#"[{"role":"user","content":null}]"#, "messages"),
        ] {
            assert_eq!(
                check("messages", &crate::chat::test_requests::messages(messages), &Attachments::default())
                    .unwrap_err()
                    .param(),
                Some(param)
            );
        }
    }
}
