//! The journeys that the plan of each built-in topology predicts for all checks, held against tests/paths/.
//!
//! `MINIK_BLESS=1 cargo test --test predict` writes the files anew; look at the difference before committing it.

#![allow(clippy::unwrap_used, reason = "writing to a String cannot fail")]

use std::fmt::Write as _;
use std::path::Path;

use minik::packet::build::{self, Message, Probe};
use minik::packet::{Init, Mark, decode};
use minik::plan::{Datapath, Kernel, Plan, Role, Sysctl};
use minik::predict::{End, Flow, Journey, Origin, Port, Reason, Turn, as_made, outcomes, predict};
use minik::topology::{self, Mode};
use minik::verify::{Act, checks};
use minik::{cni, compose};

fn plan(mode: Mode, datapath: Datapath) -> Plan {
    of_builtin(mode.name(), datapath)
}

fn of_builtin(name: &str, datapath: Datapath) -> Plan {
    let builtin = topology::builtin::find(name).unwrap_or_else(|error| panic!("{error}"));
    let cluster = topology::parse(&[builtin.source()], &topology::Overrides::default());
    let cluster = cluster.unwrap_or_else(|error| panic!("{error}"));
    cni::plan(&cluster, datapath).unwrap_or_else(|error| panic!("{error}"))
}

fn printed(journey: &Journey, text: &mut String) {
    for leg in &journey.legs {
        for hop in &leg.hops {
            let turn = match hop.turn {
                Turn::InOrder => "",
                Turn::Aside => "aside: ",
                Turn::Perhaps => "perhaps: ",
            };
            writeln!(text, "    {hop:<42} {turn}{}", hop.frame).unwrap();
        }
        match &leg.end {
            End::Delivered { namespace } => writeln!(text, "    => delivered to {namespace}").unwrap(),
            End::Dropped { namespace, reason } => writeln!(text, "    => dropped in {namespace}: {reason}").unwrap(),
        }
    }
}

fn paths(plan: &Plan) -> String {
    let mut text = String::new();
    for check in checks(plan, 1).unwrap_or_else(|error| panic!("{error}")) {
        writeln!(text, "{}: {} -> {}", check.name, check.from, check.to).unwrap();
        if let Act::Refused { length, mtu, .. } = check.act {
            writeln!(text, "    => {length} bytes with DF refused by {}, MTU {mtu}", check.from).unwrap();
        }
        printed(&check.expected, &mut text);
    }
    text
}

#[test]
fn journeys_are_what_the_golden_files_say() {
    for builtin in topology::builtin::ALL {
        let name = builtin.name;
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/paths/{name}.txt"));
        let now = paths(&of_builtin(name, Datapath::Userspace));
        if std::env::var_os("MINIK_BLESS").is_some() {
            std::fs::write(&file, &now).unwrap();
        }
        let golden = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for (number, (golden, now)) in golden.lines().zip(now.lines()).enumerate() {
            assert_eq!(golden, now, "{name}, line {}; run with MINIK_BLESS=1 and look at git diff", number + 1);
        }
        assert_eq!(golden.lines().count(), now.lines().count(), "{name}");
    }
}

#[test]
fn both_datapaths_look_the_same_on_the_wire() {
    for builtin in topology::builtin::ALL {
        let of = |datapath| paths(&of_builtin(builtin.name, datapath));
        assert_eq!(of(Datapath::Kernel), of(Datapath::Userspace), "{}", builtin.name);
    }
}

/// A router in the middle with a smaller MTU than the tunnel's packets: what comes of fragments is not asked, and all else
/// is predicted.
#[test]
fn a_way_that_is_narrower_than_its_ends() {
    for name in ["calico-vxlan-crosssubnet", "two-routers"] {
        let mut plan = of_builtin(name, Datapath::Kernel);
        for router in plan.namespaces.iter_mut().filter(|ns| ns.role == Role::Router) {
            router.links.iter_mut().filter(|link| link.name.starts_with("eth")).for_each(|link| link.mtu = Some(1400));
        }
        let list = checks(&plan, 1).unwrap();
        let unasked: Vec<&str> =
            list.iter().filter(|one| matches!(one.act, Act::Unasked { .. })).map(|one| one.name.as_str()).collect();
        assert!(!unasked.is_empty() && unasked.iter().all(|name| name.contains("-fragments/")), "{name}: {unasked:?}");
        assert!(list.iter().any(|one| one.name.contains("-fragments/") && one.expected.answered()), "{name}");
    }
}

/// The document's own capture: 98 bytes at the cali interfaces, 84 of bare IP at tunl0, 118 on the wire.
#[test]
fn a_ping_across_nodes_passes_what_the_document_shows() {
    let plan = plan(Mode::CalicoIpip, Datapath::Userspace);
    let list = checks(&plan, 1).unwrap();
    let check = list.iter().find(|check| check.name == "pod-to-pod-cross-node/icmp");
    let request = &check.expect("a check between nodes").expected.legs[0];
    let on_nodes: Vec<String> = request
        .hops
        .iter()
        .filter(|hop| hop.namespace.starts_with("node-"))
        .map(|hop| {
            let kind = if hop.interface.starts_with("cali") { "cali" } else { &hop.interface };
            format!("{}/{kind} {}", hop.namespace, hop.frame.length)
        })
        .collect();
    let expected = [
        "node-1/cali 98",
        "node-1/tunl0 84",
        "node-1/ens33 118",
        "node-2/ens33 118",
        "node-2/tunl0 84",
        "node-2/cali 98",
    ];
    assert_eq!(on_nodes, expected);
    let ttl = |index: usize| request.hops[index].frame.packet().and_then(|p| p.inner()).map(|ip| ip.ttl);
    assert_eq!((ttl(0), ttl(request.hops.len() - 1)), (Some(64), Some(62)));
}

/// flannel's proxy says "net unreachable" from the address of its own device; what comes in with an own address as source
/// the kernel takes only where accept_local is set.
#[test]
fn a_subnet_that_no_node_has_is_told_in_vain() {
    let ask = |plan: &Plan| {
        let from = plan.namespaces.iter().find(|ns| matches!(ns.role, Role::Pod { .. })).unwrap();
        let message = Message::Udp { src: 4000, dst: 53 };
        let (src, dst) = (from.address().unwrap().into(), "10.244.7.7".parse().unwrap());
        let probe = Probe { src, dst, ttl: 64, id: 7, dont_fragment: false, length: 84, message, mark: Mark(1) };
        let packet = decode::ip(&build::ip(&probe).unwrap(), &decode::Tunnels::default()).unwrap();
        let flow = Flow { from: from.name.clone(), origin: Origin::Stack, packet, fragments: None, port: Port::Closed };
        predict(plan, &flow).unwrap().legs.into_iter().map(|leg| leg.end).collect::<Vec<End>>()
    };
    let mut plan = plan(Mode::FlannelUdp, Datapath::Kernel);
    let dropped = |reason| End::Dropped { namespace: "node-1".to_owned(), reason };
    let no_peer = dropped(Reason::NoPeer("10.244.7.7".parse().unwrap()));
    assert_eq!(ask(&plan), [no_peer.clone(), dropped(Reason::Martian("flannel0".to_owned()))]);
    let node = plan.namespaces.iter_mut().find(|ns| ns.name == "node-1").unwrap();
    node.sysctls.push(Sysctl::new("net.ipv4.conf.all.accept_local", "1"));
    let pod = plan.namespaces.iter().find(|ns| matches!(ns.role, Role::Pod { .. })).unwrap().name.clone();
    assert_eq!(ask(&plan), [no_peer, End::Delivered { namespace: pod }]);
}

/// br_netfilter joins fragments and shows them to iptables. Without it a bridge passes them on as they came: what
/// `tcpdump -i cni0` showed on Debian's 6.1 before and after `modprobe br_netfilter`.
#[test]
fn without_br_netfilter_a_bridge_leaves_packets_as_they_are() {
    let plan = plan(Mode::FlannelHostGw, Datapath::Kernel);
    let into_cni0 = |bridge_netfilter| {
        let made = as_made(&plan, Kernel { bridge_netfilter });
        let list = checks(&made, 1).unwrap();
        let check = list.iter().find(|check| check.name.contains("-fragments/")).expect("a check by fragments");
        let seen = check.expected.legs[0].hops.iter().filter(|hop| hop.interface == "cni0");
        seen.map(|hop| hop.frame.to_string().contains("frag")).collect::<Vec<bool>>()
    };
    assert_eq!(into_cni0(true)[..2], [false, true]);
    assert_eq!(into_cni0(false)[..2], [true, true]);
    assert!(plan.differences(Kernel::default()).is_empty());
    assert!(plan.differences(Kernel { bridge_netfilter: false })[0].contains("modprobe br_netfilter"));
    assert!(self::plan(Mode::CalicoIpip, Datapath::Kernel).differences(Kernel { bridge_netfilter: false }).is_empty());
}

/// The Service's rules have led the client to a pod on the same bridge, whose answer no rule sees without br_netfilter:
/// it comes from an address that was not asked. So said curl on Debian's 6.1, two times in eight with four endpoints.
#[test]
fn without_br_netfilter_a_service_s_endpoint_behind_the_same_bridge_answers_in_vain() {
    const SERVICE: &str = "---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\n\
                           spec: {clusterIP: 10.96.7.1, selector: {app: test}, ports: [{port: 80}]}\n";
    let mut source = topology::builtin::find("flannel-host-gw").unwrap().source();
    source.text.push_str(SERVICE);
    let cluster = topology::parse(&[source], &topology::Overrides::default()).unwrap();
    let plan = compose::plan(&cluster, Datapath::Kernel).unwrap();
    let message = Message::Syn { src: 40000, dst: 80, seq: 7 };
    let from = plan.pods().next().unwrap();
    let (src, dst) = (from.address().unwrap().into(), "10.96.7.1".parse().unwrap());
    let probe = Probe { src, dst, ttl: 64, id: 7, dont_fragment: true, length: 62, message, mark: Mark(1) };
    let packet = decode::ip(&build::ip(&probe).unwrap(), &decode::Tunnels::default()).unwrap();
    let flow = Flow { from: from.name.clone(), origin: Origin::Stack, packet, fragments: None, port: Port::Echo };
    let answers = |bridge_netfilter| {
        let made = as_made(&plan, Kernel { bridge_netfilter });
        let ways = outcomes(&made, &flow).unwrap();
        let refused = |way: &&Journey| {
            way.legs.iter().any(|leg| matches!(leg.end, End::Dropped { reason: Reason::NotAsked(_), .. }))
        };
        (ways.iter().filter(|way| way.answered()).count(), ways.iter().filter(refused).count())
    };
    // Three endpoints: the client itself, its neighbour on the bridge, and one on the other node.
    assert_eq!(answers(true), (3, 0));
    assert_eq!(answers(false), (2, 1));
}

/// The first packet of an association at a Service: its journey to a pod, and what comes back to who asks.
#[test]
fn an_init_is_translated_and_answered_as_its_host_speaks() {
    const SERVICE: &str = "---\napiVersion: v1\nkind: Service\nmetadata: {name: calls}\n\
                           spec: {clusterIP: 10.96.7.1, selector: {app: test}, ports: \
                           [{port: 2905, protocol: SCTP, targetPort: 36412}]}\n";
    for proxy in ["iptables", "nftables"] {
        let mut source = topology::builtin::find("flannel-vxlan").unwrap().source();
        source.text = source.text.replacen("\nspec:\n", &format!("\nspec:\n  proxy: {{mode: {proxy}}}\n"), 1) + SERVICE;
        let cluster = topology::parse(&[source], &topology::Overrides::default()).unwrap();
        let plan = compose::plan(&cluster, Datapath::Kernel).unwrap();
        let init = Init { tag: Some(7), window: Some(1500), outbound: Some(1), inbound: Some(2), tsn: Some(3) };
        let message = Message::Init { src: 40000, dst: 2905, init };
        let from = plan.namespace("default/two-containers").unwrap();
        let (src, dst) = (from.address().unwrap().into(), "10.96.7.1".parse().unwrap());
        let probe = Probe { src, dst, ttl: 64, id: 7, dont_fragment: true, length: 52, message, mark: Mark(1) };
        let packet = decode::ip(&build::ip(&probe).unwrap(), &decode::Tunnels::default()).unwrap();
        for (port, answer) in [
            (Port::Echo, "sctp (1) [INIT ACK] [init tag: *] [rwnd: *] [OS: *] [MIS: *] [init TSN: *]"),
            (Port::Closed, "sctp (1) [ABORT]"),
            (Port::Unspoken, "ICMP 10.96.7.1 protocol 132 unreachable, length 60"),
        ] {
            let (name, origin, packet) = (from.name.clone(), Origin::Stack, packet.clone());
            let ways = outcomes(&plan, &Flow { from: name, origin, packet, fragments: None, port }).unwrap();
            assert_eq!(ways.len(), 3, "{proxy}: an endpoint each");
            for way in ways {
                let last = |leg: &minik::predict::Leg| leg.hops.last().unwrap().frame.packet().unwrap().to_string();
                let End::Delivered { namespace } = &way.legs[0].end else { panic!("{:?}", way.legs[0].end) };
                let pod = plan.namespace(namespace).unwrap().address().unwrap();
                let (there, back) = (last(&way.legs[0]), last(&way.legs[1]));
                assert!(there.contains(&format!(" > {pod}.36412: sctp (1) [INIT] [init tag: 7]")), "{proxy}: {there}");
                let source = if port == Port::Unspoken { "10.96.7.1 > " } else { "10.96.7.1.2905 > " };
                assert!(back.starts_with(source) && back.ends_with(answer), "{proxy}: {back}");
                assert_eq!(way.legs[1].end, End::Delivered { namespace: from.name.clone() });
                assert_eq!(way.answered(), port != Port::Unspoken);
            }
        }
    }
}
