//! What the kernel under a plan does to packets where machines differ. PURE: it is measured elsewhere.

use super::{Health, Namespace, Plan};

/// The setting by which a bridge shows IPv4 packets to iptables.
const BRIDGED_TO_IPTABLES: &str = "net.bridge.bridge-nf-call-iptables";

/// What a machine's kernel does where kernels differ, as it was found out by trying. The default is a kernel that has
/// all that a plan may count on, which is what nodes of real clusters have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// Bridges show IPv4 packets to iptables where `net.bridge.bridge-nf-call-iptables` says so, and so join fragments:
    /// br_netfilter is loaded or built in. Without it there is no such setting, and what passes from one port of a
    /// bridge to another is translated by no rule: nor back what comes from a Service's endpoint behind the same
    /// bridge. Kubernetes asks for it (kubeadm's preflight check `FileContent--proc-sys-net-bridge-…`).
    pub bridge_netfilter: bool,
}

impl Default for Kernel {
    fn default() -> Self {
        Kernel { bridge_netfilter: true }
    }
}

/// What of a node's kube-proxy was never compared with a real one's, in words.
fn uncompared(node: &Namespace) -> Option<String> {
    let minor = node.health.as_ref()?.minor;
    if node.ipvs.is_some() {
        return (!Health::RECORDED_IPVS.contains(&minor)).then(|| {
            format!(
                "kube-proxy 1.{minor}'s ipvs mode follows its sources; what a real one sets up was compared for 1.20 alone"
            )
        });
    }
    (!Health::RECORDED.contains(&minor)).then(|| {
        format!(
            "the rules of kube-proxy 1.{minor} follow its sources; what a real one writes was compared for 1.20 and 1.30 alone"
        )
    })
}

impl Plan {
    /// Whether a namespace's bridges shall show packets to iptables.
    pub fn wants_bridge_netfilter(&self) -> bool {
        self.namespaces.iter().flat_map(|ns| &ns.sysctls).any(|s| s.key == BRIDGED_TO_IPTABLES && s.value != "0")
    }

    /// What of this plan is otherwise in `kernel` than on a real node, in words for people, with the cure.
    pub fn differences(&self, kernel: Kernel) -> Vec<String> {
        let mut found = Vec::new();
        if self.wants_bridge_netfilter() && !kernel.bridge_netfilter {
            let text = "br_netfilter is not loaded: iptables does not see what passes between pods of one node, as it \
                        does on a real node; a Service whose endpoint is on its client's node does not answer. Cure: \
                        `modprobe br_netfilter`, by which the host's own bridges pass packets to iptables, too";
            found.push(text.to_owned());
        }
        found.extend(self.nodes().find_map(uncompared));
        found
    }
}
