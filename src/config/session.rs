//! The Qwen session that the variables give.

use url::Url;

use super::lookup::{ConfigError, Lookup, invalid};
use crate::credentials_input::{self, CredentialsInput};

/// Reads `QWEN_COOKIES` and `QWEN_AUTH_TOKEN`. Each may hold any form in which a session is copied, and either may hold what
/// belongs into the other.
pub(super) fn session<F: Fn(&str) -> Option<String>>(
    env: &Lookup<F>,
    base_url: &str,
) -> Result<CredentialsInput, ConfigError> {
    let mut session = CredentialsInput::default();
    let mut first = None;
    for name in ["QWEN_COOKIES", "QWEN_AUTH_TOKEN"] {
        let Some(value) = env.text(name) else { continue };
        let CredentialsInput { cookies, token, user_agent, host } =
            credentials_input::read_part(&value).map_err(|error| invalid(name, error.message()))?;
        let is_own = |host: &str| {
            host == "qwen.ai"
                || host.ends_with(".qwen.ai")
                || Url::parse(base_url).is_ok_and(|url| url.host_str() == Some(host))
        };
        if host.is_some_and(|host| !is_own(&host)) {
            return Err(invalid(name, "is of another site: copy the cookies of chat.qwen.ai"));
        }
        let is_short = token.as_ref().is_some_and(|token| token.expose().len() < credentials_input::MIN_TOKEN_LENGTH);
        if is_short && name == "QWEN_COOKIES" {
            return Err(invalid(name, credentials_input::UNRECOGNIZED));
        }
        session.cookies = session.cookies.or(cookies);
        session.token = session.token.or(token);
        session.user_agent = session.user_agent.or(user_agent);
        first = first.or(Some(name));
    }
    match first {
        Some(name) if !session.has_token() => Err(invalid(name, credentials_input::NO_TOKEN)),
        _ => Ok(session),
    }
}
