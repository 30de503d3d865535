//! The arguments of every command, as types. Help texts are these comments.

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::bgp::BgpArgs;
use super::check_args::{ProbeArgs, VerifyArgs};
use super::diff::DiffArgs;
use super::inside_args::{ExecArgs, LogsArgs, ShellArgs};
use super::live_args::{
    ApplyArgs, DeleteArgs, HealArgs, LabelArgs, LinkArgs, ReadyArgs, RulesArgs, ScaleArgs, SwitchArgs,
};
use crate::names;
use crate::plan::Datapath;

/// What stands under the list of commands.
const AFTER_HELP: &str = "\
Begin with:
  minik up calico-ipip       build the cluster
  minik get pods -o wide     see who is where
  minik verify               prove it with packets
  minik down                 remove every trace of it

Exit codes:
  0  as expected
  1  a check or an operation failed
  2  the command line or an input file is wrong, or nothing has that name
  3  what was checked passed, and something was skipped: a mode that cannot run here, fragments on a way
     that is narrower than its ends
  4  this machine or this user cannot run it
  exec and shell end with the exit code of the program that they ran.";

/// Builds a Kubernetes cluster's network out of Linux network namespaces, and proves it with packets.
#[derive(Debug, Parser)]
#[command(name = "minik", version, about, after_help = AFTER_HELP, max_term_width = 100, disable_help_subcommand = true)]
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
#[command(next_help_heading = "Options of every command")]
pub struct Globals {
    /// The cluster's name; `minik` without it, and with `up` and `plan` the name in the file.
    #[arg(short, long, global = true, value_name = "NAME", env = "MINIK_CLUSTER", value_parser = cluster_name)]
    pub cluster: Option<String>,
    /// How to print data.
    #[arg(short, long, global = true, value_name = "FORMAT", env = "MINIK_OUTPUT", default_value = "table")]
    pub output: Output,
    /// The Kubernetes namespace in which pods and controllers are listed and looked up.
    #[arg(short, long, global = true, env = "MINIK_NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// List what is in all Kubernetes namespaces; routes, links and rules of all machines and pods.
    #[arg(short = 'A', long, global = true, env = "MINIK_ALL_NAMESPACES")]
    pub all_namespaces: bool,
    /// Say more on stderr: `up` then tells how long each of its steps takes.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, env = "MINIK_VERBOSE")]
    pub verbose: u8,
}

impl Globals {
    /// The cluster's name.
    pub fn cluster_name(&self) -> &str {
        self.cluster.as_deref().unwrap_or("minik")
    }
}

/// A cluster's name becomes part of paths, so everything that is none is refused before it is used.
pub(super) fn cluster_name(text: &str) -> Result<String, String> {
    if names::is_dns_label(text) {
        return Ok(text.to_owned());
    }
    let max = names::LABEL_MAX;
    Err(format!("a name has 1 to {max} lower case letters, digits and `-`, with a letter or digit at both ends"))
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
    #[command(
        after_help = "Examples: minik up calico-ipip\n          minik up my.yaml -c second\n          minik show calico-ipip | minik up - --replace"
    )]
    Up(UpArgs),
    /// Remove a cluster, whatever state it is in.
    #[command(after_help = "Examples: minik down\n          minik down -c second\n          minik down --all")]
    Down(DownArgs),
    /// List the clusters on this machine.
    #[command(after_help = "Example: minik ls -o json")]
    Ls,
    /// List things: nodes, pods, namespaces, deployments, replicasets, daemonsets, statefulsets, services,
    /// endpoints, endpointslices, ippools, blocks, routes, links, rules.
    #[command(
        after_help = "Examples: minik get pods -o wide\n          minik get svc,ep,pods -l app=web\n          minik get routes node-1\n          minik get ippools -o yaml"
    )]
    Get(GetArgs),
    /// Show Calico's BGP sessions, as calicoctl does on each node.
    #[command(after_help = "Examples: minik bgp status\n          minik bgp status node-1")]
    Bgp(BgpArgs),
    /// Show one thing in detail: a node, pod, namespace, deployment, replicaset, daemonset, statefulset, service,
    /// ippool.
    #[command(after_help = "Examples: minik describe pod two-containers\n          minik describe node/node-1")]
    Describe(DescribeArgs),
    /// Run a program of this machine in a target's network, under its host name; its exit code is minik's.
    #[command(
        after_help = "Examples: minik exec node-1 -- ip route\n          minik exec deploy/test -- ping -c1 10.100.247.2"
    )]
    Exec(ExecArgs),
    /// Open your shell ($SHELL) in a target's network, under its host name.
    #[command(after_help = "Examples: minik shell node-1\n          minik shell deploy/test")]
    Shell(ShellArgs),
    /// Print what the program of a pod's container wrote; minik's built-in apps write nothing.
    #[command(after_help = "Examples: minik logs my-pod\n          minik logs my-pod my-container -f --tail 10")]
    Logs(LogsArgs),
    /// Add the objects of a manifest to a live cluster, or change them; only what differs is touched.
    #[command(
        after_help = "Examples: minik apply -f web.yaml\n          kubectl get deploy web -o yaml | minik apply -f -"
    )]
    Apply(ApplyArgs),
    /// Remove objects from a live cluster: pods, controllers, nodes …
    #[command(
        after_help = "Examples: minik delete -f web.yaml\n          minik delete deploy/test\n          minik delete node node-2"
    )]
    Delete(DeleteArgs),
    /// Change a controller's number of pods.
    #[command(after_help = "Example: minik scale deploy/test --replicas 5")]
    Scale(ScaleArgs),
    /// Change the labels of a node, a namespace, a pod.
    #[command(
        after_help = "Examples: minik label pod two-containers tier=web\n          minik label node node-1 zone-"
    )]
    Label(LabelArgs),
    /// Say whether pods are ready, as their readiness probes would; those that are not are no endpoints of Services.
    #[command(after_help = "Example: minik ready web-5d4f-x7k2p --not")]
    Ready(ReadyArgs),
    /// Netfilter rules and sets of nodes as their tools print them, and what the last change did to them.
    #[command(after_help = "Examples: minik rules save node-1\n          minik rules diff")]
    Rules(RulesArgs),
    /// Change a live cluster's CNI mode; its pods stay, and a ping that goes along counts what is lost.
    #[command(after_help = "Example: minik switch flannel-host-gw")]
    Switch(SwitchArgs),
    /// Show and change what the lines between hosts and switches do: delay, loss, rate, MTU.
    #[command(
        after_help = "Examples: minik link show\n          minik link set node-2 --delay 10ms --loss 1%\n          minik link reset"
    )]
    Link(LinkArgs),
    /// Print all that `up` would program: as text, JSON, or a script of ip, sysctl, ipset and iptables-restore. Needs no
    /// root.
    #[command(
        after_help = "Examples: minik plan calico-ipip | less\n          minik plan my.yaml --as shell > build.sh"
    )]
    Plan(PlanArgs),
    /// Hold two modes side by side for one flow: interfaces, headers, MTU, source seen, routes, rules. Needs no root.
    #[command(
        after_help = "Examples: minik diff calico-ipip calico-bgp\n          minik diff flannel-vxlan flannel-host-gw deploy/test two-containers --tcp 80"
    )]
    Diff(DiffArgs),
    /// Compare the live kernel with the plan, and look at the agent; exit code 1 if either is not as it should be.
    #[command(after_help = "Examples: minik status\n          minik status -o json")]
    Status,
    /// Print how the kernel departs from the plan and comes back, as it happens, and which daemon did it; until Ctrl-C.
    #[command(after_help = "Examples: minik watch\n          minik watch -o json")]
    Watch,
    /// Say whether the daemons' timers put back what is lost, or switch them on or off.
    #[command(after_help = "Examples: minik heal\n          minik heal off")]
    Heal(HealArgs),
    /// Prove the cluster with real packets: inject, capture, compare with the predicted path.
    #[command(
        after_help = "Examples: minik verify\n          minik verify -o json\n          minik verify --junit verify.xml\n          minik verify calico-ipip"
    )]
    Verify(VerifyArgs),
    /// Ask once whether one thing reaches another, or all pairs of pods; exit code 1 if somebody does not answer.
    #[command(
        after_help = "Examples: minik probe deploy/test two-containers --tcp 80\n          minik probe client 10.1.10.9\n          minik probe --matrix"
    )]
    Probe(ProbeArgs),
    /// Say what this machine can run natively, by fallback, not at all, and why.
    #[command(after_help = "Example: sudo minik doctor")]
    Doctor,
    /// List the built-in topologies.
    #[command(after_help = "Example: minik topologies")]
    Topologies(TopologiesArgs),
    /// Print a built-in topology's file.
    #[command(after_help = "Example: minik show calico-ipip > my.yaml && minik up my.yaml")]
    Show(ShowArgs),
    /// Print the JSON Schema of topology files.
    #[command(after_help = "Example: minik schema > minik.schema.json")]
    Schema,
    /// Print a completion script for a shell.
    #[command(after_help = "Example: source <(minik completions bash)")]
    Completions(CompletionsArgs),
    /// Print minik's version.
    #[command(after_help = "Example: minik version -o json")]
    Version,
    /// The background process of a cluster, for its pods' apps and, where the kernel cannot, its tunnels.
    #[command(after_help = "Example: minik agent restart")]
    Agent(AgentArgs),
}

/// Which cluster: a topology, and what is otherwise than its file says.
#[derive(Debug, Args)]
pub struct Wanted {
    /// A built-in topology, a file, or `-` for the standard input.
    #[arg(value_name = "TOPOLOGY", default_value = "calico-ipip")]
    pub topology: String,
    /// The CNI mode in place of the file's; `minik topologies` lists them.
    #[arg(long, value_name = "MODE", env = "MINIK_CNI")]
    pub cni: Option<String>,
    /// kube-proxy's mode in place of the file's: `iptables`, `nftables`, `ipvs` or `none`.
    #[arg(long, value_name = "MODE", env = "MINIK_PROXY")]
    pub proxy: Option<String>,
    /// Which iptables nodes have, in place of the file's: `nft` or `legacy`; without either, this machine's own.
    #[arg(long, value_name = "FLAVOUR", env = "MINIK_IPTABLES")]
    pub iptables: Option<String>,
}

/// The arguments of `up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// The cluster to build.
    #[command(flatten)]
    pub wanted: Wanted,
    /// Who carries the packets of tunl0.
    #[arg(long, value_name = "WHO", env = "MINIK_DATAPATH", default_value = "auto")]
    pub datapath: DatapathChoice,
    /// Print the plan as text and build nothing; needs no root.
    #[arg(long, env = "MINIK_DRY_RUN")]
    pub dry_run: bool,
    /// Leave a failed build as it is, to look at it.
    #[arg(long, env = "MINIK_NO_ROLLBACK")]
    pub no_rollback: bool,
    /// Let what is lost stay lost, for lessons; `minik heal on` changes that.
    #[arg(long, env = "MINIK_NO_HEAL")]
    pub no_heal: bool,
    /// How many times faster than real daemons the timers run; for tests.
    #[arg(long, hide = true, value_name = "N", env = "MINIK_HEAL_SPEED", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub heal_speed: u32,
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
    /// Return before the kernel has freed everything, which takes it a tenth of a second and more.
    #[arg(long, env = "MINIK_NO_WAIT")]
    pub no_wait: bool,
}

/// The arguments of `get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// What to list: a KIND in the plural, the singular or short (no, po, ns, deploy, rs, ds, sts, svc, ep, ipp), several
    /// with commas between, `all` for pods, services and controllers; then NAMEs for only these (for routes, links and
    /// rules the node or any target that has them); or KIND/NAME for each.
    #[arg(value_name = "KIND", required = true)]
    pub words: Vec<String>,
    /// No line of headers.
    #[arg(long, env = "MINIK_NO_HEADERS")]
    pub no_headers: bool,
    /// Only what has these labels: `app=web,tier!=x,env in (a,b),disk,!old`.
    #[arg(long, short = 'l', value_name = "LABELS", env = "MINIK_SELECTOR")]
    pub selector: Option<String>,
    /// Labels as the last column.
    #[arg(long, env = "MINIK_SHOW_LABELS")]
    pub show_labels: bool,
}

/// The arguments of `describe`.
#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// Of what kind it is, or KIND/NAME.
    #[arg(value_name = "KIND")]
    pub kind: String,
    /// Which one; all of them without it.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

/// The arguments of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The cluster whose plan it is.
    #[command(flatten)]
    pub wanted: Wanted,
    /// The form: text to read, JSON, or a shell script that builds the same by hand.
    #[arg(long = "as", value_name = "FORM", env = "MINIK_AS")]
    pub form: Option<PlanForm>,
    /// Who carries the packets of tunl0; `auto` is the kernel here, so that the plan is the same on every machine.
    #[arg(long, value_name = "WHO", env = "MINIK_DATAPATH", default_value = "auto")]
    pub datapath: DatapathChoice,
}

/// The forms of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlanForm {
    /// Text to read.
    Text,
    /// JSON.
    Json,
    /// A shell script.
    Shell,
}

/// The arguments of `topologies`.
#[derive(Debug, Args)]
pub struct TopologiesArgs {
    /// List the built-in manifests, which `apply -f`, `up` and `show` take by their names.
    #[arg(long, env = "MINIK_MANIFESTS")]
    pub manifests: bool,
}

/// The arguments of `show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The topology, or the manifest.
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// The arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
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
