//! The command line without privilege: arguments, standard output, standard error, exit code. Nothing here builds a
//! cluster; the kernel tests do.

#![allow(clippy::disallowed_methods, clippy::expect_used, reason = "a test ends where its preparation fails")]

use std::io::Read;
use std::process::{Command, Output, Stdio};

/// A cluster name that nobody uses.
const NOBODY: &str = "nobody-has-this-cluster";

fn minik(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_minik"));
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MINIK_")) {
        command.env_remove(name);
    }
    command
}

fn run(arguments: &[&str]) -> Output {
    minik(arguments).output().expect("minik runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_is_data_and_version_is_the_packages() {
    for arguments in [&["--help"][..], &["-h"], &["get", "--help"], &["exec", "-h"]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(stdout(&output).contains("Usage: minik") && output.stderr.is_empty(), "{arguments:?}");
    }
    let version = format!("minik {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(stdout(&run(&["version"])), version);
    assert_eq!(stdout(&run(&["--version"])), version);
    let json: serde_json::Value = serde_json::from_str(&stdout(&run(&["version", "-o", "json"]))).expect("JSON");
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn every_command_has_help_with_an_example() {
    let help = stdout(&run(&["--help"]));
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.len() >= 15, "{commands:?}");
    for command in commands {
        let output = run(&[command, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{command}");
        assert!(stdout(&output).contains("Example"), "{command} has no example");
    }
    let agent = stdout(&run(&["agent", "--help"]));
    assert!(agent.contains("restart") && !agent.contains("serve"), "the agent's own command is hidden");
}

#[test]
fn a_wrong_command_line_exits_with_2_and_says_why_on_stderr() {
    let cases = [
        &["frobnicate"][..],
        &["get"],
        &["get", "pods", "--no-such-flag"],
        &["get", "pods", "-o", "xml"],
        &["exec", "node-1"],
        &["plan", "calico-ipip", "--as", "poem"],
        &["completions", "tcl"],
        &["logs", "p", "--tail", "many"],
        &[],
    ];
    for arguments in cases {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_cluster_that_is_not_there_is_one_clear_error() {
    for arguments in [
        &["get", "pods"][..],
        &["describe", "node"],
        &["exec", "node-1", "--", "true"],
        &["shell", "node-1"],
        &["logs", "p"],
        &["status"],
    ] {
        let output = minik(arguments).env("MINIK_CLUSTER", NOBODY).output().expect("runs");
        let text = stderr(&output);
        let (code, begin) = match nix::unistd::geteuid().is_root() {
            true => (2, format!("error: there is no cluster `{NOBODY}`\nhint: ")),
            // Who cannot see clusters cannot be told that there is none.
            false => (4, "error: minik needs root".to_owned()),
        };
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.starts_with(&begin) && text.lines().count() == 2, "{arguments:?}: {text}");
        assert!(output.stdout.is_empty());
    }
    // The flag wins over the variable.
    if nix::unistd::geteuid().is_root() {
        let output = minik(&["get", "pods", "-c", "other-one"]).env("MINIK_CLUSTER", NOBODY).output().expect("runs");
        assert!(stderr(&output).contains("`other-one`"));
    }
}

/// A cluster's name becomes a path that `down` removes with all that is in it.
#[test]
fn a_cluster_s_name_cannot_lead_elsewhere() {
    let dir = tempfile::tempdir().expect("a directory");
    let kept = dir.path().join("kept");
    std::fs::write(&kept, "").expect("written");
    let here = dir.path().to_str().expect("a path");
    let long = "x".repeat(300);
    let up = format!("../..{here}");
    for name in [here, &up, "", ".", "..", "a/b", "a/../b", "-x", "A", "ä", "a b", "a\nb", "a\u{1b}[2J", &long] {
        let flag = format!("--cluster={name}");
        for arguments in [&["down"][..], &["up"], &["status"], &["verify"], &["agent", "restart"], &["ls"]] {
            let output = minik(arguments).arg(&flag).output().expect("runs");
            assert_eq!(output.status.code(), Some(2), "{arguments:?} {name:?}: {}", stderr(&output));
            assert!(stderr(&output).contains("lower case letters"), "{arguments:?} {name:?}: {}", stderr(&output));
        }
        let output = minik(&["down"]).env("MINIK_CLUSTER", name).output().expect("runs");
        assert_eq!(output.status.code(), Some(2), "{name:?}");
        let output = minik(&["verify", "--", name]).output().expect("runs");
        assert_eq!(output.status.code(), Some(2), "{name:?}");
    }
    assert!(kept.exists());
}

#[test]
fn an_input_without_an_end_is_refused() {
    let output = run(&["plan", "/dev/zero"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("longer than 32 MiB"), "{}", stderr(&output));
    let zeros = std::fs::File::open("/dev/zero").expect("opens");
    let output = minik(&["plan", "-"]).stdin(zeros).output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("<stdin> is no topology"), "{}", stderr(&output));
    for (path, word) in [("/", "directory"), ("/dev/null", "empty"), ("/no/such", "No such file")] {
        let output = run(&["plan", path]);
        assert_eq!(output.status.code(), Some(2), "{path}");
        assert!(stderr(&output).contains(word), "{path}: {}", stderr(&output));
    }
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("opens");
    let output = minik(&["version"]).stdout(full).output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("No space left"), "{}", stderr(&output));
}

#[test]
fn misspelled_words_are_answered_with_the_nearest() {
    let output = run(&["get", "poods"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("did you mean `pods`?"));
    let output = run(&["show", "calico-ipi"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("did you mean `calico-ipip`?"));
    let output = run(&["plan", "calico-ipi"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("did you mean `calico-ipip`?"));
}

#[test]
fn the_proxy_mode_of_the_command_line_counts() {
    assert!(!stdout(&run(&["plan", "calico-ipip"])).contains("KUBE-SERVICES"));
    assert!(stdout(&run(&["plan", "calico-ipip", "--proxy", "iptables"])).contains("KUBE-SERVICES"));
    let without = stdout(&run(&["plan", "calico-ipip", "--proxy", "none"]));
    assert!(without.contains("KUBE-KUBELET-CANARY") && !without.contains("KUBE-SERVICES"), "kubelet's part stays");
    let wrong = run(&["plan", "calico-ipip", "--proxy", "iptabels"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("did you mean `iptables`?"));
}

#[test]
fn topologies_that_are_shown_can_be_planned() {
    let listed = stdout(&run(&["topologies", "-o", "name"]));
    assert!(listed.contains("topology/calico-ipip\n"));
    for name in listed.lines().filter_map(|line| line.strip_prefix("topology/")) {
        let shown = run(&["show", name]);
        assert_eq!(shown.status.code(), Some(0));
        let direct = run(&["plan", name]);
        assert_eq!(direct.status.code(), Some(0), "{}", stderr(&direct));
        let mut child = minik(&["plan", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        std::io::Write::write_all(&mut stdin, &shown.stdout).expect("written");
        drop(stdin);
        let piped = child.wait_with_output().expect("ends");
        assert_eq!(piped.stdout, direct.stdout, "{name} from stdin and by name");
        assert!(!direct.stdout.is_empty());
    }
}

#[test]
fn plans_have_four_forms() {
    let json: serde_json::Value =
        serde_json::from_str(&stdout(&run(&["plan", "calico-ipip", "--as", "json"]))).expect("JSON");
    assert_eq!(json["mode"], "calico-ipip");
    assert_eq!(json["datapath"], "kernel");
    assert_eq!(
        stdout(&run(&["plan", "calico-ipip", "-o", "json"])),
        stdout(&run(&["plan", "calico-ipip", "--as", "json"]))
    );
    let script = stdout(&run(&["plan", "calico-ipip", "--as", "shell"]));
    assert!(script.starts_with("#!") && script.contains("ip netns add"), "{script:.200}");
    let yaml = stdout(&run(&["plan", "calico-ipip", "-o", "yaml"]));
    assert!(yaml.starts_with("cluster: minik\nmode: calico-ipip\n"), "{yaml:.200}");
    let named = stdout(&run(&["plan", "calico-ipip", "-c", "other"]));
    assert!(named.contains("minik-other-node-1") || named.contains("other"), "{named:.200}");
}

#[test]
fn a_wrong_topology_exits_with_2_and_names_the_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("bad.yaml");
    let text = stdout(&run(&["show", "calico-ipip"])).replacen("address: 10.1.10.9", "addres: 10.1.10.9", 1);
    std::fs::write(&path, text).expect("written");
    let output = run(&["plan", path.to_str().expect("a path")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("bad.yaml:") && stderr(&output).contains("addres"), "{}", stderr(&output));
    let output = run(&["plan", "./no-such-file.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("no-such-file.yaml"));
}

#[test]
fn the_schema_is_json() {
    let schema: serde_json::Value = serde_json::from_str(&stdout(&run(&["schema"]))).expect("JSON");
    assert!(schema["$schema"].as_str().is_some_and(|url| url.contains("json-schema.org")));
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(stdout(&output).contains("describe"), "{shell}");
    }
}

#[test]
fn flags_are_variables_too() {
    let output = minik(&["version"]).env("MINIK_OUTPUT", "json").output().expect("runs");
    assert!(stdout(&output).starts_with('{'));
    let output = minik(&["plan"]).env("MINIK_AS", "shell").output().expect("runs");
    assert!(stdout(&output).starts_with("#!"));
    let output = minik(&["version"]).env("MINIK_OUTPUT", "xml").output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn nothing_is_coloured_in_a_pipe_or_with_no_color() {
    for (arguments, no_color) in
        [(&["get", "poods"][..], false), (&["get", "poods"], true), (&["--help"], false), (&["frob"], true)]
    {
        let mut command = minik(arguments);
        if no_color {
            command.env("NO_COLOR", "1").env("CLICOLOR_FORCE", "0");
        }
        let output = command.output().expect("runs");
        assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b), "{arguments:?}");
    }
}

#[test]
fn a_closed_pipe_ends_minik_without_a_word() {
    // More than a pipe holds, so that minik is still writing when the reader goes.
    let mut child = minik(&["plan", "calico-ipip", "--as", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    let mut first = [0u8; 1];
    let mut pipe = child.stdout.take().expect("a pipe");
    pipe.read_exact(&mut first).expect("a byte");
    drop(pipe);
    let output = child.wait_with_output().expect("ends");
    assert_eq!(stderr(&output), "");
    assert!(output.status.code().is_some_and(|code| code == 0), "{:?}", output.status);
}

#[test]
fn the_agents_own_command_cannot_be_run_by_hand() {
    let output = minik(&["agent", "serve", "-c", NOBODY]).output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("minik agent restart"));
    let output = minik(&["agent", "restart", "-c", NOBODY]).output().expect("runs");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        !std::path::Path::new("/run/minik").join(NOBODY).exists(),
        "nothing is made for a cluster that is not there"
    );
}

#[test]
fn doctor_tells_what_it_found() {
    let output = run(&["doctor", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let features = json["features"].as_array().expect("a list");
    let works = |name: &str| features.iter().any(|f| f["feature"] == name && f["works"] == true);
    let needed = |f: &&serde_json::Value| {
        f["neededBy"].as_array().is_some_and(|modes| modes.iter().any(|mode| mode == "calico-ipip"))
    };
    let missing = |f: &&serde_json::Value| f["works"] != true && f["feature"] != "ipip" && f["feature"] != "tun";
    let modes = json["modes"].as_array().expect("a list");
    let default = modes.iter().find(|mode| mode["default"] == true).expect("a default mode");
    let verdict = &default["runs"]["verdict"];
    assert_eq!(default["mode"], "calico-ipip");
    assert!(features.len() > 60 && features.iter().filter(needed).count() > 10);
    for feature in features {
        let keys: Vec<&String> = feature.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["feature", "works", "detail", "cure", "package", "module", "config", "neededBy"]);
        assert_eq!(feature["works"] == false, feature["cure"].is_string(), "{feature}");
    }
    let possible = features.iter().filter(needed).find(missing).is_none() && (works("ipip") || works("tun"));
    assert_eq!(output.status.code(), Some(if possible { 0 } else { 4 }));
    assert_eq!(verdict == "impossible", !possible, "{verdict}");
    assert_eq!(verdict == "native", possible && works("ipip"), "{verdict}");
}
