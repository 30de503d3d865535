//! Which iptables nodes have. PURE.

use serde::Serialize;

use super::complaint::{Checked, Complaint, quote};
use super::fields::Spanned;
use super::rules;

/// The flavour of iptables that nodes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Iptables {
    /// `iptables-nft`: its rules are nf_tables'.
    Nft,
    /// `iptables-legacy`.
    Legacy,
}

const ALL: [(&str, Iptables); 2] = [("nft", Iptables::Nft), ("legacy", Iptables::Legacy)];

/// What the command line or the Cluster says; none is the machine's own.
pub(super) fn resolve(argument: Option<&str>, written: Option<&Spanned<String>>) -> Checked<Option<Iptables>> {
    let find = |word: &str| ALL.into_iter().find(|(name, _)| *name == word).map(|(_, flavour)| flavour);
    let text = |word: &str| format!("unknown flavour of iptables {}", quote(word));
    let hint = |word: &str| rules::one_of(word, &ALL.map(|(name, _)| name));
    match (argument, written) {
        (Some(word), _) => find(word).map(Some).ok_or_else(|| Complaint::usage(text(word)).hint(hint(word))),
        (None, Some(word)) => find(word).map(Some).ok_or_else(|| Complaint::at(word.span, text(word)).hint(hint(word))),
        (None, None) => Ok(None),
    }
}
