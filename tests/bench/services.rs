//! Very many Services on one node: the first load beside the restore tool alone, one that changes, and how long a packet
//! for the last of them takes.

use std::fmt::Write;
use std::io::{Error, Result};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use minik::kernel::netns;
use minik::plan::{Datapath, Plan, restore};
use minik::topology::{self, Cluster, Overrides, Source};
use minik::{compose, error};

use crate::clusters::{CLUSTER, Standing, plan_of_pods};
use crate::measure::{Figures, Measure, milliseconds};

/// Endpoints of every Service.
const ENDPOINTS: usize = 3;
/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);
const TIMES: usize = 3;
const CONNECTIONS: usize = 20;

/// Measures all sizes, or with `quick` the first.
pub fn measure(dir: &Path, quick: bool) -> Result<()> {
    let sizes: &[usize] = if quick { &[100] } else { &[100, 1000, 5000] };
    sizes.iter().try_for_each(|services| one_size(*services, dir))
}

fn one_size(services: usize, dir: &Path) -> Result<()> {
    let (file, rules) = (dir.join("services.yaml"), dir.join("rules"));
    let text = topology(services);
    std::fs::write(&file, &text)?;
    let (cluster, plan) = planned(&text)?;
    let node = plan.nodes().next().ok_or_else(|| Error::other("the plan has no node"))?;
    std::fs::write(&rules, restore::iptables_restore(&node.tables))?;
    let mut first = Measure::new(format!("{services} Services with {ENDPOINTS} endpoints each, first load"));
    let empty = format!("exec iptables-restore < {}", rules.display());
    first.row(
        "iptables-restore alone, empty namespace",
        Figures::of(TIMES, "ms", || milliseconds(Command::new("unshare").args(["-n", "sh", "-c", &empty])))?,
    );
    let (mut up, mut change) = (Vec::new(), Vec::new());
    let [mut near, mut far] = [const { Vec::new() }; 2];
    for _ in 0..TIMES {
        let standing = Standing::up(&file)?;
        up.push(standing.took);
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
            let manifest = dir.join("changed.yaml");
            std::fs::write(&manifest, service(services / 2, 8000 + number))?;
            change.push(standing.does(&["apply", "-f", &manifest.to_string_lossy()])?);
        }
        standing.down()?;
    }
    first.row("minik up, whole process", Figures::from(up, "ms"));
    first.row("one changed Service, minik apply, whole process", Figures::from(change, "ms"));
    first.print();
    let mut latency = Measure::new(format!("a connection from a pod, {services} Services"));
    latency.row("to the first", Figures::from(near, "µs"));
    latency.row("to the last", Figures::from(far, "µs"));
    latency.print();
    Ok(())
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

fn topology(services: usize) -> String {
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
  proxy: {{ mode: iptables }}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: test }}
spec:
  replicas: {ENDPOINTS}
  selector: {{ matchLabels: {{ app: test }} }}
  template:
    metadata: {{ labels: {{ app: test }} }}
    spec:
      containers:
      - {{ name: pause, image: pause }}
"
    );
    for number in 0..services {
        text.push_str("---\n");
        text.push_str(&service(number, 80));
    }
    text
}

fn service(number: usize, port: usize) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "apiVersion: v1
kind: Service
metadata: {{ name: service-{number} }}
spec:
  selector: {{ app: test }}
  ports:
  - {{ port: {port}, targetPort: 80 }}
"
    );
    text
}
