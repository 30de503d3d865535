//! Lines that lose packets and are slow, judged by fping and iperf3: by netem, or by what stands in for it.

#![allow(clippy::disallowed_methods, reason = "a test ends where its preparation fails")]

mod kernel;

use std::io::{Seek, SeekFrom, Write};
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use kernel::{lacking, not_root, patience, trial};
use libtest_mimic::{Arguments, Failed, Trial};
use minik::kernel::features;

const MINIK: &str = env!("CARGO_BIN_EXE_minik");

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let without = |tool: &str| lacking(&[tool]);
    let netem = not_root().is_none() && features::has_netem().is_ok_and(|has| has);
    let mut trials: Vec<Trial> = vec![
        trial("a_line_loses_its_share_and_no_more", not_root().or_else(|| without("fping")), loss),
        trial("a_line_is_as_fast_as_it_is_said_to_be", not_root().or_else(|| without("iperf3")), rate),
        trial("a_file_s_lines_are_there_from_the_beginning", not_root().or_else(|| without("fping")), from_the_file),
        trial("a_written_script_makes_the_same_lines", not_root().or_else(|| without("fping")), script),
        trial("pods_come_and_go_beside_a_line_that_loses", not_root(), pods_change),
    ];
    // Where there is netem nothing stands in for it: that machine lacks nothing.
    if !netem {
        trials.push(trial("what_stands_in_for_netem_is_told_and_watched", not_root(), replaced));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A cluster that is removed at the latest when this is dropped.
struct Cluster(String);

impl Cluster {
    fn up(tag: &str, topology: &str) -> Result<Cluster, Failed> {
        let cluster = Cluster(format!("lines{}{tag}", std::process::id()));
        cluster.minik(&["up", topology])?;
        Ok(cluster)
    }

    fn run(&self, arguments: &[&str]) -> Result<Output, Failed> {
        Ok(Command::new(MINIK).args(["-c", &self.0]).args(arguments).stdin(Stdio::null()).output()?)
    }

    fn minik(&self, arguments: &[&str]) -> Result<String, Failed> {
        let output = self.run(arguments)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(text),
            false => Err(format!("{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr)).into()),
        }
    }

    /// The share of a thousand echoes from a pod of node-1 to one of node-2 that comes back.
    fn answered(&self) -> Result<f64, Failed> {
        let address = self.minik(&["exec", "node-2", "--", "ip", "-4", "-o", "address", "show", "ens33"])?;
        let address = address.split_whitespace().skip_while(|word| *word != "inet").nth(1).unwrap_or_default();
        let address = address.split('/').next().unwrap_or_default();
        let fping = |options: &[&str]| self.run(&[&["exec", "node-1", "--", "fping"], options, &[address]].concat());
        for node in ["node-1", "node-2"] {
            self.minik(&[&["exec", node, "--"], KEEP_NEIGHBOURS].concat())?;
        }
        fping(FIRST)?;
        share(&fping(FPING)?)
    }
}

/// A line loses ARP, too, and a kernel that gets no answer to it waits for seconds: that is not to be counted.
const KEEP_NEIGHBOURS: &[&str] = &["sysctl", "-qw", "net.ipv4.neigh.ens33.delay_first_probe_time=600"];
/// Until one is answered.
const FIRST: &[&str] = &["-q", "-r100", "-t100", "-B1"];
const FPING: &[&str] = &["-q", "-c1000", "-p3", "-t1000"];

/// The share of echoes that fping had answers for: `10.1.10.10 : xmt/rcv/%loss = 1000/640/36%, min/avg/max = …`.
fn share(output: &Output) -> Result<f64, Failed> {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let numbers: Vec<f64> = said
        .split_once("%loss = ")
        .and_then(|(_, rest)| rest.split_once('%'))
        .map(|(counts, _)| counts.split('/').filter_map(|word| word.parse().ok()).collect())
        .unwrap_or_default();
    match numbers[..] {
        [sent, received, _] if sent > 0.0 => Ok(received / sent),
        _ => Err(format!("fping says: {said}").into()),
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // What is left is found by whoever looks at `minik ls`; a test that failed has said why.
        let _ = self.run(&["down"]);
    }
}

/// `share` within four standard deviations of a thousand trials.
fn is_about(share: f64, expected: f64) -> Result<(), Failed> {
    let deviation = (expected * (1.0 - expected) / 1000.0).sqrt();
    if (share - expected).abs() <= 4.0 * deviation {
        return Ok(());
    }
    Err(format!("{share} of the echoes are answered, not {expected} ± {}", 4.0 * deviation).into())
}

fn loss() -> Result<(), Failed> {
    let cluster = Cluster::up("l", "calico-bgp")?;
    is_about(cluster.answered()?, 1.0)?;
    cluster.minik(&["link", "set", "node-2", "--loss", "20%"])?;
    // A fifth on the way there, a fifth of the rest on the way back.
    is_about(cluster.answered()?, 0.8 * 0.8)?;
    cluster.minik(&["status"])?;
    cluster.minik(&["link", "set", "node-2", "--loss", "5%"])?;
    is_about(cluster.answered()?, 0.95 * 0.95)?;
    cluster.minik(&["link", "reset", "node-2"])?;
    is_about(cluster.answered()?, 1.0)?;
    cluster.minik(&["status"])?;
    Ok(())
}

/// A process that is ended with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn rate() -> Result<(), Failed> {
    let cluster = Cluster::up("r", "calico-bgp")?;
    cluster.minik(&["link", "set", "node-2", "--rate", "40mbit"])?;
    let server = Command::new("ip")
        .args(["netns", "exec", &format!("minik-{}-node-2", cluster.0), "iperf3", "-s", "-1"])
        .stdout(Stdio::null())
        .spawn()?;
    let _server = Server(server);
    let deadline = Instant::now() + patience(Duration::from_secs(10));
    let measured = loop {
        let output = cluster.run(&["exec", "node-1", "--", "iperf3", "-c", "10.1.10.10", "-t3", "-J"])?;
        if output.status.success() {
            break serde_json::from_slice::<serde_json::Value>(&output.stdout)?;
        }
        if Instant::now() > deadline {
            return Err(format!("iperf3: {}", String::from_utf8_lossy(&output.stdout)).into());
        }
    };
    let bits = measured["end"]["sum_received"]["bits_per_second"].as_f64().unwrap_or_default();
    // Headers take 5 percent of the line; what waits in the queue at the end comes in late.
    if !(30e6..=42e6).contains(&bits) {
        return Err(format!("{bits} bits a second through a line of 40 million").into());
    }
    Ok(())
}

/// A file of calico-bgp whose node-2 has this line.
fn file_with(line: &str) -> Result<tempfile::NamedTempFile, Failed> {
    let text = include_str!("../topologies/calico-bgp.yaml");
    let place = "    address: 10.1.10.10\n";
    let lossy = text.replacen(place, &format!("{place}    link: {line}\n"), 1);
    if lossy == text {
        return Err("the topology has no node-2 at 10.1.10.10".into());
    }
    let file = tempfile::Builder::new().suffix(".yaml").tempfile()?;
    std::fs::write(file.path(), lossy)?;
    Ok(file)
}

fn from_the_file() -> Result<(), Failed> {
    let file = file_with("{ loss: 50% }")?;
    let cluster = Cluster::up("f", &file.path().to_string_lossy())?;
    is_about(cluster.answered()?, 0.25)?;
    cluster.minik(&["status"]).map(drop)
}

/// While a Service's pods come and go there are plans in between, which a kernel without netem has to take as well.
fn pods_change() -> Result<(), Failed> {
    let service = "---\n{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 1, \
        selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, \
        spec: {containers: [{name: web, image: nginx}]}}}}\n\
        ---\n{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}\n";
    let mut file = file_with("{ loss: 1%, rate: 100mbit }")?;
    file.as_file_mut().seek(SeekFrom::End(0))?;
    file.as_file_mut().write_all(service.as_bytes())?;
    let cluster = Cluster::up("p", &file.path().to_string_lossy())?;
    for replicas in ["3", "1"] {
        cluster.minik(&["scale", "deployment", "web", "--replicas", replicas])?;
        cluster.minik(&["status"])?;
    }
    Ok(())
}

/// The script asks the kernel itself whether it has netem.
fn script() -> Result<(), Failed> {
    let file = file_with("{ loss: 20%, rate: 100mbit }")?;
    let cluster = Cluster(format!("lines{}x", std::process::id()));
    let script = tempfile::NamedTempFile::new()?;
    std::fs::write(script.path(), cluster.minik(&["plan", &file.path().to_string_lossy(), "--as", "shell"])?)?;
    let run = |arguments: &[&str]| Command::new("sh").arg(script.path()).args(arguments).stdin(Stdio::null()).output();
    let made = run(&[])?;
    let inside = |node: &str, argv: &[&str]| {
        Command::new("ip").args(["netns", "exec", &format!("minik-{}-{node}", cluster.0)]).args(argv).output()
    };
    let fping = |options: &[&str]| inside("node-1", &[&["fping"], options, &["10.1.10.10"]].concat());
    let asked = inside("node-1", KEEP_NEIGHBOURS)
        .and_then(|_| inside("node-2", KEEP_NEIGHBOURS))
        .and_then(|_| fping(FIRST))
        .and_then(|_| fping(FPING));
    let removed = run(&["down"])?;
    for output in [made, removed] {
        if !output.status.success() {
            return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into());
        }
    }
    is_about(share(&asked?)?, 0.8 * 0.8)
}

fn replaced() -> Result<(), Failed> {
    let cluster = Cluster::up("s", "calico-bgp")?;
    cluster.minik(&["link", "set", "node-2", "--loss", "1%", "--rate", "10mbit"])?;
    let status = cluster.minik(&["status"])?;
    if !status.contains("fallback:  lines lose packets by rules of nftables") {
        return Err(format!("no word of the replacement: {status}").into());
    }
    // A delay has no replacement, and nothing changes.
    let refused = cluster.run(&["link", "set", "node-2", "--delay", "10ms"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    if refused.status.code() != Some(4) || !said.contains("no netem") {
        return Err(format!("{}: {said}", refused.status).into());
    }
    let shown = cluster.minik(&["link", "show", "node-2"])?;
    if !shown.contains("loss 1% rate 10mbit") || shown.contains("delay") {
        return Err(shown.into());
    }
    for (command, fact) in [
        (
            "nft delete table netdev minik",
            "missing: nft netdev minik out_ens33: numgen random mod 1000000 < 10000 drop",
        ),
        ("tc qdisc del dev ens33 root", "missing: qdisc tbf rate 1250000bps"),
    ] {
        cluster.minik(&["exec", "node-2", "--", "sh", "-c", command])?;
        let output = cluster.run(&["status"])?;
        let drift = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.code() != Some(1) || !drift.contains(fact) {
            return Err(format!("after `{command}`: {drift}").into());
        }
    }
    Ok(())
}
