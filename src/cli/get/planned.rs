//! Routes, links and rules of the plan. `minik status` says whether the kernel still has them.

use serde_json::json;

use crate::cli::args::Globals;
use crate::cli::print::{Listing, Row, column, wide};
use crate::cli::session::Session;
use crate::cli::target;
use crate::error::Result;
use crate::plan::{Link, LinkKind, Namespace, Role, Table, nft, restore};

/// The namespaces that are listed: the target's, else the nodes', or all with `-A`.
fn chosen<'a>(session: &'a Session, globals: &Globals, name: Option<&str>) -> Result<Vec<&'a Namespace>> {
    if let Some(name) = name {
        return Ok(vec![target::resolve(&session.cluster, &session.plan, &globals.namespace, name)?]);
    }
    let shown = |ns: &&Namespace| globals.all_namespaces || ns.role == Role::Node;
    Ok(session.plan.namespaces.iter().filter(shown).collect())
}

pub(super) fn routes(session: &Session, globals: &Globals, name: Option<&str>) -> Result<Listing> {
    let mut rows = Vec::new();
    for ns in chosen(session, globals, name)? {
        for route in &ns.routes {
            let text = route.to_string();
            let object = json!({ "namespace": ns.name, "route": route });
            rows.push(Row { namespace: None, name: text.clone(), cells: vec![ns.name.clone(), text], object });
        }
    }
    Ok(Listing { kind: "route", columns: vec![column("WHERE"), column("ROUTE")], rows, like_calicoctl: false })
}

pub(super) fn links(session: &Session, globals: &Globals, name: Option<&str>) -> Result<Listing> {
    let mut rows = Vec::new();
    for ns in chosen(session, globals, name)? {
        for link in &ns.links {
            let (kind, peer) = kind_and_peer(link);
            let addresses: Vec<String> = link.addresses.iter().map(|address| address.net.to_string()).collect();
            let cells = vec![
                ns.name.clone(),
                link.name.clone(),
                kind.to_owned(),
                if link.up { "up" } else { "down" }.to_owned(),
                link.mtu.map_or_else(|| "-".to_owned(), |mtu| mtu.to_string()),
                if addresses.is_empty() { "-".to_owned() } else { addresses.join(",") },
                link.mac.map_or_else(|| "-".to_owned(), |mac| mac.to_string()),
                link.master.clone().unwrap_or_else(|| "-".to_owned()),
                peer.unwrap_or_else(|| "-".to_owned()),
            ];
            let object = json!({ "namespace": ns.name, "link": link });
            rows.push(Row { namespace: None, name: link.name.clone(), cells, object });
        }
    }
    let columns = ["WHERE", "NAME", "TYPE", "STATE", "MTU", "ADDRESSES"].map(column);
    let columns = columns.into_iter().chain([wide("MAC"), wide("MASTER"), wide("PEER")]).collect();
    Ok(Listing { kind: "link", columns, rows, like_calicoctl: false })
}

/// The type as `ip -d link` names it, and `namespace/name` of a veth's other end.
fn kind_and_peer(link: &Link) -> (&'static str, Option<String>) {
    match &link.kind {
        LinkKind::Loopback => ("loopback", None),
        LinkKind::Bridge => ("bridge", None),
        LinkKind::Ipip => ("ipip", None),
        LinkKind::IpipPeer { remote, .. } => ("ipip", Some(remote.to_string())),
        LinkKind::Vxlan(_) => ("vxlan", None),
        LinkKind::Udp(_) => ("tun", None),
        LinkKind::Dummy => ("dummy", None),
        LinkKind::Macvlan { parent_namespace, parent } => ("macvlan", Some(format!("{parent_namespace}:{parent}"))),
        LinkKind::Veth { peer_namespace, peer } => ("veth", Some(format!("{peer_namespace}:{peer}"))),
    }
}

/// The tables of iptables and then of ip6tables, with what stands before their names.
fn iptables(ns: &Namespace) -> impl Iterator<Item = (&'static str, &Table)> {
    ns.tables.iter().map(|table| ("", table)).chain(ns.tables6.iter().map(|table| ("ip6 ", table)))
}

pub(super) fn rules(session: &Session, globals: &Globals, name: Option<&str>) -> Result<Listing> {
    let mut rows = Vec::new();
    for ns in chosen(session, globals, name)? {
        for (family, table) in iptables(ns) {
            let place = format!("{family}{}", table.name.as_str());
            for chain in &table.chains {
                for rule in &chain.rules {
                    let text = restore::append(&chain.name, rule).trim_end().to_owned();
                    let object = json!({ "namespace": ns.name, "table": place, "chain": chain.name, "rule": rule, "text": text });
                    let cells = vec![ns.name.clone(), place.clone(), text.clone()];
                    rows.push(Row { namespace: None, name: text, cells, object });
                }
            }
        }
        for (table, chain) in ns.nft.iter().flat_map(|table| table.chains.iter().map(move |chain| (table, chain))) {
            for rule in &chain.rules {
                let (place, text) = (nft::text::place(table), format!("{} {rule}", chain.name));
                let object =
                    json!({ "namespace": ns.name, "table": place, "chain": chain.name, "rule": rule, "text": text });
                let cells = vec![ns.name.clone(), place, text.clone()];
                rows.push(Row { namespace: None, name: text, cells, object });
            }
        }
    }
    Ok(Listing {
        kind: "rule",
        columns: vec![column("WHERE"), column("TABLE"), column("RULE")],
        rows,
        like_calicoctl: false,
    })
}
