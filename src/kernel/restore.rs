//! Loads a namespace's ipsets and rules by the restore tools, on stdin: one `ipset restore`, and one restore for each of
//! iptables, ip6tables and ebtables, one file for nft.

#![expect(clippy::disallowed_methods, reason = "the door for the restore tools")]

use std::fmt::{self, Write as _};
use std::io::{BufWriter, Write as _};
use std::os::fd::AsFd;
use std::process::{ChildStdin, Command, Stdio};

use super::{ipvs, netns};
use crate::error::{Error, Kind, Result};
use crate::plan::nft::NftTable;
use crate::plan::{Family, Namespace, Plan, Table, ebtables, line, nft, restore};

/// What a namespace has for one of the tools: the tool with its arguments, and its input.
pub(super) type Input<'p> = (&'static [&'static str], Text<'p>);

/// The input of a tool.
pub(super) enum Text<'p> {
    /// As it is.
    Whole(String),
    /// Tables for iptables-restore: long ones are written while the tool reads.
    Tables(&'p [Table]),
    /// Tables for nft, as well.
    Nft(&'p [NftTable]),
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Text::Whole(text)
    }
}

impl Text<'_> {
    /// Whether there is nothing for the tool to do.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Text::Whole(text) if text.is_empty())
    }

    fn write(&self, out: &mut Pipe) -> fmt::Result {
        match self {
            Text::Whole(text) => out.write_str(text),
            Text::Tables(tables) => restore::write_iptables_restore(tables, out),
            Text::Nft(tables) => nft::text::write_script(tables, out),
        }
    }
}

/// A tool's standard input, as something that text is written to.
struct Pipe {
    stdin: BufWriter<ChildStdin>,
    /// Why it could not be written.
    failed: Option<std::io::Error>,
}

/// As much as a pipe takes at a time.
const PIPE_BYTES: usize = 64 * 1024;

impl fmt::Write for Pipe {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.stdin.write_all(text.as_bytes()).map_err(|error| {
            self.failed = Some(error);
            fmt::Error
        })
    }
}

impl Pipe {
    fn take(stdin: ChildStdin, text: &Text<'_>) -> std::io::Result<()> {
        let mut pipe = Pipe { stdin: BufWriter::with_capacity(PIPE_BYTES, stdin), failed: None };
        match text.write(&mut pipe) {
            Ok(()) => pipe.stdin.flush(),
            Err(fmt::Error) => Err(pipe.failed.unwrap_or_else(|| std::io::Error::other("it cannot be spelled"))),
        }
    }
}

/// What the tools are to be given for a namespace, in that order; nothing for a tool that has nothing to do.
pub(super) fn inputs(namespace: &Namespace) -> Vec<Input<'_>> {
    let Namespace { sets, tables, tables6, nft: nftables, ebtables, .. } = namespace;
    let mut inputs: Vec<Input<'_>> = Vec::new();
    if !sets.is_empty() {
        inputs.push((IPSET, restore::ipset_restore(sets).into()));
    }
    for (family, tables) in [(Family::Inet, tables), (Family::Inet6, tables6)] {
        if !tables.is_empty() {
            inputs.push((namespace.backend.restore(family), Text::Tables(tables)));
        }
    }
    if !nftables.is_empty() {
        inputs.push((NFT, Text::Nft(nftables)));
    }
    if !ebtables.is_empty() {
        inputs.push((&["ebtables-restore"], ebtables::ebtables_restore(ebtables).into()));
    }
    if line::loses(namespace) {
        inputs.push((NFT, line::nft(namespace).into()));
    }
    inputs
}

/// The tool for tables of nftables.
pub(super) const NFT: &[&str] = &["nft", "-f", "-"];

const IPSET: &[&str] = &["ipset", "restore"];

/// Whether a namespace has anything to be loaded.
pub fn has_any(namespace: &Namespace) -> bool {
    let Namespace { sets, tables, tables6, nft, ipvs, ebtables, .. } = namespace;
    ipvs.is_some()
        || !(sets.is_empty() && tables.is_empty() && tables6.is_empty() && nft.is_empty() && ebtables.is_empty())
        || line::loses(namespace)
}

/// Loads the sets, then the tables, then the virtual servers of `namespace` into `ns`, whose tables are empty.
///
/// # Errors
/// If a tool is not installed or rejects its input; its own words are in the error.
pub fn load(namespace: &Namespace, ns: impl AsFd + Send) -> Result<()> {
    let inputs = inputs(namespace);
    netns::inside(ns, || {
        inputs.iter().try_for_each(|(argv, input)| feed(argv, input))?;
        namespace.ipvs.as_ref().map_or(Ok(()), ipvs::make)
    })?
}

/// Refuses a plan for which a tool is not installed, before anything is touched.
///
/// # Errors
/// `Unsupported`, with the package that has the tool.
pub fn require_tools(plan: &Plan) -> Result<()> {
    let any = |has: fn(&Namespace) -> bool| plan.namespaces.iter().any(has);
    let wanted = [
        ("ipset", any(|ns| !ns.sets.is_empty())),
        ("ebtables-restore", any(|ns| !ns.ebtables.is_empty())),
        ("nft", any(|ns| !ns.nft.is_empty() || line::loses(ns))),
        ("bird", any(|ns| !ns.birds.is_empty())),
    ];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let lacks = |tool: &str| !std::env::split_paths(&path).any(|directory| directory.join(tool).is_file());
    let families = plan.namespaces.iter().flat_map(|ns| {
        let tool = |family, tables: &[Table]| (ns.backend.restore(family)[0], !tables.is_empty());
        [tool(Family::Inet, &ns.tables), tool(Family::Inet6, &ns.tables6)]
    });
    match wanted.into_iter().chain(families).find(|(tool, wanted)| *wanted && lacks(tool)) {
        Some((tool, _)) => Err(missing(tool, std::io::Error::from_raw_os_error(libc::ENOENT))),
        None => Ok(()),
    }
}

/// Runs a tool in the calling thread's namespace with `input` on its stdin.
pub(super) fn feed(argv: &[&str], input: &Text<'_>) -> Result<()> {
    let name = argv.join(" ");
    let mut command = Command::new(argv[0]);
    command.args(&argv[1..]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    // Nothing is done between fork and exec, so that no page of minik's is copied, which takes as long as small tables
    // do. A tool whose minik is killed goes on with what it has read: `change::recover` and `down` end it.
    let mut child = command.spawn().map_err(|e| missing(argv[0], e))?;
    // A tool that gives up early closes the pipe; what it says then is worth more than our write error.
    let written = child.stdin.take().map_or(Ok(()), |stdin| Pipe::take(stdin, input));
    let output = child.wait_with_output().map_err(|e| Error::io(format!("cannot wait for {name}"), e))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::new(Kind::Tool, format!("{name} failed ({})", output.status)).because(words));
    }
    written.map_err(|e| Error::io(format!("cannot write to {name}"), e))
}

/// Whether a command line is that of one of the tools that load rules and sets: in a namespace of a cluster, nobody
/// but minik feeds them by their standard input.
pub(super) fn is_tool(argv: &[String]) -> bool {
    let is = |command: &[&str]| argv.iter().map(String::as_str).eq(command.iter().copied());
    argv.first().is_some_and(|tool| tool.ends_with("-restore")) || is(NFT) || is(IPSET)
}

/// The error for a tool that cannot be run, with the Debian package that has it.
pub(super) fn missing(tool: &str, e: std::io::Error) -> Error {
    let kind = if e.kind() == std::io::ErrorKind::NotFound { Kind::Unsupported } else { Kind::Tool };
    let package = match tool {
        "ipset" => "ipset",
        "nft" => "nftables",
        _ if tool.starts_with("ebtables") => "ebtables",
        "bird" => "bird2, or leave out `routing: bird`: minik then makes the same routes",
        _ => "iptables",
    };
    Error::new(kind, format!("cannot run {tool}")).because(e).hint(format!("install the package {package}"))
}
