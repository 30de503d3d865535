//! The arguments of the commands that change a live cluster. Help texts are these comments.

use clap::{Args, Subcommand, ValueEnum};

/// The arguments of `apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// A manifest: a file, a directory of them, or `-` for the standard input; several with commas between, or by several
    /// -f.
    #[arg(short, long = "filename", value_name = "FILE", required = true, value_delimiter = ',')]
    pub file: Vec<String>,
    /// Manifests in directories of a directory as well.
    #[arg(short = 'R', long, env = "MINIK_RECURSIVE")]
    pub recursive: bool,
    /// Say what would be done, and do nothing.
    #[arg(long, env = "MINIK_DRY_RUN")]
    pub dry_run: bool,
}

/// The arguments of `delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// KIND NAME..., or KIND/NAME...; a node goes with all that is on it. KIND alone with -l or --all.
    #[arg(value_name = "OBJECT", conflicts_with = "file")]
    pub object: Vec<String>,
    /// A manifest whose objects go: a file, a directory of them, or `-` for the standard input; several with commas
    /// between, or by several -f.
    #[arg(short, long = "filename", value_name = "FILE", value_delimiter = ',')]
    pub file: Vec<String>,
    /// Manifests in directories of a directory as well.
    #[arg(short = 'R', long, env = "MINIK_RECURSIVE")]
    pub recursive: bool,
    /// Which of a kind.
    #[command(flatten)]
    pub which: Which,
    /// Do not mind objects that are not there.
    #[arg(long, env = "MINIK_IGNORE_NOT_FOUND")]
    pub ignore_not_found: bool,
    /// Say what would be done, and do nothing.
    #[arg(long, env = "MINIK_DRY_RUN")]
    pub dry_run: bool,
}

/// Objects of a kind, chosen by other things than their names.
#[derive(Debug, Args)]
pub struct Which {
    /// Those of the kind that have these labels: `app=web,tier!=x`.
    #[arg(long, short = 'l', value_name = "LABELS", env = "MINIK_SELECTOR", conflicts_with = "all")]
    pub selector: Option<String>,
    /// All of the kind that are in the namespace.
    #[arg(long)]
    pub all: bool,
}

/// The arguments of `scale`.
#[derive(Debug, Args)]
pub struct ScaleArgs {
    /// KIND NAME..., or KIND/NAME...
    #[arg(value_name = "OBJECT", required = true)]
    pub object: Vec<String>,
    /// How many pods it is to have.
    #[arg(long, value_name = "N")]
    pub replicas: u32,
}

/// The arguments of `label`.
#[derive(Debug, Args)]
pub struct LabelArgs {
    /// KIND NAME or KIND/NAME, then labels: KEY=VALUE sets one, KEY- removes it. KIND alone with -l or --all.
    #[arg(value_name = "OBJECT LABEL", required = true)]
    pub words: Vec<String>,
    /// Which of a kind.
    #[command(flatten)]
    pub which: Which,
    /// Change labels that have another value.
    #[arg(long, env = "MINIK_OVERWRITE")]
    pub overwrite: bool,
}

/// The arguments of `ready`.
#[derive(Debug, Args)]
pub struct ReadyArgs {
    /// Pods, as NAME or NAMESPACE/NAME.
    #[arg(value_name = "POD", required = true)]
    pub pod: Vec<String>,
    /// They are not.
    #[arg(long, env = "MINIK_NOT")]
    pub not: bool,
}

/// The arguments of `rules`.
#[derive(Debug, Args)]
pub struct RulesArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: RulesCommand,
}

/// The commands of `rules`.
#[derive(Debug, Subcommand)]
pub enum RulesCommand {
    /// Print what iptables-save, ip6tables-save, ipset save and nft list print of nodes, without counters.
    #[command(after_help = "Example: minik rules save node-1 > before")]
    Save {
        /// A node; all of them without it.
        #[arg(value_name = "NODE")]
        node: Option<String>,
    },
    /// Print the lines that the last change of the cluster (apply, delete, scale, label, ready, switch) brought and took,
    /// by node and table.
    #[command(after_help = "Example: minik apply -f web.yaml && minik rules diff node-1")]
    Diff {
        /// A node; all of them without it.
        #[arg(value_name = "NODE")]
        node: Option<String>,
    },
}

/// The arguments of `switch`.
#[derive(Debug, Args)]
pub struct SwitchArgs {
    /// The CNI mode; `minik topologies` lists them.
    #[arg(value_name = "MODE")]
    pub mode: String,
    /// Who carries the packets of ipip tunnels.
    #[arg(long, value_name = "WHO", env = "MINIK_DATAPATH", default_value = "auto")]
    pub datapath: super::args::DatapathChoice,
}

/// The arguments of `link`.
#[derive(Debug, Args)]
pub struct LinkArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: LinkCommand,
}

/// The commands of `link`.
#[derive(Debug, Subcommand)]
pub enum LinkCommand {
    /// Show what each host's line does, or that of one host; a router has one for each segment.
    #[command(after_help = "Example: minik link show node-1")]
    Show {
        /// A node or client; `ROUTER/SEGMENT` for a router's.
        #[arg(value_name = "HOST")]
        host: Option<String>,
    },
    /// Change what a host's line does, in each direction; what is not named stays as it is.
    #[command(
        after_help = "Examples: minik link set node-2 --delay 10ms --loss 1%\n          minik link set node-2 --rate 100mbit --mtu 1400"
    )]
    Set(LinkSetArgs),
    /// Make lines what the topology's file says: those of these hosts, or all.
    #[command(after_help = "Example: minik link reset node-2")]
    Reset {
        /// Nodes and clients; `ROUTER/SEGMENT` for a router's.
        #[arg(value_name = "HOST")]
        hosts: Vec<String>,
    },
}

/// The arguments of `link set`.
#[derive(Debug, Args)]
#[group(required = true, multiple = true, args = ["delay", "loss", "rate", "mtu"])]
pub struct LinkSetArgs {
    /// A node or client; `ROUTER/SEGMENT` for a router's.
    #[arg(value_name = "HOST")]
    pub host: String,
    /// Delay of each packet: `10ms`, `500us`; `0ms` for none.
    #[arg(long, value_name = "TIME")]
    pub delay: Option<String>,
    /// Share of packets that are lost: `1%`; `0%` for none.
    #[arg(long, value_name = "PERCENT")]
    pub loss: Option<String>,
    /// Bandwidth: `100mbit`; `0bit` for no limit.
    #[arg(long, value_name = "RATE")]
    pub rate: Option<String>,
    /// MTU in bytes of the host's NIC and the switch's port; the network plugin does not notice.
    #[arg(long, value_name = "BYTES")]
    pub mtu: Option<u32>,
}

/// The arguments of `heal`.
#[derive(Debug, Args)]
pub struct HealArgs {
    /// What it shall be; without it, say what it is.
    #[arg(value_name = "STATE")]
    pub state: Option<HealState>,
}

/// Whether daemons heal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HealState {
    /// As real daemons do, in their periods.
    On,
    /// What is lost stays lost.
    Off,
}
