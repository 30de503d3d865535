//! What tests of Services have in common: pods that answer with their names, and the Service in front of them.

/// A Deployment `web` of so many pods; each answers with its name on port 9376, by TCP and UDP.
pub fn deployment(replicas: usize) -> String {
    format!(
        "
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers:
      - {{name: c, image: k8s.gcr.io/serve_hostname, ports: [{{name: http, containerPort: 9376}}]}}
"
    )
}

/// A Service of them with every sort of address, by TCP and UDP.
pub const SERVICE: &str = "---
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec:
  type: NodePort
  clusterIP: 10.96.7.1
  selector: {app: web}
  externalIPs: [10.1.10.77]
  ports:
  - {name: http, port: 80, targetPort: http, nodePort: 30080}
  - {name: udp, port: 90, protocol: UDP, targetPort: 9376, nodePort: 30090}
";

/// A Service that nobody is behind.
pub const NOBODY: &str = "---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {clusterIP: 10.96.7.3, selector: {app: nothing}, ports: [{port: 80}]}
";
