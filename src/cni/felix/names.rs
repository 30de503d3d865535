//! The names that Calico derives by hashing: of veths, chains and sets.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha1::{Digest, Sha1};
use sha2::{Sha224, Sha256};

use crate::plan::{Family, Mac};
use crate::topology::Pod;

/// Longest name of a chain in bytes.
const CHAIN_MAX: usize = 28;
/// Hexadecimal digits in the name of a pod's veth.
const VETH_DIGITS: usize = 11;
/// Longest name of a set in bytes.
const SET_MAX: usize = 31;

/// The node's end of a pod's veth: `cali` and 11 hexadecimal digits of SHA-1 over `namespace.pod`.
pub fn veth(pod: &Pod) -> String {
    veth_with_prefix("cali", &pod.namespace, &pod.name)
}

/// The same with another prefix (Felix's `InterfacePrefix`).
pub fn veth_with_prefix(prefix: &str, namespace: &str, pod: &str) -> String {
    let digest = Sha1::new().chain_update(namespace).chain_update(".").chain_update(pod).finalize();
    let nibbles = digest.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    let hex = nibbles.take(VETH_DIGITS).filter_map(|nibble| char::from_digit(nibble.into(), 16));
    prefix.chars().chain(hex).collect()
}

/// The Ethernet address of a node's vxlan.calico, unless its Node object stores one: 0x66 and the first 5 bytes of SHA-1
/// over the node's name (felix v3.18, calc/vxlan_resolver.go); that of vxlan-v6.calico over the name and `-v6` (v3.23).
pub fn vtep_mac(node: &str, family: Family) -> Mac {
    let digest = match family {
        Family::Inet => Sha1::digest(node),
        Family::Inet6 => Sha1::digest(format!("{node}-v6")),
    };
    Mac([0x66, digest[0], digest[1], digest[2], digest[3], digest[4]])
}

/// A chain for `name`, shortened by a hash of the name (not of the prefix) where it would be too long.
pub fn chain(prefix: &str, name: &str) -> String {
    let length = prefix.len() + name.len();
    if length < CHAIN_MAX || (length == CHAIN_MAX && !name.starts_with('_')) {
        return format!("{prefix}{name}");
    }
    let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(name));
    let room = CHAIN_MAX.saturating_sub(prefix.len() + 1).min(hash.len());
    format!("{prefix}_{}", &hash[..room])
}

/// The set of this id in the kernel: `cali40` or `cali60` and the id, cut to 31 bytes.
pub fn set(id: &str, family: Family) -> String {
    let version = if family == Family::Inet { "cali40" } else { "cali60" };
    format!("{version}{id}").chars().take(SET_MAX).collect()
}

/// The id of a selector's set; `selector` is in Calico's canonical form.
pub fn selector_set_id(selector: &str) -> String {
    format!("s:{}", URL_SAFE_NO_PAD.encode(Sha224::digest(format!("s:{selector}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn veths_are_called_as_published() {
        for (prefix, namespace, pod, expected) in [
            ("cali", "default", "db-8d66ff5f7-bp6kf", "cali95aa86cbb2a"),
            ("cali", "default", "backend-867fd6dff-mjf92", "cali2b1490aa46a"),
            ("eni", "namespace", "podname", "eni82111e10a96"),
            ("cali", "default", "test-7999578869-kx4hp", "cali14de3927136"),
            ("cali", "default", "test-7999578869-jr2w9", "cali813929a4a7b"),
            ("cali", "default", "test-7999578869-xkhlz", "calieb588c579e3"),
        ] {
            assert_eq!(veth_with_prefix(prefix, namespace, pod), expected);
        }
    }

    #[test]
    fn long_chain_names_are_shortened_as_published() {
        for (prefix, name, expected) in [
            ("cali-pi-", "default.deny-cka", "cali-pi-default.deny-cka"),
            ("cali-pi-", "default/knp.default.allow-db-access", "cali-pi-_tTE-E7yY40ogArNVgKt"),
            ("cali-pi-", "default/knp.default.haejun-policy", "cali-pi-_Eb-vckmN-lr2eREXQcs"),
            ("cali-pri-", "long-policy-name-that-gets-hashed", "cali-pri-_ffOMcf6pikpiZ6hgKc"),
            ("cali-pri-", "ksa.kube-system.coredns", "cali-pri-_u2Tn2rSoAPffvE7JO6"),
            ("cali-pri-", "ksa.calico-system.default", "cali-pri-_og73BH3DuNOZrbBKFW"),
            ("cali-pri-", "ksa.calico-system.calico-kube-controllers", "cali-pri-_nzzjLvInId1gPHmQz_"),
            ("cali-tw-", "cali14de3927136", "cali-tw-cali14de3927136"),
        ] {
            assert_eq!(chain(prefix, name), expected);
        }
        assert_eq!(chain("cali-pi-", "a-name-of-20-letters"), "cali-pi-a-name-of-20-letters");
        assert_ne!(chain("cali-pi-", "_-name-of-20-letters"), "cali-pi-_-name-of-20-letters");
    }

    #[test]
    fn vteps_have_the_computed_macs() {
        let macs = ["node-1", "node-2"].map(|node| vtep_mac(node, Family::Inet).to_string());
        assert_eq!(macs, ["66:b3:68:28:39:8e", "66:c0:93:2e:56:2c"]);
    }

    #[test]
    fn selector_sets_are_called_as_published() {
        let access = r#"(projectcalico.org/namespace == "default" && (projectcalico.org/orchestrator == "k8s" && networking/allow-db-access == "true"))"#;
        let roles = r#"(projectcalico.org/namespace == "default" && (projectcalico.org/orchestrator == "k8s" && role == "allower" && user == "haejun"))"#;
        assert_eq!(set(&selector_set_id(access), Family::Inet), "cali40s:LrVD8vMIGQDyv8Y7sPFB1Ge");
        assert_eq!(set(&selector_set_id(roles), Family::Inet), "cali40s:dSXImMSA1iXOPxYRYLVorAP");
        assert_eq!(set("all-hosts-net", Family::Inet), "cali40all-hosts-net");
        assert_eq!(set("all-vxlan-net", Family::Inet6), "cali60all-vxlan-net");
    }
}
