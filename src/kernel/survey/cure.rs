//! What would bring a feature that is missing: a package, a module that is there and not loaded, another kernel.

use std::fs;
use std::path::Path;

use super::catalogue::{Device, Feature, Probe};
use super::{NOT_INSTALLED, rights, tun_cure};

/// What is known of this machine's kernel and its modules.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Machine {
    /// As `uname -r` has it.
    release: String,
    /// `ID` of /etc/os-release.
    distribution: String,
    /// Whether there is a directory of modules for this kernel, and what is in it: names with `_`.
    modules: Option<Vec<String>>,
    /// Whether the program is there that the kernel calls to load a module.
    can_load: bool,
}

impl Machine {
    /// Reads it. What cannot be read is taken as not there: it is only for words of advice.
    pub(super) fn read() -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let release = read("/proc/sys/kernel/osrelease").trim().to_owned();
        let os = read("/etc/os-release");
        let id = os.lines().find_map(|line| line.strip_prefix("ID=")).unwrap_or_default();
        let list = fs::read_to_string(format!("/lib/modules/{release}/modules.dep")).ok();
        let loader = read("/proc/sys/kernel/modprobe").trim().to_owned();
        Machine {
            distribution: id.trim_matches('"').to_owned(),
            modules: list.map(|list| list.lines().filter_map(module_of).collect()),
            can_load: !loader.is_empty() && Path::new(&loader).exists(),
            release,
        }
    }

    /// What brings `feature`, which does not work for the reason `why`.
    pub(super) fn cure(&self, feature: &Feature, why: &str) -> String {
        match feature.probe {
            Probe::Right(right) => rights::cure(right).to_owned(),
            _ if why == NOT_INSTALLED => format!("install the package {}", feature.package),
            // It is there, and somebody forbids it: seccomp, a security module, a user namespace.
            _ if ["not permitted", "ermission denied"].iter().any(|words| why.contains(words)) => {
                "run it outside of the container or sandbox that forbids this".to_owned()
            }
            Probe::Tool(_) => format!("install the package {} again", feature.package),
            Probe::Device(Device::Tun) => tun_cure::cure().unwrap_or_else(|| self.module(feature)),
            // Loading it makes the host's own bridges pass their packets to iptables, so that is for the user to say.
            Probe::BrNetfilter if self.has(feature.module) => {
                "`modprobe br_netfilter`, by which the host's own bridges pass packets to iptables, too".to_owned()
            }
            _ => self.module(feature),
        }
    }

    fn has(&self, module: &str) -> bool {
        self.modules.as_ref().is_some_and(|modules| modules.iter().any(|name| name == module))
    }

    fn module(&self, feature: &Feature) -> String {
        let Feature { module, config, .. } = feature;
        let kernel = format!("a kernel with CONFIG_{config}, module {module}");
        if self.modules.is_none() {
            return kernel;
        }
        if !self.has(module) {
            return match self.distribution.as_str() {
                "ubuntu" => format!("module {module}: install the package linux-modules-extra-{}", self.release),
                "debian" if self.release.contains("cloud") => {
                    format!(
                        "module {module}: install the package linux-image-amd64 and boot that kernel, not the cloud's"
                    )
                }
                _ => format!("{kernel}, which is not in /lib/modules/{}", self.release),
            };
        }
        if self.can_load {
            format!("`modprobe {module}`; it is installed and was not loaded when asked for")
        } else {
            format!("`modprobe {module}`; install the package kmod, so that the kernel can load it")
        }
    }
}

/// `kernel/net/ipv4/ipip.ko.xz: …` is about `ipip`.
fn module_of(line: &str) -> Option<String> {
    let file = line.split(':').next()?.rsplit('/').next()?;
    Some(file.split(".ko").next()?.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::find;
    use super::*;

    #[test]
    fn the_cure_is_what_the_machine_lacks() {
        let machine = |distribution: &str, release: &str, modules: Option<&[&str]>, can_load| Machine {
            release: release.to_owned(),
            distribution: distribution.to_owned(),
            modules: modules.map(|list| list.iter().map(|name| (*name).to_owned()).collect()),
            can_load,
        };
        let cure = |machine: &Machine, name: &str| machine.cure(find(name).expect("a row"), "words");
        let bare = machine("debian", "6.18", None, false);
        assert_eq!(cure(&bare, "ipip"), "a kernel with CONFIG_NET_IPIP, module ipip");
        let absent = |name: &str| bare.cure(find(name).expect("a row"), NOT_INSTALLED);
        assert_eq!(absent("ipset"), "install the package ipset");
        assert_eq!(absent("iptables by legacy"), "install the package iptables");
        assert_eq!(cure(&bare, "administration"), "it takes CAP_NET_ADMIN");
        let forbidden = bare.cure(find("tun").expect("a row"), "cannot do it: Operation not permitted (os error 1)");
        assert!(forbidden.contains("sandbox"));
        let there = machine("debian", "6.1.0-56-amd64", Some(&["sch_netem", "br_netfilter"]), true);
        assert!(cure(&there, "netem").starts_with("`modprobe sch_netem`; it is installed"));
        assert!(cure(&there, "br_netfilter").contains("the host's own bridges"));
        assert!(cure(&there, "ipip").contains("not in /lib/modules/6.1.0-56-amd64"));
        assert!(cure(&machine("debian", "6.1", Some(&["dummy"]), false), "dummy").contains("package kmod"));
        let ubuntu = machine("ubuntu", "6.8.0-31-generic", Some(&[]), true);
        assert!(cure(&ubuntu, "netem").contains("linux-modules-extra-6.8.0-31-generic"));
        assert!(cure(&machine("debian", "6.1.0-56-cloud-amd64", Some(&[]), true), "dummy").contains("cloud"));
    }

    #[test]
    fn names_of_modules_are_read() {
        let names = ["kernel/net/ipv4/ipip.ko: kernel/net/ipv4/ip_tunnel.ko", "a/xt_set.ko.zst:", "a/sch-netem.ko.xz:"];
        assert_eq!(names.map(|line| module_of(line).unwrap_or_default()), ["ipip", "xt_set", "sch_netem"]);
    }
}
