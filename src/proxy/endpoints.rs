//! Which endpoints of a Service's port a node uses (pkg/proxy/topology.go, `CategorizeEndpoints`).

use std::net::SocketAddr;

use super::view::{PortView, View};

/// An endpoint of a Service's port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its address and port.
    pub to: SocketAddr,
    /// Whether it is on this node.
    pub local: bool,
    /// Gets new connections.
    pub ready: bool,
    /// Answers, whether or not it is about to end.
    pub serving: bool,
    /// Is about to end.
    pub terminating: bool,
    /// Zones that should use it.
    pub zones: Vec<String>,
}

/// The endpoints that a node uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reachable<'a> {
    /// By the policy `Cluster`.
    pub cluster: Vec<&'a Target>,
    /// By the policy `Local`.
    pub local: Vec<&'a Target>,
    /// All that this node may send to.
    pub all: Vec<&'a Target>,
    /// Whether there is any that could be used, on whatever node.
    pub any: bool,
}

/// An endpoint that a node uses, and what a mode calls it: that is a hash, and made once for all rules that lead there.
pub(super) struct Named<'a> {
    pub(super) target: &'a Target,
    pub(super) name: String,
}

impl<'a> Named<'a> {
    /// These endpoints with their names.
    pub(super) fn all(targets: &[&'a Target], name: impl Fn(&Target) -> String) -> Vec<Named<'a>> {
        targets.iter().map(|target| Named { target, name: name(target) }).collect()
    }

    /// Some of them, in the order in which they stand among all.
    pub(super) fn among<'n>(all: &'n [Named<'a>], some: &[&Target]) -> Vec<&'n Named<'a>> {
        let mut rest = all.iter();
        some.iter().filter_map(|target| rest.find(|named| std::ptr::eq(named.target, *target))).collect()
    }
}

impl PortView<'_> {
    /// Whether the policy `Cluster` is in use: also pods and the node itself, on their way to an outside address, are
    /// served by it.
    fn uses_cluster(&self) -> bool {
        !self.internal_local() || self.externally_accessible()
    }

    /// Whether the policy `Local` is in use.
    fn uses_local(&self) -> bool {
        self.internal_local() || (self.external_local() && self.externally_accessible())
    }

    /// The endpoints that this node uses, as kube-proxy from 1.24 on chooses them.
    pub fn reachable(&self, view: &View) -> Reachable<'_> {
        let ready = |local: bool| self.endpoints.iter().filter(move |target| target.ready && (target.local || !local));
        let ending = |local: bool| {
            self.endpoints.iter().filter(move |t| t.serving && t.terminating && !t.ready && (t.local || !local))
        };
        let zone = self.zone(view);
        let mut found = Reachable::default();
        if self.uses_cluster() {
            let near = |target: &&Target| zone.is_none_or(|zone| target.zones.iter().any(|hint| hint == zone));
            found.cluster = ready(false).filter(near).collect();
            if found.cluster.is_empty() {
                found.cluster = ending(false).collect();
            }
            found.any = !found.cluster.is_empty();
        }
        if self.uses_local() {
            found.any |= ready(false).chain(ending(false)).next().is_some();
            found.local = ready(true).collect();
            if found.local.is_empty() {
                found.local = ending(true).collect();
            }
        }
        found.all = match (self.uses_cluster(), self.uses_local()) {
            (_, false) => found.cluster.clone(),
            (false, true) => found.local.clone(),
            (true, true) if zone.is_none() && found.local.iter().all(|target| target.ready) => found.cluster.clone(),
            (true, true) => {
                let either = |target: &&Target| found.cluster.contains(target) || found.local.contains(target);
                self.endpoints.iter().filter(either).collect()
            }
        };
        found
    }

    /// The node's zone, if endpoints are to be chosen by it: the Service asks for it, every ready endpoint says for which
    /// zones it is, and one says this. On by default since 1.24.
    fn zone<'v>(&self, view: &'v View) -> Option<&'v str> {
        let zone = view.host.zone.as_deref().filter(|zone| !zone.is_empty())?;
        let hints = self.service.topology_hints.as_deref();
        let wanted = match view.config.minor {
            ..=23 => false,
            // The annotation `topology-mode` came with 1.27.
            24..=26 => matches!(hints?, "Auto" | "auto"),
            _ => !matches!(hints.or(self.service.topology_mode.as_deref())?, "" | "Disabled" | "disabled"),
        };
        let mut ready = self.endpoints.iter().filter(|target| target.ready).peekable();
        ready.peek()?;
        let ready: Vec<&Target> = ready.collect();
        let complete = ready.iter().all(|target| !target.zones.is_empty());
        let here = ready.iter().any(|target| target.zones.iter().any(|hint| hint == zone));
        (wanted && complete && here).then_some(zone)
    }
}
