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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde::Deserialize;
    use serde::de::value::Error as PlainError;
    use serde::de::{self, Deserializer, Visitor};

    use super::super::{cluster_file, line, manifests, options, pod_spec, routers, service_spec};

    /// Asks a type for the names of its fields: the list that `deny_unknown_fields` checks against.
    struct FieldNames<'a>(&'a mut Option<(&'static str, &'static [&'static str])>);

    impl<'de> Deserializer<'de> for FieldNames<'_> {
        type Error = PlainError;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, PlainError> {
            Err(de::Error::custom("not a struct"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            name: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, PlainError> {
            *self.0 = Some((name, fields));
            Err(de::Error::custom("seen"))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    fn fields_of<T: for<'de> Deserialize<'de>>(all: &mut BTreeMap<String, BTreeSet<String>>) {
        let mut seen = None;
        assert!(T::deserialize(FieldNames(&mut seen)).is_err());
        let (name, fields) = seen.unwrap();
        all.insert(name.to_owned(), fields.iter().map(|field| (*field).to_owned()).collect());
    }

    #[test]
    fn the_schema_has_exactly_the_fields_that_are_accepted() {
        let mut accepted = BTreeMap::new();
        macro_rules! types {
            ($($name:path),* $(,)?) => { $(fields_of::<$name>(&mut accepted);)* };
        }
        types!(
            cluster_file::ClusterDocument,
            cluster_file::ClusterMetadata,
            cluster_file::ClusterSpec,
            cluster_file::SegmentEntry,
            cluster_file::NodeEntry,
            cluster_file::ClientEntry,
            cluster_file::RouteEntry,
            routers::RouterEntry,
            routers::InterfaceEntry,
            line::LinkEntry,
            cluster_file::NetworkEntry,
            cluster_file::PoolEntry,
            cluster_file::FlannelEntry,
            options::KubenetEntry,
            options::KubeRouterEntry,
            cluster_file::ProxyEntry,
            cluster_file::IpvsEntry,
            cluster_file::DnsOptions,
            manifests::Metadata,
            manifests::NamespaceObject,
            manifests::PodObject,
            manifests::DeploymentObject,
            manifests::ReplicaSetObject,
            manifests::DaemonSetObject,
            manifests::StatefulSetObject,
            manifests::DeploymentSpec,
            manifests::ReplicaSetSpec,
            manifests::DaemonSetSpec,
            manifests::StatefulSetSpec,
            manifests::IpPoolObject,
            manifests::IpPoolSpec,
            manifests::ConfigMapObject,
            pod_spec::Selector,
            pod_spec::Expression,
            pod_spec::Template,
            pod_spec::PodSpec,
            pod_spec::PodSecurityContext,
            pod_spec::DnsConfigEntry,
            pod_spec::DnsOptionEntry,
            pod_spec::ContainerEntry,
            pod_spec::PortEntry,
            pod_spec::EnvEntry,
            service_spec::ServiceObject,
            service_spec::ServiceSpec,
            service_spec::ServicePortEntry,
            service_spec::SessionAffinityConfig,
            service_spec::ClientIpConfig,
            service_spec::ServiceStatus,
            service_spec::LoadBalancerStatus,
            service_spec::IngressEntry,
            service_spec::EndpointsObject,
            service_spec::SubsetEntry,
            service_spec::SubsetAddress,
            service_spec::EndpointSliceObject,
            service_spec::SlicePortEntry,
            service_spec::EndpointEntry,
            service_spec::EndpointConditions,
            service_spec::TargetRef,
            service_spec::EndpointHints,
            service_spec::ForZone,
        );
        let schema = super::schema();
        let mut described = BTreeMap::new();
        for (name, definition) in schema["$defs"].as_object().unwrap() {
            assert_eq!(definition["additionalProperties"], false, "{name} takes any field");
            let properties: BTreeSet<String> = definition["properties"].as_object().unwrap().keys().cloned().collect();
            described.insert(name.clone(), properties);
        }
        assert_eq!(described, accepted);
    }
}
