//! What the built-in apps answer: pure functions from a request to a page, and one router for all of them.

use std::fmt::Write;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::listen::{Caller, Identity};
use super::orders::App;

const HTML: &str = "text/html";
const TEXT: &str = "text/plain; charset=utf-8";

/// The router of every port of every pod: which app and pod it is, a request's connection knows.
pub(super) fn router() -> Router {
    Router::new().fallback(answer)
}

async fn answer(ConnectInfo(caller): ConnectInfo<Caller>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let Caller { app, identity, peer, port } = caller;
    page(&app, &identity, &Asked { method: &method, uri: &uri, headers: &headers, peer, port }).into_response()
}

/// A request, as far as an app looks at it.
struct Asked<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    peer: SocketAddr,
    port: u16,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
struct Page {
    status: StatusCode,
    content_type: &'static str,
    server: Option<String>,
    body: String,
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let mut response = (self.status, [(header::CONTENT_TYPE, self.content_type)], self.body).into_response();
        if let Some(server) = self.server.and_then(|name| HeaderValue::from_str(&name).ok()) {
            response.headers_mut().insert(header::SERVER, server);
        }
        response
    }
}

impl Page {
    fn found(content_type: &'static str, body: String) -> Page {
        Page { status: StatusCode::OK, content_type, server: None, body }
    }

    fn missing(content_type: &'static str, body: &str) -> Page {
        Page { status: StatusCode::NOT_FOUND, content_type, server: None, body: body.to_owned() }
    }
}

fn page(app: &App, identity: &Identity, asked: &Asked) -> Page {
    let name = || format!("{}\n", identity.pod);
    match app {
        App::Hostname | App::Answer => Page::found(TEXT, name()),
        App::Nginx { version } => nginx(version, asked),
        App::Netexec => netexec(identity, asked),
        App::Myapp { version } => match asked.uri.path() {
            "/" | "/index.html" => Page::found(
                HTML,
                format!("Hello MyApp | Version: {version} | <a href=\"hostname.html\">Pod Name</a>\n"),
            ),
            "/hostname.html" => Page::found(HTML, name()),
            _ => Page::missing(HTML, "404 Not Found\n"),
        },
        App::Dns => match identity.server.page(asked.port, asked.uri.path()) {
            Some(text) => Page::found(TEXT, text),
            None => Page::missing(TEXT, "404 page not found\n"),
        },
        App::Echoserver => Page::found(TEXT, echo(identity, asked)),
    }
}

/// nginx with its configuration as installed: one page, GET and HEAD.
fn nginx(version: &str, asked: &Asked) -> Page {
    let server = format!("nginx/{version}");
    let (status, body) = match asked.uri.path() {
        "/" | "/index.html" if asked.method == Method::GET || asked.method == Method::HEAD => {
            (StatusCode::OK, welcome())
        }
        "/" | "/index.html" => (StatusCode::METHOD_NOT_ALLOWED, error_page("405 Not Allowed", &server)),
        _ => (StatusCode::NOT_FOUND, error_page("404 Not Found", &server)),
    };
    Page { status, content_type: HTML, server: Some(server), body }
}

fn welcome() -> String {
    "<!DOCTYPE html>\n<html>\n<head>\n<title>Welcome to nginx!</title>\n</head>\n<body>\n<h1>Welcome to nginx!</h1>\n\
     <p>This page stands in for the one of a fresh nginx: minik's agent serves it.</p>\n</body>\n</html>\n"
        .to_owned()
}

fn error_page(title: &str, server: &str) -> String {
    format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n\
         <hr><center>{server}</center>\r\n</body>\r\n</html>\r\n"
    )
}

/// The end points of `agnhost netexec` that need nothing but the request.
fn netexec(identity: &Identity, asked: &Asked) -> Page {
    match asked.uri.path() {
        "/" => Page::found(TEXT, format!("{}\n", identity.pod)),
        "/hostname" | "/hostName" => Page::found(TEXT, identity.pod.clone()),
        "/clientip" => Page::found(TEXT, asked.peer.to_string()),
        "/echo" => Page::found(TEXT, parameter(asked.uri.query().unwrap_or_default(), "msg")),
        "/healthz" => Page::found(TEXT, String::new()),
        _ => Page::missing(TEXT, "404 page not found\n"),
    }
}

/// The request as text, in the sections of echoserver.
fn echo(identity: &Identity, asked: &Asked) -> String {
    let mut text = String::new();
    let path = asked.uri.path_and_query().map_or("/", |path| path.as_str());
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\nHostname: {}\n\nPod Information:\n\tnode name:\t{}\n\tpod name:\t{}\n\tpod namespace:\t{}\n\n\
         Request Information:\n\tclient_address={}\n\tmethod={}\n\treal path={path}\n\nRequest Headers:\n",
        identity.pod,
        identity.node,
        identity.pod,
        identity.namespace,
        asked.peer.ip(),
        asked.method,
    );
    for (name, value) in asked.headers {
        let _ = writeln!(text, "\t{name}={}", String::from_utf8_lossy(value.as_bytes()));
    }
    text
}

/// The value of a query's parameter with `+` and %XX decoded; empty if it is not there.
fn parameter(query: &str, name: &str) -> String {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let value = pairs.into_iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value);
    let mut bytes = Vec::new();
    let mut rest = value.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after
            .get(..2)
            .and_then(|two| std::str::from_utf8(two).ok())
            .and_then(|two| u8::from_str_radix(two, 16).ok());
        let (byte, length) = match (first, hex) {
            (b'%', Some(byte)) => (byte, 3),
            (b'+', _) => (b' ', 1),
            _ => (first, 1),
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What an app answers to a datagram.
pub(super) fn datagram(app: &App, identity: &Identity, peer: SocketAddr, asked: &[u8]) -> Vec<u8> {
    let name = || format!("{}\n", identity.pod).into_bytes();
    if *app != App::Netexec {
        return name();
    }
    let text = String::from_utf8_lossy(asked);
    match text.trim().split_once(' ').unwrap_or((text.trim(), "")) {
        ("hostname", _) => identity.pod.clone().into_bytes(),
        ("echo", message) => message.as_bytes().to_vec(),
        ("clientip", _) => peer.to_string().into_bytes(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::{Names, Server};
    use super::*;

    fn identity() -> Identity {
        let server = std::sync::Arc::new(Server::new(&Names::new(), None, String::new()));
        Identity { namespace: "default".into(), pod: "web-1".into(), node: "node-2".into(), server }
    }

    fn get(app: &App, uri: &str) -> Page {
        let uri: Uri = uri.parse().expect("a URI");
        let asked = Asked {
            method: &Method::GET,
            uri: &uri,
            headers: &HeaderMap::new(),
            peer: ([10, 0, 0, 7], 4711).into(),
            port: 80,
        };
        page(app, &identity(), &asked)
    }

    #[test]
    fn nginx_has_one_page_and_its_own_errors() {
        let nginx = App::Nginx { version: "1.14.2".into() };
        let page = get(&nginx, "/");
        assert_eq!((page.status, page.server.as_deref()), (StatusCode::OK, Some("nginx/1.14.2")));
        assert!(page.body.contains("<title>Welcome to nginx!</title>"));
        let page = get(&nginx, "/x");
        assert_eq!(page.status, StatusCode::NOT_FOUND);
        assert!(page.body.contains("404 Not Found") && page.body.contains("nginx/1.14.2"));
    }

    #[test]
    fn netexec_answers_its_end_points() {
        let cases = [
            ("/hostname", "web-1"),
            ("/echo?msg=a%20b+c%2f&x=1", "a b c/"),
            ("/echo?x=1", ""),
            ("/echo?msg=100%", "100%"),
            ("/clientip", "10.0.0.7:4711"),
        ];
        for (uri, body) in cases {
            assert_eq!(get(&App::Netexec, uri).body, body, "{uri}");
        }
        assert_eq!(get(&App::Netexec, "/shell").status, StatusCode::NOT_FOUND);
        let peer = ([10, 0, 0, 7], 4711).into();
        assert_eq!(datagram(&App::Netexec, &identity(), peer, b"echo hi there\n"), b"hi there");
        assert_eq!(datagram(&App::Netexec, &identity(), peer, b"hostname"), b"web-1");
    }

    #[test]
    fn the_other_apps_say_who_they_are() {
        assert_eq!(get(&App::Hostname, "/any/path").body, "web-1\n");
        assert_eq!(
            get(&App::Myapp { version: "v2".into() }, "/").body,
            "Hello MyApp | Version: v2 | <a href=\"hostname.html\">Pod Name</a>\n"
        );
        assert_eq!(get(&App::Myapp { version: "v2".into() }, "/hostname.html").body, "web-1\n");
        let echo = get(&App::Echoserver, "/a?b=c").body;
        assert!(echo.contains("Hostname: web-1\n") && echo.contains("real path=/a?b=c\n"), "{echo}");
        assert_eq!(datagram(&App::Answer, &identity(), ([10, 0, 0, 7], 4711).into(), b"x"), b"web-1\n");
    }
}
