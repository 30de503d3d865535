//! Calico's selectors: `rack == 'a' && has(ssd)` (libcalico-go v3.18, lib/selector). PURE.
//!
//! ```text
//!  expr := and ('||' and)*        and := op ('&&' op)*        op := '!'* atom
//!  atom := all() | global() | has(LABEL) | (expr) | LABEL == STR | LABEL != STR | LABEL in {STR, …}
//!        | LABEL not in {STR, …} | LABEL contains STR | LABEL starts with STR | LABEL ends with STR
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Serialize, Serializer};

/// Longest label in bytes that Calico's tokenizer takes.
const LABEL_MAX: usize = 512;
/// Parentheses inside of each other: more than anybody writes, and few enough for a thread's stack.
const DEPTH_MAX: usize = 64;

/// A selector of Calico's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    text: String,
    root: Expression,
}

/// Why a text is no selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongSelector {
    /// What was found, or is missing.
    pub what: String,
    /// Where, in characters from the beginning, counted from 1.
    pub at: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expression {
    All,
    Global,
    Has(String),
    /// A label's value compared; the flag is what a missing label gives.
    Is(String, Comparison),
    Not(Box<Expression>),
    And(Vec<Expression>),
    Or(Vec<Expression>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Comparison {
    Equal(String),
    NotEqual(String),
    Contains(String),
    StartsWith(String),
    EndsWith(String),
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
}

impl Selector {
    /// The selector that a text is; an empty text is `all()`.
    ///
    /// # Errors
    /// What is wrong with it, and at which character.
    pub fn parse(text: &str) -> Result<Selector, WrongSelector> {
        let mut reader = Reader { text, at: 0, depth: 0 };
        reader.blank();
        if reader.rest().is_empty() {
            return Ok(Selector::all());
        }
        let root = reader.expression()?;
        reader.blank();
        match reader.rest().chars().next() {
            None => Ok(Selector { text: text.trim().to_owned(), root }),
            Some(c) => Err(reader.wrong(format!("`{}` is not expected", c.escape_debug()))),
        }
    }

    /// `all()`.
    pub fn all() -> Selector {
        Selector { text: "all()".to_owned(), root: Expression::All }
    }

    /// Whether something with these labels is selected.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.root.matches(labels)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// As Calico writes it anew, the text that names of sets are hashed from.
    pub fn canonical(&self) -> String {
        self.root.to_string()
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl Expression {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Expression::All | Expression::Global => true,
            Expression::Has(label) => labels.contains_key(label),
            Expression::Is(label, comparison) => comparison.holds(labels.get(label).map(String::as_str)),
            Expression::Not(inner) => !inner.matches(labels),
            Expression::And(parts) => parts.iter().all(|part| part.matches(labels)),
            Expression::Or(parts) => parts.iter().any(|part| part.matches(labels)),
        }
    }
}

impl Comparison {
    /// A label that is not there is unequal to everything and in no set.
    fn holds(&self, value: Option<&str>) -> bool {
        match self {
            Comparison::Equal(wanted) => value == Some(wanted),
            Comparison::NotEqual(unwanted) => value != Some(unwanted),
            Comparison::Contains(part) => value.is_some_and(|value| value.contains(part.as_str())),
            Comparison::StartsWith(start) => value.is_some_and(|value| value.starts_with(start.as_str())),
            Comparison::EndsWith(end) => value.is_some_and(|value| value.ends_with(end.as_str())),
            Comparison::In(set) => value.is_some_and(|value| set.contains(value)),
            Comparison::NotIn(set) => !value.is_some_and(|value| set.contains(value)),
        }
    }
}

/// As Calico writes it: groups in parentheses, strings in double quotes, sets sorted.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = |f: &mut fmt::Formatter<'_>, parts: &[Expression], word: &str| {
            let parts: Vec<String> = parts.iter().map(Expression::to_string).collect();
            write!(f, "({})", parts.join(word))
        };
        match self {
            Expression::All => f.write_str("all()"),
            Expression::Global => f.write_str("global()"),
            Expression::Has(label) => write!(f, "has({label})"),
            Expression::Is(label, comparison) => write!(f, "{label} {comparison}"),
            Expression::Not(inner) => write!(f, "!{inner}"),
            Expression::And(parts) => group(f, parts, " && "),
            Expression::Or(parts) => group(f, parts, " || "),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = |values: &BTreeSet<String>| values.iter().map(|value| quoted(value)).collect::<Vec<_>>().join(", ");
        match self {
            Comparison::Equal(value) => write!(f, "== {}", quoted(value)),
            Comparison::NotEqual(value) => write!(f, "!= {}", quoted(value)),
            Comparison::Contains(value) => write!(f, "contains {}", quoted(value)),
            Comparison::StartsWith(value) => write!(f, "starts with {}", quoted(value)),
            Comparison::EndsWith(value) => write!(f, "ends with {}", quoted(value)),
            Comparison::In(values) => write!(f, "in {{{}}}", set(values)),
            Comparison::NotIn(values) => write!(f, "not in {{{}}}", set(values)),
        }
    }
}

fn quoted(value: &str) -> String {
    if value.contains('"') { format!("'{value}'") } else { format!("\"{value}\"") }
}

/// Reads a selector from left to right.
struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn blank(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches([' ', '\t']).len();
    }

    fn wrong(&self, what: impl Into<String>) -> WrongSelector {
        WrongSelector { what: what.into(), at: self.text[..self.at].chars().count() + 1 }
    }

    /// Takes `token`, and blanks before it, if it comes next.
    fn take(&mut self, token: &str) -> bool {
        self.blank();
        let comes = self.rest().starts_with(token);
        self.at += if comes { token.len() } else { 0 };
        comes
    }

    fn need(&mut self, token: &str) -> Result<(), WrongSelector> {
        if self.take(token) { Ok(()) } else { Err(self.wrong(format!("`{token}` is missing"))) }
    }

    fn expression(&mut self) -> Result<Expression, WrongSelector> {
        self.several("||", Expression::Or, |reader| reader.several("&&", Expression::And, Reader::operation))
    }

    /// One part, or several with `word` between them.
    fn several(
        &mut self,
        word: &str,
        group: fn(Vec<Expression>) -> Expression,
        part: impl Fn(&mut Self) -> Result<Expression, WrongSelector>,
    ) -> Result<Expression, WrongSelector> {
        let first = part(self)?;
        let mut more = Vec::new();
        while self.take(word) {
            more.push(part(self)?);
        }
        Ok(if more.is_empty() { first } else { group(std::iter::once(first).chain(more).collect()) })
    }

    /// Two `!` cancel each other.
    fn operation(&mut self) -> Result<Expression, WrongSelector> {
        let mut negated = false;
        while self.take("!") {
            negated = !negated;
        }
        let atom = self.atom()?;
        Ok(if negated { Expression::Not(Box::new(atom)) } else { atom })
    }

    fn atom(&mut self) -> Result<Expression, WrongSelector> {
        if self.take("(") {
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return Err(self.wrong(format!("more than {DEPTH_MAX} parentheses inside of each other")));
            }
            let inner = self.expression()?;
            self.depth -= 1;
            return self.need(")").map(|()| inner);
        }
        let label = self.label()?;
        if self.rest().starts_with('(') && matches!(label, "all" | "global" | "has") {
            self.need("(")?;
            let call = match label {
                "all" => Expression::All,
                "global" => Expression::Global,
                _ => {
                    self.blank();
                    Expression::Has(self.label()?.to_owned())
                }
            };
            return self.need(")").map(|()| call);
        }
        Ok(Expression::Is(label.to_owned(), self.comparison(label)?))
    }

    fn label(&mut self) -> Result<&'t str, WrongSelector> {
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_./-".contains(c))).unwrap_or(rest.len());
        match end {
            0 => Err(self.wrong("a label, `has(…)`, `all()` or `(` is missing")),
            1..=LABEL_MAX => {
                self.at += end;
                Ok(&rest[..end])
            }
            _ => Err(self.wrong(format!("a label of more than {LABEL_MAX} characters"))),
        }
    }

    /// Takes a word that ends where no label could go on.
    fn word(&mut self, word: &str) -> bool {
        let before = self.at;
        let taken = self.take(word) && !self.rest().starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        self.at = if taken { self.at } else { before };
        taken
    }

    /// Two words with or without a blank between them.
    fn words(&mut self, first: &str, second: &str) -> bool {
        let before = self.at;
        let taken = self.take(first) && self.word(second);
        self.at = if taken { self.at } else { before };
        taken
    }

    fn comparison(&mut self, label: &str) -> Result<Comparison, WrongSelector> {
        if self.take("==") {
            self.string().map(Comparison::Equal)
        } else if self.take("!=") {
            self.string().map(Comparison::NotEqual)
        } else if self.word("contains") {
            self.string().map(Comparison::Contains)
        } else if self.words("starts", "with") {
            self.string().map(Comparison::StartsWith)
        } else if self.words("ends", "with") {
            self.string().map(Comparison::EndsWith)
        } else if self.words("not", "in") {
            self.set().map(Comparison::NotIn)
        } else if self.word("in") {
            self.set().map(Comparison::In)
        } else {
            Err(self
                .wrong(format!("`{label}` is compared with nothing: `==`, `!=`, `in` or another operator is missing")))
        }
    }

    fn string(&mut self) -> Result<String, WrongSelector> {
        self.blank();
        let Some(quote) = self.rest().chars().next().filter(|c| matches!(c, '\'' | '"')) else {
            return Err(self.wrong("a string in quotes is missing"));
        };
        let inside = &self.rest()[1..];
        let Some(end) = inside.find(quote) else { return Err(self.wrong("the string has no end")) };
        self.at += end + 2;
        Ok(inside[..end].to_owned())
    }

    fn set(&mut self) -> Result<BTreeSet<String>, WrongSelector> {
        self.need("{")?;
        let mut values = BTreeSet::new();
        if self.take("}") {
            return Ok(values);
        }
        loop {
            values.insert(self.string()?);
            if !self.take(",") {
                return self.need("}").map(|()| values);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(text: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Selector::parse(text).unwrap().matches(&labels)
    }

    #[test]
    fn comparisons_hold_as_calico_s() {
        let node = [("rack", "a-1"), ("in", "x")];
        for yes in [
            "",
            "all()",
            " all( ) ",
            "rack == 'a-1'",
            "rack != \"b\"",
            "has(rack)",
            "!has(zone)",
            "zone != 'a'",
            "zone not in {'a'}",
            "zone notin {'a'}",
            "rack in { 'b' , \"a-1\" }",
            "rack contains '-'",
            "rack starts with 'a'",
            "rack startswith 'a'",
            "rack ends with '1'",
            "in == 'x'",
            "in in {'x'}",
            "!!has(rack)",
            "has(zone) || rack == 'a-1' && in == 'x'",
            "(has(zone) || has(rack)) && !(in == 'y')",
        ] {
            assert!(matches(yes, &node), "{yes}");
        }
        for no in ["zone == 'a'", "zone contains ''", "rack in {}", "!all()", "has(zone) || has(x)", "!(has(rack))"] {
            assert!(!matches(no, &node), "{no}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, at, what) in [
            ("rack = 'a'", 6, "compared with nothing"),
            ("rack == a", 9, "a string in quotes"),
            ("rack == 'a", 9, "no end"),
            ("rack in {'a'", 13, "`}` is missing"),
            ("(all()", 7, "`)` is missing"),
            ("all() all()", 7, "`a` is not expected"),
            ("&& all()", 1, "a label"),
            ("has()", 5, "a label"),
            ("ä == 'a'", 1, "a label"),
            ("all() && ", 10, "a label"),
        ] {
            let wrong = Selector::parse(text).unwrap_err();
            assert!(wrong.at == at && wrong.what.contains(what), "{text}: {wrong:?}");
        }
        assert!(Selector::parse(&"(".repeat(100_000)).is_err());
        assert!(Selector::parse(&format!("{}all()", "!".repeat(100_001))).is_ok_and(|s| s.canonical() == "!all()"));
        assert!(Selector::parse(&"a".repeat(513)).is_err());
    }

    #[test]
    fn the_canonical_text_is_the_published_one() {
        let text = "projectcalico.org/namespace=='default' && (projectcalico.org/orchestrator == \"k8s\" && networking/allow-db-access=='true')";
        let canonical = r#"(projectcalico.org/namespace == "default" && (projectcalico.org/orchestrator == "k8s" && networking/allow-db-access == "true"))"#;
        assert_eq!(Selector::parse(text).unwrap().canonical(), canonical);
        let set = Selector::parse("x not in {'b', 'a', \"a\"} || y == 'say \"no\"'").unwrap();
        assert_eq!(set.canonical(), r#"(x not in {"a", "b"} || y == 'say "no"')"#);
    }
}
