//! The Vagrantfile as Vagrant itself reads it, and what it promises. Without Vagrant, what needs it is counted as
//! ignored, with the reason in its name.

#![allow(clippy::disallowed_methods, reason = "a test starts what it checks")]

mod kernel;

use std::path::Path;
use std::process::Command;

use libtest_mimic::{Arguments, Failed};

const VAGRANTFILE: &str = include_str!("../Vagrantfile");

/// What makes it invalid: a text in it, what stands there instead, and what Vagrant says.
const BREAKS: &[(&str, &str, &str)] = &[
    ("machine.vm.box = box", "", "A box must be specified"),
    ("machine.vm.hostname", "machine.vm.hostnam", "hostnam"),
    ("inline: \"/minik/scripts/setup test\"", "inlin: \"/minik/scripts/setup test\"", "inlin"),
    ("BOXES.each do", "BOXES.each", "yntax"),
];

fn main() {
    let arguments = Arguments::from_args();
    let no_vagrant = || Command::new("vagrant").arg("--version").output().is_err().then(|| "no vagrant".to_owned());
    let trials = vec![
        kernel::trial("vagrant_takes_the_vagrantfile", no_vagrant(), valid),
        kernel::trial("vagrant_refuses_broken_ones", no_vagrant(), broken),
        kernel::trial("it_runs_scripts_that_there_are", None, scripts),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

/// `vagrant validate` on this text, far from the user's own Vagrant; what it says, and whether it is content. No
/// provider is needed, and so none's settings are looked at.
fn validate(text: &str) -> Result<(bool, String), Failed> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("Vagrantfile"), text)?;
    let output = Command::new("vagrant")
        .args(["validate", "--ignore-provider"])
        .current_dir(dir.path())
        .env("VAGRANT_HOME", dir.path().join("home"))
        .env("VAGRANT_DOTFILE_PATH", dir.path().join("state"))
        .env("VAGRANT_CHECKPOINT_DISABLE", "1")
        .output()?;
    let words = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&words).into_owned()))
}

fn valid() -> Result<(), Failed> {
    let (good, words) = validate(VAGRANTFILE)?;
    if good && words.contains("validated successfully") { Ok(()) } else { Err(words.into()) }
}

fn broken() -> Result<(), Failed> {
    for (from, to, says) in BREAKS {
        let text = VAGRANTFILE.replacen(from, to, 1);
        if text == VAGRANTFILE {
            return Err(format!("`{from}` is not in the Vagrantfile").into());
        }
        let (good, words) = validate(&text)?;
        if good || !words.contains(says) {
            return Err(format!("`{to}` for `{from}`: {good}: {words}").into());
        }
    }
    Ok(())
}

fn scripts() -> Result<(), Failed> {
    use std::os::unix::fs::PermissionsExt;
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named: Vec<&str> =
        VAGRANTFILE.split("/minik/").skip(1).filter_map(|rest| rest.split(['"', ' ', '\n']).next()).collect();
    named.sort_unstable();
    if named != ["scripts/setup", "scripts/start", "scripts/test"] {
        return Err(format!("it names {named:?}").into());
    }
    for script in named {
        if std::fs::metadata(project.join(script))?.permissions().mode() & 0o111 == 0 {
            return Err(format!("{script} cannot be run").into());
        }
    }
    Ok(())
}
