//! Reads "Copy as cURL" of Chromium and Firefox, in the forms for a POSIX shell and for the Windows command prompt.

/// The parts of a copied request that a session needs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) url: String,
    pub(super) cookies: Option<String>,
    pub(super) user_agent: Option<String>,
    pub(super) authorization: Option<String>,
}

impl Request {
    /// Keeps a header field if a session needs it.
    pub(super) fn take_field(&mut self, name: &str, value: &str) {
        let field = match name.trim().to_ascii_lowercase().as_str() {
            "cookie" => &mut self.cookies,
            "user-agent" => &mut self.user_agent,
            "authorization" => &mut self.authorization,
            _ => return,
        };
        *field = Some(value.trim().to_owned());
    }
}

/// Other options that take a value. The value must not be read as the URL.
const WITH_VALUE: &[&str] = &[
    "--cert",
    "--connect-timeout",
    "--data",
    "--data-ascii",
    "--data-binary",
    "--data-raw",
    "--data-urlencode",
    "--form",
    "--json",
    "--max-time",
    "--output",
    "--proxy",
    "--referer",
    "--request",
    "--resolve",
    "--user",
    "-F",
    "-X",
    "-d",
    "-e",
    "-m",
    "-o",
    "-u",
    "-x",
];

/// Whether the text is a cURL command.
pub(super) fn is_command(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    matches!(first.as_str(), "curl" | "curl.exe")
}

/// Parses the first command. `None`: a quote is not closed, or there is no URL.
pub(super) fn read(text: &str) -> Option<Request> {
    // The command prompt escapes with carets. A POSIX command has carets only within quotes.
    let is_windows = text.contains("^\"") || text.contains(" ^\n") || text.contains(" ^\r");
    let words = if is_windows { windows_words(&without_carets(text))? } else { posix_words(text)? };
    let mut request = Request::default();
    let mut words = words.into_iter().skip(1);
    while let Some(word) = words.next() {
        let (name, attached) = option(&word);
        let mut value = || attached.clone().or_else(|| words.next());
        match name {
            "-H" | "--header" => {
                let value = value()?;
                let Some((field, value)) = value.split_once(':') else { continue };
                request.take_field(field, value);
            }
            "-b" | "--cookie" => request.cookies = Some(value()?),
            "-A" | "--user-agent" => request.user_agent = Some(value()?),
            "--url" => request.url = value()?,
            _ if WITH_VALUE.contains(&name) => drop(value()?),
            _ if name.starts_with('-') => {}
            _ if request.url.is_empty() => request.url = word,
            _ => {}
        }
    }
    (!request.url.is_empty()).then_some(request)
}

/// Splits an option into its name and the value in the same word: `--name=value`, `-Nvalue`.
fn option(word: &str) -> (&str, Option<String>) {
    if word.starts_with("--") {
        return match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word, None),
        };
    }
    match word.get(..2) {
        Some(name) if word.len() > 2 && matches!(name, "-H" | "-b" | "-A" | "-X" | "-d") => {
            (name, word.get(2..).map(str::to_owned))
        }
        _ => (word, None),
    }
}

/// Splits words as a POSIX shell does, with bash's `$'…'`. Ends at the first unquoted line end or `;`.
fn posix_words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next()? {
                '\n' => {}
                '\r' => drop(characters.next_if_eq(&'\n')),
                escaped => word.get_or_insert_default().push(escaped),
            },
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next()? {
                        '\'' => break,
                        inner => word.push(inner),
                    }
                }
            }
            '$' if characters.next_if_eq(&'\'').is_some() => {
                ansi_c(&mut characters, word.get_or_insert_default())?;
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next()? {
                        '"' => break,
                        '\\' => match characters.next()? {
                            '\n' => {}
                            escaped @ ('"' | '\\' | '$' | '`') => word.push(escaped),
                            other => word.extend(['\\', other]),
                        },
                        inner => word.push(inner),
                    }
                }
            }
            '\n' | ';' if !words.is_empty() || word.is_some() => break,
            character if character.is_whitespace() => words.extend(word.take()),
            character => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    Some(words)
}

/// Reads the rest of a `$'…'`.
fn ansi_c(characters: &mut std::iter::Peekable<std::str::Chars<'_>>, word: &mut String) -> Option<()> {
    loop {
        let character = match characters.next()? {
            '\'' => return Some(()),
            '\\' => match characters.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'x' => number(characters, 2)?,
                'u' => number(characters, 4)?,
                'U' => number(characters, 8)?,
                escaped => escaped,
            },
            character => character,
        };
        word.push(character);
    }
}

/// Reads a hexadecimal number of at most `max` digits and returns the character with that number.
fn number(characters: &mut std::iter::Peekable<std::str::Chars<'_>>, max: usize) -> Option<char> {
    let mut digits = String::new();
    while digits.len() < max
        && let Some(digit) = characters.next_if(char::is_ascii_hexdigit)
    {
        digits.push(digit);
    }
    char::from_u32(u32::from_str_radix(&digits, 16).ok()?)
}

/// Resolves the escapes of the command prompt: a caret makes the next character literal.
fn without_carets(text: &str) -> String {
    let mut literal = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '^' {
            literal.push(character);
            continue;
        }
        match characters.next() {
            // A caret at the end of a line joins it with the next line. An empty line after it is a literal line end.
            Some('\r') => {
                characters.next_if_eq(&'\n');
                line_end(&mut characters, &mut literal);
            }
            Some('\n') => line_end(&mut characters, &mut literal),
            Some(escaped) => literal.push(escaped),
            None => {}
        }
    }
    literal
}

fn line_end(characters: &mut std::iter::Peekable<std::str::Chars<'_>>, literal: &mut String) {
    characters.next_if_eq(&'\r');
    if characters.next_if_eq(&'\n').is_some() {
        literal.push('\n');
    }
}

/// Splits words as Windows programs split their command line.
fn windows_words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            // Browsers double every backslash, and put one before each quote.
            '\\' => {
                let escaped = characters.next_if(|next| matches!(next, '"' | '\\'));
                word.get_or_insert_default().push(escaped.unwrap_or('\\'));
            }
            '"' if quoted && characters.next_if_eq(&'"').is_some() => word.get_or_insert_default().push('"'),
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\n' if !quoted => break,
            character if character.is_whitespace() && !quoted => words.extend(word.take()),
            character => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    (!quoted).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(text: &str) -> (String, String, String) {
        let request = read(text).unwrap_or_else(|| panic!("{text}"));
        (request.url, request.cookies.unwrap_or_default(), request.user_agent.unwrap_or_default())
    }

    const URL: &str = "https://chat.qwen.ai/api/v2/chats/?page=1&x=%22";
    const JAR: &str = "cna=a/b+c; token=eyJ.x.y; tfstk=\"q%22!\"; isg=x==; p={\"a\":1}";
    const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64) Chrome/142.0.0.0";

    #[test]
    fn commands_of_both_browsers_for_both_shells_are_parsed() {
        let expected = (URL.to_owned(), JAR.to_owned(), BROWSER.to_owned());
        for text in [
            // Chromium, bash
            format!(
                "curl '{URL}' \\\n  -H 'accept: */*' \\\n  -b '{JAR}' \\\n  -H 'user-agent: {BROWSER}' \\\n  --data-raw $'{{\"a\":\"it\\'s \\u0021\"}}' \\\n  --compressed"
            ),
            // Chromium before 2024, and Firefox
            format!("curl '{URL}' --compressed -X POST -H 'User-Agent: {BROWSER}' -H 'Cookie: {JAR}' --data-raw ''"),
            // with the escapes that bash knows
            format!("curl '{URL}' -H $'cookie: {}' -A '{BROWSER}'", JAR.replace('!', "\\u0021").replace('"', "\\x22")),
            format!(
                "curl \"{URL}\" -b \"{}\" -H \"user-agent: {BROWSER}\"\n\ncurl 'https://other/'",
                JAR.replace('"', "\\\"")
            ),
            // Chromium, Windows
            format!(
                "curl ^\"{}^\" ^\r\n  -H ^\"accept: */*^\" ^\r\n  -b ^\"{}^\" ^\r\n  -H ^\"user-agent: {BROWSER}^\" ^\r\n  --data-raw ^\"^{{^\\^\"a^\\^\":^\\^\"x^\n\ny^\\^\"^}}^\"",
                chromium_windows(URL),
                chromium_windows(JAR)
            ),
            // Windows without carets
            format!("curl \"{URL}\" -b \"{}\" -H \"user-agent: {BROWSER}\"", JAR.replace('"', "\\\"")),
        ] {
            assert_eq!(read_all(&text), expected, "{text}");
        }
    }

    /// Escapes a text as Chromium's developer tools do for the command prompt.
    fn chromium_windows(text: &str) -> String {
        let mut escaped = String::new();
        for character in text.replace('\\', "\\\\").replace('"', "\\\"").chars() {
            if !character.is_ascii_alphanumeric() && !" _-:=+~'/.,?;()*`".contains(character) {
                escaped.push('^');
            }
            escaped.push(character);
        }
        let mut complete = String::new();
        let mut rest = escaped.chars().peekable();
        while let Some(character) = rest.next() {
            complete.push(character);
            if character == '%' && rest.peek().is_some_and(|next| next.is_ascii_alphanumeric() || *next == '_') {
                complete.push('^');
            }
        }
        complete
    }

    #[test]
    fn incomplete_commands_are_refused() {
        for text in [
            "curl",
            "curl 'https://x",
            "curl \"https://x",
            "curl https://x \\",
            "curl $'https://x\\u",
            "curl -b",
            "curl -H",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert!(!is_command("curly 'x'") && !is_command("") && is_command("CURL.exe x"));
    }
}
