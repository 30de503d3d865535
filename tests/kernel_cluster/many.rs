//! More than one cluster, and more than one minik at a time.

use std::process::Stdio;

use crate::host::{dump, unchanged};
use crate::kernel::lab::Cluster;
use crate::kernel::{Outcome, contains};

fn ping_across(cluster: &Cluster) -> Outcome {
    let pods = cluster.pods()?;
    let there = cluster.address(&pods.there)?;
    contains(&cluster.exec(&pods.here, &format!("ping -n -c 1 -W 20 {there}"))?, "ttl=62")
}

/// Two clusters with the same addresses; removing one leaves the other.
pub fn side_by_side() -> Outcome {
    let one = Cluster::up("one", "calico-ipip")?;
    let two = Cluster::up("two", "calico-ipip")?;
    ping_across(&one)?;
    ping_across(&two)?;
    let listed = one.minik(&["ls"])?;
    contains(&listed, &one.name)?;
    contains(&listed, &two.name)?;
    one.minik(&["down"])?;
    ping_across(&two)
}

/// A cluster `x` and a cluster `x-y`: `down x` keeps to its own.
pub fn prefixes() -> Outcome {
    let short = Cluster::up("p", "calico-ipip")?;
    let long = Cluster::called(format!("{}-q", short.name));
    long.minik(&["up", "calico-ipip"])?;
    short.minik(&["down"])?;
    ping_across(&long)?;
    long.minik(&["up", "calico-ipip", "--replace"])?;
    ping_across(&long)
}

/// Two `up`s of one name at the same moment, several times.
pub fn at_once() -> Outcome {
    let before = dump()?;
    let cluster = Cluster::named("once");
    for round in 0..5 {
        let start = || {
            let mut command = cluster.command(&["up", "calico-ipip"]);
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(|e| e.to_string())
        };
        let (one, two) = (start()?, start()?);
        let outputs = [one, two].map(|up| up.wait_with_output().map_err(|e| e.to_string()));
        let mut codes = Vec::new();
        for output in outputs {
            let output = output?;
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            codes.push(output.status.code());
            if output.status.code() == Some(1) && !(words.contains("error:") && words.lines().count() <= 2) {
                return Err(format!("the refusal is one line and a hint:\n{words}"));
            }
        }
        codes.sort();
        if codes != [Some(0), Some(1)] {
            return Err(format!("round {round}: one succeeds and one is refused: {codes:?}"));
        }
        ping_across(&cluster)?;
        cluster.minik(&["down"])?;
    }
    unchanged(&before)
}

/// `--replace` on a cluster that stands.
pub fn replace() -> Outcome {
    let cluster = Cluster::up("replace", "calico-ipip")?;
    let refused = cluster.output(&["up", "calico-ipip"])?;
    if refused.status.code() != Some(1) {
        return Err(format!("a second up of one name: {}", refused.status));
    }
    contains(&String::from_utf8_lossy(&refused.stderr), "--replace")?;
    cluster.minik(&["up", "calico-ipip", "--replace"])?;
    ping_across(&cluster)
}
