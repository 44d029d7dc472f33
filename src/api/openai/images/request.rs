//! The bodies of `POST /v1/images/generations` and `POST /v1/images/edits`.

use serde::{Deserialize, de::IgnoredAny};

use crate::{
    api::{
        json_body::read,
        lenient::Whole,
        openai::media_fields::{Given, MAX_REFERENCES, References, model, prompt, ratio, said, take_all},
    },
    error::{Error, ErrorKind, Result},
    llm::{self, PictureRequest, Quality},
};

/// A request that draws pictures, and how its answer is delivered.
#[derive(Debug)]
pub struct ImagesRequest {
    /// What is asked for.
    pub pictures: PictureRequest,
    /// What the client gets.
    pub delivery: ImagesDelivery,
}

/// Which of the two routes a request came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// From a text alone.
    Generation,
    /// From pictures and a text.
    Edit,
}

/// How the answer is delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagesDelivery {
    /// The route, which the names of events tell.
    pub operation: Operation,
    /// Whether the answer comes as events, one a picture.
    pub is_stream: bool,
    /// As what a picture is delivered.
    pub form: ResultForm,
    /// The format that the client asks for.
    pub output_format: Option<PictureFormat>,
    /// The quality that answers repeat: `low`, `medium`, `high` or `auto`.
    pub quality: &'static str,
}

impl ImagesDelivery {
    /// Checks the format of a picture that was made: pictures are not converted.
    ///
    /// # Errors
    /// `unsupported_value` if the client asks for JPEG or WebP and the picture is not that. PNG, OpenAI's default, stands
    /// for any format.
    pub fn check_format(&self, made: PictureFormat) -> Result<()> {
        match self.output_format {
            None | Some(PictureFormat::Png) => Ok(()),
            Some(asked) if asked == made => Ok(()),
            Some(asked) => Err(unsupported_format(asked.as_str())),
        }
    }
}

/// As what a picture is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultForm {
    /// A link to this server.
    Url,
    /// Its bytes in base64.
    Base64,
}

/// A picture's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureFormat {
    /// PNG.
    Png,
    /// JPEG.
    Jpeg,
    /// WebP.
    Webp,
}

impl PictureFormat {
    /// OpenAI's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpeg",
            Self::Webp => "webp",
        }
    }

    /// The format of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "png" => Some(Self::Png),
            "jpeg" | "jpg" => Some(Self::Jpeg),
            "webp" => Some(Self::Webp),
            _ => None,
        }
    }
}

/// A request for pictures. Fields without docs are accepted and ignored, whatever they hold.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[cfg_attr(test, schema(as = ImagesRequest))]
#[expect(dead_code, reason = "ignored parameters stand in the document")]
pub(crate) struct ImagesBody {
    /// An image model, an alias of one, or a text model with the suffix `-image`; the site's default when absent.
    #[cfg_attr(test, schema(max_length = 200))]
    model: Option<String>,
    /// What to draw.
    #[cfg_attr(test, schema(value_type = String, min_length = 1, max_length = 32_000))]
    prompt: Option<String>,
    /// `auto`, or a width and a height such as `1024x1536`, `1024*1536` or `2:3`, from 1:3 to 3:1. The nearest of the
    /// shapes 1:1, 3:4, 4:3, 9:16 and 16:9 is drawn; the site chooses the pixels.
    #[cfg_attr(test, schema(default = "auto"))]
    size: Option<String>,
    /// `low`, `medium`, `high`, `auto`, `standard` or `hd`. Low and high choose the image model where `model` does not.
    #[cfg_attr(test, schema(default = "auto"))]
    quality: Option<String>,
    /// How many pictures. Each counts against the daily quota.
    #[cfg_attr(test, schema(minimum = 1, default = 1, value_type = Option<i64>))]
    n: Option<Whole>,
    /// `b64_json`, or `url` for a link to this server. `url` is the default where `model` begins with `dall-e-`.
    #[cfg_attr(test, schema(default = "b64_json"))]
    response_format: Option<String>,
    /// `png`, or the format that the site happens to draw: pictures are not converted.
    output_format: Option<String>,
    /// `opaque` or `auto`; `transparent` is refused.
    background: Option<String>,
    /// Whether the answer comes as events, one a picture.
    #[cfg_attr(test, schema(default = false))]
    stream: Option<bool>,
    /// Refused: the site has no masks.
    #[cfg_attr(test, schema(value_type = Option<serde_json::Value>))]
    mask: Option<Given>,
    /// Of an edit: 1 to 16 pictures to draw from.
    #[cfg_attr(test, schema(value_type = Option<Vec<crate::api::openai::media_fields::ReferenceFields>>))]
    images: Option<References>,
    /// The same, as a form names them: one or several.
    #[cfg_attr(test, schema(value_type = Option<Vec<crate::api::openai::media_fields::ReferenceFields>>))]
    image: Option<References>,
    #[cfg_attr(test, schema(value_type = Option<String>))]
    moderation: Option<IgnoredAny>,
    #[cfg_attr(test, schema(value_type = Option<String>))]
    style: Option<IgnoredAny>,
    #[cfg_attr(test, schema(value_type = Option<String>))]
    user: Option<IgnoredAny>,
    #[cfg_attr(test, schema(value_type = Option<i64>))]
    output_compression: Option<IgnoredAny>,
    #[cfg_attr(test, schema(value_type = Option<i64>))]
    partial_images: Option<IgnoredAny>,
    #[cfg_attr(test, schema(value_type = Option<String>))]
    input_fidelity: Option<IgnoredAny>,
}

/// The text fields of a form that have a meaning: [`parse_form`] takes these.
pub const FORM_TEXTS: &[&str] = &[
    "model",
    "prompt",
    "size",
    "quality",
    "n",
    "response_format",
    "output_format",
    "background",
    "stream",
    "mask",
    "image",
    "image[]",
    "images",
    "images[]",
];

/// Those of [`FORM_TEXTS`] that name pictures, in the order in which they count.
const FORM_PICTURES: &[&str] = &["image", "image[]", "images", "images[]"];

/// Whether a form's file in this field is a picture to draw from: `image`, `image[]`, `image[0]`, and the same of `images`.
#[must_use]
pub fn is_input_field(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("images").or_else(|| name.strip_prefix("image")) else { return false };
    let index = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    rest.is_empty() || index.is_some_and(|index| index.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Reads a request that draws from a text, of at most `max_images` pictures.
///
/// # Errors
/// `invalid_json` when it is not JSON; `invalid_request` or `unsupported_value` with the field that is wrong.
pub fn parse_generation(body: &[u8], max_images: usize) -> Result<ImagesRequest> {
    read::<ImagesBody>(body, || {})?.into_request(Operation::Generation, max_images, Vec::new())
}

/// Reads a request that draws from pictures and a text, as [`parse_generation`].
///
/// # Errors
/// As there; also when it names no picture, or more than 16.
pub fn parse_edit(body: &[u8], max_images: usize) -> Result<ImagesRequest> {
    read::<ImagesBody>(body, || {})?.into_request(Operation::Edit, max_images, Vec::new())
}

/// Reads a form. `files` are its file parts, in their order; `take` takes the last text that is left of a field
/// ([`FORM_TEXTS`]). Pictures that texts name follow the files.
///
/// # Errors
/// As of [`parse_edit`].
pub fn parse_form(
    operation: Operation,
    max_images: usize,
    files: Vec<llm::Media>,
    mut take: impl FnMut(&str) -> Option<String>,
) -> Result<ImagesRequest> {
    let mut inputs = files;
    for name in FORM_PICTURES {
        let texts = take_all(&mut take, name);
        // Without the brackets that only say that there may be several.
        let field = name.trim_end_matches("[]");
        for text in texts {
            inputs.extend(References::from_text(field, &text)?.into_media(field)?);
        }
    }
    let mut text = |name: &str| take(name).and_then(|text| said(&text).map(str::to_owned));
    let whole = |text: String| {
        Whole::from_text(&text).ok_or_else(|| Error::invalid("n", "The field 'n' must be a whole number."))
    };
    let body = ImagesBody {
        model: text("model"),
        size: text("size"),
        quality: text("quality"),
        n: text("n").map(whole).transpose()?,
        response_format: text("response_format"),
        output_format: text("output_format"),
        background: text("background"),
        stream: text("stream").map(|text| flag("stream", &text)).transpose()?,
        mask: text("mask").map(|text| Given(!matches!(text.as_str(), "false" | "[]" | "{}"))),
        // Its blanks are the client's, and `null` is a text that can be drawn.
        prompt: take("prompt"),
        ..ImagesBody::default()
    };
    body.into_request(operation, max_images, inputs)
}

/// Reads the text of a switch; Python's words have capitals.
fn flag(name: &'static str, text: &str) -> Result<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Error::invalid(name, format!("The field '{name}' must be true or false."))),
    }
}

/// A mask was sent. To ignore it would change the whole picture.
#[must_use]
pub fn mask_unsupported() -> Error {
    Error::new(
        ErrorKind::UnsupportedValue,
        "Masks are not possible: leave 'mask' out, and say in the prompt what to change.",
    )
    .with_param("mask")
}

fn unsupported_format(asked: &str) -> Error {
    let shown: String = asked.chars().take(20).collect();
    let problem = format!("Pictures cannot be made as '{shown}': leave 'output_format' out, or set it to 'png'.");
    Error::new(ErrorKind::UnsupportedValue, problem).with_param("output_format")
}

impl ImagesBody {
    fn into_request(
        self,
        operation: Operation,
        max_images: usize,
        mut inputs: Vec<llm::Media>,
    ) -> Result<ImagesRequest> {
        // Each field by name: whoever adds one decides here what it means.
        let Self {
            model: name,
            prompt: text,
            size,
            quality,
            n,
            response_format,
            output_format,
            background,
            stream,
            mask,
            images,
            image,
            moderation: _,
            style: _,
            user: _,
            output_compression: _,
            partial_images: _,
            input_fidelity: _,
        } = self;
        for (field, references) in [("images", images), ("image", image)] {
            let references = references.unwrap_or_default();
            if operation == Operation::Generation && !references.is_empty() {
                return Err(belongs_to_edits(field));
            }
            inputs.extend(references.into_media(field)?);
        }
        match operation {
            Operation::Generation if !inputs.is_empty() => return Err(belongs_to_edits("image")),
            Operation::Edit if inputs.is_empty() => {
                let problem = "The request names no picture to edit: send it in 'image' of a form, or in 'images' of JSON. Without one, use /v1/images/generations.";
                return Err(Error::invalid("image", problem));
            }
            Operation::Edit if inputs.len() > MAX_REFERENCES => {
                let problem = format!("The request has more than {MAX_REFERENCES} pictures to draw from.");
                return Err(Error::invalid("image", problem));
            }
            Operation::Generation | Operation::Edit => {}
        }
        if mask.is_some_and(|Given(is_given)| is_given) {
            return Err(mask_unsupported());
        }
        if background.is_some_and(|word| word.trim().eq_ignore_ascii_case("transparent")) {
            let problem = "A transparent background is not possible: leave 'background' out, or set it to 'opaque'.";
            return Err(Error::new(ErrorKind::UnsupportedValue, problem).with_param("background"));
        }
        let model = model(name);
        let (quality, shown) = read_quality(quality.as_deref())?;
        let pictures = PictureRequest {
            prompt: prompt(text)?,
            ratio: ratio(size.as_deref())?,
            quality,
            count: count(n, max_images)?,
            inputs,
            model,
        };
        let delivery = ImagesDelivery {
            operation,
            is_stream: stream.unwrap_or(false),
            form: form(response_format.as_deref(), pictures.model.as_deref())?,
            output_format: format(output_format.as_deref())?,
            quality: shown,
        };
        Ok(ImagesRequest { pictures, delivery })
    }
}

fn belongs_to_edits(field: &'static str) -> Error {
    let problem =
        format!("Pictures to draw from belong to /v1/images/edits: send the request there, or leave '{field}' out.");
    Error::invalid(field, problem)
}

fn count(n: Option<Whole>, max: usize) -> Result<usize> {
    let Some(Whole(n)) = n else { return Ok(1) };
    let max = max.max(1);
    usize::try_from(n).ok().filter(|count| (1..=max).contains(count)).ok_or_else(|| {
        Error::invalid("n", format!("The field 'n' must be a number from 1 to {max}: how many pictures to draw."))
    })
}

/// The effort, and OpenAI's word that answers repeat. `xhigh` and `max` are words of OpenAI's newest models.
fn read_quality(word: Option<&str>) -> Result<(Quality, &'static str)> {
    match word.unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "" | "auto" | "standard" => Ok((Quality::Auto, "auto")),
        "low" => Ok((Quality::Low, "low")),
        "medium" => Ok((Quality::Auto, "medium")),
        "high" | "hd" | "xhigh" | "max" => Ok((Quality::High, "high")),
        _ => Err(Error::invalid(
            "quality",
            "The field 'quality' must be 'auto', 'low', 'medium', 'high', 'standard' or 'hd'.",
        )),
    }
}

fn form(word: Option<&str>, model: Option<&str>) -> Result<ResultForm> {
    match word.unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "" => {
            // Clients of the older models know links only.
            let begin = model.and_then(|model| model.trim().get(.."dall-e-".len()));
            let is_old = begin.is_some_and(|begin| begin.eq_ignore_ascii_case("dall-e-"));
            Ok(if is_old { ResultForm::Url } else { ResultForm::Base64 })
        }
        "b64_json" => Ok(ResultForm::Base64),
        "url" => Ok(ResultForm::Url),
        _ => Err(Error::invalid("response_format", "The field 'response_format' must be 'b64_json' or 'url'.")),
    }
}

fn format(name: Option<&str>) -> Result<Option<PictureFormat>> {
    let Some(name) = name.map(str::trim).filter(|name| !name.is_empty()) else { return Ok(None) };
    PictureFormat::named(name).map(Some).ok_or_else(|| unsupported_format(name))
}
