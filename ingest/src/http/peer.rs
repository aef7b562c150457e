//! Who sends a webhook, as far as that can be told before its signature is: an address, and behind a trusted proxy the
//! address that the proxy names.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Only this header is read. A proxy passes on what it does not write, so a second one, such as `Forwarded`, would be
/// the stranger's own word beside a proxy that writes the first.
static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// One sender: an IPv4 address, or the first 64 bits of an IPv6 address, of which a single host may have them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer(IpAddr);

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => Self(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()),
            IpAddr::V4(address) => Self(address.into()),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
    }
}

/// The proxies whose word is taken for who sends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustedProxies(Vec<IpNet>);

impl TryFrom<String> for TrustedProxies {
    type Error = String;

    /// Reads networks and addresses that are separated by commas. An error does not show what is neither, which may be anything.
    fn try_from(text: String) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim).enumerate().filter(|_| !text.trim().is_empty());
        let network = |(index, entry): (usize, &str)| {
            let address = |_| entry.parse::<IpAddr>().map(IpNet::from);
            let place = index + 1;
            entry.parse::<IpNet>().or_else(address).map_err(|_| {
                format!(
                    "expected networks such as 10.0.0.0/8, or addresses, separated by commas; number {place} is neither"
                )
            })
        };
        entries.map(network).collect::<Result<_, _>>().map(Self)
    }
}

impl From<TrustedProxies> for String {
    fn from(proxies: TrustedProxies) -> Self {
        proxies.0.iter().map(IpNet::to_string).collect::<Vec<_>>().join(",")
    }
}

impl TrustedProxies {
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The peer that sent a request whose connection comes from `address`: the last address of the header that is not a
    /// trusted proxy, since each proxy adds to the end the address that it sees itself, and what stands before that is
    /// hearsay.
    pub fn peer(&self, address: IpAddr, headers: &HeaderMap) -> Peer {
        let mut peer = address;
        let hops =
            headers.get_all(&FORWARDED_FOR).iter().rev().flat_map(|value| value.as_bytes().rsplit(|b| *b == b','));
        for hop in hops {
            if !self.contains(peer) {
                break;
            }
            let Some(before) = parse_hop(hop) else { break };
            peer = before;
        }
        peer.into()
    }
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn parse_hop(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?.trim();
    let in_brackets = || hop.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    let address = hop.parse().ok().or_else(|| Some(hop.parse::<SocketAddr>().ok()?.ip()));
    address.or_else(|| in_brackets().map(IpAddr::V6))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn peer(proxies: &str, from: &str, forwarded_for: &[&str]) -> Peer {
        let headers = forwarded_for.iter().map(|value| (FORWARDED_FOR.clone(), value.parse().unwrap())).collect();
        TrustedProxies::try_from(proxies.to_owned()).unwrap().peer(address(from), &headers)
    }

    #[test]
    fn a_peer_is_an_address_or_a_network_of_64_bits() {
        let peer = |text: &str| Peer::from(address(text));
        assert_ne!(peer("10.0.0.1"), peer("10.0.0.2"));
        assert_eq!(peer("2001:db8:1:2::1"), peer("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(peer("2001:db8:1:2::1"), peer("2001:db8:1:3::1"));
        assert_eq!(peer("::ffff:10.0.0.1"), peer("10.0.0.1"));
        assert_ne!(peer("::ffff:10.0.0.1"), peer("::ffff:10.0.0.2"));
    }

    #[test]
    fn a_peer_is_shown_as_what_is_told_apart() {
        for (from, shown) in
            [("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("2001:db8::7", "2001:db8::/64")]
        {
            assert_eq!(Peer::from(address(from)).to_string(), shown);
        }
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        for (proxies, from, headers, expected) in [
            ("", "6.6.6.6", &["7.7.7.7"][..], "6.6.6.6"),
            ("10.0.0.0/8", "6.6.6.6", &["7.7.7.7"], "6.6.6.6"),
            ("10.0.0.0/8", "10.1.2.3", &[], "10.1.2.3"),
            ("10.0.0.0/8", "10.1.2.3", &["7.7.7.7"], "7.7.7.7"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", &["7.7.7.7"], "7.7.7.7"),
            // What the stranger wrote stands before what the proxy added.
            ("10.0.0.0/8", "10.1.2.3", &["7.7.7.7, 6.6.6.6"], "6.6.6.6"),
            ("10.0.0.0/8", "10.1.2.3", &["7.7.7.7", "6.6.6.6"], "6.6.6.6"),
            ("10.0.0.0/8", "10.1.2.3", &["7.7.7.7,10.0.0.1 , 6.6.6.6"], "6.6.6.6"),
            // Two proxies in a row, both trusted.
            ("10.0.0.0/8,192.0.2.7", "10.1.2.3", &["9.9.9.9, 7.7.7.7, 192.0.2.7"], "7.7.7.7"),
            ("10.0.0.0/8", "10.1.2.3", &["7.7.7.7, 192.0.2.7"], "192.0.2.7"),
            ("10.0.0.0/8", "10.1.2.3", &["10.9.9.9"], "10.9.9.9"),
            // What is no address says nothing, and nothing before it is believed.
            ("10.0.0.0/8", "10.1.2.3", &["7.7.7.7, unknown"], "10.1.2.3"),
            ("10.0.0.0/8", "10.1.2.3", &[""], "10.1.2.3"),
            ("10.0.0.0/8", "10.1.2.3", &["7.7.7.7:4711"], "7.7.7.7"),
            ("fd00::/8", "fd00::1", &["2001:db8::1"], "2001:db8::2"),
            ("fd00::/8", "fd00::1", &["[2001:db8::1]"], "2001:db8::"),
            ("fd00::/8", "fd00::1", &["[2001:db8::1]:4711"], "2001:db8::"),
        ] {
            assert_eq!(peer(proxies, from, headers), address(expected).into(), "{proxies:?} {from} {headers:?}");
        }
    }

    #[test]
    fn networks_and_addresses_are_read() {
        for (text, result) in [
            ("", Ok(0)),
            (" ", Ok(0)),
            ("127.0.0.1", Ok(1)),
            ("10.0.0.0/8, fd00::/8,::1", Ok(3)),
            ("10.0.0.0/33", Err(1)),
            ("::1,proxy.example", Err(2)),
            ("::1,", Err(2)),
        ] {
            let place =
                |error: String| error.split_once("number ").unwrap().1.split_once(' ').unwrap().0.parse().unwrap();
            let read = TrustedProxies::try_from(text.to_owned());
            assert_eq!(read.clone().map(|proxies| proxies.0.len()).map_err(place), result, "{text:?}");
            assert_eq!(read.clone().map(String::from).and_then(TrustedProxies::try_from), read, "{text:?}");
        }
    }
}
