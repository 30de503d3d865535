//! A plan as text for people: per namespace its links, addresses, settings, routes, sets and rules.

use std::fmt::Write;

use super::ipvs::Timeouts;
use super::{Family, Ipv4Conf, Link, LinkKind, Namespace, Plan, Role, Table, nft, restore};

/// The whole plan. Columns are aligned within each namespace; routes read as `ip route` prints them, rules as
/// iptables-save does.
pub fn text(plan: &Plan) -> String {
    let mut text = format!(
        "cluster {}: {}, {}, {}, tunnels by {}\n",
        plan.cluster,
        plan.mode,
        count(plan.nodes().count(), "node"),
        count(plan.pods().count(), "pod"),
        plan.datapath
    );
    for ns in &plan.namespaces {
        text.push('\n');
        text.push_str(&namespace(ns));
    }
    text
}

/// `1 node`, `2 nodes`.
pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// One namespace.
pub fn namespace(ns: &Namespace) -> String {
    let mut text = format!("{} ({}), netns {}\n", ns.name, role(&ns.role), ns.netns);
    if !ns.guests.is_empty() {
        let _ = writeln!(text, "  also home of {}", ns.guests.join(", "));
    }
    let mut rows: Vec<[String; 3]> = Vec::new();
    for sysctl in &ns.sysctls {
        rows.push(row("sysctl", &sysctl.key, &format!("= {}", sysctl.value)));
    }
    for link in &ns.links {
        rows.extend(link_rows(link));
    }
    for neighbour in &ns.neighbours {
        rows.push(row(
            "neighbour",
            &neighbour.address.to_string(),
            &format!("{} dev {}", neighbour.mac, neighbour.dev),
        ));
    }
    let width = rows.iter().map(|[_, name, _]| name.len()).max().unwrap_or(0);
    for [what, name, rest] in rows {
        let _ = writeln!(text, "{}", format!("  {what:9} {name:width$}  {rest}").trim_end());
    }
    for entry in &ns.fdb {
        let _ = writeln!(text, "  fdb       {entry} dev {}", entry.dev);
    }
    for bird in &ns.birds {
        let family = if bird.family == Family::Inet6 { "IPv6 " } else { "" };
        let _ = writeln!(text, "  daemon    {}, which makes the {family}routes of proto bird", bird.name());
    }
    for route in &ns.routes {
        let _ = writeln!(text, "  route     {route}");
    }
    for rule in &ns.policy {
        let _ = writeln!(text, "  rule      {}: {rule}", rule.priority);
    }
    for set in &ns.sets {
        let members: Vec<String> = set.members.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "  set       {} {}: {}", set.name, set.kind, members.join(" "));
    }
    rules(&mut text, ns);
    for file in &ns.files {
        let mode = if file.mode == 0o644 { String::new() } else { format!(" mode {:04o}", file.mode) };
        let _ = writeln!(text, "  file      {}{mode}", file.path);
        for line in file.content.lines() {
            let _ = writeln!(text, "{}", format!("            {line}").trim_end());
        }
    }
    text
}

/// Tables of iptables, nftables and ebtables.
fn rules(text: &mut String, ns: &Namespace) {
    if !ns.backend.is_machine() {
        let _ = writeln!(text, "  iptables  by {}", ns.backend.restore(Family::Inet)[0]);
    }
    ns.tables.iter().for_each(|table| table_text(text, "table ", table));
    ns.tables6.iter().for_each(|table| table_text(text, "table6", table));
    for table in &ns.nft {
        let _ = writeln!(text, "  nft       table {}", nft::text::place(table));
        for line in nft::text::listing(table).lines().skip(1).filter(|line| *line != "}") {
            let _ = writeln!(text, "{}", format!("            {}", line.replace('\t', "  ").trim_end()).trim_end());
        }
    }
    if let Some(ipvs) = &ns.ipvs {
        if let Some(Timeouts { tcp, tcp_fin, udp }) = ipvs.timeouts {
            let _ = writeln!(text, "  ipvs      timeouts in seconds: tcp {tcp}, tcp behind a FIN {tcp_fin}, udp {udp}");
        }
        let _ = writeln!(text, "  ipvs      {}", count(ipvs.servers.len(), "virtual server"));
        ipvs.restore().lines().for_each(|line| text.push_str(&format!("            {line}\n")));
    }
    if !ns.ebtables.is_empty() {
        let chains: Vec<String> = ns.ebtables.iter().map(|chain| format!("{} {}", chain.name, chain.policy)).collect();
        let _ = writeln!(text, "  ebtables  filter: {}", chains.join(", "));
        for chain in &ns.ebtables {
            chain.rules.iter().for_each(|rule| text.push_str(&format!("            -A {} {rule}\n", chain.name)));
        }
    }
}

fn table_text(text: &mut String, what: &str, table: &Table) {
    let _ = writeln!(text, "  {what}    {}", table_heading(table));
    for chain in &table.chains {
        for rule in &chain.rules {
            let _ = writeln!(text, "            {}", restore::append(&chain.name, rule));
        }
    }
}

/// Its name, the policies of its built-in chains, and the chains that exist without rules.
fn table_heading(table: &Table) -> String {
    let policies = table.chains.iter().filter_map(|chain| Some(format!("{} {}", chain.name, chain.policy?)));
    let empty = table.chains.iter().filter(|chain| chain.policy.is_none() && chain.rules.is_empty());
    let empty: Vec<&str> = empty.map(|chain| chain.name.as_str()).collect();
    let heading = format!("{}: {}", table.name.as_str(), policies.collect::<Vec<_>>().join(", "));
    if empty.is_empty() { heading } else { format!("{heading}; empty: {}", empty.join(" ")) }
}

fn row(what: &str, name: &str, rest: &str) -> [String; 3] {
    [what.to_string(), name.to_string(), rest.to_string()]
}

fn role(role: &Role) -> String {
    match role {
        Role::Switch { segment } => format!("switch of segment {segment}"),
        Role::Router => "router".to_string(),
        Role::Client => "client".to_string(),
        Role::Node => "node".to_string(),
        Role::Pod { node, .. } => format!("pod on {node}"),
    }
}

fn link_rows(link: &Link) -> Vec<[String; 3]> {
    let mut words = vec![kind(&link.kind)];
    words.extend(link.master.iter().map(|master| format!("port of {master}")));
    words.extend(link.mtu.map(|mtu| format!("mtu {mtu}")));
    words.extend(link.mac.map(|mac| format!("mac {mac}")));
    let switches = [("hairpin", link.hairpin), ("promiscuous", link.promiscuous), ("down", !link.up)];
    words.extend(switches.iter().filter(|(_, on)| *on).map(|(word, _)| word.to_string()));
    words.extend(link.qdisc.as_ref().map(|qdisc| format!("qdisc {qdisc}")));
    words.extend((link.loss > 0).then(|| format!("loses {}%", f64::from(link.loss) / 10_000.0)));
    let mut rows = vec![row("link", &link.name, &words.join(", "))];
    for address in &link.addresses {
        let broadcast = address.broadcast.map_or(String::new(), |broadcast| format!(" brd {broadcast}"));
        rows.push(row("address", &link.name, &format!("{}{broadcast}", address.net)));
    }
    let settings: Vec<String> = ipv4(&link.ipv4).into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    if !settings.is_empty() {
        rows.push(row("ipv4", &link.name, &settings.join(" ")));
    }
    rows.extend(link.sysctls.iter().map(|sysctl| row("sysctl", &sysctl.key, &format!("= {}", sysctl.value))));
    rows
}

fn kind(kind: &LinkKind) -> String {
    match kind {
        LinkKind::Loopback => "loopback".to_string(),
        LinkKind::Bridge => "bridge".to_string(),
        LinkKind::Veth { peer_namespace, peer } => format!("veth to {peer} in {peer_namespace}"),
        LinkKind::Ipip => "ipip any remote any local any ttl inherit nopmtudisc".to_string(),
        LinkKind::IpipPeer { local, remote } => format!("ipip remote {remote} local {local} ttl inherit pmtudisc"),
        LinkKind::Vxlan(vxlan) => vxlan.to_string(),
        LinkKind::Udp(tunnel) => {
            let peers: Vec<String> = tunnel.peers.iter().map(|(net, node)| format!("{net} by {node}")).collect();
            format!("tun served by the agent, udp {}:{}: {}", tunnel.local, tunnel.port, peers.join(", "))
        }
        LinkKind::Dummy => "dummy".to_string(),
        LinkKind::Macvlan { parent_namespace, parent } => format!("macvlan of {parent} in {parent_namespace}, bridge"),
    }
}

/// The settings that are given, by name.
fn ipv4(conf: &Ipv4Conf) -> Vec<(&'static str, u32)> {
    let switches = [
        ("proxy_arp", conf.proxy_arp.map(u32::from)),
        ("forwarding", conf.forwarding.map(u32::from)),
        ("route_localnet", conf.route_localnet.map(u32::from)),
        ("proxy_delay", conf.proxy_delay),
    ];
    switches.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}
