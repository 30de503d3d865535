//! Writing sysctls of the calling thread's namespace, and leaving out writes that would change nothing.
//!
//! The first look into /proc/sys/net of a new namespace costs a tenth of a millisecond, as much as a veth
//! pair, so a value that a new namespace has anyway is not written again.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::procfs::Procfs;
use crate::error::{Error, Kind, Result};
use crate::plan::{Link, Sysctl};

/// What each key holds in a namespace that was just made. This depends on the host's own settings, which new
/// namespaces may inherit, so it is read and not assumed.
#[derive(Debug, Default)]
pub struct FreshDefaults {
    procfs: Procfs,
    values: BTreeMap<String, String>,
    /// Whether /proc/sys has the directory of an optional part of the kernel.
    features: BTreeMap<&'static str, bool>,
}

impl FreshDefaults {
    /// Sets `wanted` in the calling thread's namespace, which must be new.
    ///
    /// # Errors
    /// If a key does not exist or refuses the value.
    pub fn apply(&mut self, wanted: &[Sysctl]) -> Result<()> {
        // Keys influence each other (`all` sets `default`), so what is read after a write is not remembered.
        let mut pristine = true;
        self.procfs.next_namespace();
        for sysctl in wanted {
            if self.lacks_feature(sysctl) {
                continue;
            }
            if pristine && !self.values.contains_key(&sysctl.key) {
                self.values.insert(sysctl.key.clone(), self.read(sysctl)?);
            }
            if self.values.get(&sysctl.key) != Some(&sysctl.value) {
                self.write(sysctl)?;
                pristine = false;
            }
        }
        Ok(())
    }

    fn read(&self, sysctl: &Sysctl) -> Result<String> {
        let text = self.procfs.read(&sysctl.path()).map_err(|e| failed("read", sysctl, e))?;
        Ok(text.trim().to_owned())
    }

    /// Sets a key in the calling thread's namespace, the one of the last [`apply`](FreshDefaults::apply).
    ///
    /// # Errors
    /// As [`write()`].
    pub fn write(&self, sysctl: &Sysctl) -> Result<()> {
        self.procfs.write(&sysctl.path(), &sysctl.value).map_err(|e| failed("set", sysctl, e))
    }

    /// Sets keys in that namespace and returns what they held before.
    ///
    /// # Errors
    /// If a key cannot be read or written.
    pub fn exchange(&self, wanted: &[Sysctl]) -> Result<Vec<Sysctl>> {
        let mut before = Vec::with_capacity(wanted.len());
        for sysctl in wanted {
            before.push(Sysctl::new(&sysctl.key, self.read(sysctl)?));
            self.write(sysctl)?;
        }
        Ok(before)
    }

    fn lacks_feature(&mut self, sysctl: &Sysctl) -> bool {
        let Some(directory) = sysctl.optional_part() else { return false };
        !*self.features.entry(directory).or_insert_with(|| Path::new(directory).exists())
    }
}

/// Whether a setting is one of a part that this kernel lacks.
pub fn is_of_absent_part(sysctl: &Sysctl) -> bool {
    sysctl.optional_part().is_some_and(|directory| !Path::new(directory).exists())
}

/// The value of a key in the calling thread's namespace.
///
/// # Errors
/// If there is no such key.
pub fn read(sysctl: &Sysctl) -> Result<String> {
    let text = fs::read_to_string(sysctl.path()).map_err(|e| failed("read", sysctl, e))?;
    Ok(text.trim().to_owned())
}

/// Sets a key in the calling thread's namespace.
///
/// # Errors
/// If there is no such key, or it refuses the value.
pub fn write(sysctl: &Sysctl) -> Result<()> {
    fs::write(sysctl.path(), &sysctl.value).map_err(|e| failed("set", sysctl, e))
}

fn failed(verb: &str, sysctl: &Sysctl, e: std::io::Error) -> Error {
    Error::new(Kind::Io, format!("cannot {verb} sysctl {}", sysctl.key)).because(e)
}

/// IPv6 settings that every one of these links shares, as settings of `default`: links that are born in a
/// namespace take them from there, one write instead of one per link.
pub fn shared_defaults(born: &[&Link]) -> Vec<Sysctl> {
    let Some((first, others)) = born.split_first() else { return Vec::new() };
    let shared = |default: &Sysctl| {
        others.iter().all(|link| link.sysctls.iter().any(|s| default_of(s, &link.name).as_ref() == Some(default)))
    };
    first.sysctls.iter().filter_map(|s| default_of(s, &first.name)).filter(shared).collect()
}

/// The settings of these links that `defaults` does not give them.
pub fn remaining<'p>(born: &[&'p Link], defaults: &[Sysctl]) -> Vec<&'p Sysctl> {
    let given = |link: &Link, s: &Sysctl| default_of(s, &link.name).is_some_and(|d| defaults.contains(&d));
    born.iter().flat_map(|link| link.sysctls.iter().filter(|s| !given(link, s))).collect()
}

/// `net.ipv6.conf.default.X` for `net.ipv6.conf.<link>.X`. IPv4's defaults are no such help: writing one
/// changes links that exist.
fn default_of(sysctl: &Sysctl, link: &str) -> Option<Sysctl> {
    let own = format!("net.ipv6.conf.{}.", link.replace('.', "/"));
    let name = sysctl.key.strip_prefix(&own)?;
    Some(Sysctl::new(format!("net.ipv6.conf.default.{name}"), sysctl.value.clone()))
}
