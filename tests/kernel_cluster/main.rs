//! Whole clusters in the kernel, judged by programs that are not ours: ip, ping, arping, tcpdump, curl, nc,
//! iptables-save, ipset. Needs root; without it, or without one of the programs, a test is counted as ignored,
//! with the reason in its name, unless MINIK_REQUIRE is set. MINIK_DATAPATH chooses who carries tunnelled packets.

#![allow(clippy::disallowed_methods, reason = "tests start what they check")]

mod agree;
mod document;
mod host;
mod hostile;
#[path = "../kernel/mod.rs"]
mod kernel;
mod kill;
mod many;

use kernel::Test;

const TESTS: &[Test] = &[
    ("routes_are_those_of_the_document", &["ip"], document::routes),
    ("a_pod_looks_like_the_documents_pod", &["ip", "arping"], document::pod),
    ("tunl0_looks_like_the_documents_tunl0", &["ip"], document::tunnel),
    ("a_ping_across_nodes_is_captured_as_in_the_document", &["ping", "tcpdump"], document::captures),
    ("apps_answer_curl_and_nc", &["curl", "nc"], document::apps),
    ("names_hosts_and_resolvers_are_in_place", &["ip", "cat", "hostname"], document::files),
    ("the_kernel_holds_what_the_plan_says", &["iptables-save", "ipset"], agree::up_and_plan),
    ("a_missing_route_is_drift", &["ip"], agree::drift),
    ("the_shell_script_builds_what_up_builds", &["iptables-save", "ipset", "sh"], agree::script_and_up),
    ("down_leaves_the_host_as_it_was", host::DUMP_NEEDS, host::nothing_left),
    ("a_failed_up_is_rolled_back", host::DUMP_NEEDS, host::rollback),
    ("a_failed_up_can_be_kept", host::DUMP_NEEDS, host::no_rollback),
    ("an_interrupted_up_is_rolled_back", host::DUMP_NEEDS, host::interrupt),
    ("a_fresh_machine_is_left_fresh", &["unshare"], host::fresh_machine),
    ("down_removes_what_a_reboot_left", &[], host::reboot),
    ("an_ordinary_user_gets_one_line", &["setpriv"], host::unprivileged),
    ("up_can_be_killed_at_any_moment", host::DUMP_NEEDS, kill::up),
    ("down_can_be_killed_at_any_moment", host::DUMP_NEEDS, kill::down),
    ("the_agent_can_be_killed", host::DUMP_NEEDS, kill::agent),
    ("sigterm_ends_the_agent", host::DUMP_NEEDS, kill::terminate),
    ("two_clusters_live_side_by_side", &["ping"], many::side_by_side),
    ("one_cluster_does_not_take_anothers_namespaces", &["ip"], many::prefixes),
    ("of_two_ups_of_one_name_one_is_refused", host::DUMP_NEEDS, many::at_once),
    ("replace_builds_anew", &["ping"], many::replace),
    ("a_mode_is_verified_on_a_cluster_of_its_own", host::DUMP_NEEDS, hostile::throw_away),
    ("the_matrix_marks_what_the_plan_does_not_say", &["ip"], hostile::matrix),
    ("missing_tools_are_named", host::DUMP_NEEDS, hostile::tools),
    ("spoiled_clusters_are_explained_and_removed", host::DUMP_NEEDS, hostile::spoiled),
    ("clusters_at_the_edges_pass_every_check", &["ip"], hostile::edges),
];

fn main() {
    // What this loads stays loaded, and is no work of the clusters.
    let datapath = kernel::datapath();
    eprintln!("data path: {datapath}");
    // The tests compare what the host holds: one after another.
    kernel::run(TESTS, &["ip", "iptables-restore", "ipset"], Some(1));
}
