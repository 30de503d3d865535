#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::compose;
use crate::plan::Datapath;
use crate::topology::{self, Overrides, builtin};

fn ends(plan: &Plan) -> Vec<End<'_>> {
    plan.pods().map(|namespace| End { namespace, address: namespace.address().unwrap().into() }).collect()
}

#[test]
fn everybody_asks_everybody_else_once() {
    for builtin in builtin::ALL {
        let cluster = topology::parse(&[builtin.source()], &Overrides::default()).unwrap();
        let plan = compose::plan(&cluster, Datapath::Kernel).unwrap();
        let plan =
            Plan { namespaces: plan.namespaces.into_iter().filter(|ns| ns.address().is_some()).collect(), ..plan };
        let ends = ends(&plan);
        for limit in [0, 5, 10, 20, 1000] {
            let mut asked = BTreeMap::new();
            let waves = waves(&plan, &ends, limit);
            for (from, whom) in waves.iter().flat_map(Wave::askers) {
                whom.iter().filter(|to| **to != from).for_each(|to| *asked.entry((from, *to)).or_insert(0) += 1);
            }
            assert_eq!(asked.len(), ends.len() * ends.len().saturating_sub(1), "{} {limit}", plan.mode);
            assert!(asked.values().all(|times| *times == 1), "{} {limit}", plan.mode);
            assert!(limit != 1000 || waves.len() == 1, "{}", plan.mode);
        }
    }
}
