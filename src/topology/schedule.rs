//! From controllers to pods, and a node for each. The real scheduler weighs nodes; here a pod's place depends on the input
//! alone, so that the same file gives the same cluster every time.

use std::collections::{BTreeMap, BTreeSet};

use super::complaint::{Checked, Complaint, quote};
use super::past::{Changed, Past, relabel};
use super::pod_names::{fnv1a, generated, template_hash};
use super::pod_network::{HostPort, published};
use super::pods::{Chosen, PodTemplate};
use super::rules;
use super::source::Span;
use super::workloads::{Order, PODS_MAX};
use super::{Memory, Node, Pod, Workload, WorkloadKind};

/// A pod with the place of the object that it comes from.
pub(super) type Placed = (Pod, Span);

/// Turns every order into pods on nodes. Placement is round robin over the nodes in input order with one
/// counter for the whole cluster; pods that name their node and DaemonSets do not move it.
///
/// A pod of `memory` stays where it is. One whose node is gone is gone too, with its name, if a controller made it.
pub(super) fn place(
    orders: &[Order],
    nodes: &[Node],
    past: &Past,
    memory: &Memory,
) -> Checked<(Vec<Workload>, Vec<Placed>)> {
    let (names, pods, published) = (BTreeSet::new(), Vec::new(), BTreeMap::new());
    let mut schedule = Schedule { nodes, past, memory, next: 0, names, pods, published };
    let mut workloads = Vec::new();
    // Names that are given are taken before any is generated.
    for order in orders.iter().filter(|order| order.kind.is_none()) {
        schedule.names.insert((order.namespace.clone(), order.name.clone()));
    }
    for order in orders {
        let before = schedule.pods.len();
        schedule.fill(order)?;
        if schedule.pods.len() > PODS_MAX {
            return Err(Complaint::at(order.name_span, format!("more than {PODS_MAX} pods are asked for up to here"))
                .hint("ask for fewer replicas"));
        }
        if let Some(kind) = order.kind {
            let own = schedule.pods[before..].iter().filter(|(pod, _)| pod.owner.is_some()).count();
            let per_node = u32::try_from(own).unwrap_or(u32::MAX);
            workloads.push(Workload {
                kind,
                namespace: order.namespace.clone(),
                name: order.name.clone(),
                replicas: if kind == WorkloadKind::DaemonSet { per_node } else { order.replicas },
                labels: order.labels.clone(),
            });
        }
    }
    Ok((workloads, schedule.pods))
}

/// The pods so far, and which node is next.
struct Schedule<'c> {
    nodes: &'c [Node],
    past: &'c Past,
    memory: &'c Memory,
    next: usize,
    names: BTreeSet<(String, String)>,
    pods: Vec<Placed>,
    /// For each node, the pods that want a port of it.
    published: BTreeMap<usize, Vec<usize>>,
}

/// What a number of a controller's pods stands for.
enum Numbered {
    /// A pod of this name.
    Pod(String),
    /// A pod of this name that is not the controller's own any more: its labels were changed.
    Orphan(String),
    /// One that was no more its own when it was deleted.
    Gone,
}

impl Schedule<'_> {
    fn fill(&mut self, order: &Order) -> Checked<()> {
        let candidates = candidates(&order.template, self.nodes)?;
        let hash = template_hash(&order.template);
        match order.kind {
            None if self.died(&order.namespace, &order.name) => {}
            None => {
                let node = self.turn(order, &candidates);
                self.add(order, order.name.clone(), node, &[]);
            }
            Some(WorkloadKind::Deployment) => {
                let replica_set = format!("{}-{hash}", order.name);
                self.fill_replica_set(order, &candidates, &replica_set, &[("pod-template-hash", &hash)]);
            }
            Some(WorkloadKind::ReplicaSet) => self.fill_replica_set(order, &candidates, &order.name, &[]),
            Some(WorkloadKind::DaemonSet) => {
                let labels = [("controller-revision-hash", hash.as_str()), ("pod-template-generation", "1")];
                for node in &candidates {
                    self.fill_node(order, *node, &labels);
                }
            }
            Some(WorkloadKind::StatefulSet) => self.fill_stateful_set(order, &candidates, &hash)?,
        }
        Ok(())
    }

    /// As many pods as are asked for, and those that were its own before somebody changed their labels.
    fn fill_replica_set(&mut self, order: &Order, candidates: &[usize], owner: &str, labels: &[(&str, &str)]) {
        let (mut own, mut index) = (0, 0);
        while own < order.replicas {
            let name = match self.numbered(order, owner, index, labels) {
                Numbered::Gone => None,
                Numbered::Orphan(name) => Some(name),
                Numbered::Pod(name) => {
                    own += 1;
                    Some(name)
                }
            };
            if let Some(name) = name {
                let node = self.turn(order, candidates);
                self.add(order, name, node, labels);
            }
            index += 1;
        }
        self.keep_orphans(order, owner, labels);
    }

    /// Pods that are a ReplicaSet's no more, and whose number it does not reach: nobody deletes them when it is scaled.
    fn keep_orphans(&mut self, order: &Order, owner: &str, labels: &[(&str, &str)]) {
        let (past, memory) = (self.past, self.memory);
        let first = (order.namespace.clone(), format!("{owner}-"));
        let own = past
            .labels
            .range(first.clone()..)
            .take_while(|((ns, name), _)| *ns == first.0 && name.starts_with(&first.1));
        for (id, changed) in own {
            // Names of this owner have nothing but their suffix behind it.
            let is_named = !id.1[first.1.len()..].contains('-');
            let stays = is_named && !self.is_used_up(id) && memory.pods.contains_key(&format!("{}/{}", id.0, id.1));
            if stays && self.is_orphan(order, Some(changed), labels) && self.names.insert(id.clone()) {
                // It stays on its node, which is remembered.
                self.add(order, id.1.clone(), 0, labels);
            }
        }
    }

    /// A DaemonSet's pod on a node, and those that were so before somebody changed their labels.
    fn fill_node(&mut self, order: &Order, node: usize, labels: &[(&str, &str)]) {
        let mut index = fnv1a(&[self.nodes[node].name.as_bytes()]);
        loop {
            match self.numbered(order, &order.name, index, labels) {
                Numbered::Gone => {}
                Numbered::Orphan(name) => self.add(order, name, node, labels),
                Numbered::Pod(name) => return self.add(order, name, node, labels),
            }
            index = index.wrapping_add(1);
        }
    }

    /// Whether a pod is a controller's no more, by labels that were changed.
    fn is_orphan(&self, order: &Order, changed: Option<&Changed>, labels: &[(&str, &str)]) -> bool {
        let own = |chosen: &Chosen| chosen.has(&labels_of(order, changed, labels));
        changed.is_some_and(|changed| !changed.is_empty()) && !order.selector.as_ref().is_none_or(own)
    }

    /// Who has this number among a controller's pods.
    fn numbered(&mut self, order: &Order, owner: &str, index: u32, labels: &[(&str, &str)]) -> Numbered {
        if self.past.labels.is_empty() && self.past.deleted.values().all(Changed::is_empty) {
            return Numbered::Pod(self.generate(&order.namespace, owner, index));
        }
        for attempt in 0.. {
            let id = (order.namespace.clone(), generated(&order.namespace, owner, index, attempt));
            let changed = self.past.labels.get(&id).or(self.past.deleted.get(&id));
            match (self.is_used_up(&id), self.is_orphan(order, changed, labels)) {
                (true, true) => return Numbered::Gone,
                (true, false) => {}
                (false, _) if self.names.contains(&id) => {}
                (false, true) => {
                    self.names.insert(id.clone());
                    return Numbered::Orphan(id.1);
                }
                (false, false) => break,
            }
        }
        Numbered::Pod(self.generate(&order.namespace, owner, index))
    }

    /// A StatefulSet's pods in their order. One that is its own no more keeps its name, so that the controller fails to make
    /// another, again and again, and does nothing else before (pkg/controller/statefulset, `updateStatefulSet`): who is
    /// there stays, and nobody comes.
    fn fill_stateful_set(&mut self, order: &Order, candidates: &[usize], hash: &str) -> Checked<()> {
        let mut is_stuck = false;
        for index in 0..order.replicas.max(self.ordinals(order)) {
            let name = format!("{}-{index}", order.name);
            let revision = format!("{}-{hash}", order.name);
            let labels = [
                ("apps.kubernetes.io/pod-index", index.to_string()),
                ("controller-revision-hash", revision),
                ("statefulset.kubernetes.io/pod-name", name.clone()),
            ];
            let labels: Vec<(&str, &str)> = labels.iter().map(|(key, value)| (*key, value.as_str())).collect();
            let id = (order.namespace.clone(), name.clone());
            let is_orphan = self.is_orphan(order, self.past.labels.get(&id), &labels);
            let stays = self.memory.pods.contains_key(&format!("{}/{name}", order.namespace));
            let is_asked = index < order.replicas && (stays || !is_stuck);
            if !is_asked && !(stays && (is_stuck || is_orphan) && !self.names.contains(&id)) {
                continue;
            }
            if !rules::is_dns_label(&name) {
                return Err(Complaint::at(
                    order.name_span,
                    format!("{} is no name for a pod of a StatefulSet", quote(&name)),
                )
                .hint("its pods' names are host names: at most 63 characters with the number, no dots"));
            }
            if !self.names.insert(id) {
                return Err(Complaint::at(order.name_span, format!("another pod is called `{name}` already"))
                    .hint("give the StatefulSet or the other pod another name"));
            }
            is_stuck |= is_asked && is_orphan;
            let node = self.turn(order, candidates);
            self.add(order, name, node, &labels);
        }
        Ok(())
    }

    /// How many ordinals a StatefulSet has to look through for pods that were there and may stay.
    fn ordinals(&self, order: &Order) -> u32 {
        if self.past.labels.is_empty() {
            return 0;
        }
        let prefix = format!("{}/{}-", order.namespace, order.name);
        let known = self.memory.pods.range(prefix.clone()..).map_while(|(key, _)| key.strip_prefix(&prefix));
        let ordinals = known.filter_map(|rest| rest.parse::<u32>().ok());
        ordinals.filter(|ordinal| (*ordinal as usize) < PODS_MAX).max().map_or(0, |last| last + 1)
    }

    /// The next node in turn among the candidates, which are in input order and at least one.
    fn turn(&mut self, order: &Order, candidates: &[usize]) -> usize {
        let first = candidates.first().copied().unwrap_or(0);
        if order.template.node_name.is_some() {
            return first;
        }
        let wanted: Vec<HostPort> = published(&order.template.network, &order.template.containers).collect();
        let free = candidates.iter().copied().filter(|node| self.has_free(*node, &wanted));
        let free: Vec<usize> = free.collect();
        // Where no node has the ports free, the place does not matter: two pods with one port are an error.
        let node = free.iter().copied().find(|node| *node >= self.next).or(free.first().copied()).unwrap_or(first);
        self.next = (node + 1) % self.nodes.len().max(1);
        node
    }

    /// Whether a node has all of these ports to give.
    fn has_free(&self, node: usize, wanted: &[HostPort]) -> bool {
        let pods = self.published.get(&node).into_iter().flatten().map(|index| &self.pods[*index].0);
        let mut taken = pods.flat_map(|pod| published(&pod.network, &pod.containers));
        wanted.is_empty() || !taken.any(|taken| wanted.iter().any(|port| port.excludes(&taken)))
    }

    /// A name that no pod of the namespace has: the owner's with five letters that depend on it and `index`.
    fn generate(&mut self, namespace: &str, owner: &str, index: u32) -> String {
        let mut attempt = 0u32;
        loop {
            let id = (namespace.to_owned(), generated(namespace, owner, index, attempt));
            if !self.is_used_up(&id) && self.names.insert(id.clone()) {
                return id.1;
            }
            attempt += 1;
        }
    }

    /// Whether a pod of this name was there, and will not be again.
    fn is_used_up(&self, id: &(String, String)) -> bool {
        self.past.deleted.contains_key(id) || self.died(&id.0, &id.1)
    }

    /// Whether a pod of this name was there and went with its node.
    fn died(&self, namespace: &str, name: &str) -> bool {
        let kept = self.memory.pods.get(&format!("{namespace}/{name}"));
        kept.is_some_and(|kept| !self.nodes.iter().any(|node| node.name == kept.node))
    }

    fn add(&mut self, order: &Order, name: String, node: usize, labels: &[(&str, &str)]) {
        let template = &order.template;
        let id = (order.namespace.clone(), name.clone());
        let all = labels_of(order, self.past.labels.get(&id), labels);
        let is_own = order.selector.as_ref().is_none_or(|chosen| chosen.has(&all));
        let kept = self.memory.pods.get(&format!("{}/{name}", order.namespace));
        let kept = kept.and_then(|kept| self.nodes.iter().position(|node| node.name == kept.node));
        let node = kept.unwrap_or(node);
        // The StatefulSet's controller gives its pods their names as host names.
        let ordinal = (order.kind == Some(WorkloadKind::StatefulSet)).then(|| name.clone());
        let hostname = ordinal.or_else(|| template.hostname.clone());
        let ready = !self.past.unready.contains(&id);
        let pod = Pod {
            ready,
            namespace: order.namespace.clone(),
            name,
            node: self.nodes.get(node).map(|node| node.name.clone()).unwrap_or_default(),
            labels: all,
            service_account: template.service_account.clone(),
            owner: order.kind.filter(|_| is_own).map(|kind| (kind, order.name.clone())),
            network: template.network.clone(),
            containers: template.containers.clone(),
            hostname,
            subdomain: template.subdomain.clone(),
            dns: template.dns.clone(),
        };
        if published(&pod.network, &pod.containers).next().is_some() {
            self.published.entry(node).or_default().push(self.pods.len());
        }
        self.pods.push((pod, order.name_span));
    }
}

/// A pod's labels: its template's, these, and what was changed since.
fn labels_of(order: &Order, changed: Option<&Changed>, more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut all = order.template.labels.clone();
    all.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    changed.into_iter().for_each(|changed| relabel(&mut all, changed));
    all
}

/// Indexes of the nodes that a pod may be on.
fn candidates(template: &PodTemplate, nodes: &[Node]) -> Checked<Vec<usize>> {
    if let Some((name, span)) = &template.node_name {
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        let index = names.iter().position(|known| known == name).ok_or_else(|| {
            Complaint::at(*span, format!("there is no node {}", quote(name))).hint(rules::one_of(name, &names))
        })?;
        return Ok(vec![index]);
    }
    let mut left: Vec<usize> = (0..nodes.len()).collect();
    for (key, value, span) in &template.node_selector {
        left.retain(|index| nodes[*index].labels.get(key) == Some(value));
        if left.is_empty() {
            let message = format!("no node has the label {key}={value} and those before it");
            return Err(Complaint::at(*span, message).hint(label_cure(key, value, nodes)));
        }
    }
    Ok(left)
}

/// Which values a label has on the nodes.
fn label_cure(key: &str, wanted: &str, nodes: &[Node]) -> String {
    let values: BTreeSet<&str> = nodes.iter().filter_map(|node| node.labels.get(key)).map(String::as_str).collect();
    if values.is_empty() {
        return format!("give a node the label: `labels: {{{key}: {wanted}}}`");
    }
    let values: Vec<&str> = values.into_iter().take(20).collect();
    rules::one_of(wanted, &values)
}
