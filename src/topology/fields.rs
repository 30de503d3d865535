//! What the fields of the raw structs are made of: values with their place, fields that do not matter, fields
//! that are refused.

use std::fmt;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use super::source::Span;

/// Name by which a [`Spanned`] asks the decoder for a value's place.
pub(super) const SPANNED: &str = "minik::Spanned";

/// Name by which an [`Unsupported`] asks the decoder to refuse a value.
pub(super) const UNSUPPORTED: &str = "minik::Unsupported";

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
