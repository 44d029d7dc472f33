//! What a person pastes as a session: a `Cookie` header, a token, or a whole "Copy as cURL" of a browser's developer tools.

mod curl;

use serde_json::Value as Json;

use super::session::Credentials;
use crate::error::{Error, Result};

/// The longest text that is looked at, in bytes. Browsers send no longer `Cookie` headers than some 16 KiB.
pub const MAX_TEXT: usize = 256 * 1024;
const MAX_COOKIES: usize = 32 * 1024;

/// What was found in the text.
#[derive(Debug)]
pub struct Pasted {
    credentials: Credentials,
    /// The host of the copied request.
    host: Option<String>,
}

impl Pasted {
    /// The host that the copied request went to, if it was one.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    pub(crate) fn into_credentials(self) -> Credentials {
        self.credentials
    }
}

/// Reads a JSON object with `cookies`, `token` or `curl`, or the plain text of any of the three, told apart by its look.
///
/// # Errors
/// `invalid_request`: what was looked for and not found, never what was pasted.
pub fn read(text: &str) -> Result<Pasted> {
    if text.len() > MAX_TEXT {
        return Err(wrong("The text is too long to be a session; copy one request's cookies."));
    }
    let text = text.trim().trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err(wrong(
            "The body is empty. Send {\"cookies\": …}, {\"token\": …} or {\"curl\": …}, or the plain text of one of them.",
        ));
    }
    if text.starts_with('{') {
        return from_json(text);
    }
    from_text(text)
}

fn from_json(text: &str) -> Result<Pasted> {
    let json: Json = serde_json::from_str(text).map_err(|_| {
        wrong(
            "The body looks like JSON but is not: send {\"cookies\": \"…\"}, {\"token\": \"…\"} or {\"curl\": \"…\"}.",
        )
    })?;
    let field = |name: &str| match json.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.trim().to_owned())),
        Some(_) => Err(Error::invalid(name.to_owned(), format!("The field '{name}' must be a string."))),
    };
    match (field("curl")?, field("cookies")?, field("token")?) {
        (Some(command), _, _) => from_curl(&command),
        (None, Some(cookies), token) => found(Some(cookies), token, None, None),
        (None, None, Some(token)) => found(None, Some(token), None, None),
        (None, None, None) => {
            Err(wrong("The object has none of the fields 'cookies', 'token' and 'curl'; send one of them."))
        }
    }
}

fn from_text(text: &str) -> Result<Pasted> {
    if curl::is_command(text) {
        return from_curl(text);
    }
    let bare = text.trim_matches(['"', '\'']);
    // A lone token is letters, digits and little else: a cookie has a name before it.
    if bare.contains('=') && !is_padded_token(bare) || bare.to_ascii_lowercase().starts_with("cookie:") {
        found(Some(bare.to_owned()), None, None, None)
    } else {
        found(None, Some(bare.to_owned()), None, None)
    }
}

/// Base64 may end with `=`.
fn is_padded_token(text: &str) -> bool {
    !text.trim_end_matches('=').contains('=') && text.contains('.') && !text.contains(';')
}

fn from_curl(command: &str) -> Result<Pasted> {
    let request = curl::read(command).ok_or_else(|| {
        wrong("The text is no complete cURL command: use \"Copy as cURL\" once more and paste all of it.")
    })?;
    let Some(cookies) = request.cookies else {
        return Err(wrong(
            "The cURL command has no cookies. Copy a request to chat.qwen.ai (such as /api/v1/auths/) while signed in there.",
        ));
    };
    let host = url::Url::parse(&request.url).ok().and_then(|url| url.host_str().map(str::to_owned));
    found(Some(cookies), None, request.user_agent, host)
}

fn found(
    cookies: Option<String>,
    token: Option<String>,
    user_agent: Option<String>,
    host: Option<String>,
) -> Result<Pasted> {
    let cookies = cookies.map(|text| strip(&text, &["cookie:"]));
    let token = token.map(|text| strip(&text, &["authorization:", "bearer ", "token="]));
    let token = token.map(|token| token.trim_end_matches(';').trim_matches(['"', '\'']).to_owned());
    for text in [&cookies, &token, &user_agent].into_iter().flatten() {
        if text.len() > MAX_COOKIES || !text.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)) {
            return Err(wrong(
                "The cookies hold a character that cannot stand in an HTTP header (a line break, or not ASCII), or are too long: copy them again.",
            ));
        }
    }
    let is_token = |token: &String| {
        token.len() >= 8 && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte))
    };
    if token.as_ref().is_some_and(|token| !is_token(token)) {
        return Err(wrong(
            "This is neither a token, nor cookies, nor a cURL command. A token is one word of letters and digits; cookies look like 'name=value; name=value'.",
        ));
    }
    let credentials = Credentials::new(cookies.as_deref().filter(|text| !text.is_empty()), token.as_deref());
    match credentials.filter(|it| it.token().is_some() || it.refresh_token().is_some()) {
        Some(credentials) => Ok(Pasted { credentials: credentials.of_browser(user_agent), host }),
        None => Err(wrong(
            "The cookies hold no 'token', so nobody is signed in with them. Sign in at chat.qwen.ai and copy them again.",
        )),
    }
}

/// The text without what people copy along with it.
fn strip(text: &str, prefixes: &[&str]) -> String {
    let mut text = text.trim();
    for prefix in prefixes {
        let has_it = text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        if has_it {
            text = text.get(prefix.len()..).unwrap_or_default().trim();
        }
    }
    text.to_owned()
}

fn wrong(message: &'static str) -> Error {
    Error::new(crate::error::ErrorKind::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJpZCI6InUifQ.c2ln";

    fn cookie(text: &str) -> Result<String> {
        read(text).map(|pasted| pasted.into_credentials().cookie().to_owned())
    }

    #[test]
    fn each_form_is_told_by_its_look() {
        let jar = format!("cna=a/b+c; token={JWT}; isg=x==");
        for text in [
            jar.clone(),
            format!("  {jar}\n"),
            format!("Cookie: {jar}"),
            format!("cookie:{jar}"),
            format!("\"{jar}\""),
            format!("{{\"cookies\": \"{jar}\"}}"),
            format!("{{\"curl\": \"curl 'https://chat.qwen.ai/' -b '{jar}'\"}}"),
            format!("curl 'https://chat.qwen.ai/api/v1/auths/' -H 'accept: */*' -H 'Cookie: {jar}'"),
            format!("\u{feff}curl.exe \"https://chat.qwen.ai/\" --cookie \"{jar}\""),
        ] {
            assert_eq!(cookie(&text).unwrap(), jar, "{text}");
        }
        for text in [
            JWT.to_owned(),
            format!("\"{JWT}\""),
            format!("Bearer {JWT}"),
            format!("Authorization: Bearer {JWT}"),
            format!("token={JWT}"),
            format!("{{\"token\": \"{JWT}\"}}"),
            format!("{{\"token\": \"token={JWT};\", \"cookies\": \"\"}}"),
        ] {
            assert_eq!(cookie(&text).unwrap(), format!("token={JWT}"), "{text}");
        }
        let both = format!("{{\"cookies\": \"a=1\", \"token\": \"{JWT}\"}}");
        assert_eq!(cookie(&both).unwrap(), format!("a=1; token={JWT}"));
        assert_eq!(cookie(&format!("{JWT}==")).unwrap(), format!("token={JWT}=="));
        assert_eq!(cookie("refresh_token=abc; cna=1").unwrap(), "refresh_token=abc; cna=1");
    }

    #[test]
    fn the_browser_and_the_host_come_along_with_a_request() {
        let pasted = read("curl 'https://chat.qwen.ai/x' -H 'user-agent: Mine/1.0' -b 'token=abcdefgh'").unwrap();
        assert_eq!(pasted.host(), Some("chat.qwen.ai"));
        assert_eq!(pasted.into_credentials().user_agent(), Some("Mine/1.0"));
    }

    #[test]
    fn what_is_no_session_is_told_without_repeating_it() {
        for text in [
            "",
            " \n",
            "{",
            "{}",
            "{\"cookies\": 5}",
            "{\"cookies\": \"a=1; secret=2\"}",
            "a=1; secret=2",
            "secret words that mean nothing",
            "secret",
            "curl",
            "curl 'https://chat.qwen.ai/secret",
            "curl 'https://chat.qwen.ai/secret'",
            "token=secret\u{e9}\u{e9}\u{e9}",
            "token=secret1; a=b\r\nx-evil: 1",
            "<html>secret</html>",
        ] {
            let error = read(text).map(|_| ()).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{text}: {error}");
        }
        assert!(read(&"x".repeat(MAX_TEXT + 1)).is_err());
        assert!(read(&format!("token={}", "x".repeat(MAX_COOKIES))).is_err());
    }
}
