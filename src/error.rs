//! The one error type of minik: what went wrong, where, why, and what would cure it.
//!
//! An error's [`Kind`] decides the process's exit code (see [`Kind::exit_code`]), so that a script and a
//! test can tell bad input from a broken check and from a machine that cannot run the thing at all.

use std::fmt;

/// The result of everything in minik that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of failure this is. A caller may match on it; the command line turns it into an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The command line was wrong, or a selector matched nothing.
    Usage,
    /// An input file is wrong.
    Topology,
    /// What was asked for collides with what is there (a cluster of that name, a namespace).
    Conflict,
    /// This machine or kernel cannot do it.
    Unsupported,
    /// The caller lacks a privilege.
    Permission,
    /// The kernel refused a netlink request.
    Netlink,
    /// A program that minik calls (iptables-restore, ipset) failed.
    Tool,
    /// A file, socket or process operation failed.
    Io,
    /// A check did not hold.
    Check,
}

impl Kind {
    /// The exit code of the command line's contract: 1 failed, 2 bad input, 4 this machine cannot run it.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Usage | Kind::Topology => 2,
            Kind::Unsupported | Kind::Permission => 4,
            Kind::Conflict | Kind::Netlink | Kind::Tool | Kind::Io | Kind::Check => 1,
        }
    }
}

/// A failure with everything its reader needs, built up where it happens.
///
/// ```
/// use minik::error::{Error, Kind};
/// let error = Error::new(Kind::Conflict, "cluster `minik` exists already")
///     .hint("remove it with `minik down`, or pass --replace");
/// assert_eq!(error.kind().exit_code(), 1);
/// ```
#[derive(Debug)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: Kind,
    message: String,
    excerpt: Option<String>,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `message` is one clause in lower case: "cannot add route 10.0.0.0/8 in node-1".
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        let inner = Inner { kind, message: message.into(), excerpt: None, hint: None, source: None };
        Error { inner: Box::new(inner) }
    }

    /// An I/O error: `doing` says which operation on which object, as in "cannot read /run/minik/a/state.json".
    pub fn io(doing: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Error::new(Kind::Io, doing).because(source.into())
    }

    /// Adds what would fix it, as one sentence for the user.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.inner.hint = Some(hint.into());
        self
    }

    /// Adds the cause, which is printed after the message.
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// Adds a rendered excerpt of the input file (file, line, column, the text and a marker under it).
    pub fn excerpt(mut self, excerpt: impl Into<String>) -> Self {
        self.inner.excerpt = Some(excerpt.into());
        self
    }

    /// Puts `context` in front of the message: "in node-1: cannot …".
    pub fn within(mut self, context: impl fmt::Display) -> Self {
        self.inner.message = format!("{context}: {}", self.inner.message);
        self
    }

    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        self.inner.kind
    }

    /// The message alone, without excerpt, cause and hint.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// The error number of the system call or netlink request that failed, if one did.
    pub fn errno(&self) -> Option<i32> {
        let source: &(dyn std::error::Error + 'static) = self.inner.source.as_deref()?;
        let errno = |e: &std::io::Error| e.raw_os_error();
        source.downcast_ref().and_then(errno).or_else(|| source.source()?.downcast_ref().and_then(errno))
    }

    /// What would fix it, if that is known.
    pub fn hint_text(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }
}

/// `message: cause`, then the excerpt and the hint on lines of their own. The caller writes `error: ` before it.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)?;
        if let Some(source) = &self.inner.source {
            write!(f, ": {source}")?;
        }
        if let Some(excerpt) = &self.inner.excerpt {
            write!(f, "\n{}", excerpt.trim_end())?;
        }
        if let Some(hint) = &self.inner.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.source.as_deref().map(|e| e as _)
    }
}

/// Failures collected while going on, for work that must not stop half way (undo, `down`).
#[derive(Debug, Default)]
pub struct ErrorList(Vec<Error>);

impl ErrorList {
    /// Keeps the error of `result`, if it has one, and gives back its value.
    pub fn keep<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.0.push(error)).ok()
    }

    /// Ok if nothing was kept, else one error that names them all.
    pub fn into_result(mut self) -> Result<()> {
        match self.0.len() {
            0 => Ok(()),
            1 => Err(self.0.remove(0)),
            n => {
                let lines: Vec<String> = self.0.iter().map(|e| format!("  - {e}")).collect();
                Err(Error::new(self.0[0].kind(), format!("{n} operations failed:\n{}", lines.join("\n"))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_reports_every_failure() {
        let mut list = ErrorList::default();
        assert_eq!(list.keep(Ok(3)), Some(3));
        list.keep::<()>(Err(Error::new(Kind::Io, "first")));
        list.keep::<()>(Err(Error::new(Kind::Tool, "second")));
        let error = list.into_result().err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("first") && error.contains("second"), "{error}");
    }

    #[test]
    fn the_cause_and_the_hint_are_printed() {
        let cause = std::io::Error::from_raw_os_error(libc::EPERM);
        let text = Error::io("cannot open /dev/net/tun", cause).hint("run as root").to_string();
        assert_eq!(text, "cannot open /dev/net/tun: Operation not permitted (os error 1)\nhint: run as root");
    }
}
