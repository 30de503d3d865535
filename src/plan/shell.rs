//! A plan as a shell script of plain `ip`, `sysctl`, `ipset` and `iptables-restore` commands.
//!
//! Run by hand on a bare machine it builds the same network; read, it says which command makes what. The one
//! exception is a tunnel device that minik's agent serves: the script makes the device, and says so.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::ipvs::Timeouts;
use super::{
    Datapath, Family, Ipv4Conf, Link, LinkKind, Namespace, Plan, Sysctl, aside, ebtables, etc_files, line, nft, restore,
};
use crate::names;

/// The script. Equal plans give equal scripts; `sh SCRIPT down` removes what `sh SCRIPT` made.
pub fn script(plan: &Plan) -> String {
    let mut text = header(plan);
    section(&mut text, "Namespaces, with the files that `ip netns exec` shows as /etc");
    text.push_str("for ns in $NAMESPACES; do\n  ip netns add \"$ns\"\ndone\n");
    plan.namespaces.iter().for_each(|ns| etc(&mut text, ns));
    section(&mut text, "Settings that links inherit, so they come before any link");
    for ns in &plan.namespaces {
        sysctls(&mut text, &ns.netns, &ns.sysctls);
    }
    section(&mut text, "Links, each veth pair once, born where it belongs");
    let mut made = BTreeSet::new();
    for ns in &plan.namespaces {
        links(&mut text, plan, ns, &mut made);
    }
    for ns in &plan.namespaces {
        inside(&mut text, ns);
    }
    text.push_str("\n# Done. A look around, and the way to remove all of it:\n");
    if let Some(pod) = plan.pods().next() {
        let _ = writeln!(text, "#   ip netns exec {} ip route", pod.netns);
    }
    text.push_str("#   sh THIS-SCRIPT down\n");
    text
}

fn header(plan: &Plan) -> String {
    let mut text = format!(
        "#!/bin/sh\n# Builds the network of cluster {} ({}) by hand. Made by `minik plan --as shell`.\n\
         # Run as root; needs iproute2, procps, and of ipset, iptables, nft and ebtables what it names. `down` as argument\n\
         # removes it again.\n\
         # Nothing outside of the namespaces named here is touched, but for /etc/netns.\nset -eu\n\nNAMESPACES=\"\n",
        plan.cluster, plan.mode
    );
    for ns in &plan.namespaces {
        let _ = writeln!(text, "{}", ns.netns);
    }
    let _ = write!(
        text,
        "\"\n\nif [ \"${{1:-}}\" = down ]; then\n  for ns in $NAMESPACES; do\n    \
         if [ -e \"{netns}/$ns\" ]; then ip netns del \"$ns\"; fi\n    rm -rf \"{etc}/$ns\"\n  done\n  \
         # Empty now, it is nobody's.\n  rmdir \"{etc}\" 2>/dev/null || :\n  exit 0\nfi\n\n\
         # `minik up` makes links there, whose files a reboot takes away.\nfor ns in $NAMESPACES; do\n  \
         if [ -L \"{etc}/$ns\" ] && [ ! -e \"{etc}/$ns\" ]; then rm \"{etc}/$ns\"; fi\ndone\n",
        netns = names::NETNS_DIR,
        etc = names::ETC_NETNS_DIR
    );
    text
}

fn section(text: &mut String, title: &str) {
    let _ = write!(text, "\n# --- {title}\n");
}

fn etc(text: &mut String, ns: &Namespace) {
    let directory = format!("{}/{}", names::ETC_NETNS_DIR, ns.netns);
    let _ = writeln!(text, "mkdir -p {directory}");
    for (name, content) in etc_files(ns) {
        heredoc(text, &format!("cat > {directory}/{name}"), &content);
    }
}

fn heredoc(text: &mut String, command: &str, content: &str) {
    let _ = write!(text, "{command} <<'END'\n{content}END\n");
}

/// `sysctl` for each setting; one of IPv6 or br_netfilter is skipped where the kernel has none.
fn sysctls(text: &mut String, netns: &str, sysctls: &[Sysctl]) {
    for sysctl in sysctls {
        let unless = sysctl.optional_part().map_or_else(String::new, |part| format!("[ ! -d {part} ] || "));
        let _ = writeln!(text, "{unless}ip netns exec {netns} sysctl -qw {}={}", sysctl.key, sysctl.value);
    }
}

fn links(text: &mut String, plan: &Plan, ns: &Namespace, made: &mut BTreeSet<(String, String)>) {
    for link in &ns.links {
        if !made.insert((ns.name.clone(), link.name.clone())) {
            continue;
        }
        let (name, netns, looks) = (&link.name, &ns.netns, looks(link));
        match &link.kind {
            LinkKind::Loopback => {}
            LinkKind::Bridge => {
                let _ = writeln!(text, "ip -n {netns} link add {name}{looks} type bridge");
            }
            LinkKind::Veth { peer_namespace, peer } => {
                let far = plan.namespace(peer_namespace);
                let far_looks = far.and_then(|ns| ns.link(peer)).map(self::looks).unwrap_or_default();
                let far_netns = far.map_or("", |ns| &ns.netns);
                let _ = writeln!(
                    text,
                    "ip -n {netns} link add {name}{looks} type veth peer name {peer} netns {far_netns}{far_looks}"
                );
                made.insert((peer_namespace.clone(), peer.clone()));
            }
            LinkKind::Ipip | LinkKind::IpipPeer { .. } | LinkKind::Udp(_) => tunnel(text, plan.datapath, netns, link),
            LinkKind::Vxlan(vxlan) => {
                let _ = writeln!(text, "ip -n {netns} link add {name}{looks} type {vxlan}");
            }
            LinkKind::Dummy => {
                let _ = writeln!(text, "ip -n {netns} link add {name}{looks} type dummy");
            }
            LinkKind::Macvlan { parent_namespace, parent } => {
                let lower = plan.namespace(parent_namespace).map_or("", |ns| &ns.netns);
                let _ = writeln!(
                    text,
                    "ip -n {lower} link add link {parent} name {name}{looks} netns {netns} type macvlan mode bridge"
                );
            }
        }
    }
    if plan.datapath == Datapath::Userspace {
        silence(text, ns);
    }
}

/// MAC and MTU, as words of `ip link add`.
fn looks(link: &Link) -> String {
    let mac = link.mac.map_or(String::new(), |mac| format!(" address {mac}"));
    let mtu = link.mtu.map_or(String::new(), |mtu| format!(" mtu {mtu}"));
    mac + &mtu
}

/// A tunnel of the ipip module's, or the TUN that stands in for it, or flannel's TUN.
fn tunnel(text: &mut String, datapath: Datapath, netns: &str, link: &Link) {
    let name = &link.name;
    let _ = match (datapath, &link.kind) {
        (_, LinkKind::Udp(_)) => write!(
            text,
            "# Only minik's agent can carry the packets of this device.\n\
             ip -n {netns} tuntap add dev {name} mode tun\n"
        ),
        (Datapath::Kernel, LinkKind::IpipPeer { local, remote }) => {
            writeln!(text, "ip -n {netns} link add {name} type ipip local {local} remote {remote} ttl inherit pmtudisc")
        }
        (Datapath::Userspace, LinkKind::IpipPeer { remote, .. }) => write!(
            text,
            "# A TUN device takes the routes, but only minik's agent can carry its packets, to {remote}.\n\
             ip -n {netns} tuntap add dev {name} mode tun\n"
        ),
        (Datapath::Kernel, _) => write!(
            text,
            "# The ipip module makes this device by itself where it is loaded.\n\
             ip -n {netns} link add {name} type ipip 2>/dev/null || ip -n {netns} link show dev {name} >/dev/null\n"
        ),
        (Datapath::Userspace, _) => write!(
            text,
            "# A TUN device takes the routes, but only minik's agent can carry its packets. Where the ipip module is\n\
             # loaded, its own device is in the way.\n\
             if ip -n {netns} link show dev {name} >/dev/null 2>&1; then\n  \
             ip -n {netns} link set dev {name} name {aside}\nfi\n\
             ip -n {netns} tuntap add dev {name} mode tun\n",
            aside = aside::kernels(name)
        ),
    };
    if let Some(mtu) = link.mtu {
        let _ = writeln!(text, "ip -n {netns} link set dev {name} mtu {mtu}");
    }
}

/// The module, if it is loaded, would say "port unreachable" to everything that arrives for the agent.
fn silence(text: &mut String, ns: &Namespace) {
    let (netns, modules) = (&ns.netns, aside::MODULES_DEVICE);
    let addresses = aside::addresses(ns);
    if addresses.is_empty() {
        return;
    }
    let there = if ns.link(modules).is_some() { aside::kernels(modules) } else { modules.to_owned() };
    let _ = writeln!(text, "if ip -n {netns} link show dev {there} >/dev/null 2>&1; then");
    for (number, address) in addresses.into_iter().enumerate() {
        let name = aside::quiet(modules, number);
        let _ = writeln!(text, "  ip -n {netns} link add {name} type ipip mode mplsip local {address}");
        let _ = writeln!(text, "  ip -n {netns} link set dev {name} up");
    }
    text.push_str("fi\n");
}

/// What comes after all links exist: ports, addresses, state, settings, routes, rules.
fn inside(text: &mut String, ns: &Namespace) {
    section(text, &ns.name);
    let netns = &ns.netns;
    ns.links.iter().for_each(|link| settle(text, netns, link));
    for neighbour in &ns.neighbours {
        let _ = writeln!(text, "ip -n {netns} neighbour add {neighbour} nud permanent");
    }
    for entry in &ns.fdb {
        let _ = writeln!(text, "bridge -n {netns} fdb append {} dev {} dst {}", entry.mac, entry.dev, entry.dst);
    }
    for route in ns.routes.iter().filter(|route| !ns.is_daemons(route)) {
        let _ = writeln!(text, "ip {}-n {netns} route add {route}", six(route.dst.addr()));
    }
    for rule in &ns.policy {
        let (family, priority) = (six(rule.from.addr()), rule.priority);
        let _ = writeln!(text, "ip {family}-n {netns} rule add {rule} priority {priority}");
    }
    let run = format!("ip netns exec {netns}");
    for bird in &ns.birds {
        text.push_str("# BIRD makes its routes itself, when it has its sessions. `birdc -s FILE.ctl down` ends it.\n");
        let file = format!("/tmp/{netns}-{}", bird.name());
        heredoc(text, &format!("cat > {file}.conf"), &bird.config);
        let _ = writeln!(text, "{run} bird -c {file}.conf -s {file}.ctl");
    }
    if !ns.sets.is_empty() {
        heredoc(text, &format!("{run} ipset restore"), &restore::ipset_restore(&ns.sets));
    }
    if !ns.tables.is_empty() {
        let tool = ns.backend.restore(Family::Inet)[0];
        heredoc(text, &format!("{run} {tool}"), &restore::iptables_restore(&ns.tables));
    }
    if !ns.tables6.is_empty() {
        let tool = ns.backend.restore(Family::Inet6)[0];
        heredoc(text, &format!("{run} {tool}"), &restore::iptables_restore(&ns.tables6));
    }
    if !ns.nft.is_empty() {
        heredoc(text, &format!("{run} nft -f -"), &nft::text::script(&ns.nft));
    }
    if let Some(ipvs) = &ns.ipvs {
        text.push_str("# Needs ipvsadm, and a kernel with ip_vs.\n");
        if let Some(Timeouts { tcp, tcp_fin, udp }) = ipvs.timeouts {
            let _ = writeln!(text, "{run} ipvsadm --set {tcp} {tcp_fin} {udp}");
        }
        heredoc(text, &format!("{run} ipvsadm -R"), &ipvs.restore());
    }
    if !ns.ebtables.is_empty() {
        heredoc(text, &format!("{run} ebtables-restore"), &ebtables::ebtables_restore(&ns.ebtables));
    }
    if line::loses(ns) {
        heredoc(text, &format!("{run} nft -f -"), &line::nft(ns));
    }
    files(text, ns);
}

fn settle(text: &mut String, netns: &str, link: &Link) {
    let name = &link.name;
    if let Some(master) = &link.master {
        let _ = writeln!(text, "ip -n {netns} link set dev {name} master {master}");
    }
    if link.hairpin {
        let _ = writeln!(text, "bridge -n {netns} link set dev {name} hairpin on");
    }
    if link.promiscuous {
        let _ = writeln!(text, "ip -n {netns} link set dev {name} promisc on");
    }
    for address in &link.addresses {
        let broadcast = address.broadcast.map_or(String::new(), |broadcast| format!(" broadcast {broadcast}"));
        // Nobody else has it, and what is not tentative can be used at once.
        let nodad = if address.net.addr().is_ipv6() { " nodad" } else { "" };
        let _ = writeln!(text, "ip -n {netns} address add {}{broadcast} dev {name}{nodad}", address.net);
    }
    sysctls(text, netns, &link_sysctls(link));
    if link.up {
        let _ = writeln!(text, "ip -n {netns} link set dev {name} up");
    }
    if let Some(qdisc) = &link.qdisc {
        let _ = writeln!(text, "tc -n {netns} qdisc add dev {name} root {qdisc}{}", or_without_netem(netns, link));
    }
}

/// How a script goes on where `tc` does not know netem: as [`line::without_netem`] does, or not at all if there is a
/// delay.
fn or_without_netem(netns: &str, link: &Link) -> String {
    let mut replaced = link.clone();
    if !line::replace(&mut replaced) {
        return String::new();
    }
    let mut text = " || {\n# The kernel has no netem: loss by nftables, rate by tbf.\n".to_owned();
    if let Some(qdisc) = &replaced.qdisc {
        let _ = writeln!(text, "tc -n {netns} qdisc add dev {} root {qdisc}", link.name);
    }
    if replaced.loss > 0 {
        heredoc(&mut text, &format!("ip netns exec {netns} nft -f -"), &line::table([&replaced]));
    }
    text + "}"
}

/// The flag by which `ip` takes a prefix for IPv6's.
fn six(address: std::net::IpAddr) -> &'static str {
    if address.is_ipv6() { "-6 " } else { "" }
}

/// `ip netns exec` can only cover files that the machine has, so these are told and not made.
fn files(text: &mut String, ns: &Namespace) {
    if !ns.files.is_empty() {
        text.push_str("# Files that this has too; `minik exec` shows them at their paths, `ip netns exec` cannot:\n");
    }
    for file in &ns.files {
        let _ = writeln!(text, "# {}", file.path);
        file.content.lines().for_each(|line| text.push_str(&format!("#   {line}\n")));
    }
}

/// Every setting of a link as a sysctl.
pub fn link_sysctls(link: &Link) -> Vec<Sysctl> {
    let name = link.name.replace('.', "/");
    let Ipv4Conf { proxy_arp, forwarding, route_localnet, proxy_delay } = link.ipv4;
    let conf = [("proxy_arp", proxy_arp), ("forwarding", forwarding), ("route_localnet", route_localnet)];
    let given = conf.into_iter().filter_map(|(key, value)| Some((key, u8::from(value?))));
    let mut all: Vec<Sysctl> =
        given.map(|(key, value)| Sysctl::new(format!("net.ipv4.conf.{name}.{key}"), value.to_string())).collect();
    all.extend(proxy_delay.map(|delay| Sysctl::new(format!("net.ipv4.neigh.{name}.proxy_delay"), delay.to_string())));
    all.extend(link.sysctls.iter().cloned());
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Role;

    fn plan(datapath: Datapath) -> Plan {
        let mut node = Namespace::new("c", "node-1", "node-1", Role::Node);
        node.links.push(Link { mtu: Some(1480), ..Link::new("tunl0", LinkKind::Ipip) });
        node.links.push(Link {
            ipv4: Ipv4Conf { proxy_arp: Some(true), proxy_delay: Some(0), ..Ipv4Conf::default() },
            ..Link::new("ens33.7", LinkKind::Veth { peer_namespace: "p".into(), peer: "eth0".into() })
        });
        let mut pod = Namespace::new("c", "p", "p", Role::Client);
        pod.links.push(Link::new("eth0", LinkKind::Veth { peer_namespace: "node-1".into(), peer: "ens33.7".into() }));
        Plan { cluster: "c".into(), mode: "m".into(), datapath, namespaces: vec![node, pod] }
    }

    #[test]
    fn a_tunnel_without_the_kernel_s_is_a_tun_device_and_the_script_says_who_serves_it() {
        let (kernel, userspace) = (script(&plan(Datapath::Kernel)), script(&plan(Datapath::Userspace)));
        assert!(kernel.contains("ip -n minik-c-node-1 link add tunl0 type ipip") && !kernel.contains("tuntap"));
        assert!(
            userspace.contains("ip -n minik-c-node-1 tuntap add dev tunl0 mode tun") && userspace.contains("agent")
        );
    }

    #[test]
    fn what_a_kernel_may_lack_is_skipped_there() {
        let mut plan = plan(Datapath::Kernel);
        let keys = ["net.ipv6.conf.all.disable_ipv6", "net.bridge.bridge-nf-call-iptables", "net.ipv4.ip_forward"];
        plan.namespaces[0].sysctls = keys.map(|key| Sysctl::new(key, "1")).to_vec();
        let script = script(&plan);
        for (key, before) in
            keys.iter().zip(["[ ! -d /proc/sys/net/ipv6 ] || ", "[ ! -d /proc/sys/net/bridge ] || ", ""])
        {
            let line = format!("\n{before}ip netns exec minik-c-node-1 sysctl -qw {key}=1\n");
            assert!(script.contains(&line), "{script}");
        }
    }

    #[test]
    fn a_veth_pair_is_made_once_and_dots_in_a_name_are_slashes_for_sysctl() {
        let script = script(&plan(Datapath::Kernel));
        assert_eq!(script.matches("type veth").count(), 1);
        assert!(script.contains("sysctl -qw net.ipv4.conf.ens33/7.proxy_arp=1"), "{script}");
        assert!(script.contains("sysctl -qw net.ipv4.neigh.ens33/7.proxy_delay=0"), "{script}");
    }
}
