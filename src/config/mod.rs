//! The configuration: one list of variables for the environment of the native server and the bindings of the Worker.

mod account_name;
mod fallback;
mod keys;
mod lookup;
mod product;
mod session;
#[cfg(test)]
mod tests;
mod variables;

use std::{collections::BTreeMap, net::IpAddr, str::FromStr as _, time::Duration};

use crate::{origin::Origin, secret::Secret};
pub use account_name::AccountName;
pub use fallback::{Fallback, FallbackAfter};
use keys::Keys;
pub use keys::{ApiKey, MAX_ACCOUNTS, MIN_SAFE_KEY};
pub use lookup::ConfigError;
use lookup::{Lookup, check_header_value, invalid};
pub use product::Product;
use variables::USER_AGENT;
pub use variables::{DefaultValue, Group, VARIABLES, Variable};

/// Which chats that this server created are deleted at the chat site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteChats {
    /// None.
    Never,
    /// Chats that nobody continued within an hour.
    Unmatched,
    /// Chats past `CONVERSATION_TTL_DAYS`.
    Expired,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object on each line.
    Json,
}

/// Every setting of the program, checked. [`VARIABLES`] explains each.
#[derive(Clone, Debug)]
pub struct Config {
    /// The product that runs.
    pub product: Product,
    /// `QWEN_COOKIES`
    pub cookies: Option<Secret>,
    /// `QWEN_AUTH_TOKEN`
    pub auth_token: Option<Secret>,
    /// `VALID_TOKENS`
    pub valid_tokens: Vec<ApiKey>,
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
    /// `STORE_RESPONSES`
    pub store_responses: bool,
    /// `PUBLIC_URL`, without a trailing slash
    pub public_url: Option<String>,
    /// `MEDIA_TEXT_MODEL`
    pub media_text_model: String,
    /// `MAX_IMAGES`
    pub max_images: usize,
    /// `MEDIA_TTL_SECONDS`
    pub media_ttl: Duration,
    /// `VIDEO_TIMEOUT_SECONDS`
    pub video_timeout: Duration,
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
    /// `LOG_FORMAT`; `None`: text on a terminal, JSON elsewhere
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
    /// `FALLBACK_BASE_URL` and what belongs to it
    pub fallback: Option<Fallback>,
}

/// Headers of `QWEN_HEADERS` that are ignored: they describe the browser's connection and its request body, not the browser.
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
const SECONDS_PER_DAY: u32 = 24 * 60 * 60;
/// Bytes of a mebibyte.
const MIB: u64 = 1024 * 1024;

impl Config {
    /// Reads every variable of [`VARIABLES`] through `lookup`.
    ///
    /// # Errors
    /// Names the first variable that is wrong, without its value.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>, product: Product) -> Result<Self, ConfigError> {
        let env = Lookup(lookup);
        let Keys { valid_tokens, admin_token, session_key } = Keys::read(&env)?;
        let extra_headers = extra_headers(&env)?;
        let delete_chats = delete_chats(&env)?;
        let log_format = log_format(&env)?;
        let host = host(&env)?;
        let base_url = env.url_or("QWEN_BASE_URL", "https://chat.qwen.ai")?;
        let session = session::session(&env, &base_url)?;
        let default_model = env.text_or("DEFAULT_MODEL", "qwen3-max");
        Ok(Self {
            product,
            cookies: session.cookies,
            auth_token: session.token,
            valid_tokens,
            allow_anonymous: env.flag("ALLOW_ANONYMOUS", false)?,
            allowed_origins: env.origins("ALLOWED_ORIGINS")?,
            admin_token,
            session_key,
            public_sts_token: env.flag("PUBLIC_STS_TOKEN", false)?,
            store_responses: env.flag("STORE_RESPONSES", true)?,
            public_url: env.url("PUBLIC_URL")?,
            media_text_model: env.text_or("MEDIA_TEXT_MODEL", &default_model),
            max_images: env.number("MAX_IMAGES", 4, 1..=10).map(|count| usize::try_from(count).unwrap_or(1))?,
            media_ttl: env.seconds("MEDIA_TTL_SECONDS", 3600, 1..=86_400)?,
            video_timeout: env.seconds("VIDEO_TIMEOUT_SECONDS", 900, 1..=86_400)?,
            base_url,
            auth_url: env.url_or("QWEN_AUTH_URL", "https://auth.qwen.ai")?,
            oss_url: env.url("OSS_URL")?,
            user_agent: env.header("QWEN_USER_AGENT")?.or(session.user_agent).unwrap_or_else(|| USER_AGENT.to_owned()),
            web_version: env.header("QWEN_WEB_VERSION")?.unwrap_or_else(|| "0.3.12".to_owned()),
            extra_headers,
            bearer: env.flag("QWEN_BEARER", false)?,
            default_model,
            model_aliases: lower_case_names(env.json_map("MODEL_ALIASES")?),
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
            conversation_ttl: env.seconds("CONVERSATION_TTL_DAYS", 30, 1..=36_500)?.saturating_mul(SECONDS_PER_DAY),
            delete_chats,
            allow_private_urls: env.flag("ALLOW_PRIVATE_URLS", false)?,
            max_image_bytes: env.number("MAX_IMAGE_BYTES", 10 * MIB, 1..=100 * MIB)?,
            max_file_bytes: env.number("MAX_FILE_BYTES", 500 * MIB, 1..=2_000 * MIB)?,
            fallback: Fallback::read(&env)?,
        })
    }

    /// Whether keyed routes may be used without a key.
    ///
    /// A native server without keys listens on loopback only or has `ALLOW_ANONYMOUS`. The Worker is public and needs
    /// `ALLOW_ANONYMOUS`.
    #[must_use]
    pub fn open_to_all(&self) -> bool {
        self.valid_tokens.is_empty() && (self.allow_anonymous || !self.product.is_public)
    }

    /// Whether `ADMIN_TOKEN` is short enough to be guessed.
    #[must_use]
    pub fn admin_token_is_short(&self) -> bool {
        self.admin_token.as_ref().is_some_and(|key| key.expose().len() < MIN_SAFE_KEY)
    }

    /// Returns warnings about settings that are valid but unsafe. They contain no values.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let short = |name: &str| {
            format!(
                "{name}: a key of fewer than {MIN_SAFE_KEY} characters can be guessed: make a longer one (openssl rand -hex 24)"
            )
        };
        let valid =
            self.valid_tokens.iter().any(|key| key.key.expose().len() < MIN_SAFE_KEY).then(|| short("VALID_TOKENS"));
        let admin = self.admin_token_is_short().then(|| short("ADMIN_TOKEN"));
        valid.into_iter().chain(admin).collect()
    }

    /// Checks that a native server which the network can reach has keys or `ALLOW_ANONYMOUS`, and no `ADMIN_TOKEN` that can
    /// be guessed.
    ///
    /// # Errors
    /// Names `VALID_TOKENS` or `ADMIN_TOKEN`.
    pub fn check_exposure(&self) -> Result<(), ConfigError> {
        if self.valid_tokens.is_empty() && !self.allow_anonymous && !self.host.is_loopback() {
            return Err(invalid(
                "VALID_TOKENS",
                format!(
                    "is empty, so anybody who reaches {} could use your account: set API keys, or ALLOW_ANONYMOUS=true if that is meant",
                    self.host
                ),
            ));
        }
        if self.admin_token_is_short() && !self.host.is_loopback() {
            return Err(invalid(
                "ADMIN_TOKEN",
                format!(
                    "has fewer than {MIN_SAFE_KEY} characters, so whoever reaches {} could guess it: make a longer one (openssl rand -hex 24)",
                    self.host
                ),
            ));
        }
        Ok(())
    }
}

fn extra_headers<F: Fn(&str) -> Option<String>>(env: &Lookup<F>) -> Result<Vec<(String, Secret)>, ConfigError> {
    let mut headers = Vec::new();
    for (name, value) in env.json_map("QWEN_HEADERS")? {
        let name = http::HeaderName::from_str(&name)
            .map_err(|_| invalid("QWEN_HEADERS", "holds a name that is not an HTTP header name"))?;
        check_header_value("QWEN_HEADERS", &value)?;
        if !CONNECTION_HEADERS.contains(&name.as_str()) {
            headers.push((name.as_str().to_owned(), Secret::new(value)));
        }
    }
    Ok(headers)
}

fn delete_chats<F: Fn(&str) -> Option<String>>(env: &Lookup<F>) -> Result<DeleteChats, ConfigError> {
    match env.text_or("DELETE_CHATS", "never").as_str() {
        "never" => Ok(DeleteChats::Never),
        "unmatched" => Ok(DeleteChats::Unmatched),
        "expired" => Ok(DeleteChats::Expired),
        _ => Err(invalid("DELETE_CHATS", "must be never, unmatched or expired")),
    }
}

fn log_format<F: Fn(&str) -> Option<String>>(env: &Lookup<F>) -> Result<Option<LogFormat>, ConfigError> {
    match env.text("LOG_FORMAT").as_deref() {
        None => Ok(None),
        Some("text") => Ok(Some(LogFormat::Text)),
        Some("json") => Ok(Some(LogFormat::Json)),
        Some(_) => Err(invalid("LOG_FORMAT", "must be text or json")),
    }
}

fn host<F: Fn(&str) -> Option<String>>(env: &Lookup<F>) -> Result<IpAddr, ConfigError> {
    match env.text_or("HOST", "127.0.0.1").as_str() {
        "localhost" => Ok(IpAddr::from([127, 0, 0, 1])),
        text => text.parse().map_err(|_| invalid("HOST", "must be an IP address such as 127.0.0.1 or 0.0.0.0")),
    }
}

fn lower_case_names(aliases: BTreeMap<String, String>) -> BTreeMap<String, String> {
    aliases.into_iter().map(|(alias, model)| (alias.to_lowercase(), model)).collect()
}
