//! Reads lists of cookies, as browser extensions and download tools export them.

use serde_json::Value as Json;

/// The cookies of one site in a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Jar {
    /// `name=value; name=value`
    pub(super) cookies: String,
    /// The host of the cookies, if the list has none of the chat site.
    pub(super) host: Option<String>,
}

/// The domain of the chat site. Its cookies are preferred in a list of several sites.
const SITE: &str = "qwen.ai";

struct Cookie<'a> {
    domain: &'a str,
    name: &'a str,
    value: &'a str,
}

/// Reads the array that Cookie-Editor and EditThisCookie export, or the object around an array that Playwright writes.
pub(super) fn from_json(json: &Json) -> Option<Jar> {
    let list = json.as_array().or_else(|| json.get("cookies")?.as_array())?;
    let text = |cookie: &'_ Json, name: &str| cookie.get(name).and_then(Json::as_str).map(str::to_owned);
    let all: Vec<(String, String, String)> = list
        .iter()
        .filter_map(|cookie| {
            let domain = text(cookie, "domain").or_else(|| text(cookie, "host")).unwrap_or_default();
            Some((domain, text(cookie, "name")?, text(cookie, "value")?))
        })
        .collect();
    Some(jar(all.iter().map(|(domain, name, value)| Cookie { domain, name, value }).collect()))
}

/// Reads the lines of a Netscape cookie file, the format of curl, wget and yt-dlp. `None`: there is no such line. Tabs may
/// have become blanks when the text was copied.
pub(super) fn from_netscape(text: &str) -> Option<Jar> {
    let is_flag = |word: &str| word.eq_ignore_ascii_case("true") || word.eq_ignore_ascii_case("false");
    let all = text.lines().filter_map(|line| {
        let line = line.trim();
        let line = line.strip_prefix("#HttpOnly_").unwrap_or(line);
        let mut words = line.split_whitespace();
        let (domain, with_subdomains, _path, is_secure) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let (_expires, name) = (words.next()?, words.next()?);
        let is_cookie = !domain.starts_with('#') && is_flag(with_subdomains) && is_flag(is_secure);
        is_cookie.then(|| Cookie { domain, name, value: words.next().unwrap_or_default() })
    });
    let all: Vec<Cookie<'_>> = all.collect();
    (!all.is_empty()).then(|| jar(all))
}

fn jar(all: Vec<Cookie<'_>>) -> Jar {
    let host = |cookie: &Cookie<'_>| cookie.domain.trim_start_matches('.').to_ascii_lowercase();
    let is_own = |cookie: &&Cookie<'_>| {
        let host = host(cookie);
        host.is_empty() || host == SITE || host.strip_suffix(SITE).is_some_and(|rest| rest.ends_with('.'))
    };
    let own: Vec<&Cookie<'_>> = all.iter().filter(is_own).collect();
    let other = if own.is_empty() { all.first().map(host) } else { None };
    let wanted: Vec<&Cookie<'_>> = match &other {
        Some(other) => all.iter().filter(|cookie| host(cookie) == *other).collect(),
        None => own,
    };
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for Cookie { name, value, .. } in wanted {
        // A value that is invalid in a header would invalidate the whole header. Browsers do not send such cookies, either.
        let is_valid = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b';');
        if !name.is_empty() && is_valid(name) && is_valid(value) && !pairs.iter().any(|(known, _)| known == name) {
            pairs.push((name, value));
        }
    }
    let cookies = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
    Jar { cookies, host: other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_gives_the_sites_cookies() {
        for (json, cookies, host) in [
            (
                r#"[{"domain":".qwen.ai","hostOnly":false,"httpOnly":true,"name":"token","path":"/","sameSite":"lax","secure":true,"session":false,"value":"t"},
                    {"domain":"chat.qwen.ai","name":"cna","value":"a/b+c"},{"domain":".example.com","name":"evil","value":"x"}]"#,
                "token=t; cna=a/b+c",
                None,
            ),
            (r#"{"cookies":[{"name":"token","value":"t","domain":".qwen.ai"}],"origins":[]}"#, "token=t", None),
            (r#"[{"name":"token","value":"t"}]"#, "token=t", None),
            (r#"[{"name":"token","value":"t","domain":"notqwen.ai"}]"#, "token=t", Some("notqwen.ai")),
            (
                r#"[{"name":"a","value":"x;y"},{"name":"b","value":"\u00e9"},{"name":"token","value":"t"}]"#,
                "token=t",
                None,
            ),
            (r#"[{"name":"token","value":"1"},{"name":"token","value":"2"},{"value":"x"},7]"#, "token=1", None),
            ("[]", "", None),
        ] {
            let jar = from_json(&serde_json::from_str(json).unwrap()).unwrap();
            assert_eq!((jar.cookies.as_str(), jar.host.as_deref()), (cookies, host), "{json}");
        }
        assert_eq!(from_json(&serde_json::json!({"cookies": "a=1"})), None);
    }

    #[test]
    fn a_cookie_file_gives_the_sites_cookies() {
        let file = "# Netscape HTTP Cookie File\n\n.qwen.ai\tTRUE\t/\tTRUE\t1790000000\ttoken\tt\n#HttpOnly_.qwen.ai\tTRUE\t/\tTRUE\t0\trefresh_token\tr\r\n\
            .example.com\tTRUE\t/\tFALSE\t0\tevil\tx\n# a comment\nchat.qwen.ai\tFALSE\t/\tFALSE\t0\tempty\t\n";
        let expected = "token=t; refresh_token=r; empty=";
        assert_eq!(from_netscape(file).unwrap().cookies, expected);
        assert_eq!(from_netscape(&file.replace('\t', "    ")).unwrap().cookies, expected);
        for text in ["", "token=t", "# Netscape HTTP Cookie File", "a b c d e f g", "curl 'https://x' -b 'a=1'"] {
            assert_eq!(from_netscape(text), None, "{text}");
        }
    }
}
