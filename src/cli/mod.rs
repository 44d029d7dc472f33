//! The command line of the native server.

mod history;
mod log;
mod tools;

use std::{
    cell::Cell,
    env::VarError,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::{Parser, Subcommand};
use qwen_edge::{
    config::{AccountName, Config, Product},
    platform::native::{Native, dotenv, serve::serve, workers::Workers},
    server::{self, App},
    store::MIGRATIONS,
    visible,
};
use tokio::{net::TcpListener, signal::unix::SignalKind};

/// Your own Qwen web account as an OpenAI-compatible API.
///
/// Settings come from the environment and from .env in the working folder; the environment has priority.
/// docs/configuration.md lists them. A first start:
///
///   echo "QWEN_COOKIES='…'" > .env      the Cookie line of a signed-in browser
///   qwen-edge check                     would a chat work?
///   qwen-edge                           serves http://127.0.0.1:8000
#[derive(Parser)]
#[command(version = env!("QWEN_EDGE_VERSION"), verbatim_doc_comment)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API (the default).
    Serve,
    /// Check the configuration, the database, the session and the chat site, and print what is wrong.
    Check {
        #[command(flatten)]
        whose: Whose,
    },
    /// Read the session from "Copy as cURL" (or cookies, or a token) and store it in the database.
    ///
    /// The chat site must accept it first. A server that runs on the same database uses it within seconds.
    ImportCurl {
        #[command(flatten)]
        whose: Whose,
        /// The file to read; standard input without one.
        file: Option<PathBuf>,
    },
    /// Import the account's chats, so that any client can continue a chat that was started in the browser.
    ///
    /// It sends one request a second to the site. Ctrl-C stops it, and the next run continues; unchanged chats are not read
    /// again. To continue a chat, a client sends its history, or its last answer, or the chat's id as conversation_id.
    ImportHistory {
        #[command(flatten)]
        whose: Whose,
        /// Milliseconds between two requests to the chat site.
        #[arg(long, value_name = "MS", default_value_t = 1000)]
        pause_ms: u64,
        /// Also read chats that have not changed since the last import.
        #[arg(long)]
        all: bool,
        /// Also write everything that was imported as SQL, for the Worker's database:
        /// npx wrangler d1 execute qwen-edge --remote --file FILE
        #[arg(long, value_name = "FILE", verbatim_doc_comment)]
        sql: Option<PathBuf>,
    },
    /// Request /health of a running server, and fail if it does not answer. For containers.
    Healthcheck,
}

/// Which of the server's accounts is meant.
#[derive(clap::Args)]
struct Whose {
    /// The account, as VALID_TOKENS names it.
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = account_name)]
    account: AccountName,
}

fn account_name(text: &str) -> Result<AccountName, String> {
    AccountName::parse(text).ok_or_else(|| format!("the name of an account has {}", AccountName::RULE))
}

/// The interval of the Worker's cron trigger in `wrangler.toml`.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// How often the videos in the making are followed.
const VIDEO_INTERVAL: Duration = Duration::from_secs(10);
/// The exit code for an invalid configuration.
const BAD_CONFIGURATION: u8 = 2;

pub(crate) fn run() -> ExitCode {
    let command = Cli::parse().command.unwrap_or(Command::Serve);
    let (config, warnings) = match load() {
        Ok(loaded) => loaded,
        Err(problem) => return fail(&problem, BAD_CONFIGURATION),
    };
    match command {
        Command::Serve => start(config, &warnings),
        Command::Healthcheck => match tools::healthcheck(&config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => fail(&problem, 1),
        },
        Command::Check { whose: Whose { account } } => {
            run_once(config, &warnings, async move |config| tools::check(config, &account).await)
        }
        Command::ImportCurl { whose: Whose { account }, file } => {
            run_once(config, &warnings, async move |config| tools::import_curl(config, &account, file.as_deref()).await)
        }
        Command::ImportHistory { whose: Whose { account }, pause_ms, all, sql } => {
            run_once(config, &warnings, async move |config| {
                let pause = Duration::from_millis(pause_ms);
                history::import(config, &account, (pause, all), sql.as_deref()).await
            })
        }
    }
}

/// Runs a command that ends by itself. By default it logs only warnings and errors.
fn run_once(
    mut config: Config,
    warnings: &[String],
    command: impl AsyncFnOnce(Config) -> Result<ExitCode, String>,
) -> ExitCode {
    if config.log == "info" {
        config.log = "warn".to_owned();
    }
    if let Err(problem) = log::start(&config) {
        return fail(&problem, BAD_CONFIGURATION);
    }
    warn(warnings);
    let done = match runtime() {
        Ok(runtime) => runtime.block_on(command(config)),
        Err(error) => Err(format!("cannot start: {error}")),
    };
    done.unwrap_or_else(|problem| fail(&problem, 1))
}

/// Builds a runtime for the calling thread. [`Workers`] serve the connections.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Prints a problem and returns its exit code.
fn fail(problem: &dyn std::fmt::Display, code: u8) -> ExitCode {
    // Standard error may be closed.
    let _ = writeln!(std::io::stderr(), "qwen-edge: {}", visible::lines(&problem.to_string()));
    ExitCode::from(code)
}

/// Reads the configuration. Returns it with its warnings.
fn load() -> Result<(Config, Vec<String>), String> {
    let path = Path::new(".env");
    let file = dotenv::read(path).map_err(|error| format!(".env cannot be read: {error}"))?;
    // An unreadable variable does not count as absent. Otherwise a key that is not UTF-8 would leave the server open.
    let unreadable = Cell::new(None);
    let lookup = |name: &str| {
        let value = std::env::var(name).unwrap_or_else(|error| {
            if let VarError::NotUnicode(_) = error {
                unreadable.set(Some(name.to_owned()));
            }
            String::new()
        });
        Some(value).filter(|value| !value.is_empty()).or_else(|| file.get(name).cloned())
    };
    let config = Config::from_lookup(lookup, Product::NATIVE);
    if let Some(name) = unreadable.take() {
        return Err(format!("{name}: is not text in UTF-8: copy it again"));
    }
    let config = config.map_err(|error| error.to_string())?;
    let mut warnings = config.warnings();
    warnings.extend(dotenv::others_may(path).map(|mode| {
        format!(
            ".env holds the cookies and keys, and others on this machine may use it (mode {mode:o}): chmod 600 .env"
        )
    }));
    Ok((config, warnings))
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

fn start(config: Config, warnings: &[String]) -> ExitCode {
    let checked = config.check_exposure().and_then(|()| log::start(&config));
    if let Err(problem) = checked {
        return fail(&problem, BAD_CONFIGURATION);
    }
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start: {error}"), 1),
    };
    let result = runtime.block_on(listen(config, warnings));
    // A pending DNS look-up must not delay the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => fail(&problem, 1),
    }
}

async fn listen(config: Config, warnings: &[String]) -> Result<(), String> {
    let address = SocketAddr::new(config.host, config.port);
    let listener = TcpListener::bind(address).await.map_err(|error| {
        format!("PORT: cannot listen on {address}: {error}. Choose another port or stop what uses it")
    })?;
    let workers = Workers::start().map_err(|error| format!("cannot start a thread: {error}"))?;
    let mut signals = Signals::new()?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let platform = Native::new(Path::new(&config.database_path), MIGRATIONS);
    let app = Arc::new(App::new(config));
    tracing::info!(url = %format_args!("http://{address}"), version = env!("CARGO_PKG_VERSION"), "serving");
    warn(warnings);
    let (warm, runtime) = (Arc::clone(&app), platform.clone());
    tokio::spawn(async move { warm.warm_up(&runtime).await });
    let (keeper, runtime) = (Arc::clone(&app), platform.clone());
    tokio::spawn(async move {
        loop {
            keeper.housekeeping(&runtime).await;
            tokio::time::sleep(HOUSEKEEPING_INTERVAL).await;
        }
    });
    let (follower, runtime) = (Arc::clone(&app), platform.clone());
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(VIDEO_INTERVAL).await;
            follower.follow_videos(&runtime).await;
        }
    });
    let (closing, runtime) = (Arc::clone(&app), platform.clone());
    let handler = move |request| server::handle(Arc::clone(&app), platform.clone(), request);
    #[expect(clippy::async_yields_async, reason = "the first signal returns the wait for the second")]
    let stop = async {
        signals.next().await;
        tracing::info!("stopping: waiting for open requests; a second signal stops at once");
        async move { signals.next().await }
    };
    serve(listener, &workers, handler, stop).await;
    closing.settle(&runtime).await;
    runtime.close().await;
    Ok(())
}

/// The signals that stop the server: SIGTERM and SIGINT.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self, String> {
        let signal =
            |kind| tokio::signal::unix::signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
