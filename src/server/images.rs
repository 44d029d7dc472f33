//! `/v1/images/…`: pictures from a text, or from a text and pictures.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::{
    StreamExt as _,
    channel::mpsc::UnboundedReceiver,
    future::{Either, select},
    stream,
};
use http::{HeaderName, HeaderValue, Response};

use super::{
    App, address,
    body::{self, Reservation},
    form::{Field, Form, Texts, is_form},
    made::{self, Made},
    reply,
};
use crate::{
    accounts::{Caller, KeyHolder},
    api::openai::images::{
        self, Content, FORM_TEXTS, ImagesDelivery, ImagesMeta, ImagesRequest, Operation, Picture, Pieces, ResultForm,
    },
    chat::{Attachments, upload_attachments},
    error::{Error, ErrorKind, Result},
    llm::{self, MediaClass, MediaSource, PictureRequest, Ratio},
    media::{self, Order, Outcome, Progress, request_key},
    media_type::MediaKind,
    platform::{self, Body, BoxFuture, FetchError, Headers, Platform, Request},
    upstream::{File, NewFile},
};

/// The limit of a request without pictures.
const TEXT_LIMIT: body::Limit = body::Limit { bytes: 1024 * 1024, advice: "a prompt has at most 32,000 characters" };
/// The most pictures that one is drawn from.
const MAX_INPUTS: usize = 16;
/// How many of the wanted pictures were drawn, where some failed.
const IMAGES: HeaderName = HeaderName::from_static("x-images");
/// The shape of pictures of the model that cannot choose one.
const WITHOUT_AUTO: (&str, Ratio) = ("qwen-image-2.0-pro", Ratio::Square);

/// A request for pictures, and what goes along.
struct Asked {
    base: Arc<str>,
    is_fresh: bool,
    caller: Option<Caller>,
    pictures: PictureRequest,
    delivery: ImagesDelivery,
    attachments: Attachments,
    /// The request's share of the memory, kept until its pictures are uploaded.
    reservation: Reservation,
}

pub(super) async fn generations<P: Platform>(
    app: &Arc<App>,
    platform: &P,
    key: KeyHolder,
    request: Request,
) -> Result<Response<Body>> {
    let (base, is_fresh) = (address::base(&app.config, &request), is_fresh(&request.headers));
    let body = body::collect(&app.memory, platform, &request.headers, request.body, TEXT_LIMIT).await?;
    let ImagesRequest { pictures, delivery } = images::parse_generation(&body, app.config.max_images)?;
    let (caller, attachments, reservation) = (None, Attachments::default(), body.into_reservation());
    let asked = Asked { base, is_fresh, caller, pictures, delivery, attachments, reservation };
    answer(app, platform, key, asked).await
}

pub(super) async fn edits<P: Platform>(
    app: &Arc<App>,
    platform: &P,
    key: KeyHolder,
    request: Request,
) -> Result<Response<Body>> {
    if is_form(&request.headers) {
        return edit_form(app, platform, key, request).await;
    }
    let (base, is_fresh) = (address::base(&app.config, &request), is_fresh(&request.headers));
    let limit = body::chat_limit(&app.config.product);
    let body = body::collect(&app.memory, platform, &request.headers, request.body, limit).await?;
    let max_images = app.config.max_images;
    let (pictures, delivery, attachments, reservation) = platform::work_on(platform, body.len(), move || {
        let ImagesRequest { mut pictures, delivery } = images::parse_edit(&body, max_images)?;
        let attachments = Attachments::of_media(std::mem::take(&mut pictures.inputs))?;
        Ok::<_, Error>((pictures, delivery, attachments, body.into_reservation()))
    })
    .await?;
    let asked = Asked { base, is_fresh, caller: None, pictures, delivery, attachments, reservation };
    answer(app, platform, key, asked).await
}

/// Reads a form; its pictures are uploaded as they arrive.
async fn edit_form<P: Platform>(
    app: &Arc<App>,
    platform: &P,
    key: KeyHolder,
    request: Request,
) -> Result<Response<Body>> {
    let (base, is_fresh) = (address::base(&app.config, &request), is_fresh(&request.headers));
    let limit = app.config.max_image_bytes.saturating_mul(MAX_INPUTS as u64);
    let Request { headers, body, .. } = request;
    let mut form = Form::open(platform, &headers, body, limit)?;
    key.ready(platform).await?;
    let caller = key.caller(platform).await;
    let (mut files, mut texts) = (Vec::new(), Texts::new(FORM_TEXTS, app.memory.reservation()));
    while let Some(field) = form.next().await? {
        let is_file = field.file_name.is_some();
        if is_file && images::is_input_field(&field.name) {
            if files.len() >= MAX_INPUTS {
                return Err(Error::invalid("image", format!("At most {MAX_INPUTS} pictures are possible.")));
            }
            let file = upload(platform, &caller, field).await?;
            files.push(media_of(platform, &file));
        } else if is_file && field.name == "mask" {
            return Err(images::mask_unsupported());
        } else {
            texts.add(field).await?;
        }
    }
    let ImagesRequest { mut pictures, delivery } =
        images::parse_form(Operation::Edit, app.config.max_images, files, |name| texts.take(name))?;
    let attachments = Attachments::of_media(std::mem::take(&mut pictures.inputs))?;
    let (caller, reservation) = (Some(caller), texts.into_reservation());
    answer(app, platform, key, Asked { base, is_fresh, caller, pictures, delivery, attachments, reservation }).await
}

/// Uploads the file of a field.
pub(super) async fn upload(platform: &impl Platform, caller: &Caller, field: Field) -> Result<File> {
    let new = NewFile {
        name: field.file_name.clone().unwrap_or_default(),
        declared: field.content_type.clone(),
        expected: Some(MediaKind::Image),
        length: None,
        hash: None,
        param: field.name.clone(),
        body: field.content(),
    };
    caller.account.qwen.upload(platform, &caller.owner, new).await
}

/// An uploaded file as what goes along with a request.
pub(super) fn media_of(platform: &impl Platform, file: &File) -> llm::Media {
    llm::Media {
        class: MediaClass::Image,
        source: MediaSource::Entry(file.entry(platform).json().to_string().into()),
        filename: Some(file.name.clone()),
        format: None,
        param: "image".to_owned(),
        word: "image".into(),
    }
}

/// The shape of a picture of a model that chooses none itself.
pub(super) fn default_ratio(image_model: &str) -> Option<Ratio> {
    (image_model == WITHOUT_AUTO.0).then_some(WITHOUT_AUTO.1)
}

/// Whether the client wants new pictures although it got the same a short while ago.
pub(super) fn is_fresh(headers: &Headers) -> bool {
    headers.get("x-fresh").is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
}

async fn answer<P: Platform>(app: &Arc<App>, platform: &P, key: KeyHolder, asked: Asked) -> Result<Response<Body>> {
    let Asked { base, is_fresh, caller, pictures, delivery, attachments, reservation } = asked;
    let PictureRequest { model, prompt, ratio, quality, count, inputs: _ } = pictures;
    key.ready(platform).await?;
    let caller = match caller {
        Some(caller) => caller,
        None => key.caller(platform).await,
    };
    let model = model.unwrap_or_default();
    let choice = key.account.qwen.choose_picture(platform, &model, quality).await;
    {
        let request_metrics = platform.request_metrics();
        let mut record = request_metrics.record();
        record.model = Some(if model.is_empty() { "qwen-image".to_owned() } else { model.chars().take(200).collect() });
        record.stream = Some(delivery.is_stream);
    }
    let (services, reach) = (app.services(&caller.account), app.reach());
    let files =
        upload_attachments(platform, &services, (&caller.owner, reach), (&attachments, 0)).await.map_err(refused)?;
    drop(reservation);
    let (text_model, image_model) = (choice.text_model, choice.image_model);
    let ratio = ratio.or_else(|| default_ratio(image_model.as_deref()?));
    let count_text = count.to_string();
    let fixed = [
        "images",
        &prompt,
        &text_model,
        image_model.as_deref().unwrap_or_default(),
        ratio.map_or("", Ratio::as_str),
        &count_text,
    ];
    let request_key = request_key(caller.scope(), fixed.into_iter().chain(attachments.fingerprints()));
    let order = Order {
        owner: caller.owner.clone(),
        key: request_key,
        is_fresh,
        text_model,
        image_model,
        ratio,
        prompt,
        is_edit: !files.is_empty(),
        files,
        count,
        node: None,
    };
    let progress = app.pictures(&caller.account).draw(platform, order);
    let delivering = Delivering {
        app: Arc::clone(app),
        platform: platform.clone(),
        caller,
        base,
        delivery,
        has_picture: false,
        failure: None,
    };
    let answer = if delivering.delivery.is_stream {
        delivering.stream(progress).await
    } else {
        delivering.whole(progress).await
    };
    Ok(reply::with_upstream(answer?, "qwen"))
}

/// The content inspection's refusal, as clients of pictures know it.
fn refused(error: Error) -> Error {
    if error.kind() == ErrorKind::ContentFilter { error.of_kind(ErrorKind::PictureRefused) } else { error }
}

/// What a picture is delivered with.
struct Delivering<P> {
    app: Arc<App>,
    platform: P,
    caller: Caller,
    base: Arc<str>,
    delivery: ImagesDelivery,
    /// Whether a stream has a picture.
    has_picture: bool,
    /// Why a picture that was drawn could not be delivered.
    failure: Option<Error>,
}

/// What the next step of a stream brings, and what is left of it.
type Step<P> = (Option<Event>, Option<(Delivering<P>, UnboundedReceiver<Progress>)>);

/// The event of a picture on its way, and its share of the memory.
struct Event {
    pieces: Pieces,
    _reservation: Reservation,
}

impl<P: Platform> Delivering<P> {
    /// Answers with all pictures at once.
    async fn whole(self, mut progress: UnboundedReceiver<Progress>) -> Result<Response<Body>> {
        let (mut drawn, mut outcome) = (Vec::new(), None);
        while let Some(next) = progress.next().await {
            match next {
                Progress::Picture(picture) => drawn.push(picture),
                Progress::Ended(ended) => outcome = Some(ended.map_err(refused)?),
            }
        }
        let Outcome { drawn: count, wanted, usage } = outcome.ok_or_else(media::interrupted)?;
        let mut reservation = self.app.memory.reservation();
        let mut all = Vec::new();
        let mut failure = None;
        for picture in drawn {
            match made::fetch(
                &self.app,
                &self.platform,
                &self.caller,
                &self.base,
                picture,
                self.is_url(),
                &mut reservation,
            )
            .await
            {
                Ok(made) => all.push(made),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        let delivered = count.min(all.len());
        if let (true, Some(error)) = (all.is_empty(), failure) {
            return Err(error);
        }
        for made in &all {
            self.delivery.check_format(made.format)?;
        }
        let meta = ImagesMeta { created: self.platform.now().seconds(), quality: self.delivery.quality, usage };
        let pictures: Vec<Picture<'_>> = all.iter().map(picture_of).collect();
        let pieces = images::object(&meta, &pictures);
        let body = stream::iter(pieces.map(move |piece| {
            // Held until the last piece is made.
            let _ = &reservation;
            Ok(piece)
        }));
        let mut answer = reply::json_stream(Box::pin(body));
        if delivered < wanted
            && let Ok(value) = HeaderValue::from_str(&format!("{delivered}/{wanted}"))
        {
            answer.headers_mut().insert(IMAGES, value);
        }
        Ok(answer)
    }

    /// Answers with an event for each picture. The status line waits for the first of them, or for a refusal, as it does in
    /// chats.
    async fn stream(self, progress: UnboundedReceiver<Progress>) -> Result<Response<Body>> {
        let (first_byte, heartbeat) = (self.app.timing.first_byte, self.app.timing.heartbeat);
        let platform = self.platform.clone();
        let mut work: BoxFuture<Result<Step<P>>> = Box::pin(self.step(progress));
        let mut begun = None;
        match select(work.as_mut(), platform.sleep(first_byte)).await {
            Either::Left((step, _)) => begun = Some(step?),
            Either::Right(_) => {}
        }
        let rest = match begun {
            Some(step) => Rest::of(step),
            None => Rest { event: None, work: Some(work) },
        };
        let body = stream::unfold(rest, move |rest| {
            let platform = platform.clone();
            async move { rest.next(&platform, heartbeat).await }
        });
        Ok(reply::event_stream(Body::Stream(Box::pin(body))))
    }

    /// Waits for the next picture or the end. A picture that cannot be delivered keeps no other back.
    async fn step(mut self, mut progress: UnboundedReceiver<Progress>) -> Result<Step<P>> {
        loop {
            let picture = match progress.next().await.ok_or_else(media::interrupted)? {
                Progress::Picture(picture) => picture,
                Progress::Ended(ended) => {
                    ended.map_err(refused)?;
                    return match self.failure.take() {
                        Some(failure) if !self.has_picture => Err(failure),
                        _ => Ok((None, None)),
                    };
                }
            };
            let mut reservation = self.app.memory.reservation();
            let (as_link, base) = (self.is_url(), &self.base);
            let made =
                made::fetch(&self.app, &self.platform, &self.caller, base, picture, as_link, &mut reservation).await;
            match made.and_then(|made| self.delivery.check_format(made.format).map(|()| made)) {
                Ok(made) => {
                    let (created, quality) = (self.platform.now().seconds(), self.delivery.quality);
                    let meta = ImagesMeta { created, quality, usage: made.usage };
                    let pieces = images::event(self.delivery.operation, &meta, &picture_of(&made));
                    self.has_picture = true;
                    return Ok((Some(Event { pieces, _reservation: reservation }), Some((self, progress))));
                }
                Err(error) => {
                    tracing::warn!(%error, "a picture could not be delivered");
                    self.failure.get_or_insert(error);
                }
            }
        }
    }

    fn is_url(&self) -> bool {
        self.delivery.form == ResultForm::Url
    }
}

fn picture_of(made: &Made) -> Picture<'_> {
    let content = match &made.url {
        Some(url) => Content::Url(url),
        None => Content::Bytes(&made.bytes),
    };
    Picture { content, pixels: made.pixels, format: made.format }
}

/// A stream that has begun: the event that is being sent, and the work on those that follow.
struct Rest<P> {
    event: Option<Event>,
    work: Option<BoxFuture<Result<Step<P>>>>,
}

impl<P: Platform> Rest<P> {
    fn of((event, rest): Step<P>) -> Self {
        Self { event, work: rest.map(|(this, progress)| -> BoxFuture<_> { Box::pin(this.step(progress)) }) }
    }

    async fn next(mut self, platform: &P, heartbeat: Duration) -> Option<(Result<Bytes, FetchError>, Self)> {
        loop {
            if let Some(piece) = self.event.as_mut().and_then(|event| event.pieces.next()) {
                return Some((Ok(piece), self));
            }
            let mut work = self.work.take()?;
            let mut out = BytesMut::new();
            match select(work.as_mut(), platform.sleep(heartbeat)).await {
                Either::Left((Ok(step), _)) => {
                    self = Self::of(step);
                    continue;
                }
                Either::Left((Err(error), _)) => {
                    tracing::warn!(%error, "a stream of pictures ended with an error");
                    platform.request_metrics().record().code = Some(error.kind().code());
                    images::write_error(&mut out, &error);
                }
                Either::Right(_) => {
                    images::write_heartbeat(&mut out);
                    self.work = Some(work);
                }
            }
            return Some((Ok(out.freeze()), self));
        }
    }
}
