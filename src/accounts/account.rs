//! An account of this server, and all of them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    config::{AccountName, Config},
    limiter::ConcurrencyLimiter,
    platform::StoreHealth,
    upstream::qwen::{Client, ModelCache},
};

/// A Qwen account of the server. Nothing of it is shared with other accounts but the list of models.
#[derive(Debug)]
pub struct Account {
    /// Its name here.
    pub name: AccountName,
    /// The site as seen with this account.
    pub qwen: Arc<Client>,
    /// How many turns and pictures the site works on at once for this account.
    pub limiter: Arc<ConcurrencyLimiter>,
}

/// The accounts of the server.
#[derive(Debug)]
pub struct Accounts {
    config: Arc<Config>,
    store_health: Arc<StoreHealth>,
    models: Arc<ModelCache>,
    default: Arc<Account>,
    /// All others.
    named: Mutex<BTreeMap<AccountName, Arc<Account>>>,
}

impl Accounts {
    /// `default`, and the accounts that keys name.
    #[must_use]
    pub fn new(config: Arc<Config>, store_health: Arc<StoreHealth>) -> Self {
        let models = Arc::<ModelCache>::default();
        let default = Arc::new(new_account(&config, AccountName::default(), &store_health, &models));
        let accounts = Self { config: Arc::clone(&config), store_health, models, default, named: Mutex::default() };
        for key in &config.valid_tokens {
            accounts.named(&key.account);
        }
        accounts
    }

    /// The account that `QWEN_COOKIES` and `QWEN_AUTH_TOKEN` configure, and keys without an account use.
    #[must_use]
    pub const fn default_account(&self) -> &Arc<Account> {
        &self.default
    }

    /// The account of this name; a new one, without a session, if there was none.
    pub fn named(&self, name: &AccountName) -> Arc<Account> {
        if name.is_default() {
            return Arc::clone(&self.default);
        }
        let new = || Arc::new(new_account(&self.config, name.clone(), &self.store_health, &self.models));
        Arc::clone(self.others().entry(name.clone()).or_insert_with(new))
    }

    fn others(&self) -> MutexGuard<'_, BTreeMap<AccountName, Arc<Account>>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn new_account(
    config: &Config,
    name: AccountName,
    store_health: &Arc<StoreHealth>,
    models: &Arc<ModelCache>,
) -> Account {
    let qwen = Arc::new(Client::new(config, &name, Arc::clone(store_health), Arc::clone(models)));
    let limiter = Arc::new(ConcurrencyLimiter::new(config.upstream_in_flight, config.upstream_queue));
    Account { name, qwen, limiter }
}
