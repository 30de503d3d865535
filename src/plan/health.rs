//! What a node's kube-proxy answers to load balancers by HTTP. PURE.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The HTTP servers of a node's kube-proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Minor version of Kubernetes 1.x, on which the answers depend.
    pub minor: u8,
    /// The node's addresses that answer for Services; none in particular is all of them, of both families.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// The Services that load balancers ask after, by namespace and name.
    pub checks: Vec<HealthCheck>,
}

impl Health {
    /// The versions of kube-proxy whose own output is recorded in tests/kube-proxy, and compared; those between follow
    /// their sources.
    pub const RECORDED: [u8; 2] = [20, 30];

    /// Those of the ipvs mode.
    pub const RECORDED_IPVS: [u8; 1] = [20];

    /// Adds those of kube-proxy's other family: its addresses, and the checks of Services that have this family alone.
    pub fn join(&mut self, Health { addresses, checks, .. }: Health) {
        self.addresses.extend(addresses);
        let service = |check: &HealthCheck| (check.namespace.clone(), check.name.clone());
        for check in checks {
            if let Err(place) = self.checks.binary_search_by_key(&service(&check), service) {
                self.checks.insert(place, check);
            }
        }
    }
}

/// A Service with `externalTrafficPolicy: Local`: whether this node is worth its traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// The Service's Kubernetes namespace.
    pub namespace: String,
    /// The Service's name.
    pub name: String,
    /// The node's port that answers (`healthCheckNodePort`).
    pub port: u16,
    /// How many ready endpoints this node has.
    pub local: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_of_both_families_is_asked_after_once_and_one_of_ipv6_alone_too() {
        let check =
            |name: &str, local| HealthCheck { namespace: "default".into(), name: name.into(), port: 30900, local };
        let mut health = Health { minor: 30, addresses: Vec::new(), checks: vec![check("b", 2), check("d", 1)] };
        let checks = vec![check("a", 3), check("b", 0), check("c", 4)];
        health.join(Health { minor: 30, addresses: Vec::new(), checks });
        assert_eq!(health.checks, [check("a", 3), check("b", 2), check("c", 4), check("d", 1)]);
    }
}
