//! What an agent has to do, as a value: written by `up`, kept in orders.json so that a new agent can take over.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::dns::Records;
use crate::plan::Health;

/// Everything that the agent of one cluster serves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// The cluster's name.
    pub cluster: String,
    /// The pods whose containers it stands for.
    pub pods: Vec<PodOrders>,
    /// The tunnel devices whose packets it carries: instead of the kernel, or as a daemon of real nodes does.
    pub tunnels: Vec<Tunnel>,
    /// The nodes' daemons that it runs.
    #[serde(default)]
    pub daemons: Vec<Daemon>,
    /// The nodes whose kube-proxies answer by HTTP.
    #[serde(default)]
    pub nodes: Vec<NodeOrders>,
    /// What the cluster's DNS servers answer from, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Records>,
}

/// What answers on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeOrders {
    /// Name of its namespace under /run/netns.
    pub netns: String,
    /// What its kube-proxy answers.
    pub health: Health,
}

/// A program of a node's that makes the node's routes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Daemon {
    /// What it is called on the node: `bird6`.
    pub name: String,
    /// Name of the node's namespace under /run/netns.
    pub netns: String,
    /// The node's host name.
    pub hostname: String,
    /// The program and its arguments; never empty.
    pub argv: Vec<String>,
    /// Its configuration file, and what is in it.
    pub config: (PathBuf, String),
    /// The file that takes its output.
    pub log: PathBuf,
}

/// A tunnel device of the plan that is to be a TUN device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    /// Name of its namespace under /run/netns.
    pub netns: String,
    /// Name of the device: `tunl0`.
    pub device: String,
    /// Source and destination of outer packets, where the device leads to one other end.
    #[serde(default)]
    pub peer: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Set where its packets travel bare in UDP datagrams, and not IP in IP.
    #[serde(default)]
    pub datagrams: Option<Datagrams>,
}

/// What flannel's proxy knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datagrams {
    /// The node's address, to which the socket is bound.
    pub local: Ipv4Addr,
    /// UDP port, here and at the peers.
    pub port: u16,
    /// The device's address, from which the proxy's own messages come.
    pub address: Ipv4Addr,
    /// Subnets of other nodes with those nodes' addresses.
    pub peers: Vec<(Ipv4Net, Ipv4Addr)>,
}

/// What runs in a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodOrders {
    /// Name of its namespace under /run/netns.
    pub netns: String,
    /// Host name of its programs.
    pub hostname: String,
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Name of its node.
    pub node: String,
    /// Its address.
    pub address: Option<Ipv4Addr>,
    /// Its containers, in order.
    pub containers: Vec<ContainerOrders>,
    /// Ports on which minik answers for it with its name, because nothing in it listens there.
    pub answers: Vec<Port>,
}

/// What runs in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerOrders {
    /// Its name.
    pub name: String,
    /// What it does.
    pub work: Work,
    /// Its environment variables.
    pub env: Vec<(String, String)>,
    /// The file that takes its output.
    pub log: PathBuf,
}

/// What a container does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "does")]
pub enum Work {
    /// Nothing but being there (`pause`, `sleep 3600`, an image that minik does not know): no process.
    Idle,
    /// A built-in app.
    App {
        /// Which one.
        app: App,
        /// Where it listens.
        ports: Vec<Port>,
    },
    /// A program of the host.
    Program {
        /// The program and its arguments; never empty.
        argv: Vec<String>,
    },
}

/// The built-in apps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "name")]
pub enum App {
    /// nginx as it is after installation: a welcome page.
    Nginx {
        /// Its version, for the `Server` header.
        version: String,
    },
    /// `serve_hostname`: the pod's name to every request and datagram.
    Hostname,
    /// `agnhost netexec`: /hostname, /echo?msg=, /clientip, /healthz; by UDP `hostname`, `echo …`, `clientip`.
    Netexec,
    /// `ikubernetes/myapp`: a line with its version, and /hostname.html.
    Myapp {
        /// Its version: `v1`.
        version: String,
    },
    /// `echoserver`: the request, as text.
    Echoserver,
    /// CoreDNS: port 53; health, readiness and metrics beside.
    Dns,
    /// minik's own answer for pods in which nothing listens: the pod's name.
    Answer,
}

/// A port to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Port {
    /// Its protocol.
    pub protocol: Transport,
    /// Its number.
    pub number: u16,
}

/// The protocols of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP; nobody listens where the kernel knows none.
    Sctp,
}

impl Port {
    /// A TCP port.
    pub const fn tcp(number: u16) -> Port {
        Port { protocol: Transport::Tcp, number }
    }

    /// A UDP port.
    pub const fn udp(number: u16) -> Port {
        Port { protocol: Transport::Udp, number }
    }

    /// An SCTP port.
    pub const fn sctp(number: u16) -> Port {
        Port { protocol: Transport::Sctp, number }
    }
}

/// As kubectl writes ports: `80/TCP`.
impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let protocol = match self.protocol {
            Transport::Tcp => "TCP",
            Transport::Udp => "UDP",
            Transport::Sctp => "SCTP",
        };
        write!(f, "{}/{protocol}", self.number)
    }
}
