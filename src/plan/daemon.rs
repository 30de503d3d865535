//! Programs that run in a namespace and program its routes themselves.

use serde::Serialize;

use super::{Family, Namespace, Protocol, Route};

/// BIRD 2: a routing daemon. Each one has the routes of one family, as BIRD 1.6 is two programs, `bird` and `bird6`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bird {
    /// Whose routes it makes.
    pub family: Family,
    /// Its configuration file.
    pub config: String,
}

impl Bird {
    /// Its program.
    pub const PROGRAM: &str = "bird";

    /// What calico/node calls it.
    pub fn name(&self) -> &'static str {
        match self.family {
            Family::Inet => "bird",
            Family::Inet6 => "bird6",
        }
    }
}

impl Namespace {
    /// Whether a route of this namespace comes from a daemon that runs in it: then nobody else may make it.
    pub fn is_daemons(&self, route: &Route) -> bool {
        let family = Family::of(&route.dst.addr());
        route.protocol == Protocol::Bird && self.birds.iter().any(|bird| bird.family == family)
    }
}
