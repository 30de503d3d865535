//! Changes of a live cluster: what is asked for changes, and everybody else keeps node and address.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use minik::cni;
use minik::error::Result;
use minik::plan::{Datapath, Plan};
use minik::topology::{self, Cluster, Edit, Memory, Overrides, Reference, Source, builtin};

/// A cluster that lives through changes, as a session does.
struct Life {
    source: Source,
    overrides: Overrides,
}

impl Life {
    fn of(mode: &str) -> Life {
        Life { source: builtin::find(mode).unwrap().source(), overrides: Overrides::default() }
    }

    fn now(&self) -> (Cluster, Plan) {
        self.with(&self.overrides).unwrap()
    }

    fn with(&self, overrides: &Overrides) -> Result<(Cluster, Plan)> {
        let cluster = topology::parse(std::slice::from_ref(&self.source), overrides)?;
        let plan = cni::plan(&cluster, Datapath::Kernel)?;
        Ok((cluster, plan))
    }

    fn memory(&self) -> Memory {
        let (cluster, plan) = self.now();
        cni::memory(&cluster, &plan).unwrap()
    }

    fn change(&mut self, edit: Edit) -> Result<()> {
        let mut next = self.overrides.clone();
        next.memory = self.memory();
        next.edits.push(edit);
        self.with(&next)?;
        self.overrides = next;
        Ok(())
    }

    /// Pods with node and address, `test-…-4x2zz` as `test:1` by its place among those of its owner.
    fn pods(&self) -> BTreeMap<String, String> {
        let memory = self.memory();
        let line = |(key, kept): (&String, &topology::Kept)| {
            (key.clone(), format!("{} {}", kept.node, kept.address.map(|ip| ip.to_string()).unwrap_or_default()))
        };
        memory.pods.iter().map(line).collect()
    }
}

fn object(kind: &str, name: &str) -> Reference {
    Reference { kind: kind.into(), namespace: "default".into(), name: name.into() }
}

fn apply(text: &str) -> Edit {
    Edit::Apply { name: "more.yaml".into(), text: text.into(), namespace: "default".into() }
}

const POD: &str = "{apiVersion: v1, kind: Pod, metadata: {name: extra}, spec: {containers: [{name: c, image: nginx}]}}";

#[test]
fn a_new_pod_gets_the_next_address_and_moves_nobody() {
    let mut life = Life::of("calico-ipip");
    let before = life.pods();
    life.change(apply(POD)).unwrap();
    let mut after = life.pods();
    assert_eq!(after.remove("default/extra").unwrap(), "node-1 10.100.84.131");
    assert_eq!(after, before);
}

#[test]
fn addresses_that_came_back_are_given_again_last() {
    let mut life = Life::of("calico-ipip");
    let (first, was) = life.pods().into_iter().find(|(_, has)| has.starts_with("node-1")).unwrap();
    let name = first.trim_start_matches("default/").to_owned();
    life.change(Edit::Delete { object: object("Pod", &name) }).unwrap();
    let after = life.pods();
    assert!(!after.contains_key(&first), "{after:?}");
    assert_eq!(after.len(), 4, "its controller makes another one: {after:?}");
    assert!(after.values().all(|has| *has != was), "Calico's queue gives {was} last: {after:?}");
}

#[test]
fn deleting_a_controller_leaves_the_pods_behind_it_alone() {
    let mut life = Life::of("calico-ipip");
    let before = life.pods();
    life.change(Edit::Delete { object: object("Deployment", "test") }).unwrap();
    assert_eq!(life.pods(), before.into_iter().filter(|(key, _)| !key.contains("test-")).collect());
}

#[test]
fn scaling_up_and_down_again_is_as_before() {
    let mut life = Life::of("calico-ipip");
    let before = life.pods();
    life.change(Edit::Scale { object: object("Deployment", "test"), replicas: 6 }).unwrap();
    let more = life.pods();
    assert_eq!(more.len(), 7);
    assert!(before.iter().all(|(key, has)| more.get(key) == Some(has)));
    life.change(Edit::Scale { object: object("Deployment", "test"), replicas: 3 }).unwrap();
    assert_eq!(life.pods(), before);
}

#[test]
fn applying_the_same_again_changes_nothing_and_another_template_makes_other_pods() {
    let mut life = Life::of("calico-ipip");
    let before = life.pods();
    let text = life.source.text.clone();
    let own = text.split("\n---\n").nth(1).unwrap().to_owned();
    life.change(apply(&own)).unwrap();
    assert_eq!(life.pods(), before);
    life.change(apply(&own.replace("image: busybox", "image: nginx"))).unwrap();
    let after = life.pods();
    assert_eq!(after.len(), before.len());
    assert_eq!(after.keys().filter(|key| before.contains_key(*key)).collect::<Vec<_>>(), ["default/two-containers"]);
}

#[test]
fn a_node_goes_with_its_pods_and_controllers_make_others_elsewhere() {
    let mut life = Life::of("calico-ipip");
    let before = life.pods();
    let node = Reference { kind: "Node".into(), namespace: String::new(), name: "node-2".into() };
    life.change(Edit::Delete { object: node.clone() }).unwrap();
    let after = life.pods();
    assert!(after.values().all(|has| has.starts_with("node-1 ")), "{after:?}");
    assert_eq!(after.keys().filter(|key| key.contains("test-")).count(), 3);
    let stayed = before.iter().filter(|(_, has)| has.starts_with("node-1 "));
    assert!(stayed.clone().count() > 0 && stayed.clone().all(|(key, has)| after.get(key) == Some(has)));
    let last = Edit::Delete { object: Reference { name: "node-1".into(), ..node } };
    assert!(life.change(last).unwrap_err().to_string().contains("last node"));
}

#[test]
fn labels_of_objects_and_of_generated_pods_change() {
    let mut life = Life::of("calico-ipip");
    let key = life.pods().into_keys().find(|key| key.contains("test-")).unwrap();
    let name = key.trim_start_matches("default/").to_owned();
    let labels = BTreeMap::from([("app".to_owned(), None), ("tier".to_owned(), Some("web".to_owned()))]);
    for pod in [name.as_str(), "two-containers"] {
        life.change(Edit::Label { object: object("Pod", pod), labels: labels.clone() }).unwrap();
        let (cluster, _) = life.now();
        let pod = cluster.pods.iter().find(|known| known.name == pod).unwrap();
        assert!(!pod.labels.contains_key("app") && pod.labels["tier"] == "web", "{pod:?}");
    }
}

#[test]
fn what_is_not_there_or_cannot_be_is_an_error_and_changes_nothing() {
    let mut life = Life::of("calico-ipip");
    let before = life.overrides.clone();
    let cases = [
        (Edit::Delete { object: object("Deployment", "absent") }, "there is no Deployment `absent`"),
        (Edit::Scale { object: object("Deployment", "absent"), replicas: 1 }, "there is no Deployment `absent`"),
        (Edit::Scale { object: object("Pod", "two-containers"), replicas: 1 }, "has no number of replicas"),
        (apply("{apiVersion: minik.dev/v1, kind: Cluster, spec: {segments: [], nodes: []}}"), "cannot be applied"),
        (apply(&POD.replace("nginx}", "nginx, imagee: x}")), "more.yaml:1:"),
    ];
    for (edit, message) in cases {
        let error = life.change(edit).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        assert_eq!(life.overrides, before);
    }
}

#[test]
fn a_line_s_values_are_at_both_of_its_ends_and_unnamed_ones_stay() {
    let mut life = Life::of("calico-ipip");
    let qdiscs = |life: &Life| -> Vec<String> {
        let (_, plan) = life.now();
        let links = plan.namespaces.iter().flat_map(|ns| ns.links.iter().map(move |link| (ns, link)));
        let words = |(ns, link): (&minik::plan::Namespace, &minik::plan::Link)| {
            Some(format!("{}/{} {} {}", ns.name, link.name, link.qdisc.as_ref()?, link.mtu?))
        };
        links.filter_map(words).collect()
    };
    let line = |delay: Option<&str>, loss: Option<&str>, mtu| Edit::Line {
        host: "node-2".into(),
        change: Some(topology::line_change(delay, loss, None, mtu).unwrap()),
    };
    life.change(line(Some("10ms"), None, None)).unwrap();
    life.change(line(None, Some("1%"), Some(1400))).unwrap();
    let netem = "netem delay 10000us loss 1% 1400";
    assert_eq!(qdiscs(&life), [format!("switch/node-2 {netem}"), format!("node-2/ens33 {netem}")]);
    let (_, plan) = life.now();
    let tunnel = plan.namespace("node-2").unwrap().link("tunl0").unwrap();
    assert_eq!(tunnel.mtu, Some(1480), "no daemon sees a NIC's MTU change");
    life.change(Edit::Line { host: "node-2".into(), change: None }).unwrap();
    assert_eq!(qdiscs(&life), [] as [String; 0]);
    let nobody = Edit::Line { host: "node-3".into(), change: None };
    assert_eq!(life.change(nobody).unwrap_err().hint_text(), Some("did you mean `node-1`?"));
}

const WEB: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: nginx}]}
";

#[test]
fn a_pod_whose_labels_leave_its_controller_is_replaced_and_comes_back() {
    let mut life = Life::of("calico-ipip");
    life.change(apply(WEB)).unwrap();
    let of_web = |life: &Life| -> Vec<(String, bool)> {
        let pods = life.now().0.pods.into_iter().filter(|pod| pod.name.starts_with("web-"));
        pods.map(|pod| (pod.name, pod.owner.is_some())).collect()
    };
    let before = of_web(&life);
    let first = object("Pod", &before[0].0);
    let label = |value: &str| {
        let labels = BTreeMap::from([("app".to_owned(), Some(value.to_owned()))]);
        Edit::Label { object: first.clone(), labels }
    };
    life.change(label("gone")).unwrap();
    let with_orphan = of_web(&life);
    assert_eq!(with_orphan.len(), 4, "it stays, and its controller makes another one: {with_orphan:?}");
    assert_eq!(with_orphan[0], (before[0].0.clone(), false), "nobody's any more");
    assert_eq!(with_orphan[1..3], before[1..3], "the others stay");
    assert!(with_orphan[3].1);
    assert_eq!(life.now().0.workloads.last().unwrap().replicas, 3);
    let adopted = life.overrides.clone();
    life.change(label("web")).unwrap();
    assert_eq!(of_web(&life), before, "it is adopted again, and the one too many goes");
    life.overrides = adopted;
    life.change(Edit::Delete { object: first }).unwrap();
    assert_eq!(of_web(&life), with_orphan[1..], "nobody replaces it, and the others stay");
}

/// The pods of controllers called `web`: name, node, and whether they are their controller's.
fn of_web(life: &Life) -> Vec<(String, String, bool)> {
    let pods = life.now().0.pods.into_iter().filter(|pod| pod.name.starts_with("web-"));
    pods.map(|pod| (pod.name, pod.node, pod.owner.is_some())).collect()
}

fn relabel(pod: &str, value: &str) -> Edit {
    let labels = BTreeMap::from([("app".to_owned(), Some(value.to_owned()))]);
    Edit::Label { object: object("Pod", pod), labels }
}

#[test]
fn who_left_a_controller_stays_when_it_is_scaled() {
    let mut life = Life::of("calico-ipip");
    life.change(apply(WEB)).unwrap();
    let last = of_web(&life).pop().unwrap();
    life.change(relabel(&last.0, "gone")).unwrap();
    for replicas in [1, 0, 2] {
        life.change(Edit::Scale { object: object("Deployment", "web"), replicas }).unwrap();
        let now = of_web(&life);
        assert_eq!(now.len(), replicas as usize + 1, "{now:?}");
        assert!(now.contains(&(last.0.clone(), last.1.clone(), false)), "{now:?}");
    }
    life.change(Edit::Delete { object: object("Pod", &last.0) }).unwrap();
    assert!(of_web(&life).iter().all(|pod| pod.2 && pod.0 != last.0));
}

#[test]
fn labels_of_namespaces_change_with_and_without_a_document() {
    let mut life = Life::of("calico-ipip");
    life.change(apply("{apiVersion: v1, kind: Namespace, metadata: {name: team}}")).unwrap();
    for name in ["default", "team"] {
        let labels = BTreeMap::from([("tier".to_owned(), Some("web".to_owned()))]);
        let object = Reference { kind: "Namespace".into(), namespace: String::new(), name: name.into() };
        life.change(Edit::Label { object, labels }).unwrap();
        let namespaces = life.now().0.namespaces;
        let own = namespaces.iter().find(|own| own.name == name).unwrap();
        assert_eq!((own.labels["tier"].as_str(), own.labels.len()), ("web", 2));
    }
}

#[test]
fn endpoints_go_with_their_service() {
    let mut life = Life::of("calico-ipip");
    let service = "{apiVersion: v1, kind: Service, metadata: {name: outside}, spec: {ports: [{port: 80}]}}";
    let endpoints = "{apiVersion: v1, kind: Endpoints, metadata: {name: outside}, subsets: [{addresses: [{ip: \
                     10.1.10.8}], ports: [{port: 80}]}]}";
    life.change(apply(&format!("{service}\n---\n{endpoints}"))).unwrap();
    assert_eq!(life.now().0.slices.len(), 1);
    life.change(Edit::Delete { object: object("Service", "outside") }).unwrap();
    assert_eq!(life.now().0.slices.len(), 0);
    let asked = [object("Endpoints", "outside")];
    let (files, edits) = (std::slice::from_ref(&life.source), &life.overrides.edits);
    assert!(topology::written(&mut topology::Reading::default(), files, edits, &asked).unwrap().is_empty());
    life.change(Edit::Delete { object: object("Endpoints", "outside") }).unwrap();
    life.change(apply(service)).unwrap();
    assert_eq!(life.now().0.slices.len(), 0, "they do not come back");
}

#[test]
fn a_node_whose_pod_leaves_its_daemon_set_gets_another_one() {
    let mut life = Life::of("calico-ipip");
    life.change(apply(&WEB.replace("Deployment", "DaemonSet").replace("  replicas: 3\n", ""))).unwrap();
    let before = of_web(&life);
    assert_eq!(before.len(), 2);
    let (first, node, _) = before[0].clone();
    life.change(relabel(&first, "gone")).unwrap();
    let with_orphan = of_web(&life);
    assert_eq!(with_orphan.len(), 3, "{with_orphan:?}");
    assert_eq!(with_orphan[0], (first.clone(), node.clone(), false), "it stays, nobody's any more");
    assert_eq!((&with_orphan[1].1, with_orphan[1].2), (&node, true), "its node has another one");
    assert_eq!(with_orphan[2], before[1], "the other node's stays");
    assert_eq!(life.now().0.workloads.last().unwrap().replicas, 2);
    let with = life.overrides.clone();
    life.change(relabel(&first, "web")).unwrap();
    assert_eq!(of_web(&life), before, "it is adopted again, and the younger one goes");
    life.overrides = with;
    life.change(Edit::Delete { object: object("Pod", &first) }).unwrap();
    assert_eq!(of_web(&life), with_orphan[1..], "nobody replaces it");
}

#[test]
fn a_stateful_set_waits_for_the_name_of_a_pod_that_left_it() {
    let mut life = Life::of("calico-ipip");
    life.change(apply(&WEB.replace("Deployment", "StatefulSet"))).unwrap();
    let before = of_web(&life);
    life.change(relabel("web-1", "gone")).unwrap();
    let mut with_orphan = before.clone();
    with_orphan[1].2 = false;
    assert_eq!(of_web(&life), with_orphan, "its name is taken, so that there is nobody in its place");
    assert_eq!(life.now().0.workloads.last().unwrap().replicas, 3, "which is asked for all the same");
    for replicas in [5, 2] {
        life.change(Edit::Scale { object: object("StatefulSet", "web"), replicas }).unwrap();
        assert_eq!(of_web(&life), with_orphan, "to {replicas}: the controller does nothing before it has web-1");
    }
    let stuck = life.overrides.clone();
    life.change(Edit::Delete { object: object("Pod", "web-1") }).unwrap();
    assert_eq!(of_web(&life), before[..2], "now it makes web-1, and web-2 is one too many");
    assert!(life.now().0.pods.iter().any(|pod| pod.name == "web-1" && pod.labels["app"] == "web"));
    life.overrides = stuck;
    life.change(Edit::Scale { object: object("StatefulSet", "web"), replicas: 1 }).unwrap();
    assert_eq!(of_web(&life), with_orphan[..2], "nobody waits for web-1 any more, and it is nobody's to delete");
    life.change(relabel("web-1", "web")).unwrap();
    assert_eq!(of_web(&life), before[..1], "adopted again, it is one too many");
}

#[test]
fn a_pod_goes_where_its_host_port_is_free() {
    let mut life = Life::of("calico-ipip");
    let pod = |name: &str, host: &str| {
        apply(&format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{{host}containers: \
             [{{name: c, image: nginx, ports: [{{containerPort: 80, {}}}]}}]}}}}",
            if host.is_empty() { "hostPort: 80" } else { "name: web" }
        ))
    };
    let node = |life: &Life, name: &str| life.pods()[&format!("default/{name}")].split(' ').next().unwrap().to_owned();
    life.change(pod("a", "")).unwrap();
    life.change(apply(&POD.replace("extra", "between"))).unwrap();
    life.change(pod("b", "hostNetwork: true, ")).unwrap();
    assert_ne!(node(&life, "a"), node(&life, "b"), "what listens in a node's own network has the node's port, too");
    let error = life.change(pod("c", "")).unwrap_err().to_string();
    assert!(error.contains("port 80/TCP of node"), "{error}");
}

#[test]
fn a_host_port_at_another_address_of_the_node_is_another_one() {
    let mut life = Life::of("calico-ipip");
    let pod = |name: &str, ip: &str| {
        apply(&POD.replace("extra", name).replace(
            "image: nginx",
            &format!("image: nginx, ports: [{{containerPort: 80, hostPort: 80, hostIP: {ip}}}]"),
        ))
    };
    for (name, ip) in [("a", "127.0.0.1"), ("b", "127.0.0.1"), ("c", "10.1.10.9"), ("d", "10.1.10.9")] {
        life.change(pod(name, ip)).unwrap();
    }
    assert!(life.change(pod("e", "0.0.0.0")).is_err(), "all addresses are the others', too");
    assert!(life.change(pod("e", "10.1.10.9")).is_err());
}

#[test]
fn what_a_live_service_was_given_is_its_own() {
    let mut life = Life::of("calico-ipip");
    let service = |name: &str, more: &str, port: &str| {
        apply(&format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{type: NodePort, {more}selector: \
             {{app: web}}, ports: [{{port: 80{port}}}]}}}}"
        ))
    };
    life.change(service("web", "", "")).unwrap();
    let web = life.now().0.services.last().unwrap().clone();
    let (ip, port) = (web.cluster_ips[0], web.ports[0].node_port.unwrap());
    let refused = |life: &mut Life, edit: Edit| life.change(edit).unwrap_err().to_string();
    let error = refused(&mut life, service("thief", &format!("clusterIP: {ip}, "), ""));
    assert!(error.contains(&format!("the address {ip} is already allocated to default/web")), "{error}");
    let error = refused(&mut life, service("thief", "", &format!(", nodePort: {port}")));
    assert!(error.contains(&format!("the node port {port} is already allocated to default/web")), "{error}");
    let error = refused(&mut life, service("web", "clusterIP: 10.96.77.7, ", ""));
    assert!(error.contains(&format!("the address of default/web is {ip} and cannot become 10.96.77.7")), "{error}");
    life.change(service("web", &format!("clusterIP: {ip}, "), ", nodePort: 30007")).unwrap();
    life.change(Edit::Delete { object: object("Service", "web") }).unwrap();
    life.change(service("thief", &format!("clusterIP: {ip}, "), "")).unwrap();
}

#[test]
fn a_list_of_one_kind_is_its_items() {
    let list = "{apiVersion: v1, kind: ServiceList, metadata: {resourceVersion: '7'}, items: [{metadata: {name: a}, \
                spec: {ports: [{port: 80}]}}, {apiVersion: v1, kind: Service, metadata: {name: b}, spec: {ports: [{port: \
                80}]}}]}";
    let mut life = Life::of("calico-ipip");
    life.change(apply(list)).unwrap();
    let names: Vec<String> = life.now().0.services.into_iter().map(|service| service.name).collect();
    assert_eq!(names, ["a", "b"]);
    let objects = topology::objects(&Source::new("list.yaml", list), "default").unwrap();
    assert_eq!(objects, [object("Service", "a"), object("Service", "b")]);
}

#[test]
fn a_slice_that_is_its_controller_s_is_written_over() {
    let slice = |manager: &str| {
        apply(&format!(
            "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: web-1, labels: {{\
             kubernetes.io/service-name: web, endpointslice.kubernetes.io/managed-by: {manager}}}}}, addressType: IPv4, \
             endpoints: [{{addresses: [10.9.9.9]}}], ports: [{{port: 80}}]}}"
        ))
    };
    let service = |selector: &str| {
        let head = "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {";
        apply(&format!("{head}{selector}ports: [{{port: 80}}]}}}}"))
    };
    for (manager, selector, counts) in [
        ("endpointslice-controller.k8s.io", "selector: {app: web}, ", false),
        ("endpointslice-controller.k8s.io", "", true),
        ("endpointslicemirroring-controller.k8s.io", "", false),
        ("staff", "selector: {app: web}, ", true),
    ] {
        let mut life = Life::of("calico-ipip");
        life.change(slice(manager)).unwrap();
        life.change(service(selector)).unwrap();
        let written = life.now().0.slices;
        assert_eq!(written.len(), usize::from(counts), "{manager}, {selector:?}");
        assert!(written.iter().all(|slice| slice.managed_by.as_deref() == Some(manager)));
    }
}

#[test]
fn what_is_written_and_not_deleted_is_there() {
    let life = Life::of("calico-ipip");
    let (web, test) = (object("Service", "web"), object("Deployment", "test"));
    let service = "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80}]}}";
    let mut edits = vec![apply(service)];
    let asked = [web.clone(), test.clone(), object("Service", "nobody")];
    let written = |edits: &[Edit]| {
        let files = std::slice::from_ref(&life.source);
        topology::written(&mut topology::Reading::default(), files, edits, &asked)
            .unwrap()
            .into_iter()
            .collect::<Vec<_>>()
    };
    assert_eq!(written(&edits), [test.clone(), web.clone()]);
    edits.push(Edit::Delete { object: web });
    assert_eq!(written(&edits), [test]);
}

#[test]
fn a_controller_s_selector_is_what_it_was_made_with() {
    let mut life = Life::of("calico-ipip");
    life.change(apply(WEB)).unwrap();
    let error = life.change(apply(&WEB.replace("app: web}", "app: other}"))).unwrap_err().to_string();
    assert!(error.contains("the selector of Deployment default/web cannot change\n --> more.yaml:6:14"), "{error}");
    life.change(apply(&WEB.replace("labels: {app: web}", "labels: {app: web, tier: front}"))).unwrap();
    life.change(Edit::Delete { object: object("Deployment", "web") }).unwrap();
    life.change(apply(&WEB.replace("app: web}", "app: other}"))).unwrap();
}

#[test]
fn a_port_of_another_name_keeps_its_node_port_and_one_of_another_number_under_its_name() {
    let mut life = Life::of("calico-ipip");
    let given = |life: &mut Life, port: &str| {
        let head = "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {type: NodePort, selector: {app: web}";
        life.change(apply(&format!("{head}, ports: [{{{port}}}]}}}}"))).unwrap();
        life.now().0.services.last().unwrap().ports[0].node_port
    };
    let first = given(&mut life, "port: 80");
    assert!(first.is_some());
    assert_eq!(given(&mut life, "port: 80, name: http"), first);
    assert_eq!(given(&mut life, "port: 81, name: http"), first);
    assert_ne!(given(&mut life, "port: 82, name: web"), first, "that is another port");
}
