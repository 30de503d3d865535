//! `host-local`, the IPAM plugin of the CNI project, over one node's `podCIDR`.
//!
//! It has no server: each node hands out its own subnet, and what is taken is a file. The gateway is the subnet's first
//! address; the search begins behind the address that was handed out last (`last_reserved_ip.0`) and goes round, so
//! that a released address is not given again at once. Source: plugins v1.9.1, plugins/ipam/host-local
//! (main.go, backend/allocator, backend/disk).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::error::{Error, Kind, Result};
use crate::names;
use crate::plan::{Family, File, bits, nth};
use crate::topology::{Cluster, Pod};

/// Where it keeps its files: a directory for each network (`name` of the CNI configuration).
const DIRECTORY: &str = "/var/lib/cni/networks";

/// A node's pool of addresses, and who has which.
#[derive(Debug)]
pub(super) struct HostLocal {
    network: &'static str,
    subnet: IpNet,
    gateway: IpAddr,
    /// `rangeStart` and `rangeEnd`.
    range: (IpAddr, IpAddr),
    leases: Vec<Lease>,
    /// The address that a new pod got last.
    last: Option<IpAddr>,
    /// The address that a pod got last before this plan, which may be gone.
    before: Option<IpAddr>,
    /// Which of the plugin's ranges it is: `last_reserved_ip.<number>`.
    number: usize,
    /// The addresses in use, those first that pods of a live cluster have; none before the first pod asks.
    taken: Option<BTreeSet<IpAddr>>,
}

/// An address that a container has.
#[derive(Debug)]
struct Lease {
    address: IpAddr,
    container: String,
    interface: &'static str,
}

impl HostLocal {
    /// The pool of one node. `network` is the configuration's `name`.
    ///
    /// # Errors
    /// `Topology` if the subnet is too small, in the plugin's words.
    pub(super) fn new(network: &'static str, subnet: impl Into<IpNet>) -> Result<HostLocal> {
        let subnet = subnet.into();
        let longest = subnet.max_prefix_len() - 2;
        if subnet.prefix_len() > longest {
            let message = format!("host-local: Network {subnet} too small to allocate from");
            return Err(
                Error::new(Kind::Topology, message).hint(format!("give the node a podCIDR of at least /{longest}"))
            );
        }
        // IPv6 has no broadcast address, and the last address of all is a host's.
        let size =
            (bits(subnet.broadcast()) - bits(subnet.network())).saturating_sub(u128::from(subnet.addr().is_ipv4()));
        let (gateway, last) = (gateway(subnet).addr(), nth(&subnet, size));
        Ok(HostLocal::with(network, subnet, gateway, (gateway, last)))
    }

    fn with(network: &'static str, subnet: IpNet, gateway: IpAddr, range: (IpAddr, IpAddr)) -> HostLocal {
        let leases = Vec::new();
        HostLocal { network, subnet, gateway, range, leases, last: None, before: None, number: 0, taken: None }
    }

    /// The same as another range of the network's: the plugin gives a container an address of each.
    pub(super) fn numbered(self, number: usize) -> HostLocal {
        HostLocal { number, ..self }
    }

    /// A pool of a part of a subnet in which others are too: of the hosts of `range`, with the subnet's own gateway.
    pub(super) fn of_range(network: &'static str, subnet: Ipv4Net, range: Ipv4Net, gateway: Ipv4Addr) -> HostLocal {
        let mut hosts = range.hosts();
        let first = hosts.next().unwrap_or(range.addr());
        let range = (first.into(), hosts.last().unwrap_or(first).into());
        HostLocal::with(network, subnet.into(), gateway.into(), range)
    }

    /// `rangeStart` and `rangeEnd`.
    pub(super) fn range(&self) -> (IpAddr, IpAddr) {
        self.range
    }

    /// The gateway, with the subnet's prefix length: the subnet's first address.
    pub(super) fn gateway(&self) -> IpNet {
        IpNet::new_assert(self.gateway, self.subnet.prefix_len())
    }

    /// The next free address, for an interface of a pod, with the subnet's prefix length.
    ///
    /// # Errors
    /// `Topology` if there is none left, in the plugin's words.
    pub(super) fn allocate(&mut self, cluster: &Cluster, pod: &Pod, interface: &'static str) -> Result<IpNet> {
        self.before = self.before.or_else(|| self.reserved_last(cluster, &pod.node));
        let address = match self.kept_by(cluster, pod) {
            Some(address) => address,
            None => {
                let free = self.next_free(cluster, &pod.node).ok_or_else(|| self.exhausted(pod))?;
                self.last = Some(free);
                free
            }
        };
        self.leases.push(Lease { address, container: container_id(cluster, pod), interface });
        Ok(IpNet::new_assert(address, self.subnet.prefix_len()))
    }

    /// The address that a pod of a live cluster has, if it is of this subnet.
    fn kept_by(&self, cluster: &Cluster, pod: &Pod) -> Option<IpAddr> {
        let address = cluster.memory.pods.get(&pod.key()).and_then(|kept| kept.address_in(self.family()))?;
        self.has(address).then_some(address)
    }

    fn family(&self) -> Family {
        Family::of(&self.gateway)
    }

    /// The address that the node handed out last, as a live cluster remembers it.
    fn reserved_last(&self, cluster: &Cluster, node: &str) -> Option<IpAddr> {
        match self.family() {
            Family::Inet => cluster.memory.last_reserved.get(node).copied().map(IpAddr::from),
            Family::Inet6 => cluster.memory.last_reserved6.get(node).copied().map(IpAddr::from),
        }
    }

    fn has(&self, address: IpAddr) -> bool {
        (self.range.0..=self.range.1).contains(&address) && address != self.gateway
    }

    /// The next address behind the one that was given last, once round.
    fn next_free(&mut self, cluster: &Cluster, node: &str) -> Option<IpAddr> {
        let base = bits(self.subnet.network());
        let (first, last) = (bits(self.range.0) - base, bits(self.range.1) - base);
        let newest = self.last.or(self.before);
        let next = newest.filter(|address| self.has(*address)).map_or(first, |address| bits(address) - base + 1);
        let subnet = self.subnet;
        let round = (next..=last).chain(first..next).map(move |distance| nth(&subnet, distance));
        let mut taken = match self.taken.take() {
            Some(taken) => taken,
            None => {
                let on_node = cluster.pods.iter().filter(|pod| pod.node == node);
                on_node.filter_map(|pod| self.kept_by(cluster, pod)).collect()
            }
        };
        let free = round.filter(|address| self.has(*address)).find(|address| taken.insert(*address));
        self.taken = Some(taken);
        free
    }

    fn exhausted(&self, pod: &Pod) -> Error {
        let message = format!(
            "pod {}: host-local: no IP addresses available in range set: {}-{}",
            pod.key(),
            self.range.0,
            self.range.1
        );
        let hint = format!("give node {} a larger podCIDR, or fewer pods", pod.node);
        Error::new(Kind::Topology, message).hint(hint)
    }

    /// The files of the pool: one for each address (container and interface in two lines, without an end to the last),
    /// the address that was handed out last, and the lock. None before the first pod.
    pub(super) fn files(&self) -> Vec<File> {
        let newest = self.leases.last().map(|lease| lease.address);
        let known = self.before.filter(|address| self.has(*address));
        let Some(last) = newest.and(self.last.or(known).or(newest)) else { return Vec::new() };
        let path = |name: &str| format!("{DIRECTORY}/{}/{name}", self.network);
        let lease = |lease: &Lease| {
            File::new(path(&lease.address.to_string()), format!("{}\r\n{}", lease.container, lease.interface))
        };
        let mut files: Vec<File> = self.leases.iter().map(lease).collect();
        files.push(File::new(path(&format!("last_reserved_ip.{}", self.number)), last.to_string()));
        // One lock is for all ranges.
        files.extend((self.number == 0).then(|| File::new(path("lock"), "")));
        files
    }
}

/// A subnet's first address, with its prefix length.
pub(super) fn gateway(subnet: IpNet) -> IpNet {
    IpNet::new_assert(nth(&subnet, 1), subnet.prefix_len())
}

/// The id of a pod's sandbox: 64 hexadecimal digits, random on a real node.
pub(super) fn container_id(cluster: &Cluster, pod: &Pod) -> String {
    names::sandbox(&cluster.name, &pod.key())
}

#[cfg(test)]
mod tests {
    use super::super::tests::article;
    use super::*;

    fn pod(name: &str) -> Pod {
        Pod { name: name.into(), ..article().pods[0].clone() }
    }

    #[test]
    fn pods_begin_behind_the_gateway() {
        let cluster = article();
        let mut pool = HostLocal::new("cbr0", "10.244.1.0/24".parse::<Ipv4Net>().unwrap()).unwrap();
        assert_eq!(pool.gateway().to_string(), "10.244.1.1/24");
        assert!(pool.files().is_empty());
        let given: Vec<String> =
            ["a", "b"].map(|name| pool.allocate(&cluster, &pod(name), "eth0").unwrap().to_string()).into();
        assert_eq!(given, ["10.244.1.2/24", "10.244.1.3/24"]);
    }

    #[test]
    fn a_range_of_a_subnet_has_its_own_gateway() {
        let cluster = article();
        let (subnet, range) = ("10.1.10.0/24".parse().unwrap(), "10.1.10.128/30".parse().unwrap());
        let mut pool = HostLocal::of_range("net", subnet, range, Ipv4Addr::new(10, 1, 10, 2));
        assert_eq!(pool.allocate(&cluster, &pod("a"), "eth0").unwrap().to_string(), "10.1.10.129/24");
        assert_eq!(pool.allocate(&cluster, &pod("b"), "eth0").unwrap().to_string(), "10.1.10.130/24");
        let error = pool.allocate(&cluster, &pod("c"), "eth0").unwrap_err();
        assert!(error.message().ends_with("in range set: 10.1.10.129-10.1.10.130"), "{error}");
    }

    #[test]
    fn a_second_range_gives_addresses_of_ipv6_and_keeps_its_own_count() {
        let cluster = article();
        let mut pool = HostLocal::new("mynet", "fd00:22::/64".parse::<ipnet::Ipv6Net>().unwrap()).unwrap().numbered(1);
        assert_eq!(pool.gateway().to_string(), "fd00:22::1/64");
        assert_eq!(pool.allocate(&cluster, &pod("a"), "eth0").unwrap().to_string(), "fd00:22::2/64");
        assert_eq!(pool.range().1.to_string(), "fd00:22::ffff:ffff:ffff:ffff");
        let paths: Vec<String> = pool.files().into_iter().map(|file| file.path).collect();
        assert_eq!(
            paths,
            ["fd00:22::2", "last_reserved_ip.1"].map(|name| format!("/var/lib/cni/networks/mynet/{name}"))
        );
    }

    #[test]
    fn what_is_taken_is_a_file() {
        let cluster = article();
        let mut pool = HostLocal::new("cbr0", "10.244.1.0/24".parse::<Ipv4Net>().unwrap()).unwrap();
        pool.allocate(&cluster, &pod("a"), "eth0").unwrap();
        let files = pool.files();
        let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        let directory = "/var/lib/cni/networks/cbr0";
        assert_eq!(
            paths,
            ["10.244.1.2", "last_reserved_ip.0", "lock"].map(|name| format!("{directory}/{name}")).each_ref()
        );
        let (container, interface) = files[0].content.split_once("\r\n").unwrap();
        assert!(container.len() == 64 && container.bytes().all(|b| b.is_ascii_hexdigit()), "{container}");
        assert_eq!((interface, files[1].content.as_str(), files[2].content.as_str()), ("eth0", "10.244.1.2", ""));
    }

    #[test]
    fn a_full_subnet_and_one_that_is_too_small_are_refused_as_by_the_plugin() {
        let cluster = article();
        let mut pool = HostLocal::new("cbr0", "10.244.1.0/29".parse::<Ipv4Net>().unwrap()).unwrap();
        for name in ["a", "b", "c", "d", "e"] {
            pool.allocate(&cluster, &pod(name), "eth0").unwrap();
        }
        let error = pool.allocate(&cluster, &pod("f"), "eth0").unwrap_err();
        assert!(error.message().ends_with("no IP addresses available in range set: 10.244.1.1-10.244.1.6"), "{error}");
        let error = HostLocal::new("cbr0", "10.244.1.0/31".parse::<Ipv4Net>().unwrap()).unwrap_err();
        assert!(error.message().ends_with("Network 10.244.1.0/31 too small to allocate from"), "{error}");
    }
}
