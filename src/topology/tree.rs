//! A text of YAML as a tree of values that know their place in it.
//!
//! One pass over the text makes the tree (see `yaml`); kinds are told apart and fields decoded from it (see
//! `decode`), and paths like `spec.nodes[1].address` are found in it for errors. Anchors and merge keys are
//! already expanded: such a value's place is where it is written.

use super::source::Span;

/// A value and where it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    /// First byte in its source.
    start: u32,
    /// The byte after its last (of a mapping or list: of its first token).
    end: u32,
    /// What it is.
    pub(super) value: Value,
}

/// A key of a mapping and where it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    start: u32,
    end: u32,
    /// The key.
    pub(super) name: String,
}

/// A YAML value. Unlike in YAML, keys are strings, as in every Kubernetes object.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// Nothing, `null`, `~`.
    Null,
    /// `true`, and as Kubernetes reads YAML also `yes` and `on`.
    Bool(bool),
    /// A number without a fraction that is below zero.
    Negative(i64),
    /// Any other number without a fraction.
    Natural(u64),
    /// A number with a fraction.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in input order.
    Map(Vec<(Key, Node)>),
}

impl Node {
    /// A value at its place.
    pub(super) fn new(value: Value, Span { start, end, .. }: Span) -> Node {
        Node { start, end, value }
    }

    /// Its place. A mapping's is its first key's: YAML gives a block mapping no token of its own.
    pub(super) fn span(&self, source: u32) -> Span {
        match &self.value {
            Value::Map(entries) if !entries.is_empty() => entries[0].0.span(source),
            _ => Span { source, start: self.start, end: self.end.max(self.start) },
        }
    }

    /// The same value as if all of it were written at one place.
    pub(super) fn moved_to(self, place: Span) -> Node {
        let Span { start, end, .. } = place;
        let value = match self.value {
            Value::List(items) => Value::List(items.into_iter().map(|item| item.moved_to(place)).collect()),
            Value::Map(entries) => {
                let moved = |(key, node): (Key, Node)| (Key { start, end, ..key }, node.moved_to(place));
                Value::Map(entries.into_iter().map(moved).collect())
            }
            leaf => leaf,
        };
        Node { start, end, value }
    }

    /// Adds a text under a key that this mapping has not, as if it stood at its end.
    pub(super) fn add_text(&mut self, key: &str, text: &str) {
        let (start, end) = (self.end, self.end);
        if let Value::Map(entries) = &mut self.value
            && entries.iter().all(|(known, _)| known.name != key)
        {
            let value = Value::Text(text.to_owned());
            entries.push((Key { start, end, name: key.to_owned() }, Node { start, end, value }));
        }
    }

    /// The value under `key`, to be changed.
    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.value {
            Value::Map(entries) => entries.iter_mut().find(|(k, _)| k.name == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The value under `key`, if this is a mapping that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(k, _)| k.name == key).map(|(_, node)| node),
            _ => None,
        }
    }
}

impl Key {
    /// A key at its place.
    pub(super) fn new(name: String, Span { start, end, .. }: Span) -> Key {
        Key { start, end, name }
    }

    pub(super) fn span(&self, source: u32) -> Span {
        Span { source, start: self.start, end: self.end }
    }
}

/// The path of the value or key at `span`, as `spec.nodes[1].address`; if `whole`, of the mapping that begins
/// there, `spec.nodes[1]`. Used for errors only.
pub(super) fn path_to(documents: &[(u32, Node)], span: Span, whole: bool) -> Option<String> {
    documents.iter().filter(|(source, _)| *source == span.source).find_map(|(_, root)| {
        let mut path = String::new();
        descend(root, span, whole, &mut path).then_some(path)
    })
}

/// Extends `path` to the deepest value or key at `span`; false leaves it as it was.
fn descend(node: &Node, span: Span, whole: bool, path: &mut String) -> bool {
    if whole && node.span(span.source) == span {
        return true;
    }
    let before = path.len();
    match &node.value {
        Value::Map(entries) => {
            for (key, value) in entries {
                path.push_str(if path.is_empty() { "" } else { "." });
                path.push_str(&key.name);
                if descend(value, span, whole, path) || key.span(span.source) == span {
                    return true;
                }
                path.truncate(before);
            }
        }
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                if descend(item, span, whole, path) {
                    return true;
                }
                path.truncate(before);
            }
        }
        _ => {}
    }
    node.span(span.source) == span
}

#[cfg(test)]
mod tests {
    use super::super::source::Source;
    use super::super::yaml;
    use super::*;

    fn span_of(text: &str, part: &str) -> Span {
        let start = text.find(part).unwrap() as u32;
        Span { source: 0, start, end: start + part.len() as u32 }
    }

    #[test]
    fn values_and_keys_know_their_place_and_path() {
        let text = "# ä\nspec:\n  nodes:\n  - name: a\n    address: 10.0.0.1\n  - {name: \"b\"}\n";
        let root = yaml::read(&Source::new("t", text), 0).unwrap().remove(0);
        let path = |part| path_to(&[(0, root.clone())], span_of(text, part), false);
        assert_eq!(path("10.0.0.1").as_deref(), Some("spec.nodes[0].address"));
        assert_eq!(path("address").as_deref(), Some("spec.nodes[0].address"));
        assert_eq!(path("\"b\"").as_deref(), Some("spec.nodes[1].name"));
        assert_eq!(path("spec").as_deref(), Some("spec"));
    }
}
