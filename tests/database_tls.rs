//! TLS to PostgreSQL: what is verified is used, what cannot be verified is not, and a password is
//! bound to the connection that it was meant for.

mod harness;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use harness::cluster::{Cluster, USER};
use harness::{Authority, Database, Relay, Server, Settings, eventually};

const PASSWORD: &str = "secret";

/// A PostgreSQL that takes connections over TCP with TLS and a password alone. Its certificate is
/// for `localhost`.
struct Secure {
    cluster: Cluster,
    port: u16,
    /// Of the authority's certificate.
    ca: PathBuf,
}

impl Secure {
    fn shared() -> &'static Self {
        static SHARED: OnceLock<Secure> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = port.expect("there are free ports").port();
        let settings = ["fsync=off", "listen_addresses=127.0.0.1", "max_connections=200"];
        let cluster = Cluster::with(&[&settings[..], &[&format!("port={port}")]].concat());
        let authority = Authority::new();
        let ca = cluster.socket_directory().join("ca.pem");
        fs::write(&ca, authority.pem()).expect("the directory is there");
        let data = cluster.socket_directory().join("data");
        let rules = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
        fs::write(data.join("pg_hba.conf"), rules).expect("the directory is there");
        let (certificate, key) = (data.join("server.crt"), data.join("server.key"));
        authority.issue(&["localhost"]).write(&certificate, &key);
        let owner = fs::metadata(&data).expect("the directory is there");
        chown(&key, Some(owner.uid()), Some(owner.gid())).expect("the key is ours");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("the key is ours");
        let mut admin = cluster.admin();
        for sql in [
            &format!("ALTER ROLE {USER} PASSWORD '{PASSWORD}'"),
            "ALTER SYSTEM SET ssl = on",
            "SELECT pg_reload_conf()",
        ] {
            admin.batch_execute(sql).expect("it is up");
        }
        eventually("it speaks TLS", || {
            let row = cluster.admin().query_one("SHOW ssl", &[]).expect("it is up");
            (row.get::<_, &str>(0) == "on").then_some(())
        });
        Self { cluster, port, ca }
    }

    fn ca(&self) -> String {
        self.ca.to_str().expect("scratch paths are UTF-8").to_owned()
    }

    /// Of a server that asks this host, with TLS as it is by default.
    fn environment(&self, host: &str) -> Vec<(&'static str, String)> {
        vec![
            ("PG_HOST", host.to_owned()),
            ("PG_PORT", self.port.to_string()),
            ("PG_PASSWORD", PASSWORD.to_owned()),
            ("PG_USE_SSL", "true".to_owned()),
        ]
    }

    fn trusted(&self, host: &str) -> Vec<(&'static str, String)> {
        [self.environment(host), vec![("PG_SSL_CA", self.ca())]].concat()
    }

    fn database(&self) -> Arc<Database> {
        Arc::new(Database::on(&self.cluster))
    }

    /// Asserts that a server with these settings does its work over TLS alone.
    fn serves(&self, environment: Vec<(&'static str, String)>) -> Server {
        let database = self.database();
        let server = Server::on(&database, Settings { workers: 2, environment });
        for size in [1, 1 << 20] {
            server.push_one("q", "p", "x".repeat(size));
            let messages = server.pop("q", "");
            server.complete_all(&messages);
        }
        let sql = "SELECT count(*), count(*) FILTER (WHERE ssl AND version LIKE 'TLSv1.%')
                   FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                   WHERE datname = $1 AND usename = $2 AND client_addr IS NOT NULL";
        let row = self.cluster.admin().query_one(sql, &[&database.name, &USER]);
        let row = row.expect("it is up");
        let (all, encrypted): (i64, i64) = (row.get(0), row.get(1));
        assert!(all >= 4, "two for each worker, and those of maintenance: {all}");
        assert_eq!(all, encrypted);
        server
    }

    /// Asserts that the server says `why` it does not use the database, which it needs to start.
    fn refuses(&self, environment: Vec<(&'static str, String)>, why: &str) {
        let needs = vec![("QUEEN_FILE_BUFFER_BYTES_MAX", "0".to_owned())];
        let environment = [environment, needs].concat();
        let said = Server::refused(&self.database(), Settings { workers: 1, environment });
        assert!(said.contains(why), "{said}");
    }
}

fn with(
    mut environment: Vec<(&'static str, String)>,
    name: &'static str,
    value: &str,
) -> Vec<(&'static str, String)> {
    environment.push((name, value.to_owned()));
    environment
}

#[test]
fn every_connection_to_a_verified_postgresql_is_encrypted() {
    let secure = Secure::shared();
    let server = secure.serves(secure.trusted("localhost"));
    server.says("with TLS");
}

#[test]
fn a_host_that_cannot_be_verified_is_passed_over() {
    let secure = Secure::shared();
    secure.serves(secure.trusted("127.0.0.1,localhost"));
}

#[test]
fn without_tls_this_postgresql_takes_no_password() {
    let secure = Secure::shared();
    secure.refuses(with(secure.environment("localhost"), "PG_USE_SSL", "false"), "no encryption");
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let secure = Secure::shared();
    let (scratch, other) = (harness::scratch(), Authority::new());
    let file = scratch.path().join("other.pem");
    fs::write(&file, other.pem()).expect("the directory is there");
    let file = file.to_str().expect("scratch paths are UTF-8");
    let unknown = with(secure.environment("localhost"), "PG_SSL_CA", file);
    secure.refuses(unknown.clone(), "UnknownIssuer");
    // Nor does the system trust it.
    secure.refuses(secure.environment("localhost"), "UnknownIssuer");
    // With a file buffer it is as one that is away.
    let settings = Settings { workers: 1, environment: unknown };
    let server = Server::on(&secure.database(), settings);
    eventually("it says why", || server.said("UnknownIssuer").then_some(()));
    let entry = serde_json::json!({ "items": [{ "queue": "q", "payload": 1 }] });
    assert_eq!(server.post("/api/v1/push", &entry).expect(201)[0]["status"], "buffered");
}

#[test]
fn a_certificate_for_another_host_is_refused() {
    let secure = Secure::shared();
    secure.refuses(secure.trusted("127.0.0.1"), "not valid for name");
}

#[test]
fn who_does_not_want_to_verify_need_not() {
    let secure = Secure::shared();
    let environment = secure.environment("127.0.0.1");
    secure.serves(with(environment, "PG_SSL_REJECT_UNAUTHORIZED", "false"));
}

#[test]
fn a_password_is_bound_to_the_connection_if_the_url_wants_it() {
    let secure = Secure::shared();
    let database = secure.database();
    let url = |host: &str, options: &str| {
        let (name, port) = (&database.name, secure.port);
        let url = format!("postgres://{USER}:{PASSWORD}@{host}:{port}/{name}?{options}");
        vec![("DATABASE_URL", url)]
    };
    let ca = harness::encode(&secure.ca());
    let bound = format!("sslmode=verify-full&sslrootcert={ca}&channel_binding=require");
    let settings = Settings { workers: 1, environment: url("localhost", &bound) };
    let server = Server::on(&database, settings);
    server.push_one("q", "p", 1);
    assert_eq!(server.pop("q", "").len(), 1);
    // A socket has no TLS to bind to, and asks for no password either.
    let socket = harness::encode(secure.cluster.socket_directory().to_str().expect("it is UTF-8"));
    secure.refuses(url(&socket, &bound), "channel binding");
}

#[test]
fn a_postgresql_without_tls_is_refused() {
    let secure = Secure::shared();
    let relay = Relay::to(Database::fresh().socket_directory());
    let environment = with(secure.trusted("127.0.0.1"), "PG_PORT", &relay.port.to_string());
    secure.refuses(environment, "does not support TLS");
}

#[test]
fn a_file_without_certificates_is_refused() {
    let secure = Secure::shared();
    for (file, why) in [("Cargo.toml", "no PEM certificate"), ("nowhere.pem", "nowhere.pem")] {
        let environment = with(secure.environment("localhost"), "PG_SSL_CA", file);
        secure.refuses(environment, why);
    }
}
