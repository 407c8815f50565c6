//! Which addresses of the network may be reached where a marketplace names the place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is this machine's own, however it is written.
#[must_use]
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Whether an address is a stranger's on the public network.
///
/// An IPv6 address that stands for an IPv4 one, mapped or behind the well-known NAT64 prefix, is as
/// public as that one; the other forms that carry one (compatible, 6to4, Teredo) are refused, since
/// nothing that is reached by them today is meant to be.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Source: the IANA registry of special-purpose IPv4 addresses.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    let special = match first {
        // This network, private, loopback; multicast, reserved and broadcast.
        0 | 10 | 127 | 224.. => true,
        // Shared by a provider's customers.
        100 => (64..128).contains(&second),
        // Link-local, where clouds keep their credentials.
        169 => second == 254,
        172 => (16..32).contains(&second),
        // Private; protocol assignments, documentation and relays of 6to4.
        192 => second == 168 || matches!((second, third), (0, 0 | 2) | (88, 99)),
        // Benchmarks and documentation.
        198 => (18..20).contains(&second) || (second, third) == (51, 100),
        203 => (second, third) == (0, 113),
        _ => false,
    };
    !special
}

/// Source: the IANA registry of special-purpose IPv6 addresses. Global unicast is
/// `2000::/3`.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let [first, second, ..] = segments;
    if let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = segments {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    let special = match first {
        // Protocol assignments with Teredo and benchmarks, and documentation.
        0x2001 => second < 0x0200 || second == 0x0db8,
        // 6to4.
        0x2002 => true,
        // Documentation.
        0x3fff => second < 0x1000,
        _ => first & 0xe000 != 0x2000,
    };
    !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_who_is_a_stranger() {
        #[rustfmt::skip]
        let rows = [
            ("0.0.0.0", false),            ("0.1.2.3", false),           ("1.0.0.0", true),
            ("9.255.255.255", true),       ("10.0.0.1", false),          ("11.0.0.0", true),
            ("100.63.255.255", true),      ("100.64.0.0", false),        ("100.127.255.255", false),
            ("100.128.0.0", true),         ("126.255.255.255", true),    ("127.0.0.1", false),
            ("127.255.255.255", false),    ("128.0.0.0", true),          ("169.253.0.1", true),
            ("169.254.169.254", false),    ("169.255.0.0", true),        ("172.15.255.255", true),
            ("172.16.0.0", false),         ("172.31.255.255", false),    ("172.32.0.0", true),
            ("192.0.0.1", false),          ("192.0.1.1", true),          ("192.0.2.1", false),
            ("192.88.99.1", false),        ("192.88.98.1", true),        ("192.167.0.1", true),
            ("192.168.0.1", false),        ("192.169.0.1", true),        ("198.17.0.1", true),
            ("198.18.0.1", false),         ("198.19.255.255", false),    ("198.20.0.0", true),
            ("198.51.100.7", false),       ("198.51.101.7", true),       ("203.0.113.7", false),
            ("203.0.114.7", true),         ("223.255.255.255", true),    ("224.0.0.1", false),
            ("239.1.1.1", false),          ("240.0.0.1", false),         ("255.255.255.255", false),
            ("::", false),                 ("::1", false),               ("::7f00:1", false),
            ("::ffff:127.0.0.1", false),   ("::ffff:10.0.0.1", false),   ("::ffff:8.8.8.8", true),
            ("64:ff9b::7f00:1", false),    ("64:ff9b::a9fe:a9fe", false), ("64:ff9b::808:808", true),
            ("64:ff9b:1::808:808", false), ("100::1", false),            ("1fff::1", false),
            ("2000::1", true),             ("2001::1", false),           ("2001:2::1", false),
            ("2001:1ff:ffff::1", false),   ("2001:200::1", true),        ("2001:db8::1", false),
            ("2001:db9::1", true),         ("2002:7f00:1::1", false),    ("2002:808:808::1", false),
            ("2606:4700::1111", true),     ("3fff::1", false),           ("3fff:fff::1", false),
            ("3fff:1000::1", true),        ("4000::1", false),           ("fc00::1", false),
            ("fd12:3456::1", false),       ("fe80::1", false),           ("fec0::1", false),
            ("ff02::1", false),            ("::8.8.8.8", false),
        ];
        for (text, expected) in rows {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(is_public(address), expected, "{text}");
            assert!(!is_public(address) || !is_loopback(address), "{text}");
        }
        for (text, expected) in
            [("127.9.9.9", true), ("::1", true), ("::ffff:127.0.0.1", true), ("10.0.0.1", false)]
        {
            assert_eq!(is_loopback(text.parse().unwrap()), expected, "{text}");
        }
    }
}
