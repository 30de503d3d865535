//! What a scalar of YAML stands for, by its tag, its style and its text: as Kubernetes reads it, which is YAML 1.1's
//! words for truth (`yes`, `on`) and else the core schema of YAML 1.2.2, chapter 10.3.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use granit_parser::{ScalarStyle, Tag};

use super::tree::Value;

/// What a scalar says of its type by a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// Nothing, or something that is not of YAML's own.
    Untold,
    Text,
    Integer,
    Float,
    Bool,
    Null,
    Binary,
    Merge,
}

/// A scalar as it is written.
#[derive(Debug, Clone)]
pub(super) struct Scalar<'t> {
    /// Its text, with escapes and folds undone.
    text: Cow<'t, str>,
    /// Whether it is neither quoted nor a block.
    plain: bool,
    sort: Sort,
}

impl<'t> Scalar<'t> {
    /// A scalar of its parts. The error says what is wrong with its tag.
    pub(super) fn new(text: Cow<'t, str>, style: ScalarStyle, tag: Option<&Tag>) -> Result<Scalar<'t>, String> {
        let sort = tag.map_or(Ok(Sort::Untold), sort_of)?;
        Ok(Scalar { text, plain: style == ScalarStyle::Plain, sort })
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether it is the key `<<`, whose value is merged into the mapping around it (YAML 1.1, `!!merge`).
    pub(super) fn is_merge(&self) -> bool {
        self.text == "<<" && (self.sort == Sort::Merge || (self.plain && self.sort == Sort::Untold))
    }

    /// What it is as a key: its text, whatever that would be as a value. The error says why it is none.
    pub(super) fn name(self) -> Result<String, String> {
        match self.sort {
            Sort::Text => Ok(self.text.into_owned()),
            Sort::Null => Err(NO_NULL.to_owned()),
            Sort::Untold | Sort::Merge if self.plain && is_null(&self.text) => Err(NO_NULL.to_owned()),
            Sort::Untold | Sort::Merge => Ok(self.text.into_owned()),
            Sort::Binary => binary(&self.text),
            Sort::Integer | Sort::Float | Sort::Bool => Err("cannot deserialize tagged scalar into string".to_owned()),
        }
    }

    /// What it is as a value. The error says why it is not what its tag says.
    pub(super) fn value(self) -> Result<Value, String> {
        let told = || self.text.trim_matches([' ', '\t', '\r', '\n']);
        let wrong = |what: &str| format!("`{}` is no {what}", self.text);
        match self.sort {
            Sort::Untold if self.plain => plain(self.text),
            Sort::Untold | Sort::Text | Sort::Merge => Ok(Value::Text(self.text.into_owned())),
            Sort::Null => Ok(Value::Null),
            Sort::Bool => boolean(told()).map(Value::Bool).ok_or_else(|| wrong("boolean")),
            Sort::Integer => integer(told()).ok_or_else(|| wrong("integer")),
            Sort::Float => float(told()).ok_or_else(|| wrong("number"))?,
            Sort::Binary => binary(&self.text).map(Value::Text),
        }
    }
}

/// Where YAML's own tags are from: `!!str` is `tag:yaml.org,2002:str`.
const YAML: &str = "tag:yaml.org,2002:";

const NO_NULL: &str = "null is not allowed here";

/// The type that a tag of a scalar tells.
fn sort_of(tag: &Tag) -> Result<Sort, String> {
    let own = match tag.suffix_in_namespace(YAML) {
        Some(own) => own,
        // A lone `!` says that the scalar is text.
        None if tag.to_string() == "!" => return Ok(Sort::Text),
        None => return Ok(Sort::Untold),
    };
    Ok(match &*own {
        "str" => Sort::Text,
        "int" => Sort::Integer,
        "float" => Sort::Float,
        "bool" => Sort::Bool,
        "null" => Sort::Null,
        "binary" => Sort::Binary,
        "merge" => Sort::Merge,
        "seq" | "map" => return Err(unsupported(tag)),
        _ => Sort::Untold,
    })
}

/// Whether a tag fits a collection, of which YAML's own is `seq` or `map`. The error says that it does not.
pub(super) fn check_collection(tag: Option<&Tag>, own: &str) -> Result<(), String> {
    let others = ["seq", "map", "str", "int", "float", "bool", "null", "binary", "merge"];
    let of_another = |tag: &&Tag| match tag.suffix_in_namespace(YAML) {
        Some(said) => said != own && others.contains(&&*said),
        None => false,
    };
    tag.filter(of_another).map_or(Ok(()), |tag| Err(unsupported(tag)))
}

fn unsupported(tag: &Tag) -> String {
    format!("unsupported tag `{}`", tag.original())
}

/// A plain scalar: nothing, truth, a number, or else text. What it can be shows in its first byte.
fn plain(text: Cow<'_, str>) -> Result<Value, String> {
    let found = match text.as_bytes().first() {
        None | Some(b'~' | b'n' | b'N') if is_null(&text) => Some(Value::Null),
        Some(b't' | b'T' | b'f' | b'F' | b'y' | b'Y' | b'n' | b'N' | b'o' | b'O') => boolean(&text).map(Value::Bool),
        Some(b'0'..=b'9' | b'+' | b'-' | b'.') => match integer(&text) {
            Some(number) => Some(number),
            None => float(&text).transpose()?,
        },
        _ => None,
    };
    Ok(found.unwrap_or_else(|| Value::Text(text.into_owned())))
}

fn is_null(text: &str) -> bool {
    text.is_empty() || text == "~" || text.eq_ignore_ascii_case("null")
}

fn boolean(text: &str) -> Option<bool> {
    let is = |words: [&str; 4]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    match text.len() <= "false".len() {
        true if is(["true", "yes", "y", "on"]) => Some(true),
        true if is(["false", "no", "n", "off"]) => Some(false),
        _ => None,
    }
}

/// A number without a fraction: decimal without a leading zero, or `0x`, `0o`, `0b`; `_` may stand between digits.
fn integer(text: &str) -> Option<Value> {
    let (negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = match rest.as_bytes() {
        [b'0'] => 0,
        [b'0', b'x' | b'X', ..] => digits(&rest[2..], 16)?,
        [b'0', b'o' | b'O', ..] => digits(&rest[2..], 8)?,
        [b'0', b'b' | b'B', ..] => digits(&rest[2..], 2)?,
        [b'0', ..] => return None,
        _ => digits(rest, 10)?,
    };
    match negative {
        false => Some(Value::Natural(magnitude)),
        true if magnitude == 0 => Some(Value::Natural(0)),
        true => 0i64.checked_sub_unsigned(magnitude).map(Value::Negative),
    }
}

fn digits(text: &str, radix: u32) -> Option<u64> {
    if text.starts_with('_') || text.ends_with('_') || text.contains("__") {
        return None;
    }
    let mut sum: Option<u64> = None;
    for digit in text.chars().filter(|c| *c != '_') {
        let more = sum.unwrap_or(0).checked_mul(u64::from(radix))?;
        sum = Some(more.checked_add(u64::from(digit.to_digit(radix)?))?);
    }
    sum
}

/// A number with a fraction or exponent; the error says that it is not finite, for which JSON has no word.
fn float(text: &str) -> Option<Result<Value, String>> {
    let infinite = || Some(Err(format!("value `{text}` is not a finite number")));
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned.eq_ignore_ascii_case(".inf") || unsigned.eq_ignore_ascii_case(".nan") {
        return infinite();
    }
    // Rust would read `inf` and `nan` as well, which are words in YAML.
    if !unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Some(Ok(Value::Float(number))),
        Ok(_) => infinite(),
        Err(_) => None,
    }
}

/// The text of `!!binary`.
fn binary(text: &str) -> Result<String, String> {
    let packed: String = text.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(packed).map_err(|_| "invalid !!binary base64".to_owned())?;
    String::from_utf8(bytes)
        .map_err(|_| "!!binary scalar is not valid UTF-8 so cannot be stored into string".to_owned())
}
