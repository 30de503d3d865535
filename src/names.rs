//! Every name and number that is derived and not given: namespaces, paths, MACs of NICs. PURE, deterministic.
//!
//! Ownership is by name: whatever is called `minik-<cluster>-…` under /run/netns belongs to that cluster, so
//! that `down` finds it without any other record.

use sha1::{Digest, Sha1};
use sha2::Sha256;

use crate::plan::Mac;

/// Directory of named network namespaces, as iproute2 has it.
pub const NETNS_DIR: &str = "/run/netns";

/// Directory of files that `ip netns exec` binds over /etc.
pub const ETC_NETNS_DIR: &str = "/etc/netns";

/// Longest name of an interface in bytes (IFNAMSIZ less the terminating zero).
pub const INTERFACE_NAME_MAX: usize = 15;

/// Longest name of a file in a directory in bytes, so also of a named network namespace.
pub const NETNS_NAME_MAX: usize = 255;

/// Longest DNS-1123 label, so also of a cluster's name.
pub const LABEL_MAX: usize = 63;

/// Whether `text` is a DNS-1123 label. A cluster's name must be one: it becomes part of paths, and `down` removes
/// what is there.
pub fn is_dns_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=LABEL_MAX).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// `minik-<cluster>-`, which begins every namespace name of a cluster.
pub fn netns_prefix(cluster: &str) -> String {
    format!("minik-{cluster}-")
}

/// Name under /run/netns of a namespace; `what` is its name inside the cluster, a pod's `namespace/name`
/// becoming `namespace-name`.
pub fn netns(cluster: &str, what: &str) -> String {
    format!("{}{}", netns_prefix(cluster), what.replace('/', "-"))
}

/// A locally administered unicast Ethernet address that depends on `parts` alone. Stands for the kernel's
/// random addresses, so that equal input gives equal output.
pub fn mac(parts: &[&str]) -> Mac {
    let mut hash = Sha1::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let digest = hash.finalize();
    let mut bytes = [0u8; 6];
    bytes.copy_from_slice(&digest[..6]);
    bytes[0] = (bytes[0] & 0xfc) | 0x02;
    Mac(bytes)
}

/// The id of a pod's sandbox, 64 hexadecimal digits, which all of its CNI plugins get: a hash of the pod's key in the
/// cluster, where a container runtime takes chance.
pub fn sandbox(cluster: &str, pod: &str) -> String {
    Sha256::digest(format!("{cluster}\0{pod}\0sandbox")).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_leave_its_directory_is_no_label() {
        for good in ["minik", "a", "0", "a-b", &"x".repeat(63)] {
            assert!(is_dns_label(good), "{good}");
        }
        for bad in ["", ".", "..", "../x", "a/b", "/tmp", "a.b", "-a", "a-", "A", "a b", "ä", "a\n", &"x".repeat(64)] {
            assert!(!is_dns_label(bad), "{bad:?}");
        }
    }

    #[test]
    fn macs_are_unicast_local_and_depend_on_every_part() {
        let one = mac(&["a", "bc"]);
        assert_eq!(one.0[0] & 0x03, 0x02);
        assert_ne!(one, mac(&["ab", "c"]));
        assert_eq!(one, mac(&["a", "bc"]));
    }
}
