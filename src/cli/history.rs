//! The command `import-history`.

use std::{
    fs::{OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use qwen_edge::{
    config::{AccountName, Config},
    error::Error,
    platform::{Database as _, native::Native},
    server::{App, Imported},
    store::MIGRATIONS,
};

use super::tools::say;

fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos} of {len} chats listed so far  {msg}  {elapsed}");
    // indicatif hides it if standard error is not a terminal.
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn summary(done: &Imported) -> String {
    let Imported { listed, chats, turns, known, failed, reason } = done;
    let failures = match (failed, reason) {
        (0, _) | (_, None) => String::new(),
        (count, Some(reason)) => format!("; {count} could not be read, the last because: {reason}"),
    };
    format!("{listed} chats: {chats} read with {turns} answers, {known} known and unchanged{failures}")
}

/// Writes a file with mode 0600, because it contains conversations.
fn write_private(file: &Path, text: &str) -> io::Result<()> {
    let mut open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?;
    // An existing file kept its mode when it was opened. The mode of a pipe or a device stays.
    if open.metadata()?.is_file() {
        open.set_permissions(Permissions::from_mode(0o600))?;
    }
    open.write_all(text.as_bytes())
}

/// Reads an account's chats into the database. `how`: the pause between two requests, and whether unchanged chats are read again.
pub(super) async fn import(
    config: Config,
    account: &AccountName,
    how: (Duration, bool),
    sql: Option<&Path>,
) -> Result<ExitCode, String> {
    let path = config.database_path.clone();
    let platform = Native::new(Path::new(&path), MIGRATIONS);
    if let Some(warning) = platform.database_warning() {
        return Err(warning.to_owned());
    }
    let app = App::new(config);
    let bar = progress_bar();
    let mut last = Imported::default();
    let work = app.import_history(&platform, account, how, |done| {
        last = done.clone();
        bar.set_length(done.listed as u64);
        bar.set_position(done.chats.saturating_add(done.known).saturating_add(done.failed) as u64);
        bar.set_message(format!("{} answers", done.turns));
    });
    let ended = tokio::select! {
        ended = work => Some(ended),
        _ = tokio::signal::ctrl_c() => None,
    };
    bar.finish_and_clear();
    app.settle(&platform).await;
    let result = report(ended, &app, &platform, sql, &last).await;
    platform.close().await;
    result
}

/// Prints how the import ended, and writes the SQL file.
async fn report(
    ended: Option<Result<Imported, Error>>,
    app: &App,
    platform: &Native,
    sql: Option<&Path>,
    last: &Imported,
) -> Result<ExitCode, String> {
    match ended {
        Some(Ok(done)) => {
            say(&format_args!("Done. {}.", summary(&done)));
            if let Some(file) = sql {
                let text = app.imported_sql(platform).await.map_err(|error| error.message().to_owned())?;
                write_private(file, &text).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
            }
            Ok(if done.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Some(Err(error)) => {
            let link = error.link().map(|link| format!(" {link}")).unwrap_or_default();
            Err(format!("{}{link}\nSo far: {}. The next run goes on from there", error.message(), summary(last)))
        }
        None => {
            say(&format_args!("Stopped. So far: {}. The next run goes on from there.", summary(last)));
            Ok(ExitCode::FAILURE)
        }
    }
}
