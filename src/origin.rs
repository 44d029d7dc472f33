//! The origin of a web page: `scheme://host:port`, or `null`.

use url::Url;

/// An origin, in the form in which browsers send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    text: String,
    host: String,
}

impl Origin {
    /// Parses an origin as a person writes it. Upper case, the default port and a trailing slash make no difference.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
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
        // In other schemes, such as an application's own pages, the name is not that of a host.
        let host_name = if matches!(url.scheme(), "http" | "https") { host } else { "" };
        is_bare.then(|| Self { text: format!("{}://{host}{port}", url.scheme()), host: host_name.to_owned() })
    }

    /// Parses the value of an `Origin` header. Any form that a browser does not send is refused.
    #[must_use]
    pub fn from_header(text: &str) -> Option<Self> {
        Self::parse(text).filter(|origin| origin.text == text)
    }

    /// Returns the origin of a server without TLS whose requests name this `Host`.
    #[must_use]
    pub fn from_host(host: &str) -> Option<Self> {
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        Self::parse(&format!("http://{host}")).filter(|_| host.bytes().all(is_host))
    }

    /// Returns the text that browsers send.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the host that serves the page, without the port. Empty for origins without a host.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether the host is a loopback name or address.
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
            assert_eq!(Origin::parse(written).unwrap().as_str(), sent);
            assert_eq!(Origin::from_header(sent).unwrap().as_str(), sent);
            assert_eq!(Origin::from_header(written).is_some(), written == sent, "{written}");
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
            assert_eq!(Origin::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for host in ["localhost", "LOCALHOST:8000", "a.localhost", "127.0.0.1:1", "127.9.9.9", "127.1", "[::1]:8000"] {
            assert!(Origin::from_host(host).unwrap().is_loopback(), "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example", "10.0.0.1:8000", "[::2]", "0.0.0.0", "localhost.", "nip.io"]
        {
            assert!(!Origin::from_host(host).unwrap().is_loopback(), "{host}");
        }
        for host in ["", ":", "a b", "x@localhost", "localhost/x", "localhost#x", "localhost\\x", "[::1", "\u{fffd}"] {
            assert_eq!(Origin::from_host(host), None, "{host}");
        }
    }
}
