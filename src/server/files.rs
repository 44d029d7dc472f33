//! `/v1/files…` and `/v2/files/getstsToken`: uploads files, lists and deletes them.

use http::{Response, StatusCode};
use serde::Serialize;
use serde_json::Value as Json;
use url::form_urlencoded;

use super::{
    App,
    body::{self, Reservation},
    form::{Form, Texts},
    reply,
};
use crate::{
    accounts::{Caller, KeyHolder},
    api::Whole,
    chat::{from_row, to_row},
    error::{Error, ErrorKind, Result},
    media_type::MediaKind,
    platform::{Body, Platform, Request},
    store::files as table,
    upstream::qwen::{File, FileEntry, NewFile},
};

/// The maximum length of the list in one answer, as in OpenAI's API.
const MAX_LISTED: u32 = 10_000;
/// The length of the list if the request names none.
const DEFAULT_LISTED: u32 = 100;
/// The purpose of files whose sender names none.
const DEFAULT_PURPOSE: &str = "multimodal";
/// The limit of a request for upload credentials.
const TOKEN_REQUEST_LIMIT: body::Limit = body::Limit { bytes: 64 * 1024, advice: "three short fields are enough" };

/// The uploaded file of a form, and the other fields.
pub(super) struct Received {
    pub(super) caller: Caller,
    pub(super) file: File,
    fields: Texts,
}

impl Received {
    /// Takes the text of a field. The last field of that name counts.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.fields.take(name)
    }

    /// Returns the memory that the fields take.
    pub(super) fn into_reservation(self) -> Reservation {
        self.fields.into_reservation()
    }
}

/// Reads a form and uploads the file in its field `name` as it arrives. Keeps the text fields named in `texts`.
pub(super) async fn receive<P: Platform>(
    app: &App,
    platform: &P,
    key: KeyHolder,
    request: Request,
    name: &str,
    expected: Option<MediaKind>,
    texts: &'static [&'static str],
) -> Result<Received> {
    let Request { headers, body, .. } = request;
    let limit = match expected {
        Some(MediaKind::Image) => app.config.max_image_bytes,
        _ => app.config.max_image_bytes.max(app.config.max_file_bytes),
    };
    let mut form = Form::open(platform, &headers, body, limit)?;
    key.ready(platform).await?;
    let caller = key.caller(platform).await;
    let (mut file, mut fields) = (None, Texts::new(texts, app.memory.reservation()));
    while let Some(field) = form.next().await? {
        if field.name != name {
            fields.add(field).await?;
            continue;
        }
        if file.is_some() {
            return Err(Error::invalid(
                name,
                format!("The form has several fields '{name}'; send one file a request."),
            ));
        }
        let new = NewFile {
            name: field.file_name.clone().unwrap_or_default(),
            declared: field.content_type.clone(),
            expected,
            length: form.length,
            hash: None,
            param: name.to_owned(),
            body: field.content(),
        };
        file = Some(caller.account.qwen.upload(platform, &caller.owner, new).await?);
    }
    let missing = || Error::invalid(name, format!("The form has no file in its field '{name}'."));
    Ok(Received { caller, file: file.ok_or_else(missing)?, fields })
}

pub(super) async fn upload<P: Platform>(
    app: &App,
    platform: &P,
    key: KeyHolder,
    request: Request,
) -> Result<Response<Body>> {
    let mut received = receive(app, platform, key, request, "file", None, &["purpose"]).await?;
    let purpose = received.take("purpose").map(|purpose| purpose.trim().chars().take(60).collect::<String>());
    let purpose = purpose.filter(|purpose| !purpose.is_empty()).unwrap_or_else(|| DEFAULT_PURPOSE.to_owned());
    let file = to_row(received.file, purpose, platform.now());
    // The upload is valid even if the store has no row for it.
    app.store_health.ok_or_log("storing a file", table::keep(platform, received.caller.scope(), &file).await);
    Ok(reply::json(StatusCode::OK, &object(platform, file)))
}

pub(super) async fn list(platform: &impl Platform, key: KeyHolder, query: Option<&str>) -> Result<Response<Body>> {
    let (mut limit, mut after, mut is_ascending) = (DEFAULT_LISTED, String::new(), false);
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            "limit" => {
                let wrong = || {
                    let problem =
                        format!("'limit' must be a number from 1 to {MAX_LISTED}, or 0 for {DEFAULT_LISTED}.");
                    Error::invalid("limit", problem)
                };
                let number = if value.is_empty() { Some(Whole(0)) } else { Whole::from_text(&value) };
                limit = match number.and_then(|number| u32::try_from(number.0).ok()).ok_or_else(wrong)? {
                    0 => DEFAULT_LISTED,
                    limit => limit,
                };
            }
            "after" => after = value.into_owned(),
            "order" => {
                is_ascending = match &*value {
                    "" | "desc" => false,
                    "asc" => true,
                    _ => return Err(Error::invalid("order", "'order' must be 'asc' or 'desc'.")),
                };
            }
            _ => {}
        }
    }
    let limit = limit.min(MAX_LISTED);
    let caller = key.caller(platform).await;
    let found = table::list(platform, caller.scope(), &after, is_ascending, limit.saturating_add(1)).await;
    let mut found = found.map_err(Error::store_unavailable)?;
    let max = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = found.len() > max;
    found.truncate(max);
    let data: Vec<FileObject> = found.into_iter().map(|file| object(platform, file)).collect();
    let id = |file: Option<&FileObject>| file.map(|file| file.id.clone());
    let (first_id, last_id) = (id(data.first()), id(data.last()));
    Ok(reply::json(StatusCode::OK, &FileList { object: "list", data, first_id, last_id, has_more }))
}

async fn find(platform: &impl Platform, key: KeyHolder, id: &str) -> Result<(Caller, table::File)> {
    let caller = key.caller(platform).await;
    match table::find(platform, caller.scope(), id).await.map_err(Error::store_unavailable)? {
        Some(file) => Ok((caller, file)),
        None => Err(Error::new(
            ErrorKind::NotFound,
            "There is no such file among those uploaded with this key. GET /v1/files lists them.",
        )),
    }
}

pub(super) async fn one(platform: &impl Platform, key: KeyHolder, id: &str) -> Result<Response<Body>> {
    let (_, file) = find(platform, key, id).await?;
    Ok(reply::json(StatusCode::OK, &object(platform, file)))
}

pub(super) async fn delete(platform: &impl Platform, key: KeyHolder, id: &str) -> Result<Response<Body>> {
    let (caller, file) = find(platform, key, id).await?;
    let removed = table::remove(platform, caller.scope(), &file).await;
    removed.map_err(Error::store_unavailable)?;
    Ok(reply::json(StatusCode::OK, &DeletedFile { id: file.upload.id, object: "file", deleted: true }))
}

/// An uploaded file: OpenAI's file object, with what the site needs in addition.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = File))]
pub(super) struct FileObject {
    id: String,
    /// `file`
    object: &'static str,
    bytes: u64,
    /// Unix time in seconds.
    created_at: u64,
    filename: String,
    /// As in the upload.
    purpose: String,
    /// A link to the file in the site's storage. It expires.
    url: String,
    /// `uploaded`
    status: &'static str,
    /// `image`, `video`, `audio` or `file`.
    filetype: &'static str,
    /// The media type, detected from the file's bytes.
    content_type: String,
    /// Can be used unchanged in a content part.
    #[cfg_attr(test, schema(value_type = Object))]
    file_info: FileEntry,
}

/// Uploaded files, newest first.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct FileList {
    /// `list`
    object: &'static str,
    data: Vec<FileObject>,
    first_id: Option<String>,
    /// The value of `after` for the next page.
    last_id: Option<String>,
    has_more: bool,
}

/// A deleted file.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct DeletedFile {
    id: String,
    /// `file`
    object: &'static str,
    deleted: bool,
}

fn object(platform: &impl Platform, file: table::File) -> FileObject {
    let (purpose, created_at) = (file.purpose.clone(), file.created_at);
    let file = from_row(file);
    let info = file.entry(platform);
    let File { upload, hash: _, name, size, kind, content_type } = file;
    FileObject {
        id: upload.id,
        object: "file",
        bytes: size,
        created_at: created_at.seconds().get(),
        filename: name,
        purpose,
        url: upload.url,
        status: "uploaded",
        filetype: kind.as_str(),
        content_type,
        file_info: info,
    }
}

/// Returns the site's answer with upload credentials, for programs that upload by themselves.
pub(super) async fn sts_token(
    app: &App,
    platform: &impl Platform,
    key: KeyHolder,
    request: Request,
) -> Result<Response<Body>> {
    let body = body::collect(&app.memory, platform, &request.headers, request.body, TOKEN_REQUEST_LIMIT).await?;
    let body = body::json(&body)?;
    let name = body.get("filename").and_then(Json::as_str).filter(|name| !name.trim().is_empty());
    let name = name.ok_or_else(|| Error::invalid("filename", "The field 'filename' must be a text."))?;
    let size = body.get("filesize").and_then(|size| Whole::from_text(size.as_str().unwrap_or(&size.to_string())));
    let size = size.and_then(|size| u64::try_from(size.0).ok());
    let size = size.ok_or_else(|| Error::invalid("filesize", "The field 'filesize' must be a number of bytes."))?;
    let kind = match body.get("filetype") {
        None | Some(Json::Null) => "image",
        Some(Json::String(kind)) => kind.as_str(),
        Some(_) => "",
    };
    // Some clients send a media type.
    let word = kind.split('/').next().unwrap_or_default();
    let kind =
        MediaKind::from_word(if matches!(word, "application" | "text") { "file" } else { word }).ok_or_else(|| {
            Error::invalid("filetype", "The field 'filetype' must be 'image', 'video', 'audio' or 'file'.")
        })?;
    key.ready(platform).await?;
    let answer = key
        .account
        .qwen
        .sts_token(platform, None, &crate::upstream::qwen::plain_name(name), size, kind.as_str())
        .await?;
    Ok(reply::json(StatusCode::OK, &answer))
}
