//! Which addresses this server may fetch from for a client: public addresses only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{FetchError, FetchErrorKind};

/// Whether an address belongs to the public Internet: not loopback, private, link-local (cloud metadata), shared, multicast,
/// reserved or for documentation, by IANA's registries of special-purpose addresses. An IPv4 address that is embedded in an
/// IPv6 address is judged as the IPv4 address.
///
/// ```
/// use qwen_edge::platform::address::is_public;
///
/// assert!(is_public([1, 1, 1, 1].into()));
/// assert!(!is_public([169, 254, 169, 254].into()));
/// assert!(!is_public("::ffff:10.0.0.1".parse().unwrap()));
/// ```
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        [0 | 10 | 127, ..]
            | [100, 64..=127, ..]
            // The host of virtual machines at Azure: a public address that is reachable only from within them.
            | [168, 63, 129, 16]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [192, 168, ..]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            | [224..=255, ..]
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        // IPv4-mapped, and IPv4 behind NAT64.
        [0, 0, 0, 0, 0, 0xFFFF, high, low] | [0x64, 0xFF9B, 0, 0, 0, 0, high, low] => embedded(high, low),
        // 6to4
        [0x2002, high, low, ..] => embedded(high, low),
        // Teredo, benchmarks, ORCHID and other protocol assignments; documentation
        [0x2001, 0..=0x1FF | 0xDB8, ..] | [0x3FFF, 0..=0x0FFF, ..] => false,
        [first, ..] => first & 0xE000 == 0x2000,
    }
}

/// Checks the host of a URL as far as that is possible without DNS. [`url::Url`] has already normalized decimal, octal and
/// other forms of IPv4 addresses.
///
/// # Errors
/// [`FetchErrorKind::Forbidden`] for an address that is not public, and for names of the local machine and network.
pub fn check_host(host: Option<url::Host<&str>>) -> Result<(), FetchError> {
    let allowed = match host {
        Some(url::Host::Ipv4(address)) => is_public_v4(address),
        Some(url::Host::Ipv6(address)) => is_public_v6(address),
        Some(url::Host::Domain(name)) => !is_local_name(name),
        None => false,
    };
    if allowed { Ok(()) } else { Err(forbidden()) }
}

/// Returns the error for an address that is not public.
#[must_use]
pub fn forbidden() -> FetchError {
    FetchError { kind: FetchErrorKind::Forbidden, detail: "not a public address".to_owned() }
}

/// Whether a name never belongs to the public Internet (RFC 6761, 6762, 8375, 9476, and suffixes of local resolvers).
fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let last = name.rsplit('.').next().unwrap_or_default();
    !name.contains('.')
        || matches!(
            last,
            "localhost" | "local" | "localdomain" | "internal" | "intranet" | "lan" | "home" | "alt" | "onion"
        )
        || name.ends_with(".home.arpa")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_purpose_addresses_are_not_public() {
        let private = "0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.127.255.255 127.0.0.1 127.255.0.1 169.254.169.254 172.16.0.1 \
            172.31.255.255 192.0.0.1 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 \
            224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 :: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 \
            168.63.129.16 ::ffff:168.63.129.16 2002:a83f:8110:: ::ffff:169.254.169.254 64:ff9b::a00:1 64:ff9b:1::1 100::1 2001::1 2001:db8::1 2002:7f00:1:: 2002:a00:1::1 \
            3fff::1 fc00::1 fd00:ec2::254 fe80::1 fec0::1 ff02::1";
        for address in private.split_whitespace() {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        let public = "168.63.129.15 168.63.129.17 1.1.1.1 8.8.8.8 100.63.255.255 100.128.0.1 172.15.0.1 172.32.0.1 192.0.1.1 192.167.1.1 198.17.0.1 \
            223.255.255.255 ::ffff:8.8.8.8 64:ff9b::808:808 2001:200::1 2606:4700::1111 2002:808:808::1 2a00:1450::1";
        for address in public.split_whitespace() {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn every_form_of_a_local_address_is_refused() {
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "017700000001",
            "0",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "169.254.169.254",
            "0xa9fea9fe",
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "metadata.google.internal",
            "printer.local",
            "intranet",
            "router.home.arpa",
            "\u{ff11}27.0.0.1",
            "127\u{3002}0\u{3002}0\u{3002}1",
        ] {
            let url = url::Url::parse(&format!("http://{host}/x")).unwrap();
            assert!(check_host(url.host()).is_err(), "{host}");
        }
        for host in ["example.com", "1.1.1.1", "[2606:4700::1111]", "localhost.example"] {
            assert!(check_host(url::Url::parse(&format!("https://{host}/")).unwrap().host()).is_ok(), "{host}");
        }
    }
}
