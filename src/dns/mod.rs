//! The cluster's DNS: what a server answers, and where pods ask. PURE.
//!
//! Services and their endpoints become [`Records`], which travel to the agent; there a [`Zone`] answers questions as the
//! plugin `kubernetes` of CoreDNS does, with `pods insecure` and the reverse zones as in kubeadm's Corefile. [`respond`]
//! is the whole server: bytes in, bytes out; the wire format is simple-dns'. [`resolver`] is kubelet's part: a pod's
//! resolv.conf.
//!
//! What is not there: the plugin `cache`, so that every answer has the zone's whole TTL; and an upstream. Questions for
//! other zones, and for addresses that the cluster does not know, are answered as CoreDNS does when its `forward` reaches
//! nobody: SERVFAIL.
//!
//! Sources: the Kubernetes DNS specification 1.1.0; coredns 1.11 plugin/kubernetes/{handler,kubernetes,parse,reverse,ns}.go,
//! plugin/backend_lookup.go, request/request.go; kubernetes pkg/kubelet/network/dns/dns.go.

mod answer;
mod kubelet;
mod question;
mod records;
mod wire;
mod zone;

pub use answer::{Data, Rcode, Record, Reply};
pub use kubelet::{host_domain, resolver};
pub use question::{Kind, Question};
pub use records::{EndpointRecords, PortRecord, Records, ServiceRecords, Target};
pub use wire::{Handled, Transport, respond};
pub use zone::Zone;
