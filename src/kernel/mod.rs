//! The only layer that changes the kernel: namespaces, links, routes, rules, sysctls. EFFECTS.

pub mod messages;
pub mod netlink;
pub mod netns;
pub mod place;
pub mod process;
pub mod state;
