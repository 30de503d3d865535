//! In which order all pairs are asked, so that never more neighbours have to be known at a time than the kernel keeps.
//! PURE.

use std::collections::{BTreeMap, BTreeSet};

use super::matrix::End;
use crate::plan::{Plan, Role, crowd};

/// What is asked together: each of the one group asks each of the other, and is asked by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wave {
    /// The one group, as numbers of ends.
    pub some: Vec<usize>,
    /// The other; none if those of the one ask each other.
    pub others: Option<Vec<usize>>,
}

impl Wave {
    /// Everybody in it, each with those that it asks.
    pub fn askers(&self) -> impl Iterator<Item = (usize, &[usize])> {
        let there = self.others.as_deref().unwrap_or(&self.some);
        let back = self.others.iter().flatten().map(|one| (*one, self.some.as_slice()));
        self.some.iter().map(move |one| (*one, there)).chain(back)
    }
}

/// Where an end speaks.
struct Station<'a> {
    node: &'a str,
    segment: Option<usize>,
}

/// The waves in which all ends ask each other, with at most so many neighbours at a time wherever that can be had.
pub fn waves<'a>(plan: &'a Plan, ends: &[End<'a>], neighbours_max: usize) -> Vec<Wave> {
    let segments = crowd::segments(plan);
    let station = |end: &End<'a>| Station {
        node: match &end.namespace.role {
            Role::Pod { node, .. } => node.as_str(),
            _ => &end.namespace.name,
        },
        segment: segments.get(end.namespace.name.as_str()).copied(),
    };
    let stations: Vec<Station> = ends.iter().map(station).collect();
    let mut order: Vec<usize> = (0..ends.len()).collect();
    order.sort_by_key(|end| (stations[*end].segment, stations[*end].node, *end));
    let mut cut = Cut { stations, neighbours_max, waves: Vec::new() };
    cut.among(&order);
    cut.waves
}

struct Cut<'a> {
    stations: Vec<Station<'a>>,
    neighbours_max: usize,
    waves: Vec<Wave>,
}

impl Cut<'_> {
    /// All of these among each other.
    fn among(&mut self, some: &[usize]) {
        if some.len() < 3 || self.neighbours(some, None) <= self.neighbours_max {
            self.waves.push(Wave { some: some.to_vec(), others: None });
            return;
        }
        let (first, second) = some.split_at(some.len() / 2);
        self.among(first);
        self.among(second);
        self.between(first, second);
    }

    /// All of the one with all of the other.
    fn between(&mut self, some: &[usize], others: &[usize]) {
        let is_least = some.len() == 1 && others.len() == 1;
        if is_least || self.neighbours(some, Some(others)) <= self.neighbours_max {
            self.waves.push(Wave { some: some.to_vec(), others: Some(others.to_vec()) });
            return;
        }
        let (larger, smaller) = if some.len() >= others.len() { (some, others) } else { (others, some) };
        let (first, second) = larger.split_at(larger.len() / 2);
        self.between(first, smaller);
        self.between(second, smaller);
    }

    /// The most neighbours that a wave makes: those on one segment know each other, everybody and his node know each
    /// other, and so do the nodes, or each its router.
    fn neighbours(&self, some: &[usize], others: Option<&[usize]>) -> usize {
        let in_segments = |ends: &[usize]| {
            let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
            for segment in ends.iter().filter_map(|end| self.stations[*end].segment) {
                *counts.entry(segment).or_default() += 1;
            }
            counts
        };
        let here = in_segments(some);
        let direct: usize = match others.map(in_segments) {
            None => here.values().map(|count| count * (count - 1)).sum(),
            Some(there) => {
                here.iter().map(|(segment, count)| 2 * count * there.get(segment).copied().unwrap_or(0)).sum()
            }
        };
        let all = || some.iter().chain(others.unwrap_or_default());
        let nodes: BTreeSet<&str> = all().map(|end| self.stations[*end].node).collect();
        direct + 2 * all().count() + nodes.len() * nodes.len().max(2)
    }
}

#[cfg(test)]
mod tests;
