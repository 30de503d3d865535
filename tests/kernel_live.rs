//! Live changes against a real kernel: apply, delete, scale, label, switch, link; foreign tools are the judges.

#![expect(clippy::disallowed_methods, reason = "foreign programs are the judges")]

mod kernel;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};
use minik::kernel::features;

const MINIK: &str = env!("CARGO_BIN_EXE_minik");

/// A cluster of this test process; it is removed at the end, however that comes.
struct Cluster {
    name: String,
}

impl Cluster {
    fn up(tag: &str, mode: &str) -> Result<Cluster, Failed> {
        let cluster = Cluster { name: format!("live{}{tag}", std::process::id()) };
        cluster.minik(&["up", mode])?;
        Ok(cluster)
    }

    fn output(&self, arguments: &[&str], input: &str) -> Result<Output, Failed> {
        let mut child = Command::new(MINIK)
            .args(["-c", &self.name])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // Whoever does not read its input closes it.
        let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
        Ok(child.wait_with_output()?)
    }

    fn minik_with(&self, arguments: &[&str], input: &str) -> Result<String, Failed> {
        let output = self.output(arguments, input)?;
        let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        match output.status.success() {
            true => Ok(text.into_owned()),
            false => Err(format!("minik {}: {}\n{text}{errors}", arguments.join(" "), output.status).into()),
        }
    }

    fn minik(&self, arguments: &[&str]) -> Result<String, Failed> {
        self.minik_with(arguments, "")
    }

    /// Runs a command that must fail with this exit code, and gives what it said.
    fn refused(&self, arguments: &[&str], code: i32) -> Result<String, Failed> {
        let output = self.output(arguments, "")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(found) if found == code => Ok(said),
            found => Err(format!("minik {}: exit code {found:?}, not {code}\n{said}", arguments.join(" ")).into()),
        }
    }

    /// Runs a program in one of its namespaces by `ip netns exec`.
    fn exec(&self, what: &str, command: &str) -> Result<String, Failed> {
        let netns = minik::names::netns(&self.name, what);
        let words = format!("ip netns exec {netns} {command}");
        let output = Command::new("sh").args(["-c", &words]).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(text),
            false => {
                Err(format!("{words}: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr)).into())
            }
        }
    }

    /// Pods with their addresses, as `get pods` lists them.
    fn pods(&self) -> Result<BTreeMap<String, String>, Failed> {
        let list: serde_json::Value = serde_json::from_str(&self.minik(&["get", "pods", "-A", "-o", "json"])?)?;
        let items = list["items"].as_array().ok_or("no items")?;
        let row = |pod: &serde_json::Value| {
            let name = |key: &str| pod["metadata"][key].as_str().unwrap_or_default().to_owned();
            let key = format!("{}/{}", name("namespace"), name("name"));
            (key, pod["status"]["podIP"].as_str().unwrap_or_default().to_owned())
        };
        Ok(items.iter().map(row).collect())
    }

    /// The interface indexes of a namespace's links by name: a link that was made anew has another one.
    fn indexes(&self, what: &str) -> Result<BTreeMap<String, u64>, Failed> {
        let links: serde_json::Value = serde_json::from_str(&self.exec(what, "ip -j link")?)?;
        let links = links.as_array().ok_or("no links")?;
        let row = |link: &serde_json::Value| Some((link["ifname"].as_str()?.to_owned(), link["ifindex"].as_u64()?));
        Ok(links.iter().filter_map(row).collect())
    }

    /// The kernel holds what the plan says, the agent runs, and packets go where they should.
    fn is_whole(&self) -> Result<(), Failed> {
        self.minik(&["status"])?;
        self.minik(&["verify"]).map(drop)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A test that failed has said why; one that passed has taken it down itself.
        let _ = Command::new(MINIK).args(["-c", &self.name, "down"]).stderr(Stdio::null()).status();
    }
}

fn missing() -> Option<String> {
    kernel::not_root()
}

fn contains(text: &str, wanted: &str) -> Result<(), Failed> {
    if text.contains(wanted) { Ok(()) } else { Err(format!("{wanted:?} is not in:\n{text}").into()) }
}

const POD: &str = "{apiVersion: v1, kind: Pod, metadata: {name: extra, labels: {app: extra}}, \
    spec: {nodeName: node-2, containers: [{name: c, image: nginx}]}}";

fn a_pod_comes_and_goes() -> Result<(), Failed> {
    let cluster = Cluster::up("pod", "calico-ipip")?;
    let (before, indexes) = (cluster.pods()?, cluster.indexes("node-2")?);
    let asker = before.keys().next().ok_or("no pods")?.clone();
    assert_eq_text(&cluster.minik_with(&["apply", "-f", "-"], POD)?, "pod/extra created\n")?;
    assert_eq_text(&cluster.minik_with(&["apply", "-f", "-"], POD)?, "pod/extra unchanged\n")?;
    let mut now = cluster.pods()?;
    let address = now.remove("default/extra").ok_or("no new pod")?;
    if now != before {
        return Err(format!("other pods changed: {before:?}, {now:?}").into());
    }
    contains(&cluster.exec(&asker, &format!("curl -s --max-time 10 http://{address}/"))?, "Welcome to nginx!")?;
    for (link, index) in &indexes {
        if cluster.indexes("node-2")?.get(link) != Some(index) {
            return Err(format!("{link} was made anew").into());
        }
    }
    cluster.is_whole()?;
    assert_eq_text(&cluster.minik(&["delete", "pod", "extra"])?, "pod \"extra\" deleted\n")?;
    if cluster.indexes("node-2")? != indexes || cluster.pods()? != before {
        return Err("deleting it does not bring back what was before".into());
    }
    let gone = minik::names::netns(&cluster.name, "default/extra");
    if std::path::Path::new("/run/netns").join(&gone).exists() {
        return Err(format!("{gone} is still there").into());
    }
    cluster.is_whole()
}

fn assert_eq_text(found: &str, expected: &str) -> Result<(), Failed> {
    if found == expected { Ok(()) } else { Err(format!("{found:?}, not {expected:?}").into()) }
}

fn controllers_scale() -> Result<(), Failed> {
    let cluster = Cluster::up("scale", "calico-ipip")?;
    let before = cluster.pods()?;
    assert_eq_text(&cluster.minik(&["scale", "deploy/test", "--replicas", "6"])?, "deployment.apps/test scaled\n")?;
    let more = cluster.pods()?;
    if more.len() != before.len() + 3 || !before.iter().all(|(pod, ip)| more.get(pod) == Some(ip)) {
        return Err(format!("{before:?}, then {more:?}").into());
    }
    cluster.is_whole()?;
    cluster.minik(&["scale", "deploy", "test", "--replicas", "0"])?;
    if cluster.pods()?.keys().any(|pod| pod.contains("/test-")) {
        return Err("pods of a controller without replicas".into());
    }
    cluster.is_whole()
}

fn modes_are_switched() -> Result<(), Failed> {
    let cluster = Cluster::up("switch", "calico-ipip")?;
    let before = cluster.pods()?;
    let said = cluster.minik(&["switch", "calico-bgp"])?;
    contains(&said, "switched from calico-ipip to calico-bgp")?;
    contains(&said, "pods kept their addresses")?;
    contains(&said, "lost, longest gap")?;
    if cluster.pods()? != before {
        return Err("pods did not keep their addresses".into());
    }
    contains(&cluster.exec("node-1", "ip route")?, "via 10.1.10.10 dev ens33 proto bird")?;
    cluster.is_whole()?;
    cluster.minik(&["switch", "flannel-host-gw"])?;
    let other = cluster.pods()?;
    if other.keys().ne(before.keys()) || !other.values().all(|ip| ip.starts_with("10.244.")) {
        return Err(format!("{before:?}, then {other:?}").into());
    }
    contains(&cluster.exec("node-1", "ip route")?, "10.244.1.0/24 via 10.1.10.10 dev ens33")?;
    cluster.is_whole()?;
    cluster.minik(&["switch", "flannel-vxlan"])?;
    if cluster.pods()? != other {
        return Err("host-local does not keep addresses from host-gw to vxlan".into());
    }
    contains(&cluster.exec("node-1", "ip -d link show flannel.1")?, "vxlan id 1")?;
    cluster.is_whole()?;
    contains(&cluster.refused(&["switch", "calico-bpg"], 2)?, "calico-bgp")?;
    cluster.is_whole()
}

fn nothing_changes_for_a_wrong_order() -> Result<(), Failed> {
    let cluster = Cluster::up("wrong", "calico-ipip")?;
    let before = cluster.pods()?;
    contains(&cluster.refused(&["delete", "pod", "nobody"], 2)?, "pod \"nobody\" not found")?;
    contains(&cluster.refused(&["scale", "deploy/nobody", "--replicas", "1"], 2)?, "there is no Deployment `nobody`")?;
    contains(&cluster.refused(&["label", "pod", "two-containers", "app=other"], 2)?, "has the label app=")?;
    contains(&cluster.refused(&["link", "set", "node-3", "--mtu", "1400"], 2)?, "node-3")?;
    contains(&cluster.refused(&["delete", "deplyo", "test"], 2)?, "did you mean `deploy`?")?;
    let dry = cluster.minik_with(&["apply", "--dry-run", "-f", "-"], POD)?;
    assert_eq_text(&dry, "pod/extra created (dry run)\n")?;
    if cluster.pods()? != before {
        return Err("pods changed".into());
    }
    cluster.is_whole()
}

fn lines_change() -> Result<(), Failed> {
    let cluster = Cluster::up("line", "calico-ipip")?;
    contains(&cluster.minik(&["link", "set", "node-2", "--mtu", "1400"])?, "1400")?;
    contains(&cluster.exec("node-2", "ip link show ens33")?, "mtu 1400")?;
    contains(&cluster.exec("node-2", "ip link show tunl0")?, "mtu 1480")?;
    if features::has_netem()? {
        cluster.minik(&["link", "set", "node-2", "--delay", "30ms"])?;
        let ping = cluster.exec("node-1", "ping -n -c 2 -i 0.2 -W 20 10.1.10.10")?;
        contains(&cluster.exec("node-2", "tc qdisc show dev ens33")?, "delay 30ms")?;
        let time = ping.lines().filter_map(|line| line.split("time=").nth(1)).next_back().ok_or("no answer")?;
        let time: f64 = time.trim_end_matches(" ms").parse()?;
        if time < 60.0 {
            return Err(format!("30 ms each way, and {time} ms in all").into());
        }
    } else {
        contains(&cluster.refused(&["link", "set", "node-2", "--delay", "30ms"], 4)?, "netem")?;
    }
    contains(&cluster.minik(&["link", "show", "node-2"])?, "1400")?;
    cluster.minik(&["link", "reset"])?;
    contains(&cluster.exec("node-2", "ip link show ens33")?, "mtu 1500")?;
    cluster.is_whole()
}

fn a_killed_change_is_taken_back_by_the_next() -> Result<(), Failed> {
    let cluster = Cluster::up("kill", "calico-ipip")?;
    let before = cluster.pods()?;
    for (round, mode) in ["flannel-vxlan", "calico-bgp", "kubenet", "calico-vxlan"].iter().cycle().take(8).enumerate() {
        let mut child = Command::new(MINIK)
            .args(["-c", &cluster.name, "switch", mode])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        // Moments spread over the time that a change takes; where it was quicker, it was another change.
        std::thread::sleep(std::time::Duration::from_millis(5 + 12 * round as u64));
        child.kill()?;
        child.wait()?;
    }
    cluster.minik(&["switch", "calico-ipip"])?;
    if cluster.pods()? != before {
        return Err(format!("{before:?}, then {:?}", cluster.pods()?).into());
    }
    cluster.is_whole()
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

fn services_come_and_go() -> Result<(), Failed> {
    let cluster = Cluster::up("svc", "calico-ipip")?;
    let asker = cluster.pods()?.into_keys().next().ok_or("no pods")?;
    assert_eq_text(
        &cluster.minik_with(&["apply", "-f", "-"], WEB)?,
        "deployment.apps/web created\nservice/web created\n",
    )?;
    let ask = || cluster.exec(&asker, "curl -s --max-time 10 http://10.96.77.7:8080/");
    contains(&ask()?, "Welcome to nginx!")?;
    let rules = || cluster.exec("node-1", "iptables-save -t nat");
    let endpoints = |rules: &str| rules.lines().filter(|line| line.contains("-j DNAT")).count();
    if endpoints(&rules()?) != 2 {
        return Err(format!("not two endpoints:\n{}", rules()?).into());
    }
    cluster.minik(&["scale", "deploy/web", "--replicas", "3"])?;
    if endpoints(&rules()?) != 3 {
        return Err(format!("not three endpoints:\n{}", rules()?).into());
    }
    contains(&ask()?, "Welcome to nginx!")?;
    cluster.minik(&["delete", "svc/web"])?;
    if rules()?.contains("10.96.77.7") {
        return Err("the Service's rules are still there".into());
    }
    cluster.is_whole()
}

fn main() {
    // What is loaded now is not loaded in the middle of a test.
    kernel::datapath();
    let tests = vec![
        kernel::trial("a pod comes and goes", missing(), a_pod_comes_and_goes),
        kernel::trial("controllers scale", missing(), controllers_scale),
        kernel::trial("modes are switched", missing(), modes_are_switched),
        kernel::trial("nothing changes for a wrong order", missing(), nothing_changes_for_a_wrong_order),
        kernel::trial(
            "a killed change is taken back by the next",
            missing(),
            a_killed_change_is_taken_back_by_the_next,
        ),
        kernel::trial("lines change", missing(), lines_change),
        kernel::trial("services come and go", missing(), services_come_and_go),
    ];
    run(tests);
}

fn run(tests: Vec<Trial>) {
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}
