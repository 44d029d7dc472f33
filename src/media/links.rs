//! This server's links to pictures and videos. The site's own links hold the account's id, so no client gets them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use url::Url;

use super::digests::of_account;
use crate::{
    digest::{key, link},
    platform::{Platform, StoreHealth},
    sealing::Cipher,
    store::media as table,
    unix_time::UnixMillis,
    upstream::{AccountId, Owner, TaskState, Upstream, WantedAnswer},
};

/// The route of the links.
const ROUTE: &str = "/v1/media/";
/// The length of an id: 128 bits in base64.
const ID_LENGTH: usize = 22;
/// How many links are remembered for the case that the store does not keep them.
const MAX_RECENT: usize = 200;

/// Makes the links of one answer, without a word to the store: their ids follow from a random seed.
#[derive(Clone, Debug)]
pub struct LinkMaker {
    base: Arc<str>,
    seed: [u8; 16],
    count: u64,
    made: Vec<NewLink>,
}

/// A link that was made and is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLink {
    /// The id in our link.
    pub id: String,
    /// The site's link.
    pub link: String,
}

impl LinkMaker {
    /// `base` = this server's address without a slash at the end, `seed` = random bytes that nobody else has.
    #[must_use]
    pub fn new(base: Arc<str>, seed: [u8; 16]) -> Self {
        Self { base, seed, count: 0, made: Vec::new() }
    }

    /// Makes a link to what the site's link leads to.
    pub fn link(&mut self, upstream: &str) -> String {
        let mut before = [0; 32];
        before.iter_mut().zip(self.seed).for_each(|(byte, random)| *byte = random);
        let id = key(link(before, b'm', &self.count.to_le_bytes()));
        self.count = self.count.saturating_add(1);
        let url = format!("{}{ROUTE}{id}", self.base);
        self.made.push(NewLink { id, link: upstream.to_owned() });
        url
    }

    /// The links that were made since the last call.
    pub fn take(&mut self) -> Vec<NewLink> {
        std::mem::take(&mut self.made)
    }
}

/// A picture in Markdown, with a blank line behind it.
#[must_use]
pub fn markdown(url: &str) -> String {
    format!("![image]({url})\n\n")
}

/// The id in a link of a server like this one, whatever its host.
#[must_use]
pub fn media_id(url: &Url) -> Option<&str> {
    let (before, id) = url.path().rsplit_once('/')?;
    (before.ends_with("/media") && is_id(id)).then_some(id)
}

fn is_id(text: &str) -> bool {
    text.len() == ID_LENGTH && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Where pictures or videos were made, and how long links to them live.
#[derive(Clone, Copy, Debug)]
pub struct MadeIn<'a> {
    /// For whom.
    pub owner: &'a Owner,
    /// The conversation whose life the links have.
    pub conversation: Option<&'a str>,
    /// The chat.
    pub chat_id: &'a str,
    /// The upstream message, when known.
    pub response_id: &'a str,
    /// When the links end, unless their conversation lives longer.
    pub expires_at: UnixMillis,
}

/// What a link leads to.
#[derive(Clone, PartialEq, Eq)]
pub struct Resolved {
    id: String,
    account: String,
    /// The chat that it was made in.
    pub chat_id: String,
    response_id: String,
    /// The task that made it, if it is a video.
    task_id: String,
    /// The site's link, which may be relative. Never for clients or logs.
    pub link: String,
    expires_at: UnixMillis,
}

impl Resolved {
    /// What the site has just made: nothing of it is kept.
    #[must_use]
    pub fn new(owner: &Owner, chat_id: String, response_id: String, link: String) -> Self {
        let account = of_account(&owner.account);
        let (id, task_id) = (String::new(), String::new());
        Self { id, account, chat_id, response_id, task_id, link, expires_at: UnixMillis::default() }
    }

    /// Whether this account made it.
    #[must_use]
    pub fn is_of(&self, account: &AccountId) -> bool {
        self.account == of_account(account)
    }

    /// The same, made by this task.
    #[must_use]
    pub fn of_task(self, task_id: String) -> Self {
        Self { task_id, ..self }
    }
}

impl std::fmt::Debug for Resolved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolved").field("chat_id", &self.chat_id).finish_non_exhaustive()
    }
}

/// All links of this server.
#[derive(Debug)]
pub struct MediaLinks {
    cipher: Arc<Cipher>,
    store_health: Arc<StoreHealth>,
    /// How long a conversation lives that nobody continues.
    conversation_ttl: Duration,
    /// The newest links that the store did not keep.
    recent: Mutex<VecDeque<Resolved>>,
}

impl MediaLinks {
    /// Links that are kept encrypted by `cipher`.
    #[must_use]
    pub fn new(cipher: Arc<Cipher>, store_health: Arc<StoreHealth>, conversation_ttl: Duration) -> Self {
        Self { cipher, store_health, conversation_ttl, recent: Mutex::default() }
    }

    /// How long a link in a conversation lives by itself.
    #[must_use]
    pub fn conversation_ttl(&self) -> Duration {
        self.conversation_ttl
    }

    /// Keeps links. Returns whether the store has them; else this process alone remembers them for a while.
    pub async fn keep(&self, platform: &impl Platform, new: &[NewLink], made_in: MadeIn<'_>) -> bool {
        let MadeIn { owner, conversation, chat_id, response_id, expires_at } = made_in;
        let account = of_account(&owner.account);
        let row = |new: &NewLink| {
            let random = [platform.random().ok()?, platform.random().ok()?];
            Some(table::MediaLink {
                id: new.id.clone(),
                account: account.clone(),
                scope: owner.scope.as_str().to_owned(),
                conversation: conversation.unwrap_or_default().to_owned(),
                chat_id: chat_id.to_owned(),
                response_id: response_id.to_owned(),
                link: self.cipher.encrypt(&new.link, &new.id, random)?,
                expires_at,
            })
        };
        if let Some(rows) = new.iter().map(row).collect::<Option<Vec<_>>>() {
            let kept = table::keep_links(platform, &rows).await;
            if self.store_health.ok_or_log("keeping links to pictures", kept).is_some() {
                return true;
            }
        }
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        for NewLink { id, link } in new {
            recent.push_back(Resolved {
                id: id.clone(),
                account: account.clone(),
                chat_id: chat_id.to_owned(),
                response_id: response_id.to_owned(),
                task_id: String::new(),
                link: link.clone(),
                expires_at,
            });
        }
        let surplus = recent.len().saturating_sub(MAX_RECENT);
        recent.drain(..surplus);
        false
    }

    /// Finds what a link leads to; `None` for one that never was or has ended.
    pub async fn find(&self, platform: &impl Platform, id: &str) -> Option<Resolved> {
        if !is_id(id) {
            return None;
        }
        let now = platform.now();
        let not_before = now.saturating_sub(self.conversation_ttl);
        let found = table::find_link(platform, id, now, not_before).await;
        if let Some(row) = self.store_health.ok_or_log("reading a link to a picture", found).flatten() {
            let table::MediaLink { id, account, chat_id, response_id, link, expires_at, .. } = row;
            let read = self.cipher.decrypt(&link, &id);
            let read = read.inspect_err(|problem| tracing::warn!(problem, "a link to a picture cannot be read"));
            let (link, task_id) = (read.ok()?, String::new());
            return Some(Resolved { account, chat_id, response_id, task_id, link, expires_at, id });
        }
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.iter().find(|known| known.id == id && known.expires_at > now).cloned()
    }

    /// Looks for a newer link of the site, after the known one has ended: in the chat, then by the task. `owner` = the account as
    /// it is now.
    pub async fn renew<P: Platform>(
        &self,
        platform: &P,
        upstream: &Upstream,
        owner: &Owner,
        old: &Resolved,
    ) -> Option<Resolved> {
        if old.account != of_account(&owner.account) || old.chat_id.is_empty() {
            return None;
        }
        let newer = match link_in_chat(platform, upstream, owner, old).await {
            Some(link) => link,
            None => link_of_task(platform, upstream, owner, old).await?,
        };
        if !old.id.is_empty()
            && let (Ok(one), Ok(other)) = (platform.random(), platform.random())
            && let Some(sealed) = self.cipher.encrypt(&newer, &old.id, [one, other])
        {
            let renewed = table::renew_link(platform, &old.id, &sealed).await;
            self.store_health.ok_or_log("renewing a link to a picture", renewed);
        }
        Some(Resolved { link: newer, ..old.clone() })
    }
}

/// The same link as its chat has it now, if that is another.
async fn link_in_chat<P: Platform>(platform: &P, upstream: &Upstream, owner: &Owner, old: &Resolved) -> Option<String> {
    let wanted = match old.response_id.as_str() {
        "" => WantedAnswer::After(None),
        node => WantedAnswer::Node(node),
    };
    let answer = upstream.chat_answer(platform, owner, &old.chat_id, wanted).await;
    let answer = answer.inspect_err(|error| tracing::info!(%error, "a picture's chat cannot be read")).ok()??;
    let path = |link: &str| link.split('?').next().unwrap_or(link).to_owned();
    let same = answer.links.into_iter().map(|drawn| drawn.link).find(|link| path(link) == path(&old.link));
    same.filter(|link| *link != old.link)
}

/// The link that the task of a video reports now, if that is another.
async fn link_of_task<P: Platform>(platform: &P, upstream: &Upstream, owner: &Owner, old: &Resolved) -> Option<String> {
    if old.task_id.is_empty() {
        return None;
    }
    match upstream.task(platform, owner, &old.task_id).await {
        Ok(Some(TaskState::Done(link))) if !link.is_empty() && link != old.link => Some(link),
        Ok(_) => None,
        Err(error) => {
            tracing::info!(%error, "a video's task cannot be read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_cannot_be_guessed_and_are_known_again() {
        let mut maker = LinkMaker::new("https://edge.example".into(), [7; 16]);
        let (one, two) = (maker.link("https://cdn/1"), maker.link("https://cdn/1"));
        let other = LinkMaker::new("https://edge.example".into(), [8; 16]).link("https://cdn/1");
        assert!(one != two && one != other);
        let made = maker.take();
        assert_eq!(made.len(), 2);
        assert!(maker.take().is_empty());
        assert_eq!(media_id(&Url::parse(&one).unwrap()), Some(made[0].id.as_str()));
        for url in [
            "https://edge.example/v1/media/",
            "https://edge.example/v1/media/short",
            "https://edge.example/v1/files/AAAAAAAAAAAAAAAAAAAAAA",
            "https://edge.example/v1/media/AAAAAAAAAAAAAAAAAAAA.A",
            "https://edge.example/v1/media/AAAAAAAAAAAAAAAAAAAAAA/",
        ] {
            assert_eq!(media_id(&Url::parse(url).unwrap()), None, "{url}");
        }
    }
}
