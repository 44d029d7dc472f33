//! The program's state.

use std::sync::Arc;

use super::{auth::Keys, body::MemoryBudget};
use crate::{
    chat::{self, ConcurrencyLimiter, Conversations, KeyedLimiters, Services, Timing},
    config::Config,
    platform::Platform,
    platform::StoreHealth,
    upstream::qwen::Client,
};

/// The program's state, shared by all requests of a process or an isolate.
#[derive(Debug)]
pub struct App {
    pub(super) config: Config,
    pub(super) keys: Keys,
    pub(super) qwen: Arc<Client>,
    pub(super) conversations: Arc<Conversations>,
    pub(super) limiter: Arc<ConcurrencyLimiter>,
    pub(super) memory: MemoryBudget,
    pub(super) attachment_limiters: Arc<KeyedLimiters>,
    pub(super) store_health: Arc<StoreHealth>,
    pub(super) timing: Timing,
}

impl App {
    /// The state that `config` describes.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let store_health = Arc::<StoreHealth>::default();
        Self {
            keys: Keys::new(&config.valid_tokens),
            qwen: Arc::new(Client::new(&config, Arc::clone(&store_health))),
            conversations: Arc::new(Conversations::new(config.conversation_ttl, Arc::clone(&store_health))),
            limiter: Arc::new(ConcurrencyLimiter::new(config.upstream_in_flight, config.upstream_queue)),
            memory: MemoryBudget::of(config.product.body_memory),
            attachment_limiters: Arc::new(KeyedLimiters::new(
                config.product.attaching,
                config.valid_tokens.len(),
                config.upstream_queue,
            )),
            store_health,
            timing: Timing::from(&config),
            config,
        }
    }

    /// What a turn needs.
    pub(crate) fn services(&self) -> Services {
        Services {
            qwen: Arc::clone(&self.qwen),
            conversations: Arc::clone(&self.conversations),
            limiter: Arc::clone(&self.limiter),
            attachment_limiters: Arc::clone(&self.attachment_limiters),
        }
    }

    /// Whose conversations and files a request may see: those of its key, with the account as it is now.
    pub(super) async fn scope(&self, platform: &impl Platform, caller: &str) -> String {
        let session = self.qwen.session();
        session.sync(platform).await;
        chat::scope(caller, &session.account())
    }
}
