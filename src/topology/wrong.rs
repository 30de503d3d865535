//! Why a value of the input does not fit its type, in words of the input and not of Rust.

use std::fmt;

use serde::de::{self, Unexpected};

use super::complaint::{Complaint, nearest, quote};
use super::source::Span;

/// Why a value could not be decoded.
#[derive(Debug)]
pub(super) enum Reason {
    UnknownField { field: String, known: &'static [&'static str] },
    MissingField(&'static str),
    WrongType { found: String, expected: String, number: bool },
    OutOfRange { found: String, expected: String },
    UnsupportedField(String),
    Other(String),
}

/// A decoding error; the innermost value that it passes on its way up gives it its place.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) span: Option<Span>,
    pub(super) reason: Reason,
}

impl Wrong {
    pub(super) fn new(reason: Reason) -> Wrong {
        Wrong { span: None, reason }
    }

    pub(super) fn at(mut self, span: Span) -> Wrong {
        self.span.get_or_insert(span);
        self
    }

    /// Tells an unsupported value the name of its field.
    pub(super) fn under(mut self, key: &str) -> Wrong {
        if let Reason::UnsupportedField(field) = &mut self.reason
            && field.is_empty()
        {
            *field = key.to_owned();
        }
        self
    }

    /// The complaint; `whole` is its place if nothing smaller is known.
    pub(super) fn into_complaint(self, whole: Span) -> Box<Complaint> {
        let span = self.span.unwrap_or(whole);
        match self.reason {
            Reason::UnknownField { field, known } => {
                let complaint = Complaint::at(span, format!("unknown field {}", quote(&field)));
                match nearest(&field, known.iter().copied()) {
                    Some(name) => complaint.hint(format!("did you mean `{name}`?")),
                    None => complaint.hint(format!("the fields here are {}", known.join(", "))),
                }
            }
            Reason::MissingField(field) => Complaint::at_whole(span, format!("the field `{field}` is missing"))
                .hint(format!("add `{field}:` here")),
            Reason::WrongType { found, expected, number } => {
                let cure = match (number, expected.as_str()) {
                    (true, "text") => "put it in quotes",
                    (false, "text") => "write one word or number in quotes",
                    (_, "true, false or options") => "write `true`, `false`, or lines of `name: value` below",
                    (_, "a list") => "begin every item with `- `",
                    (_, "a mapping") => "write lines of `name: value`",
                    _ if found.starts_with("the text") => "write it without quotes",
                    (_, "`true` or `false`") => "write one of these two words",
                    _ => "write a whole number, without a fraction or exponent",
                };
                Complaint::at_whole(span, format!("{found} stands where {expected} is expected")).hint(cure)
            }
            Reason::OutOfRange { found, expected } => {
                Complaint::at(span, format!("{found} is out of range")).hint(format!("write {expected}"))
            }
            Reason::UnsupportedField(field) => {
                Complaint::at(span, format!("the field {} is not supported by this version of minik", quote(&field)))
                    .hint("remove it: minik would not do what it says")
            }
            Reason::Other(text) => Complaint::at(span, text),
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.reason)
    }
}

impl std::error::Error for Wrong {}

impl de::Error for Wrong {
    fn custom<T: fmt::Display>(text: T) -> Wrong {
        Wrong::new(Reason::Other(text.to_string()))
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Wrong {
        Wrong::new(Reason::UnknownField { field: field.to_owned(), known })
    }

    fn missing_field(field: &'static str) -> Wrong {
        Wrong::new(Reason::MissingField(field))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Wrong {
        let number = matches!(
            found,
            Unexpected::Bool(_) | Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_)
        );
        let reason =
            Reason::WrongType { found: found_words(found), expected: expected_words(&expected.to_string()), number };
        Wrong::new(reason)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Wrong {
        Wrong::new(Reason::OutOfRange { found: found_words(found), expected: expected_words(&expected.to_string()) })
    }
}

fn found_words(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(value) => format!("the number {value}"),
        Unexpected::Signed(value) => format!("the number {value}"),
        Unexpected::Float(value) => format!("the number {value}"),
        Unexpected::Str(value) => format!("the text {}", quote(value)),
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a mapping".to_owned(),
        other => other.to_string(),
    }
}

/// serde's and Rust's words for what is expected, in words of YAML.
fn expected_words(expected: &str) -> String {
    match expected {
        "a string" => "text".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a mapping".to_owned(),
        "u8" => "a whole number from 0 to 255".to_owned(),
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "u32" => "a whole number from 0 to 4294967295".to_owned(),
        "i64" => "a whole number".to_owned(),
        other if other.starts_with("struct ") => "a mapping".to_owned(),
        other => other.to_owned(),
    }
}
