//! An account of this server, and all of them.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    config::{AccountName, Config, MAX_ACCOUNTS},
    error::{Error, ErrorKind, Result},
    limiter::ConcurrencyLimiter,
    platform::{Platform, StoreHealth},
    store::accounts as table,
    unix_time::UnixMillis,
    upstream::{
        ScopeKey,
        qwen::{Client, ModelCache, NamedSession, list_sessions},
    },
};

/// How often the store is asked which accounts there are.
const REFRESH_INTERVAL: Duration = Duration::from_secs(2);
/// How many scopes of an account are remembered as noted.
const MAX_NOTED: usize = 1000;

/// A Qwen account of the server. Nothing of it is shared with other accounts but the list of models.
#[derive(Debug)]
pub struct Account {
    /// Its name here.
    pub name: AccountName,
    /// The site as seen with this account.
    pub qwen: Arc<Client>,
    /// How many turns and pictures the site works on at once for this account.
    pub limiter: Arc<ConcurrencyLimiter>,
    store_health: Arc<StoreHealth>,
    /// The scopes that the store has as this account's.
    noted: Mutex<HashSet<ScopeKey>>,
}

impl Account {
    /// Sees to it that the store has a scope as this account's. A scope that it does not have counts as `default`'s.
    pub async fn note_scope(&self, platform: &impl Platform, scope: &ScopeKey) {
        if self.has_noted(scope) {
            return;
        }
        let noted = table::note_scope(platform, scope.as_str(), self.name.as_str()).await;
        if self.store_health.ok_or_log("noting whose a scope is", noted).is_some() {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            if noted.len() >= MAX_NOTED {
                noted.clear();
            }
            noted.insert(scope.clone());
        }
    }

    /// Whether the store has a scope as this account's, as far as this process knows.
    pub(super) fn has_noted(&self, scope: &ScopeKey) -> bool {
        self.name.is_default() || self.noted.lock().unwrap_or_else(PoisonError::into_inner).contains(scope)
    }
}

/// The accounts of the server.
#[derive(Debug)]
pub struct Accounts {
    config: Arc<Config>,
    store_health: Arc<StoreHealth>,
    models: Arc<ModelCache>,
    default: Arc<Account>,
    /// Those that keys name. They are there without a session, too.
    keyed: BTreeSet<AccountName>,
    /// All but `default`.
    named: Mutex<BTreeMap<AccountName, Arc<Account>>>,
    /// When the store was last asked which accounts there are.
    refreshed_at: Mutex<Option<UnixMillis>>,
}

impl Accounts {
    /// `default`, and the accounts that keys name.
    #[must_use]
    pub fn new(config: Arc<Config>, store_health: Arc<StoreHealth>) -> Self {
        let models = Arc::<ModelCache>::default();
        let names = config.valid_tokens.iter().map(|key| key.account.clone()).filter(|name| !name.is_default());
        let keyed: BTreeSet<AccountName> = names.collect();
        let new = |name| Arc::new(new_account(&config, name, &store_health, &models));
        let default = new(AccountName::default());
        let named = keyed.iter().map(|name| (name.clone(), new(name.clone()))).collect();
        let (named, refreshed_at) = (Mutex::new(named), Mutex::default());
        Self { store_health, models, default, keyed, named, refreshed_at, config }
    }

    /// The account that `QWEN_COOKIES` and `QWEN_AUTH_TOKEN` configure, and keys without an account use.
    #[must_use]
    pub const fn default_account(&self) -> &Arc<Account> {
        &self.default
    }

    /// The account of this name, if there is one.
    #[must_use]
    pub fn find(&self, name: &AccountName) -> Option<Arc<Account>> {
        if name.is_default() { Some(Arc::clone(&self.default)) } else { self.others().get(name).cloned() }
    }

    /// All accounts as this process knows them, `default` first, the others by their names.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Account>> {
        std::iter::once(&self.default).chain(self.others().values()).cloned().collect()
    }

    /// The account of this name; if there is none, a new one, which [`Self::add`] makes one of the server's.
    ///
    /// # Errors
    /// `invalid_request` when there are too many.
    pub fn find_or_new(&self, name: &AccountName) -> Result<Arc<Account>> {
        if let Some(known) = self.find(name) {
            return Ok(known);
        }
        if self.others().len() >= MAX_ACCOUNTS {
            let message = format!("This server has {MAX_ACCOUNTS} accounts already. Delete one first.");
            return Err(Error::new(ErrorKind::InvalidRequest, message));
        }
        Ok(Arc::new(new_account(&self.config, name.clone(), &self.store_health, &self.models)))
    }

    /// Adds an account that was given a session. Another one of the same name that was added meanwhile is replaced.
    pub fn add(&self, account: &Arc<Account>) {
        if !account.name.is_default() {
            self.others().insert(account.name.clone(), Arc::clone(account));
        }
    }

    /// Leaves out an account that was deleted, unless a key names it.
    pub fn leave_out(&self, account: &Account) {
        if !self.keyed.contains(&account.name) {
            self.others().remove(&account.name);
        }
    }

    /// Learns from the store which accounts there are and how their sessions are, unless that was done within the last seconds.
    /// One query for all accounts but `default`, and one for that.
    pub async fn refresh(&self, platform: &impl Platform) {
        self.default.qwen.session().sync(platform).await;
        let now = platform.now();
        {
            let mut refreshed_at = self.refreshed_at.lock().unwrap_or_else(PoisonError::into_inner);
            if refreshed_at.is_some_and(|at| now < at.saturating_add(REFRESH_INTERVAL)) {
                return;
            }
            *refreshed_at = Some(now);
        }
        self.reload(platform).await;
    }

    /// Learns it in any case.
    pub async fn reload(&self, platform: &impl Platform) {
        let limit = u32::try_from(MAX_ACCOUNTS).unwrap_or(u32::MAX);
        let Some(found) = list_sessions(platform, &self.store_health, limit).await else { return };
        let now = platform.now();
        let mut found: BTreeMap<AccountName, NamedSession> =
            found.into_iter().map(|session| (session.name.clone(), session)).collect();
        let mut others = self.others();
        others.retain(|name, account| {
            let is_there = found.get(name).is_some_and(|session| !session.is_forgotten);
            is_there || self.keyed.contains(name) || account.qwen.session().is_unsaved()
        });
        for (name, session) in &found {
            if !session.is_forgotten && !others.contains_key(name) {
                let new = new_account(&self.config, name.clone(), &self.store_health, &self.models);
                others.insert(name.clone(), Arc::new(new));
            }
        }
        let all: Vec<Arc<Account>> = others.values().cloned().collect();
        drop(others);
        for account in all {
            account.qwen.session().take(found.remove(&account.name), now);
        }
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
    Account { name, qwen, limiter, store_health: Arc::clone(store_health), noted: Mutex::default() }
}
