//! The agent: one background process per cluster, which stands for everything of a cluster that is a process
//! on real nodes and not kernel state: the containers of the pods, and tunnels that this kernel lacks.
//!
//! `up` starts it early with [`spawn`], so that it loads while the kernel works, and hands it its [`Orders`] with
//! [`Launch::serve`], which returns when every port is open. The two speak over a socket pair that is the agent's
//! standard input: if `up` dies before the orders are given, the agent sees its end and goes as well. Later
//! commands ([`status`], [`stop`]) use the control socket /run/minik/`<cluster>`/agent.sock.
//!
//! If the agent dies, the data plane in the kernel stays as it is; [`restart`] starts another one from
//! orders.json.
//!
//! What it serves: the household (pods with their ports, apps and programs), the tunnels, the daemons (a real BIRD on each
//! node), the health checks of the nodes' kube-proxies, and the timers of all daemons that minik stands for: [`keeper`](crate::plan::keeper) says who looks after what how
//! often, [`glance`](crate::kernel::glance) whether anything changed since, and [`keep`](crate::kernel::keep) looks and puts
//! back what is lost.

mod account;
mod apps;
mod association;
mod control;
mod daemons;
mod heal;
mod health;
mod household;
mod launch;
mod leased;
mod listen;
mod log;
mod names;
pub mod orders;
mod program;
mod serve;
mod tunnels;

pub use account::milliseconds;
pub use control::{
    ContainerStatus, DaemonStatus, Healed, PodStatus, State, Status, TunnelStatus, follow, status, stop,
};
pub use heal::{Charge, Recall};
pub use launch::{Launch, restart, spawn};
pub use log::utc;
pub use orders::Orders;
pub use serve::serve;

use std::path::PathBuf;

use crate::kernel::state;

/// The control socket of a cluster's agent.
fn socket_path(cluster: &str) -> PathBuf {
    state::dir(cluster).join("agent.sock")
}

/// The file that a running agent has locked; it holds the agent's pid.
fn lock_path(cluster: &str) -> PathBuf {
    state::dir(cluster).join("agent.lock")
}

/// What the agent says of itself, and why it ended.
pub fn log_path(cluster: &str) -> PathBuf {
    state::dir(cluster).join("agent.log")
}

/// The agent's orders.
fn orders_path(cluster: &str) -> PathBuf {
    state::dir(cluster).join("orders.json")
}
