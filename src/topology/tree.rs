//! YAML text as a tree of values that know their place in the text.
//!
//! One pass of the YAML reader makes the tree; kinds are told apart and fields decoded from it (see
//! `decode`), and paths like `spec.nodes[1].address` are found in it for errors. Anchors and merge keys are
//! already expanded: such a value's place is where it is written.

use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_saphyr::budget::BudgetBreach;

use super::complaint::{Checked, Complaint, boundary_before, quote};
use super::source::{SOURCE_BYTES_MAX, Source, Span};

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

    /// The same value so many bytes further on.
    fn move_by(&mut self, bytes: u32) {
        let shift = |place: &mut u32| *place = place.saturating_add(bytes);
        shift(&mut self.start);
        shift(&mut self.end);
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.move_by(bytes)),
            Value::Map(entries) => entries.iter_mut().for_each(|(key, node)| {
                shift(&mut key.start);
                shift(&mut key.end);
                node.move_by(bytes);
            }),
            _ => {}
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
    pub(super) fn span(&self, source: u32) -> Span {
        Span { source, start: self.start, end: self.end }
    }
}

/// The documents of one source, empty ones left out.
pub(super) fn read(source: &Source, index: u32) -> Checked<Vec<Node>> {
    if source.text.len() > SOURCE_BYTES_MAX {
        let limit = SOURCE_BYTES_MAX / (1024 * 1024);
        return Err(Complaint::anywhere(format!("{} is larger than {limit} MiB", source.name))
            .hint("use replicas instead of pods that are written out"));
    }
    if let Some(nodes) = halves(&source.text).and_then(|at| read_halves(&source.text, at)) {
        return Ok(nodes);
    }
    documents(&source.text).map_err(|error| syntax(&error, &source.text, index))
}

fn documents(text: &str) -> Result<Vec<Node>, serde_saphyr::Error> {
    serde_saphyr::from_multiple_with_options(text, options())
}

/// Shortest text in bytes that is read by two threads.
const HALVED_BYTES: usize = 64 * 1024;

/// Where the first document of the second half of a long text begins. A line that begins with `---` is the mark between
/// two documents wherever it stands (YAML 1.2.2, rule `c-forbidden`); what directives say is said before it.
fn halves(text: &str) -> Option<usize> {
    if text.len() < HALVED_BYTES || text.starts_with('%') || text.contains("\n%") {
        return None;
    }
    let middle = boundary_before(text, text.len() / 2);
    let at = middle + text[middle..].find("\n---\n")? + 1;
    Some(at)
}

/// The documents of both halves of a text; none if something is wrong in either, which the whole text then tells at
/// its place.
fn read_halves(text: &str, at: usize) -> Option<Vec<Node>> {
    let (first, second) = text.split_at(at);
    let moved = u32::try_from(at).ok()?;
    let (first, second) = std::thread::scope(|scope| {
        let second = scope.spawn(|| documents(second));
        let first = documents(first);
        (first, second.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let (mut nodes, mut rest) = (first.ok()?, second.ok()?);
    rest.iter_mut().for_each(|node| node.move_by(moved));
    nodes.append(&mut rest);
    Some(nodes)
}

/// Deepest nesting. Objects as kubectl prints them reach 18; the reader recurses, and this is half of what the
/// 2 MiB stack of a thread bears in a debug build.
const DEPTH_MAX: usize = 28;

/// Limits that no honest topology comes near and that stop alias bombs and deep nesting early.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: 2_000_000,
            max_events: 4_000_000,
            max_documents: 100_000,
            max_recorded_anchor_events: 100_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 200_000,
            max_replay_stack_depth: 32,
            max_alias_expansions_per_anchor: 100_000,
        },
    }
}

/// The complaint for what the YAML reader refuses.
fn syntax(error: &serde_saphyr::Error, text: &str, source: u32) -> Box<Complaint> {
    let location = error.location().unwrap_or(serde_saphyr::Location::UNKNOWN);
    let (start, end) = match location.span().byte_offset() {
        Some(_) => bytes_of(&location),
        None => byte_of_character(text, location.line(), location.column()),
    };
    syntax_at(error, text, Span { source, start, end })
}

/// The byte at a line and column, both from 1. The reader gives its own errors no byte offset.
fn byte_of_character(text: &str, line: u64, column: u64) -> (u32, u32) {
    let (line, column) = (line.max(1) as usize - 1, column.max(1) as usize - 1);
    let before: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let inside = text[before..].char_indices().take_while(|(_, c)| *c != '\n').take(column).last();
    let at = u32::try_from(before + inside.map_or(0, |(byte, c)| byte + c.len_utf8())).unwrap_or(u32::MAX);
    (at, at.saturating_add(1))
}

fn syntax_at(error: &serde_saphyr::Error, text: &str, span: Span) -> Box<Complaint> {
    match error.without_snippet() {
        serde_saphyr::Error::AliasError { error, .. } => syntax_at(error, text, span),
        serde_saphyr::Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().map(quote).unwrap_or_else(|| "a key".to_owned());
            Complaint::at(span, format!("{key} is given twice in one mapping")).hint("keep one of them")
        }
        serde_saphyr::Error::Budget { breach, .. } => Complaint::at(span, over_budget(breach))
            .hint(format!("minik reads at most {DEPTH_MAX} levels and a few million values")),
        serde_saphyr::Error::AliasReplayLimitExceeded { .. }
        | serde_saphyr::Error::AliasExpansionLimitExceeded { .. }
        | serde_saphyr::Error::AliasReplayStackDepthExceeded { .. } => {
            Complaint::at(span, "the YAML aliases expand to too many values").hint("write fewer `*aliases`")
        }
        other if other.to_string().contains("recursion limit") => Complaint::at(span, "the values are nested too deep")
            .hint(format!("minik reads at most {DEPTH_MAX} levels")),
        other => {
            let said = serde_saphyr::UserMessageFormatter.format_message(other).into_owned();
            let complaint = Complaint::at(span, format!("this is not YAML: {}", first_line(&said)));
            let line = line_at(text, span.start as usize);
            complaint.hint(match line.trim_start_matches(' ').starts_with('\t') {
                true => "YAML is indented with spaces, never with tabs",
                false => "look at brackets, quotes, colons and indentation here and in the lines above",
            })
        }
    }
}

use serde_saphyr::MessageFormatter as _;

fn over_budget(breach: &BudgetBreach) -> String {
    match breach {
        BudgetBreach::Depth { .. } => "the values are nested too deep".to_owned(),
        _ => "there is too much YAML here".to_owned(),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default().trim_end_matches('.')
}

fn line_at(text: &str, offset: usize) -> &str {
    let start = text[..boundary_before(text, offset)].rfind('\n').map_or(0, |n| n + 1);
    text[start..].lines().next().unwrap_or_default()
}

fn bytes_of(location: &serde_saphyr::Location) -> (u32, u32) {
    let span = location.span();
    let start = span.byte_offset().unwrap_or(0);
    let end = start + span.byte_len().unwrap_or(0);
    (u32::try_from(start).unwrap_or(u32::MAX), u32::try_from(end).unwrap_or(u32::MAX))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        let spanned = serde_saphyr::Spanned::<Value>::deserialize(deserializer)?;
        let (start, end) = bytes_of(&spanned.defined);
        Ok(Node { start, end, value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(u64::try_from(value).map_or(Value::Negative(value), Value::Natural))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Natural(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<serde_saphyr::Spanned<String>>()? {
            let (start, end) = bytes_of(&key.defined);
            entries.push((Key { start, end, name: key.value }, map.next_value()?));
        }
        Ok(Value::Map(entries))
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
    use super::*;

    fn tree(text: &str) -> Node {
        read(&Source::new("t", text), 0).unwrap().remove(0)
    }

    fn span_of(text: &str, part: &str) -> Span {
        let start = text.find(part).unwrap() as u32;
        Span { source: 0, start, end: start + part.len() as u32 }
    }

    #[test]
    fn values_and_keys_know_their_place_and_path() {
        let text = "# ä\nspec:\n  nodes:\n  - name: a\n    address: 10.0.0.1\n  - {name: \"b\"}\n";
        let root = tree(text);
        let path = |part| path_to(&[(0, root.clone())], span_of(text, part), false);
        assert_eq!(path("10.0.0.1").as_deref(), Some("spec.nodes[0].address"));
        assert_eq!(path("address").as_deref(), Some("spec.nodes[0].address"));
        assert_eq!(path("\"b\"").as_deref(), Some("spec.nodes[1].name"));
        assert_eq!(path("spec").as_deref(), Some("spec"));
    }

    #[test]
    fn scalars_are_what_kubernetes_takes_them_for() {
        let root =
            tree("a: 1\nb: -1\nc: 1.5\nd: yes\ne: \"1\"\nf: ~\ng: 00:0c:29:10:a9:6c\nh: 10:10:10:10:10:10\n80: x");
        let get = |key| root.get(key).map(|node| node.value.clone()).unwrap();
        assert_eq!(get("a"), Value::Natural(1));
        assert_eq!(get("b"), Value::Negative(-1));
        assert_eq!(get("c"), Value::Float(1.5));
        assert_eq!(get("d"), Value::Bool(true));
        assert_eq!(get("e"), Value::Text("1".into()));
        assert_eq!(get("f"), Value::Null);
        assert_eq!(get("g"), Value::Text("00:0c:29:10:a9:6c".into()));
        assert_eq!(get("h"), Value::Text("10:10:10:10:10:10".into()));
        assert_eq!(get("80"), Value::Text("x".into()));
    }

    #[test]
    fn json_with_tabs_anchors_and_windows_line_ends_are_yaml() {
        assert_eq!(tree("{\n\t\"a\": [1,\n\t2]\n}").get("a").map(|n| matches!(n.value, Value::List(_))), Some(true));
        assert_eq!(
            tree("a: &x\r\n  b: 1\r\nc: *x\r\n").get("c").unwrap().get("b").map(|n| n.value.clone()),
            Some(Value::Natural(1))
        );
    }

    #[test]
    fn a_long_text_reads_the_same_in_halves() {
        let one = |number: usize| {
            format!("---\n# {number} ä\nname: n{number}\nlist:\n- {{a: {number}, b: [~, \"---\"]}}\nt: |\n  ---\n")
        };
        let text: String = (0..2000).map(one).collect();
        assert!(halves(&text).is_some_and(|at| text[at..].starts_with("---\n# ")));
        let read = |text: &str| read(&Source::new("t", text), 0);
        assert_eq!(read(&text).unwrap(), documents(&text).unwrap());
        assert_eq!(read(&text).unwrap().len(), 2000);
        // What goes wrong in a half is told as of the whole: an anchor is one of its own document.
        for wrong in ["a: [1,", "a: *x"] {
            let text = format!("{}---\n{wrong}\n", text.replacen("name: n0", "name: &x n0", 1));
            let told = read(&text).unwrap_err().into_error(&[Source::new("t", &text)], &[]).to_string();
            let whole = documents(&text).unwrap_err();
            assert_eq!(told, syntax(&whole, &text, 0).into_error(&[Source::new("t", &text)], &[]).to_string());
        }
        assert_eq!(halves(&format!("%YAML 1.2\n{text}")), None);
        assert_eq!(halves("a: 1\n---\nb: 2\n"), None);
    }

    #[test]
    fn bombs_are_refused() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
        for level in 1..9 {
            let parts = vec![format!("*a{}", level - 1); 9].join(",");
            bomb.push_str(&format!("a{level}: &a{level} [{parts}]\n"));
        }
        assert!(read(&Source::new("bomb", bomb), 0).is_err());
        assert!(read(&Source::new("deep", "[".repeat(100_000)), 0).is_err());
        assert!(read(&Source::new("deep", format!("{}a", "- ".repeat(100_000))), 0).is_err());
    }
}
