//! Input text, where it came from, and positions in it.

use super::{Edit, Memory};
use crate::error::{Error, Kind, Result};

/// One input text. The name is what errors call it: a file's name, `<stdin>`, or `calico-ipip.yaml` for a
/// built-in topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What errors call it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Largest input in bytes; a file of 10,000 pods that are written out one by one is a tenth of it.
pub const SOURCE_BYTES_MAX: usize = 32 * 1024 * 1024;

impl Source {
    /// A text with its name.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Source {
        Source { name: name.into(), text: text.into() }
    }

    /// The bytes of a file as text. Bytes that are not UTF-8 are an error that names their place; a byte order
    /// mark is dropped.
    pub fn from_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Result<Source> {
        let name = name.into();
        let text = String::from_utf8(bytes).map_err(|error| not_utf8(&name, &error))?;
        Ok(Source { name, text: text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text) })
    }
}

/// The error for bytes that are not text, with the line and column of the first of them.
fn not_utf8(name: &str, error: &std::string::FromUtf8Error) -> Error {
    let good = error.utf8_error().valid_up_to();
    let before = String::from_utf8_lossy(&error.as_bytes()[..good]);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let byte = error.as_bytes().get(good).copied().unwrap_or_default();
    let hint = match error.as_bytes() {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "this looks like UTF-16; save it as UTF-8",
        [0x1f, 0x8b, ..] => "this looks like gzip; unpack it first",
        _ => "save it as UTF-8",
    };
    Error::new(Kind::Topology, format!("{name}:{line}:{column}: byte 0x{byte:02x} is not UTF-8 text")).hint(hint)
}

/// What the command line says over the files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--cluster NAME`: instead of `metadata.name`.
    pub cluster_name: Option<String>,
    /// `--cni MODE`: instead of `spec.network.cni`.
    pub cni: Option<String>,
    /// `--proxy MODE`: instead of `spec.proxy.mode`.
    pub proxy: Option<String>,
    /// `--iptables FLAVOUR`: instead of `spec.iptables`.
    pub iptables: Option<String>,
    /// What was changed since, on the live cluster.
    pub edits: Vec<Edit>,
    /// What the live cluster has handed out.
    pub memory: Memory,
}

/// A range of bytes in one of the sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Span {
    /// Index of the source.
    pub(super) source: u32,
    /// First byte.
    pub(super) start: u32,
    /// The byte after the last.
    pub(super) end: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_text_are_named_by_place() {
        let error = Source::from_bytes("a.yaml", b"kind: x\nname: \xffabc".to_vec()).unwrap_err();
        assert_eq!(error.message(), "a.yaml:2:7: byte 0xff is not UTF-8 text");
        assert_eq!(error.kind().exit_code(), 2);
    }

    #[test]
    fn a_byte_order_mark_is_no_text() {
        let source = Source::from_bytes("a.yaml", "\u{feff}kind: x".into()).unwrap();
        assert_eq!(source.text, "kind: x");
    }
}
