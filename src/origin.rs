//! Where a web page comes from: `scheme://host:port`, or `null`.

use url::Url;

/// An origin, in the one form in which browsers send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    text: String,
    host: String,
}

impl Origin {
    /// Reads an origin as a person writes it: capitals, the usual port and a slash at the end make no difference.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        if text == "null" {
            return Some(Self { text: text.to_owned(), host: String::new() });
        }
        let url = Url::parse(text).ok()?;
        let host = url.host_str().filter(|host| !host.is_empty() && !host.contains('*'))?;
        let is_bare = url.username().is_empty()
            && url.password().is_none()
            && matches!(url.path(), "" | "/")
            && url.query().is_none()
            && url.fragment().is_none();
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        // The names in other schemes, such as an application's own pages, are not those of hosts.
        let named = if matches!(url.scheme(), "http" | "https") { host } else { "" };
        is_bare.then(|| Self { text: format!("{}://{host}{port}", url.scheme()), host: named.to_owned() })
    }

    /// Reads the value of an `Origin` header, which has no other form than a browser's.
    #[must_use]
    pub fn sent(text: &str) -> Option<Self> {
        Self::read(text).filter(|origin| origin.text == text)
    }

    /// The origin of a server without TLS that is asked under this `Host`.
    #[must_use]
    pub fn of_host(host: &str) -> Option<Self> {
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        Self::read(&format!("http://{host}")).filter(|_| host.bytes().all(is_host))
    }

    /// The text that browsers send.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host that serves the page, without the port; empty where none does.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether the host is a name or an address of this very machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match Url::parse(&self.text).ok().as_ref().and_then(Url::host) {
            Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_have_one_form() {
        for (written, sent) in [
            ("https://App.example", "https://app.example"),
            ("https://app.example:443/", "https://app.example"),
            ("http://app.example:80", "http://app.example"),
            ("http://app.example:8080", "http://app.example:8080"),
            ("http://[::1]:8000", "http://[::1]:8000"),
            ("app://obsidian.md", "app://obsidian.md"),
            ("null", "null"),
        ] {
            assert_eq!(Origin::read(written).unwrap().as_str(), sent);
            assert_eq!(Origin::sent(sent).unwrap().as_str(), sent);
            assert_eq!(Origin::sent(written).is_some(), written == sent, "{written}");
        }
        for wrong in [
            "",
            "*",
            "app.example",
            "localhost:3000",
            "https://",
            "https://a/b",
            "https://a?b",
            "https://x@a",
            "https://*.a",
        ] {
            assert_eq!(Origin::read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_this_machines_names_are_loopback() {
        for host in ["localhost", "LOCALHOST:8000", "a.localhost", "127.0.0.1:1", "127.9.9.9", "127.1", "[::1]:8000"] {
            assert!(Origin::of_host(host).unwrap().is_loopback(), "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example", "10.0.0.1:8000", "[::2]", "0.0.0.0", "localhost.", "nip.io"]
        {
            assert!(!Origin::of_host(host).unwrap().is_loopback(), "{host}");
        }
        for host in ["", ":", "a b", "x@localhost", "localhost/x", "localhost#x", "localhost\\x", "[::1", "\u{fffd}"] {
            assert_eq!(Origin::of_host(host), None, "{host}");
        }
    }
}
