//! Reads a session that a person pastes: a `Cookie` header, a token, a request that the browser's developer tools copied
//! ("Copy as cURL", "Copy as fetch"), or a list of cookies that an extension exported. Does not know the chat site's API.

mod curl;
mod fetch;
mod jar;

use serde_json::Value as Json;

use crate::{
    error::{Error, ErrorKind, Result},
    secret::Secret,
};
use jar::Jar;

/// The longest text that is read, in bytes.
pub const MAX_TEXT: usize = 256 * 1024;
/// The longest value of a header, in bytes. Browsers send `Cookie` headers of at most about 16 KiB.
const MAX_HEADER_VALUE: usize = 32 * 1024;

/// The credentials that a text contains. All values are valid in an HTTP header.
#[derive(Debug, Default)]
pub struct CredentialsInput {
    /// A `Cookie` header.
    pub cookies: Option<Secret>,
    /// A token without cookies.
    pub token: Option<Secret>,
    /// The `User-Agent` of the copied request.
    pub user_agent: Option<String>,
    /// The host of the copied request; of exported cookies only if none is of the chat site.
    pub host: Option<String>,
}

impl CredentialsInput {
    /// Whether the credentials include a token or a refresh token.
    #[must_use]
    pub fn has_token(&self) -> bool {
        let has = |name| self.cookies.as_ref().is_some_and(|jar| cookie_value(jar.expose(), name).is_some());
        self.token.is_some() || has("token") || has("refresh_token")
    }
}

/// Returns the value of a cookie in a `Cookie` header.
#[must_use]
pub fn cookie_value<'a>(jar: &'a str, wanted: &str) -> Option<&'a str> {
    jar.split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, value)| *name == wanted && !value.is_empty())
        .map(|(_, value)| value)
}

/// Reads a JSON object with `cookies`, `token` or `curl`, or text in any of the formats. Detects the format.
///
/// # Errors
/// `invalid_request`. The message says what is missing, and never repeats the text.
pub fn read(text: &str) -> Result<CredentialsInput> {
    let input = read_part(text)?;
    if input.token.as_ref().is_some_and(|token| token.expose().len() < MIN_TOKEN_LENGTH) {
        return Err(invalid(UNRECOGNIZED));
    }
    if input.has_token() { Ok(input) } else { Err(invalid(NO_TOKEN)) }
}

/// The shortest text without a name that counts as a token, in characters.
pub const MIN_TOKEN_LENGTH: usize = 8;
/// The message for a text in none of the formats.
pub const UNRECOGNIZED: &str = "This is neither a token, nor cookies, nor a copied request. A token is one word of letters and digits; cookies look like 'name=value; name=value'.";

/// The message for cookies without a token.
pub const NO_TOKEN: &str =
    "The cookies hold no 'token', so nobody is signed in with them. Sign in at chat.qwen.ai and copy them again.";

/// Like [`read`], but accepts text without a token.
///
/// # Errors
/// Like [`read`].
pub fn read_part(text: &str) -> Result<CredentialsInput> {
    if text.len() > MAX_TEXT {
        return Err(invalid("The text is too long to be a session; copy one request's cookies."));
    }
    let text = text.trim().trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err(invalid(
            "The body is empty. Send {\"cookies\": …}, {\"token\": …} or {\"curl\": …}, or the plain text of one of them.",
        ));
    }
    if text.starts_with(['{', '[']) {
        return from_json(text);
    }
    from_text(text)
}

fn from_json(text: &str) -> Result<CredentialsInput> {
    let json: Json = serde_json::from_str(text).map_err(|_| {
        invalid("It looks like JSON but is not: send {\"cookies\": \"…\"}, {\"token\": \"…\"} or {\"curl\": \"…\"}.")
    })?;
    if let Some(jar) = jar::from_json(&json) {
        return from_jar(jar);
    }
    let field = |name: &str| match json.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.trim().to_owned())),
        Some(_) => Err(Error::invalid(name.to_owned(), format!("The field '{name}' must be a string."))),
    };
    match (field("curl")?, field("cookies")?, field("token")?) {
        (Some(command), _, _) => from_text(&command),
        // The field may have any of the formats, also a JSON list of cookies.
        (None, Some(cookies), None) => from_text(&cookies),
        (None, Some(cookies), token) => found(Some(cookies), token, None, None),
        (None, None, Some(token)) => found(None, Some(token), None, None),
        (None, None, None) => {
            Err(invalid("The object has none of the fields 'cookies', 'token' and 'curl'; send one of them."))
        }
    }
}

fn from_text(text: &str) -> Result<CredentialsInput> {
    if curl::is_command(text) {
        return from_request(curl::read(text), "cURL command");
    }
    if fetch::is_call(text) {
        return from_request(fetch::read(text), "fetch call");
    }
    if text.starts_with('[')
        && let Some(jar) = serde_json::from_str(text).ok().as_ref().and_then(jar::from_json)
    {
        return from_jar(jar);
    }
    if let Some(jar) = jar::from_netscape(text) {
        return from_jar(jar);
    }
    let bare = unquoted(text);
    // A cookie has a name and `=` before its value.
    if bare.contains('=') && !is_padded_token(bare) || bare.to_ascii_lowercase().starts_with("cookie:") {
        found(Some(bare.to_owned()), None, None, None)
    } else {
        found(None, Some(bare.to_owned()), None, None)
    }
}

/// Whether the text is a token in base64 with padding (`=`) at its end.
fn is_padded_token(text: &str) -> bool {
    !text.trim_end_matches('=').contains('=') && text.contains('.') && !text.contains(';')
}

fn from_jar(jar: Jar) -> Result<CredentialsInput> {
    let Jar { cookies, host } = jar;
    if cookies.is_empty() {
        return Err(invalid(
            "The list holds no cookies of chat.qwen.ai. Export them while that page is open and signed in.",
        ));
    }
    found(Some(cookies), None, None, host)
}

fn from_request(request: Option<curl::Request>, what: &str) -> Result<CredentialsInput> {
    let request = request.ok_or_else(|| {
        let problem = format!("The text is not a complete {what}: copy it from the browser again and paste all of it.");
        Error::new(ErrorKind::InvalidRequest, problem)
    })?;
    let curl::Request { url, cookies, user_agent, authorization } = request;
    if cookies.is_none() && authorization.is_none() {
        let problem = format!(
            "The {what} has no cookies. Use \"Copy as cURL\" or \"Copy as fetch (Node.js)\" on a request to chat.qwen.ai (such as /api/v1/auths/) while signed in there."
        );
        return Err(Error::new(ErrorKind::InvalidRequest, problem));
    }
    let host = url::Url::parse(&url).ok().and_then(|url| url.host_str().map(str::to_owned));
    let token = authorization.filter(|_| cookies.is_none());
    found(cookies, token, user_agent, host)
}

fn found(
    cookies: Option<String>,
    token: Option<String>,
    user_agent: Option<String>,
    host: Option<String>,
) -> Result<CredentialsInput> {
    let cookies = cookies.map(|text| unquoted(&without_prefixes(unquoted(&text), &["cookie:"])).to_owned());
    let token = token.map(|text| without_prefixes(unquoted(&text), &["authorization:", "bearer ", "token="]));
    let token = token.map(|token| token.trim_end_matches(';').trim_matches(['"', '\'']).to_owned());
    for text in [&cookies, &token, &user_agent].into_iter().flatten() {
        if text.len() > MAX_HEADER_VALUE || !text.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)) {
            return Err(invalid(
                "The cookies hold a character that cannot stand in an HTTP header (a line break, or not ASCII), or are too long: copy them again.",
            ));
        }
    }
    let is_token = |token: &String| {
        !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte))
    };
    if token.as_ref().is_some_and(|token| !is_token(token)) {
        return Err(invalid(UNRECOGNIZED));
    }
    let secret = |text: Option<String>| text.filter(|text| !text.is_empty()).map(Secret::new);
    Ok(CredentialsInput { cookies: secret(cookies), token: secret(token), user_agent, host })
}

/// Returns the text without the quotes around it. Keeps the quotes within a cookie.
fn unquoted(text: &str) -> &str {
    let text = text.trim();
    let inner = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\'')).map_or(text, str::trim)
}

/// Returns the text without the prefixes that people copy with it.
fn without_prefixes(text: &str, prefixes: &[&str]) -> String {
    let mut text = text.trim();
    for prefix in prefixes {
        let has_prefix = text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        if has_prefix {
            text = text.get(prefix.len()..).unwrap_or_default().trim();
        }
    }
    text.to_owned()
}

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JWT: &str = "eyJhbGciOiJIUzI1NiJ9.eyJpZCI6InUifQ.c2ln";

    fn cookie(text: &str) -> Result<String> {
        read(text).map(|input| {
            let CredentialsInput { cookies, token, .. } = input;
            let shown = |secret: &Secret| secret.expose().to_owned();
            match (cookies.as_ref().map(shown), token.as_ref().map(shown)) {
                (Some(jar), Some(token)) => format!("{jar} + {token}"),
                (Some(jar), None) => jar,
                (None, token) => format!("token={}", token.unwrap()),
            }
        })
    }

    #[test]
    fn each_format_is_detected() {
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
            format!("Cookie: \"{jar}\""),
            format!("'Cookie: {jar}'"),
            format!(
                "fetch(\"https://chat.qwen.ai/api/v1/auths/\", {{ \"headers\": {{ \"cookie\": \"{jar}\" }}, \"method\": \"GET\" }});"
            ),
            format!(
                "{{\"curl\": \"fetch(\\\"https://chat.qwen.ai/\\\", {{\\\"headers\\\": {{\\\"cookie\\\": \\\"{jar}\\\"}}}})\"}}"
            ),
            format!(
                r#"[{{"domain":".qwen.ai","name":"cna","value":"a/b+c"}},{{"domain":"chat.qwen.ai","name":"token","value":"{JWT}"}},{{"domain":".qwen.ai","name":"isg","value":"x=="}}]"#
            ),
            format!(
                "# Netscape HTTP Cookie File\n.qwen.ai\tTRUE\t/\tTRUE\t0\tcna\ta/b+c\n#HttpOnly_.qwen.ai\tTRUE\t/\tTRUE\t0\ttoken\t{JWT}\n.qwen.ai\tTRUE\t/\tTRUE\t0\tisg\tx=="
            ),
        ] {
            assert_eq!(cookie(&text).unwrap(), jar, "{text}");
        }
        for text in [
            JWT.to_owned(),
            format!("\"{JWT}\""),
            format!("Bearer {JWT}"),
            format!("Authorization: Bearer {JWT}"),
            format!("token={JWT}"),
            format!("\"Bearer {JWT}\""),
            format!("'token={JWT}'"),
            format!("bearer  {JWT} "),
            format!("fetch(\"https://chat.qwen.ai/\", {{\"headers\": {{\"Authorization\": \"Bearer {JWT}\"}}}})"),
            format!("curl 'https://chat.qwen.ai/' -H 'authorization: Bearer {JWT}'"),
            format!("{{\"token\": \"{JWT}\"}}"),
            format!("{{\"token\": \"token={JWT};\", \"cookies\": \"\"}}"),
        ] {
            assert_eq!(cookie(&text).unwrap(), format!("token={JWT}"), "{text}");
        }
        assert_eq!(cookie("token=abcdefgh; tfstk=\"q\"").unwrap(), "token=abcdefgh; tfstk=\"q\"");
        let both = format!("{{\"cookies\": \"a=1\", \"token\": \"{JWT}\"}}");
        assert_eq!(cookie(&both).unwrap(), format!("a=1 + {JWT}"));
        assert_eq!(cookie(&format!("{JWT}==")).unwrap(), format!("token={JWT}=="));
        assert_eq!(cookie("refresh_token=abc; cna=1").unwrap(), "refresh_token=abc; cna=1");
    }

    #[test]
    fn a_copied_request_gives_its_browser_and_its_host() {
        let input = read("curl 'https://chat.qwen.ai/x' -H 'user-agent: Mine/1.0' -b 'token=abcdefgh'").unwrap();
        assert_eq!(input.host.as_deref(), Some("chat.qwen.ai"));
        assert_eq!(input.user_agent.as_deref(), Some("Mine/1.0"));
    }

    #[test]
    fn errors_do_not_repeat_the_text() {
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
            "[]",
            "[{\"name\": \"a\", \"value\": \"secret\"}]",
            "[\"secret\"",
            "fetch(\"https://chat.qwen.ai/secret\", {\"headers\": {\"accept\": \"*/*\"}});",
            "fetch(\"https://chat.qwen.ai/secret\", {",
            "# Netscape HTTP Cookie File\n.qwen.ai\tTRUE\t/\tTRUE\t0\tcna\tsecret",
        ] {
            let error = read(text).map(|_| ()).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{text}: {error}");
        }
        assert!(read(&"x".repeat(MAX_TEXT + 1)).is_err());
        assert!(read(&format!("token={}", "x".repeat(MAX_HEADER_VALUE + 1))).is_err());
    }
}
