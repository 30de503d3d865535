//! A text of YAML as trees of nodes, a long one by two threads.

use super::complaint::{Checked, Complaint, boundary_before};
use super::composer::Composer;
use super::source::{SOURCE_BYTES_MAX, Source};
use super::tree::Node;
use crate::parallel::both;

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
    Composer::new(&source.text, 0, index).documents()
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
    let marks = text[middle..].match_indices("\n---").map(|(at, mark)| (middle + at, middle + at + mark.len()));
    let whole = |end: usize| matches!(text.as_bytes().get(end), None | Some(b'\n' | b'\r' | b' ' | b'\t'));
    marks.into_iter().find(|(_, end)| whole(*end)).map(|(at, _)| at + 1)
}

/// The documents of both halves of a text; none if something is wrong in either, which the whole text then tells at
/// its place.
fn read_halves(text: &str, at: usize) -> Option<Vec<Node>> {
    let (first, second) = text.split_at(at);
    let (first, second) = both(|| Composer::new(first, 0, 0).documents(), || Composer::new(second, at, 0).documents());
    let (mut nodes, mut rest) = (first.ok()?, second.ok()?);
    nodes.append(&mut rest);
    Some(nodes)
}

#[cfg(test)]
mod tests {
    use super::super::tree::Value;
    use super::*;

    fn all(text: &str) -> Checked<Vec<Node>> {
        read(&Source::new("t", text), 0)
    }

    fn tree(text: &str) -> Node {
        all(text).unwrap().remove(0)
    }

    /// What is said of a text that is wrong.
    fn told(text: &str) -> String {
        all(text).unwrap_err().into_error(&[Source::new("t", text)], &[]).message().to_owned()
    }

    #[test]
    fn scalars_are_what_kubernetes_takes_them_for() {
        let numbers = "a: 1\nb: -1\nc: 1.5\nd: yes\ne: \"1\"\nf: ~\ng: 00:0c:29:10:a9:6c\nh: 10:10:10:10:10:10\n80: x\n\
                       i: 0x1F\nj: 0127\nk: 1_000\nl: -0\nm: 18446744073709551616\nn: 1__0\no: +inf\np: NO\nq: .5e1\nr:\n";
        let root = tree(numbers);
        let get = |key| root.get(key).map(|node| node.value.clone()).unwrap();
        let text = |text: &str| Value::Text(text.to_owned());
        let pairs = [
            ("a", Value::Natural(1)),
            ("b", Value::Negative(-1)),
            ("c", Value::Float(1.5)),
            ("d", Value::Bool(true)),
            ("e", text("1")),
            ("f", Value::Null),
            ("g", text("00:0c:29:10:a9:6c")),
            ("h", text("10:10:10:10:10:10")),
            ("80", text("x")),
            ("i", Value::Natural(31)),
            ("j", Value::Float(127.0)),
            ("k", Value::Natural(1000)),
            ("l", Value::Natural(0)),
            ("m", Value::Float(18446744073709551616.0)),
            ("n", text("1__0")),
            ("o", text("+inf")),
            ("p", Value::Bool(false)),
            ("q", Value::Float(5.0)),
            ("r", Value::Null),
        ];
        for (key, value) in pairs {
            assert_eq!(get(key), value, "{key}");
        }
        assert_eq!(told("a: .inf"), "this is not YAML: value `.inf` is not a finite number");
        assert_eq!(told("a: 1e999"), "this is not YAML: value `1e999` is not a finite number");
    }

    #[test]
    fn tags_say_what_a_scalar_is() {
        let of = |text: &str| tree(&format!("a: {text}")).get("a").map(|node| node.value.clone()).unwrap();
        assert_eq!(of("!!str 1"), Value::Text("1".into()));
        assert_eq!(of("! 1"), Value::Text("1".into()));
        assert_eq!(of("!!int \"1\""), Value::Natural(1));
        assert_eq!(of("!!bool 'on'"), Value::Bool(true));
        assert_eq!(of("!!float 1"), Value::Float(1.0));
        assert_eq!(of("!!null x"), Value::Null);
        assert_eq!(of("!!binary aGVs\n  bG8="), Value::Text("hello".into()));
        assert_eq!(of("!own 1"), Value::Natural(1));
        for (text, what) in [
            ("a: !!int x", "`x` is no integer"),
            ("a: !!map x", "unsupported tag `!!map`"),
            ("a: !!str []", "unsupported tag `!!str`"),
            ("a: !!binary x", "invalid !!binary base64"),
            ("!!int 1: x", "cannot deserialize tagged scalar into string"),
            ("~: x", "null is not allowed here"),
            ("[a]: x", "expected string scalar"),
        ] {
            assert_eq!(told(text), format!("this is not YAML: {what}"), "{text}");
        }
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
    fn aliases_and_merge_keys_stand_for_what_is_written_elsewhere() {
        let text = "a: &a {x: 1, y: &y 2}\nb: {<<: *a, y: 3}\nc: {<<: [{x: 4}, *a], *y : *y}\n*y : z\n";
        let root = tree(text);
        let all_of = |node: &Node| match &node.value {
            Value::Map(entries) => entries.iter().map(|(key, node)| (key.name.clone(), node.value.clone())).collect(),
            _ => Vec::new(),
        };
        let own = |name: &str, number| (name.to_owned(), Value::Natural(number));
        assert_eq!(all_of(root.get("b").unwrap()), [own("y", 3), own("x", 1)]);
        assert_eq!(all_of(root.get("c").unwrap()), [own("2", 2), own("x", 4), own("y", 2)]);
        // The place of a value is where it is written.
        let at = text.find("2}").map(|at| at as u32);
        assert_eq!(root.get("c").and_then(|c| c.get("2")).map(|two| two.span(0).start), at);
        assert_eq!(root.get("2").map(|z| z.value.clone()), Some(Value::Text("z".into())));
        let often = tree(&format!("a: &a [1]\nb: [{}]\n", "*a,".repeat(1000)));
        assert!(matches!(often.get("b").map(|b| &b.value), Some(Value::List(items)) if items.len() == 1000));
        assert_eq!(told("a: &a {x: 1, x: 2}"), "`x` is given twice in one mapping");
        assert_eq!(told("a: {<<: 1}"), "this is not YAML: YAML merge value must be mapping or sequence of mappings");
        assert_eq!(told("a: &a [*a]"), "this is not YAML: Recursive reference not allowed here");
        assert_eq!(told("a: &a 1\n---\nb: *a"), "this is not YAML: reference to unknown value");
    }

    #[test]
    fn a_name_is_given_once_in_a_mapping_of_any_size() {
        let many: String = (0..40).map(|number| format!("k{number}: {number}\n")).collect();
        assert!(all(&many).is_ok());
        for number in [0, 15, 16, 17, 39] {
            assert_eq!(told(&format!("{many}k{number}: 1\n")), format!("`k{number}` is given twice in one mapping"));
        }
        let merged = tree(&format!("a: &a {{k39: 1, other: 2}}\nb:\n  <<: *a\n{}", many.replace("k", "  k")));
        let b = merged.get("b").unwrap();
        assert_eq!(b.get("k39").map(|node| node.value.clone()), Some(Value::Natural(39)));
        assert_eq!(b.get("other").map(|node| node.value.clone()), Some(Value::Natural(2)));
    }

    #[test]
    fn a_long_text_reads_the_same_in_halves() {
        let one = |number: usize| {
            format!("---\n# {number} ä\nname: n{number}\nlist:\n- {{a: {number}, b: [~, \"---\"]}}\nt: |\n  ---\n")
        };
        let text: String = (0..2000).map(one).collect();
        let whole = |text: &str| Composer::new(text, 0, 0).documents();
        assert!(halves(&text).is_some_and(|at| text[at..].starts_with("---\n# ")));
        assert_eq!(all(&text).unwrap(), whole(&text).unwrap());
        assert_eq!(all(&text).unwrap().len(), 2000);
        let windows = text.replace('\n', "\r\n");
        assert!(halves(&windows).is_some_and(|at| windows[at..].starts_with("---\r\n# ")));
        assert_eq!(all(&windows).unwrap(), whole(&windows).unwrap());
        // What goes wrong in a half is told as of the whole: an anchor is one of its own document.
        for wrong in ["a: [1,", "a: *x", "a: 1\na: 2"] {
            let text = format!("{}---\n{wrong}\n", text.replacen("name: n0", "name: &x n0", 1));
            let told = |wrong: Box<Complaint>| wrong.into_error(&[Source::new("t", &text)], &[]).to_string();
            assert_eq!(told(all(&text).unwrap_err()), told(whole(&text).unwrap_err()));
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
        assert_eq!(told(&bomb), "the YAML aliases expand to too many values");
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1024 * 1024), "*a,".repeat(100));
        assert_eq!(told(&long), "the YAML aliases expand to too many values");
        let deep = "the values are nested too deep";
        assert_eq!(told(&"[".repeat(100_000)), deep);
        assert_eq!(told(&format!("{}a", "- ".repeat(100_000))), deep);
        let half = format!("{}1{}", "[".repeat(15), "]".repeat(15));
        assert_eq!(told(&format!("- &a {half}\n- {}*a{}", "[".repeat(14), "]".repeat(14))), deep);
        assert!(all(&format!("- &a {half}\n- {}*a{}", "[".repeat(12), "]".repeat(12))).is_ok());
    }
}
