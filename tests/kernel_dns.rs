//! The cluster's DNS in the kernel, judged by programs that are not ours: dig, nslookup and curl in pods ask the server
//! through its Service. Needs root; without it, or without one of the programs, a test is counted as ignored, unless
//! MINIK_REQUIRE is set.

mod kernel;

use std::net::IpAddr;

use kernel::Outcome;
use kernel::lab::Cluster;
use libtest_mimic::Arguments;
use minik::agent::{self, Orders};
use minik::dns::{ServiceRecords, Target};

/// A test: its name, the programs it needs, and itself.
type Test = (&'static str, &'static [&'static str], fn(&Dns) -> Outcome);

const TESTS: &[Test] = &[
    ("pods_have_the_resolver_that_kubelet_writes", &["cat"], resolver),
    ("dig_gets_what_coredns_answers", &["dig"], dig),
    ("short_names_are_found_by_the_search_list", &["nslookup", "dig"], short_names),
    ("curl_reaches_a_service_by_its_name", &["curl"], curl),
    ("the_server_answers_by_tcp_and_cuts_datagrams", &["dig"], transports),
    ("every_server_answers_for_itself", &["dig"], servers),
    ("health_readiness_and_metrics_are_served", &["curl", "dig"], pages),
    ("names_follow_apply_scale_and_delete", &["dig"], live),
    ("new_records_are_answered_by_the_same_sockets", &["dig", "ss"], replaced),
];

fn main() {
    let mut arguments = Arguments::from_args();
    // The last one changes what the others ask for.
    arguments.test_threads = Some(1);
    let trial = |&(name, needs, test): &Test| {
        let programs = ["ip", "iptables-restore"].iter().chain(needs);
        let missing = kernel::not_root().or_else(|| kernel::lacking(programs));
        kernel::trial(name, missing, move || Ok(test(&Dns::up(name)?)?))
    };
    libtest_mimic::run(&arguments, TESTS.iter().map(trial).collect()).exit();
}

/// The cluster of topologies/manifests/cluster-dns.yaml.
struct Dns(Cluster);

impl Dns {
    fn up(test: &str) -> Result<Dns, String> {
        let short: String = test.chars().filter(|c| *c != '_').take(8).collect();
        let cluster = Cluster::named(&short).healing();
        cluster.minik(&["up", concat!(env!("CARGO_MANIFEST_DIR"), "/topologies/manifests/cluster-dns.yaml")])?;
        Ok(Dns(cluster))
    }

    /// Runs a command line in a pod by `minik exec`.
    fn exec(&self, pod: &str, line: &str) -> Result<String, String> {
        let words: Vec<&str> = ["exec", pod, "--"].into_iter().chain(line.split(' ')).collect();
        self.0.minik(&words)
    }

    /// What dig prints in the pod `client`, without what differs from run to run.
    fn dig(&self, question: &str) -> Result<Vec<String>, String> {
        let answer = self.exec("client", &format!("dig +tries=1 +time=5 {question}"))?;
        let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(answer.lines().map(line).filter(|line| !line.is_empty()).collect())
    }

    /// The answers of dig, sorted.
    fn short(&self, question: &str) -> Result<Vec<String>, String> {
        let mut lines = self.dig(&format!("+short {question}"))?;
        lines.sort();
        Ok(lines)
    }

    /// The address of a pod, as `ip` prints it.
    fn address(&self, pod: &str) -> Result<String, String> {
        let text = self.exec(pod, "ip -4 -o address show dev eth0")?;
        let word = text.split_whitespace().skip_while(|word| *word != "inet").nth(1);
        word.and_then(|net| net.split('/').next()).map(str::to_owned).ok_or(format!("no address in {text}"))
    }

    /// The names of the DNS servers' pods.
    fn servers(&self) -> Result<Vec<String>, String> {
        let text = self.0.minik(&["get", "pods", "-n", "kube-system"])?;
        let names = text.lines().filter_map(|line| line.split_whitespace().next());
        Ok(names.filter(|name| name.starts_with("coredns-")).map(|name| format!("kube-system/{name}")).collect())
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Outcome {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:#?}\nexpected: {expected:#?}")) }
}

fn resolver(cluster: &Dns) -> Outcome {
    let usual =
        "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n";
    same("client", cluster.exec("client", "cat /etc/resolv.conf")?, usual.to_owned())?;
    for server in cluster.servers()? {
        let own = cluster.exec(&server, "cat /etc/resolv.conf")?;
        same(&server, own, "# minik: there is no DNS server here\n".to_owned())?;
    }
    let hosts = cluster.exec("web-1", "cat /etc/hosts")?;
    let line = format!("{}\tweb-1.web.default.svc.cluster.local\tweb-1", cluster.address("web-1")?);
    same("hosts", hosts.lines().any(|own| own == line), true).map_err(|e| format!("{e}\n{hosts}"))
}

fn dig(cluster: &Dns) -> Outcome {
    let webs: Vec<String> =
        ["web-0", "web-1", "web-2"].into_iter().map(|pod| cluster.address(pod)).collect::<Result<_, _>>()?;
    let mut sorted = webs.clone();
    sorted.sort();
    same("A", cluster.short("test-service.default.svc.cluster.local")?, vec!["10.96.30.80".to_owned()])?;
    same("headless", cluster.short("web.default.svc.cluster.local")?, sorted)?;
    same("endpoint", cluster.short("web-2.web.default.svc.cluster.local")?, vec![webs[2].clone()])?;
    let dashed = webs[0].replace('.', "-");
    same("pod", cluster.short(&format!("{dashed}.default.pod.cluster.local"))?, vec![webs[0].clone()])?;
    same("PTR", cluster.short("-x 10.96.30.80")?, vec!["test-service.default.svc.cluster.local.".to_owned()])?;
    let name = format!("-x {}", webs[1]);
    same("PTR of a pod", cluster.short(&name)?, vec!["web-1.web.default.svc.cluster.local.".to_owned()])?;
    let ports = cluster.short("SRV _http._tcp.web.default.svc.cluster.local")?;
    let expected = [0, 1, 2].map(|n| format!("0 33 80 web-{n}.web.default.svc.cluster.local."));
    same("SRV", ports, expected.to_vec())?;
    same("TXT", cluster.short("TXT dns-version.cluster.local")?, vec!["\"1.1.0\"".to_owned()])?;
    same("NS", cluster.short("NS cluster.local")?, vec!["kube-dns.kube-system.svc.cluster.local.".to_owned()])?;
    let alias = cluster.dig("+noall +answer alias.default.svc.cluster.local")?;
    let expected = [
        "alias.default.svc.cluster.local. 5 IN CNAME test-service.default.svc.cluster.local.",
        "test-service.default.svc.cluster.local. 5 IN A 10.96.30.80",
    ];
    same("CNAME", alias, expected.map(str::to_owned).to_vec())?;
    for (question, status) in [
        ("AAAA test-service.default.svc.cluster.local", "NOERROR"),
        ("nothing.default.svc.cluster.local", "NXDOMAIN"),
        ("test-service.nowhere.svc.cluster.local", "NXDOMAIN"),
        ("example.com", "SERVFAIL"),
        ("AXFR cluster.local", "REFUSED"),
    ] {
        let lines = cluster.dig(&format!("+noall +comments +authority {question}")).map(|lines| lines.join("\n"));
        // dig of a refused transfer fails, and says only that.
        let lines = lines.unwrap_or_else(|why| why);
        let refused = status == "REFUSED" && lines.contains("Transfer failed");
        same(question, refused || lines.contains(&format!("status: {status},")), true)
            .map_err(|e| format!("{e}\n{lines}"))?;
        let head = lines.contains("SOA ns.dns.cluster.local. hostmaster.cluster.local. ");
        same(question, head, matches!(status, "NOERROR" | "NXDOMAIN"))?;
    }
    Ok(())
}

fn short_names(cluster: &Dns) -> Outcome {
    for name in ["test-service", "test-service.default", "test-service.default.svc", "kubernetes.default"] {
        let text = cluster.exec("client", &format!("nslookup {name}"))?;
        let address = if name.starts_with("kube") { "10.96.0.1" } else { "10.96.30.80" };
        let found = text.lines().any(|line| line.trim() == format!("Address: {address}"));
        same(name, found && text.contains("Server:\t\t10.96.0.10"), true).map_err(|e| format!("{e}\n{text}"))?;
    }
    same("dig", cluster.short("+search test-service")?, vec!["10.96.30.80".to_owned()])?;
    // Without the search list the name has one label, which is nobody's.
    same("dig", cluster.short("test-service")?, Vec::new())?;
    let missing = cluster.exec("client", "nslookup nothing-here").err().unwrap_or_default();
    same("missing", missing.contains("server can't find nothing-here"), true).map_err(|e| format!("{e}\n{missing}"))
}

fn curl(cluster: &Dns) -> Outcome {
    for url in ["http://test-service", "http://web-0.web", "http://alias.default.svc.cluster.local"] {
        let page = cluster.exec("client", &format!("curl -sS --max-time 10 {url}"))?;
        same(url, page.contains("Welcome to nginx!"), true)?;
    }
    let missing = cluster.exec("client", "curl -sS --max-time 10 http://nothing-here").err().unwrap_or_default();
    same("missing", missing.contains("Could not resolve host: nothing-here"), true)
        .map_err(|e| format!("{e}\n{missing}"))
}

fn transports(cluster: &Dns) -> Outcome {
    let name = "kube-dns.kube-system.svc.cluster.local";
    same("TCP", cluster.short(&format!("+tcp {name}"))?, vec!["10.96.0.10".to_owned()])?;
    let mut orders = orders(cluster)?;
    let records = orders.names.as_mut().ok_or("no names in the orders")?;
    let many: Vec<IpAddr> = (1..=200).map(|last| IpAddr::from([10, 96, 40, last])).collect();
    records.services.push(at("many", many));
    agent::follow(&orders).map_err(|e| e.to_string())?;
    let cut = cluster.dig("+notcp +ignore +bufsize=1232 many.default.svc.cluster.local")?.join("\n");
    same("cut", cut.contains("flags: qr aa tc rd;"), true).map_err(|e| format!("{e}\n{cut}"))?;
    // dig asks again by TCP when an answer was cut.
    same("whole", cluster.short("many.default.svc.cluster.local")?.len(), 200)
}

fn servers(cluster: &Dns) -> Outcome {
    let servers = cluster.servers()?;
    same("servers", servers.len(), 2)?;
    for server in servers {
        let address = cluster.address(&server)?;
        let answer = cluster.short(&format!("@{address} test-service.default.svc.cluster.local"))?;
        same(&server, answer, vec!["10.96.30.80".to_owned()])?;
    }
    let mut addresses =
        cluster.servers()?.iter().map(|server| cluster.address(server)).collect::<Result<Vec<_>, _>>()?;
    addresses.sort();
    let dashed = addresses[0].replace('.', "-");
    same(
        "itself",
        cluster.short(&format!("{dashed}.kube-dns.kube-system.svc.cluster.local"))?,
        vec![addresses[0].clone()],
    )
}

fn pages(cluster: &Dns) -> Outcome {
    let server = cluster.servers()?.into_iter().next().ok_or("no server")?;
    let address = cluster.address(&server)?;
    for (page, expected) in [(":8080/health", "OK"), (":8181/ready", "OK"), (":9153/health", "404 page not found\n")] {
        let text = cluster.exec("client", &format!("curl -sS --max-time 10 http://{address}{page}"))?;
        same(page, text, expected.to_owned())?;
    }
    cluster.short(&format!("@{address} test-service.default.svc.cluster.local"))?;
    cluster.dig(&format!("@{address} +tcp SRV nothing.default.svc.cluster.local"))?;
    let text = cluster.exec("client", &format!("curl -sS --max-time 10 http://{address}:9153/metrics"))?;
    for line in [
        "coredns_dns_requests_total{family=\"1\",proto=\"udp\",server=\"dns://:53\",type=\"A\",view=\"\",zone=\".\"} 1",
        "coredns_dns_requests_total{family=\"1\",proto=\"tcp\",server=\"dns://:53\",type=\"SRV\",view=\"\",zone=\".\"} 1",
        "coredns_dns_responses_total{rcode=\"NXDOMAIN\",server=\"dns://:53\",view=\"\",zone=\".\"} 1",
    ] {
        same(line, text.lines().any(|own| own == line), true).map_err(|e| format!("{e}\n{text}"))?;
    }
    Ok(())
}

/// A Service with these addresses.
fn at(name: &str, addresses: Vec<IpAddr>) -> ServiceRecords {
    ServiceRecords {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        target: Target::At(addresses),
        ports: Vec::new(),
        endpoints: Vec::new(),
    }
}

/// The orders of the cluster's agent.
fn orders(cluster: &Dns) -> Result<Orders, String> {
    let path = minik::kernel::state::dir(&cluster.0.name).join("orders.json");
    let text = std::fs::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    serde_json::from_slice(&text).map_err(|e| format!("cannot read {}: {e}", path.display()))
}

/// The cluster changes as its users change it; DNS knows at once.
fn live(cluster: &Dns) -> Outcome {
    let count = || cluster.short("web.default.svc.cluster.local").map(|lines| lines.len());
    same("at first", count()?, 3)?;
    cluster.0.minik(&["scale", "statefulset", "web", "--replicas", "5"])?;
    same("scaled up", count()?, 5)?;
    let last = cluster.address("web-4")?;
    same("the new one", cluster.short("web-4.web.default.svc.cluster.local")?, vec![last])?;
    cluster.0.minik(&["scale", "statefulset", "web", "--replicas", "1"])?;
    same("scaled down", count()?, 1)?;
    let file = std::env::temp_dir().join(format!("{}.yaml", cluster.0.name));
    let manifest =
        "apiVersion: v1\nkind: Service\nmetadata: {name: later}\nspec: {clusterIP: 10.96.30.81, ports: [{port: 80}]}\n";
    std::fs::write(&file, manifest).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
    let applied = cluster.0.minik(&["apply", "-f", &file.to_string_lossy()]);
    std::fs::remove_file(&file).map_err(|e| format!("cannot remove {}: {e}", file.display()))?;
    applied?;
    same("applied", cluster.short("later.default.svc.cluster.local")?, vec!["10.96.30.81".to_owned()])?;
    cluster.0.minik(&["delete", "service", "later"])?;
    same("deleted", cluster.short("later.default.svc.cluster.local")?, Vec::new())?;
    // One server fewer: the other one answers through the Service, and the reverse name of the first is gone.
    cluster.0.minik(&["scale", "deployment", "coredns", "--replicas", "1", "-n", "kube-system"])?;
    same("servers", cluster.servers()?.len(), 1)?;
    same("one server", cluster.short("test-service.default.svc.cluster.local")?, vec!["10.96.30.80".to_owned()])
}

fn replaced(cluster: &Dns) -> Outcome {
    let server = cluster.servers()?.into_iter().next().ok_or("no server")?;
    let question = "new.default.svc.cluster.local";
    same("before", cluster.short(question)?, Vec::new())?;
    // The inode numbers of the sockets: another socket has another one.
    let sockets = || cluster.exec(&server, "ss -H -l -n -t -u -e");
    let before = sockets()?;
    same("sockets", before.lines().count(), 5)?;
    let mut orders = orders(cluster)?;
    let records = orders.names.as_mut().ok_or("no names in the orders")?;
    records.services.push(at("new", vec![IpAddr::from([10, 96, 7, 7])]));
    agent::follow(&orders).map_err(|e| e.to_string())?;
    same("after", cluster.short(question)?, vec!["10.96.7.7".to_owned()])?;
    same("sockets", sockets()?, before)?;
    // Another agent begins with what the last one knew.
    cluster.0.minik(&["agent", "restart"])?;
    same("restarted", cluster.short(question)?, vec!["10.96.7.7".to_owned()])
}
