//! The arguments of every command, as types. Help texts are these comments.

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::plan::Datapath;

/// Builds a Kubernetes cluster's network out of Linux network namespaces, and proves it with packets.
#[derive(Debug, Parser)]
#[command(name = "minik", version, about, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub globals: Globals,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub struct Globals {
    /// The cluster.
    ///
    /// Without it `minik`; `up` takes the name that the file gives, if it gives one.
    #[arg(short, long, global = true, value_name = "NAME", env = "MINIK_CLUSTER")]
    pub cluster: Option<String>,
    /// How to print data.
    #[arg(short, long, global = true, value_name = "FORMAT", env = "MINIK_OUTPUT", default_value = "table")]
    pub output: Output,
    /// The Kubernetes namespace.
    #[arg(short, long, global = true, env = "MINIK_NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// All Kubernetes namespaces.
    #[arg(short = 'A', long, global = true, env = "MINIK_ALL_NAMESPACES")]
    pub all_namespaces: bool,
    /// Say more on stderr.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, env = "MINIK_VERBOSE")]
    pub verbose: u8,
}

impl Globals {
    /// The cluster's name.
    pub fn cluster_name(&self) -> &str {
        self.cluster.as_deref().unwrap_or("minik")
    }
}

/// The forms of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Columns.
    Table,
    /// More columns.
    Wide,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// Names only.
    Name,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build a cluster and return when traffic flows.
    #[command(after_help = "Example: minik up calico-ipip")]
    Up(UpArgs),
    /// Remove a cluster, whatever state it is in.
    #[command(after_help = "Example: minik down -c minik")]
    Down(DownArgs),
    /// The background process of a cluster.
    #[command(after_help = "Example: minik agent restart")]
    Agent(AgentArgs),
}

/// The arguments of `up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// A built-in topology, a file, or `-` for the standard input.
    #[arg(value_name = "TOPOLOGY", default_value = "calico-ipip")]
    pub topology: String,
    /// The CNI mode, instead of the file's.
    #[arg(long, value_name = "MODE", env = "MINIK_CNI")]
    pub cni: Option<String>,
    /// Who carries tunnelled packets.
    #[arg(long, value_name = "WHO", env = "MINIK_DATAPATH", default_value = "auto")]
    pub datapath: DatapathChoice,
    /// Print what would be built, and build nothing.
    #[arg(long, env = "MINIK_DRY_RUN")]
    pub dry_run: bool,
    /// Leave a failed build as it is, to look at it.
    #[arg(long, env = "MINIK_NO_ROLLBACK")]
    pub no_rollback: bool,
    /// Remove an existing cluster of this name first.
    #[arg(long, env = "MINIK_REPLACE")]
    pub replace: bool,
}

/// Who carries the packets of tunnel devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DatapathChoice {
    /// The kernel if it can, else the agent.
    Auto,
    /// The kernel's own device.
    Kernel,
    /// A TUN device served by the agent.
    Userspace,
}

impl DatapathChoice {
    /// The choice, if it leaves none to the machine.
    pub fn fixed(self) -> Option<Datapath> {
        match self {
            DatapathChoice::Auto => None,
            DatapathChoice::Kernel => Some(Datapath::Kernel),
            DatapathChoice::Userspace => Some(Datapath::Userspace),
        }
    }
}

/// The arguments of `down`.
#[derive(Debug, Args)]
pub struct DownArgs {
    /// Every cluster on this machine.
    #[arg(long, env = "MINIK_ALL")]
    pub all: bool,
    /// Do not wait until the kernel has freed everything, which takes it about a tenth of a second.
    #[arg(long, env = "MINIK_NO_WAIT")]
    pub no_wait: bool,
}

/// The arguments of `agent`.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: AgentCommand,
}

/// The commands of `agent`.
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// End the agent and start it again with the same orders.
    Restart,
    /// Be the agent; for minik itself.
    #[command(hide = true)]
    Serve,
}
