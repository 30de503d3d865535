//! Addresses of sockets, between nix and the standard library.

use std::net::SocketAddr;

use nix::sys::socket::SockaddrStorage;

/// The standard library's form of a socket's address; none if it is of another family than IPv4 and IPv6.
pub fn address(of: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = of.as_sockaddr_in().map(|own| SocketAddr::V4((*own).into()));
    v4.or_else(|| of.as_sockaddr_in6().map(|own| SocketAddr::V6((*own).into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_come_back() {
        for text in ["10.1.10.9:80", "[fd00::9]:443"] {
            let address: Option<SocketAddr> = text.parse().ok();
            assert_eq!(address.and_then(|own| super::address(&SockaddrStorage::from(own))), address, "{text}");
        }
    }
}
