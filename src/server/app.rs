//! The state that all requests share.

use std::sync::Arc;

use super::{auth::Keys, body::MemoryBudget};
use crate::{
    accounts::{Account, Accounts},
    chat::{Conversations, Services, Timing},
    config::Config,
    limiter::{ConcurrencyLimiter, KeyedLimiters},
    media::{MediaLinks, Pictures, Videos},
    platform::{Reach, StoreHealth},
    sealing::Cipher,
    secret::Secret,
    upstream::{Upstream, compatible},
};

/// The state that all requests of a process or an isolate share.
#[derive(Debug)]
pub struct App {
    pub(super) config: Arc<Config>,
    pub(super) keys: Keys,
    pub(crate) accounts: Accounts,
    /// The second upstream.
    pub(super) second: Option<Arc<compatible::Client>>,
    pub(super) conversations: Arc<Conversations>,
    pub(super) memory: MemoryBudget,
    pub(super) attachment_limiters: Arc<KeyedLimiters>,
    pub(super) store_health: Arc<StoreHealth>,
    pub(super) timing: Timing,
    /// Encrypts kept responses, and what was drawn.
    pub(super) cipher: Arc<Cipher>,
    /// This server's links to pictures and videos.
    pub(super) media_links: Arc<MediaLinks>,
    /// Limits how many of them are followed at once: the route needs no key.
    pub(super) media_limiter: Arc<ConcurrencyLimiter>,
}

/// How many pictures and videos are passed on at once, and how many requests for one wait.
const MEDIA_AT_ONCE: usize = 100;

impl App {
    /// Creates the state from the configuration.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let store_health = Arc::<StoreHealth>::default();
        let config = Arc::new(config);
        let accounts = Accounts::new(Arc::clone(&config), Arc::clone(&store_health));
        let cipher = Arc::new(Cipher::new(config.session_key.as_ref().map(Secret::expose)));
        Self {
            keys: Keys::new(&config.valid_tokens, &accounts),
            accounts,
            second: config
                .fallback
                .as_ref()
                .map(|fallback| Arc::new(compatible::Client::new(fallback, config.upstream_idle))),
            conversations: Arc::new(Conversations::new(config.conversation_ttl, Arc::clone(&store_health))),
            memory: MemoryBudget::new(config.product.body_memory),
            attachment_limiters: Arc::new(KeyedLimiters::new(
                config.product.attachment_permits,
                config.valid_tokens.len(),
                config.upstream_queue,
            )),
            timing: Timing::from(&*config),
            media_links: Arc::new(MediaLinks::new(
                Arc::clone(&cipher),
                Arc::clone(&store_health),
                config.conversation_ttl,
            )),
            media_limiter: Arc::new(ConcurrencyLimiter::new(MEDIA_AT_ONCE, MEDIA_AT_ONCE)),
            cipher,
            store_health,
            config,
        }
    }

    /// Returns what a turn needs.
    pub(crate) fn services(&self, account: &Account) -> Services {
        Services {
            upstream: Upstream::Qwen(Arc::clone(&account.qwen)),
            store_health: Arc::clone(&self.store_health),
            conversations: Arc::clone(&self.conversations),
            limiter: Arc::clone(&account.limiter),
            media_links: Arc::clone(&self.media_links),
            attachment_limiters: Arc::clone(&self.attachment_limiters),
        }
    }

    /// Returns what drawing pictures needs.
    pub(crate) fn pictures(&self, account: &Account) -> Pictures {
        Pictures {
            upstream: Upstream::Qwen(Arc::clone(&account.qwen)),
            limiter: Arc::clone(&account.limiter),
            cipher: Arc::clone(&self.cipher),
            store_health: Arc::clone(&self.store_health),
        }
    }

    /// Returns which hosts links may lead to.
    pub(super) fn reach(&self) -> Reach {
        if self.config.allow_private_urls { Reach::Any } else { Reach::PublicOnly }
    }

    /// Returns what videos need.
    pub(crate) fn videos(&self, account: &Account) -> Videos {
        Videos {
            upstream: Upstream::Qwen(Arc::clone(&account.qwen)),
            limiter: Arc::clone(&account.limiter),
            cipher: Arc::clone(&self.cipher),
            store_health: Arc::clone(&self.store_health),
            timeout: self.config.video_timeout,
        }
    }
}
