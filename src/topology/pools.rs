//! Calico's pools as they are written, in the Cluster document or as objects: each checked, and what they say of the
//! mode (libcalico-go v3.18, lib/validator/v3 and lib/clientv3/ippool.go).

use ipnet::{IpNet, Ipv4Net};

use super::cluster_file::{ClusterSpec, NetworkEntry, PoolEntry};
use super::complaint::{Checked, Complaint, quote};
use super::dual_stack;
use super::fields::Spanned;
use super::manifests::IpPoolObject;
use super::rules;
use super::source::Span;
use super::{Addressing, EncapsulationMode, IpPool, Mode, Node, Routing, Selector};

/// Name of the pool that Calico's installer makes.
const DEFAULT_POOL: &str = "default-ipv4-ippool";
/// The same of IPv6.
const DEFAULT_POOL6: &str = "default-ipv6-ippool";

/// Block sizes that Calico takes (libcalico-go, validator for IPPool).
const BLOCK_SIZES: std::ops::RangeInclusive<u32> = 20..=32;
/// The same of IPv6.
const BLOCK_SIZES6: std::ops::RangeInclusive<u32> = 116..=128;

/// A pool as written, with the places of its name and prefix.
pub(super) type Written = (IpPool, Span, Span);

/// The CNI mode of a cluster, and whether somebody said it; else the pools did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chosen {
    pub(super) mode: Mode,
    pub(super) explicit: bool,
}

/// What both ways of writing a pool have.
struct Form<'w> {
    name: String,
    name_span: Span,
    cidr: &'w Spanned<String>,
    block_size: Option<&'w Spanned<u32>>,
    nat_outgoing: bool,
    disabled: bool,
    ipip: Option<&'w Spanned<String>>,
    vxlan: Option<&'w Spanned<String>>,
    node_selector: Option<&'w Spanned<String>>,
    assignment: Option<&'w Spanned<String>>,
    uses: Option<&'w Spanned<Vec<String>>>,
    /// Whether a pool that says nothing of encapsulation has that of the cluster's mode.
    follows: bool,
}

/// The pools of the Cluster document, then those given as objects.
pub(super) fn written(entry: &NetworkEntry, objects: &[&IpPoolObject], chosen: Chosen) -> Checked<Vec<Written>> {
    if let (Some(one), Some(many)) = (&entry.pool, &entry.pools) {
        return Err(Complaint::at(one.span, "`pool` and `pools` are both given")
            .and(Some(many.span), "`pools` is here")
            .hint("put all pools under `pools`"));
    }
    let mut pools = Vec::new();
    let mut first = [true, true];
    for pool in entries(entry) {
        let first = std::mem::take(&mut first[usize::from(is_v6(&pool.cidr))]);
        pools.push(resolved(&entry_form(pool, first)?, chosen)?);
    }
    for object in objects {
        pools.push(resolved(&object_form(object)?, chosen)?);
    }
    Ok(pools)
}

/// Whether a prefix looks like IPv6's.
pub(super) fn is_v6(cidr: &Spanned<String>) -> bool {
    cidr.contains(':')
}

pub(super) fn entries(entry: &NetworkEntry) -> impl Iterator<Item = &Spanned<PoolEntry>> {
    entry.pool.iter().chain(entry.pools.iter().flat_map(|pools| pools.iter()))
}

/// The mode that the pools say: that of the first one in use that says its encapsulation, IPv4's before IPv6's. An object always does,
/// because the API server fills in `Never`.
pub(super) fn mode_of(entry: &NetworkEntry, objects: &[&IpPoolObject]) -> Checked<Option<Mode>> {
    let listed = entries(entry)
        .map(|pool| (pool.disabled, &pool.ipip_mode, &pool.vxlan_mode, is_v6(&pool.cidr)))
        .filter(|(_, ipip, vxlan, _)| ipip.is_some() || vxlan.is_some());
    let given = objects.iter().map(|object| &object.spec);
    let given = given.map(|spec| (spec.disabled, &spec.ipip_mode, &spec.vxlan_mode, is_v6(&spec.cidr)));
    let mut all: Vec<_> = listed.chain(given).collect();
    all.sort_by_key(|(.., v6)| *v6);
    let in_use = all.iter().find(|(disabled, ..)| *disabled != Some(true)).or(all.first());
    let Some((_, ipip, vxlan, _)) = in_use else { return Ok(None) };
    let (ipip, vxlan) = (encapsulation("ipipMode", ipip.as_ref())?, encapsulation("vxlanMode", vxlan.as_ref())?);
    Ok(Some(Mode::of_encapsulation(ipip, vxlan)))
}

/// Who programs BIRD's routes. Only Calico has a BIRD, and not where all pools are VXLAN's.
pub(super) fn routing(entry: &NetworkEntry, pools: &[&IpPool], mode: Mode) -> Checked<Routing> {
    let Some(text) = &entry.routing else { return Ok(Routing::Minik) };
    match text.as_str() {
        "minik" => Ok(Routing::Minik),
        "bird" if mode.addressing() != Addressing::Pools => {
            Err(Complaint::at(text.span, format!("no BIRD runs in the mode {mode}"))
                .hint("leave `routing` out, or choose calico-bgp or calico-ipip"))
        }
        "bird" if pools.iter().all(|pool| pool.vxlan.is_on()) => {
            Err(Complaint::at(text.span, "no BIRD runs where all pools have VXLAN: Felix makes their routes")
                .hint("leave `routing` out, or give a pool with `vxlanMode: Never`"))
        }
        "bird" => Ok(Routing::Bird),
        _ => Err(Complaint::at(text.span, format!("unknown routing {}", quote(text)))
            .hint(rules::one_of(text, &["minik", "bird"]))),
    }
}

/// `first` is whether it is the first of its family.
fn entry_form(entry: &Spanned<PoolEntry>, first: bool) -> Checked<Form<'_>> {
    let v6 = is_v6(&entry.cidr);
    let default = if v6 { DEFAULT_POOL6 } else { DEFAULT_POOL };
    let (name, name_span) = match &entry.name {
        Some(name) => (rules::dns_subdomain("a pool", name)?, name.span),
        None if first => (default.to_owned(), entry.span),
        None => {
            return Err(Complaint::at(entry.span, "this pool has no name")
                .hint(format!("only the first pool is called `{default}` by itself; add `name:`")));
        }
    };
    Ok(Form {
        name,
        name_span,
        cidr: &entry.cidr,
        block_size: entry.block_size.as_ref(),
        nat_outgoing: entry.nat_outgoing.unwrap_or(!v6),
        disabled: entry.disabled.unwrap_or(false),
        ipip: entry.ipip_mode.as_ref(),
        vxlan: entry.vxlan_mode.as_ref(),
        node_selector: entry.node_selector.as_ref(),
        assignment: None,
        uses: None,
        follows: true,
    })
}

fn object_form(object: &IpPoolObject) -> Checked<Form<'_>> {
    let spec = &object.spec;
    let Some(name) = &object.metadata.name else {
        return Err(Complaint::at(spec.cidr.span, "this IPPool has no name").hint("add `metadata: {name: …}`"));
    };
    Ok(Form {
        name: rules::dns_subdomain("a pool", name)?,
        name_span: name.span,
        cidr: &spec.cidr,
        block_size: spec.block_size.as_ref(),
        nat_outgoing: spec.nat_outgoing.unwrap_or(false),
        disabled: spec.disabled.unwrap_or(false),
        ipip: spec.ipip_mode.as_ref(),
        vxlan: spec.vxlan_mode.as_ref(),
        node_selector: spec.node_selector.as_ref(),
        assignment: spec.assignment_mode.as_ref(),
        uses: spec.allowed_uses.as_ref(),
        follows: false,
    })
}

fn resolved(form: &Form<'_>, chosen: Chosen) -> Checked<Written> {
    let (ipip, vxlan) = if form.follows && form.ipip.is_none() && form.vxlan.is_none() {
        let (ipip, vxlan) = chosen.mode.encapsulation();
        (if is_v6(form.cidr) { EncapsulationMode::Never } else { ipip }, vxlan)
    } else {
        check_encapsulation(form, chosen)?
    };
    let cidr = dual_stack::either_prefix("a pool", form.cidr)?;
    let (for_pods, for_tunnels) = uses(form.uses)?;
    let pool = IpPool {
        block_size: block_size(form.block_size, cidr, form.cidr.span)?,
        nat_outgoing: form.nat_outgoing,
        disabled: form.disabled,
        ipip,
        vxlan,
        node_selector: selector(form.node_selector)?,
        automatic: is_automatic(form.assignment)?,
        for_pods,
        for_tunnels,
        ..IpPool::new(form.name.as_str(), cidr)
    };
    Ok((pool, form.name_span, form.cidr.span))
}

/// What `ipipMode` or `vxlanMode` says; empty is `Never`, as in Calico.
fn encapsulation(field: &str, written: Option<&Spanned<String>>) -> Checked<EncapsulationMode> {
    let Some(text) = written.filter(|text| !text.is_empty()) else { return Ok(EncapsulationMode::Never) };
    EncapsulationMode::ALL.into_iter().find(|mode| mode.as_str() == text.value).ok_or_else(|| {
        let words = EncapsulationMode::ALL.map(EncapsulationMode::as_str);
        Complaint::at(text.span, format!("unknown {field} {}", quote(text))).hint(rules::one_of(text, &words))
    })
}

/// A pool's own encapsulation: one of them at most, and that of the mode if the mode was said.
fn check_encapsulation(form: &Form<'_>, chosen: Chosen) -> Checked<(EncapsulationMode, EncapsulationMode)> {
    let (ipip, vxlan) = (encapsulation("ipipMode", form.ipip)?, encapsulation("vxlanMode", form.vxlan)?);
    let mode = chosen.mode;
    let v6 = is_v6(form.cidr);
    if v6 && ipip.is_on() {
        let span = form.ipip.map_or(form.cidr.span, |ipip| ipip.span);
        return Err(Complaint::at(span, "IPIP is not supported on an IPv6 IP pool")
            .hint("the header that ipip puts around is IPv4's: write `ipipMode: Never`, or `vxlanMode: Always`"));
    }
    if chosen.explicit && mode.addressing() == Addressing::Pools {
        let (needed_ipip, needed_vxlan) = mode.encapsulation();
        // IPv6 goes without a tunnel where IPv4 has ipip.
        let needed_ipip = if v6 { EncapsulationMode::Never } else { needed_ipip };
        let fields = [("ipipMode", form.ipip, ipip, needed_ipip), ("vxlanMode", form.vxlan, vxlan, needed_vxlan)];
        if let Some((field, written, given, needed)) = fields.into_iter().find(|(.., given, needed)| given != needed) {
            let span = written.map_or(form.cidr.span, |written| written.span);
            let what = format!("{field} of this pool is `{given}`, but the mode {mode} needs `{needed}`");
            return Err(Complaint::at(span, what)
                .hint(format!("write `{field}: {needed}`, or give no mode: the pools then decide")));
        }
    }
    if ipip.is_on() && vxlan.is_on() {
        let span = form.vxlan.map_or(form.cidr.span, |vxlan| vxlan.span);
        return Err(Complaint::at(span, "ipipMode and vxlanMode of one pool cannot both be on")
            .and(form.ipip.map(|ipip| ipip.span), "ipipMode is here")
            .hint("a packet is encapsulated once: write `Never` for one of them"));
    }
    Ok((ipip, vxlan))
}

fn selector(written: Option<&Spanned<String>>) -> Checked<Selector> {
    let Some(text) = written else { return Ok(Selector::all()) };
    Selector::parse(text).map_err(|wrong| {
        Complaint::at(text.span, format!("{} is no selector: {} at character {}", quote(text), wrong.what, wrong.at))
            .hint("write one as `rack == 'a' && has(ssd)`, or `all()`")
    })
}

fn is_automatic(written: Option<&Spanned<String>>) -> Checked<bool> {
    match written.map(|text| (text.value.as_str(), text)) {
        None | Some(("" | "Automatic", _)) => Ok(true),
        Some(("Manual", _)) => Ok(false),
        Some((_, text)) => Err(Complaint::at(text.span, format!("unknown assignmentMode {}", quote(text)))
            .hint(rules::one_of(text, &["Automatic", "Manual"]))),
    }
}

/// Whether pods and whether tunnels take addresses; Calico's default is both.
fn uses(written: Option<&Spanned<Vec<String>>>) -> Checked<(bool, bool)> {
    let Some(uses) = written.filter(|uses| !uses.is_empty()) else { return Ok((true, true)) };
    const KNOWN: [&str; 2] = ["Workload", "Tunnel"];
    if let Some(unknown) = uses.iter().find(|given| !KNOWN.contains(&given.as_str())) {
        return Err(Complaint::at(uses.span, format!("unknown use {} of a pool", quote(unknown)))
            .hint(rules::one_of(unknown, &KNOWN)));
    }
    let has = |word: &str| uses.iter().any(|given| given == word);
    Ok((has("Workload"), has("Tunnel")))
}

fn block_size(written: Option<&Spanned<u32>>, pool: IpNet, place: Span) -> Checked<u8> {
    let default = IpPool::new("", pool).block_size;
    let sizes = if pool.addr().is_ipv4() { BLOCK_SIZES } else { BLOCK_SIZES6 };
    let (least, most) = (*sizes.start(), *sizes.end());
    let size = written.map_or(Ok(u32::from(default)), |size| rules::in_range("a block size", size, sizes))?;
    let size = u8::try_from(size).unwrap_or(u8::MAX);
    if size < pool.prefix_len() {
        let span = written.map_or(place, |size| size.span);
        return Err(Complaint::at(span, format!("a /{size} block does not fit into the pool {pool}")).hint(format!(
            "make the pool larger, or write a `blockSize` from {} to {most}",
            u32::from(pool.prefix_len()).max(least)
        )));
    }
    Ok(size)
}

/// The pool that Calico makes when there is none: 192.168.0.0/16, or the first of 172.16.0.0/16 to
/// 172.31.0.0/16 where that is taken (node, pkg/startup/autodetection/ipv4/poolselector.go).
pub(super) fn default_pool(is_free: impl Fn(Ipv4Net) -> bool, mode: Mode) -> Checked<IpPool> {
    let candidates = std::iter::once("192.168.0.0/16".to_owned()).chain((16..32).map(|n| format!("172.{n}.0.0/16")));
    let cidr = candidates.filter_map(|text| text.parse::<Ipv4Net>().ok()).find(|net| is_free(*net));
    let cidr = cidr.ok_or_else(|| {
        Complaint::anywhere("no prefix is free for Calico's default pool")
            .hint("give one: `network: {pool: {cidr: …}}`")
    })?;
    let (ipip, vxlan) = mode.encapsulation();
    Ok(IpPool { nat_outgoing: true, ipip, vxlan, ..IpPool::new(DEFAULT_POOL, cidr) })
}

/// Blocks that the file fixes for nodes: each in a pool that selects the node, of its block size, of one node.
pub(super) fn check_blocks(spec: &ClusterSpec, nodes: &[Node], pools: &[(IpPool, Option<Span>)]) -> Checked<()> {
    let written = spec.nodes.iter().zip(nodes).filter_map(|(entry, node)| Some((entry.block.as_ref()?, node)));
    let fixed: Vec<_> = written.flat_map(|(text, node)| node.blocks().map(move |block| (text, block, node))).collect();
    for (index, (written, block, node)) in fixed.iter().enumerate() {
        let Some((pool, _)) = pools.iter().find(|(pool, _)| pool.cidr.contains(block) && !pool.disabled) else {
            return Err(Complaint::at(written.span, format!("the block {block} is in no pool that is in use"))
                .hint("choose a block of a pool, or leave `block` out: Calico's algorithm chooses one"));
        };
        if block.prefix_len() != pool.block_size {
            return Err(Complaint::at(
                written.span,
                format!("blocks of the pool `{}` are /{}", pool.name, pool.block_size),
            )
            .hint(format!("write {}/{}", block.addr(), pool.block_size)));
        }
        if !pool.selects(node) {
            let what = format!("the pool `{}` of the block {block} does not select node `{}`", pool.name, node.name);
            return Err(Complaint::at(written.span, what).hint(format!(
                "its nodeSelector is {}: label the node so, or choose a block of another pool",
                quote(pool.node_selector.as_str())
            )));
        }
        if let Some((first, _, node)) = fixed[..index].iter().find(|(_, other, _)| other == block) {
            return Err(Complaint::at(written.span, format!("the block {block} is given to two nodes"))
                .and(Some(first.span), format!("node `{}` has it", node.name))
                .hint("a block belongs to one node"));
        }
    }
    Ok(())
}
