//! The names that Calico derives by hashing: of veths, chains and sets.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha1::{Digest, Sha1};
use sha2::{Sha224, Sha256};

use crate::topology::Pod;

/// Longest name of a chain in bytes.
const CHAIN_MAX: usize = 28;
/// Longest name of a set in bytes.
const SET_MAX: usize = 31;

/// The node's end of a pod's veth: `cali` and 11 hexadecimal digits of SHA-1 over `namespace.pod`.
pub fn veth(pod: &Pod) -> String {
    veth_with_prefix("cali", &pod.namespace, &pod.name)
}

/// The same with another prefix (Felix's `InterfacePrefix`).
pub fn veth_with_prefix(prefix: &str, namespace: &str, pod: &str) -> String {
    let digest = Sha1::digest(format!("{namespace}.{pod}"));
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{prefix}{}", &hex[..11])
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

/// The IPv4 set of this id in the kernel: `cali40` and the id, cut to 31 bytes.
pub fn set(id: &str) -> String {
    format!("cali40{id}").chars().take(SET_MAX).collect()
}

/// The id of a selector's set; `selector` is in Calico's canonical form.
pub fn selector_set_id(selector: &str) -> String {
    format!("s:{}", URL_SAFE_NO_PAD.encode(Sha224::digest(format!("s:{selector}"))))
}
