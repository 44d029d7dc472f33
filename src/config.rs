//! The configuration: one list of names for the native server's environment and the Worker's variables.

use std::{collections::BTreeMap, fmt, net::IpAddr, str::FromStr, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use url::Url;

use crate::{
    credentials_input::{self, CredentialsInput},
    origin::Origin,
    secret::Secret,
};

/// A variable that is wrong. Its value is never part of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The variable.
    pub name: &'static str,
    /// What is wrong and what it should be.
    pub problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.problem)
    }
}

impl std::error::Error for ConfigError {}

/// When chats that this server created upstream are deleted there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteChats {
    /// Never.
    Never,
    /// Throw-away chats that no conversation continues.
    Unmatched,
    /// Chats past `CONVERSATION_TTL_DAYS`.
    Expired,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What differs between the two products. Whichever starts hands its own in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// The word in `GET /`.
    pub name: &'static str,
    /// Whether anybody on the internet reaches it. The other one listens on loopback unless it has keys or is told otherwise.
    pub is_public: bool,
    /// Whether several processes share the database, so that what is not stored reaches no other.
    pub is_distributed: bool,
    /// Whether it keeps counters for `GET /metrics`.
    pub keeps_metrics: bool,
    /// The default of `COALESCE_MS`.
    pub coalesce_ms: u64,
    /// How much memory the bodies of all requests may take together, in bytes.
    pub body_memory: usize,
    /// The largest chat request, in bytes.
    pub chat_body: usize,
    /// How many requests at once may fetch and upload what is attached to them. Each holds up to 20 MiB for each of three
    /// files.
    pub attaching: usize,
}

impl Product {
    /// The native server.
    pub const NATIVE: Self = Self {
        name: "box",
        is_public: false,
        is_distributed: false,
        keeps_metrics: true,
        coalesce_ms: 0,
        body_memory: 256 * MIB as usize,
        chat_body: 32 * MIB as usize,
        attaching: 64,
    };
    /// The Cloudflare Worker.
    pub const WORKER: Self = Self {
        name: "edge",
        is_public: true,
        is_distributed: true,
        keeps_metrics: false,
        coalesce_ms: 20,
        body_memory: 48 * MIB as usize,
        chat_body: 16 * MIB as usize,
        attaching: 8,
    };
}

/// Every setting of the program, checked. README's table explains each.
#[derive(Clone, Debug)]
pub struct Config {
    /// The product that runs.
    pub product: Product,
    /// `QWEN_COOKIES`
    pub cookies: Option<Secret>,
    /// `QWEN_AUTH_TOKEN`
    pub auth_token: Option<Secret>,
    /// `VALID_TOKENS`
    pub valid_tokens: Vec<Secret>,
    /// `ALLOW_ANONYMOUS`
    pub allow_anonymous: bool,
    /// `ALLOWED_ORIGINS`
    pub allowed_origins: Vec<Origin>,
    /// `ADMIN_TOKEN`
    pub admin_token: Option<Secret>,
    /// `SESSION_KEY`, 32 bytes
    pub session_key: Option<Secret>,
    /// `PUBLIC_STS_TOKEN`
    pub public_sts_token: bool,
    /// `QWEN_BASE_URL`, without a trailing slash
    pub base_url: String,
    /// `QWEN_AUTH_URL`, without a trailing slash
    pub auth_url: String,
    /// `OSS_URL`, without a trailing slash
    pub oss_url: Option<String>,
    /// `QWEN_USER_AGENT`
    pub user_agent: String,
    /// `QWEN_WEB_VERSION`
    pub web_version: String,
    /// `QWEN_HEADERS`, names in lower case
    pub extra_headers: Vec<(String, Secret)>,
    /// `QWEN_BEARER`
    pub bearer: bool,
    /// `DEFAULT_MODEL`
    pub default_model: String,
    /// `MODEL_ALIASES`, names in lower case, without the built-in ones
    pub model_aliases: BTreeMap<String, String>,
    /// `HOST`
    pub host: IpAddr,
    /// `PORT`
    pub port: u16,
    /// `DATABASE_PATH`
    pub database_path: String,
    /// `LOG`
    pub log: String,
    /// `LOG_FORMAT`; `None` = by the terminal
    pub log_format: Option<LogFormat>,
    /// `HEARTBEAT_SECONDS`
    pub heartbeat: Duration,
    /// `FIRST_BYTE_SECONDS`
    pub first_byte: Duration,
    /// `COALESCE_MS`
    pub coalesce: Duration,
    /// `UPSTREAM_IDLE_SECONDS`
    pub upstream_idle: Duration,
    /// `UPSTREAM_IN_FLIGHT`
    pub upstream_in_flight: usize,
    /// `UPSTREAM_QUEUE`
    pub upstream_queue: usize,
    /// `CONVERSATION_TTL_DAYS`
    pub conversation_ttl: Duration,
    /// `DELETE_CHATS`
    pub delete_chats: DeleteChats,
    /// `ALLOW_PRIVATE_URLS`
    pub allow_private_urls: bool,
    /// `MAX_IMAGE_BYTES`
    pub max_image_bytes: u64,
    /// `MAX_FILE_BYTES`
    pub max_file_bytes: u64,
}

const USER_AGENT: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";
/// Headers of `QWEN_HEADERS` that are left out: they tell of the browser's connection and of its body, not of the browser.
const CONNECTION_HEADERS: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const DAY: u64 = 24 * 60 * 60;
const MIB: u64 = 1024 * 1024;

/// Looks names up and remembers nothing: blank values count as absent, as in a copied `.env.example`.
struct Lookup<F>(F);

impl<F: Fn(&str) -> Option<String>> Lookup<F> {
    fn text(&self, name: &'static str) -> Option<String> {
        let value = (self.0)(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    fn text_or(&self, name: &'static str, default: &str) -> String {
        self.text(name).unwrap_or_else(|| default.to_owned())
    }

    /// A value that goes into an HTTP header as it is.
    fn header(&self, name: &'static str) -> Result<Option<String>, ConfigError> {
        let Some(value) = self.text(name) else { return Ok(None) };
        check_header_value(name, &value)?;
        Ok(Some(value))
    }

    fn secret(&self, name: &'static str) -> Result<Option<Secret>, ConfigError> {
        Ok(self.header(name)?.map(Secret::new))
    }

    fn flag(&self, name: &'static str) -> Result<bool, ConfigError> {
        match self.text(name).map(|value| value.to_ascii_lowercase()).as_deref() {
            None | Some("false" | "0" | "no" | "off") => Ok(false),
            Some("true" | "1" | "yes" | "on") => Ok(true),
            Some(_) => Err(wrong(name, "must be true or false")),
        }
    }

    fn number(
        &self,
        name: &'static str,
        default: u64,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<u64, ConfigError> {
        let Some(value) = self.text(name) else { return Ok(default) };
        value
            .parse()
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| wrong(name, format!("must be a whole number from {} to {}", range.start(), range.end())))
    }

    fn seconds(
        &self,
        name: &'static str,
        default: u64,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<Duration, ConfigError> {
        self.number(name, default, range).map(Duration::from_secs)
    }

    /// How many of something, at most a hundred thousand.
    fn count(&self, name: &'static str, default: u64, least: u64) -> Result<usize, ConfigError> {
        Ok(usize::try_from(self.number(name, default, least..=100_000)?).unwrap_or(usize::MAX))
    }

    fn origin(&self, name: &'static str) -> Result<Option<String>, ConfigError> {
        let Some(value) = self.text(name) else { return Ok(None) };
        let url = Url::parse(&value).map_err(|_| wrong(name, "must be a URL such as https://chat.qwen.ai"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() || url.query().is_some() {
            return Err(wrong(name, "must be an http or https URL without a query"));
        }
        Ok(Some(value.trim_end_matches('/').to_owned()))
    }

    /// A comma list of origins of web pages.
    fn origins(&self, name: &'static str) -> Result<Vec<Origin>, ConfigError> {
        let text = self.text_or(name, "");
        let each = text.split(',').map(str::trim).filter(|origin| !origin.is_empty());
        let read = |origin| {
            let hint = "must be a comma list of origins such as https://app.example or http://localhost:3000, or null";
            Origin::parse(origin).ok_or_else(|| wrong(name, hint))
        };
        each.map(read).collect()
    }

    fn parsed<T: FromStr>(&self, name: &'static str, default: T, hint: &'static str) -> Result<T, ConfigError> {
        self.text(name).map_or(Ok(default), |value| value.parse().map_err(|_| wrong(name, hint)))
    }

    fn json_map(&self, name: &'static str) -> Result<BTreeMap<String, String>, ConfigError> {
        let Some(value) = self.text(name) else { return Ok(BTreeMap::new()) };
        serde_json::from_str(&value).map_err(|_| wrong(name, "must be a JSON object whose values are strings"))
    }
}

fn wrong(name: &'static str, problem: impl Into<String>) -> ConfigError {
    ConfigError { name, problem: problem.into() }
}

fn check_header_value(name: &'static str, value: &str) -> Result<(), ConfigError> {
    // Header values are visible ASCII and blanks; a line break in a pasted cookie would otherwise smuggle a header in.
    if value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)) {
        Ok(())
    } else {
        Err(wrong(
            name,
            "holds a character that cannot stand in an HTTP header (a line break, or not ASCII): copy it again",
        ))
    }
}

/// Reads a list of keys: a JSON array, a comma list or one key. `None` = it begins like JSON and is none.
fn key_list(text: &str) -> Option<Vec<String>> {
    let keys: Vec<String> = if text.starts_with('[') {
        serde_json::from_str(text).ok()?
    } else {
        text.split(',').map(|key| key.trim().trim_matches(['"', '\'']).to_owned()).collect()
    };
    Some(keys.into_iter().map(|key| key.trim().to_owned()).filter(|key| !key.is_empty()).collect())
}

/// Keys that are shorter can be guessed.
const SAFE_LENGTH: usize = 16;

/// The session that the variables give, however they were copied. Either may be what the other should be.
fn session<F: Fn(&str) -> Option<String>>(env: &Lookup<F>, base_url: &str) -> Result<CredentialsInput, ConfigError> {
    let mut session = CredentialsInput::default();
    let mut first = None;
    for name in ["QWEN_COOKIES", "QWEN_AUTH_TOKEN"] {
        let Some(value) = env.text(name) else { continue };
        let CredentialsInput { cookies, token, user_agent, host } =
            credentials_input::read_part(&value).map_err(|error| wrong(name, error.message()))?;
        let is_own = |host: &str| {
            host == "qwen.ai"
                || host.ends_with(".qwen.ai")
                || Url::parse(base_url).is_ok_and(|url| url.host_str() == Some(host))
        };
        if host.is_some_and(|host| !is_own(&host)) {
            return Err(wrong(name, "is of another site: copy the cookies of chat.qwen.ai"));
        }
        let is_short = token.as_ref().is_some_and(|token| token.expose().len() < credentials_input::MIN_TOKEN_LENGTH);
        if is_short && name == "QWEN_COOKIES" {
            return Err(wrong(name, credentials_input::UNRECOGNIZED));
        }
        session.cookies = session.cookies.or(cookies);
        session.token = session.token.or(token);
        session.user_agent = session.user_agent.or(user_agent);
        first = first.or(Some(name));
    }
    match first {
        Some(name) if !session.has_token() => Err(wrong(name, credentials_input::NO_TOKEN)),
        _ => Ok(session),
    }
}

impl Config {
    /// Reads every name of the configuration through `lookup`.
    ///
    /// # Errors
    /// Names the first variable that is wrong, without its value.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>, product: Product) -> Result<Self, ConfigError> {
        let env = Lookup(lookup);
        let session_key = env.text("SESSION_KEY");
        if let Some(key) = &session_key
            && BASE64.decode(key).map(|bytes| bytes.len()) != Ok(32)
        {
            return Err(wrong("SESSION_KEY", "must be 32 bytes in base64 (openssl rand -base64 32)"));
        }
        let mut valid_tokens = Vec::new();
        if let Some(text) = env.text("VALID_TOKENS") {
            let hint = r#"must be a comma list of keys, or a JSON array of texts such as ["sk-one","sk-two"]"#;
            for key in key_list(&text).ok_or_else(|| wrong("VALID_TOKENS", hint))? {
                check_header_value("VALID_TOKENS", &key)?;
                valid_tokens.push(Secret::new(key));
            }
            // Whoever sets it does not mean that no key is needed.
            if valid_tokens.is_empty() {
                return Err(wrong("VALID_TOKENS", "holds no key: name one, or leave it unset"));
            }
        }
        let admin_token = env.secret("ADMIN_TOKEN")?;
        if admin_token.as_ref().is_some_and(|admin| valid_tokens.contains(admin)) {
            return Err(wrong(
                "ADMIN_TOKEN",
                "is one of VALID_TOKENS too: whoever may chat could administer the server",
            ));
        }
        let mut extra_headers = Vec::new();
        for (name, value) in env.json_map("QWEN_HEADERS")? {
            let name = http::HeaderName::from_str(&name)
                .map_err(|_| wrong("QWEN_HEADERS", "holds a name that is no HTTP header name"))?;
            check_header_value("QWEN_HEADERS", &value)?;
            // A browser's header list holds these, but they belong to its own connection.
            if CONNECTION_HEADERS.contains(&name.as_str()) {
                continue;
            }
            extra_headers.push((name.as_str().to_owned(), Secret::new(value)));
        }
        let delete_chats = match env.text_or("DELETE_CHATS", "never").as_str() {
            "never" => DeleteChats::Never,
            "unmatched" => DeleteChats::Unmatched,
            "expired" => DeleteChats::Expired,
            _ => return Err(wrong("DELETE_CHATS", "must be never, unmatched or expired")),
        };
        let log_format = match env.text("LOG_FORMAT").as_deref() {
            None => None,
            Some("text") => Some(LogFormat::Text),
            Some("json") => Some(LogFormat::Json),
            Some(_) => return Err(wrong("LOG_FORMAT", "must be text or json")),
        };
        let host = match env.text_or("HOST", "127.0.0.1").as_str() {
            "localhost" => IpAddr::from([127, 0, 0, 1]),
            text => text.parse().map_err(|_| wrong("HOST", "must be an IP address such as 127.0.0.1 or 0.0.0.0"))?,
        };
        let base_url = env.origin("QWEN_BASE_URL")?.unwrap_or_else(|| "https://chat.qwen.ai".to_owned());
        let session = session(&env, &base_url)?;
        Ok(Self {
            product,
            cookies: session.cookies,
            auth_token: session.token,
            valid_tokens,
            allow_anonymous: env.flag("ALLOW_ANONYMOUS")?,
            allowed_origins: env.origins("ALLOWED_ORIGINS")?,
            admin_token,
            session_key: session_key.map(Secret::new),
            public_sts_token: env.flag("PUBLIC_STS_TOKEN")?,
            base_url,
            auth_url: env.origin("QWEN_AUTH_URL")?.unwrap_or_else(|| "https://auth.qwen.ai".to_owned()),
            oss_url: env.origin("OSS_URL")?,
            user_agent: env.header("QWEN_USER_AGENT")?.or(session.user_agent).unwrap_or_else(|| USER_AGENT.to_owned()),
            web_version: env.header("QWEN_WEB_VERSION")?.unwrap_or_else(|| "0.3.12".to_owned()),
            extra_headers,
            bearer: env.flag("QWEN_BEARER")?,
            default_model: env.text_or("DEFAULT_MODEL", "qwen3-max"),
            model_aliases: env
                .json_map("MODEL_ALIASES")?
                .into_iter()
                .map(|(alias, model)| (alias.to_lowercase(), model))
                .collect(),
            host,
            port: env.parsed("PORT", 8000, "must be a port number from 0 to 65535")?,
            database_path: env.text_or("DATABASE_PATH", "data/qwen-edge.db"),
            log: env.text_or("LOG", "info"),
            log_format,
            heartbeat: env.seconds("HEARTBEAT_SECONDS", 15, 1..=3600)?,
            first_byte: env.seconds("FIRST_BYTE_SECONDS", 10, 0..=3600)?,
            coalesce: env.number("COALESCE_MS", product.coalesce_ms, 0..=10_000).map(Duration::from_millis)?,
            upstream_idle: env.seconds("UPSTREAM_IDLE_SECONDS", 120, 1..=3600)?,
            upstream_in_flight: env.count("UPSTREAM_IN_FLIGHT", 1024, 1)?,
            upstream_queue: env.count("UPSTREAM_QUEUE", 1024, 0)?,
            conversation_ttl: env.seconds("CONVERSATION_TTL_DAYS", 30, 1..=36_500)?.saturating_mul(DAY as u32),
            delete_chats,
            allow_private_urls: env.flag("ALLOW_PRIVATE_URLS")?,
            max_image_bytes: env.number("MAX_IMAGE_BYTES", 10 * MIB, 1..=100 * MIB)?,
            max_file_bytes: env.number("MAX_FILE_BYTES", 500 * MIB, 1..=2_000 * MIB)?,
        })
    }

    /// Whether keyed routes may be used without a key.
    ///
    /// The native server without keys listens on loopback only (or has `ALLOW_ANONYMOUS`), so whoever reaches it may use it;
    /// the Worker is public and needs `ALLOW_ANONYMOUS`.
    #[must_use]
    pub fn open_to_all(&self) -> bool {
        self.valid_tokens.is_empty() && (self.allow_anonymous || !self.product.is_public)
    }

    /// Whether an administrator's key is easily guessed.
    #[must_use]
    pub fn admin_token_is_short(&self) -> bool {
        self.admin_token.as_ref().is_some_and(|key| key.expose().len() < SAFE_LENGTH)
    }

    /// What is not wrong, but not as it should be. Values are never part of it.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let short = |name: &str| {
            format!(
                "{name}: a key of fewer than {SAFE_LENGTH} characters can be guessed: make a longer one (openssl rand -hex 24)"
            )
        };
        let valid = self.valid_tokens.iter().any(|key| key.expose().len() < SAFE_LENGTH).then(|| short("VALID_TOKENS"));
        let admin = self.admin_token_is_short().then(|| short("ADMIN_TOKEN"));
        valid.into_iter().chain(admin).collect()
    }

    /// Refuses to serve the network without keys, unless that was asked for, or with a key to the administration that can be
    /// guessed. For the box.
    ///
    /// # Errors
    /// Names `VALID_TOKENS` or `ADMIN_TOKEN`.
    pub fn check_exposure(&self) -> Result<(), ConfigError> {
        if self.valid_tokens.is_empty() && !self.allow_anonymous && !self.host.is_loopback() {
            return Err(wrong(
                "VALID_TOKENS",
                format!(
                    "is empty, so anybody who reaches {} could use your account: set API keys, or ALLOW_ANONYMOUS=true if that is meant",
                    self.host
                ),
            ));
        }
        if self.admin_token_is_short() && !self.host.is_loopback() {
            return Err(wrong(
                "ADMIN_TOKEN",
                format!(
                    "has fewer than {SAFE_LENGTH} characters, so whoever reaches {} could guess it: make a longer one (openssl rand -hex 24)",
                    self.host
                ),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_lookup(
            |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()),
            Product::NATIVE,
        )
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let config = config(&[]).unwrap();
        assert_eq!(config.base_url, "https://chat.qwen.ai");
        assert_eq!(config.auth_url, "https://auth.qwen.ai");
        assert_eq!(config.web_version, "0.3.12");
        assert_eq!(config.default_model, "qwen3-max");
        assert_eq!((config.host, config.port), (IpAddr::from([127, 0, 0, 1]), 8000));
        assert_eq!(config.database_path, "data/qwen-edge.db");
        assert_eq!(config.heartbeat, Duration::from_secs(15));
        assert_eq!(config.first_byte, Duration::from_secs(10));
        assert_eq!(config.upstream_idle, Duration::from_secs(120));
        assert_eq!(config.conversation_ttl, Duration::from_secs(30 * DAY));
        assert_eq!(config.max_image_bytes, 10 * MIB);
        assert_eq!(config.max_file_bytes, 500 * MIB);
        assert!(config.valid_tokens.is_empty() && !config.allow_anonymous && !config.bearer);
    }

    #[test]
    fn keys_come_as_json_list_or_single() {
        for (text, expected) in [
            (r#"["sk-token1", "sk-token2"]"#, vec!["sk-token1", "sk-token2"]),
            ("sk-a, sk-b", vec!["sk-a", "sk-b"]),
            ("sk-a", vec!["sk-a"]),
            ("'sk-a','sk-b'", vec!["sk-a", "sk-b"]),
            ("[]", vec![]),
            (" , ", vec![]),
            (r#"["", "x"]"#, vec!["x"]),
        ] {
            assert_eq!(key_list(text).unwrap(), expected, "{text}");
        }
        for text in ["[sk-token1, sk-token2]", "['sk-a']", "[", r#"["sk-a""#, "[1]", "[[]]"] {
            assert_eq!(key_list(text), None, "{text}");
        }
    }

    #[test]
    fn a_session_is_read_however_it_was_copied() {
        const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJpZCI6InUifQ.c2ln";
        let jar = format!("cna=1; token={TOKEN}");
        let list =
            format!(r#"[{{"name":"cna","value":"1","domain":".qwen.ai"}},{{"name":"token","value":"{TOKEN}"}}]"#);
        let file = format!(".qwen.ai\tTRUE\t/\tTRUE\t0\tcna\t1\n.qwen.ai\tTRUE\t/\tTRUE\t0\ttoken\t{TOKEN}");
        for name in ["QWEN_COOKIES", "QWEN_AUTH_TOKEN"] {
            for (value, cookies, token) in [
                (jar.clone(), Some(&*jar), None),
                (format!("Cookie: {jar}"), Some(&*jar), None),
                (format!("'{jar}'"), Some(&*jar), None),
                (format!("Cookie: token={TOKEN}"), Some(&*format!("token={TOKEN}")), None),
                (list.clone(), Some(&*jar), None),
                (file.clone(), Some(&*jar), None),
                (format!("curl 'https://chat.qwen.ai/' -b '{jar}'"), Some(&*jar), None),
                (TOKEN.to_owned(), None, Some(TOKEN)),
                (format!("Bearer {TOKEN}"), None, Some(TOKEN)),
                (format!("token={TOKEN}"), Some(&*format!("token={TOKEN}")), None),
                (format!("\"{TOKEN}\""), None, Some(TOKEN)),
            ] {
                let config = config(&[(name, &value)]).unwrap();
                let read =
                    (config.cookies.as_ref().map(Secret::expose), config.auth_token.as_ref().map(Secret::expose));
                assert_eq!(read, (cookies, token), "{name}={value}");
            }
            for value in ["cna=1; isg=2", "hello world", "curl 'https://evil.example/' -b 'token=abcdefgh'", "[]", "{}"]
            {
                let error = config(&[(name, value)]).unwrap_err();
                assert_eq!(error.name, name, "{value}");
            }
        }
        let both = config(&[("QWEN_COOKIES", "cna=1; isg=2"), ("QWEN_AUTH_TOKEN", TOKEN)]).unwrap();
        assert_eq!(both.cookies.unwrap().expose(), "cna=1; isg=2", "the other variable has the token");
        let copied = config(&[("QWEN_COOKIES", "curl 'https://chat.qwen.ai/' -b 'token=abcdefgh' -A Mine/1")]).unwrap();
        assert_eq!(copied.user_agent, "Mine/1");
    }

    #[test]
    fn a_wrong_value_names_the_variable_and_not_the_value() {
        for (name, value) in [
            ("PORT", "99999"),
            ("PORT", "secret-value"),
            ("HOST", "example.org"),
            ("ALLOW_ANONYMOUS", "secret-value"),
            ("SESSION_KEY", "c2VjcmV0LXZhbHVl"),
            ("QWEN_BASE_URL", "secret-value"),
            ("QWEN_AUTH_URL", "ftp://secret-value"),
            ("OSS_URL", "secret-value"),
            ("QWEN_COOKIES", "token=secret-value\r\nx: y"),
            ("QWEN_AUTH_TOKEN", "secret-value\u{e9}"),
            ("VALID_TOKENS", "secret-value\u{7f}"),
            ("VALID_TOKENS", "[secret-value"),
            ("VALID_TOKENS", ","),
            ("VALID_TOKENS", "[]"),
            ("QWEN_HEADERS", "[\"secret-value\"]"),
            ("QWEN_HEADERS", "{\"bad name\":\"secret-value\"}"),
            ("QWEN_HEADERS", "{\"x\":\"secret-value\\n\"}"),
            ("MODEL_ALIASES", "{\"secret-value\":1}"),
            ("LOG_FORMAT", "secret-value"),
            ("DELETE_CHATS", "secret-value"),
            ("ALLOWED_ORIGINS", "secret-value"),
            ("ALLOWED_ORIGINS", "https://fine.example,*"),
            ("HEARTBEAT_SECONDS", "0"),
            ("FIRST_BYTE_SECONDS", "-1"),
            ("COALESCE_MS", "1e3"),
            ("UPSTREAM_IDLE_SECONDS", "0"),
            ("CONVERSATION_TTL_DAYS", "0"),
            ("MAX_IMAGE_BYTES", "10MB"),
            ("MAX_FILE_BYTES", "0"),
        ] {
            let error = config(&[(name, value)]).unwrap_err();
            assert_eq!(error.name, name);
            assert!(!error.to_string().contains("secret-value"), "{error}");
        }
    }

    #[test]
    fn blank_values_count_as_absent() {
        assert!(config(&[("PORT", ""), ("VALID_TOKENS", " "), ("QWEN_COOKIES", "")]).unwrap().cookies.is_none());
    }

    #[test]
    fn only_loopback_is_served_without_keys() {
        assert!(config(&[]).unwrap().check_exposure().is_ok());
        assert!(config(&[("HOST", "::1")]).unwrap().check_exposure().is_ok());
        assert!(config(&[("HOST", "0.0.0.0"), ("VALID_TOKENS", "k")]).unwrap().check_exposure().is_ok());
        assert!(config(&[("HOST", "0.0.0.0"), ("ALLOW_ANONYMOUS", "true")]).unwrap().check_exposure().is_ok());
        assert_eq!(config(&[("HOST", "0.0.0.0")]).unwrap().check_exposure().unwrap_err().name, "VALID_TOKENS");
        let admin = |host, key| config(&[("HOST", host), ("VALID_TOKENS", "k"), ("ADMIN_TOKEN", key)]).unwrap();
        assert_eq!(admin("0.0.0.0", "fifteen-letters").check_exposure().unwrap_err().name, "ADMIN_TOKEN");
        assert!(admin("0.0.0.0", "sixteen-letters!").check_exposure().is_ok());
        assert!(admin("127.0.0.1", "fifteen-letters").check_exposure().is_ok());
    }

    #[test]
    fn short_keys_are_warned_of() {
        for (keys, admin, warned) in [
            ("sixteen-letters!", "seventeen-letters", &[][..]),
            ("sixteen-letters!,fifteen-letters", "seventeen-letters", &["VALID_TOKENS"]),
            ("fifteen-letters", "x", &["VALID_TOKENS", "ADMIN_TOKEN"]),
            ("", "", &[]),
        ] {
            let warnings = config(&[("VALID_TOKENS", keys), ("ADMIN_TOKEN", admin)]).unwrap().warnings();
            let named: Vec<&str> = warnings.iter().map(|warning| warning.split(':').next().unwrap()).collect();
            assert_eq!(named, warned);
            assert!(!warnings.iter().any(|warning| warning.contains("letters")));
        }
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let secrets = [("QWEN_COOKIES", "token=hidden"), ("VALID_TOKENS", "hidden-1"), ("ADMIN_TOKEN", "hidden-2")];
        assert!(!format!("{:?}", config(&secrets).unwrap()).contains("hidden"));
        let shared = config(&[("VALID_TOKENS", "a,hidden"), ("ADMIN_TOKEN", "hidden")]).unwrap_err();
        assert!(shared.name == "ADMIN_TOKEN" && !shared.problem.contains("hidden"));
    }
}
