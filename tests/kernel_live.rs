//! Live changes against a real kernel: apply, delete, scale, label, switch, link; foreign tools are the judges.

mod kernel;

use std::collections::BTreeMap;
use std::process::Stdio;

use kernel::lab::Cluster;
use kernel::{Outcome, Test, checked, contains, equal, words};
use minik::kernel::features;

const TESTS: &[Test] = &[
    ("a_pod_comes_and_goes", &["curl"], a_pod_comes_and_goes),
    ("controllers_scale", &[], controllers_scale),
    ("modes_are_switched", &[], modes_are_switched),
    ("nothing_changes_for_a_wrong_order", &[], nothing_changes_for_a_wrong_order),
    ("a_killed_change_is_taken_back_by_the_next", &[], a_killed_change_is_taken_back_by_the_next),
    ("lines_change", &["ping"], lines_change),
    ("services_come_and_go", &["curl"], services_come_and_go),
    ("ordinals_come_back", &[], ordinals_come_back),
    ("what_kubectl_s_users_type", &[], what_users_type),
];

fn main() {
    // What is loaded now is not loaded in the middle of a test.
    kernel::datapath();
    kernel::run(TESTS, &["ip", "iptables-save", "ipset"], None);
}

/// A mode's cluster as users have it: its daemons heal beside what changes it.
fn up(tag: &str, mode: &str) -> Result<Cluster, String> {
    let cluster = Cluster::named(tag).healing();
    cluster.minik(&["up", mode])?;
    Ok(cluster)
}

/// Pods with their addresses, as `get pods` lists them.
fn pods(cluster: &Cluster) -> Result<BTreeMap<String, String>, String> {
    let list: serde_json::Value =
        serde_json::from_str(&cluster.minik(&["get", "pods", "-A", "-o", "json"])?).map_err(words)?;
    let items = list["items"].as_array().ok_or("no items")?;
    let row = |pod: &serde_json::Value| {
        let name = |key: &str| pod["metadata"][key].as_str().unwrap_or_default().to_owned();
        let key = format!("{}/{}", name("namespace"), name("name"));
        (key, pod["status"]["podIP"].as_str().unwrap_or_default().to_owned())
    };
    Ok(items.iter().map(row).collect())
}

/// The interface indexes of a namespace's links by name: a link that was made anew has another one.
fn indexes_of(cluster: &Cluster, what: &str) -> Result<BTreeMap<String, u64>, String> {
    let links = cluster.json(what, "ip -j link")?;
    let links = links.as_array().ok_or("no links")?;
    let row = |link: &serde_json::Value| Some((link["ifname"].as_str()?.to_owned(), link["ifindex"].as_u64()?));
    Ok(links.iter().filter_map(row).collect())
}

/// The kernel holds what the plan says, the agent runs, and packets go where they should.
fn is_whole(cluster: &Cluster) -> Outcome {
    cluster.minik(&["status"])?;
    cluster.minik(&["verify"]).map(drop)
}

/// What minik prints with this on its stdin.
fn fed(cluster: &Cluster, arguments: &[&str], input: &str) -> Result<String, String> {
    checked(&format!("minik {}", arguments.join(" ")), &cluster.fed(arguments, input)?)
}

const POD: &str = "{apiVersion: v1, kind: Pod, metadata: {name: extra, labels: {app: extra}}, \
    spec: {nodeName: node-2, containers: [{name: c, image: nginx}]}}";

/// Fails unless minik says just this.
fn told(found: &str, expected: &str) -> Outcome {
    equal("what minik says", expected, found)
}

/// Directories, objects chosen by labels, several names at once, labels that take a pod away from its controller.
fn what_users_type() -> Outcome {
    let cluster = up("words", "calico-ipip")?;
    let directory = std::env::temp_dir().join(format!("{}-manifests", cluster.name));
    std::fs::create_dir_all(directory.join("more")).map_err(words)?;
    let path = directory.display().to_string();
    let (deployment, service) = WEB.split_once("---").ok_or("one object")?;
    let written = [("1.yaml", deployment), ("2.yml", service), ("notes.txt", "no manifest"), ("more/3.json", POD)];
    for (name, text) in written {
        std::fs::write(directory.join(name), text).map_err(words)?;
    }
    let outcome = typed(&cluster, &path);
    std::fs::remove_dir_all(&directory).map_err(words)?;
    outcome
}

fn typed(cluster: &Cluster, path: &str) -> Outcome {
    told(&cluster.minik(&["apply", "-f", path])?, "deployment.apps/web created\nservice/web created\n")?;
    let three = "deployment.apps/web unchanged\nservice/web unchanged\npod/extra created\n";
    told(&cluster.minik(&["apply", "-R", "-f", path])?, three)?;
    contains(&cluster.refused(&["apply", "-f", "-"], 2)?, "no objects passed to apply")?;
    for (input, complaint) in NO_OBJECTS {
        let refused = cluster.fed(&["apply", "-f", "-"], input)?;
        contains(&String::from_utf8_lossy(&refused.stderr), complaint)?;
    }
    told(&cluster.minik(&["label", "svc", "web", "tier=front"])?, "service/web labeled\n")?;
    told(&cluster.minik(&["label", "svc", "web", "tier=front"])?, "service/web not labeled\n")?;
    told(&cluster.minik(&["get", "svc,deploy", "-l", "tier=front", "-o", "name"])?, "service/web\n")?;
    told(&cluster.minik(&["get", "svc/web", "deploy/test", "deploy/web", "-o", "name"])?, NAMED)?;
    let pods = cluster.minik(&["get", "pods", "-l", "app=web", "-o", "name"])?;
    let first = pods.lines().next().ok_or("no pods")?;
    contains(&cluster.minik(&["label", first, "app=gone", "--overwrite"])?, "labeled")?;
    let now = cluster.minik(&["get", "pods", "-l", "app=web", "-o", "name"])?;
    if now.lines().count() != 2 || now.contains(first) {
        return Err(format!("{first} is not replaced:\n{now}"));
    }
    let object = cluster.minik(&["get", now.lines().next().ok_or("no pods")?, "-o", "yaml"])?;
    let refused = cluster.fed(&["apply", "-f", "-"], &object)?;
    contains(&String::from_utf8_lossy(&refused.stderr), "is a pod of Deployment web")?;
    told(
        &cluster.minik(&["label", "pods", "-l", "app=gone", "app=web", "--overwrite"])?,
        &format!("{first} labeled\n"),
    )?;
    told(&cluster.minik(&["get", "pods", "-l", "app=web", "-o", "name"])?, &pods)?;
    contains(&cluster.refused(&["delete", "ep", "nobody"], 2)?, "endpoints \"nobody\" not found")?;
    told(&cluster.minik(&["delete", "svc,pod", "nobody", "--ignore-not-found"])?, "")?;
    told(&cluster.minik(&["delete", "svc", "--all"])?, "service \"web\" deleted\n")?;
    told(&cluster.minik(&["delete", "deploy,svc", "web", "--ignore-not-found"])?, "deployment.apps \"web\" deleted\n")?;
    cluster.minik(&["status"]).map(drop)
}

/// What is no object, and what is said of it.
const NO_OBJECTS: [(&str, &str); 3] = [
    ("a word", "this document is not a mapping\n --> <stdin>:1:1"),
    ("apiVersion: v1\nmetadata: {name: x}\n", "the field `kind` is missing\n --> <stdin>:1:1"),
    ("apiVersion: v1\nkind: Service\nmetadata: {}\nspec: {ports: [{port: 80}]}\n", "this Service has no name"),
];

const NAMED: &str = "service/web\ndeployment.apps/test\ndeployment.apps/web\n";

fn a_pod_comes_and_goes() -> Outcome {
    let cluster = up("pod", "calico-ipip")?;
    let (before, indexes) = (pods(&cluster)?, indexes_of(&cluster, "node-2")?);
    let asker = before.keys().next().ok_or("no pods")?.clone();
    told(&fed(&cluster, &["apply", "-f", "-"], POD)?, "pod/extra created\n")?;
    told(&fed(&cluster, &["apply", "-f", "-"], POD)?, "pod/extra unchanged\n")?;
    let mut now = pods(&cluster)?;
    let address = now.remove("default/extra").ok_or("no new pod")?;
    if now != before {
        return Err(format!("other pods changed: {before:?}, {now:?}"));
    }
    contains(&cluster.exec(&asker, &format!("curl -s --max-time 10 http://{address}/"))?, "Welcome to nginx!")?;
    for (link, index) in &indexes {
        if indexes_of(&cluster, "node-2")?.get(link) != Some(index) {
            return Err(format!("{link} was made anew"));
        }
    }
    is_whole(&cluster)?;
    told(&cluster.minik(&["delete", "pod", "extra"])?, "pod \"extra\" deleted\n")?;
    if indexes_of(&cluster, "node-2")? != indexes || pods(&cluster)? != before {
        return Err("deleting it does not bring back what was before".to_owned());
    }
    let gone = minik::names::netns(&cluster.name, "default/extra");
    if std::path::Path::new("/run/netns").join(&gone).exists() {
        return Err(format!("{gone} is still there"));
    }
    is_whole(&cluster)
}

fn controllers_scale() -> Outcome {
    let cluster = up("scale", "calico-ipip")?;
    let before = pods(&cluster)?;
    told(&cluster.minik(&["scale", "deploy/test", "--replicas", "6"])?, "deployment.apps/test scaled\n")?;
    let more = pods(&cluster)?;
    if more.len() != before.len() + 3 || !before.iter().all(|(pod, ip)| more.get(pod) == Some(ip)) {
        return Err(format!("{before:?}, then {more:?}"));
    }
    is_whole(&cluster)?;
    cluster.minik(&["scale", "deploy", "test", "--replicas", "0"])?;
    if pods(&cluster)?.keys().any(|pod| pod.contains("/test-")) {
        return Err("pods of a controller without replicas".to_owned());
    }
    is_whole(&cluster)
}

/// A pod of a StatefulSet that is deleted comes back under its name, as another one: its address is new.
fn ordinals_come_back() -> Outcome {
    ["calico-ipip", "flannel-vxlan"].into_iter().try_for_each(comes_back)
}

fn comes_back(mode: &str) -> Outcome {
    let cluster = up("again", mode)?;
    fed(&cluster, &["apply", "-f", "-"], &WEB.replace("Deployment", "StatefulSet"))?;
    let before = pods(&cluster)?;
    told(&cluster.minik(&["delete", "pod", "web-0"])?, "pod \"web-0\" deleted\n")?;
    let after = pods(&cluster)?;
    let others = |all: &BTreeMap<String, String>| -> Vec<(String, String)> {
        all.clone().into_iter().filter(|(name, _)| !name.contains("web-0")).collect()
    };
    let own =
        |all: &BTreeMap<String, String>| all.iter().find(|(name, _)| name.contains("web-0")).map(|(_, ip)| ip.clone());
    let (old, new) = (own(&before).ok_or("no web-0")?, own(&after).ok_or("web-0 is gone")?);
    if old == new || others(&before) != others(&after) {
        return Err(format!("{before:?}\nbecame\n{after:?}"));
    }
    contains(&cluster.exec("default/web-1", &format!("curl -s --max-time 10 http://{new}/"))?, "Welcome to nginx!")?;
    is_whole(&cluster)
}

fn modes_are_switched() -> Outcome {
    let cluster = up("switch", "calico-ipip")?;
    let before = pods(&cluster)?;
    let said = cluster.minik(&["switch", "calico-bgp"])?;
    contains(&said, "switched from calico-ipip to calico-bgp")?;
    contains(&said, "pods kept their addresses")?;
    contains(&said, "lost, longest gap")?;
    if pods(&cluster)? != before {
        return Err("pods did not keep their addresses".to_owned());
    }
    contains(&cluster.exec("node-1", "ip route")?, "via 10.1.10.10 dev ens33 proto bird")?;
    is_whole(&cluster)?;
    cluster.minik(&["switch", "flannel-host-gw"])?;
    let other = pods(&cluster)?;
    if other.keys().ne(before.keys()) || !other.values().all(|ip| ip.starts_with("10.244.")) {
        return Err(format!("{before:?}, then {other:?}"));
    }
    contains(&cluster.exec("node-1", "ip route")?, "10.244.1.0/24 via 10.1.10.10 dev ens33")?;
    is_whole(&cluster)?;
    cluster.minik(&["switch", "flannel-vxlan"])?;
    if pods(&cluster)? != other {
        return Err("host-local does not keep addresses from host-gw to vxlan".to_owned());
    }
    contains(&cluster.exec("node-1", "ip -d link show flannel.1")?, "vxlan id 1")?;
    is_whole(&cluster)?;
    contains(&cluster.refused(&["switch", "calico-bpg"], 2)?, "calico-bgp")?;
    is_whole(&cluster)
}

fn nothing_changes_for_a_wrong_order() -> Outcome {
    let cluster = up("wrong", "calico-ipip")?;
    let before = pods(&cluster)?;
    contains(&cluster.refused(&["delete", "pod", "nobody"], 2)?, "pod \"nobody\" not found")?;
    contains(&cluster.refused(&["scale", "deploy/nobody", "--replicas", "1"], 2)?, "there is no Deployment `nobody`")?;
    contains(&cluster.refused(&["label", "pod", "two-containers", "app=other"], 2)?, "has the label app=")?;
    contains(&cluster.refused(&["link", "set", "node-3", "--mtu", "1400"], 2)?, "node-3")?;
    contains(&cluster.refused(&["delete", "deplyo", "test"], 2)?, "did you mean `deploy`?")?;
    contains(&cluster.refused(&["delete", "ns", "default"], 2)?, "this namespace may not be deleted")?;
    let dry = fed(&cluster, &["apply", "--dry-run", "-f", "-"], POD)?;
    told(&dry, "pod/extra created (dry run)\n")?;
    if pods(&cluster)? != before {
        return Err("pods changed".to_owned());
    }
    is_whole(&cluster)
}

fn lines_change() -> Outcome {
    let cluster = up("line", "calico-ipip")?;
    contains(&cluster.minik(&["link", "set", "node-2", "--mtu", "1400"])?, "1400")?;
    contains(&cluster.exec("node-2", "ip link show ens33")?, "mtu 1400")?;
    contains(&cluster.exec("node-2", "ip link show tunl0")?, "mtu 1480")?;
    if features::has_netem().map_err(words)? {
        cluster.minik(&["link", "set", "node-2", "--delay", "30ms"])?;
        let ping = cluster.exec("node-1", "ping -n -c 2 -i 0.2 -W 20 10.1.10.10")?;
        contains(&cluster.exec("node-2", "tc qdisc show dev ens33")?, "delay 30ms")?;
        let time = ping.lines().filter_map(|line| line.split("time=").nth(1)).next_back().ok_or("no answer")?;
        let time: f64 = time.trim_end_matches(" ms").parse().map_err(words)?;
        if time < 60.0 {
            return Err(format!("30 ms each way, and {time} ms in all"));
        }
    } else {
        contains(&cluster.refused(&["link", "set", "node-2", "--delay", "30ms"], 4)?, "netem")?;
    }
    contains(&cluster.minik(&["link", "show", "node-2"])?, "1400")?;
    cluster.minik(&["link", "reset"])?;
    contains(&cluster.exec("node-2", "ip link show ens33")?, "mtu 1500")?;
    is_whole(&cluster)
}

fn a_killed_change_is_taken_back_by_the_next() -> Outcome {
    let cluster = up("kill", "calico-ipip")?;
    let before = pods(&cluster)?;
    for (round, mode) in ["flannel-vxlan", "calico-bgp", "kubenet", "calico-vxlan"].iter().cycle().take(8).enumerate() {
        let mut switch = cluster.command(&["switch", mode]);
        let mut child = switch.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(words)?;
        // Moments spread over the time that a change takes; where it was quicker, it was another change.
        std::thread::sleep(std::time::Duration::from_millis(5 + 12 * round as u64));
        child.kill().map_err(words)?;
        child.wait().map_err(words)?;
    }
    cluster.minik(&["switch", "calico-ipip"])?;
    if pods(&cluster)? != before {
        return Err(format!("{before:?}, then {:?}", pods(&cluster)?));
    }
    is_whole(&cluster)
}

const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: c, image: nginx, ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.77.7, selector: {app: web}, ports: [{port: 8080, targetPort: 80}]}
"#;

fn services_come_and_go() -> Outcome {
    let cluster = up("svc", "calico-ipip")?;
    let asker = pods(&cluster)?.into_keys().next().ok_or("no pods")?;
    told(&fed(&cluster, &["apply", "-f", "-"], WEB)?, "deployment.apps/web created\nservice/web created\n")?;
    let ask = || cluster.exec(&asker, "curl -s --max-time 10 http://10.96.77.7:8080/");
    contains(&ask()?, "Welcome to nginx!")?;
    let rules = || cluster.exec("node-1", "iptables-save -t nat");
    let endpoints = |rules: &str| rules.lines().filter(|line| line.contains("-j DNAT")).count();
    if endpoints(&rules()?) != 2 {
        return Err(format!("not two endpoints:\n{}", rules()?));
    }
    let chosen = cluster.minik(&["get", "all,ep", "-l", "app in (web)", "-o", "name"])?;
    if chosen.lines().filter(|line| line.starts_with("pod/web-")).count() != 2 {
        return Err(chosen);
    }
    for kind in ["service/web", "endpoints/web", "deployment.apps/web"] {
        contains(&cluster.minik(&["get", "all,ep"])?, kind)?;
    }
    cluster.minik(&["scale", "deploy/web", "--replicas", "3"])?;
    if endpoints(&rules()?) != 3 {
        return Err(format!("not three endpoints:\n{}", rules()?));
    }
    // What its controller has made is written over by it.
    let slices = cluster.minik(&["get", "endpointslices", "-o", "yaml"])?;
    contains(&fed(&cluster, &["apply", "-f", "-"], &slices)?, "endpointslice.discovery.k8s.io/web-")?;
    let now = cluster.minik(&["get", "endpointslices", "-o", "yaml"])?;
    if (endpoints(&rules()?), &now) != (3, &slices) {
        return Err(format!("slices that were applied as they were count:\n{now}"));
    }
    contains(&ask()?, "Welcome to nginx!")?;
    cluster.minik(&["delete", "svc/web"])?;
    if rules()?.contains("10.96.77.7") {
        return Err("the Service's rules are still there".to_owned());
    }
    is_whole(&cluster)
}
