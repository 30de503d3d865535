//! From a [`Node`] to a typed value, by serde: the fields, their types and their names come from the structs
//! of `cluster_file` and `manifests` alone, and so does the JSON Schema.
//!
//! This is an own `Deserializer` and not the YAML reader's, for three reasons: a document's kind decides its
//! type and may stand anywhere in it; every error must have a place, also "field missing"; and a field that
//! minik knows but does not support (`Unsupported`) is refused by its name.

use serde::de::value::{StrDeserializer, U32Deserializer};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use super::complaint::Checked;
use super::fields::{SPANNED, UNSUPPORTED};
use super::source::Span;
use super::tree::{Key, Node, Value};
use super::wrong::{Reason, Wrong};

/// Decodes a document or a part of one.
pub(super) fn decode<'t, T: Deserialize<'t>>(node: &'t Node, source: u32) -> Checked<T> {
    T::deserialize(Decoder { node, source }).map_err(|wrong| wrong.into_complaint(node.span(source)))
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
        let entries =
            |entries: &'t [(Key, Node)]| Entries { entries: entries.iter(), value: None, source: self.source };
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
