//! Whose tables a namespace's iptables uses, and the tools that go with it. PURE.

use serde::Serialize;

use super::Family;

/// The two kernel interfaces that iptables has, each with tools of its own: what one loads the other does not show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Whichever the machine's `iptables` uses.
    #[default]
    Machine,
    /// nf_tables (`iptables-nft`).
    Nft,
    /// ip_tables (`iptables-legacy`).
    Legacy,
}

impl Backend {
    /// Whether it is the machine's own choice.
    pub fn is_machine(&self) -> bool {
        *self == Backend::Machine
    }

    /// The restore tool that takes whole tables, with its arguments; its first word is the program.
    pub fn restore(self, family: Family) -> &'static [&'static str] {
        match (self, family) {
            (Backend::Machine, Family::Inet) => &["iptables-restore", "-w"],
            (Backend::Machine, Family::Inet6) => &["ip6tables-restore", "-w"],
            (Backend::Nft, Family::Inet) => &["iptables-nft-restore", "-w"],
            (Backend::Nft, Family::Inet6) => &["ip6tables-nft-restore", "-w"],
            (Backend::Legacy, Family::Inet) => &["iptables-legacy-restore", "-w"],
            (Backend::Legacy, Family::Inet6) => &["ip6tables-legacy-restore", "-w"],
        }
    }

    /// The same where what it is not told of shall stay.
    pub fn change(self, family: Family) -> &'static [&'static str] {
        match (self, family) {
            (Backend::Machine, Family::Inet) => &["iptables-restore", "-w", "--noflush"],
            (Backend::Machine, Family::Inet6) => &["ip6tables-restore", "-w", "--noflush"],
            (Backend::Nft, Family::Inet) => &["iptables-nft-restore", "-w", "--noflush"],
            (Backend::Nft, Family::Inet6) => &["ip6tables-nft-restore", "-w", "--noflush"],
            (Backend::Legacy, Family::Inet) => &["iptables-legacy-restore", "-w", "--noflush"],
            (Backend::Legacy, Family::Inet6) => &["ip6tables-legacy-restore", "-w", "--noflush"],
        }
    }

    /// The tool that prints what is loaded.
    pub fn save(self, family: Family) -> &'static str {
        match (self, family) {
            (Backend::Machine, Family::Inet) => "iptables-save",
            (Backend::Machine, Family::Inet6) => "ip6tables-save",
            (Backend::Nft, Family::Inet) => "iptables-nft-save",
            (Backend::Nft, Family::Inet6) => "ip6tables-nft-save",
            (Backend::Legacy, Family::Inet) => "iptables-legacy-save",
            (Backend::Legacy, Family::Inet6) => "ip6tables-legacy-save",
        }
    }

    /// What programs call, and the program that it is here: `iptables-save` is `iptables-legacy-save`. Nothing where the
    /// machine's own are meant.
    pub fn renamed(self) -> Vec<(String, String)> {
        let word = match self {
            Backend::Machine => return Vec::new(),
            Backend::Nft => "nft",
            Backend::Legacy => "legacy",
        };
        let heads = ["iptables", "ip6tables"];
        let tails = ["", "-save", "-restore"];
        let name = |head: &str, tail: &str| (format!("{head}{tail}"), format!("{head}-{word}{tail}"));
        heads.iter().flat_map(|head| tails.iter().map(move |tail| name(head, tail))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_backend_has_tools_of_one_name() {
        for (backend, word) in [(Backend::Machine, ""), (Backend::Nft, "-nft"), (Backend::Legacy, "-legacy")] {
            for (family, head) in [(Family::Inet, "iptables"), (Family::Inet6, "ip6tables")] {
                assert_eq!(backend.restore(family), [format!("{head}{word}-restore").as_str(), "-w"]);
                assert_eq!(backend.change(family)[..2], *backend.restore(family));
                assert_eq!(backend.save(family), format!("{head}{word}-save"));
            }
        }
        assert!(Backend::Machine.renamed().is_empty());
        assert_eq!(Backend::Legacy.renamed()[4], ("ip6tables-save".to_owned(), "ip6tables-legacy-save".to_owned()));
    }
}
