use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use super::Allowed;
use super::value::ConfigValue;

/// Where to listen: a host name or address, and a port. Port 0 lets the system pick one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenAddress {
    host: String,
    port: u16,
}

impl ListenAddress {
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
        }
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address to bind: the first one that the host name stands for. May ask the resolver,
    /// so call it before the executors start.
    pub fn resolve(&self) -> io::Result<SocketAddr> {
        let no_address = |reason: String| {
            io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                format!(
                    "`{}` is not an address of this machine: {reason}",
                    self.host
                ),
            )
        };
        (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(|error| no_address(error.to_string()))?
            .next()
            .ok_or_else(|| no_address("the name has no address".to_owned()))
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::new(address.ip().to_string(), address.port())
    }
}

impl fmt::Display for ListenAddress {
    /// `HOST:PORT`, an IPv6 address in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl ConfigValue for ListenAddress {
    fn parse(text: &str, _: &Allowed) -> Option<Self> {
        let (host, port) = text.trim().rsplit_once(':')?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        // Only an IPv6 address has colons, and only it stands in brackets.
        let host = match bracketed {
            Some(host) if host.contains(':') => host,
            None if !host.contains(':') => host,
            _ => return None,
        };
        let not_in_a_host = |c: char| c.is_whitespace() || c == '[' || c == ']';
        if host.is_empty() || host.contains(not_in_a_host) {
            return None;
        }
        Some(Self::new(host, port.parse().ok()?))
    }

    fn text(&self, _: &Allowed) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        let parse = |text| ListenAddress::parse(text, &Allowed::Text(""));
        let local = parse("127.0.0.1:9190").unwrap();
        assert_eq!(local.resolve().unwrap(), ([127, 0, 0, 1], 9190).into());
        let six = parse("[::1]:0").unwrap();
        assert_eq!((six.host(), six.to_string().as_str()), ("::1", "[::1]:0"));
        for refused in [
            "",
            "9190",
            ":9190",
            "host:",
            "host:65536",
            "::1:9190",
            "a b:1",
            "[]:1",
            "[[]]:1",
            "[host]:1",
        ] {
            assert_eq!(parse(refused), None, "{refused:?}");
        }
    }
}
