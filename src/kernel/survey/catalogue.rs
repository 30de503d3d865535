//! Everything that a machine may have or lack and that minik, or a mode of it, may need: one row each, with how it is
//! tried and what would bring it. A new feature is a new row, and nothing else.

/// Something that a machine may or may not have.
#[derive(Debug)]
pub struct Feature {
    /// What it is called, in `doctor`'s table and JSON, and in the needs of modes. Unique.
    pub name: &'static str,
    /// The kernel module that has it; `""` if none has.
    pub module: &'static str,
    /// The kernel's option for it, without `CONFIG_`; `""` if none is for it.
    pub config: &'static str,
    /// Debian's and Ubuntu's package that has it; `""` if none has.
    pub package: &'static str,
    /// How it is tried.
    pub(super) probe: Probe,
}

/// How a feature is tried, always in a namespace that is made for it and gone after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    /// A right of the caller.
    Right(Right),
    /// A program is run with this argument, by which it tells its version.
    Tool(&'static str),
    /// Something of the namespace itself, by netlink.
    Device(Device),
    /// A part of netfilter, by its netlink.
    Netfilter(Netfilter),
    /// A virtual server of IPVS with an address of this family.
    Ipvs(Ip),
    /// A socket of SCTP.
    Sctp,
    /// The setting of br_netfilter is looked for. It is not loaded: that would change how the host's own bridges
    /// filter.
    BrNetfilter,
    /// The tool that reads rules, IPv4 or IPv6, a table, and a rule for it.
    Rule(&'static str, Ip, &'static str, &'static str),
    /// A set of this type and with these options, made by `ipset`.
    Set(&'static str),
    /// Commands for `nft`, on tables of their own.
    Nft(&'static str),
    /// Arguments of `ebtables`.
    Ebtables(&'static [&'static str]),
}

/// A family: which sets a rule may speak of, or the address of a virtual server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ip {
    V4,
    V6,
}

/// Rights of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    Root,
    Namespaces,
    Mounts,
    Administration,
    RawSockets,
    Settings,
}

/// What netlink can make in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kernel) enum Device {
    Veth,
    Bridge,
    Ipip,
    Vxlan,
    Macvlan,
    Ipvlan,
    Dummy,
    Tun,
    Netem,
    Htb,
    Tbf,
    Ipv6,
}

/// What nfnetlink can make and tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Netfilter {
    Tables,
    Trace,
    Conntrack,
}

const fn row(
    name: &'static str,
    probe: Probe,
    module: &'static str,
    config: &'static str,
    package: &'static str,
) -> Feature {
    Feature { name, module, config, package, probe }
}

const fn right(name: &'static str, right: Right, config: &'static str) -> Feature {
    row(name, Probe::Right(right), "", config, "")
}

const fn tool(name: &'static str, flag: &'static str, package: &'static str) -> Feature {
    row(name, Probe::Tool(flag), "", "", package)
}

const fn device(name: &'static str, device: Device, module: &'static str, config: &'static str) -> Feature {
    row(name, Probe::Device(device), module, config, "")
}

const fn rule4(
    name: &'static str,
    table: &'static str,
    rule: &'static str,
    module: &'static str,
    config: &'static str,
) -> Feature {
    row(name, Probe::Rule(IPTABLES, Ip::V4, table, rule), module, config, "")
}

const fn rule6(
    name: &'static str,
    table: &'static str,
    rule: &'static str,
    module: &'static str,
    config: &'static str,
) -> Feature {
    row(name, Probe::Rule(IP6TABLES, Ip::V6, table, rule), module, config, "")
}

const fn set(name: &'static str, kind: &'static str, module: &'static str, config: &'static str) -> Feature {
    row(name, Probe::Set(kind), module, config, "")
}

const fn nft(name: &'static str, commands: &'static str, module: &'static str, config: &'static str) -> Feature {
    row(name, Probe::Nft(commands), module, config, "")
}

pub(super) const IPTABLES: &str = "iptables-restore";
pub(super) const IP6TABLES: &str = "ip6tables-restore";
/// What stands in for netem's loss; Linux 5.16 and later.
pub(super) const EGRESS: &str = "nft egress";

/// By which kube-proxy's ipvs mode keeps nodes from load balancers.
pub(super) const IPVS: &str = "match ipvs";

/// The feature of this name.
pub fn find(name: &str) -> Option<&'static Feature> {
    FEATURES.iter().find(|feature| feature.name == name)
}

/// The features that are rights of the caller; nothing of minik works without one of them.
pub fn rights() -> impl Iterator<Item = &'static Feature> {
    FEATURES.iter().filter(|feature| matches!(feature.probe, Probe::Right(_)))
}

/// All features, in the order of `doctor`'s table.
#[rustfmt::skip]
pub const FEATURES: &[Feature] = &[
    right("root", Right::Root, ""),
    right("namespaces", Right::Namespaces, "NET_NS"),
    right("mounts", Right::Mounts, ""),
    right("administration", Right::Administration, ""),
    right("raw sockets", Right::RawSockets, "PACKET"),
    right("settings", Right::Settings, "SYSCTL"),

    tool("ip", "-V", "iproute2"),
    tool("tc", "-V", "iproute2"),
    tool(IPTABLES, "--version", "iptables"),
    tool(IP6TABLES, "--version", "iptables"),
    tool("ipset", "--version", "ipset"),
    tool("sysctl", "--version", "procps"),
    tool("nft", "--version", "nftables"),
    tool("conntrack", "--version", "conntrack"),
    tool("ebtables", "--version", "iptables"),
    tool("bird", "--version", "bird2"),
    tool("tcpdump", "--version", "tcpdump"),
    tool("ping", "-V", "iputils-ping"),
    tool("arping", "-V", "iputils-arping"),

    device("veth", Device::Veth, "veth", "VETH"),
    device("bridge", Device::Bridge, "bridge", "BRIDGE"),
    device("ipip", Device::Ipip, "ipip", "NET_IPIP"),
    device("tun", Device::Tun, "tun", "TUN"),
    device("vxlan", Device::Vxlan, "vxlan", "VXLAN"),
    device("macvlan", Device::Macvlan, "macvlan", "MACVLAN"),
    device("ipvlan", Device::Ipvlan, "ipvlan", "IPVLAN"),
    device("dummy", Device::Dummy, "dummy", "DUMMY"),
    device("netem", Device::Netem, "sch_netem", "NET_SCH_NETEM"),
    device("htb", Device::Htb, "sch_htb", "NET_SCH_HTB"),
    device("tbf", Device::Tbf, "sch_tbf", "NET_SCH_TBF"),
    device("ipv6", Device::Ipv6, "ipv6", "IPV6"),

    row("nf_tables", Probe::Netfilter(Netfilter::Tables), "nf_tables", "NF_TABLES", ""),
    row("netfilter trace", Probe::Netfilter(Netfilter::Trace), "nf_tables", "NF_TABLES", ""),
    row("conntrack table", Probe::Netfilter(Netfilter::Conntrack), "nf_conntrack_netlink", "NF_CT_NETLINK", ""),
    row("br_netfilter", Probe::BrNetfilter, "br_netfilter", "BRIDGE_NETFILTER", ""),
    row("ip_vs", Probe::Ipvs(Ip::V4), "ip_vs", "IP_VS", ""),
    row("ip6 ip_vs", Probe::Ipvs(Ip::V6), "ip_vs", "IP_VS_IPV6", ""),
    row("sctp", Probe::Sctp, "sctp", "IP_SCTP", ""),
    row("ebtables rules", Probe::Ebtables(&["-A", "OUTPUT", "-p", "IPv4", "--ip-src", "192.0.2.1", "-j", "DROP"]),
        "ebt_ip", "BRIDGE_EBT_IP", ""),
    row("iptables by nf_tables", Probe::Rule("iptables-nft-restore", Ip::V4, "filter", "-A FORWARD -m conntrack --ctstate NEW"),
        "nft_compat", "NFT_COMPAT", "iptables"),
    row("iptables by legacy", Probe::Rule("iptables-legacy-restore", Ip::V4, "filter", "-A FORWARD -m conntrack --ctstate NEW"),
        "iptable_filter", "IP_NF_FILTER", "iptables"),

    rule4("match comment", "filter", "-A FORWARD -m comment --comment x", "xt_comment", "NETFILTER_XT_MATCH_COMMENT"),
    rule4("match mark", "filter", "-A FORWARD -m mark --mark 0x1/0x1", "xt_mark", "NETFILTER_XT_MARK"),
    rule4("match conntrack", "filter", "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED", "xt_conntrack", "NETFILTER_XT_MATCH_CONNTRACK"),
    rule4("match addrtype", "filter", "-A FORWARD -m addrtype --dst-type LOCAL", "xt_addrtype", "NETFILTER_XT_MATCH_ADDRTYPE"),
    rule4("match set", "filter", "-A FORWARD -m set --match-set minik-v4 src", "xt_set", "NETFILTER_XT_SET"),
    rule4("match rpfilter", "raw", "-A PREROUTING -m rpfilter --invert", "ipt_rpfilter", "IP_NF_MATCH_RPFILTER"),
    rule4("match multiport", "filter", "-A FORWARD -p tcp -m multiport --dports 1,2", "xt_multiport", "NETFILTER_XT_MATCH_MULTIPORT"),
    rule4("match statistic", "filter", "-A FORWARD -m statistic --mode random --probability 0.5", "xt_statistic", "NETFILTER_XT_MATCH_STATISTIC"),
    rule4("match recent", "filter", "-A FORWARD -m recent --name minik --rcheck --seconds 10 --reap", "xt_recent", "NETFILTER_XT_MATCH_RECENT"),
    rule4("match physdev", "filter", "-A FORWARD -m physdev --physdev-is-bridged", "xt_physdev", "NETFILTER_XT_MATCH_PHYSDEV"),
    rule4("match sctp", "filter", "-A FORWARD -p sctp -m sctp --dport 1", "xt_sctp", "NETFILTER_XT_MATCH_SCTP"),
    rule4(IPVS, "filter", "-A OUTPUT -m ipvs --vproto 6 --vaddr 192.0.2.1/32 --vport 80", "xt_ipvs", "NETFILTER_XT_MATCH_IPVS"),
    rule4("match limit", "filter", "-A FORWARD -m limit --limit 5/min", "xt_limit", "NETFILTER_XT_MATCH_LIMIT"),
    rule4("target MARK", "mangle", "-A PREROUTING -j MARK --set-xmark 0x1/0x1", "xt_mark", "NETFILTER_XT_MARK"),
    rule4("target MASQUERADE", "nat", "-A POSTROUTING -j MASQUERADE", "xt_MASQUERADE", "NETFILTER_XT_TARGET_MASQUERADE"),
    rule4("target MASQUERADE --random-fully", "nat", "-A POSTROUTING -j MASQUERADE --random-fully", "xt_MASQUERADE", "NETFILTER_XT_TARGET_MASQUERADE"),
    rule4("target SNAT", "nat", "-A POSTROUTING -j SNAT --to-source 192.0.2.1", "xt_nat", "NETFILTER_XT_NAT"),
    rule4("target DNAT", "nat", "-A PREROUTING -p tcp -j DNAT --to-destination 192.0.2.1:80", "xt_nat", "NETFILTER_XT_NAT"),
    rule4("target REDIRECT", "nat", "-A PREROUTING -p tcp -j REDIRECT --to-ports 80", "xt_REDIRECT", "NETFILTER_XT_TARGET_REDIRECT"),
    rule4("target REJECT", "filter", "-A FORWARD -j REJECT --reject-with icmp-port-unreachable", "ipt_REJECT", "IP_NF_TARGET_REJECT"),
    rule4("target CT --notrack", "raw", "-A PREROUTING -j CT --notrack", "xt_CT", "NETFILTER_XT_TARGET_CT"),
    rule4("target TRACE", "raw", "-A PREROUTING -j TRACE", "xt_TRACE", "NETFILTER_XT_TARGET_TRACE"),

    rule6("ip6 match comment", "filter", "-A FORWARD -m comment --comment x", "xt_comment", "NETFILTER_XT_MATCH_COMMENT"),
    rule6("ip6 match mark", "filter", "-A FORWARD -m mark --mark 0x1/0x1", "xt_mark", "NETFILTER_XT_MARK"),
    rule6("ip6 match conntrack", "filter", "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED", "xt_conntrack", "NETFILTER_XT_MATCH_CONNTRACK"),
    rule6("ip6 match addrtype", "filter", "-A FORWARD -m addrtype --dst-type LOCAL", "xt_addrtype", "NETFILTER_XT_MATCH_ADDRTYPE"),
    rule6("ip6 match set", "filter", "-A FORWARD -m set --match-set minik-v6 src", "xt_set", "NETFILTER_XT_SET"),
    rule6("ip6 match rpfilter", "raw", "-A PREROUTING -m rpfilter --invert", "ip6t_rpfilter", "IP6_NF_MATCH_RPFILTER"),
    rule6("ip6 match multiport", "filter", "-A FORWARD -p tcp -m multiport --dports 1,2", "xt_multiport", "NETFILTER_XT_MATCH_MULTIPORT"),
    rule6("ip6 match statistic", "filter", "-A FORWARD -m statistic --mode random --probability 0.5", "xt_statistic", "NETFILTER_XT_MATCH_STATISTIC"),
    rule6("ip6 match recent", "filter", "-A FORWARD -m recent --name minik6 --rcheck --seconds 10 --reap", "xt_recent", "NETFILTER_XT_MATCH_RECENT"),
    rule6("ip6 target MARK", "mangle", "-A PREROUTING -j MARK --set-xmark 0x1/0x1", "xt_mark", "NETFILTER_XT_MARK"),
    rule6("ip6 target MASQUERADE", "nat", "-A POSTROUTING -j MASQUERADE --random-fully", "xt_MASQUERADE", "NETFILTER_XT_TARGET_MASQUERADE"),
    rule6("ip6 target DNAT", "nat", "-A PREROUTING -p tcp -j DNAT --to-destination [2001:db8::1]:80", "xt_nat", "NETFILTER_XT_NAT"),
    rule6("ip6 target REJECT", "filter", "-A FORWARD -j REJECT --reject-with icmp6-port-unreachable", "ip6t_REJECT", "IP6_NF_TARGET_REJECT"),
    rule6("ip6 target CT --notrack", "raw", "-A PREROUTING -j CT --notrack", "xt_CT", "NETFILTER_XT_TARGET_CT"),

    set("ipset hash:ip", "hash:ip", "ip_set_hash_ip", "IP_SET_HASH_IP"),
    set("ipset hash:net", "hash:net", "ip_set_hash_net", "IP_SET_HASH_NET"),
    set("ipset hash:ip,port", "hash:ip,port", "ip_set_hash_ipport", "IP_SET_HASH_IPPORT"),
    set("ipset hash:ip,port,ip", "hash:ip,port,ip", "ip_set_hash_ipportip", "IP_SET_HASH_IPPORTIP"),
    set("ipset hash:ip,port,net", "hash:ip,port,net", "ip_set_hash_ipportnet", "IP_SET_HASH_IPPORTNET"),
    set("ipset hash:net,port", "hash:net,port", "ip_set_hash_netport", "IP_SET_HASH_NETPORT"),
    set("ipset bitmap:port", "bitmap:port range 0-65535", "ip_set_bitmap_port", "IP_SET_BITMAP_PORT"),
    set("ip6 ipset hash:ip", "hash:ip family inet6", "ip_set_hash_ip", "IP_SET_HASH_IP"),
    set("ip6 ipset hash:net", "hash:net family inet6", "ip_set_hash_net", "IP_SET_HASH_NET"),
    set("ip6 ipset hash:ip,port", "hash:ip,port family inet6", "ip_set_hash_ipport", "IP_SET_HASH_IPPORT"),
    set("ip6 ipset hash:ip,port,ip", "hash:ip,port,ip family inet6", "ip_set_hash_ipportip", "IP_SET_HASH_IPPORTIP"),
    set("ip6 ipset hash:ip,port,net", "hash:ip,port,net family inet6", "ip_set_hash_ipportnet", "IP_SET_HASH_IPPORTNET"),

    nft("nft verdict map", "add table ip minik-map; add chain ip minik-map c; add map ip minik-map m { type ipv4_addr . inet_proto . inet_service : verdict; }; \
        add rule ip minik-map c ip daddr . meta l4proto . th dport vmap @m", "nf_tables", "NF_TABLES"),
    nft("nft numgen", "add table ip minik-num; add chain ip minik-num c; add chain ip minik-num d; \
        add rule ip minik-num c numgen random mod 2 vmap { 0 : goto d, 1 : goto d }", "nft_numgen", "NFT_NUMGEN"),
    nft("nft fib", "add table ip minik-fib; add chain ip minik-fib c; add rule ip minik-fib c fib daddr type local accept", "nft_fib_ipv4", "NFT_FIB_IPV4"),
    nft("nft nat", "add table ip minik-nat; add chain ip minik-nat c { type nat hook prerouting priority -100; }; \
        add rule ip minik-nat c meta l4proto tcp dnat to 192.0.2.1:80", "nft_nat", "NFT_NAT"),
    nft("nft masquerade", "add table ip minik-masq; add chain ip minik-masq c { type nat hook postrouting priority 100; }; \
        add rule ip minik-masq c masquerade fully-random", "nft_masq", "NFT_MASQ"),
    nft("nft reject", "add table ip minik-rej; add chain ip minik-rej c { type filter hook forward priority 0; }; add rule ip minik-rej c reject", "nft_reject_ipv4", "NFT_REJECT"),
    nft("nft update set", "add table ip minik-set; add chain ip minik-set c; add set ip minik-set s { type ipv4_addr; flags dynamic,timeout; timeout 10s; }; \
        add rule ip minik-set c update @s { ip saddr }", "nf_tables", "NF_TABLES"),
    nft(EGRESS, "add table netdev minik-out; add chain netdev minik-out c { type filter hook egress device \"lo\" priority 0; }; \
        add rule netdev minik-out c numgen random mod 1000000 < 10000 drop", "nf_tables", "NETFILTER_EGRESS"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_has_a_name_of_its_own_and_a_cure() {
        let names: BTreeSet<&str> = FEATURES.iter().map(|feature| feature.name).collect();
        assert_eq!(names.len(), FEATURES.len());
        for feature in FEATURES {
            let right = matches!(feature.probe, Probe::Right(_));
            let cured = !feature.package.is_empty() || !feature.module.is_empty();
            assert!(right || cured, "{}", feature.name);
            assert_eq!(feature.module.is_empty() || feature.config.is_empty(), feature.module.is_empty());
            assert!(feature.name == feature.name.trim() && !feature.config.starts_with("CONFIG"));
        }
    }

    #[test]
    fn the_tool_of_a_rule_or_set_is_a_feature() {
        for feature in FEATURES {
            let tool = match feature.probe {
                Probe::Rule(tool, ..) if feature.package.is_empty() => tool,
                Probe::Set(_) => "ipset",
                Probe::Nft(_) => "nft",
                Probe::Ebtables(_) => "ebtables",
                _ => continue,
            };
            assert!(matches!(find(tool).map(|found| found.probe), Some(Probe::Tool(_))), "{tool}");
        }
    }
}
