//! canal, kubenet, kube-router, the plain bridge, macvlan and Docker's modes on a real kernel, judged by the tools that one
//! would use on a real node; and the plain bridge beside the CNI project's own plugins.
//!
//! Needs root; without it every test is counted as ignored, with the reason in its name, unless MINIK_REQUIRE is set.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a test starts what it checks, and ends where that fails"
)]

mod kernel;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use kernel::lab::Cluster;
use libtest_mimic::{Arguments, Failed};
use minik::plan::{Datapath, Namespace, Plan};
use minik::{cni, topology};
use serde_json::{Value, json};

/// Where Debian has the CNI project's plugins.
const PLUGINS: &str = "/usr/lib/cni";

type Outcome = Result<(), Failed>;

/// A mode's cluster, and how one looks around in it.
struct Lab(Cluster);

impl Lab {
    fn up(mode: &str) -> Result<Lab, Failed> {
        Ok(Lab(Cluster::up(&mode.replace('-', ""), mode)?))
    }

    /// The output of a command line in a node, client or pod, by `minik exec`.
    fn on(&self, target: &str, line: &str) -> Result<String, Failed> {
        Ok(self.0.minik(&["exec", target, "--", "sh", "-c", line])?)
    }

    /// The name of the `index`th pod of a Deployment `test`.
    fn test_pod(&self, index: usize) -> Result<String, Failed> {
        let pods: Value = serde_json::from_str(&self.0.minik(&["get", "pods", "-o", "json"])?)?;
        let names = pods["items"].as_array().into_iter().flatten().filter_map(|pod| pod["metadata"]["name"].as_str());
        let name = names.filter(|name| name.starts_with("test-")).nth(index).ok_or("no such pod")?;
        Ok(name.to_owned())
    }

    /// Every check of `verify` passes.
    fn is_verified(&self) -> Outcome {
        self.0.minik(&["verify"]).map(drop).map_err(Failed::from)
    }
}

/// The output of a program that must succeed.
fn run(command: &mut Command) -> Result<String, Failed> {
    let output = command.output()?;
    Ok(kernel::checked(&format!("{command:?}"), &output)?)
}

fn contains(text: &str, parts: &[&str]) -> Outcome {
    match parts.iter().find(|part| !text.contains(**part)) {
        None => Ok(()),
        Some(part) => Err(format!("no `{part}` in:\n{text}").into()),
    }
}

fn canal() -> Outcome {
    let cluster = Lab::up("canal")?;
    let routes = cluster.on("node-1", "ip route")?;
    contains(&routes, &["10.244.0.2 dev cali", "10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink"])?;
    if cluster.on("node-1", "ip -o link")?.contains(" cni0") {
        return Err("canal has no bridge".into());
    }
    let forward = cluster.on("node-1", "iptables -S FORWARD")?;
    match (forward.find("-j cali-FORWARD"), forward.find("-j FLANNEL-FWD")) {
        (Some(felix), Some(flannel)) if felix < flannel => {}
        _ => return Err(forward.into()),
    }
    contains(&cluster.on(&cluster.test_pod(0)?, "ip route")?, &["default via 169.254.1.1 dev eth0"])?;
    cluster.is_verified()
}

fn kubenet() -> Outcome {
    let cluster = Lab::up("kubenet")?;
    contains(&cluster.on("node-1", "ip -d link show cbr0")?, &["PROMISC", "mtu 1500", "qdisc htb"])?;
    contains(&cluster.on("node-1", "tc qdisc show dev cbr0")?, &["qdisc htb 1: root", "default 0x30"])?;
    let nat = cluster.on("node-1", "iptables -t nat -S POSTROUTING")?;
    contains(
        &nat,
        &[
            "! -d 10.0.0.0/8 -m comment --comment \"kubenet: SNAT for outbound traffic from cluster\" -m addrtype ! --dst-type LOCAL -j MASQUERADE",
        ],
    )?;
    let dedup = cluster.on("node-1", "ebtables-save")?;
    contains(
        &dedup,
        &["-A OUTPUT -j KUBE-DEDUP", "-o veth+ --ip-src 192.168.0.1 -j ACCEPT", "--ip-src 192.168.0.0/24 -j DROP"],
    )?;
    let pod = cluster.test_pod(0)?;
    let routes = cluster.on(&pod, "ip route")?;
    if routes.lines().count() != 2 {
        return Err(format!("a pod of kubenet has a default and a connected route, not\n{routes}").into());
    }
    // A promiscuous bridge takes what its ports exchange; without the rules of ebtables this ping would be answered twice.
    let ping = cluster.on(&pod, "ping -c 3 -i 0.2 192.168.0.3")?;
    if ping.contains("DUP!") {
        return Err(ping.into());
    }
    cluster.on("node-1", "ebtables -F KUBE-DEDUP")?;
    contains(&cluster.on(&pod, "ping -c 3 -i 0.2 192.168.0.3")?, &["DUP!"])?;
    Ok(())
}

fn kube_router() -> Outcome {
    let cluster = Lab::up("kube-router")?;
    let routes = cluster.on("node-1", "ip route")?;
    let far = "10.244.2.0/24 dev tun-820da6d4b1f proto 17 scope link src 10.1.10.9";
    contains(&routes, &["10.244.1.0/24 via 10.1.10.10 dev ens33 proto 17", far])?;
    contains(&cluster.on("node-1", "ip rule")?, &["32765:\tfrom 10.244.0.0/24 lookup 77"])?;
    contains(&cluster.on("node-1", "ip route show table 77")?, &["10.1.20.10 dev tun-820da6d4b1f scope link"])?;
    contains(&cluster.on("node-1", "ipset list kube-router-node-ips")?, &["hash:ip", "10.1.20.10"])?;
    let forward = cluster.on("node-1", "iptables -S FORWARD")?;
    let rules: Vec<&str> = forward.lines().filter_map(|line| line.split('"').nth(1)).collect();
    let order = [
        "kube-router netpol - TEMCG2JMHZYE7H7T",
        "allow outbound node port traffic on node interface with which node ip is associated",
        "allow inbound traffic to pods",
        "allow outbound traffic from pods",
    ];
    if rules != order {
        return Err(forward.into());
    }
    let pod = cluster.test_pod(0)?;
    // The router sees the outer packet only: 64 less the two nodes.
    contains(&cluster.on(&pod, "ping -c 1 10.244.2.2")?, &["ttl=62", " 0% packet loss"])?;
    cluster.is_verified()
}

fn macvlan() -> Outcome {
    let cluster = Lab::up("macvlan")?;
    let pod = cluster.test_pod(0)?;
    contains(&cluster.on(&pod, "ip -d link show eth0")?, &["macvlan mode bridge", "mtu 1500"])?;
    let mac: Value = serde_json::from_str(&cluster.on(&pod, "ip -j link show eth0")?)?;
    let mac = mac[0]["address"].as_str().ok_or("no address")?.to_uppercase();
    // The client is on the same Ethernet: the pod itself answers, and no router is in between.
    contains(&cluster.on("client", "arping -I ens33 -c 1 10.1.10.129")?, &[&mac])?;
    contains(&cluster.on("client", "ping -c 1 10.1.10.129")?, &["ttl=64"])?;
    contains(&cluster.on("node-2", "ping -c 1 10.1.10.129")?, &["ttl=64"])?;
    let own = cluster.on("node-1", "ping -c 1 -W 1 10.1.10.129 || echo no answer")?;
    contains(&own, &["no answer"])?;
    if !cluster.on("node-1", "iptables-save")?.trim().is_empty() {
        return Err("macvlan needs no rule of iptables".into());
    }
    cluster.is_verified()
}

fn docker() -> Outcome {
    let cluster = Lab::up("docker")?;
    let netns = |target: &str| cluster.on(target, "readlink /proc/self/ns/net");
    if netns("web")? != netns("logger")? || netns("monitor")? != netns("node-1")? || netns("web")? == netns("shell")? {
        return Err("containers are not in the namespaces that their network modes say".into());
    }
    contains(&cluster.on("web", "ip -4 address show eth0")?, &["172.17.0.2/16 brd 172.17.255.255"])?;
    // Modules such as ipip put a device of theirs, down, into every namespace.
    let links = cluster.on("batch", "ip -o link show up")?;
    if links.lines().count() != 1 || !links.contains(" lo: ") {
        return Err(format!("network mode none has lo alone, not\n{links}").into());
    }
    contains(&cluster.on("node-1", "iptables -S FORWARD")?, &["-P FORWARD DROP", "-A FORWARD -o docker0 -j DOCKER"])?;
    contains(&cluster.on("client", "curl -s -m 5 http://10.1.10.9:8081/")?, &["Welcome to nginx!"])?;
    contains(&cluster.on("client", "curl -s -m 5 http://10.1.10.9:8080/hostname")?, &["monitor"])?;
    contains(&cluster.on("client", "ping -c 1 -W 1 172.17.0.3 || echo no answer")?, &["no answer"])?;
    contains(&cluster.on("shell", "ping -c 1 10.1.10.8")?, &["ttl=63"])?;
    cluster.is_verified()
}

/// Namespaces in which the CNI project's plugins work, and host-local's files.
struct Bare {
    prefix: String,
    made: Vec<String>,
    files: tempfile::TempDir,
}

impl Bare {
    fn new() -> Result<Bare, Failed> {
        // Tests run beside each other.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("tcni{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut bare = Bare { prefix, made: Vec::new(), files: tempfile::tempdir()? };
        bare.add("node")?;
        bare.on("node", "ip link set lo up")?;
        Ok(bare)
    }

    fn add(&mut self, name: &str) -> Outcome {
        let netns = format!("{}-{name}", self.prefix);
        run(Command::new("ip").args(["netns", "add", &netns]))?;
        self.made.push(netns);
        Ok(())
    }

    fn on(&self, name: &str, line: &str) -> Result<String, Failed> {
        run(Command::new("ip").args(["netns", "exec", &format!("{}-{name}", self.prefix), "sh", "-c", line]))
    }

    /// `ADD` of the plugins for the container of this id, in a namespace of that name; what the bridge plugin answers.
    fn add_container(&mut self, name: &str, id: &str, conf: &Value) -> Result<Value, Failed> {
        self.add(name)?;
        self.plugin("loopback", name, id, conf)?;
        Ok(serde_json::from_str(&self.plugin("bridge", name, id, conf)?)?)
    }

    /// `ADD` of one plugin, and its answer.
    fn plugin(&self, plugin: &str, name: &str, id: &str, conf: &Value) -> Result<String, Failed> {
        let mut child = Command::new("ip")
            .args(["netns", "exec", &format!("{}-node", self.prefix), &format!("{PLUGINS}/{plugin}")])
            .env("CNI_COMMAND", "ADD")
            .env("CNI_CONTAINERID", id)
            .env("CNI_NETNS", format!("/run/netns/{}-{name}", self.prefix))
            .env("CNI_IFNAME", if plugin == "loopback" { "lo" } else { "eth0" })
            .env("CNI_PATH", PLUGINS)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        child.stdin.take().ok_or("no stdin")?.write_all(conf.to_string().as_bytes())?;
        let output = child.wait_with_output()?;
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() { Ok(answer) } else { Err(format!("{plugin}: {answer}").into()) }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        for netns in &self.made {
            if let Err(error) = run(Command::new("ip").args(["netns", "del", netns])) {
                eprintln!("{}", error.message().unwrap_or("cannot remove a namespace"));
            }
        }
    }
}

/// What `ip -j` prints of links, without what a kernel chooses: (name or kind, MTU, flags, addresses).
fn addresses(text: &str) -> Result<Vec<String>, Failed> {
    let links: Vec<Value> = serde_json::from_str(text)?;
    let told = |link: &Value| {
        let name = link["ifname"].as_str().unwrap_or_default();
        let kind = if name.starts_with("veth") { "veth" } else { name };
        let infos = link["addr_info"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|info| info["scope"] != "link" && info["local"] != "::1");
        let infos: Vec<String> = infos
            .map(|info| format!("{}/{} {} {}", info["local"], info["prefixlen"], info["broadcast"], info["scope"]))
            .collect();
        format!("{kind} mtu {} {} master {} {infos:?}", link["mtu"], link["operstate"], link["master"])
    };
    Ok(links.iter().filter(|link| link["ifname"] != "ens33").map(told).collect())
}

/// The plan of a built-in topology for a cluster of this name.
fn bridge_plan(builtin: &str, name: &str) -> Result<Plan, Failed> {
    let overrides = topology::Overrides { cluster_name: Some(name.to_owned()), ..topology::Overrides::default() };
    let cluster = topology::parse(&[topology::builtin::find(builtin)?.source()], &overrides)?;
    Ok(cni::plan(&cluster, Datapath::Kernel)?)
}

fn file<'a>(node: &'a Namespace, path: &str) -> Result<&'a str, Failed> {
    let found = node.files.iter().find(|file| file.path == path);
    Ok(&found.ok_or_else(|| format!("the plan has no file {path}"))?.content)
}

/// The state that the real plugins leave in a bare namespace is that of minik's node.
fn real_plugins() -> Outcome {
    as_the_plugins("bridge", &[])
}

/// The same with two ranges. Only what a real node tests for a second longer, whether its addresses are taken, differs.
fn real_plugins_in_both_families() -> Outcome {
    let more = [
        "ip6tables-save -t nat | grep ^-A | sort",
        "ip -6 route show dev cni0",
        "cat /proc/sys/net/ipv6/conf/all/forwarding /proc/sys/net/ipv6/conf/cni0/accept_ra",
    ];
    as_the_plugins("bridge-dualstack", &more)
}

/// Ports of the node in both families: all chains of the real portmap plugin, which gets what the bridge plugin answers
/// and the ports as kubelet passes them, are those of minik's node.
fn real_portmap() -> Outcome {
    const PORTS: &str = "\n    - {containerPort: 80, hostPort: 8081}\n    \
        - {containerPort: 53, protocol: UDP, hostPort: 8053, hostIP: 'fd00:10:1:10::9'}\n    \
        - {containerPort: 90, hostPort: 8090, hostIP: 10.1.10.9}\n    \
        - {containerPort: 91, hostPort: 8091, hostIP: '::'}\n";
    let builtin = topology::builtin::find("bridge-dualstack")?.text;
    let text = builtin.replace("ports:\n    - name: http\n      containerPort: 80\n", &format!("ports:{PORTS}"));
    if text == builtin {
        return Err("the topology has no pod with a port".into());
    }
    let cluster = Lab(Cluster::up_text("portmap", &text)?);
    let nat = |program: &str| format!("{program} -t nat | grep -e CNI-HOSTPORT -e CNI-DN | sort");
    let id = cluster.on(
        "node-1",
        "iptables-save -t nat | grep 'dnat name' | grep -o 'id: .\\{66\\}' | head -1 | grep -o '[0-9a-f]\\{64\\}'",
    )?;
    let listed = cluster.on("node-1", "cat /etc/cni/net.d/10-mynet.conflist")?;
    let list: Value = serde_json::from_str(&listed)?;
    let mut bare = Bare::new()?;
    let conf = |index: usize| {
        let mut conf = list["plugins"][index].clone();
        conf["name"] = list["name"].clone();
        conf["cniVersion"] = list["cniVersion"].clone();
        conf
    };
    let mut bridge = conf(0);
    bridge["ipam"]["dataDir"] = json!(bare.files.path());
    // The pod's addresses are those that the third one gets.
    for index in 0..2 {
        bare.add_container(&format!("other{index}"), &format!("{index:064}"), &bridge)?;
    }
    let answer = bare.add_container("web", id.trim(), &bridge)?;
    let mut portmap = conf(1);
    portmap["prevResult"] = answer;
    let port = |host: u16, container: u16, protocol: &str, ip: &str| json!({ "hostPort": host, "containerPort": container, "protocol": protocol, "hostIP": ip });
    portmap["runtimeConfig"] = json!({ "portMappings": [
        port(8081, 80, "tcp", ""),
        port(8053, 53, "udp", "fd00:10:1:10::9"),
        port(8090, 90, "tcp", "10.1.10.9"),
        port(8091, 91, "tcp", "::"),
    ] });
    bare.plugin("portmap", "web", id.trim(), &portmap)?;
    for program in ["iptables-save", "ip6tables-save"] {
        let (ours, theirs) = (cluster.on("node-1", &nat(program))?, bare.on("node", &nat(program))?);
        if ours != theirs {
            return Err(format!("{program}: minik has\n{ours}\nand portmap makes\n{theirs}").into());
        }
    }
    let asked = |url: &str| cluster.on("client", &format!("curl -s -g -m 5 http://{url}/"));
    for url in ["10.1.10.9:8081", "[fd00:10:1:10::9]:8081"] {
        contains(&asked(url)?, &["Welcome to nginx!"])?;
    }
    cluster.is_verified()
}

/// `more` are command lines whose output is the same on both nodes.
fn as_the_plugins(builtin: &str, more: &[&str]) -> Outcome {
    let cluster = Lab::up(builtin)?;
    let plan = bridge_plan(builtin, &cluster.0.name)?;
    let node = plan.namespace("node-1").ok_or("no node-1")?;
    let list: Value = serde_json::from_str(file(node, "/etc/cni/net.d/10-mynet.conflist")?)?;
    let mut bare = Bare::new()?;
    let mut conf = list["plugins"][0].clone();
    conf["name"] = list["name"].clone();
    conf["cniVersion"] = list["cniVersion"].clone();
    conf["ipam"]["dataDir"] = json!(bare.files.path());
    let leases = node.files.iter().filter(|file| file.content.ends_with("\r\neth0"));
    let mut ids: Vec<String> = Vec::new();
    // With two ranges a container has a file of each.
    for id in leases.filter_map(|file| Some(file.content.split_once("\r\n")?.0.to_owned())) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    for (index, id) in ids.iter().enumerate() {
        bare.add_container(&format!("pod{index}"), id, &conf)?;
    }
    let same = |what: &str, ours: &str, theirs: &str| match ours == theirs {
        true => Ok(()),
        false => Err(Failed::from(format!("{what}: minik has\n{ours}\nand the plugins make\n{theirs}"))),
    };
    contains(&cluster.on("node-1", "iptables-save -t nat")?, &["-s 10.22.0.4/32", "CNI-", "MASQUERADE"])?;
    let lines =
        ["iptables-save -t nat | grep ^-A | sort", "ip route show dev cni0", "cat /proc/sys/net/ipv4/ip_forward"];
    for line in lines.iter().chain(more) {
        same(line, &cluster.on("node-1", line)?, &bare.on("node", line)?)?;
    }
    let hairpin = "bridge -d link show | grep -o 'hairpin [a-z]*'";
    same(hairpin, &cluster.on("node-1", hairpin)?, &bare.on("node", hairpin)?)?;
    let links = |text: &str| addresses(text).map(|links| links.join("\n"));
    let show = "ip -j address";
    same("links of the node", &links(&cluster.on("node-1", show)?)?, &links(&bare.on("node", show)?)?)?;
    for (index, pod) in plan.pods().enumerate() {
        let (pod, bare_pod) = (pod.name.as_str(), format!("pod{index}"));
        same("a pod's links", &links(&cluster.on(pod, show)?)?, &links(&bare.on(&bare_pod, show)?)?)?;
        // Where there is no IPv6, minik keeps a pod silent; the plugins leave it its link-local address.
        let six = if more.is_empty() { "" } else { "ip -6 route;" };
        let routes = format!("ip route; {six} cat /proc/sys/net/ipv4/conf/eth0/arp_notify");
        same("a pod's routes", &cluster.on(pod, &routes)?, &bare.on(&bare_pod, &routes)?)?;
    }
    let directory = bare.files.path().join("mynet");
    same("files", &listed(&cluster.on("node-1", "ls /var/lib/cni/networks/mynet")?), &names(&directory)?)?;
    for name in std::fs::read_dir(&directory)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let ours = cluster.on("node-1", &format!("cat /var/lib/cni/networks/mynet/{name}"))?;
        same(&name, &ours, &std::fs::read_to_string(directory.join(&name))?)?;
    }
    cluster.is_verified()
}

fn listed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn names(directory: &Path) -> Result<String, Failed> {
    let entries = std::fs::read_dir(directory)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    Ok(names.join(" "))
}

fn no_plugins() -> Option<String> {
    let missing = ["bridge", "host-local", "loopback", "portmap"]
        .into_iter()
        .find(|name| !Path::new(PLUGINS).join(name).exists());
    kernel::not_root().or_else(|| missing.map(|name| format!("no {PLUGINS}/{name}, of containernetworking-plugins")))
}

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![
        kernel::trial("canal_is_calico_s_pods_over_flannel_s_network", kernel::not_root(), canal),
        kernel::trial("kubenet_is_as_kubelet_leaves_it", kernel::not_root(), kubenet),
        kernel::trial("kube_router_routes_by_rule_and_tunnel", kernel::not_root(), kube_router),
        kernel::trial("macvlan_pods_are_on_the_lan_and_out_of_their_nodes_reach", kernel::not_root(), macvlan),
        kernel::trial("docker_has_its_four_network_modes", kernel::not_root(), docker),
        kernel::trial("the_plain_bridge_is_what_the_real_plugins_make", no_plugins(), real_plugins),
        kernel::trial("with_two_ranges_it_is_too", no_plugins(), real_plugins_in_both_families),
        kernel::trial("host_ports_are_those_of_the_real_portmap_in_both_families", no_plugins(), real_portmap),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}
