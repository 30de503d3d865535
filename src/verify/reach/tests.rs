#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::compose;
use crate::plan::Datapath;
use crate::plan::netfilter::{Family, Match, Rule, TableName, Target};
use crate::topology::{self, Overrides, Source, builtin};

fn plan_of(source: Source) -> Plan {
    let cluster = topology::parse(&[source], &Overrides::default()).unwrap();
    compose::plan(&cluster, Datapath::Kernel).unwrap()
}

/// Three nodes with four pods on each.
fn larger(cni: &str) -> Plan {
    let text = format!(
        "apiVersion: minik.dev/v1
kind: Cluster
metadata: {{ name: many }}
spec:
  segments:
  - {{ name: lan, subnet: 10.1.0.0/16, router: 10.1.0.2 }}
  nodes:
  - {{ name: node-1, address: 10.1.1.1, nic: ens33 }}
  - {{ name: node-2, address: 10.1.1.2, nic: ens33 }}
  - {{ name: node-3, address: 10.1.1.3, nic: ens33 }}
  network: {{ cni: {cni} }}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: test }}
spec:
  replicas: 12
  selector: {{ matchLabels: {{ app: test }} }}
  template:
    metadata: {{ labels: {{ app: test }} }}
    spec: {{ containers: [{{ name: pause, image: pause }}] }}
"
    );
    plan_of(Source::new("many.yaml", text))
}

fn ends(plan: &Plan, family: Family) -> Vec<End<'_>> {
    plan.pods().filter_map(|ns| Some((ns, ns.address_in(family)?))).collect()
}

/// What is found out by sorts is what is found out pair by pair; gives how many pairs are answered, and the sorts.
fn agreed(plan: &Plan, family: Family) -> (usize, usize) {
    let ends = ends(plan, family);
    let reach = Reach { network: Network::new(plan), ends: &ends };
    let sorts = sorts(plan, &ends).unwrap();
    let (by_sorts, singly) = (reach.by_sorts(&sorts).unwrap(), reach.singly().unwrap());
    assert_eq!(by_sorts.as_ref(), Some(&singly), "{} {family:?}", plan.mode);
    (singly.iter().filter(|answered| **answered).count(), sorts.len())
}

const LARGER: [&str; 6] =
    ["calico-bgp", "calico-ipip", "calico-vxlan", "flannel-vxlan", "flannel-host-gw", "flannel-udp"];

#[test]
fn in_every_built_in_cluster_sorts_say_what_pairs_say() {
    for builtin in builtin::ALL {
        let plan = plan_of(builtin.source());
        for family in Family::BOTH {
            agreed(&plan, family);
        }
    }
}

#[test]
fn the_pods_of_a_node_are_of_one_sort() {
    for cni in LARGER {
        assert_eq!(agreed(&larger(cni), Family::Inet), (12 * 12, 3), "{cni}");
    }
}

#[test]
fn a_pod_that_a_rule_elsewhere_names_is_of_a_sort_of_its_own() {
    for cni in LARGER {
        let mut plan = larger(cni);
        let (pod, address) = ends(&plan, Family::Inet).first().map(|(ns, address)| ((*ns).clone(), *address)).unwrap();
        let Role::Pod { node, .. } = &pod.role else { unreachable!("it is a pod") };
        let other = plan.namespaces.iter_mut().find(|ns| ns.role == Role::Node && ns.name != *node).unwrap();
        let drop = Rule {
            matches: vec![Match::Source { net: address.into(), invert: false }],
            target: Some(Target::Drop),
            ..Rule::default()
        };
        other.table(TableName::Raw).chain("PREROUTING").rules.insert(0, drop);
        let (answered, sorts) = agreed(&plan, Family::Inet);
        // The pod and the four behind that rule, in both directions: what the one asks, and what it answers.
        assert_eq!((answered, sorts), (12 * 12 - 8, 4), "{cni}");
    }
}

#[test]
fn a_node_that_lacks_a_route_or_drops_what_comes_from_one_pod() {
    for cni in LARGER {
        let mut plan = larger(cni);
        let node = plan.namespaces.iter_mut().find(|ns| ns.role == Role::Node).unwrap();
        node.routes.retain(|route| [0, 32].contains(&route.dst.prefix_len()));
        let (answered, _) = agreed(&plan, Family::Inet);
        assert!(answered < 12 * 12, "{cni}");

        let mut plan = larger(cni);
        let (pod, address) = ends(&plan, Family::Inet).last().map(|(ns, address)| ((*ns).clone(), *address)).unwrap();
        let Role::Pod { node, .. } = &pod.role else { unreachable!("it is a pod") };
        let node = plan.namespaces.iter_mut().find(|ns| ns.name == *node).unwrap();
        let drop = Rule {
            matches: vec![Match::Source { net: address.into(), invert: false }],
            target: Some(Target::Drop),
            ..Rule::default()
        };
        node.table(TableName::Raw).chain("PREROUTING").rules.insert(0, drop);
        let (answered, sorts) = agreed(&plan, Family::Inet);
        assert!(answered <= 12 * 12 - 2 * 8, "{cni}: {answered}");
        assert_eq!(sorts, 3, "only its own node names it");
    }
}

#[test]
fn without_its_tunnel_a_node_is_alone() {
    let mut plan = plan_of(builtin::find("calico-ipip").unwrap().source());
    let node = plan.namespaces.iter_mut().find(|ns| ns.name == "node-1").unwrap();
    node.routes.retain(|route| route.dev.as_deref() != Some("tunl0"));
    let ends = ends(&plan, Family::Inet);
    let lost = all_pairs(&plan, &ends).unwrap().iter().filter(|answered| !**answered).count();
    assert_eq!(lost, 8, "two pods here and two there, both ways");
}
