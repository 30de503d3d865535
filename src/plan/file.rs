//! Files that daemons and plugins leave in a namespace's file system.

use serde::Serialize;

/// A file as a program in the namespace finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct File {
    /// Absolute path: `/run/flannel/subnet.env`.
    pub path: String,
    /// Its text.
    pub content: String,
}

impl File {
    /// A file from its path and text.
    pub fn new(path: impl Into<String>, content: impl Into<String>) -> File {
        File { path: path.into(), content: content.into() }
    }
}
