//! What a container does: from its image and command to a built-in app, a program of the host, or nothing. PURE.

use crate::agent::orders::{App, Port, Work};
use crate::topology::Container;

/// Version that nginx says it is, if the image's tag gives none.
const NGINX_VERSION: &str = "1.27.5";

/// Where CoreDNS listens with kubeadm's Corefile: DNS, metrics, health, readiness.
const DNS_PORTS: [Port; 5] = [Port::udp(53), Port::tcp(53), Port::tcp(9153), Port::tcp(8080), Port::tcp(8181)];

/// What a container does.
pub fn work(container: &Container) -> Work {
    let (name, tag) = name_and_tag(&container.image);
    let app = |app, ports: &[Port]| Work::App { app, ports: ports.to_vec() };
    match (name, container.command.as_slice()) {
        ("nginx", []) => app(App::Nginx { version: version(tag, NGINX_VERSION) }, &[Port::tcp(80)]),
        ("nginx", [program, ..]) if base(program) == "nginx" => {
            app(App::Nginx { version: version(tag, NGINX_VERSION) }, &[Port::tcp(80)])
        }
        ("serve_hostname" | "serve-hostname", []) => app(App::Hostname, &[Port::tcp(9376), Port::udp(9376)]),
        ("coredns", []) => app(App::Dns, &DNS_PORTS),
        ("agnhost", command) => agnhost(command),
        ("myapp", []) => app(App::Myapp { version: tag.unwrap_or("v1").to_owned() }, &[Port::tcp(80)]),
        ("echoserver" | "echo-server", []) => app(App::Echoserver, &[Port::tcp(echo_port(container))]),
        (_, []) => Work::Idle,
        (_, command) if only_waits(command) => Work::Idle,
        (_, command) => Work::Program { argv: command.to_vec() },
    }
}

/// Why a container without command does nothing, in words for `describe`; none if that is what the image is for.
pub fn remark(container: &Container) -> Option<String> {
    let (name, _) = name_and_tag(&container.image);
    let idle = work(container) == Work::Idle;
    match (idle, container.command.as_slice()) {
        (true, []) if matches!(name, "busybox" | "pause" | "agnhost") => None,
        (true, []) => Some(format!("minik has no app for image {}; the container does nothing", container.image)),
        (true, command) => Some(format!("`{}` only waits; minik keeps no process for it", command.join(" "))),
        (false, _) => None,
    }
}

/// The last part of an image's name, and its tag: `registry:5000/a/nginx:1.2@sha256:…` is (`nginx`, `1.2`).
fn name_and_tag(image: &str) -> (&str, Option<&str>) {
    let image = image.split('@').next().unwrap_or(image);
    let last = image.rsplit('/').next().unwrap_or(image);
    match last.split_once(':') {
        Some((name, tag)) => (name, Some(tag)),
        None => (last, None),
    }
}

/// The version in a tag such as `1.14.2-alpine`; tags as `latest` have none.
fn version(tag: Option<&str>, default: &str) -> String {
    let number = tag.unwrap_or_default().split('-').next().unwrap_or_default();
    let is_version = number.contains('.') && number.split('.').all(|part| part.parse::<u16>().is_ok());
    if is_version { number } else { default }.to_owned()
}

fn base(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

/// agnhost's own subcommands; the ports are its defaults unless flags give others.
fn agnhost(command: &[String]) -> Work {
    let words = match command {
        [program, rest @ ..] if base(program) == "agnhost" => rest,
        words => words,
    };
    let flag = |name: &str, default: u16| {
        let at = words.iter().position(|word| word == name);
        let apart = at.and_then(|at| words.get(at + 1));
        let joined = words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        joined.or(apart.map(String::as_str)).and_then(|port| port.parse().ok()).unwrap_or(default)
    };
    match words.first().map(String::as_str) {
        Some("netexec") => {
            let ports = vec![Port::tcp(flag("--http-port", 8080)), Port::udp(flag("--udp-port", 8081))];
            Work::App { app: App::Netexec, ports }
        }
        Some("serve-hostname") => {
            let number = flag("--port", 9376);
            Work::App { app: App::Hostname, ports: vec![Port::tcp(number), Port::udp(number)] }
        }
        None | Some("pause") => Work::Idle,
        Some(_) => Work::Program { argv: command.to_vec() },
    }
}

/// echoserver listens where its PORT variable says; 8080 without one.
fn echo_port(container: &Container) -> u16 {
    let port = container.env.iter().find(|(name, _)| name == "PORT").and_then(|(_, value)| value.parse().ok());
    port.unwrap_or(8080)
}

/// Whether a command does nothing but wait for its end, as test pods do: then no process is needed for it.
fn only_waits(command: &[String]) -> bool {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    match words.as_slice() {
        [shell, "-c", script] if matches!(base(shell), "sh" | "bash" | "ash") => {
            let words: Vec<String> =
                script.trim().trim_end_matches(';').split_whitespace().map(str::to_owned).collect();
            let plain = !script.contains(['|', '&', '<', '>', '$', '`', '"', '\''])
                && !script.trim().trim_end_matches(';').contains(';');
            plain
                && words.first().is_some_and(|word| !matches!(base(word), "sh" | "bash" | "ash"))
                && only_waits(&words)
        }
        [sleep, time] => base(sleep) == "sleep" && (*time == "infinity" || waits_for_long(time)),
        [tail, "-f", "/dev/null"] => base(tail) == "tail",
        ["pause" | "/pause"] => true,
        _ => false,
    }
}

/// Whether a time as sleep(1) takes it is an hour or more. Shorter ones are run, so that one can watch them end.
fn waits_for_long(time: &str) -> bool {
    let (number, unit) = time.split_at(time.trim_end_matches(['s', 'm', 'h', 'd']).len());
    let factor = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return false,
    };
    number.parse::<u64>().is_ok_and(|number| number.saturating_mul(factor) >= 3600)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(image: &str, command: &[&str]) -> Container {
        Container {
            name: "c".into(),
            image: image.into(),
            command: command.iter().map(|word| word.to_string()).collect(),
            ports: Vec::new(),
            env: vec![("PORT".into(), "8877".into())],
        }
    }

    fn ports(image: &str, command: &[&str]) -> (App, Vec<Port>) {
        match work(&container(image, command)) {
            Work::App { app, ports } => (app, ports),
            other => panic!("{image} {command:?}: {other:?}"),
        }
    }

    #[test]
    fn images_are_known_by_their_last_name() {
        let nginx = |version: &str| App::Nginx { version: version.into() };
        assert_eq!(ports("nginx", &[]), (nginx(NGINX_VERSION), vec![Port::tcp(80)]));
        assert_eq!(ports("docker.io/library/nginx:1.14.2@sha256:00", &[]).0, nginx("1.14.2"));
        assert_eq!(ports("localhost:5000/nginx", &["nginx", "-g", "daemon off;"]).0, nginx(NGINX_VERSION));
        assert_eq!(ports("k8s.gcr.io/serve_hostname", &[]), (App::Hostname, vec![Port::tcp(9376), Port::udp(9376)]));
        assert_eq!(ports("ikubernetes/myapp:v2", &[]).0, App::Myapp { version: "v2".into() });
        assert_eq!(ports("cilium/echoserver", &[]).1, [Port::tcp(8877)]);
        let agnhost = "registry.k8s.io/e2e-test-images/agnhost:2.39";
        assert_eq!(ports(agnhost, &["netexec"]), (App::Netexec, vec![Port::tcp(8080), Port::udp(8081)]));
        assert_eq!(
            ports(agnhost, &["/agnhost", "netexec", "--http-port=80", "--udp-port", "90"]).1,
            [Port::tcp(80), Port::udp(90)]
        );
        assert_eq!(ports(agnhost, &["serve-hostname"]).0, App::Hostname);
    }

    #[test]
    fn commands_that_only_wait_need_no_process() {
        let idle: [&[&str]; 6] = [
            &[],
            &["sleep", "36000"],
            &["sleep", "1h"],
            &["/bin/sh", "-c", "sleep infinity;"],
            &["tail", "-f", "/dev/null"],
            &["sh", "-c", "tail -f /dev/null"],
        ];
        for command in idle {
            assert_eq!(work(&container("busybox", command)), Work::Idle, "{command:?}");
        }
        let busy: [&[&str]; 6] = [
            &["sleep", "3"],
            &["sh", "-c", "echo hi; sleep 36000"],
            &["sh", "-c", "sleep 36000 && echo"],
            &["sh", "-c", "sleep $TIME"],
            &["sleepy", "36000"],
            &["nc", "-l", "80"],
        ];
        for command in busy {
            assert!(matches!(work(&container("busybox", command)), Work::Program { .. }), "{command:?}");
        }
    }
}
