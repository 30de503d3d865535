//! The only layer that changes the kernel: namespaces, links, routes, rules, sysctls. EFFECTS.

pub mod lookup;
pub mod messages;
pub mod netlink;
pub mod netns;
pub mod state;
pub mod tun;
