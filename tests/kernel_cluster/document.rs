//! What a learner sees in the cluster, beside what the document's author saw in a real one ("Calico", "IP in IP
//! 调试"). Names and addresses that are random on a real cluster differ; everything else is the same.

use crate::kernel::fields::{self, Route, Seen, differing_routes, documented_route};
use crate::kernel::lab::Cluster;
use crate::kernel::tcpdump::Dump;
use crate::kernel::{Outcome, contains, equal, shell, until};

/// `ip route` in both nodes.
pub fn routes() -> Outcome {
    let cluster = Cluster::up("routes", "calico-ipip")?;
    let plan = cluster.plan()?;
    for (node, own, block, remote, via) in [
        ("node-1", "10.1.10.9", "10.100.84.128/26", "10.100.247.0/26", "10.1.10.10"),
        ("node-2", "10.1.10.10", "10.100.247.0/26", "10.100.84.128/26", "10.1.10.9"),
    ] {
        let mut expected = vec![
            "default via 10.1.10.2 dev ens33".to_owned(),
            format!("10.1.10.0/24 dev ens33 proto kernel scope link src {own}"),
            format!("blackhole {block} proto bird"),
            format!("{remote} via {via} dev tunl0 proto bird onlink"),
        ];
        for link in plan.namespace(node).ok_or("no node")?.links.iter().filter(|l| l.name.starts_with("cali")) {
            let minik::plan::LinkKind::Veth { peer_namespace, .. } = &link.kind else { continue };
            expected.push(format!("{} dev {} scope link", cluster.address(peer_namespace)?, link.name));
        }
        let seen = cluster.routes(node)?;
        same_routes(node, &expected, &seen)?;
        let place = |wanted: &dyn Fn(&Route) -> bool| seen.iter().position(wanted);
        let blackhole = place(&|route| route.get("type").is_some_and(|kind| kind == "blackhole"));
        let pod = place(&|route| route.get("dev").is_some_and(|dev| dev.starts_with("cali")));
        if blackhole > pod || pod.is_none() {
            return Err(format!("the /26 stands before its /32s on a real node: {seen:?}"));
        }
    }
    Ok(())
}

/// Fails unless these are the routes in `place`, in any order.
fn same_routes(place: &str, expected: &[String], seen: &[Route]) -> Outcome {
    let expected: Vec<Route> = expected.iter().map(|line| documented_route(line)).collect();
    match differing_routes(&expected, seen) {
        same if same.is_empty() && expected.len() == seen.len() => Ok(()),
        lines => Err(format!("ip route in {place}:\n{lines}{} expected, {} seen", expected.len(), seen.len())),
    }
}

/// `ip address`, `ip route` and `arping` in a pod.
pub fn pod() -> Outcome {
    let cluster = Cluster::up("pod", "calico-ipip")?;
    let pod = cluster.pods()?.here;
    let address = cluster.address(&pod)?;
    let eth0 = cluster.link(&pod, "eth0")?;
    eth0.expect(&[("mtu", "1480"), ("qdisc", "noqueue"), ("link_type", "ether")])?;
    if eth0.addresses("inet") != [(format!("{address}/32"), Some(address.as_str()), "global")] {
        return Err(format!("addresses of eth0: {:?}", eth0.addresses("inet")));
    }
    if !eth0.addresses("inet6").is_empty() {
        return Err(format!("the document's pods have no IPv6 address: {:?}", eth0.addresses("inet6")));
    }
    let gateway = ["default via 169.254.1.1 dev eth0", "169.254.1.1 dev eth0 scope link"].map(str::to_owned);
    same_routes("a pod", &gateway, &cluster.routes(&pod)?)?;
    let answer = cluster.exec(&pod, "arping -c 2 -I eth0 169.254.1.1")?;
    contains(&answer.to_lowercase(), "ee:ee:ee:ee:ee:ee")?;
    let links = fields::links(&cluster.exec("node-1", "ip -j link show")?)?;
    let cali: Vec<_> = links.iter().filter(|link| link.field("ifname").starts_with("cali")).collect();
    if cali.len() != 2 {
        return Err(format!("{} cali interfaces on node-1", cali.len()));
    }
    let macs = [("link_type", "ether"), ("address", "ee:ee:ee:ee:ee:ee"), ("broadcast", "ff:ff:ff:ff:ff:ff")];
    cali.iter().try_for_each(|link| link.expect(&macs))
}

/// tunl0 in both nodes.
pub fn tunnel() -> Outcome {
    let cluster = Cluster::up("tunnel", "calico-ipip")?;
    for (node, address) in [("node-1", "10.100.84.128"), ("node-2", "10.100.247.0")] {
        let tunl0 = cluster.link(node, "tunl0")?;
        tunl0.expect(&[("mtu", "1480"), ("qdisc", "noqueue"), ("txqlen", "1000"), ("link_type", "ipip")])?;
        if !["NOARP", "UP", "LOWER_UP"].iter().all(|flag| tunl0.flags().contains(flag)) {
            return Err(format!("flags of tunl0: {:?}", tunl0.flags()));
        }
        let addresses = tunl0.addresses("inet");
        if addresses != [(format!("{address}/32"), None, "global")] {
            return Err(format!("addresses of tunl0: {addresses:?}"));
        }
        if tunl0.flags().contains("MULTICAST") || !tunl0.addresses("inet6").is_empty() {
            return Err("the document's tunl0 has no MULTICAST flag and no IPv6 address".to_owned());
        }
    }
    Ok(())
}

/// The tcpdump lines of a ping across nodes, at every place where the document's author looked.
pub fn captures() -> Outcome {
    let cluster = Cluster::up("captures", "calico-ipip")?;
    let pods = cluster.pods()?;
    let (from, to) = (cluster.address(&pods.here)?, cluster.address(&pods.there)?);
    let parse = |address: &str| address.parse().map_err(|e| format!("{address}: {e}"));
    let inner = (parse(&from)?, parse(&to)?);
    let outer = (parse("10.1.10.9")?, parse("10.1.10.10")?);
    let cali = |pod: &str, node: &str| -> Result<String, String> {
        let routes = fields::routes(&cluster.exec(node, &format!("ip -j route get {}", cluster.address(pod)?))?)?;
        routes.first().and_then(|route| route.get("dev")).cloned().ok_or(format!("{routes:?}"))
    };
    let places = [
        ("node-1", cali(&pods.here, "node-1")?, "icmp", Some(98), vec![inner]),
        ("node-1", "tunl0".to_owned(), "icmp", None, vec![inner]),
        ("node-1", "ens33".to_owned(), "ip proto 4", Some(118), vec![outer, inner]),
        ("node-2", "ens33".to_owned(), "ip proto 4", Some(118), vec![outer, inner]),
        ("node-2", "tunl0".to_owned(), "icmp", None, vec![inner]),
        ("node-2", cali(&pods.there, "node-2")?, "icmp", Some(98), vec![inner]),
    ];
    let mut dumps = Vec::new();
    for (node, device, filter, ..) in &places {
        dumps.push(Dump::on(&cluster, (node, device), "-lnne", 4, filter)?);
    }
    let answers = cluster.exec(&pods.here, &format!("ping -n -c 2 -i 0.2 -W 20 {to}"))?;
    contains(&answers, "ttl=62")?;
    let beside = cluster.address(&pods.beside)?;
    contains(&cluster.exec(&pods.here, &format!("ping -n -c 1 -W 20 {beside}"))?, "ttl=63")?;
    for (dump, (node, device, _, length, hops)) in dumps.into_iter().zip(places) {
        let packets = fields::seen(&dump.text()?);
        let expected = Seen { length, hops, what: "ICMP echo request".to_owned() };
        if !packets.contains(&expected) {
            return Err(format!("{node}/{device}: no {expected:?} in {packets:?}"));
        }
    }
    Ok(())
}

/// The apps of the pods, asked by curl and nc through `minik exec`.
pub fn apps() -> Outcome {
    let cluster = Cluster::up("apps", "calico-ipip")?;
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
        crate::kernel::MINIK,
        cluster.name
    );
    let answer = shell(&said)?;
    if answer.trim().is_empty() {
        return Err("the pod answered nothing to nc -u".to_owned());
    }
    let failed = cluster.output(&["exec", &from, "--", "sh", "-c", "exit 7"])?;
    if failed.status.code() == Some(7) { Ok(()) } else { Err(format!("exec's code is the child's: {}", failed.status)) }
}

/// Host name, hosts and resolv.conf by `ip netns exec` and by `minik exec`.
pub fn files() -> Outcome {
    let cluster = Cluster::up("files", "calico-ipip")?;
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
