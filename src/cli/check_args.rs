//! The arguments of the commands that send packets. Help texts are these comments.

use clap::Args;

use super::args::cluster_name;

/// The arguments of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// A cluster, as -c names it; or a mode, for a cluster that is built, verified and removed again.
    #[arg(value_name = "CLUSTER or MODE", value_parser = cluster_name)]
    pub name: Option<String>,
    /// Build, verify and remove a cluster of every mode in turn.
    #[arg(long, conflicts_with = "name", env = "MINIK_ALL_MODES")]
    pub all_modes: bool,
    /// Also write a JUnit report to this file.
    #[arg(long, value_name = "FILE", env = "MINIK_JUNIT")]
    pub junit: Option<std::path::PathBuf>,
}

/// The arguments of `probe`.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Who asks: a node, client or router; a pod as NAME or NAMESPACE/NAME; deploy/NAME; or an IP address.
    #[arg(value_name = "FROM", required_unless_present = "matrix", requires = "to")]
    pub from: Option<String>,
    /// Who is asked: the same, or any IP address.
    #[arg(value_name = "TO")]
    pub to: Option<String>,
    /// Ask every pair of pods by ICMP, and compare with what the plan predicts.
    #[arg(long, conflicts_with_all = ["from", "to", "icmp", "tcp", "udp", "sctp"])]
    pub matrix: bool,
    /// Ask at IPv4 addresses alone; without it, and without -6, a matrix asks at both.
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// Ask at IPv6 addresses.
    #[arg(short = '6', long)]
    pub ipv6: bool,
    /// Ask by ICMP echo; this is the default.
    #[arg(long, conflicts_with_all = ["tcp", "udp", "sctp"])]
    pub icmp: bool,
    /// Ask for a TCP connection to a port.
    #[arg(long, value_name = "PORT", conflicts_with_all = ["udp", "sctp"], env = "MINIK_TCP", value_parser = port())]
    pub tcp: Option<u16>,
    /// Ask for an answer to a UDP datagram to a port.
    #[arg(long, value_name = "PORT", conflicts_with = "sctp", env = "MINIK_UDP", value_parser = port())]
    pub udp: Option<u16>,
    /// Ask for an SCTP association with a port, where the kernel has SCTP.
    #[arg(long, value_name = "PORT", env = "MINIK_SCTP", value_parser = port())]
    pub sctp: Option<u16>,
    /// How long to wait for an answer, in milliseconds.
    #[arg(long, value_name = "MS", env = "MINIK_TIMEOUT", default_value_t = 1000,
          value_parser = clap::value_parser!(u64).range(1..=TIMEOUT_MAX))]
    pub timeout: u64,
}

/// Longest time to wait for an answer, in milliseconds: an hour.
const TIMEOUT_MAX: u64 = 3_600_000;

pub(super) fn port() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..)
}
