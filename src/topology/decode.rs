//! From a [`Node`] to a typed value, by serde: the fields, their types and their names come from the structs
//! of `cluster_file` and `manifests` alone, and so does the JSON Schema.
//!
//! This is an own `Deserializer` and not the YAML reader's, for three reasons: a document's kind decides its
//! type and may stand anywhere in it; every error must have a place, also "field missing"; and a field that
//! minik knows but does not support ([`Unsupported`]) is refused by its name.

use std::fmt;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{StrDeserializer, U32Deserializer};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use super::complaint::{Checked, Complaint, nearest, quote};
use super::source::Span;
use super::tree::{Key, Node, Value};

const SPANNED: &str = "minik::Spanned";
const UNSUPPORTED: &str = "minik::Unsupported";

/// A value with its place in the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spanned<T> {
    pub(super) value: T,
    pub(super) span: Span,
}


impl<T> Deref for Spanned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: JsonSchema> JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }
}

/// A field that Kubernetes has, whose value cannot matter to the network: anything goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ignored;

impl<'de> Deserialize<'de> for Ignored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Ignored, D::Error> {
        de::IgnoredAny::deserialize(deserializer).map(|_| Ignored)
    }
}

impl JsonSchema for Ignored {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Ignored".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "Accepted; it cannot matter to the network." })
    }
}

/// A field that would matter and that this version does not support: only its empty value passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unsupported;

impl<'de> Deserialize<'de> for Unsupported {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Unsupported, D::Error> {
        struct Nothing;
        impl<'de> Visitor<'de> for Nothing {
            type Value = Unsupported;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("nothing")
            }
            fn visit_unit<E>(self) -> Result<Unsupported, E> {
                Ok(Unsupported)
            }
        }
        deserializer.deserialize_unit_struct(UNSUPPORTED, Nothing)
    }
}

impl JsonSchema for Unsupported {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Unsupported".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Not in this version of minik: only an empty value is accepted.",
            "enum": [null, false, "", [], {}],
        })
    }
}

/// Decodes a document or a part of one.
pub(super) fn decode<'t, T: Deserialize<'t>>(node: &'t Node, source: u32) -> Checked<T> {
    T::deserialize(Decoder { node, source }).map_err(|wrong| wrong.into_complaint(node.span(source)))
}

/// Why a value could not be decoded.
#[derive(Debug)]
enum Reason {
    UnknownField { field: String, known: &'static [&'static str] },
    MissingField(&'static str),
    WrongType { found: String, expected: String, number: bool },
    OutOfRange { found: String, expected: String },
    UnsupportedField(String),
    Other(String),
}

/// A decoding error; the innermost value that it passes on its way up gives it its place.
#[derive(Debug)]
struct Wrong {
    span: Option<Span>,
    reason: Reason,
}

impl Wrong {
    fn new(reason: Reason) -> Wrong {
        Wrong { span: None, reason }
    }

    fn at(mut self, span: Span) -> Wrong {
        self.span.get_or_insert(span);
        self
    }

    /// Tells an unsupported value the name of its field.
    fn under(mut self, key: &str) -> Wrong {
        if let Reason::UnsupportedField(field) = &mut self.reason
            && field.is_empty()
        {
            *field = key.to_owned();
        }
        self
    }

    fn into_complaint(self, whole: Span) -> Box<Complaint> {
        let span = self.span.unwrap_or(whole);
        match self.reason {
            Reason::UnknownField { field, known } => {
                let complaint = Complaint::at(span, format!("unknown field {}", quote(&field)));
                match nearest(&field, known.iter().copied()) {
                    Some(name) => complaint.hint(format!("did you mean `{name}`?")),
                    None => complaint.hint(format!("the fields here are {}", known.join(", "))),
                }
            }
            Reason::MissingField(field) => {
                Complaint::at(span, format!("the field `{field}` is missing")).hint(format!("add `{field}:` here"))
            }
            Reason::WrongType { found, expected, number } => {
                let complaint = Complaint::at(span, format!("{found} stands where {expected} is expected"));
                match (number, expected.as_str()) {
                    (true, "text") => complaint.hint("put it in quotes"),
                    _ => complaint,
                }
            }
            Reason::OutOfRange { found, expected } => {
                Complaint::at(span, format!("{found} is out of range: {expected} is expected"))
            }
            Reason::UnsupportedField(field) => {
                Complaint::at(span, format!("the field {} is not supported by this version of minik", quote(&field)))
                    .hint("it would change what happens on the network; remove it")
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

/// The deserializer of one node.
#[derive(Clone, Copy)]
struct Decoder<'t> {
    node: &'t Node,
    source: u32,
}

impl<'t> Decoder<'t> {
    fn span(self) -> Span {
        self.node.span(self.source)
    }

    /// A list; nothing is an empty one, as for Kubernetes.
    fn list<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.value {
            Value::List(items) => visitor.visit_seq(Items { items: items.iter(), source: self.source }),
            Value::Null => visitor.visit_seq(Items { items: [].iter(), source: self.source }),
            _ => self.deserialize_any(visitor),
        }
        .map_err(|wrong| wrong.at(self.span()))
    }

    /// A mapping; nothing is an empty one, as for Kubernetes.
    fn map<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let entries = |entries: &'t [(Key, Node)]| Entries { entries: entries.iter(), value: None, source: self.source };
        match &self.node.value {
            Value::Map(list) => visitor.visit_map(entries(list)),
            Value::Null => visitor.visit_map(entries(&[])),
            _ => self.deserialize_any(visitor),
        }
        .map_err(|wrong| wrong.at(self.span()))
    }
}

impl<'de> Deserializer<'de> for Decoder<'de> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Negative(value) => visitor.visit_i64(*value),
            Value::Natural(value) => visitor.visit_u64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(value) => visitor.visit_borrowed_str(value),
            Value::List(items) => visitor.visit_seq(Items { items: items.iter(), source: self.source }),
            Value::Map(entries) => {
                visitor.visit_map(Entries { entries: entries.iter(), value: None, source: self.source })
            }
        }
        .map_err(|wrong| wrong.at(self.span()))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.list(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.map(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match &self.node.value {
            Value::List(_) => Err(de::Error::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.map(visitor),
        }
        .map_err(|wrong: Wrong| wrong.at(self.span()))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Wrong> {
        let harmless = match &self.node.value {
            Value::Null | Value::Bool(false) => true,
            Value::Text(text) => text.is_empty(),
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => entries.is_empty(),
            _ => false,
        };
        match name == UNSUPPORTED && !harmless {
            true => Err(Wrong::new(Reason::UnsupportedField(String::new()))),
            false => visitor.visit_unit(),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match name == SPANNED {
            true => visitor.visit_seq(SpannedParts { decoder: self, next: 0 }),
            false => self.list(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        newtype_struct tuple enum identifier
    }
}

/// The items of a list.
struct Items<'t> {
    items: std::slice::Iter<'t, Node>,
    source: u32,
}

impl<'t> SeqAccess<'t> for Items<'t> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'t>>(&mut self, seed: T) -> Result<Option<T::Value>, Wrong> {
        self.items.next().map(|node| seed.deserialize(Decoder { node, source: self.source })).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// The entries of a mapping.
struct Entries<'t> {
    entries: std::slice::Iter<'t, (Key, Node)>,
    value: Option<&'t (Key, Node)>,
    source: u32,
}

impl<'t> MapAccess<'t> for Entries<'t> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'t>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        self.value = self.entries.next();
        let Some((key, _)) = self.value else { return Ok(None) };
        let named = StrDeserializer::<Wrong>::new(&key.name);
        seed.deserialize(named).map(Some).map_err(|wrong| wrong.at(key.span(self.source)))
    }

    fn next_value_seed<V: DeserializeSeed<'t>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        let Some((key, node)) = self.value.take() else {
            return Err(de::Error::custom("a value was read before its key"));
        };
        let decoder = Decoder { node, source: self.source };
        seed.deserialize(decoder).map_err(|wrong| match &wrong.reason {
            Reason::UnsupportedField(field) if field.is_empty() => wrong.under(&key.name).at(key.span(self.source)),
            _ => wrong,
        })
    }
}

/// The parts of a [`Spanned`]: its place as three numbers, then the value.
struct SpannedParts<'t> {
    decoder: Decoder<'t>,
    next: u8,
}

impl<'t> SeqAccess<'t> for SpannedParts<'t> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'t>>(&mut self, seed: T) -> Result<Option<T::Value>, Wrong> {
        let span = self.decoder.span();
        self.next += 1;
        match self.next {
            1 => seed.deserialize(U32Deserializer::new(span.source)),
            2 => seed.deserialize(U32Deserializer::new(span.start)),
            3 => seed.deserialize(U32Deserializer::new(span.end)),
            4 => seed.deserialize(self.decoder),
            _ => return Ok(None),
        }
        .map(Some)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Spanned<T>, D::Error> {
        struct Parts<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Parts<T> {
            type Value = Spanned<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value with its place")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Spanned<T>, A::Error> {
                let short = || de::Error::custom("a place has three numbers");
                let source = parts.next_element()?.ok_or_else(short)?;
                let start = parts.next_element()?.ok_or_else(short)?;
                let end = parts.next_element()?.ok_or_else(short)?;
                let value = parts.next_element()?.ok_or_else(short)?;
                Ok(Spanned { value, span: Span { source, start, end } })
            }
        }
        deserializer.deserialize_tuple_struct(SPANNED, 4, Parts(std::marker::PhantomData))
    }
}
