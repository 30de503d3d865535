//! How much passes from a pod to a pod on another node: through tunl0 as `up` made it, and, in the same cluster with
//! one route changed in each node, through the kernel's vxlan and through no tunnel at all.

use std::io::{Error, Result};
use std::process::{Child, Command, Stdio};

use minik::plan::{Plan, Role};
use serde_json::Value;

use crate::clusters;
use crate::measure::{Figures, output, wait_until};

const SECONDS: &str = "3";
const TIMES: usize = 3;

/// One way between two nodes.
pub struct Path {
    pub name: &'static str,
    /// Gb/s of one TCP connection.
    pub tcp: Figures,
    /// Thousands of UDP packets of 18 bytes that arrive in a second.
    pub udp: Figures,
}

/// Two pods on different nodes and the cluster's two nodes.
struct Ends {
    from: String,
    to: String,
    to_address: String,
    nodes: Vec<Side>,
}

/// A node's namespace and its route to the other node's pods.
struct Side {
    netns: String,
    address: String,
    block: String,
    gateway: String,
}

/// Measures all paths in the standing cluster of two nodes that `plan` describes.
pub fn measure(plan: &Plan) -> Result<Vec<Path>> {
    let ends = ends(plan)?;
    let mut paths = vec![one("vxlan of the kernel", &ends, vxlan)?];
    paths.push(one("tunl0", &ends, |_, side| replace(side, &["via", &side.gateway, "dev", "tunl0", "onlink"]))?);
    paths.push(one("no tunnel", &ends, |_, side| replace(side, &["via", &side.gateway]))?);
    Ok(paths)
}

fn one(name: &'static str, ends: &Ends, mut prepare: impl FnMut(usize, &Side) -> Result<()>) -> Result<Path> {
    for (i, side) in ends.nodes.iter().enumerate() {
        prepare(i, side)?;
    }
    let tcp = Figures::of(TIMES, "Gb/s", || {
        let report = iperf(ends, &[])?;
        number(&report, "/end/sum_received/bits_per_second").map(|bits| bits / 1e9)
    })?;
    let udp = Figures::of(TIMES, "kpps", || {
        let report = iperf(ends, &["-u", "-b", "0", "-l", "18"])?;
        let of = |what: &str| number(&report, &format!("/end/sum/{what}"));
        Ok((of("packets")? - of("lost_packets")?) / of("seconds")? / 1e3)
    })?;
    Ok(Path { name, tcp, udp })
}

fn ends(plan: &Plan) -> Result<Ends> {
    let odd = || Error::other("the cluster has not two nodes with a pod each");
    let on = |wanted: &str| {
        let here = |role: &Role| matches!(role, Role::Pod { node, .. } if node == wanted);
        plan.pods().find(|pod| here(&pod.role)).map(|pod| pod.netns.clone())
    };
    let nodes: Vec<_> = plan.nodes().collect();
    let [first, second] = nodes[..] else { return Err(odd()) };
    let (from, to) = (on(&first.name).ok_or_else(odd)?, on(&second.name).ok_or_else(odd)?);
    let side = |node: &minik::plan::Namespace| {
        let route = node.routes.iter().find(|route| route.dev.as_deref() == Some("tunl0")).ok_or_else(odd)?;
        let (_, address) =
            node.addresses().find(|(link, _)| link.master.is_none() && link.mac.is_some()).ok_or_else(odd)?;
        Ok::<Side, Error>(Side {
            netns: node.netns.clone(),
            address: address.net.addr().to_string(),
            block: route.dst.to_string(),
            gateway: route.via.ok_or_else(odd)?.to_string(),
        })
    };
    let to_address = clusters::address(&to)?;
    Ok(Ends { from, to, to_address, nodes: vec![side(first)?, side(second)?] })
}

fn vxlan(i: usize, side: &Side) -> Result<()> {
    let ip = |words: &[&str]| output(Command::new("ip").args(["-n", &side.netns]).args(words)).map(drop);
    let (own, other) = (format!("10.255.0.{}/30", i + 1), format!("10.255.0.{}", 2 - i));
    let ends = ["local", &side.address, "remote", &side.gateway, "dstport", "4789"];
    ip(&[&["link", "add", "bench0", "type", "vxlan", "id", "7"], &ends[..]].concat())?;
    ip(&["address", "add", &own, "dev", "bench0"])?;
    // The outer headers take 50 bytes of the underlay's 1500; without this the outer packets would be fragmented.
    ip(&["link", "set", "bench0", "mtu", "1450", "up"])?;
    replace(side, &["via", &other, "dev", "bench0"])
}

fn replace(side: &Side, way: &[&str]) -> Result<()> {
    let words = ["-n", &side.netns, "route", "replace", &side.block];
    output(Command::new("ip").args(words).args(way).args(["proto", "bird"])).map(drop)
}

/// A server that ends with its one client, and is ended with this value at the latest.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It has most likely ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn iperf(ends: &Ends, extra: &[&str]) -> Result<Value> {
    let mut server = Command::new("ip");
    server.args(["netns", "exec", &ends.to, "iperf3", "-s", "-1"]).stdin(Stdio::null()).stdout(Stdio::null());
    let _server = Server(server.spawn()?);
    wait_until("iperf3 listens", || {
        let listening = output(Command::new("ip").args(["netns", "exec", &ends.to, "ss", "-Hltn", "sport = :5201"]))?;
        Ok(!listening.is_empty())
    })?;
    let client = ["netns", "exec", &ends.from, "iperf3", "-J", "-t", SECONDS, "-c", &ends.to_address];
    serde_json::from_str(&output(Command::new("ip").args(client).args(extra))?).map_err(Error::other)
}

fn number(report: &Value, pointer: &str) -> Result<f64> {
    report.pointer(pointer).and_then(Value::as_f64).ok_or_else(|| Error::other(format!("iperf3 reports no {pointer}")))
}
