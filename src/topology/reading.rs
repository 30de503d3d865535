//! Sources with what was read of them, for who reads them more than once: the YAML of a large cluster takes longer to
//! read than to understand.

use super::complaint::Checked;
use super::documents;
use super::source::Source;
use super::tree::Node;
use super::{Cluster, Edit, Overrides, parse};
use crate::error::Result;

/// What was read last. Sources that are the same the next time, from the first one on, are not read again.
#[derive(Debug, Default)]
pub struct Reading {
    sources: Vec<Source>,
    /// How many of them were read to their end.
    whole: usize,
    /// Their documents, each with its source's index.
    trees: Vec<(u32, Node)>,
}

impl Reading {
    /// As [`parse`](super::parse()), of files and the manifests of edits.
    ///
    /// # Errors
    /// As [`parse`](super::parse()).
    pub fn parse(&mut self, files: &[Source], overrides: &Overrides) -> Result<Cluster> {
        let found = self
            .read(files, &overrides.edits, None)
            .and_then(|()| parse::resolve(&self.sources, files.len(), &self.trees, overrides));
        found.map_err(|complaint| complaint.into_error(&self.sources, &self.trees))
    }

    /// Reads the sources of a cluster, and one more, as far as they were not read before.
    pub(super) fn read(&mut self, files: &[Source], edits: &[Edit], more: Option<&Source>) -> Checked<()> {
        let applied = edits.iter().filter_map(|edit| match edit {
            Edit::Apply { name, text, .. } => Some(Source::new(name, text)),
            _ => None,
        });
        let mut wanted: Vec<Source> = files.iter().cloned().chain(applied).chain(more.cloned()).collect();
        let kept =
            self.sources.iter().take(self.whole).zip(&wanted).take_while(|(known, wanted)| known == wanted).count();
        self.sources.truncate(kept);
        self.trees.retain(|(source, _)| (*source as usize) < kept);
        self.whole = kept;
        self.sources.extend(wanted.drain(kept..));
        for (index, source) in self.sources.iter().enumerate().skip(kept) {
            documents::read_trees_of(source, index, &mut self.trees)?;
            self.whole = index + 1;
        }
        Ok(())
    }

    /// What was read, by its source's index.
    pub(super) fn trees(&self) -> &[(u32, Node)] {
        &self.trees
    }

    pub(super) fn sources(&self) -> &[Source] {
        &self.sources
    }
}
