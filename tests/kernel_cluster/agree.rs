//! Three descriptions of one network agree: the plan, the kernel after `up`, the kernel after the script of
//! `plan --as shell`.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use minik::kernel::{drift, netns, read};
use minik::plan::Plan;

use crate::host;
use crate::kernel::fields::{differing_rules, rules};
use crate::kernel::lab::Cluster;
use crate::kernel::{Outcome, builtin, contains, equal, planned, shell};

/// What the kernel holds after `up` is what the plan says, by our own reading and by the tools'.
pub fn up_and_plan() -> Outcome {
    let cluster = Cluster::up("plan", "calico-ipip")?;
    let plan = cluster.plan()?;
    let drifts = drift::of(&plan).map_err(|e| e.to_string())?;
    if !drifts.is_empty() {
        return Err(drifts.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    }
    for node in plan.nodes() {
        let dump = cluster.exec(&node.name, "iptables-save")?;
        let planned = minik::plan::restore::iptables_restore(&node.tables);
        match differing_rules(&rules(&planned)?, &rules(&dump)?) {
            same if same.is_empty() => {}
            lines => return Err(format!("iptables-save in {}:\n{lines}", node.name)),
        }
        let sets = cluster.exec(&node.name, "ipset save")?;
        let seen: BTreeSet<&str> = sets.lines().filter(|line| line.starts_with("add ")).collect();
        let planned = minik::plan::restore::ipset_restore(&node.sets);
        let wanted: BTreeSet<&str> = planned.lines().filter(|line| line.starts_with("add ")).collect();
        if seen != wanted {
            return Err(format!("ipset save in {}: {seen:?}, planned {wanted:?}", node.name));
        }
    }
    Ok(())
}

/// The reading that `up_and_plan` relies on sees what is missing and what is too much.
pub fn drift() -> Outcome {
    let cluster = Cluster::up("drift", "calico-ipip")?;
    let plan = cluster.plan()?;
    cluster.exec("node-1", "ip route del 10.100.247.0/26")?;
    cluster.exec("node-2", "ip route add 10.9.9.0/24 via 10.1.10.2")?;
    cluster.exec("node-2", "iptables -I INPUT -p tcp --dport 179 -j REJECT")?;
    let words: Vec<String> = drift::of(&plan).map_err(|e| e.to_string())?.iter().map(ToString::to_string).collect();
    let all = words.join("\n");
    for expected in [
        "node-1: missing: route 10.100.247.0/26 via 10.1.10.10 dev tunl0",
        "node-2: not in the plan: route 10.9.9.0/24 via 10.1.10.2",
        "--dport 179",
    ] {
        contains(&all, expected)?;
    }
    contains(&cluster.status()?, "10.100.247.0/26 via 10.1.10.10 dev tunl0")
}

/// A network built by hand from the script, and one built by `up`, are the same to the kernel's tools; what a reboot left of
/// such a cluster is not in the script's way.
pub fn script_and_up() -> Outcome {
    let cluster = Cluster::named("script");
    let datapath = crate::kernel::datapath().to_string();
    let text = cluster.minik(&["plan", "calico-ipip", "--as", "shell", "--datapath", &datapath])?;
    host::left_by_a_reboot(&cluster)?;
    let script = Script::run(&text)?;
    let plan = planned(builtin("calico-ipip")?, &cluster.name)?;
    let by_hand = everything(&cluster, &plan)?;
    script.undo()?;
    cluster.minik(&["up", "calico-ipip", "--datapath", &datapath])?;
    equal("the kernel's state", &by_hand, &everything(&cluster, &plan)?)
}

struct Script {
    text: String,
    done: bool,
}

impl Script {
    fn run(text: &str) -> Result<Script, String> {
        let script = Script { text: text.to_owned(), done: false };
        script.feed(&[])?;
        Ok(script)
    }

    fn feed(&self, arguments: &[&str]) -> Outcome {
        let mut sh = Command::new("sh")
            .args(["-s", "--"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| e.to_string())?;
        sh.stdin.take().ok_or("no stdin")?.write_all(self.text.as_bytes()).map_err(|e| e.to_string())?;
        let output = sh.wait_with_output().map_err(|e| e.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("the script failed: {}", String::from_utf8_lossy(&output.stderr)))
    }

    fn undo(mut self) -> Outcome {
        self.done = true;
        self.feed(&["down"])
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if !self.done {
            let _ = self.feed(&["down"]);
        }
    }
}

/// Everything in the cluster's namespaces as text, without what a TUN's missing server changes.
fn everything(cluster: &Cluster, plan: &Plan) -> Result<String, String> {
    let mut text = String::new();
    for namespace in &plan.namespaces {
        let name = &namespace.name;
        let handle = netns::open(&namespace.netns).map_err(|e| e.to_string())?;
        let live = read::namespace(handle.file()).map_err(|e| e.to_string())?;
        text += &format!("== {name}\n");
        for link in &live.links {
            // The kernel chooses a MAC where the plan leaves it to it.
            let mac = namespace.link(&link.name).and_then(|planned| planned.mac).and(link.mac);
            text += &format!("{} {} {mac:?} {:?} {} {:?}\n", link.name, link.mtu, link.master, link.up, link.addresses);
        }
        let mut routes: Vec<String> = live.routes.iter().map(|route| format!("{route:?}\n")).collect();
        routes.sort();
        text += &routes.concat();
        text += &format!("{:?}\n", live.neighbours);
        let tables = cluster.exec(name, "iptables-save")?;
        text += &minik::plan::restore::normalised(&tables);
        let mut sets: Vec<String> = cluster.exec(name, "ipset save")?.lines().map(without_hash_seed).collect();
        sets.sort();
        text += &format!("{}\n", sets.join("\n"));
        let keys = "proxy_arp|proxy_delay|forwarding|route_localnet|rp_filter|disable_ipv6|accept_ra";
        let sysctls = format!("sysctl -a 2>/dev/null | grep -E '\\.({keys}) ' | sort");
        text += &cluster.exec(name, &format!("sh -c \"{sysctls}\""))?;
        text += &shell(&format!("cat /etc/netns/{}/*", namespace.netns))?;
    }
    Ok(text)
}

/// `ipset save` names the seed of a set's hash, which is random.
fn without_hash_seed(line: &str) -> String {
    line.split(" initval").next().unwrap_or(line).to_owned()
}
