//! Calico's pools and blocks, as calicoctl v3.18 lists them (calicoctl, commands/ipam and resourcemgr/ippool.go).

use serde_json::json;

use crate::cli::print::{self, Listing, Row, column, wide};
use crate::cli::session::Session;
use crate::cni;
use crate::error::Result;
use crate::ipam::Usage;
use crate::plan::Family;
use crate::topology::{IpPool, Node};

pub(super) fn pools(session: &Session) -> Listing {
    let rows = session.cluster.network.pools.iter().map(pool_row).collect();
    let columns = vec![
        column("NAME"),
        column("CIDR"),
        wide("NAT"),
        wide("IPIPMODE"),
        wide("VXLANMODE"),
        wide("DISABLED"),
        column("SELECTOR"),
    ];
    Listing { kind: "ippool", columns, rows, like_calicoctl: true }
}

fn pool_row(pool: &IpPool) -> Row {
    let (ipip, vxlan, selector) = (pool.ipip.as_str(), pool.vxlan.as_str(), pool.node_selector.as_str());
    let (cidr, nat, disabled) = (pool.cidr.to_string(), pool.nat_outgoing.to_string(), pool.disabled.to_string());
    let cells = [pool.name.as_str(), &cidr, &nat, ipip, vxlan, &disabled, selector];
    Row {
        namespace: None,
        name: pool.name.clone(),
        cells: cells.iter().map(|cell| cell.to_string()).collect(),
        object: json!({
            "apiVersion": "projectcalico.org/v3",
            "kind": "IPPool",
            "metadata": { "name": pool.name },
            "spec": {
                "blockSize": pool.block_size,
                "cidr": pool.cidr,
                "disabled": pool.disabled,
                "ipipMode": ipip,
                "natOutgoing": pool.nat_outgoing,
                "nodeSelector": selector,
                "vxlanMode": vxlan,
            },
        }),
    }
}

/// The nodes as `calicoctl get nodes -o wide` has them. The AS number in parentheses is inherited from the cluster's.
pub(super) fn nodes(session: &Session, kubectls: Listing) -> Listing {
    let address = |node: &Node, family: Family| {
        let segment = session.cluster.segments.iter().find(|segment| segment.name == node.segment)?;
        Some(format!("{}/{}", node.address_in(family)?, segment.subnet_in(family)?.prefix_len()))
    };
    let mut rows = kubectls.rows;
    for (row, node) in rows.iter_mut().zip(&session.cluster.nodes) {
        let [four, six] = Family::BOTH.map(|family| address(node, family).unwrap_or_default());
        row.cells = vec![node.name.clone(), "(64512)".to_owned(), four, six];
    }
    let columns = vec![column("NAME"), column("ASN"), column("IPV4"), column("IPV6")];
    Listing { columns, rows, like_calicoctl: true, ..kubectls }
}

/// The blocks with their nodes, which calicoctl does not show.
pub(super) fn blocks(session: &Session) -> Result<Listing> {
    let ipam = cni::ipam(&session.cluster)?;
    let rows = ipam.blocks().map(|block| {
        let usage = block.usage();
        let (cidr, used, free) = (block.prefix.to_string(), usage.in_use.to_string(), usage.free().to_string());
        let cells = vec![cidr.clone(), block.node.clone(), block.pool.clone(), used, free];
        let addresses: Vec<_> = block.allocations().collect();
        let object = json!({
            "cidr": cidr,
            "node": block.node,
            "pool": block.pool,
            "total": usage.total,
            "inUse": usage.in_use,
            "allocations": addresses,
        });
        Row { namespace: None, name: cidr, cells, object }
    });
    let columns = vec![column("CIDR"), column("NODE"), column("POOL"), column("IN USE"), column("FREE")];
    Ok(Listing { kind: "block", rows: rows.collect(), columns, like_calicoctl: false })
}

/// `calicoctl ipam show --show-blocks`; with a name, that block only.
pub(super) fn show_blocks(session: &Session, only: Option<&str>) -> Result<String> {
    let ipam = cni::ipam(&session.cluster)?;
    let line = |grouping: &str, cidr: String, usage: Usage| {
        let share = |number: u128| format!("{} ({}%)", short(number), usage.percent(number));
        vec![grouping.to_owned(), cidr, short(usage.total), share(usage.in_use), share(usage.free())]
    };
    let mut rows = Vec::new();
    for pool in &session.cluster.network.pools {
        let blocks: Vec<_> = ipam.blocks().filter(|block| block.pool == pool.name).collect();
        let usage = ipam.pool_usage(pool);
        if only.is_none() {
            rows.push(line("IP Pool", pool.cidr.to_string(), usage));
        }
        let shown = blocks.iter().map(|block| (block.prefix.to_string(), block.usage()));
        rows.extend(
            shown
                .filter(|(cidr, _)| only.is_none_or(|only| only == cidr))
                .map(|(cidr, usage)| line("Block", cidr, usage)),
        );
    }
    Ok(print::boxed(&["GROUPING", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS FREE"], &rows))
}

/// A number in five digits, as Go's `%.5g` has it: the pools of IPv6 are large.
fn short(number: u128) -> String {
    if number < 100_000 {
        return number.to_string();
    }
    let scientific = format!("{:.4e}", number as f64);
    let (digits, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    format!("{digits}e+{power:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_have_five_digits() {
        let cases =
            [(64, "64"), (65_536, "65536"), (1 << 24, "1.6777e+07"), (1 << 80, "1.2089e+24"), (100_000, "1e+05")];
        for (number, expected) in cases {
            assert_eq!(short(number), expected);
        }
    }
}
