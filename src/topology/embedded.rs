//! JSON inside of a YAML value, as ConfigMaps carry it: read as strictly as its program reads it, and every value with
//! its place in the YAML file.

use std::collections::BTreeMap;
use std::ops::Range;

use super::complaint::{Checked, Complaint, nearest, quote};
use super::fields::Spanned;
use super::source::{Source, Span};
use super::tree::{Key, Node, Value};
use super::yaml;

/// A JSON text with the YAML around it.
#[derive(Clone, Copy)]
pub(super) struct Embedded<'a> {
    /// What errors call it: `net-conf.json`.
    name: &'a str,
    text: &'a Spanned<String>,
    /// The YAML file.
    file: &'a str,
}

/// A JSON object, of which each field is known.
pub(super) struct Object<'a> {
    json: Embedded<'a>,
    /// Its place in the JSON: empty, or `Backend.`.
    path: String,
    fields: BTreeMap<&'static str, &'a Node>,
}

/// A value of a JSON object.
pub(super) struct Field<'a> {
    json: Embedded<'a>,
    path: String,
    node: &'a Node,
}

impl<'a> Embedded<'a> {
    /// The JSON text of a ConfigMap's key; `sources` are those that it was read from.
    pub(super) fn new(name: &'a str, text: &'a Spanned<String>, sources: &'a [Source]) -> Embedded<'a> {
        let file = sources.get(text.span.source as usize).map_or("", |source| source.text.as_str());
        Embedded { name, text, file }
    }

    /// The text.
    pub(super) fn text(self) -> String {
        self.text.value.clone()
    }

    /// Reads it.
    pub(super) fn read(self) -> Checked<Node> {
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(self.text) {
            return Err(self.syntax(&error));
        }
        // What is JSON is YAML, and that reader knows places. Its own limits are tighter.
        let source = Source::new(self.name, self.text.as_str());
        let place = |Span { start, end, .. }: Span| self.span(start as usize..end as usize);
        let nodes = yaml::read(&source, 0).map_err(|complaint| complaint.embedded(self.name, place))?;
        // `null` is no document of YAML's.
        nodes.into_iter().next().ok_or_else(|| {
            Complaint::at(self.text.span, format!("{} is not an object", self.name))
                .path(self.name.to_owned())
                .hint("it begins with `{` and ends with `}`")
        })
    }

    fn syntax(self, error: &serde_json::Error) -> Box<Complaint> {
        let before: usize = self.text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
        let at = (before + error.column().saturating_sub(1)).min(self.text.len());
        let at = super::complaint::boundary_before(self.text, at);
        let said = error.to_string();
        let said = said.split(" at line ").next().unwrap_or_default();
        let complaint = Complaint::at(self.span(at..at + 1), format!("{} is not JSON: {said}", self.name));
        let complaint = complaint.path(self.name.to_owned());
        match self.text.find(['“', '”', '‘', '’']) {
            Some(_) => {
                complaint.hint("a quote of JSON is `\"`, not `“` or `”`, which text programs like to make of it")
            }
            None => complaint.hint("look at commas, quotes and braces here and in the line above"),
        }
    }

    /// Where a part of the JSON text is in the YAML file; the whole value where YAML escapes or folds it.
    fn span(self, part: Range<usize>) -> Span {
        let Span { source, start, end } = self.text.span;
        let at = |range: Range<usize>| {
            let byte = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            Span { source, start: byte(range.start), end: byte(range.end) }
        };
        let (first, last) = (start as usize, (end as usize).min(self.file.len()));
        if let Some(verbatim) = self.file.get(first..last).and_then(|raw| raw.find(self.text.as_str())) {
            return at(first + verbatim + part.start..first + verbatim + part.end);
        }
        self.line_of_block(first, part.start).map_or(self.text.span, |begin| at(begin..begin + part.len()))
    }

    /// The byte of the file at which a byte of a literal block's text is: each of its lines is one of the file's lines,
    /// behind the same indentation.
    fn line_of_block(self, first: usize, byte: usize) -> Option<usize> {
        let line_start = self.file.get(..first)?.rfind('\n').map_or(0, |n| n + 1);
        let indent = first - line_start;
        let before = self.text.get(..byte)?;
        let (mut at, mut next) = (line_start, line_start);
        for wanted in self.text.split('\n').take(before.matches('\n').count() + 1) {
            let line = self.file.get(next..)?.split_inclusive('\n').next()?;
            if line.trim_end_matches(['\n', '\r']).get(indent..).unwrap_or_default() != wanted {
                return None;
            }
            (at, next) = (next, next + line.len());
        }
        Some(at + indent + before.rfind('\n').map_or(byte, |n| byte - n - 1))
    }

    fn key_span(self, key: &Key) -> Span {
        let Span { start, end, .. } = key.span(0);
        self.span(start as usize..end as usize)
    }

    fn node_span(self, node: &Node) -> Span {
        let Span { start, end, .. } = node.span(0);
        self.span(start as usize..end as usize)
    }

    /// The object that `node` is. Names match in any case, as Go's encoding/json has it; one that is not among
    /// `known` would be ignored there, and is refused here.
    pub(super) fn object(self, node: &'a Node, path: &str, known: &[&'static str]) -> Checked<Object<'a>> {
        let Value::Map(entries) = &node.value else {
            let what = if path.is_empty() { self.name } else { path.trim_end_matches('.') };
            return Err(Complaint::at(self.node_span(node), format!("{what} is not an object"))
                .path(self.label(path.trim_end_matches('.')))
                .hint("write names and values in braces: { \"name\": value }"));
        };
        let mut fields = BTreeMap::new();
        for (key, value) in entries {
            let span = || self.key_span(key);
            let name = known.iter().find(|name| name.eq_ignore_ascii_case(&key.name)).ok_or_else(|| {
                let complaint = Complaint::at(span(), format!("{} has no field {}", self.name, quote(&key.name)))
                    .path(self.label(&format!("{path}{}", key.name)));
                match nearest(&key.name, known.iter().copied()) {
                    Some(near) => complaint.hint(format!("did you mean `{near}`?")),
                    None => complaint.hint(format!("the fields here are {}", known.join(", "))),
                }
            })?;
            if fields.insert(*name, value).is_some() {
                return Err(Complaint::at(span(), format!("`{name}` is given twice, in different spellings"))
                    .path(self.label(&format!("{path}{}", key.name)))
                    .hint("keep one of them"));
            }
        }
        Ok(Object { json: self, path: path.to_owned(), fields })
    }

    /// `net-conf.json: Backend.VNI`.
    fn label(self, path: &str) -> String {
        if path.is_empty() { self.name.to_owned() } else { format!("{}: {path}", self.name) }
    }
}

impl<'a> Object<'a> {
    /// A field; `null` is none.
    pub(super) fn get(&self, name: &str) -> Option<Field<'a>> {
        let node = self.fields.get(name).filter(|node| node.value != Value::Null)?;
        Some(Field { json: self.json, path: format!("{}{name}", self.path), node })
    }

    /// Refuses a field unless it is off or empty.
    pub(super) fn refuse(&self, names: &[&str]) -> Checked<()> {
        for field in names.iter().filter_map(|name| self.get(name)) {
            let off = match &field.node.value {
                Value::Bool(on) => !on,
                Value::Text(text) => text.is_empty() || text.eq_ignore_ascii_case("false"),
                Value::Natural(number) => *number == 0,
                _ => false,
            };
            if !off {
                return Err(field
                    .complain(format!("{} is not supported by this version of minik", field.path))
                    .hint("remove it: minik would not do what it says"));
            }
        }
        Ok(())
    }

    /// A complaint about the object as a whole, at its JSON's beginning.
    pub(super) fn complain(&self, message: impl Into<String>) -> Box<Complaint> {
        Complaint::at(self.json.span(0..1), message).path(self.json.label(self.path.trim_end_matches('.')))
    }
}

impl<'a> Field<'a> {
    /// Its place in the YAML file.
    pub(super) fn span(&self) -> Span {
        self.json.node_span(self.node)
    }

    /// A complaint about it.
    pub(super) fn complain(&self, message: impl Into<String>) -> Box<Complaint> {
        Complaint::at(self.span(), message).path(self.json.label(&self.path))
    }

    fn wrong(&self, expected: &str) -> Box<Complaint> {
        self.complain(format!("`{}` is not {expected}", self.path)).hint(format!("write {expected}"))
    }

    /// Text.
    pub(super) fn text(&self) -> Checked<Spanned<String>> {
        match &self.node.value {
            Value::Text(text) => Ok(Spanned { value: text.clone(), span: self.span() }),
            _ => Err(self.wrong("text in quotes")),
        }
    }

    /// `true` or `false`, also in quotes, as articles write it.
    pub(super) fn switch(&self) -> Checked<bool> {
        match &self.node.value {
            Value::Bool(on) => Ok(*on),
            Value::Text(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Value::Text(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            _ => Err(self.wrong("`true` or `false`")),
        }
    }

    /// A whole number within limits.
    pub(super) fn number(&self, range: std::ops::RangeInclusive<u32>) -> Checked<u32> {
        let fits = |number: &u64| u32::try_from(*number).ok().filter(|number| range.contains(number));
        let value = if let Value::Natural(number) = &self.node.value { fits(number) } else { None };
        value.ok_or_else(|| self.wrong(&format!("a whole number from {} to {}", range.start(), range.end())))
    }

    /// An object.
    pub(super) fn object(&self, known: &[&'static str]) -> Checked<Object<'a>> {
        self.json.object(self.node, &format!("{}.", self.path), known)
    }

    /// The items of a list.
    pub(super) fn list(&self) -> Checked<Vec<Field<'a>>> {
        let Value::List(items) = &self.node.value else { return Err(self.wrong("a list in brackets")) };
        let item = |(index, node)| Field { json: self.json, path: format!("{}[{index}]", self.path), node };
        Ok(items.iter().enumerate().map(item).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text that the YAML file has where the JSON has `part`.
    fn found(yaml: &str, part: &str) -> String {
        let sources = [Source::new("t", yaml)];
        let root = yaml::read(&sources[0], 0).unwrap().remove(0);
        let node = root.get("n").unwrap();
        let Value::Text(value) = &node.value else { panic!("not text") };
        let text = Spanned { value: value.clone(), span: node.span(0) };
        let json = Embedded::new("n.json", &text, &sources);
        let start = value.find(part).unwrap();
        let Span { start, end, .. } = json.span(start..start + part.len());
        yaml[start as usize..end as usize].to_owned()
    }

    #[test]
    fn a_value_of_the_json_is_found_in_the_yaml() {
        for yaml in [
            "n: |\n  {\n    \"Backend\": {\n\n      \"VNI\": 7\n    }\n  }\nm: 1\n",
            "n: |-\r\n    {\r\n      \"Backend\": { \"VNI\": 7 }\r\n    }\r\n",
            "{\"n\": '{\"Backend\": {\"VNI\": 7}}'}",
        ] {
            assert_eq!(found(yaml, "\"VNI\""), "\"VNI\"", "{yaml:?}");
            assert_eq!(found(yaml, "7"), "7", "{yaml:?}");
        }
        assert_eq!(
            found("n: \"{\\\"VNI\\\": 7}\"", "VNI"),
            "\"{\\\"VNI\\\": 7}\"",
            "an escaped text is told as a whole"
        );
        assert!(found("n: >\n  {\n  \"VNI\": 7}\n", "VNI").starts_with('{'), "so is a folded one");
    }
}
