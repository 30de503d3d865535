//! Files that daemons and plugins leave on a node: flannel's subnet.env, CNI configurations, host-local's leases.

use serde::Serialize;

/// A file that programs run in a namespace by minik see at its path, in place of what this machine has there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct File {
    /// Absolute path on the node: `/run/flannel/subnet.env`.
    pub path: String,
    /// Permission bits: `0o644`.
    pub mode: u32,
    /// Its content.
    pub content: String,
}

impl File {
    /// A file that everybody may read and root may write.
    pub fn new(path: impl Into<String>, content: impl Into<String>) -> Self {
        File { path: path.into(), mode: 0o644, content: content.into() }
    }

    /// What a node has as its own of the way to this path, and what is this machine's: `/run` and `flannel`, `/var/lib`
    /// and `cni`. None for a path that is not absolute, has dots, or is not below a directory of the system.
    pub fn place(&self) -> Option<(&str, &str)> {
        let parts: Vec<&str> = self.path.strip_prefix('/')?.split('/').collect();
        let odd = |part: &&str| matches!(*part, "" | "." | "..");
        let depth = if parts[0] == "var" { 2 } else { 1 };
        if parts.iter().any(odd) || parts.len() <= depth {
            return None;
        }
        let system: usize = parts[..depth].iter().map(|part| part.len() + 1).sum();
        Some((&self.path[..system], parts[depth]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_a_directory_of_its_own_below_one_of_the_system() {
        for (path, place) in [
            ("/run/flannel/subnet.env", Some(("/run", "flannel"))),
            ("/var/lib/cni/networks/cbr0/10.244.0.2", Some(("/var/lib", "cni"))),
            ("/etc/cni/net.d/10-flannel.conflist", Some(("/etc", "cni"))),
            ("/etc/flannel.conf", Some(("/etc", "flannel.conf"))),
            ("/file", None),
            ("/var/lib", None),
            ("run/flannel", None),
            ("/run/../etc/passwd", None),
            ("/run//x", None),
        ] {
            assert_eq!(File::new(path, "").place(), place, "{path}");
        }
    }
}
