//! The seam: what the engine asks of an upstream, whichever it is. One `match` a call; no generics over upstreams, or the
//! Worker would carry the engine several times.

use std::{borrow::Cow, fmt, sync::Arc};

use super::{
    compatible::{self, WholeAsk},
    decoder::Decoder,
    owner::Owner,
    ports::{Host, Upload},
    qwen::{
        self, ChatAnswer, CredentialsLease, Drawing, File, FileEntry, FilmTask, MediaRequest, NewFile, PromptMessage,
        RenderedPrompt, TaskState, ToolText, TurnStream, WantedAnswer, Work,
    },
};
use url::Url;

use crate::{
    error::{Error, ErrorKind, Result},
    llm::{Ratio, Reasoning},
    media_type::MediaKind,
    platform::{ByteStream, FetchError, FetchErrorKind, FetchResponse},
    unix_time::UnixMillis,
};

/// Where answers come from.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// chat.qwen.ai, with a person's own account.
    Qwen(Arc<qwen::Client>),
    /// A server that speaks OpenAI's chat completions.
    Compatible(Arc<compatible::Client>),
}

/// What an upstream can do by itself. The engine does the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// It keeps the history of a chat: only what is new is sent, to the chat that knows the rest. Conversations are matched
    /// with chats only then.
    pub keeps_history: bool,
    /// It takes tools, their results and schemas as such. Elsewhere the model is told of them, and its calls are read out of
    /// its text.
    pub has_tools: bool,
}

/// One message to an upstream.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The upstream id of the model.
    pub model: &'a str,
    /// The text.
    pub text: &'a str,
    /// Uploaded files that go along.
    pub files: &'a [FileEntry],
    /// Whether to think.
    pub reasoning: Reasoning,
    /// Whether the model may search the web.
    pub search: bool,
    /// Whether the client has tools: the upstream's own are then switched off as far as possible.
    pub has_tools: bool,
}

/// One picture to an upstream.
#[derive(Clone, Copy, Debug)]
pub struct DrawAsk<'a> {
    /// The upstream id of the text model that carries it.
    pub text_model: &'a str,
    /// The upstream's name of the image model; `None` = its default.
    pub image_model: Option<&'a str>,
    /// The shape; `None` = as the model likes.
    pub ratio: Option<Ratio>,
    /// What to draw.
    pub prompt: &'a str,
    /// The pictures to draw from, uploaded.
    pub files: &'a [FileEntry],
    /// Whether pictures are changed instead of drawn from nothing.
    pub is_edit: bool,
}

impl<'a> DrawAsk<'a> {
    fn work(&self) -> Work<'a> {
        Work::Draw { model: self.image_model, ratio: self.ratio, is_edit: self.is_edit }
    }
}

/// One video to an upstream.
#[derive(Clone, Copy, Debug)]
pub struct FilmAsk<'a> {
    /// The upstream id of the text model that carries it.
    pub text_model: &'a str,
    /// The shape.
    pub ratio: Ratio,
    /// What it shows.
    pub prompt: &'a str,
    /// Its first frame, uploaded.
    pub first_frame: Option<&'a FileEntry>,
}

impl<'a> FilmAsk<'a> {
    fn work(&self) -> Work<'a> {
        Work::Film { ratio: self.ratio, has_frame: self.first_frame.is_some() }
    }
}

/// An answer that has begun.
pub struct Opened {
    /// Its bytes, for the upstream's [`Decoder`].
    pub body: ByteStream,
    /// The chat that it comes from; empty where the upstream keeps none.
    pub chat_id: String,
    /// What it was asked for with: what the upstream says of it counts for no others.
    pub lease: Lease,
}

/// What an answer was asked for with.
#[derive(Clone, Debug)]
pub enum Lease {
    /// Credentials of chat.qwen.ai.
    Qwen(CredentialsLease),
    /// The key of the configuration, which never changes.
    Compatible,
}

impl Upstream {
    /// What it can do.
    #[must_use]
    pub const fn capabilities(&self) -> Capabilities {
        match self {
            Self::Qwen(_) => Capabilities { keeps_history: true, has_tools: false },
            Self::Compatible(_) => Capabilities { keeps_history: false, has_tools: true },
        }
    }

    /// Its name in the header `x-upstream`, in log lines and in metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Qwen(_) => "qwen",
            Self::Compatible(_) => "fallback",
        }
    }

    /// A decoder for one answer.
    #[must_use]
    pub fn decoder(&self) -> Decoder {
        match self {
            Self::Qwen(_) => Decoder::qwen(),
            Self::Compatible(client) => Decoder::Compatible(Box::new(client.decoder())),
        }
    }

    /// Whether it may be asked now.
    ///
    /// # Errors
    /// Why it must not be asked at all.
    pub fn check(&self, now: UnixMillis) -> Result<()> {
        match self {
            Self::Qwen(client) => client.session().check(now),
            Self::Compatible(_) => Ok(()),
        }
    }

    /// Sends a message to the chat that knows the conversation, behind the answer `parent_id`, or at its beginning; waits a
    /// little while that chat is busy.
    ///
    /// # Errors
    /// Any refusal: of kind `ChatGone` and `ChatBusy` where only this chat cannot be used.
    pub async fn continue_chat<P: Host>(
        &self,
        platform: &P,
        owner: &Owner,
        (chat_id, parent_id): (&str, Option<&str>),
        ask: &Ask<'_>,
    ) -> Result<Opened> {
        match self {
            Self::Qwen(client) => {
                let stream = client.continue_chat(platform, owner, &turn(chat_id, parent_id, ask)).await?;
                Ok(opened(stream, chat_id.to_owned()))
            }
            Self::Compatible(_) => Err(of_site()),
        }
    }

    /// Sends a message to a new chat.
    ///
    /// # Errors
    /// Any refusal.
    pub async fn start_chat<P: Host>(&self, platform: &P, owner: &Owner, ask: &Ask<'_>) -> Result<Opened> {
        match self {
            Self::Qwen(client) => {
                let chat_id = client.new_chat(platform, owner, ask.model, Work::Talk).await?;
                let stream = client.complete(platform, owner, &turn(&chat_id, None, ask)).await?;
                Ok(opened(stream, chat_id))
            }
            Self::Compatible(_) => Err(of_site()),
        }
    }

    /// Asks for the answer to a whole conversation, of an upstream that keeps none.
    ///
    /// # Errors
    /// Any refusal.
    pub async fn answer_whole<P: Host>(&self, platform: &P, ask: &WholeAsk<'_>) -> Result<Opened> {
        match self {
            Self::Qwen(_) => Err(Error::new(ErrorKind::UpstreamRejected, "chat.qwen.ai takes one message at a time.")),
            Self::Compatible(client) => {
                let body = client.ask(platform, ask).await?;
                Ok(Opened { body, chat_id: String::new(), lease: Lease::Compatible })
            }
        }
    }

    /// Creates a chat for pictures and returns its id.
    ///
    /// # Errors
    /// Any refusal.
    pub async fn new_drawing<P: Host>(&self, platform: &P, owner: &Owner, ask: &DrawAsk<'_>) -> Result<String> {
        match self {
            Self::Qwen(client) => client.new_chat(platform, owner, ask.text_model, ask.work()).await,
            Self::Compatible(_) => Err(of_site()),
        }
    }

    /// Asks for a picture in a chat, behind the answer `parent_id`, and reads all that comes. A stream without a picture is no
    /// error: [`Drawing::error`] says why there is none.
    ///
    /// # Errors
    /// Refusals in the place of a stream: the upstream then draws nothing.
    pub async fn draw<P: Host>(
        &self,
        platform: &P,
        owner: &Owner,
        (chat_id, parent_id): (&str, Option<&str>),
        ask: &DrawAsk<'_>,
    ) -> Result<Drawing> {
        match self {
            Self::Qwen(client) => {
                let turn = qwen::Turn {
                    chat_id,
                    parent_id,
                    model: ask.text_model,
                    text: ask.prompt,
                    files: ask.files,
                    reasoning: Reasoning::Off,
                    search: false,
                    has_tools: false,
                    work: ask.work(),
                };
                let echoes: Vec<&str> = ask.files.iter().filter_map(|file| file.json().get("url")?.as_str()).collect();
                client.draw(platform, owner, &turn, &echoes).await
            }
            Self::Compatible(_) => Err(of_site()),
        }
    }

    /// Creates a chat for a video and returns its id.
    ///
    /// # Errors
    /// Any refusal.
    pub async fn new_film<P: Host>(&self, platform: &P, owner: &Owner, ask: &FilmAsk<'_>) -> Result<String> {
        match self {
            Self::Qwen(client) => client.new_chat(platform, owner, ask.text_model, ask.work()).await,
            Self::Compatible(_) => Err(of_site()),
        }
    }

    /// Begins a video in a new chat and returns its task; `None` when it may have begun and the answer was lost.
    ///
    /// # Errors
    /// Refusals: the upstream then makes nothing.
    pub async fn film<P: Host>(
        &self,
        platform: &P,
        owner: &Owner,
        chat_id: &str,
        ask: &FilmAsk<'_>,
    ) -> Result<Option<FilmTask>> {
        match self {
            Self::Qwen(client) => {
                let turn = qwen::Turn {
                    chat_id,
                    parent_id: None,
                    model: ask.text_model,
                    text: ask.prompt,
                    files: ask.first_frame.map(std::slice::from_ref).unwrap_or_default(),
                    reasoning: Reasoning::Off,
                    search: false,
                    has_tools: false,
                    work: ask.work(),
                };
                client.film(platform, owner, &turn).await
            }
            Self::Compatible(_) => Err(of_site()),
        }
    }

    /// The state of a video in the making; `None` when nothing was said about it.
    ///
    /// # Errors
    /// Those that a person has to remove, such as an ended session.
    pub async fn task<P: Host>(&self, platform: &P, owner: &Owner, task_id: &str) -> Result<Option<TaskState>> {
        match self {
            Self::Qwen(client) => client.task(platform, owner, task_id).await,
            Self::Compatible(_) => Err(of_site()),
        }
    }

    /// Reads an answer of a chat; `None` when the chat has no such answer.
    ///
    /// # Errors
    /// Any refusal.
    pub async fn chat_answer<P: Host>(
        &self,
        platform: &P,
        owner: &Owner,
        chat_id: &str,
        wanted: WantedAnswer<'_>,
    ) -> Result<Option<ChatAnswer>> {
        match self {
            Self::Qwen(client) => client.chat_answer(platform, owner, chat_id, wanted).await,
            Self::Compatible(_) => Err(of_site()),
        }
    }

    /// Opens a picture or a video that the upstream made. Any status may come back. Errors contain no link.
    ///
    /// # Errors
    /// The storage cannot be reached, or the link leads to where it must not.
    pub async fn open_media<P: Host>(
        &self,
        platform: &P,
        owner: Option<&Owner>,
        wanted: MediaRequest<'_>,
    ) -> Result<FetchResponse, FetchError> {
        match self {
            Self::Qwen(client) => client.open_media(platform, owner, wanted).await,
            Self::Compatible(_) => {
                Err(FetchError { kind: FetchErrorKind::Forbidden, detail: "no media of its own".to_owned() })
            }
        }
    }

    /// Uploads a file.
    ///
    /// # Errors
    /// Those of the file, and any refusal.
    pub async fn upload<P: Host>(&self, platform: &P, owner: &Owner, new: NewFile) -> Result<File> {
        match self {
            Self::Qwen(client) => client.upload(platform, owner, new).await,
            Self::Compatible(_) => Err(of_site()),
        }
    }

    /// The entry of a file that this link leads to, if it is in the upstream's own storage.
    #[must_use]
    pub fn entry_for<P: Host>(&self, platform: &P, url: &Url, expected: Option<MediaKind>) -> Option<FileEntry> {
        match self {
            Self::Qwen(client) => client.entry_for(platform, url, expected),
            Self::Compatible(_) => None,
        }
    }

    /// The upload with a link that lives, if the upstream returns one.
    pub async fn refresh_url<P: Host>(&self, platform: &P, owner: &Owner, upload: Upload) -> Upload {
        match self {
            Self::Qwen(client) => client.refresh_url(platform, owner, upload).await,
            Self::Compatible(_) => upload,
        }
    }

    /// Ends an answer that nobody reads on, so that its chat is free for the next turn.
    pub async fn stop<P: Host>(&self, platform: &P, owner: &Owner, chat_id: &str, response_id: Option<&str>) {
        match self {
            Self::Qwen(client) => client.stop(platform, owner, chat_id, response_id).await,
            Self::Compatible(_) => {}
        }
    }

    /// The name under which the model sees a tool.
    #[must_use]
    pub fn shown_tool_name<'a>(&self, name: &'a str) -> Cow<'a, str> {
        match self {
            Self::Qwen(_) => qwen::shown_tool_name(name),
            Self::Compatible(_) => compatible::shown_tool_name(name),
        }
    }

    /// The session follows an error that came within an answer.
    pub fn note<P: Host>(&self, platform: &P, lease: &Lease, error: &Error) {
        match (self, lease) {
            (Self::Qwen(client), Lease::Qwen(lease)) => client.note(platform, lease, error),
            (Self::Qwen(_) | Self::Compatible(_), _) => {}
        }
    }

    /// After an error within an answer of which nothing was passed on: gets other credentials, if that makes it worth asking
    /// once more.
    ///
    /// # Errors
    /// What the client is told where it is not.
    pub async fn recover<P: Host>(&self, platform: &P, lease: &Lease, error: Error) -> Result<()> {
        match (self, lease) {
            (Self::Qwen(client), Lease::Qwen(lease)) => client.refresh_after(platform, lease, error).await,
            (Self::Qwen(_) | Self::Compatible(_), _) => Err(error),
        }
    }

    /// The error, which says where the session of its account is replaced.
    #[must_use]
    pub fn for_account(&self, error: Error) -> Error {
        match self {
            Self::Qwen(client) => client.for_account(error),
            Self::Compatible(_) => error,
        }
    }

    /// The error of an upstream that has been silent for too long.
    #[must_use]
    pub fn idle_error(&self) -> Error {
        match self {
            Self::Qwen(client) => client.idle_error(),
            Self::Compatible(client) => client.idle_error(),
        }
    }

    /// The error of a connection that broke amid an answer; `has_text`: after some of its text.
    #[must_use]
    pub fn broken_error(&self, error: &FetchError, has_text: bool) -> Error {
        match self {
            Self::Qwen(_) => qwen::broken_error(error, has_text),
            Self::Compatible(client) => client.broken_error(error, has_text),
        }
    }
}

/// The error of what only chat.qwen.ai has, such as pictures and files.
fn of_site() -> Error {
    Error::new(ErrorKind::UpstreamRejected, "The second upstream keeps no chats and no files, and draws nothing.")
        .of_fallback()
}

fn turn<'a>(chat_id: &'a str, parent_id: Option<&'a str>, ask: &Ask<'a>) -> qwen::Turn<'a> {
    let Ask { model, text, files, reasoning, search, has_tools } = *ask;
    qwen::Turn { chat_id, parent_id, model, text, files, reasoning, search, has_tools, work: Work::Talk }
}

fn opened(stream: TurnStream, chat_id: String) -> Opened {
    let TurnStream { body, lease } = stream;
    Opened { body, chat_id, lease: Lease::Qwen(lease) }
}

/// Renders messages as one text, for an upstream that takes one at a time. `files` = how many attachments go along, `tools` =
/// what goes along because of tools.
#[must_use]
pub fn render_prompt<'a>(
    messages: impl IntoIterator<Item = PromptMessage<'a>>,
    files: usize,
    tools: &ToolText,
) -> RenderedPrompt {
    qwen::render(messages, files, tools)
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("chat_id", &self.chat_id).finish_non_exhaustive()
    }
}
