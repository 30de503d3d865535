//! The only layer that changes the kernel: namespaces, links, routes, rules, sysctls. EFFECTS.

pub mod apply;
pub mod bird;
pub mod change;
pub mod devices;
pub mod drift;
pub mod etc;
pub mod features;
pub mod files;
pub mod gone;
pub mod heal;
pub mod host;
pub mod keep;
pub mod lookup;
mod maker;
pub mod messages;
pub mod netlink;
pub mod netns;
pub mod place;
pub mod process;
pub mod qdisc;
pub mod read;
pub mod remove;
pub mod restore;
pub mod state;
pub mod survey;
pub mod sysctl;
pub mod tun;
