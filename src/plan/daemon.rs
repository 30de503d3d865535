//! Programs that run in a namespace and program its routes themselves.

use serde::Serialize;

use super::{Namespace, Protocol, Route};

/// BIRD 2: a routing daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bird {
    /// Its configuration file.
    pub config: String,
}

impl Bird {
    /// Its program.
    pub const PROGRAM: &str = "bird";
}

impl Namespace {
    /// Whether a route of this namespace comes from a daemon that runs in it: then nobody else may make it.
    pub fn is_daemons(&self, route: &Route) -> bool {
        self.bird.is_some() && route.protocol == Protocol::Bird
    }
}
