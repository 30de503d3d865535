//! The userspace tunnel between two nodes, judged by ping, tcpdump and iptables. Needs root and /dev/net/tun;
//! without them every test is counted as ignored, with the reason in its name,
//! unless MINIK_REQUIRE is set.

#![allow(clippy::disallowed_methods, reason = "tests start the tools that check")]

mod both;
mod device;
mod differences;
mod flows;
#[path = "../kernel/mod.rs"]
mod kernel;
mod lab;
mod packets;
mod sight;
mod streams;

use lab::Outcome;
use libtest_mimic::{Arguments, Failed};

/// A test's name and what it does.
type Test = (&'static str, fn() -> Outcome);

const TESTS: &[Test] = &[
    ("device_looks_like_tunl0", device::looks_like_tunl0),
    ("device_outlives_its_server", device::outlives_its_server),
    ("device_down_and_deleted", device::down_and_deleted),
    ("packets_of_every_size", packets::every_size),
    ("packets_on_the_wire", packets::on_the_wire),
    ("packets_ecn_and_dscp", packets::ecn_and_dscp),
    ("packets_pass_every_hook", packets::pass_every_hook),
    ("packets_stopped_by_the_firewall", packets::stopped_by_the_firewall),
    ("packets_path_mtu", packets::path_mtu),
    ("packets_ttl_ends", packets::ttl_ends),
    ("packets_follow_the_routes", packets::follow_the_routes),
    ("packets_wrong_ones", packets::wrong_ones),
    ("streams_burst_of_datagrams", streams::burst_of_datagrams),
    ("streams_tcp", streams::tcp),
    ("streams_tcp_with_two_workers", streams::tcp_with_two_workers),
    ("streams_tcp_over_a_smaller_path", streams::tcp_over_a_smaller_path),
    ("streams_tcp_while_routes_change", streams::tcp_while_routes_change),
];

/// The same of both data paths, where the kernel has one.
const BOTH: &[Test] = &[
    ("both_sizes", flows::sizes),
    ("both_options", flows::options),
    ("both_fragments", flows::fragments),
    ("both_ttl", flows::ttl),
    ("both_errors_from_afar", flows::errors_from_afar),
    ("both_smaller_way", flows::smaller_way),
    ("both_ecn_and_dscp", flows::ecn_and_dscp),
    ("both_bursts", flows::bursts),
    ("both_unreachable_next_hop", flows::unreachable_next_hop),
    ("both_no_way", flows::no_way),
    ("both_route_changes_under_load", flows::route_changes_under_load),
    ("both_dropped_in_input", flows::dropped_in_input),
    ("both_dropped_in_output", flows::dropped_in_output),
    ("both_rejected_in_input", flows::rejected_in_input),
    ("both_rejected_in_output", flows::rejected_in_output),
    ("both_dropped_in_forward", flows::dropped_in_forward),
    ("both_far_end_down", flows::far_end_down),
    ("both_complaints", flows::complaints),
    ("both_near_end_down", flows::near_end_down),
    ("both_wrong_ones", flows::wrong_ones),
    ("both_but_for_marks", differences::marks),
    ("both_but_for_rules", differences::rules),
    ("both_but_for_counters", differences::counters),
    ("both_but_for_what_is_no_ipv4", differences::no_ipv4),
    ("both_but_for_large_tcp", differences::large_tcp),
    ("both_but_for_looks", differences::looks),
];

fn main() {
    let mut arguments = Arguments::from_args();
    // Each has namespaces of its own, and waits more than it works.
    arguments.test_threads = arguments.test_threads.or(Some(3));
    let missing = missing();
    let trials =
        TESTS.iter().map(|&(name, test)| kernel::trial(name, missing.clone(), move || test().map_err(Failed::from)));
    let missing = missing.clone().or_else(no_ipip);
    let both =
        BOTH.iter().map(|&(name, test)| kernel::trial(name, missing.clone(), move || test().map_err(Failed::from)));
    libtest_mimic::run(&arguments, trials.chain(both).collect()).exit();
}

/// What this kernel lacks for a comparison.
fn no_ipip() -> Option<String> {
    let has = minik::kernel::features::has_ipip().unwrap_or(false);
    (!has).then(|| "no ipip in this kernel".to_owned())
}

/// What this machine lacks for these tests.
fn missing() -> Option<String> {
    let no_tun = || (!std::path::Path::new("/dev/net/tun").exists()).then(|| "no /dev/net/tun".to_owned());
    kernel::not_root().or_else(no_tun)
}
