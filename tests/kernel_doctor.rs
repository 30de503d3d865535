//! `minik doctor` beside what other programs find out about this machine, and on machines from which something was
//! taken: a tool, a capability, a device file, a kernel module.
//!
//! Needs root; without it, or without one of the programs, a test is counted as ignored, with the reason in its name,
//! unless MINIK_REQUIRE is set. Modules are taken away in the machine of scripts/vm-run alone.

#![allow(clippy::disallowed_methods, reason = "tests start what they check")]

mod kernel;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed};
use serde_json::Value;

type Outcome = Result<(), Failed>;

const MINIK: &str = env!("CARGO_BIN_EXE_minik");

/// A feature, and a command that succeeds in a new namespace where there is that feature: the judge.
const JUDGES: &[(&str, &str)] = &[
    ("veth", "ip link add x0 type veth peer name x1"),
    ("bridge", "ip link add x0 type bridge"),
    ("ipip", "ip link add x0 type ipip local 192.0.2.1 remote 192.0.2.2"),
    ("tun", "ip tuntap add dev x0 mode tun"),
    ("vxlan", "ip link add x0 type vxlan id 1 dstport 4789"),
    ("macvlan", "ip link add x0 type veth peer name x1 && ip link add x2 link x0 type macvlan mode bridge"),
    ("ipvlan", "ip link add x0 type veth peer name x1 && ip link add x2 link x0 type ipvlan"),
    ("dummy", "ip link add x0 type dummy"),
    ("netem", "tc qdisc add dev lo root netem delay 10ms loss 1%"),
    ("htb", "tc qdisc add dev lo root handle 1: htb default 10"),
    ("tbf", "tc qdisc add dev lo root tbf rate 1mbit burst 10kb latency 50ms"),
    ("ipv6", "ip link set lo up && ip -6 address show dev lo | grep -q ::1"),
    ("nf_tables", "nft add table ip t"),
    ("br_netfilter", "test -e /proc/sys/net/bridge/bridge-nf-call-iptables"),
    // The doctor has asked for the module before.
    ("ip_vs", "test -e /proc/self/net/ip_vs"),
    ("ip6 ip_vs", "ipvsadm -A -t [2001:db8::1]:80 -s rr"),
    ("match ipvs", "iptables -A OUTPUT -m ipvs --ipvs"),
    ("match set", "ipset create s hash:net && iptables -A FORWARD -m set --match-set s dst"),
    ("match conntrack", "iptables -A INPUT -m conntrack --ctstate INVALID"),
    ("match addrtype", "iptables -A INPUT -m addrtype --src-type LOCAL"),
    ("match rpfilter", "iptables -t raw -A PREROUTING -m rpfilter --invert"),
    ("match statistic", "iptables -A INPUT -m statistic --mode nth --every 2 --packet 0"),
    ("match recent", "iptables -A INPUT -m recent --name x --set"),
    ("match multiport", "iptables -A INPUT -p udp -m multiport --sports 5,6"),
    ("target MASQUERADE", "iptables -t nat -A POSTROUTING -o lo -j MASQUERADE"),
    ("target DNAT", "iptables -t nat -A OUTPUT -p udp -j DNAT --to-destination 192.0.2.9:53"),
    ("target REJECT", "iptables -A OUTPUT -p tcp -j REJECT --reject-with tcp-reset"),
    ("target CT --notrack", "iptables -t raw -A OUTPUT -j CT --notrack"),
    ("ip6 match rpfilter", "ip6tables -t raw -A PREROUTING -m rpfilter --invert"),
    ("ip6 target REJECT", "ip6tables -A OUTPUT -j REJECT"),
    ("ipset hash:ip,port,net", "ipset create s hash:ip,port,net"),
    ("ipset bitmap:port", "ipset create s bitmap:port range 0-1023"),
    ("ip6 ipset hash:net", "ipset create s hash:net family inet6"),
    ("nft numgen", "nft 'table ip t { chain c { numgen inc mod 3 1 accept; }; }'"),
    ("nft fib", "nft 'table inet t { chain c { fib saddr type broadcast drop; }; }'"),
    ("nft masquerade", "nft 'table ip t { chain c { type nat hook postrouting priority 100; masquerade; }; }'"),
    (
        "nft egress",
        "nft 'table netdev t { chain c { type filter hook egress device lo priority 1; numgen random mod 9 < 3 drop; }; }'",
    ),
    ("ebtables rules", "ebtables -A FORWARD -p IPv4 --ip-dst 192.0.2.1 -j ACCEPT"),
];

/// The programs that the doctor may run.
const TOOLS: &[&str] = &[
    "ip",
    "tc",
    "iptables-restore",
    "ip6tables-restore",
    "iptables-nft-restore",
    "iptables-legacy-restore",
    "ipset",
    "sysctl",
    "nft",
    "conntrack",
    "ebtables",
    "bird",
    "tcpdump",
    "ping",
    "arping",
];

fn main() {
    let mut arguments = Arguments::from_args();
    // Modules are taken away, and the host is compared with itself.
    arguments.test_threads = Some(1);
    let judges = &["ip", "tc", "nft", "iptables", "ip6tables", "ipset", "ipvsadm", "ebtables", "unshare"];
    let trial = |name: &str, needs: &[&str], test: fn() -> Outcome| kernel::trial(name, missing(needs), test);
    let trials = vec![
        trial("doctor_agrees_with_other_tools", judges, agrees),
        trial("the_verdict_follows_from_the_kernel", &["ip", "unshare"], verdict),
        trial("doctor_leaves_nothing", &["ip", "nft", "ipset"], leaves_nothing),
        trial("a_missing_tool_is_named_with_its_package", &["iptables-restore", "ipset"], tools),
        trial("a_broken_tool_is_not_taken_for_a_good_one", &[], broken_tool),
        trial("a_missing_capability_is_named", &["setpriv", "unshare"], capabilities),
        trial("an_ordinary_user_is_told_to_be_root", &["setpriv"], ordinary_user),
        trial("a_missing_tun_device_is_named_with_its_cure", &["unshare", "mount"], no_tun),
        trial("read_only_settings_are_found", &["unshare", "mount"], read_only_settings),
        kernel::trial("a_missing_module_is_named", missing(&[]).or_else(no_throw_away_machine), modules),
        kernel::trial("a_module_that_is_not_loaded_is_named", missing(&[]).or_else(no_throw_away_machine), not_loaded),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

/// What this machine lacks for a test that needs these programs.
fn missing(programs: &[&str]) -> Option<String> {
    let there = |program: &&&str| where_is(program).is_none();
    kernel::not_root().or_else(|| programs.iter().find(there).map(|program| format!("no {program}")))
}

fn where_is(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let places = path.split(':').chain(["/usr/sbin", "/sbin"]).map(|dir| Path::new(dir).join(program));
    places.into_iter().find(|place| place.is_file())
}

fn no_throw_away_machine() -> Option<String> {
    (!Path::new("/run/vm/command").exists()).then(|| "no machine of scripts/vm-run around it".to_owned())
}

/// What `minik doctor` found.
struct Diagnosis {
    code: Option<i32>,
    json: Value,
}

impl Diagnosis {
    /// Of a command that is, or ends in, `minik doctor -o json`.
    fn of(command: &mut Command) -> Result<Diagnosis, Failed> {
        let output = command.output()?;
        let json = serde_json::from_slice(&output.stdout).map_err(|e| {
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            format!("no JSON ({e}), {}: {words}", output.status)
        })?;
        Ok(Diagnosis { code: output.status.code(), json })
    }

    fn here() -> Result<Diagnosis, Failed> {
        Diagnosis::of(Command::new(MINIK).args(["doctor", "-o", "json"]))
    }

    /// Of a shell command line in which `$DOCTOR` stands for it.
    fn by(line: &str) -> Result<Diagnosis, Failed> {
        Diagnosis::of(Command::new("sh").args(["-c", line]).env("DOCTOR", format!("{MINIK} doctor -o json")))
    }

    fn feature(&self, name: &str) -> Result<&Value, Failed> {
        let features = self.json["features"].as_array().ok_or("no features")?;
        Ok(features.iter().find(|feature| feature["feature"] == name).ok_or(format!("no feature {name}"))?)
    }

    /// Fails unless `name` works, does not, or could not be tried, and its detail and cure hold `words`.
    fn expect(&self, name: &str, works: Option<bool>, words: &[&str]) -> Outcome {
        let feature = self.feature(name)?;
        let text = format!("{} {}", feature["detail"], feature["cure"]);
        if feature["works"].as_bool() == works && words.iter().all(|word| text.contains(word)) {
            return Ok(());
        }
        Err(format!("expected {name} {works:?} with {words:?}, found {feature}").into())
    }

    /// Fails unless the default mode's verdict, its reason and the exit code are these.
    fn expect_verdict(&self, verdict: &str, words: &[&str]) -> Outcome {
        let modes = self.json["modes"].as_array().ok_or("no modes")?;
        let default = modes.iter().find(|mode| mode["default"] == true).ok_or("no default mode")?;
        let (runs, code) = (&default["runs"], if verdict == "impossible" { 4 } else { 0 });
        let because = runs["because"].as_str().unwrap_or_default();
        if runs["verdict"] == verdict && self.code == Some(code) && words.iter().all(|word| because.contains(word)) {
            return Ok(());
        }
        Err(format!("expected {verdict} with {words:?} and code {code}, found {runs} and {:?}", self.code).into())
    }

    /// What the default mode's verdict is here without further damage.
    fn usual(&self) -> Result<&'static str, Failed> {
        Ok(if self.feature("ipip")?["works"] == true { "native" } else { "fallback" })
    }
}

fn shell(line: &str) -> Result<String, Failed> {
    let output = Command::new("sh").args(["-c", line]).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{line}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into())
}

/// Whether a command succeeds in a new namespace.
fn judge(command: &str) -> Result<bool, Failed> {
    Ok(Command::new("unshare").args(["--net", "sh", "-c", command]).output()?.status.success())
}

fn agrees() -> Outcome {
    let began = Instant::now();
    let doctor = Diagnosis::here()?;
    eprintln!("doctor: {:?}", began.elapsed());
    let mut differing = Vec::new();
    for (name, command) in JUDGES {
        let (feature, judged) = (doctor.feature(name)?, judge(command)?);
        if feature["works"] != judged {
            differing.push(format!("{name}: `{command}` says {judged}, the doctor {feature}"));
        }
        // What is missing is named with what would bring it, and nothing else is.
        let cured = feature["cure"].as_str().is_some_and(|cure| !cure.is_empty());
        if cured == (feature["works"] == true) {
            differing.push(format!("{name}: a cure for what works, or none for what does not: {feature}"));
        }
    }
    if differing.is_empty() { Ok(()) } else { Err(differing.join("\n").into()) }
}

fn verdict() -> Outcome {
    let doctor = Diagnosis::here()?;
    let ipip = JUDGES.iter().find(|(name, _)| *name == "ipip").map(|(_, command)| judge(command));
    if ipip.ok_or("no judge")?? {
        doctor.expect_verdict("native", &[])?;
    } else {
        doctor.expect_verdict("fallback", &["TUN"])?;
        doctor.expect("ipip", Some(false), &["CONFIG_NET_IPIP", "module ipip"])?;
    }
    if kernel::all_required() {
        // A machine that is supposed to have everything.
        doctor.expect_verdict("native", &[])?;
        for name in [
            "ipip",
            "ip_vs",
            "ip6 ip_vs",
            "match ipvs",
            "netem",
            "dummy",
            "ipvlan",
            "netfilter trace",
            "conntrack table",
        ] {
            doctor.expect(name, Some(true), &[])?;
        }
    }
    Ok(())
}

/// What a trial could have left on the host; namespaces' names are other clusters', and the doctor gives none.
fn host() -> Result<String, Failed> {
    let commands = [
        "ip -d link show",
        "ip address show | grep -v valid_lft",
        "ip route show table all",
        "ip -6 route show table all | grep -v expires",
        "ip rule show",
        "tc qdisc show",
        "nft list ruleset",
        "ipset list -name",
        "cat /proc/sys/net/ipv4/ip_forward",
        "ls -A /run /etc/netns 2>/dev/null || true",
        "cut -d' ' -f2,3 /proc/mounts | grep -v /run/netns | sort",
        "ls /tmp | grep minik-probe || true",
    ];
    let mut text = String::new();
    for command in commands {
        text += &format!("# {command}\n{}", shell(command)?);
    }
    Ok(text)
}

fn leaves_nothing() -> Outcome {
    // Modules that it loads stay loaded, and that of ipip shows.
    Diagnosis::here()?;
    let before = host()?;
    Diagnosis::here()?;
    let after = host()?;
    let new: Vec<&str> = after.lines().filter(|line| !before.lines().any(|old| old == *line)).collect();
    if before == after { Ok(()) } else { Err(format!("the host differs: {new:?}\n{after}").into()) }
}

/// A directory with the tools, but for some: a PATH.
fn path_without(without: &[&str]) -> Result<tempfile::TempDir, Failed> {
    let dir = tempfile::tempdir()?;
    for tool in TOOLS.iter().filter(|tool| !without.contains(tool)) {
        if let Some(place) = where_is(tool) {
            symlink(place, dir.path().join(tool))?;
        }
    }
    Ok(dir)
}

fn with_path(path: &Path) -> Result<Diagnosis, Failed> {
    Diagnosis::of(Command::new(MINIK).args(["doctor", "-o", "json"]).env("PATH", path))
}

fn tools() -> Outcome {
    let all = with_path(path_without(&[])?.path())?;
    let usual = all.usual()?;
    all.expect_verdict(usual, &[])?;

    let doctor = with_path(path_without(&["iptables-restore"])?.path())?;
    doctor.expect_verdict("impossible", &["missing: iptables-restore (install the package iptables)"])?;
    doctor.expect("iptables-restore", Some(false), &["is not installed", "package iptables"])?;
    doctor.expect("match set", None, &["cannot be tried without iptables-restore"])?;
    doctor.expect("ip6 match set", Some(true), &[])?;
    doctor.expect("veth", Some(true), &[])?;

    let doctor = with_path(path_without(&["ipset"])?.path())?;
    doctor.expect_verdict("impossible", &["missing: ipset (install the package ipset)"])?;
    doctor.expect("match set", None, &["without ipset"])?;
    doctor.expect("match mark", Some(true), &[])?;

    // What no present mode needs is no hindrance.
    let doctor = with_path(path_without(&["nft", "ebtables", "bird", "ip6tables-restore", "tcpdump"])?.path())?;
    doctor.expect_verdict(usual, &[])?;
    doctor.expect("nft", Some(false), &["package nftables"])?;
    doctor.expect("nft numgen", None, &["without nft"])?;
    doctor.expect("nf_tables", Some(true), &[])?;

    let doctor = with_path(path_without(TOOLS)?.path())?;
    doctor.expect_verdict("impossible", &["iptables-restore", "ipset"])
}

fn broken_tool() -> Outcome {
    use std::os::unix::fs::PermissionsExt;
    let dir = path_without(&["iptables-restore"])?;
    let tool = dir.path().join("iptables-restore");
    let script = "#!/bin/sh\n[ \"$1\" != --version ] || { echo iptables-restore v9; exit 0; }\necho 'out of order' >&2\nexit 1\n";
    std::fs::write(&tool, script)?;
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755))?;
    let doctor = with_path(dir.path())?;
    doctor.expect("iptables-restore", Some(true), &["v9"])?;
    doctor.expect("match mark", Some(false), &["out of order"])?;
    doctor.expect_verdict("impossible", &["match mark"])
}

fn capabilities() -> Outcome {
    let without = |capability: &str| {
        Diagnosis::by(&format!("exec setpriv --bounding-set=-{capability} --inh-caps=-{capability} $DOCTOR"))
    };
    let doctor = without("net_admin")?;
    doctor.expect_verdict("impossible", &["missing: administration (it takes CAP_NET_ADMIN)"])?;
    doctor.expect("veth", None, &["without administration"])?;
    doctor.expect("ip", Some(true), &[])?;

    let doctor = without("sys_admin")?;
    doctor.expect_verdict("impossible", &["namespaces (it takes CAP_SYS_ADMIN"])?;
    doctor.expect("settings", None, &["without namespaces"])?;
    doctor.expect("match set", None, &["without namespaces"])?;

    let doctor = without("net_raw")?;
    doctor.expect_verdict("impossible", &["raw sockets (it takes CAP_NET_RAW)"])?;
    doctor.expect("veth", Some(true), &[])?;

    // Root of a user namespace has all of these in its own namespaces, and may not give a namespace a name.
    let doctor = Diagnosis::by("exec unshare --user --map-root-user $DOCTOR")?;
    doctor.expect("namespaces", Some(true), &[])?;
    doctor.expect("veth", Some(true), &[])?;
    doctor.expect_verdict("impossible", &["missing: mounts (it takes CAP_SYS_ADMIN"])
}

fn ordinary_user() -> Outcome {
    let dir = tempfile::tempdir()?;
    let copy = dir.path().join("minik");
    std::fs::copy(MINIK, &copy)?;
    shell(&format!("chmod 755 {} {}", dir.path().display(), copy.display()))?;
    let doctor = Diagnosis::of(
        Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(&copy)
            .args(["doctor", "-o", "json"]),
    )?;
    doctor.expect_verdict("impossible", &["sudo minik doctor"])?;
    doctor.expect("root", Some(false), &["run it as root"])?;
    doctor.expect("iptables-restore", Some(true), &[])
}

fn no_tun() -> Outcome {
    let whole = Diagnosis::here()?;
    // Some machines have no directory /dev/net: then there is nothing to take away.
    let hide = "mkdir -p /dev/net && mount -t tmpfs none /dev/net && exec $DOCTOR";
    let doctor = Diagnosis::by(&format!("exec unshare --mount --propagation private sh -c '{hide}'"))?;
    doctor.expect("tun", Some(false), &["there is no /dev/net/tun, though the kernel has the driver", "mknod"])?;
    match whole.usual()? {
        "native" => doctor.expect_verdict("native", &[]),
        _ => doctor.expect_verdict("impossible", &["missing: ipip (a kernel with ", "; or instead tun (`mkdir"]),
    }
}

fn read_only_settings() -> Outcome {
    let lock = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec $DOCTOR";
    let doctor = Diagnosis::by(&format!("exec unshare --mount --propagation private sh -c '{lock}'"))?;
    doctor.expect("settings", Some(false), &["Read-only file system", "remount,rw"])?;
    doctor.expect("veth", Some(true), &[])?;
    doctor.expect_verdict("impossible", &["settings"])
}

/// Unloads a module as soon as the namespaces that used it are gone.
fn unload(module: &str) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let words = match shell(&format!("! grep -q '^{module} ' /proc/modules || rmmod {module}")) {
            Ok(_) => return Ok(()),
            Err(words) => words,
        };
        if Instant::now() > deadline {
            return Err(format!("{module} stays loaded: {words:?}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// As if these modules had not been installed, while `test` runs.
fn without_modules(modules: &[&str], test: impl FnOnce() -> Outcome) -> Outcome {
    let directory = format!("/lib/modules/{}", shell("uname -r")?.trim());
    shell(&format!("cp {directory}/modules.dep /run/modules.dep"))?;
    for module in modules {
        unload(module)?;
        shell(&format!(
            "cd {directory} && find . -name {module}.ko | grep . >/run/{module}.place && \
             mv $(cat /run/{module}.place) /run/{module}.ko && sed -i '/\\/{module}\\.ko:/d' modules.dep"
        ))?;
    }
    let outcome = test();
    for module in modules {
        shell(&format!("cd {directory} && mv /run/{module}.ko $(cat /run/{module}.place)"))?;
    }
    shell(&format!("mv /run/modules.dep {directory}/modules.dep"))?;
    outcome
}

fn modules() -> Outcome {
    without_modules(&["ipip", "sch_netem", "dummy", "ip_vs_rr"], || {
        let doctor = Diagnosis::here()?;
        doctor.expect("ipip", Some(false), &["does not know it", "CONFIG_NET_IPIP, module ipip, which is not in"])?;
        doctor.expect("netem", Some(false), &["does not know it", "module sch_netem, which is not in"])?;
        doctor.expect("dummy", Some(false), &["does not know it", "module dummy, which is not in"])?;
        doctor.expect("ip_vs", Some(false), &["does not know it"])?;
        doctor.expect("vxlan", Some(true), &[])?;
        doctor.expect_verdict("fallback", &["TUN"])
    })?;
    without_modules(&["ip_set_hash_net", "xt_statistic"], || {
        let doctor = Diagnosis::here()?;
        doctor.expect("ipset hash:net", Some(false), &["module ip_set_hash_net", "not in /lib/modules"])?;
        doctor.expect("ip6 ipset hash:net", Some(false), &["module ip_set_hash_net"])?;
        doctor.expect("match statistic", Some(false), &["module xt_statistic"])?;
        doctor.expect("ip6 match statistic", Some(false), &["module xt_statistic"])?;
        for name in ["ipset hash:ip", "ipset hash:ip,port", "match mark", "match recent", "ip6 match mark"] {
            doctor.expect(name, Some(true), &[])?;
        }
        doctor.expect_verdict(
            "impossible",
            &["missing: ", "ipset hash:net (a kernel with CONFIG_IP_SET_HASH_NET, module ip_set_hash_net"],
        )
    })?;
    without_modules(&["xt_set"], || {
        let doctor = Diagnosis::here()?;
        doctor.expect("match set", Some(false), &["module xt_set"])?;
        doctor.expect("match mark", Some(true), &[])?;
        doctor
            .expect_verdict("impossible", &["missing: match set (a kernel with CONFIG_NETFILTER_XT_SET, module xt_set"])
    })?;
    // All of it is back.
    let doctor = Diagnosis::here()?;
    ["ipip", "ipset hash:net", "match set", "match statistic", "netem", "dummy", "ip_vs"]
        .iter()
        .try_for_each(|name| doctor.expect(name, Some(true), &[]))
}

/// The module is there, and nothing loads it, as where it is blacklisted or there is no kmod.
fn not_loaded() -> Outcome {
    let setting = "/proc/sys/kernel/modprobe";
    let loader = shell(&format!("cat {setting}"))?;
    unload("sch_netem")?;
    let with_loader = |loader: &str, words: &[&str]| {
        shell(&format!("echo {loader} >{setting}"))?;
        Diagnosis::here()?.expect("netem", Some(false), words)
    };
    let outcome = with_loader("/bin/false", &["`modprobe sch_netem`", "was not loaded"])
        .and_then(|()| with_loader("/nowhere/modprobe", &["`modprobe sch_netem`", "package kmod"]));
    shell(&format!("echo {} >{setting}", loader.trim()))?;
    outcome?;
    Diagnosis::here()?.expect("netem", Some(true), &[])
}
