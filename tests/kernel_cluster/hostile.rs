//! Commands at clusters that are not as they should be, and on machines that lack something.

use std::os::unix::fs::symlink;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

use crate::host::{dump, unchanged};
use crate::kernel::lab::Cluster;
use crate::kernel::{Outcome, contains};

/// Exit code and what was said on standard error, if that is not as expected.
fn refused(cluster: &Cluster, arguments: &[&str], code: i32, words: &[&str]) -> Outcome {
    let output = cluster.output(arguments)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() != Some(code) || said.contains("bug in minik") {
        return Err(format!("minik {}: {}, expected {code}\n{said}", arguments.join(" "), output.status));
    }
    words.iter().try_for_each(|word| contains(&said, word))
}

/// `verify MODE` and `--all-modes` build what they verify, and take it away.
pub fn throw_away() -> Outcome {
    let before = dump()?;
    let cluster = Cluster::named("throw");
    let report = cluster.minik(&["verify", "calico-ipip", "-o", "json"])?;
    let report: serde_json::Value = serde_json::from_str(&report).map_err(|e| e.to_string())?;
    if report["summary"]["failed"] != 0 || report["summary"]["passed"].as_u64() < Some(40) {
        return Err(format!("{}", report["summary"]));
    }
    unchanged(&before)?;
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let junit = dir.path().join("all.xml");
    let file = junit.to_str().ok_or("no path")?;
    let all = cluster.minik(&["verify", "--all-modes", "--junit", file, "-o", "json"])?;
    let all: serde_json::Value = serde_json::from_str(&all).map_err(|e| e.to_string())?;
    if all["runs"].as_array().map(Vec::len) != Some(minik::topology::Mode::ALL.len()) {
        return Err(format!("a run for each mode: {}", all["summary"]));
    }
    contains(
        &std::fs::read_to_string(&junit).map_err(|e| e.to_string())?,
        "<testsuite name=\"minik verify calico-ipip\"",
    )?;
    refused(&cluster, &["verify", "calico-ipi"], 2, &["no cluster and no mode", "did you mean `calico-ipip`?"])?;
    unchanged(&before)
}

/// The matrix holds what it sees against the plan.
pub fn matrix() -> Outcome {
    let cluster = Cluster::up("matrix", "calico-ipip")?;
    contains(&cluster.minik(&["probe", "--matrix"])?, "12/12 answered")?;
    cluster.exec("node-1", "ip route del 10.100.247.0/26")?;
    let output = cluster.output(&["probe", "--matrix"])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.code() != Some(1) || text.matches("x!").count() != 8 {
        return Err(format!("8 pairs differ from the plan: {}\n{text}", output.status));
    }
    let json = cluster.output(&["probe", "--matrix", "-o", "json"])?.stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).map_err(|e| e.to_string())?;
    if json["differing"] == 8 { Ok(()) } else { Err(format!("differing: {}", json["differing"])) }
}

/// A machine without the tools.
pub fn tools() -> Outcome {
    let before = dump()?;
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let cluster = Cluster::named("tools");
    let up = |code: i32, words: &[&str]| -> Outcome {
        let output = cluster.command(&["up"]).env("PATH", dir.path()).output().map_err(|e| e.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.code() != Some(code) {
            return Err(format!("{}, expected {code}\n{said}", output.status));
        }
        words.iter().try_for_each(|word| contains(&said, word))?;
        unchanged(&before)
    };
    up(4, &["cannot run ipset", "install the package ipset"])?;
    let ipset = ["/usr/sbin/ipset", "/sbin/ipset"].into_iter().find(|path| Path::new(path).exists());
    symlink(ipset.ok_or("no ipset")?, dir.path().join("ipset")).map_err(|e| e.to_string())?;
    up(4, &["cannot run iptables-restore", "install the package iptables"])
}

/// Records that are lost or spoiled, and namespaces that somebody deleted.
pub fn spoiled() -> Outcome {
    let before = dump()?;
    let cluster = Cluster::up("spoiled", "calico-ipip")?;
    let pod = cluster.pods()?.there;
    crate::kernel::shell(&format!("ip netns del {}", cluster.netns(&pod)))?;
    let status = cluster.output(&["status"])?;
    contains(&String::from_utf8_lossy(&status.stdout), "missing: network namespace")?;
    for arguments in [&["verify"][..], &["probe", "--matrix"], &["exec", &pod, "--", "true"]] {
        refused(&cluster, arguments, 1, &[&cluster.netns(&pod), "is not there", "hint: "])?;
    }
    let record = minik::kernel::state::dir(&cluster.name).join("state.json");
    for garbage in [&b"{\"x\":"[..], b"", b"\xff\xfe"] {
        std::fs::write(&record, garbage).map_err(|e| e.to_string())?;
        for command in ["status", "up", "verify"] {
            refused(&cluster, &[command], 1, &["is not a cluster's record", "minik down -c"])?;
        }
        contains(&cluster.minik(&["ls"])?, "broken")?;
    }
    std::fs::remove_file(&record).map_err(|e| e.to_string())?;
    refused(&cluster, &["status"], 1, &["has no record", "minik down -c"])?;
    refused(&cluster, &["up"], 1, &["minik down -c"])?;
    cluster.minik(&["up", "--replace"])?;
    cluster.minik(&["verify"])?;
    cluster.minik(&["down"])?;
    unchanged(&before)?;
    // Without any file the agent is found all the same.
    cluster.minik(&["up"])?;
    let files = minik::kernel::state::dir(&cluster.name);
    // Where /run is on a disk, small files are in memory that is mounted there. The program umount would leave a
    // /run/mount of its own on a fresh machine.
    for name in ["etc", "files"] {
        match umount2(&files.join(name), MntFlags::MNT_DETACH) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(e) => return Err(format!("umount {name}: {e}")),
        }
    }
    std::fs::remove_dir_all(&files).map_err(|e| e.to_string())?;
    cluster.minik(&["down"])?;
    unchanged(&before)
}

/// Topologies at the edges, each of which passes every check.
pub fn edges() -> Outcome {
    let cluster = Cluster::named("edges");
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let file = dir.path().join("edge.yaml");
    let path = file.to_str().ok_or("no path")?;
    // Segments, nodes on each, pool, block size, pods.
    let cases: [(usize, usize, &str, u8, usize); 6] = [
        (1, 1, "10.100.0.0/26", 26, 0),
        (1, 2, "10.100.0.0/26", 26, 0),
        (1, 1, "10.100.0.0/30", 30, 2),
        (1, 2, "10.100.0.0/28", 32, 6),
        (2, 2, "10.100.0.0/26", 27, 6),
        (1, 2, "10.100.0.0/26", 27, 50),
    ];
    for case in cases {
        std::fs::write(&file, edge(case)).map_err(|e| e.to_string())?;
        cluster.minik(&["up", path]).map_err(|e| format!("{case:?}: {e}"))?;
        for arguments in [&["verify"][..], &["probe", "--matrix"], &["status"]] {
            cluster.minik(arguments).map_err(|e| format!("{case:?}: {e}"))?;
        }
        cluster.minik(&["down"])?;
    }
    Ok(())
}

fn edge((segments, nodes, pool, block, pods): (usize, usize, &str, u8, usize)) -> String {
    let mut text = "apiVersion: minik.dev/v1\nkind: Cluster\nspec:\n  segments:\n".to_owned();
    for segment in 0..segments {
        text += &format!("  - {{name: s{segment}, subnet: 10.1.{segment}.0/24, router: 10.1.{segment}.1}}\n");
    }
    text += "  nodes:\n";
    for (segment, node) in (0..segments).flat_map(|s| (0..nodes).map(move |n| (s, n))) {
        text +=
            &format!("  - {{name: n{segment}-{node}, segment: s{segment}, address: 10.1.{segment}.{}}}\n", node + 10);
    }
    // A client that knows no way to the pods, so that their gateway has to say so.
    text += "  clients:\n  - {name: out, segment: s0, address: 10.1.0.9}\n";
    text += &format!("  network: {{cni: calico-ipip, pool: {{name: p, cidr: {pool}, blockSize: {block}}}}}\n");
    for pod in 0..pods {
        text += &format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{pod}}}\nspec: {{containers: [{{name: c, image: nginx}}]}}\n"
        );
    }
    text
}
