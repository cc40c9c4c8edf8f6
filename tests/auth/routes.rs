//! Every route with every role. The routes come from the server's own table, so that none is missing.

use queen::api::ROUTES;
use queen::auth::Role;
use queen::http::Method;
use serde_json::json;

use super::tokens::{now, role, token};
use crate::with_secret;

const PUBLIC: [&str; 3] = ["/health", "/metrics", "/metrics/prometheus"];

/// What only an administrator may do, beside what deletes a whole queue or group.
const ADMINISTRATION: [&str; 4] = [
    "POST /api/v1/stats/refresh",
    "DELETE /api/v1/dlq",
    "DELETE /api/v1/queues/:queue/clear",
    "DELETE /api/v1/resources/queues/:queue",
];

/// Written down once more: whoever adds a route must agree with this or say here why not.
fn expected(method: &str, pattern: &str) -> Option<Role> {
    let is_in = |prefix: &str| pattern.starts_with(prefix);
    let route = format!("{method} {pattern}");
    match method {
        _ if PUBLIC.contains(&pattern) => None,
        _ if is_in("/api/v1/system/") || ADMINISTRATION.contains(&&*route) => Some(Role::Admin),
        "DELETE" if is_in("/api/v1/consumer-groups/") => Some(Role::Admin),
        "GET" if !is_in("/api/v1/pop") => Some(Role::ReadOnly),
        _ => Some(Role::ReadWrite),
    }
}

pub fn text(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Delete => "DELETE",
        _ => panic!("no route has another method"),
    }
}

/// The pattern with a name in each place.
fn path(pattern: &str) -> String {
    let segments = pattern.split('/').map(|segment| match segment.strip_prefix(':') {
        Some("partitionId") => "00000000-0001-8000-8000-000000000000",
        Some(_) => "name",
        None => segment,
    });
    segments.collect::<Vec<_>>().join("/")
}

#[test]
fn every_route_asks_for_the_role_that_it_says() {
    let server = with_secret();
    let roles = [Role::ReadOnly, Role::ReadWrite, Role::Admin];
    let tokens = ["read-only", "read-write", "admin"].map(role);
    let nobody = token(&json!({ "sub": "x", "role": "guest", "exp": now() + 3600 }));
    let expired = token(&json!({ "role": "admin", "exp": now() - 3600 }));
    for route in ROUTES {
        let method = text(route.method);
        let name = format!("{method} {}", route.pattern);
        assert_eq!(route.needs.role, expected(method, route.pattern), "{name}");
        let body = (method == "POST").then_some("{}");
        let path = path(route.pattern);
        let status = |client: &crate::harness::Client| client.send(method, &path, &[], body).status;
        let with = |token: &str| server.client().bearing(token);
        let Some(needed) = route.needs.role else {
            assert_eq!(status(&server.client()), 200, "{name}");
            assert_eq!(status(&with("nonsense")), 200, "{name}");
            continue;
        };
        assert_eq!(status(&server.client()), 401, "{name}");
        assert_eq!(status(&with("nonsense")), 401, "{name}");
        assert_eq!(status(&with(&expired)), 401, "{name}");
        assert_eq!(status(&with(&nobody)), 403, "{name}");
        for (role, token) in roles.into_iter().zip(&tokens) {
            let status = status(&with(token));
            if role < needed {
                assert_eq!(status, 403, "{name} {role:?}");
            } else {
                assert!([200, 201, 204, 400, 404].contains(&status), "{name} {role:?}: {status}");
            }
        }
    }
    let weak = server.client().bearing(&tokens[0]);
    let refused = weak.post_text("/api/v1/push", "{}").refused(403, "forbidden");
    assert_eq!(refused, "Insufficient permissions");
    assert_eq!(weak.post_text("/api/v1/push", "{}").header("WWW-Authenticate"), None);
    // Another way to write a path is another path.
    for path in ["/api/v1/push/", "//api/v1/push", "/API/v1/push", "/api/v1/%70ush"] {
        assert_eq!(server.post_text(path, "{}").status, 404, "{path}");
    }
}
