//! The HTTP servers of the nodes' kube-proxies: each Service's health check, and kube-proxy's own on port 10256.
//!
//! Words, headers and codes are those of pkg/proxy/healthcheck of the cluster's version: 1.20, and what changed by 1.30.
//! A kube-proxy is healthy when its rules are those of the last change. Here that is so whenever the agent answers: it
//! hears of a change when its rules are there.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::orders::NodeOrders;
use super::{listen, log};
use crate::error::{Error, Result};
use crate::kernel::netns;
use crate::plan::HealthCheck;

/// kube-proxy's own health (`--healthz-bind-address`).
const OWN_PORT: u16 = 10256;

/// How long those who are asking have when a port is closed.
const PATIENCE: Duration = Duration::from_secs(1);

/// The servers of all nodes.
pub(super) struct Health {
    /// What each answers, by the node's namespace and its own address.
    servers: BTreeMap<(String, SocketAddr), Server>,
    started: Instant,
}

/// A port that is open.
struct Server {
    answers: Shared,
    /// Says that it shall end.
    end: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

impl Server {
    /// Closes the port; when this returns, others can have it.
    async fn finish(mut self) {
        // It has ended by itself if nobody hears it.
        let _ = self.end.send(());
        match tokio::time::timeout(PATIENCE, &mut self.task).await {
            Ok(Ok(Err(e))) => log::line(format_args!("a health check's server ended: {e}")),
            Ok(_) => {}
            // Somebody has begun to ask and does not go on: the port is closed by now.
            Err(_) => self.task.abort(),
        }
    }
}

/// What a port answers now.
type Shared = Arc<RwLock<Answers>>;

/// What a port answers.
#[derive(Debug, Clone)]
struct Answers {
    minor: u8,
    /// None is kube-proxy itself.
    check: Option<HealthCheck>,
    started: Instant,
}

impl Health {
    /// Without any server yet.
    pub(super) fn new() -> Health {
        Health { servers: BTreeMap::new(), started: Instant::now() }
    }

    /// Serves these nodes from now on. Must be called inside of a runtime. A port that is taken is a line in the log and
    /// no error, as it is for kube-proxy.
    ///
    /// # Errors
    /// If a node's namespace is not there.
    pub(super) async fn follow(&mut self, nodes: &[NodeOrders]) -> Result<()> {
        let mut before = std::mem::take(&mut self.servers);
        let mut new: Vec<(String, SocketAddr, Answers)> = Vec::new();
        for node in nodes {
            for (address, check) in wanted(node) {
                let answers = Answers { minor: node.health.minor, check, started: self.started };
                let key = (node.netns.clone(), address);
                match before.remove(&key) {
                    Some(known) if !known.task.is_finished() => {
                        *known.answers.write().unwrap_or_else(PoisonError::into_inner) = answers;
                        self.servers.insert(key, known);
                    }
                    _ => new.push((key.0, address, answers)),
                }
            }
        }
        for server in before.into_values() {
            server.finish().await;
        }
        let open = |(_, address, _): &(String, SocketAddr, Answers)| -> io::Result<TcpListener> {
            // To Go all addresses of IPv4 are those of IPv6 as well.
            let ip = if address.ip().is_unspecified() { listen::everywhere() } else { address.ip() };
            let listener = TcpListener::bind((ip, address.port()))?;
            listener.set_nonblocking(true).map(|()| listener)
        };
        let opened = netns::tour(&new, |(netns, _, _)| netns, open)?;
        for ((netns, address, answers), listener) in new.into_iter().zip(opened) {
            match listener {
                Ok(listener) => drop(self.servers.insert((netns, address), serve(listener, answers)?)),
                Err(e) => log::line(format_args!("{netns}: no health check on {address}: {e}")),
            }
        }
        Ok(())
    }
}

/// Where a node's kube-proxy answers, and for what.
fn wanted(node: &NodeOrders) -> Vec<(SocketAddr, Option<HealthCheck>)> {
    let health = &node.health;
    let all = [IpAddr::from(Ipv4Addr::UNSPECIFIED)];
    let addresses = if health.addresses.is_empty() { &all[..] } else { &health.addresses };
    let of_check = |check: &HealthCheck| {
        addresses.iter().map(|ip| ((*ip, check.port).into(), Some(check.clone()))).collect::<Vec<_>>()
    };
    let own = [((Ipv4Addr::UNSPECIFIED, OWN_PORT).into(), None)];
    health.checks.iter().flat_map(of_check).chain(own).collect()
}

fn serve(listener: TcpListener, answers: Answers) -> Result<Server> {
    let listener =
        tokio::net::TcpListener::from_std(listener).map_err(|e| Error::io("cannot serve a health check", e))?;
    let answers: Shared = Arc::new(RwLock::new(answers));
    let (end, ended) = oneshot::channel::<()>();
    let router = Router::new().fallback(answer).with_state(answers.clone());
    let server = axum::serve(listener, router).with_graceful_shutdown(async {
        // Told to end, or the agent ends.
        let _ = ended.await;
    });
    Ok(Server { answers, end, task: tokio::spawn(server.into_future()) })
}

async fn answer(State(answers): State<Shared>, uri: Uri) -> Response {
    let answers = answers.read().unwrap_or_else(PoisonError::into_inner).clone();
    match &answers.check {
        Some(check) => of_service(answers.minor, check),
        None => match own(&answers, uri.path(), SystemTime::now(), answers.started.elapsed().as_secs_f64()) {
            Some(text) => with_headers(StatusCode::OK, text, None),
            // Go's http.NotFound.
            None => {
                (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], "404 page not found\n")
                    .into_response()
            }
        },
    }
}

/// The answer for a Service, at whatever path.
fn of_service(minor: u8, check: &HealthCheck) -> Response {
    let status = if check.local > 0 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // Since 1.28 (kubernetes#118999).
    let weight = (minor >= 28).then(|| check.local.to_string());
    with_headers(status, body(minor, check), weight)
}

/// Indented by tabs, without a last line end.
fn body(minor: u8, check: &HealthCheck) -> String {
    let HealthCheck { namespace, name, local, .. } = check;
    // Since 1.27 an unhealthy kube-proxy fails as well (kubernetes#111661, CHANGELOG-1.27).
    let healthy = if minor >= 27 { ",\n\t\"serviceProxyHealthy\": true" } else { "" };
    format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{namespace}\",\n\t\t\"name\": \"{name}\"\n\t}},\n\t\
         \"localEndpoints\": {local}{healthy}\n}}"
    )
}

/// kube-proxy's own page: the time, as Go prints it, twice; none for a path that is not there.
fn own(answers: &Answers, path: &str, now: SystemTime, since_start: f64) -> Option<String> {
    let now = format!("{} m=+{since_start:.9}", go_time(now));
    let times = format!("{{\"lastUpdated\": \"{now}\",\"currentTime\": \"{now}\"");
    match path {
        // Since 1.28 (KEP-3836, kubernetes#116470): whether the node is not about to be deleted.
        "/healthz" if answers.minor >= 28 => Some(format!("{times}, \"nodeEligible\": true}}")),
        "/livez" if answers.minor < 28 => None,
        "/healthz" | "/livez" => Some(format!("{times}}}")),
        _ => None,
    }
}

fn with_headers(status: StatusCode, body: String, weight: Option<String>) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    let weight = weight.map(|weight| [(HeaderName::from_static("x-load-balancing-endpoint-weight"), weight)]);
    match weight {
        Some(weight) => (status, headers, weight, body).into_response(),
        None => (status, headers, body).into_response(),
    }
}

/// `2020-11-09 05:56:04.123456789 +0000 UTC`.
fn go_time(time: SystemTime) -> String {
    // A clock before 1970 is taken for one that begins then.
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, nanos) = (log::utc(since.as_secs()).replacen('T', " ", 1), since.subsec_nanos());
    format!("{}.{nanos:09} +0000 UTC", seconds.trim_end_matches('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(local: usize) -> HealthCheck {
        HealthCheck { namespace: "default".into(), name: "web".into(), port: 30900, local }
    }

    #[test]
    fn a_service_answers_as_its_version_does() {
        assert_eq!(
            body(20, &check(2)),
            "{\n\t\"service\": {\n\t\t\"namespace\": \"default\",\n\t\t\"name\": \"web\"\n\t},\n\t\"localEndpoints\": 2\n}"
        );
        assert!(body(30, &check(0)).ends_with("\t\"localEndpoints\": 0,\n\t\"serviceProxyHealthy\": true\n}"));
        // nmap's record of a real 1.3x: Content-Length: 127 for default/wp-nginx-service.
        let recorded = HealthCheck { name: "wp-nginx-service".into(), ..check(1) };
        assert_eq!(body(30, &recorded).len(), 127);
        let weight = |minor| of_service(minor, &check(2)).headers().get("x-load-balancing-endpoint-weight").cloned();
        assert_eq!((weight(27), weight(28)), (None, Some("2".parse().unwrap())));
        assert_eq!(of_service(30, &check(0)).status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn kube_proxy_says_the_time_as_go_does() {
        let time = |seconds| UNIX_EPOCH + Duration::new(seconds, 5);
        assert_eq!(go_time(time(1_604_901_364)), "2020-11-09 05:56:04.000000005 +0000 UTC");
        assert_eq!(go_time(time(951_782_400)), "2000-02-29 00:00:00.000000005 +0000 UTC");
        assert_eq!(go_time(time(0)), "1970-01-01 00:00:00.000000005 +0000 UTC");
        let answers = |minor| Answers { minor, check: None, started: Instant::now() };
        let page = own(&answers(30), "/healthz", time(0), 1.5).expect("a page");
        assert!(page.ends_with("UTC m=+1.500000000\", \"nodeEligible\": true}"), "{page}");
        assert!(own(&answers(20), "/livez", time(0), 1.5).is_none());
        assert!(own(&answers(20), "/", time(0), 1.5).is_none());
    }
}
