//! Names of pods that controllers make. Real ones have random suffixes; here they depend on the input alone, so that the
//! same file gives the same cluster every time. Suffixes are of Kubernetes' alphabet and the template's hash has its shape
//! (apimachinery/pkg/util/rand, pkg/controller `ComputeHash`).

use std::collections::BTreeMap;

use super::pods::PodTemplate;

/// The letters and digits of generated names: no vowels and nothing that looks like another.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Letters behind a generated name's last `-`.
const SUFFIX: usize = 5;

/// Longest name before the suffix (apiserver/pkg/storage/names: 63 less the suffix).
const GENERATED_MAX: usize = 63 - SUFFIX;

/// FNV-1a, 32 bits: what Kubernetes hashes templates with.
pub(super) fn fnv1a(parts: &[&[u8]]) -> u32 {
    parts
        .iter()
        .flat_map(|part| part.iter().chain(&[0]))
        .fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// The `pod-template-hash` of a template: a number's decimal digits, each as a letter of the alphabet.
/// (Kubernetes hashes a Go dump of the object, so the value differs from a real cluster's.)
pub(super) fn template_hash(template: &PodTemplate) -> String {
    let labels: Vec<String> = template.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let containers = format!("{:?}", template.containers);
    let node = template.node_name.as_ref().map(|(name, _)| name.as_str()).unwrap_or_default();
    let wishes: BTreeMap<&str, &str> =
        template.node_selector.iter().map(|(k, v, _)| (k.as_str(), v.as_str())).collect();
    let wishes = format!("{wishes:?}");
    let text = [labels.join(","), containers, node.to_owned(), wishes, template.service_account.clone()];
    let parts: Vec<&[u8]> = text.iter().map(String::as_bytes).collect();
    fnv1a(&parts).to_string().bytes().map(letter).collect()
}

/// An owner's name with five letters that depend on it, the pod's number, and how many tries before were taken.
pub(super) fn generated(namespace: &str, owner: &str, index: u32, attempt: u32) -> String {
    let base = format!("{owner}-");
    format!("{}{}", &base[..base.len().min(GENERATED_MAX)], suffix(&[namespace, owner], index, attempt))
}

/// Five letters that depend on the owner, the pod's number, and how many tries before were taken.
fn suffix(owner: &[&str], index: u32, attempt: u32) -> String {
    let (index, attempt) = (index.to_be_bytes(), attempt.to_be_bytes());
    let mut parts: Vec<&[u8]> = owner.iter().map(|part| part.as_bytes()).collect();
    parts.extend([&index[..], &attempt[..]]);
    // FNV's low bits of neighbouring inputs are alike; a multiplication by an odd constant spreads them.
    let mut number = u64::from(fnv1a(&parts)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let mut text = String::with_capacity(SUFFIX);
    for _ in 0..SUFFIX {
        text.push(char::from(ALPHABET[(number % 27) as usize]));
        number /= 27;
    }
    text
}

fn letter(byte: u8) -> char {
    char::from(ALPHABET[usize::from(byte) % ALPHABET.len()])
}
