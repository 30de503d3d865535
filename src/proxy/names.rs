//! Names that kube-proxy makes of Services and endpoints: hashes, so that they fit iptables' 28 characters.

use sha2::{Digest, Sha256};

/// Characters of a hash in a chain's name.
const HASH_LENGTH: usize = 16;

/// The alphabet of base32 (RFC 4648).
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The first characters of the base32 form of a text's SHA-256.
pub(super) fn hash(text: &str, length: usize) -> String {
    let digest = Sha256::digest(text);
    let byte = |index: usize| digest.get(index).copied().unwrap_or(0);
    let letter = |index: usize| {
        let (first, offset) = (index * 5 / 8, index * 5 % 8);
        let two = u16::from_be_bytes([byte(first), byte(first + 1)]);
        char::from(ALPHABET[usize::from((two >> (11 - offset)) & 31)])
    };
    (0..length).map(letter).collect()
}

/// The hash of a Service's port, the same in all chains of it: `name` is `namespace/service:port`.
pub(super) fn service(name: &str, protocol: &str) -> String {
    hash(&format!("{name}{protocol}"), HASH_LENGTH)
}

/// The hash of an endpoint of a Service's port; `endpoint` is `address:port`.
pub(super) fn endpoint(name: &str, protocol: &str, endpoint: &str) -> String {
    hash(&format!("{name}{protocol}{endpoint}"), HASH_LENGTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_kube_proxys() {
        for (name, protocol, expected) in [
            ("ns1/svc1:p80", "tcp", "XPGD46QRK7WJZT7O"),
            ("ns1/svc1", "tcp", "AQI2S6QIMU7PVVRP"),
            ("ns1/svc1:p80", "sctp", "GFCIFIA5VTFSTMSM"),
            ("default/kubernetes:https", "tcp", "NPX46M4PTMTKRN6Y"),
        ] {
            assert_eq!(service(name, protocol), expected, "{name}");
        }
        assert_eq!(endpoint("ns1/svc1:p80", "tcp", "10.180.0.1:80"), "SXIVWICOYRO3J4NJ");
        assert_eq!(hash("ns1/svc1/tcp/p80", 8), "ULMVA6XW");
        assert_eq!(hash("ns1/svc1/tcp/p80__10.180.0.1/80", 8), "5OJB2KTY");
    }
}
