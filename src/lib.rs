//! minik: a Kubernetes network that you can take apart.
//!
//! One idea carries everything: **the cluster's data plane is a value**. Input files say what was asked; pure
//! code turns that into a [`plan::Plan`]; only [`kernel`] makes it real. The same plan is printed, written out
//! as a shell script, walked by a virtual packet and compared with what real packets did.
//!
//! ```text
//!  topologies/*.yaml, Kubernetes manifests
//!         │ parse, resolve, schedule                        topology   (pure)
//!         ▼
//!      Cluster ──── cni, ipam ────▶ Plan ──── kernel ────▶ namespaces, links, routes, rules
//!                                    │                          │
//!                                predict (pure)               probe: inject, capture
//!                                    ▼                          ▼
//!                              predicted path ◀── verify ──▶ observed path
//! ```

pub mod agent;
pub mod cli;
pub mod cni;
pub mod error;
pub mod ipam;
pub mod kernel;
pub mod names;
pub mod packet;
pub mod plan;
pub mod predict;
pub mod probe;
pub mod topology;
pub mod tunnel;
pub mod verify;
