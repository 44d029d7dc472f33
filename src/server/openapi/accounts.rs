//! The operations of `/admin/accounts…` and of sessions.

use serde_json::json;

use super::{
    errors::SITE,
    operations::{Operation, about, ok, session as example},
};
use crate::error::ErrorKind as K;

const TAG: &str = "Administration";

pub(super) fn list() -> Operation {
    let account = |name: &str, state: &str, keys: u8| {
        let owner = if state == "missing" { None } else { Some("mei") };
        let (expires_at, checked_at) = (owner.map(|_| 1_798_099_200), owner.map(|_| 1_795_507_200));
        json!({
            "name": name,
            "state": state,
            "expires_at": expires_at,
            "checked_at": checked_at,
            "owner": owner,
            "keys": keys,
            "encrypted": owner.is_some(),
        })
    };
    let list = json!({ "object": "list", "data": [account("default", "valid", 2), account("anna", "missing", 1)] });
    Operation {
        answers: ok("AccountList", list),
        ..about(
            "listAccounts",
            TAG,
            "The accounts, and how their sessions are",
            "`default`, those that `VALID_TOKENS` binds keys to, and those that were given a session. Values of sessions are not shown.",
        )
    }
}

pub(super) fn session() -> Operation {
    Operation {
        answers: ok("Session", example()),
        errors: vec![K::InvalidRequest, K::NotFound],
        ..about("getAccountSession", TAG, "The Qwen session of an account, without its values", "")
    }
}

pub(super) fn replace_session(id: &'static str, summary: &'static str) -> Operation {
    let schema = json!({
        "type": "object",
        "description": "One of the three.",
        "properties": {
            "cookies": { "type": "string", "description": "The `Cookie` header of a signed-in browser." },
            "token": { "type": "string", "description": "The token only." },
            "curl": { "type": "string", "description": "\"Copy as cURL\" of a request to the chat site." },
        },
    });
    let text = json!({ "type": "string", "description": "Any of the three. The server detects the format." });
    Operation {
        body: Some((
            true,
            vec![
                ("application/json", schema, json!({ "cookies": "cna=…; token=…" })),
                ("text/plain", text, json!("curl 'https://chat.qwen.ai/' -b 'cna=…; token=…'")),
            ],
        )),
        answers: ok("Session", example()),
        errors: [&[K::InvalidRequest, K::RequestTooLarge, K::Overloaded, K::UnsupportedEncoding, K::StoreFailed], SITE]
            .concat(),
        ..about(id, TAG, summary, "The site checks the new session first. If the site refuses it, nothing changes.")
    }
}

pub(super) fn delete_session() -> Operation {
    Operation {
        answers: ok("Session", example()),
        errors: vec![K::InvalidRequest, K::NotFound, K::StoreFailed],
        ..about(
            "deleteAccountSession",
            TAG,
            "Deletes the stored session of an account",
            "The account and what it has here stay. `default` uses the configured session again.",
        )
    }
}

pub(super) fn delete() -> Operation {
    Operation {
        answers: ok("DeletedAccount", json!({ "name": "anna", "object": "account.deleted", "deleted": true })),
        errors: vec![K::InvalidRequest, K::NotFound, K::StoreFailed],
        ..about(
            "deleteAccount",
            TAG,
            "Deletes an account",
            "Its session, conversations, responses, files, pictures and videos on this server; nothing at the site. An account that a key names stays, without a session. `default` uses the configured session again. After 503 send the request again: it goes on.",
        )
    }
}
