//! Nodes of YAML's events: what YAML leaves to its reader, which is anchors, merge keys, keys that are given twice, and
//! limits (YAML 1.2.2, chapter 3.1.2; merge keys are YAML 1.1's).

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, StrInput, Tag};

use super::complaint::{Checked, Complaint, boundary_before, quote};
use super::scalar::{self, Scalar};
use super::source::Span;
use super::tree::{Key, Node, Value};

/// Deepest nesting. Objects as kubectl prints them reach 18; the readers recurse, and this is half of what the
/// 2 MiB stack of a thread bears in a debug build.
const DEPTH_MAX: usize = 28;

/// Most values of a text. No honest topology comes near, and 32 MiB could have eight times as many.
const NODES_MAX: usize = 2_000_000;

/// Most values that the aliases of a text expand to.
const COPIES_MAX: usize = 200_000;

/// Most bytes of text that the aliases of a text expand to.
const COPIED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What an alias stands for.
enum Anchored<'t> {
    /// A collection that is not at its end yet.
    Open,
    /// A scalar: as a key it is text, and as a value what the text says.
    Scalar(Scalar<'t>, Span),
    /// A collection.
    Whole(Node, Size),
}

/// How large a value is.
#[derive(Debug, Clone, Copy)]
struct Size {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

impl Size {
    /// That of a scalar.
    fn of(bytes: usize) -> Size {
        Size { nodes: 1, bytes, depth: 0 }
    }
}

/// Makes nodes of the events of one text.
pub(super) struct Composer<'t> {
    events: Parser<'t, StrInput<'t>>,
    text: &'t str,
    /// Where the text begins in its source, in bytes.
    base: usize,
    source: u32,
    /// What the document's anchors name, by the parser's numbers.
    anchors: BTreeMap<usize, Anchored<'t>>,
    /// What is in the collections that are not at their end yet, so that each is as large as it needs to be.
    items: Vec<Node>,
    entries: Vec<(Key, Node)>,
    count: Count,
}

/// Values so far.
#[derive(Default)]
struct Count {
    nodes: usize,
    /// Of them, those that aliases expand to, and the bytes of their texts.
    copies: usize,
    copied_bytes: usize,
}

impl Count {
    fn nodes(&mut self, nodes: usize, at: Span) -> Checked<()> {
        self.nodes += nodes;
        match self.nodes > NODES_MAX {
            true => Err(Complaint::at(at, "there is too much YAML here")
                .hint(format!("minik reads at most {DEPTH_MAX} levels and a few million values"))),
            false => Ok(()),
        }
    }

    fn copy(&mut self, size: Size, at: Span) -> Checked<()> {
        self.copies += size.nodes;
        self.copied_bytes += size.bytes;
        match self.copies > COPIES_MAX || self.copied_bytes > COPIED_BYTES_MAX {
            true => Err(Complaint::at(at, "the YAML aliases expand to too many values").hint("write fewer `*aliases`")),
            false => self.nodes(size.nodes, at),
        }
    }
}

impl<'t> Composer<'t> {
    /// Of a text that begins at byte `base` of a source.
    pub(super) fn new(text: &'t str, base: usize, source: u32) -> Composer<'t> {
        let options = granit_parser::options! { flow_nesting_limit: DEPTH_MAX };
        let events = Parser::new_from_str_with_options(text, options);
        let anchors = BTreeMap::new();
        let (items, entries, count) = (Vec::new(), Vec::new(), Count::default());
        Composer { events, text, base, source, anchors, items, entries, count }
    }

    /// The documents, empty ones left out.
    pub(super) fn documents(mut self) -> Checked<Vec<Node>> {
        let mut nodes = Vec::new();
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(nodes),
                (Event::StreamStart | Event::DocumentStart(..), _) => {}
                (Event::DocumentEnd, _) => self.anchors.clear(),
                (event, at) => nodes.extend(Some(self.node(event, at, 0)?).filter(|node| node.value != Value::Null)),
            }
        }
    }

    fn next(&mut self) -> Checked<(Event<'t>, Span)> {
        match self.events.next_event() {
            Some(Ok((event, span))) => {
                let byte = |mark: granit_parser::Marker| mark.byte_offset().unwrap_or(0);
                let at = self.span(byte(span.start), byte(span.end));
                Ok((event, at))
            }
            Some(Err(error)) => Err(self.refused(&error)),
            None => Ok((Event::StreamEnd, self.span(self.text.len(), self.text.len()))),
        }
    }

    /// A range of bytes of the text.
    fn span(&self, start: usize, end: usize) -> Span {
        let byte = |at: usize| u32::try_from(self.base + at).unwrap_or(u32::MAX);
        Span { source: self.source, start: byte(start), end: byte(end) }
    }

    /// The value that begins with an event, `depth` collections deep.
    fn node(&mut self, event: Event<'t>, at: Span, depth: usize) -> Checked<Node> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let scalar = self.scalar(text, style, anchor, tag.as_deref(), at)?;
                scalar.value().map(|value| Node::new(value, at)).map_err(|what| self.wrong(at, &what))
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.begin(anchor, tag.as_deref(), "seq", at, depth)?;
                let node = Node::new(Value::List(self.list(depth + 1)?), at);
                Ok(self.end(anchor, node))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.begin(anchor, tag.as_deref(), "map", at, depth)?;
                let node = Node::new(Value::Map(self.mapping(depth + 1)?), at);
                Ok(self.end(anchor, node))
            }
            Event::Alias(anchor) => self.copy(anchor, at, depth),
            _ => Err(self.wrong(at, "expected a value")),
        }
    }

    /// A scalar as it is written, kept if an anchor names it.
    fn scalar(
        &mut self,
        text: Cow<'t, str>,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        at: Span,
    ) -> Checked<Scalar<'t>> {
        self.count.nodes(1, at)?;
        let scalar = Scalar::new(text, style, tag).map_err(|what| self.wrong(at, &what))?;
        if anchor != 0 {
            self.anchors.insert(anchor, Anchored::Scalar(scalar.clone(), at));
        }
        Ok(scalar)
    }

    fn begin(&mut self, anchor: usize, tag: Option<&Tag>, own: &str, at: Span, depth: usize) -> Checked<()> {
        self.count.nodes(1, at)?;
        if depth >= DEPTH_MAX {
            return Err(too_deep(at));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, Anchored::Open);
        }
        scalar::check_collection(tag, own).map_err(|what| self.wrong(at, &what))
    }

    fn end(&mut self, anchor: usize, node: Node) -> Node {
        if anchor != 0 {
            self.anchors.insert(anchor, Anchored::Whole(node.clone(), size(&node)));
        }
        node
    }

    fn list(&mut self, depth: usize) -> Checked<Vec<Node>> {
        let first = self.items.len();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(self.items.drain(first..).collect()),
                (event, at) => {
                    let node = self.node(event, at, depth)?;
                    self.items.push(node);
                }
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Checked<Vec<(Key, Node)>> {
        let first = self.entries.len();
        let mut merged = Vec::new();
        let mut names = Names::default();
        loop {
            let (event, at) = match self.next()? {
                (Event::MappingEnd, _) => break,
                found => found,
            };
            let (scalar, at) = self.key(event, at, depth)?;
            if scalar.is_merge() {
                let (event, at) = self.next()?;
                let value = self.node(event, at, depth)?;
                self.merge(value, &mut merged)?;
                continue;
            }
            let name = scalar.name().map_err(|what| self.wrong(at, &what))?;
            if !names.is_new(&name, &self.entries[first..]) {
                let message = format!("{} is given twice in one mapping", quote(&name));
                return Err(Complaint::at(at, message).hint("keep one of them"));
            }
            let (event, place) = self.next()?;
            let node = self.node(event, place, depth)?;
            self.entries.push((Key::new(name, at), node));
        }
        // What the mapping itself says counts; of what is merged, what comes first.
        for (key, node) in merged {
            if names.is_new(&key.name, &self.entries[first..]) {
                self.entries.push((key, node));
            }
        }
        Ok(self.entries.drain(first..).collect())
    }

    /// A key, and where it is written.
    fn key(&mut self, event: Event<'t>, at: Span, depth: usize) -> Checked<(Scalar<'t>, Span)> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                return Ok((self.scalar(text, style, anchor, tag.as_deref(), at)?, at));
            }
            Event::Alias(anchor) => {
                if let Some(Anchored::Scalar(scalar, place)) = self.anchors.get(&anchor) {
                    self.count.copy(Size::of(scalar.len()), at)?;
                    return Ok((scalar.clone(), *place));
                }
            }
            // What is wrong inside of it is told first.
            other => drop(self.node(other, at, depth)?),
        }
        Err(self.wrong(at, "expected string scalar"))
    }

    /// Adds the entries of a merge key's value: those of a mapping, or of several in a list.
    fn merge(&self, value: Node, into: &mut Vec<(Key, Node)>) -> Checked<()> {
        let at = value.span(self.source);
        match value.value {
            Value::Null => Ok(()),
            Value::Map(entries) => {
                into.extend(entries);
                Ok(())
            }
            Value::List(items) => items.into_iter().try_for_each(|item| self.merge(item, into)),
            _ => Err(self.wrong(at, "YAML merge value must be mapping or sequence of mappings")),
        }
    }

    /// The value that an alias stands for.
    fn copy(&mut self, anchor: usize, at: Span, depth: usize) -> Checked<Node> {
        match self.anchors.get(&anchor) {
            Some(Anchored::Scalar(scalar, place)) => {
                self.count.copy(Size::of(scalar.len()), at)?;
                let (scalar, place) = (scalar.clone(), *place);
                scalar.value().map(|value| Node::new(value, place)).map_err(|what| self.wrong(place, &what))
            }
            Some(Anchored::Whole(_, size)) if depth + size.depth > DEPTH_MAX => Err(too_deep(at)),
            Some(Anchored::Whole(node, size)) => {
                self.count.copy(*size, at)?;
                Ok(node.clone())
            }
            Some(Anchored::Open) => Err(self.wrong(at, "Recursive reference not allowed here")),
            None => Err(self.wrong(at, UNKNOWN_ANCHOR)),
        }
    }

    /// The complaint for what is not YAML.
    fn wrong(&self, at: Span, what: &str) -> Box<Complaint> {
        let complaint = Complaint::at(at, format!("this is not YAML: {what}"));
        let line = line_at(self.text, (at.start as usize).saturating_sub(self.base));
        complaint.hint(match line.trim_start_matches(' ').starts_with('\t') {
            true => "YAML is indented with spaces, never with tabs",
            false => "look at brackets, quotes, colons and indentation here and in the lines above",
        })
    }

    /// The complaint for what the parser refuses.
    fn refused(&self, error: &ScanError) -> Box<Complaint> {
        let mark = error.marker();
        let at = mark.byte_offset().unwrap_or_else(|| byte_of_character(self.text, mark.line(), mark.col()));
        let at = self.span(at, at + 1);
        match error.kind() {
            ErrorKind::RecursionLimitExceeded => too_deep(at),
            ErrorKind::UnknownAnchor => self.wrong(at, UNKNOWN_ANCHOR),
            _ => self.wrong(at, error.info().lines().next().unwrap_or_default().trim_end_matches('.')),
        }
    }
}

const UNKNOWN_ANCHOR: &str = "reference to unknown value";

fn too_deep(at: Span) -> Box<Complaint> {
    Complaint::at(at, "the values are nested too deep").hint(format!("minik reads at most {DEPTH_MAX} levels"))
}

fn size(node: &Node) -> Size {
    let of_all = |sizes: &mut dyn Iterator<Item = Size>| {
        let sum = |a: Size, b: Size| Size {
            nodes: a.nodes + b.nodes,
            bytes: a.bytes + b.bytes,
            depth: a.depth.max(b.depth + 1),
        };
        sizes.fold(Size { nodes: 1, bytes: 0, depth: 1 }, sum)
    };
    match &node.value {
        Value::Text(text) => Size::of(text.len()),
        Value::List(items) => of_all(&mut items.iter().map(size)),
        Value::Map(entries) => of_all(&mut entries.iter().map(|(key, node)| {
            let Size { nodes, bytes, depth } = size(node);
            Size { nodes: nodes + 1, bytes: bytes + key.name.len(), depth }
        })),
        _ => Size::of(0),
    }
}

/// The names of a mapping so far: of a few, each is looked at; of many there is a set.
#[derive(Default)]
struct Names {
    many: HashSet<String>,
}

impl Names {
    const FEW: usize = 16;

    /// Whether no entry has this name; the next entry then has it.
    fn is_new(&mut self, name: &str, entries: &[(Key, Node)]) -> bool {
        if entries.len() < Names::FEW {
            return entries.iter().all(|(key, _)| key.name != name);
        }
        if self.many.is_empty() {
            self.many.extend(entries.iter().map(|(key, _)| key.name.clone()));
        }
        self.many.insert(name.to_owned())
    }
}

/// The byte of a character: its line from 1, its column from 0.
fn byte_of_character(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let inside = text[before..].char_indices().take_while(|(_, c)| *c != '\n').take(column).last();
    before + inside.map_or(0, |(byte, c)| byte + c.len_utf8())
}

fn line_at(text: &str, offset: usize) -> &str {
    let start = text[..boundary_before(text, offset)].rfind('\n').map_or(0, |n| n + 1);
    text[start..].lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_too_many_values_is_refused_where_they_are_too_many() {
        let text = "[a, {b: c}]";
        let with = |before: usize| {
            let mut composer = Composer::new(text, 0, 0);
            composer.count.nodes = before;
            composer.documents()
        };
        assert!(with(NODES_MAX - 5).is_ok());
        let at = Span { source: 0, start: 8, end: 9 };
        let wanted = Complaint::at(at, "there is too much YAML here")
            .hint("minik reads at most 28 levels and a few million values");
        assert_eq!(with(NODES_MAX - 4), Err(wanted));
    }
}
