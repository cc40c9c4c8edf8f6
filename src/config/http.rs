//! The options about clients: what one request may be, how long it may take, how much there may be at
//! one time, and whose pages may read answers.

use std::time::Duration;

use clap::Args;

use super::options::MILLISECONDS_MAX;
use super::{index, setting};
use crate::http::{self, Origins};
use crate::server;
use crate::start::StartError;

/// How many of the largest bodies a core holds at one time if nothing else was said.
const BODIES_HELD: usize = 4;
/// What a core holds at least then: small bodies are no reason for it to be busy with few heads.
const REQUEST_BYTES_DEFAULT_MIN: usize = 64 * 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct HttpOptions {
    /// Largest request head in bytes
    #[arg(long, env = "QUEEN_HEAD_BYTES_MAX", value_name = "BYTES", default_value_t = 16 * 1024,
        value_parser = clap::value_parser!(u32).range(64..=1024 * 1024))]
    head_bytes_max: u32,

    /// Most header fields in a request
    #[arg(long, env = "QUEEN_HEADER_COUNT_MAX", value_name = "COUNT", default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    header_count_max: u32,

    /// Longest request target in bytes
    #[arg(long, env = "QUEEN_TARGET_BYTES_MAX", value_name = "BYTES", default_value_t = 8 * 1024,
        value_parser = clap::value_parser!(u32).range(16..=1024 * 1024))]
    target_bytes_max: u32,

    /// Largest request body in bytes
    #[arg(long, env = "QUEEN_BODY_BYTES_MAX", value_name = "BYTES",
        default_value_t = 64 * 1024 * 1024, value_parser = clap::value_parser!(u32).range(1024..))]
    body_bytes_max: u32,

    /// Milliseconds from the first byte of a request head to its end
    #[arg(long, env = "QUEEN_HEAD_TIME_MS", value_name = "MS", default_value_t = 10_000,
        value_parser = clap::value_parser!(u64).range(1..=MILLISECONDS_MAX))]
    head_time_ms: u64,

    /// Milliseconds that any request body may take
    #[arg(long, env = "QUEEN_BODY_TIME_MS", value_name = "MS", default_value_t = 30_000,
        value_parser = clap::value_parser!(u64).range(1..=MILLISECONDS_MAX))]
    body_time_ms: u64,

    /// Bytes per second at which a longer request body must arrive
    #[arg(long, env = "QUEEN_BODY_BYTES_PER_SECOND_MIN", value_name = "BYTES", default_value_t = 4096,
        value_parser = clap::value_parser!(u64).range(1..))]
    body_bytes_per_second_min: u64,

    /// Milliseconds that a connection without a request stays open
    #[arg(long, env = "QUEEN_IDLE_TIME_MS", value_name = "MS", default_value_t = 75_000,
        value_parser = clap::value_parser!(u64).range(1..=MILLISECONDS_MAX))]
    idle_time_ms: u64,

    /// Most connections of clients on each core
    #[arg(long, env = "QUEEN_CONNECTIONS_MAX", value_name = "COUNT", default_value_t = 50_000,
        value_parser = clap::value_parser!(u32).range(1..))]
    connections_max: u32,

    /// Most connections of one address, on all cores together; 0 is any number
    #[arg(long, env = "QUEEN_ADDRESS_CONNECTIONS_MAX", value_name = "COUNT", default_value_t = 0)]
    address_connections_max: u32,

    /// Most requests that each core works on at one time, without those that wait for messages
    #[arg(long, env = "QUEEN_REQUESTS_MAX", value_name = "COUNT", default_value_t = 20_000,
        value_parser = clap::value_parser!(u32).range(1..))]
    requests_max: u32,

    /// Most bytes of unanswered requests on each core [default: 4 of the largest bodies, and at
    /// least 64 MiB]
    #[arg(long, env = "QUEEN_REQUEST_BYTES_MAX", value_name = "BYTES")]
    request_bytes_max: Option<usize>,

    /// Most pops that wait for messages on each core
    #[arg(long, env = "QUEEN_POLLS_MAX", value_name = "COUNT", default_value_t = 50_000,
        value_parser = clap::value_parser!(u32).range(1..))]
    polls_max: u32,

    /// Most pops of one address that wait for messages, on all cores together; 0 is any number
    #[arg(long, env = "QUEEN_ADDRESS_POLLS_MAX", value_name = "COUNT", default_value_t = 0)]
    address_polls_max: u32,

    /// Origins of the pages that may read answers, separated by commas; * for any, none for nobody
    #[arg(long, env = "QUEEN_CORS_ORIGINS", value_name = "ORIGINS", default_value = "*")]
    cors_origins: String,
}

impl HttpOptions {
    pub(super) fn limits(&self) -> Result<server::Limits, StartError> {
        let body_bytes_max = index(self.body_bytes_max);
        let bodies = body_bytes_max.saturating_mul(BODIES_HELD);
        let request_bytes_max =
            self.request_bytes_max.unwrap_or(bodies.max(REQUEST_BYTES_DEFAULT_MIN));
        let one = index(self.head_bytes_max).saturating_add(body_bytes_max);
        if request_bytes_max < one {
            let reason = format!(
                "{request_bytes_max} is less than one request may have, {one} bytes by \
                 QUEEN_HEAD_BYTES_MAX and QUEEN_BODY_BYTES_MAX"
            );
            return Err(setting("QUEEN_REQUEST_BYTES_MAX", reason));
        }
        let bound = |count| (count > 0).then(|| index(count));
        Ok(server::Limits {
            http: http::Limits {
                head_bytes_max: index(self.head_bytes_max),
                header_count_max: index(self.header_count_max),
                target_bytes_max: index(self.target_bytes_max),
                body_bytes_max,
                ..http::Limits::default()
            },
            head_time: Duration::from_millis(self.head_time_ms),
            body_time: Duration::from_millis(self.body_time_ms),
            body_bytes_per_second_min: self.body_bytes_per_second_min,
            idle_time: Duration::from_millis(self.idle_time_ms),
            connections_max: index(self.connections_max),
            address_connections_max: bound(self.address_connections_max),
            requests_max: index(self.requests_max),
            request_bytes_max,
            polls_max: index(self.polls_max),
            address_polls_max: bound(self.address_polls_max),
        })
    }

    pub(super) fn origins(&self) -> Result<Origins, StartError> {
        match self.cors_origins.trim() {
            "*" => Ok(Origins::Any),
            "none" => Ok(Origins::Nobody),
            list => list.split(',').map(origin).collect::<Result<_, _>>().map(Origins::Listed),
        }
    }
}

/// One origin, written as a browser writes it: it is compared byte by byte.
fn origin(text: &str) -> Result<String, StartError> {
    let text = text.trim();
    let is_made_of = |part: &str, others: &[u8]| {
        let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9') || others.contains(&byte);
        !part.is_empty() && part.bytes().all(fits)
    };
    let is_origin = text
        .split_once("://")
        .is_some_and(|(scheme, host)| is_made_of(scheme, b"+-.") && is_made_of(host, b"-._:[]"));
    if is_origin {
        return Ok(text.to_owned());
    }
    let reason = format!(
        "{text:?} is not an origin such as https://app.example or http://localhost:3000, in lower \
         case and without a path"
    );
    Err(setting("QUEEN_CORS_ORIGINS", reason))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::{Config, parse};
    use super::*;

    fn read(arguments: &[&str]) -> Result<Config, String> {
        let all = ["queen", "serve"].iter().chain(arguments).map(OsString::from);
        parse(all).map(|(_, config)| config).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_those_that_the_parser_names() {
        let limits = read(&[]).unwrap().limits;
        assert_eq!(limits.http, http::Limits::default());
        assert_eq!(limits.request_bytes_max, 4 * limits.http.body_bytes_max);
        assert!(!limits.count_addresses());
    }

    #[test]
    fn one_request_must_fit_among_the_bytes_of_all() {
        let small = ["--body-bytes-max", "4096", "--head-bytes-max", "1000"];
        let with = |bytes| read(&[&small[..], &["--request-bytes-max", bytes]].concat());
        assert_eq!(with("5096").unwrap().limits.request_bytes_max, 5096);
        assert!(with("5095").unwrap_err().starts_with("QUEEN_REQUEST_BYTES_MAX"));
        assert_eq!(read(&small).unwrap().limits.request_bytes_max, REQUEST_BYTES_DEFAULT_MIN);
    }

    #[test]
    fn origins_are_any_nobodys_or_a_list() {
        let with = |text| read(&["--cors-origins", text]).map(|config| config.origins);
        assert_eq!(read(&[]).unwrap().origins, Origins::Any);
        assert_eq!(with("none"), Ok(Origins::Nobody));
        let listed = ["https://a.example", "http://[::1]:3000"].map(str::to_owned);
        assert_eq!(
            with("https://a.example, http://[::1]:3000"),
            Ok(Origins::Listed(listed.to_vec()))
        );
        for bad in [
            "a.example",
            "https://a.example/",
            "https://A.example",
            "https://",
            "://a",
            "null",
            "https://a,*",
            "https://a\r\nX: y",
            "https://u@a",
        ] {
            assert!(with(bad).unwrap_err().starts_with("QUEEN_CORS_ORIGINS"), "{bad}");
        }
    }
}
