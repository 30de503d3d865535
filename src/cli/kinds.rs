//! The kinds of objects that can be changed, by the words that kubectl takes for them.

use crate::error::{Error, Kind, Result};
use crate::topology::{Reference, nearest};

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ObjectKind {
    /// As manifests spell it.
    pub(super) name: &'static str,
    /// As kubectl prints it before a name: `deployment.apps`.
    resource: &'static str,
    /// Whether its objects are in a namespace.
    pub(super) namespaced: bool,
    /// The words for it: plural, singular, short.
    words: &'static [&'static str],
}

const fn kind(
    name: &'static str,
    resource: &'static str,
    namespaced: bool,
    words: &'static [&'static str],
) -> ObjectKind {
    ObjectKind { name, resource, namespaced, words }
}

const KINDS: &[ObjectKind] = &[
    kind("Node", "node", false, &["nodes", "node", "no"]),
    kind("Namespace", "namespace", false, &["namespaces", "namespace", "ns"]),
    kind("Pod", "pod", true, &["pods", "pod", "po"]),
    kind("Deployment", "deployment.apps", true, &["deployments", "deployment", "deploy"]),
    kind("ReplicaSet", "replicaset.apps", true, &["replicasets", "replicaset", "rs"]),
    kind("DaemonSet", "daemonset.apps", true, &["daemonsets", "daemonset", "ds"]),
    kind("StatefulSet", "statefulset.apps", true, &["statefulsets", "statefulset", "sts"]),
    kind("Service", "service", true, &["services", "service", "svc"]),
    kind("Endpoints", "endpoints", true, &["endpoints", "ep"]),
    kind("EndpointSlice", "endpointslice.discovery.k8s.io", true, &["endpointslices", "endpointslice"]),
    kind("ConfigMap", "configmap", true, &["configmaps", "configmap", "cm"]),
    kind("IPPool", "ippool.crd.projectcalico.org", false, &["ippools", "ippool", "ipp"]),
];

/// The kind that a word means.
///
/// # Errors
/// Of [`Kind::Usage`] if there is none, with the nearest word.
pub(super) fn parse(word: &str) -> Result<&'static ObjectKind> {
    let lower = word.to_ascii_lowercase();
    let lower = lower.split('.').next().unwrap_or_default();
    let found = KINDS.iter().find(|kind| kind.words.contains(&lower));
    found.ok_or_else(|| {
        let error = Error::new(Kind::Usage, format!("minik does not know the kind `{word}`"));
        match nearest(lower, KINDS.iter().flat_map(|kind| kind.words.iter().copied())) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => {
                error.hint("kinds are node, namespace, pod, deployment, replicaset, daemonset, statefulset, service …")
            }
        }
    })
}

/// The objects that `KIND NAME…` or `KIND/NAME…` name.
///
/// # Errors
/// Of [`Kind::Usage`] if a word is no kind, or a name is missing.
pub(super) fn references(words: &[String], namespace: &str) -> Result<Vec<Reference>> {
    let one = |kind: &ObjectKind, name: &str| Reference {
        kind: kind.name.to_owned(),
        namespace: if kind.namespaced { namespace.to_owned() } else { String::new() },
        name: name.to_owned(),
    };
    if words.iter().all(|word| word.contains('/')) {
        let split = words.iter().filter_map(|word| word.split_once('/'));
        return split.map(|(kind, name)| Ok(one(parse(kind)?, name))).collect();
    }
    let [first, names @ ..] = words else { return Ok(Vec::new()) };
    let kinds = first.split(',').map(parse).collect::<Result<Vec<_>>>()?;
    if names.is_empty() || names.iter().any(|name| name.contains('/')) {
        let error = Error::new(Kind::Usage, format!("which {}?", kinds[0].words[1]));
        return Err(error.hint(format!("write `{first} NAME`, or KIND/NAME for each")));
    }
    Ok(kinds.iter().flat_map(|kind| names.iter().map(|name| one(kind, name))).collect())
}

/// The word for all objects of its kind: `services`.
pub(super) fn plural(object: &Reference) -> String {
    let kind = KINDS.iter().find(|kind| kind.name == object.kind);
    kind.map_or_else(|| object.kind.to_lowercase(), |kind| kind.words[0].to_owned())
}

/// As kubectl prints an object: `deployment.apps/test`.
pub(super) fn resource(object: &Reference) -> String {
    let kind = KINDS.iter().find(|kind| kind.name == object.kind);
    format!("{}/{}", kind.map_or(object.kind.as_str(), |kind| kind.resource), object.name)
}

/// As kubectl prints an object that goes: `deployment.apps "test"`.
pub(super) fn resource_quoted(object: &Reference) -> String {
    let kind = KINDS.iter().find(|kind| kind.name == object.kind);
    format!("{} \"{}\"", kind.map_or(object.kind.as_str(), |kind| kind.resource), object.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_named_as_for_kubectl() {
        let named = |words: &[&str]| -> Result<Vec<String>> {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            Ok(references(&words, "n")?.iter().map(|object| format!("{object} {}", resource(object))).collect())
        };
        assert_eq!(named(&["deploy/a"]).unwrap(), ["Deployment n/a deployment.apps/a"]);
        assert_eq!(named(&["deployments.apps", "a"]).unwrap(), ["Deployment n/a deployment.apps/a"]);
        assert_eq!(named(&["node", "a", "b"]).unwrap(), ["Node a node/a", "Node b node/b"]);
        assert_eq!(named(&["deploy,svc", "a"]).unwrap(), ["Deployment n/a deployment.apps/a", "Service n/a service/a"]);
        assert_eq!(named(&["po/a", "svc/b"]).unwrap(), ["Pod n/a pod/a", "Service n/b service/b"]);
        assert_eq!(named(&["pods"]).unwrap_err().message(), "which pod?");
        assert_eq!(named(&["deplyo", "a"]).unwrap_err().hint_text(), Some("did you mean `deploy`?"));
    }
}
