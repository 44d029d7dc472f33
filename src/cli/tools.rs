//! The commands `check`, `import-curl` and `healthcheck`.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use qwen_edge::{
    config::{AccountName, Config},
    credentials_input::MAX_TEXT,
    platform::{Database as _, native::Native},
    server::{App, Finding},
    store::MIGRATIONS,
    visible,
};

/// Prints to standard output. Ignores a closed one.
pub(super) fn say(text: &dyn std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{}", visible::lines(&text.to_string()));
}

/// Requests `/health` of the server with the same configuration.
///
/// # Errors
/// The server does not answer, or with another status than 200.
pub(super) fn healthcheck(config: &Config) -> Result<(), String> {
    const TIMEOUT: Duration = Duration::from_secs(5);
    let host = match config.host {
        IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    let address = SocketAddr::new(host, config.port);
    let request = || {
        let mut socket = TcpStream::connect_timeout(&address, TIMEOUT)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    let answer = request().map_err(|error| format!("no answer from {address}: {error}"))?;
    if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(format!("{address} answers, but not with 200")) }
}

/// Checks everything that a chat needs, and prints a line for each finding.
pub(super) async fn check(config: Config, account: &AccountName) -> Result<ExitCode, String> {
    let exposure = config.check_exposure().map_err(|error| error.to_string());
    let keys = match (config.valid_tokens.len(), config.admin_token.is_some()) {
        (0, _) => "no API keys".to_owned(),
        (count, false) => format!("API keys: {count}; nobody may administer it (ADMIN_TOKEN)"),
        (count, true) => format!("API keys: {count}; ADMIN_TOKEN is set"),
    };
    let address = SocketAddr::new(config.host, config.port);
    let configuration = Finding {
        what: "configuration",
        is_good: exposure.is_ok(),
        text: exposure.err().unwrap_or_else(|| format!("serves http://{address}. {keys}")),
    };
    let platform = Native::new(Path::new(&config.database_path), MIGRATIONS);
    let path = config.database_path.clone();
    let findings = App::new(config).check(&platform, account).await;
    platform.close().await;
    let mut all_good = true;
    for Finding { what, is_good, text } in std::iter::once(configuration).chain(findings) {
        let prefix = if what == "store" { format!("{path}: ") } else { String::new() };
        say(&format_args!("{} {what:<14} {prefix}{text}", if is_good { "ok " } else { "BAD" }));
        all_good &= is_good;
    }
    Ok(if all_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Stores a session from a file or from standard input. A running server uses it within seconds.
pub(super) async fn import_curl(
    config: Config,
    account: &AccountName,
    file: Option<&Path>,
) -> Result<ExitCode, String> {
    let mut text = String::new();
    let limit = MAX_TEXT as u64;
    let read = match file.filter(|file| *file != Path::new("-")) {
        Some(file) => std::fs::File::open(file).and_then(|open| open.take(limit).read_to_string(&mut text)),
        None => std::io::stdin().lock().take(limit).read_to_string(&mut text),
    };
    read.map_err(|error| format!("the text cannot be read: {error}"))?;
    let path = config.database_path.clone();
    let platform = Native::new(Path::new(&path), MIGRATIONS);
    let app = App::new(config);
    let stored = app.give_session(&platform, account, &text).await.map_err(|error| {
        let link = error.link().map(|link| format!(" {link}")).unwrap_or_default();
        format!("{}{link}", error.message())
    })?;
    app.settle(&platform).await;
    platform.close().await;
    if !stored || platform.database_warning().is_some() {
        return Err(format!("the site takes this session, but it cannot be kept in {path}; see above"));
    }
    say(&format_args!("The site takes this session. It is kept in {path}; a running server uses it within seconds."));
    Ok(ExitCode::SUCCESS)
}
