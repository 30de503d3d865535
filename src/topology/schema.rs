//! The JSON Schema of the input language, from the very types that read it.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::documents::KINDS;

/// The JSON Schema (2020-12) of one document: a `Cluster`, a Kubernetes object, or a `List` of them.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut choices: Vec<Value> = KINDS
        .iter()
        .map(|kind| {
            let own = (kind.schema)(&mut generator);
            let named = json!({ "apiVersion": { "enum": kind.versions }, "kind": { "const": kind.name } });
            json!({ "title": kind.name, "allOf": [own, { "properties": named }] })
        })
        .collect();
    choices.push(json!({
        "title": "List",
        "type": "object",
        "properties": {
            "apiVersion": { "const": "v1" },
            "kind": { "const": "List" },
            "items": { "type": "array", "items": { "$ref": "#" } },
        },
        "required": ["apiVersion", "kind"],
    }));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "minik topology document",
        "description": "One document of a topology file; a file has several, separated by `---`, one of kind Cluster.",
        "oneOf": choices,
        "$defs": generator.take_definitions(true),
    })
}
