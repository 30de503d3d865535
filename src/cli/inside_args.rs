//! The arguments of the commands that look inside of targets. Help texts are these comments.

use clap::Args;

/// The arguments of `exec`.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// A node, client or router; a pod as NAME or NAMESPACE/NAME; deploy/NAME for its first pod; or an IP address.
    #[arg(value_name = "TARGET")]
    pub target: String,
    /// The program and its arguments.
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// The arguments of `shell`.
#[derive(Debug, Args)]
pub struct ShellArgs {
    /// A node, client or router; a pod as NAME or NAMESPACE/NAME; deploy/NAME for its first pod; or an IP address.
    #[arg(value_name = "TARGET")]
    pub target: String,
}

/// The arguments of `logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The pod as NAME or NAMESPACE/NAME, or deploy/NAME for its first pod.
    #[arg(value_name = "POD")]
    pub pod: String,
    /// The container; the first without it.
    #[arg(value_name = "CONTAINER")]
    pub container: Option<String>,
    /// Go on printing what is written.
    #[arg(short, long, env = "MINIK_FOLLOW")]
    pub follow: bool,
    /// Only the last N lines.
    #[arg(long, value_name = "N", env = "MINIK_TAIL")]
    pub tail: Option<usize>,
}
