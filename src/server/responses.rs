//! `/v1/responses`: the answer, what of it is kept, and going on from it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::form_urlencoded;

use super::{
    address,
    app::App,
    body::{self, Collected},
    fallback, reply,
    turn::{ChatTurn, Keep, respond},
};
use crate::{
    accounts::{Caller, KeyHolder},
    api::{
        Parsed,
        openai::responses::{self, Draft, read_draft},
    },
    chat::{Attachments, KeptResponse, Resumed, is_drawn},
    error::{Error, ErrorKind, Result},
    llm::{Message, estimate_tokens},
    platform::{self, Body, Headers, Platform, Request},
    store::responses::{self as table, Response as Row},
};

/// The most responses that one goes on from, one after the other.
const MAX_CHAIN: u32 = 500;
/// The most earlier responses whose items a request may refer to.
const MAX_REFERRED: usize = 50;
/// How many items a list has, unless the request says so, and at most.
const LISTED: usize = 20;
const MAX_LISTED: usize = 100;

/// What is kept of a response.
#[derive(Deserialize)]
struct Kept {
    input: Box<RawValue>,
    response: Box<RawValue>,
}

/// The items of a kept response.
#[derive(Deserialize)]
struct Output {
    output: Vec<Box<RawValue>>,
}

/// An item's id.
#[derive(Deserialize)]
struct ItemId {
    id: Option<String>,
}

pub(super) async fn create<P: Platform>(
    app: &Arc<App>,
    platform: &P,
    key: KeyHolder,
    request: Request,
) -> Result<Response<Body>> {
    let base = address::base(&app.config, &request);
    let Request { headers, body, .. } = request;
    let limit = body::chat_limit(&app.config.product);
    let body = body::collect(&app.memory, platform, &headers, body, limit).await?;
    let (draft, body) = platform::work_on(platform, body.len(), move || (read_draft(&body), body)).await;
    let draft = draft?;
    let turn = Turn { app, platform, key: key.clone(), headers: &headers, base };
    let keep = draft.is_stored().then(|| Keep {
        previous: String::new(),
        input: draft.raw_input().filter(|_| app.config.store_responses).map(Arc::from),
    });
    if draft.previous_response_id().is_none() && draft.references().next().is_none() {
        return turn.answer(None, draft, (HashMap::new(), Vec::new()), (None, keep, None), body).await;
    }
    let model = draft.model().unwrap_or(&app.config.default_model).to_owned();
    let is_only = fallback::is_only(app, &model)?;
    let refused = if is_only { None } else { key.ready(platform).await.err() };
    let refused = refused.map_or(Ok(None), |error| may_fall_back(app, error))?;
    let caller = key.caller(platform).await;
    let found = turn.referred(&caller, &draft).await?;
    let Some(previous) = draft.previous_response_id().map(str::to_owned) else {
        return turn.answer(Some(caller), draft, (found, Vec::new()), (None, keep, refused), body).await;
    };
    let previous_key = KeptResponse::key_of(caller.scope(), &previous);
    let keep = keep.map(|keep| Keep { previous: previous_key.clone(), ..keep });
    let not_before = app.conversations.not_before(platform.now());
    let row = table::find(platform, &previous_key, not_before).await.map_err(Error::store_unavailable)?;
    let row = row.ok_or_else(not_found)?;
    let Row { anchor, body: kept, .. } = row;
    // A chat that draws goes on with pictures alone.
    let draws = fallback::own_model(&model).is_none() && key.account.qwen.draws(&model);
    let knows_chat = !anchor.chat_id.is_empty() && anchor.unseen == 0 && is_drawn(&anchor) == draws;
    if knows_chat && !is_only && refused.is_none() {
        let earlier = kept.and_then(|kept| read_kept(app, &previous_key, &kept));
        let earlier = earlier.map(|kept| responses::messages_of(output(&kept).iter().map(|item| item.get())));
        let resumed = Resumed { anchor, salt: previous.clone(), known: 0 };
        let again = keep.clone();
        let first = (found.clone(), earlier.unwrap_or_default());
        let copy = body.copy(&app.memory)?;
        let asked = turn.answer(Some(caller.clone()), draft, first, (Some(resumed), keep, None), copy).await;
        let refused = match asked {
            // The chat has gone, or is busy with something else: what is kept is told to a new one.
            Err(error) if matches!(error.kind(), ErrorKind::ChatGone | ErrorKind::ChatBusy) => {
                let earlier = turn.earlier(&previous_key).await?;
                let answer = (None, again, None);
                return turn.answer(Some(caller), read_draft(&body)?, (found, earlier), answer, body).await;
            }
            Err(error) => may_fall_back(app, error)?,
            done => return done,
        };
        // The second upstream gets the whole conversation, where that is kept.
        return match (turn.earlier(&previous_key).await, refused) {
            (Err(_), Some(error)) => Err(error),
            (earlier, refused) => {
                let answer = (None, again, refused);
                turn.answer(Some(caller), read_draft(&body)?, (found, earlier?), answer, body).await
            }
        };
    }
    let earlier = match (turn.earlier(&previous_key).await, refused) {
        (Err(_), Some(error)) if knows_chat => return Err(error),
        (earlier, refused) => (earlier?, refused),
    };
    let (earlier, refused) = earlier;
    turn.answer(Some(caller), draft, (found, earlier), (None, keep, refused), body).await
}

/// An error of chat.qwen.ai after which the second upstream is asked.
///
/// # Errors
/// Any other error, as it is.
fn may_fall_back(app: &App, error: Error) -> Result<Option<Error>> {
    if fallback::is_asked_after(app, &error) { Ok(Some(error)) } else { Err(error) }
}

/// The earlier items that a request refers to, by their ids, and the messages before its input.
type Before = (HashMap<String, Box<str>>, Vec<Message>);

struct Turn<'a, P> {
    app: &'a Arc<App>,
    platform: &'a P,
    key: KeyHolder,
    headers: &'a Headers,
    base: Arc<str>,
}

impl<P: Platform> Turn<'_, P> {
    /// Answers a request. `body` holds its share of the memory.
    async fn answer(
        &self,
        caller: Option<Caller>,
        draft: Draft,
        (found, earlier): Before,
        (resumed, keep, refused): (Option<Resumed>, Option<Keep>, Option<Error>),
        body: Collected,
    ) -> Result<Response<Body>> {
        let Self { app, platform, key, headers, base } = self;
        let (parsed, attachments, reservation, resumed) = platform::work_on(*platform, body.len(), move || {
            let known = earlier.len().saturating_add(usize::from(draft.has_instructions()));
            let mut parsed = draft.finish(&found, earlier)?;
            let reservation = body.into_reservation();
            let attachments = Attachments::take(&mut parsed.request.messages)?;
            let resumed = resumed.map(|resumed| Resumed { known, ..resumed });
            Ok::<_, Error>((parsed, attachments, reservation, resumed))
        })
        .await?;
        let turn = ChatTurn {
            key: key.clone(),
            caller,
            headers,
            base: Arc::clone(base),
            parsed,
            attachments,
            default_model: &app.config.default_model,
            reservation,
            resumed,
            keep,
            refused,
            has_files: false,
        };
        respond(app, *platform, turn).await
    }

    /// The items of earlier responses that a request refers to. Those that are not kept are left out.
    async fn referred(&self, caller: &Caller, draft: &Draft) -> Result<HashMap<String, Box<str>>> {
        let Self { app, platform, .. } = self;
        let wanted: BTreeSet<String> = draft.references().filter_map(responses::response_of_item).collect();
        let keys: Vec<String> =
            wanted.iter().take(MAX_REFERRED).map(|id| KeptResponse::key_of(caller.scope(), id)).collect();
        let not_before = app.conversations.not_before(platform.now());
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let rows = table::find_all(*platform, &keys, not_before).await.map_err(Error::store_unavailable)?;
        let mut found = HashMap::new();
        for Row { key, body, .. } in rows {
            let Some(kept) = body.and_then(|body| read_kept(app, &key, &body)) else { continue };
            for item in output(&kept) {
                if let Ok(ItemId { id: Some(id) }) = serde_json::from_str(item.get()) {
                    found.insert(id, item.get().into());
                }
            }
        }
        Ok(found)
    }

    /// The messages up to and including a response, from what is kept.
    ///
    /// # Errors
    /// `previous_response_not_found` when not all of them are kept.
    async fn earlier(&self, key: &str) -> Result<Vec<Message>> {
        let Self { app, platform, .. } = self;
        let not_before = app.conversations.not_before(platform.now());
        let mut rows = table::chain(*platform, key, not_before, MAX_CHAIN).await.map_err(Error::store_unavailable)?;
        if rows.last().is_none_or(|row| !row.previous.is_empty()) {
            return Err(not_found());
        }
        rows.reverse();
        let mut messages = Vec::new();
        for Row { key, body, .. } in rows {
            let kept = body.and_then(|body| read_kept(app, &key, &body)).ok_or_else(not_found)?;
            messages.extend(responses::messages_of_input(kept.input.get()));
            messages.extend(responses::messages_of(output(&kept).iter().map(|item| item.get())));
        }
        Ok(messages)
    }
}

fn read_kept(app: &App, key: &str, body: &str) -> Option<Kept> {
    let text = app.cipher.decrypt(body, key);
    let text = text.inspect_err(|problem| tracing::warn!(problem, "a kept response cannot be read")).ok()?;
    serde_json::from_str(&text).ok()
}

fn output(kept: &Kept) -> Vec<Box<RawValue>> {
    serde_json::from_str(kept.response.get()).map_or_else(|_| Vec::new(), |Output { output }| output)
}

fn not_found() -> Error {
    Error::new(
        ErrorKind::PreviousResponseNotFound,
        "There is no such response, or nothing is kept of it any more. Send the whole conversation as 'input', without 'previous_response_id'.",
    )
    .with_param("previous_response_id")
}

fn no_response() -> Error {
    Error::new(
        ErrorKind::NotFound,
        "There is no such response among those that this server keeps for this key. Only responses with 'store' are kept.",
    )
}

/// Finds a response that is kept.
async fn kept(app: &App, platform: &impl Platform, key: KeyHolder, id: &str) -> Result<(String, Kept)> {
    let caller = key.caller(platform).await;
    let key = KeptResponse::key_of(caller.scope(), id);
    let not_before = app.conversations.not_before(platform.now());
    let row = table::find(platform, &key, not_before).await.map_err(Error::store_unavailable)?;
    let kept = row.and_then(|row| row.body).and_then(|body| read_kept(app, &key, &body)).ok_or_else(no_response)?;
    Ok((key, kept))
}

pub(super) async fn show(app: &App, platform: &impl Platform, key: KeyHolder, id: &str) -> Result<Response<Body>> {
    let (_, Kept { response, .. }) = kept(app, platform, key, id).await?;
    Ok(reply::json_text(StatusCode::OK, response.get().to_owned()))
}

/// A deleted response.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct DeletedResponse<'a> {
    id: &'a str,
    /// `response.deleted`
    object: &'static str,
    deleted: bool,
}

pub(super) async fn delete(platform: &impl Platform, key: KeyHolder, id: &str) -> Result<Response<Body>> {
    let caller = key.caller(platform).await;
    let key = KeptResponse::key_of(caller.scope(), id);
    let was_there = table::remove(platform, &key).await.map_err(Error::store_unavailable)?;
    if !was_there {
        return Err(no_response());
    }
    Ok(reply::json(StatusCode::OK, &DeletedResponse { id, object: "response.deleted", deleted: true }))
}

/// The items of a response's input.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = ResponseItemList))]
pub(super) struct ItemList {
    /// `list`
    object: &'static str,
    data: Vec<serde_json::Value>,
    first_id: Option<String>,
    last_id: Option<String>,
    has_more: bool,
}

pub(super) async fn input_items(
    app: &App,
    platform: &impl Platform,
    key: KeyHolder,
    id: &str,
    query: Option<&str>,
) -> Result<Response<Body>> {
    let page = Page::read(query)?;
    let (_, Kept { input, .. }) = kept(app, platform, key, id).await?;
    let mut items = items(id, serde_json::from_str(input.get()).unwrap_or_default());
    if !page.is_ascending {
        items.reverse();
    }
    let id_of = |item: &serde_json::Value| item.get("id").and_then(serde_json::Value::as_str).map(str::to_owned);
    if let Some(after) = &page.after {
        let at = items.iter().position(|item| id_of(item).as_ref() == Some(after));
        let at = at.ok_or_else(|| Error::invalid("after", "There is no item with the id in 'after'."))?;
        items = items.split_off(at.saturating_add(1));
    }
    let has_more = items.len() > page.limit;
    items.truncate(page.limit);
    let (first_id, last_id) = (items.first().and_then(id_of), items.last().and_then(id_of));
    Ok(reply::json(StatusCode::OK, &ItemList { object: "list", data: items, first_id, last_id, has_more }))
}

/// The items of an input with ids and types.
fn items(response: &str, input: serde_json::Value) -> Vec<serde_json::Value> {
    use serde_json::{Value, json};
    let list = match input {
        Value::String(text) => {
            vec![json!({ "type": "message", "role": "user", "content": [{ "type": "input_text", "text": text }] })]
        }
        Value::Array(items) => items,
        item => vec![item],
    };
    let stem = response.strip_prefix("resp_").unwrap_or(response);
    let with_id = |(index, mut item): (usize, Value)| {
        if let Some(fields) = item.as_object_mut() {
            fields.entry("id").or_insert_with(|| Value::from(format!("item_{stem}{index:04}")));
            fields.entry("type").or_insert_with(|| Value::from("message"));
            if let Some(content) = fields.get_mut("content")
                && let Value::String(text) = content
            {
                *content = json!([{ "type": "input_text", "text": text }]);
            }
        }
        item
    };
    list.into_iter().enumerate().map(with_id).collect()
}

/// Which items of a list are wanted.
struct Page {
    limit: usize,
    after: Option<String>,
    is_ascending: bool,
}

impl Page {
    fn read(query: Option<&str>) -> Result<Self> {
        let mut page = Self { limit: LISTED, after: None, is_ascending: false };
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*name {
                "limit" => {
                    page.limit =
                        value.parse().ok().filter(|limit| (1..=MAX_LISTED).contains(limit)).ok_or_else(|| {
                            Error::invalid("limit", format!("The field 'limit' is a number from 1 to {MAX_LISTED}."))
                        })?;
                }
                "after" => page.after = Some(value.into_owned()),
                "order" => {
                    page.is_ascending = match &*value {
                        "asc" => true,
                        "desc" => false,
                        _ => return Err(Error::invalid("order", "The field 'order' is 'asc' or 'desc'.")),
                    }
                }
                _ => {}
            }
        }
        Ok(page)
    }
}

pub(super) fn cancel() -> Result<Response<Body>> {
    Err(Error::new(
        ErrorKind::InvalidRequest,
        "Nothing runs in the background here, so there is nothing to cancel: close the connection to end an answer.",
    ))
}

/// How many tokens an input has.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct InputTokens {
    /// `response.input_tokens`
    object: &'static str,
    /// An estimate.
    input_tokens: u64,
}

pub(super) async fn input_tokens<P: Platform>(
    app: &Arc<App>,
    platform: &P,
    request: Request,
) -> Result<Response<Body>> {
    let Request { headers, body, .. } = request;
    let limit = body::chat_limit(&app.config.product);
    let body = body::collect(&app.memory, platform, &headers, body, limit).await?;
    let counted = platform::work_on(platform, body.len(), move || {
        let Parsed { request, .. } = responses::parse(&body)?;
        Ok::<_, Error>(estimate_tokens(&request))
    });
    let input_tokens = counted.await?;
    Ok(reply::json(StatusCode::OK, &InputTokens { object: "response.input_tokens", input_tokens }))
}
