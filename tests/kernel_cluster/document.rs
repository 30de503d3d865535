//! What a learner sees in the cluster, beside what the document's author saw in a real one ("Calico", "IP in IP
//! 调试"). Names and addresses that are random on a real cluster differ; everything else is the same.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::lab::{Cluster, Outcome, contains, equal, shell, until};

/// `ip route` in both nodes.
pub fn routes() -> Outcome {
    let cluster = Cluster::up("routes")?;
    let plan = cluster.plan()?;
    for (node, own, block, remote, via) in [
        ("node-1", "10.1.10.9", "10.100.84.128/26", "10.100.247.0/26", "10.1.10.10"),
        ("node-2", "10.1.10.10", "10.100.247.0/26", "10.100.84.128/26", "10.1.10.9"),
    ] {
        let mut expected = vec![
            "default via 10.1.10.2 dev ens33".to_owned(),
            format!("10.1.10.0/24 dev ens33 proto kernel scope link src {own}"),
        ];
        let mut blocks = vec![format!("blackhole {block} proto bird")];
        for link in plan.namespace(node).ok_or("no node")?.links.iter().filter(|l| l.name.starts_with("cali")) {
            let minik::plan::LinkKind::Veth { peer_namespace, .. } = &link.kind else { continue };
            blocks.push(format!("{} dev {} scope link", cluster.address(peer_namespace)?, link.name));
        }
        blocks.push(format!("{remote} via {via} dev tunl0 proto bird onlink"));
        expected.extend(blocks);
        let seen = cluster.exec(node, "ip route")?;
        let mut seen: Vec<&str> = seen.lines().map(str::trim_end).collect();
        let printed_order = seen.clone();
        expected.sort();
        seen.sort();
        equal(&format!("ip route in {node}"), &expected.join("\n"), &seen.join("\n"))?;
        let place = |start: &str| printed_order.iter().position(|line| line.starts_with(start));
        let hosts = block.rsplit_once('.').map_or(block, |(net, _)| net);
        if place("blackhole") > place(hosts) || place(hosts).is_none() {
            return Err(format!("the /26 stands before its /32s on a real node: {printed_order:?}"));
        }
    }
    Ok(())
}

/// `ip address`, `ip route` and `arping` in a pod.
pub fn pod() -> Outcome {
    let cluster = Cluster::up("pod")?;
    let pod = cluster.pods()?.here;
    let address = cluster.address(&pod)?;
    let seen = cluster.exec(&pod, "ip address show dev eth0")?;
    contains(&seen, &format!("inet {address}/32 brd {address} scope global eth0"))?;
    contains(&seen, "mtu 1480 qdisc noqueue")?;
    if seen.contains("inet6") {
        return Err(format!("the document's pods have no IPv6 address:\n{seen}"));
    }
    let routes = cluster.exec(&pod, "ip route")?;
    let routes: Vec<&str> = routes.lines().map(str::trim_end).collect();
    equal(
        "ip route in a pod",
        "default via 169.254.1.1 dev eth0\n169.254.1.1 dev eth0 scope link",
        &routes.join("\n"),
    )?;
    let answer = cluster.exec(&pod, "arping -c 2 -I eth0 169.254.1.1")?;
    contains(&answer.to_lowercase(), "ee:ee:ee:ee:ee:ee")?;
    let node = cluster.exec("node-1", "ip link show")?;
    contains(&node, "link/ether ee:ee:ee:ee:ee:ee brd ff:ff:ff:ff:ff:ff")
}

/// tunl0 in both nodes.
pub fn tunnel() -> Outcome {
    let cluster = Cluster::up("tunnel")?;
    for (node, address) in [("node-1", "10.100.84.128"), ("node-2", "10.100.247.0")] {
        let seen = cluster.exec(node, "ip address show dev tunl0")?;
        contains(&seen, "mtu 1480 qdisc noqueue")?;
        contains(&seen, "qlen 1000")?;
        contains(&seen, "link/ipip")?;
        contains(&seen, "NOARP,UP,LOWER_UP>")?;
        contains(&seen, &format!("inet {address}/32 scope global tunl0"))?;
        if seen.contains("MULTICAST") || seen.contains("inet6") {
            return Err(format!("the document's tunl0 has no MULTICAST flag and no IPv6 address:\n{seen}"));
        }
    }
    Ok(())
}

/// The tcpdump lines of a ping across nodes, at every place where the document's author looked.
pub fn captures() -> Outcome {
    let cluster = Cluster::up("captures")?;
    let pods = cluster.pods()?;
    let (from, to) = (cluster.address(&pods.here)?, cluster.address(&pods.there)?);
    let echo = format!("{from} > {to}: ICMP echo request");
    let cali = |pod: &str, node: &str| -> Result<String, String> {
        let route = cluster.exec(node, &format!("ip route get {}", cluster.address(pod)?))?;
        let dev = route.split_whitespace().skip_while(|word| *word != "dev").nth(1);
        dev.map(str::to_owned).ok_or(route.clone())
    };
    let places = [
        ("node-1", cali(&pods.here, "node-1")?, "icmp", format!("length 98: {echo}")),
        ("node-1", "tunl0".to_owned(), "icmp", format!("ip: {echo}")),
        ("node-1", "ens33".to_owned(), "ip proto 4", format!("length 118: 10.1.10.9 > 10.1.10.10: IP {echo}")),
        ("node-2", "ens33".to_owned(), "ip proto 4", format!("length 118: 10.1.10.9 > 10.1.10.10: IP {echo}")),
        ("node-2", "tunl0".to_owned(), "icmp", format!("ip: {echo}")),
        ("node-2", cali(&pods.there, "node-2")?, "icmp", format!("length 98: {echo}")),
    ];
    let mut dumps = Vec::new();
    for (node, device, filter, _) in &places {
        let netns = cluster.netns(node);
        let mut dump = Command::new("ip")
            .args(["netns", "exec", &netns, "timeout", "20", "tcpdump", "-lnnei", device, "-c", "4"])
            .args(filter.split(' '))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot run tcpdump: {e}"))?;
        let mut errors = BufReader::new(dump.stderr.take().ok_or("no stderr")?);
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            if errors.read_line(&mut line).map_err(|e| e.to_string())? == 0 {
                return Err(format!("tcpdump on {device} in {node} did not start"));
            }
        }
        dumps.push((dump, errors));
    }
    let answers = cluster.exec(&pods.here, &format!("ping -n -c 2 -i 0.2 -W 20 {to}"))?;
    contains(&answers, "ttl=62")?;
    let beside = cluster.address(&pods.beside)?;
    contains(&cluster.exec(&pods.here, &format!("ping -n -c 1 -W 20 {beside}"))?, "ttl=63")?;
    for ((dump, _errors), (node, device, _, line)) in dumps.into_iter().zip(&places) {
        let output = dump.wait_with_output().map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).replace("10.1.10.10: 10.", "10.1.10.10: IP 10.");
        contains(&text, line).map_err(|e| format!("{node}/{device}: {e}"))?;
    }
    Ok(())
}

/// The apps of the pods, asked by curl and nc through `minik exec`.
pub fn apps() -> Outcome {
    let cluster = Cluster::up("apps")?;
    let pods = cluster.pods()?;
    let from = pods.here.rsplit('/').next().ok_or("no name")?.to_owned();
    let names: Vec<String> = [&pods.beside, &pods.there].iter().map(|p| (*p).clone()).collect();
    for pod in &names {
        let url = format!("http://{}/", cluster.address(pod)?);
        let answer = cluster.minik(&["exec", &from, "--", "curl", "-s", "-m", "5", &url])?;
        if answer.trim().is_empty() {
            return Err(format!("{pod} answered nothing to curl"));
        }
    }
    let address = cluster.address(&pods.there)?;
    let said = format!(
        "echo hello-minik | {} exec -c {} {from} -- nc -u -w 1 {address} 9376",
        crate::lab::MINIK,
        cluster.name
    );
    let answer = shell(&said)?;
    if answer.trim().is_empty() {
        return Err("the pod answered nothing to nc -u".to_owned());
    }
    let failed = cluster.minik_output(&["exec", &from, "--", "sh", "-c", "exit 7"])?;
    if failed.status.code() == Some(7) { Ok(()) } else { Err(format!("exec's code is the child's: {}", failed.status)) }
}

/// Host name, hosts and resolv.conf by `ip netns exec` and by `minik exec`.
pub fn files() -> Outcome {
    let cluster = Cluster::up("files")?;
    let pod = cluster.pods()?.here;
    let name = pod.rsplit('/').next().ok_or("no name")?.to_owned();
    let address = cluster.address(&pod)?;
    contains(&cluster.exec(&pod, "cat /etc/hosts")?, &format!("{address}\t{name}"))?;
    if cluster.exec(&pod, "cat /etc/resolv.conf")?.lines().any(|line| line.starts_with("nameserver")) {
        return Err("there is no DNS in this cluster".to_owned());
    }
    equal("hostname", &name, cluster.minik(&["exec", &name, "--", "hostname"])?.trim())?;
    contains(&cluster.minik(&["exec", &name, "--", "cat", "/etc/hosts"])?, &address)?;
    until("the host's own name to be untouched", || {
        shell("hostname").is_ok_and(|host| !host.trim().is_empty() && host.trim() != name)
    })
}
