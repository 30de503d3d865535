//! What `-l` chooses by, in kubectl's words: `app=web,tier!=x,env in (a,b),disk,!old` (apimachinery, labels.Parse).

use serde_json::Value;

use crate::error::{Error, Kind, Result};

/// Requirements on labels; all of them must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Requirements(Vec<Requirement>);

/// What is asked of one label.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    asked: Asked,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    /// It is there.
    Exists,
    /// It is not there.
    Absent,
    /// It has one of these values.
    In(Vec<String>),
    /// It has none of these values, or is not there.
    NotIn(Vec<String>),
}

impl Requirements {
    /// Reads a selector.
    ///
    /// # Errors
    /// Of [`Kind::Usage`] if it is none.
    pub(super) fn parse(text: &str) -> Result<Requirements> {
        let wrong = |part: &str| {
            Error::new(Kind::Usage, format!("`{part}` of the selector `{text}` is no requirement on a label"))
                .hint("as kubectl has them: `app=web,tier!=x,env in (a,b),env notin (c),disk,!old`")
        };
        parts(text)
            .into_iter()
            .map(|part| requirement(part).ok_or_else(|| wrong(part)))
            .collect::<Result<_>>()
            .map(Self)
    }

    /// Whether an object's labels meet all of them.
    pub(super) fn hold_for(&self, object: &Value) -> bool {
        self.0.iter().all(|Requirement { key, asked }| {
            let value = object["metadata"]["labels"][key].as_str();
            let is_one_of = |values: &[String]| value.is_some_and(|value| values.iter().any(|one| one == value));
            match asked {
                Asked::Exists => value.is_some(),
                Asked::Absent => value.is_none(),
                Asked::In(values) => is_one_of(values),
                Asked::NotIn(values) => !is_one_of(values),
            }
        })
    }
}

/// The parts between commas that are in no parentheses.
fn parts(text: &str) -> Vec<&str> {
    let mut is_inside = false;
    let split = text.split(move |c| {
        is_inside = (is_inside || c == '(') && c != ')';
        c == ',' && !is_inside
    });
    split.map(str::trim).collect()
}

fn requirement(part: &str) -> Option<Requirement> {
    let values = |list: &str| -> Option<Vec<String>> {
        let list = list.trim().strip_prefix('(')?.strip_suffix(')')?;
        list.split(',').map(|value| value_of(value.trim())).collect()
    };
    let one = |value: &str| value_of(value.trim()).map(|value| vec![value]);
    let (key, asked) = if let Some((key, value)) = part.split_once("!=") {
        (key, Asked::NotIn(one(value)?))
    } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        (key, Asked::In(one(value)?))
    } else if let Some(key) = part.strip_prefix('!') {
        (key, Asked::Absent)
    } else if let Some((key, list)) = part.split_once(" notin ") {
        (key, Asked::NotIn(values(list)?))
    } else if let Some((key, list)) = part.split_once(" in ") {
        (key, Asked::In(values(list)?))
    } else {
        (part, Asked::Exists)
    };
    let key = key.trim();
    (!key.is_empty() && key.chars().all(is_of_label)).then(|| Requirement { key: key.to_owned(), asked })
}

/// A label's value; it may be empty.
fn value_of(text: &str) -> Option<String> {
    text.chars().all(|c| is_of_label(c) && c != '/').then(|| text.to_owned())
}

fn is_of_label(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_are_kubectls() {
        let object = json!({ "metadata": { "labels": { "app": "web", "tier": "front", "k8s.io/os": "linux" } } });
        let cases = [
            ("app=web", true),
            ("app==web,tier=front", true),
            ("app = web , k8s.io/os=linux", true),
            ("app=web,tier=back", false),
            ("app!=web", false),
            ("env!=prod", true),
            ("tier in (back, front),app", true),
            ("tier notin (back,front)", false),
            ("env notin (prod)", true),
            ("!app", false),
            ("!env", true),
            ("app=", false),
        ];
        for (text, expected) in cases {
            assert_eq!(Requirements::parse(text).expect(text).hold_for(&object), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in ["", "app=web,", "=web", "app in web", "app in (web", "a b", "app=we/b", "!"] {
            let error = Requirements::parse(text).expect_err(text).to_string();
            assert!(error.contains("no requirement on a label"), "{text}: {error}");
        }
    }
}
