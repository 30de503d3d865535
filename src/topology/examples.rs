//! The manifests that are part of the binary: the objects of the documents' experiments, under the names that they have
//! there.

use super::Source;

/// A manifest that is part of the binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Example {
    /// Its name on the command line.
    pub name: &'static str,
    /// The file's name.
    pub file: &'static str,
    /// One line on what it is for.
    pub description: &'static str,
    /// Its text, as `minik show` prints it.
    pub text: &'static str,
}

macro_rules! example {
    ($name:literal, $file:literal, $description:literal) => {
        Example {
            name: $name,
            file: $file,
            description: $description,
            text: include_str!(concat!("../../topologies/manifests/", $file)),
        }
    };
}

/// Every manifest, in the order in which they are listed.
pub const ALL: &[Example] = &[
    example!("kubeadm-1.20", "kubeadm-1.20.yaml", "a whole cluster: one node with kubenet, DNS and kube-proxy 1.20"),
    example!("cluster-dns", "cluster-dns.yaml", "a whole cluster: names for Services of every sort"),
    example!("verify-services", "verify-services.yaml", "the Services that `verify MODE` tries"),
    example!("pod", "pod.yaml", "two containers in one pod"),
    example!("deployment", "deployment.yaml", "two pods that ping each other"),
    example!("busybox", "busybox.yaml", "three pods that ping each other across nodes"),
    example!("busybox-pod", "busybox-pod.yaml", "a pod to ask from"),
    example!("service", "service.yaml", "a Service of type ClusterIP"),
    example!("echoserver", "echoserver.yaml", "a Service to look at its rules"),
    example!("clientip", "clientip.yaml", "a Service that keeps a client at its pod"),
    example!("externalip", "externalip.yaml", "a Service with an external IP"),
    example!("nodeport", "nodeport.yaml", "a Service of type NodePort"),
    example!("nginx-nodeport", "nginx-nodeport.yaml", "a NodePort whose pod is on the node that is asked"),
    example!("nginx-nodeport-node-2", "nginx-nodeport-node-2.yaml", "the same with the pod on the other node"),
    example!("nginx-79959", "nginx-79959.json", "three replicas behind a Service, as JSON"),
    example!("dns", "dns.yaml", "a Service to look up"),
    example!("hostPort", "hostPort.yaml", "a pod with a port of its node"),
    example!("hostNetwork", "hostNetwork.yaml", "a pod in its node's network"),
    example!("cka2", "cka2.yaml", "a Deployment and its Service in a namespace of their own"),
    example!("deploy-demo", "deploy-demo.yaml", "pods whose packets are looked at on their way"),
    example!("myapp-svc", "myapp-svc.yaml", "a StatefulSet, whose pods have names of their own"),
    example!("namespaces", "namespaces.yaml", "the namespaces dev and prod"),
    example!("pod-a", "pod-a.yaml", "a page to look at"),
];

/// The manifest of this name, if there is one.
pub fn find(name: &str) -> Option<&'static Example> {
    ALL.iter().find(|example| example.name == name)
}

impl Example {
    /// Its text as a source, called as its file in errors.
    pub fn source(&self) -> Source {
        Source::new(self.file, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Edit, Overrides, builtin, parse};

    #[test]
    fn every_manifest_can_be_applied() {
        // The cluster without its own pods: whatever is applied is new.
        let mut base = builtin::find("calico-ipip").unwrap().source();
        base.text.truncate(base.text.find("\n---\n").unwrap());
        let plain = parse(std::slice::from_ref(&base), &Overrides::default()).unwrap();
        for example in ALL {
            let outcome = if example.text.contains("kind: Cluster\n") {
                parse(&[example.source()], &Overrides::default())
            } else {
                // The Service of the JSON has an address of its document's own cluster.
                let range = if example.file.ends_with(".json") { "10.0.0.0/20" } else { "10.96.0.0/12" };
                let text = base.text.replace("serviceCIDR: 10.96.0.0/12", &format!("serviceCIDR: {range}"));
                let (name, text_of, namespace) = (example.file.into(), example.text.into(), "default".into());
                let dev = Edit::Apply { name: "dev".into(), text: find("namespaces").unwrap().text.into(), namespace };
                let edits = vec![dev, Edit::Apply { name, text: text_of, namespace: "default".into() }];
                parse(&[Source::new("base.yaml", text)], &Overrides { edits, ..Overrides::default() })
            };
            let cluster = outcome.unwrap_or_else(|error| panic!("{}: {error}", example.file));
            let differs = cluster.pods != plain.pods || cluster.services != plain.services || cluster.dns != plain.dns;
            assert!(differs || example.name == "namespaces", "{}", example.file);
        }
    }

    #[test]
    fn every_file_is_listed() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies/manifests");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut files: Vec<String> = files.collect();
        files.sort();
        let mut listed: Vec<&str> = ALL.iter().map(|example| example.file).collect();
        listed.sort_unstable();
        assert_eq!(files, listed);
    }
}
