//! Very many Services on one node: the first load beside the restore tool alone, one that changes, and how long a packet
//! for the last of them takes.

use std::fmt::Write;
use std::io::{Error, Result};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use minik::kernel::netns;
use minik::plan::{Datapath, Namespace, Plan, difference, nft, restore};
use minik::topology::{self, Cluster, Overrides, Source};
use minik::{compose, error};

use crate::clusters::{CLUSTER, Standing, plan_of_pods};
use crate::measure::{Figures, Measure, milliseconds};

/// Endpoints of every Service.
const ENDPOINTS: usize = 3;
/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);
const TIMES: usize = 3;
/// How often very many Services are loaded, which takes seconds each time.
const TIMES_OF_MANY: usize = 2;
/// How many those are.
const MANY: usize = 5000;
const CONNECTIONS: usize = 20;

/// Who translates addresses, and what loads its rules.
struct Mode {
    name: &'static str,
    proxy: &'static str,
    iptables: &'static str,
    /// What loads all rules into an empty namespace, and what changes some.
    load: &'static [&'static str],
    change: &'static [&'static str],
}

const MODES: &[Mode] = &[
    Mode {
        name: "iptables-nft",
        proxy: "iptables",
        iptables: "nft",
        load: &["iptables-nft-restore"],
        change: &["iptables-nft-restore", "--noflush"],
    },
    Mode {
        name: "iptables-legacy",
        proxy: "iptables",
        iptables: "legacy",
        load: &["iptables-legacy-restore"],
        change: &["iptables-legacy-restore", "--noflush"],
    },
    Mode {
        name: "nftables",
        proxy: "nftables",
        iptables: "nft",
        load: &["nft", "-f", "-"],
        change: &["nft", "-f", "-"],
    },
];

/// Measures all sizes in all modes, or with `quick` the first size.
pub fn measure(dir: &Path, quick: bool) -> Result<()> {
    let sizes: &[usize] = if quick { &[100] } else { &[100, 1000, MANY] };
    sizes.iter().try_for_each(|services| MODES.iter().try_for_each(|mode| one_size(mode, *services, dir)))
}

fn one_size(mode: &Mode, services: usize, dir: &Path) -> Result<()> {
    let (file, rules, single) = (dir.join("services.yaml"), dir.join("rules"), dir.join("one-chain"));
    let text = topology(mode, services);
    std::fs::write(&file, &text)?;
    let (cluster, plan) = planned(&text)?;
    let node = plan.nodes().next().ok_or_else(|| Error::other("the plan has no node"))?;
    let (all, chain) = inputs(node);
    std::fs::write(&rules, all)?;
    std::fs::write(&single, chain)?;
    let title = format!("{}, {services} Services with {ENDPOINTS} endpoints each", mode.name);
    let mut first = Measure::new(format!("{title}: first load"));
    let reads = |words: &[&str], input: &Path| format!("exec {} < {}", words.join(" "), input.display());
    let alone = || milliseconds(Command::new("unshare").args(["-n", "sh", "-c", &reads(mode.load, &rules)]));
    let times = if services < MANY { TIMES } else { TIMES_OF_MANY };
    first.row(format!("{} alone, empty namespace", mode.load[0]), Figures::of(times, "ms", alone)?);
    let (mut planning, mut loading) = (Vec::new(), Vec::new());
    let (mut up, mut floor, mut edit, mut scale) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let [mut near, mut far] = [const { Vec::new() }; 2];
    for _ in 0..times {
        let (standing, steps) = Standing::up_by_steps(&file)?;
        up.push(standing.took);
        let Some(((_, plan), rest)) = steps.split_first() else { return Err(Error::other("up told no steps")) };
        planning.push(*plan);
        loading.push(rest.iter().map(|(_, took)| took).sum());
        let pods = plan_of_pods()?;
        // One that was never asked, as long as nothing is cached, then the same way again and again.
        let ends = [cluster.services.first(), cluster.services.last()]
            .map(|one| one.and_then(|one| one.cluster_ips.first().copied()));
        let [Some(one), Some(last)] = ends else { return Err(Error::other("a Service has no address")) };
        for _ in 0..CONNECTIONS {
            near.push(connect(&pods[0], one)?);
            far.push(connect(&pods[0], last)?);
        }
        for number in 0..TIMES {
            let place = netns::open(&node.netns).map_err(Error::other)?;
            let tool = || milliseconds(Command::new("sh").args(["-c", &reads(mode.change, &single)]));
            floor.push(netns::inside(place.file(), tool).map_err(Error::other)??);
            let manifest = dir.join("changed.yaml");
            std::fs::write(&manifest, service(services / 2, "one", 8000 + number))?;
            edit.push(standing.does(&["apply", "-f", &manifest.to_string_lossy()])?);
        }
        for replicas in ["4", "3"] {
            scale.push(standing.does(&["scale", "deployment", "one", "--replicas", replicas])?);
        }
        standing.down()?;
    }
    first.row("minik up, whole process", Figures::from(up, "ms"));
    first.row("of it, until the plan is there", Figures::from(planning, "ms"));
    first.row("of it, from then until the last rule is loaded", Figures::from(loading, "ms"));
    first.print();
    let mut changes = Measure::new(format!("{title}: a change"));
    changes.row(format!("{} alone, one chain", mode.change.join(" ")), Figures::from(floor, "ms"));
    changes.row("a Service edited, minik apply, whole process", Figures::from(edit, "ms"));
    changes.row("its Deployment scaled by one pod, minik scale, whole process", Figures::from(scale, "ms"));
    changes.print();
    let mut latency = Measure::new(format!("{title}: a connection from a pod"));
    latency.row("to the first", Figures::from(near, "µs"));
    latency.row("to the last", Figures::from(far, "µs"));
    latency.print();
    Ok(())
}

/// What the tool needs for all rules of a node that Services make, and for the chain of one Service.
fn inputs(node: &Namespace) -> (String, String) {
    let mut without = node.clone();
    match without.nft.first_mut() {
        Some(table) => {
            let of_service = |chain: &&mut nft::NftChain| chain.name.starts_with("service-");
            table.chains.iter_mut().find(of_service).into_iter().for_each(|chain| chain.rules.clear());
            (nft::text::script(&node.nft), nft::difference::tables(&without.nft, &node.nft).change)
        }
        None => {
            let chains = without.tables.iter_mut().flat_map(|table| &mut table.chains);
            let mut of_services = chains.filter(|chain| chain.name.starts_with("KUBE-SVC-"));
            of_services.next().into_iter().for_each(|chain| chain.rules.clear());
            drop(of_services);
            (restore::iptables_restore(&node.tables), difference::tables(&without.tables, &node.tables))
        }
    }
}

fn planned(text: &str) -> Result<(Cluster, Plan)> {
    let overrides = Overrides { cluster_name: Some(CLUSTER.to_owned()), ..Default::default() };
    let make = || -> error::Result<(Cluster, Plan)> {
        let cluster = topology::parse(&[Source::new("services.yaml", text)], &overrides)?;
        let plan = compose::plan(&cluster, Datapath::Kernel)?;
        Ok((cluster, plan))
    };
    make().map_err(Error::other)
}

/// Microseconds of a TCP connection from a namespace to port 80.
fn connect(from: &str, to: IpAddr) -> Result<f64> {
    let handle = netns::open(from).map_err(Error::other)?;
    let took = netns::inside(handle.file(), || {
        let start = Instant::now();
        TcpStream::connect_timeout(&SocketAddr::new(to, 80), PATIENCE).map(|_| start.elapsed())
    });
    Ok(took.map_err(Error::other)??.as_secs_f64() * 1e6)
}

fn topology(mode: &Mode, services: usize) -> String {
    let mut text = format!(
        "apiVersion: minik.dev/v1
kind: Cluster
metadata: {{ name: {CLUSTER} }}
spec:
  segments:
  - {{ name: lan, subnet: 10.1.0.0/16, router: 10.1.0.2 }}
  nodes:
  - {{ name: node-1, address: 10.1.10.9, nic: ens33 }}
  network:
    cni: flannel-host-gw
  serviceCIDR: 10.96.0.0/16
  proxy: {{ mode: {} }}
  iptables: {}
",
        mode.proxy, mode.iptables
    );
    for app in ["test", "one"] {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "---
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: {app} }}
spec:
  replicas: {ENDPOINTS}
  selector: {{ matchLabels: {{ app: {app} }} }}
  template:
    metadata: {{ labels: {{ app: {app} }} }}
    spec:
      containers:
      - {{ name: pause, image: pause }}
"
        );
    }
    for number in 0..services {
        text.push_str("---\n");
        text.push_str(&service(number, if number == services / 2 { "one" } else { "test" }, 80));
    }
    text
}

fn service(number: usize, app: &str, port: usize) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{ name: service-{number} }}
spec:
  selector: {{ app: {app} }}
  ports:
  - {{ port: {port}, targetPort: 80 }}
"
    )
}
