//! nginx in front of the server, with and without buffering: one process on a free port, whose
//! files are in a scratch directory.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::curl::{JSON, curl, every_way_works};
use super::program::{found, tame};
use crate::harness::{Client, Server, eventually, scratch, text};
use crate::{BODY_BYTES_MAX, push_body, root, server};

/// A running proxy. Killed when it is dropped.
struct Nginx {
    child: Child,
    address: SocketAddr,
    directory: TempDir,
}

impl Nginx {
    fn in_front_of(server: &Server, buffering: &str) -> Self {
        let mut nginx = Self::start(server, buffering);
        eventually("nginx passes requests on", || {
            if nginx.child.try_wait().expect("the child is ours").is_some() {
                // It ends when somebody else took the port meanwhile.
                nginx = Self::start(server, buffering);
            }
            let answer = nginx.client().try_send("GET", "/health", &[], None);
            let by_nginx = |name: Option<&str>| name.is_some_and(|name| name.starts_with("nginx"));
            answer.ok().filter(|one| one.status == 200 && by_nginx(one.header("server")))
        });
        nginx
    }

    fn start(server: &Server, buffering: &str) -> Self {
        let directory = scratch();
        let free = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let address = free.local_addr().expect("it is bound");
        drop(free);
        let template = root().join("tests/clients/nginx.conf");
        let configuration = fs::read_to_string(template)
            .expect("it is in the repository")
            .replace("{directory}", directory.path().to_str().expect("a plain path"))
            .replace("{server}", &server.address().to_string())
            .replace("{listen}", &address.to_string())
            .replace("{buffering}", buffering);
        let file = directory.path().join("nginx.conf");
        fs::write(&file, configuration).expect("there is room");
        let said = fs::File::create(directory.path().join("said")).expect("there is room");
        let mut command = Command::new(found("nginx"));
        command.arg("-c").arg(&file).arg("-p").arg(directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        let child = tame(&mut command).spawn().expect("nginx can be run");
        Self { child, address, directory }
    }

    fn client(&self) -> Client {
        Client::new(self.address)
    }

    fn said(&self) -> String {
        fs::read_to_string(self.directory.path().join("said")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- nginx said ---\n{}", self.said());
        }
    }
}

fn accepted(server: &Server) -> u64 {
    server.get("/metrics").expect(200)["connections"]["accepted"].as_u64().expect("a count")
}

#[track_caller]
fn works_behind_nginx(buffering: &str) {
    let server = server();
    let nginx = Nginx::in_front_of(&server, buffering);
    let base = format!("http://{}", nginx.address);
    let before = accepted(&server);
    every_way_works(&server, &base, &[]);
    // Each run of curl has a connection to nginx, which keeps its own to the server: 24 requests, and
    // room for what the test itself asks.
    let made = accepted(&server) - before;
    assert!(made < 12, "{made} connections to the server were made");
    // What the server refuses early is heard through nginx too.
    let body = push_body("large", "1", BODY_BYTES_MAX + 1);
    let url = format!("{base}/api/v1/push");
    let arguments = [&JSON[..], &["--data-binary", "@-", &url]].concat();
    assert_eq!(curl(&arguments, body.as_bytes()).expect(413)["code"], "body_too_large");
    // A poll waits through nginx, and is woken.
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let path = "/api/v1/pop/queue/awaited?wait=true&timeout=60000&autoAck=true";
            nginx.client().get(path).expect(200)
        });
        eventually("the poll waits", || {
            (server.get("/metrics").expect(200)["parkedPolls"] == 1).then_some(())
        });
        server.push(&serde_json::json!([{ "queue": "awaited", "payload": "come" }]));
        let popped = waiting.join().expect("it was answered");
        assert_eq!(text(&popped["messages"][0]["data"]), "come");
    });
}

#[test]
fn it_works_behind_nginx_that_buffers() {
    works_behind_nginx("on");
}

#[test]
fn it_works_behind_nginx_that_does_not_buffer() {
    works_behind_nginx("off");
}
