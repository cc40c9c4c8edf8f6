//! The addresses of the hosts in the settings.
//!
//! A look-up blocks, so it is done before the cores start and then, where a host has a name, again and
//! again on a thread of its own: the name of a managed database moves to another address when a
//! standby is promoted. Cores read what was found last, only when they connect.

use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// Between two look-ups of the same name. Nameservers have caches; this asks the nearest one.
const LOOK_UP_INTERVAL: Duration = Duration::from_secs(2);

/// One list for each host; empty for a socket directory, and for a name without addresses.
#[derive(Debug, Clone)]
pub struct Addresses(Arc<Mutex<Vec<Vec<IpAddr>>>>);

impl Addresses {
    /// Blocks while names are looked up for the first time.
    pub fn of(config: &Config) -> Self {
        let name = |host: &Host| match host {
            Host::Tcp(name) => Some(name.clone()),
            Host::Unix(_) => None,
        };
        let names = config.get_hosts().iter().map(name).collect();
        Self::follow(names, LOOK_UP_INTERVAL, look_up)
    }

    pub(super) fn of_host(&self, host: usize) -> Vec<IpAddr> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.get(host).cloned().unwrap_or_default()
    }

    fn follow(
        names: Vec<Option<String>>,
        interval: Duration,
        look_up: impl Fn(&str) -> Vec<IpAddr> + Send + 'static,
    ) -> Self {
        let of = |name: &Option<String>| name.as_deref().map_or_else(Vec::new, &look_up);
        let first: Vec<Vec<IpAddr>> = names.iter().map(of).collect();
        let found = Arc::new(Mutex::new(first));
        let last = Arc::downgrade(&found);
        let may_move = |name: &String| name.parse::<IpAddr>().is_err();
        if names.iter().flatten().any(may_move) {
            // Ends when the last who could ask has gone.
            let following = move || {
                while last.strong_count() > 0 {
                    thread::sleep(interval);
                    for (host, name) in names.iter().enumerate() {
                        let now = name.as_deref().map_or_else(Vec::new, &look_up);
                        // Nameservers have outages, too: what is known is better than nothing.
                        if let (Some(found), false) = (last.upgrade(), now.is_empty()) {
                            found.lock().unwrap_or_else(PoisonError::into_inner)[host] = now;
                        }
                    }
                }
            };
            let started = thread::Builder::new().name("names".to_owned()).spawn(following);
            if let Err(error) = started {
                tracing::warn!(%error, "host names are not looked up again");
            }
        }
        Self(found)
    }
}

fn look_up(name: &str) -> Vec<IpAddr> {
    let found = (name, 0).to_socket_addrs();
    found.map(|addresses| addresses.map(|address| address.ip()).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_name_that_moves_is_followed_and_one_that_is_lost_is_not_forgotten() {
        static LOOKS: AtomicU8 = AtomicU8::new(0);
        let names = vec![None, Some("db.example".to_owned())];
        let addresses = Addresses::follow(names, Duration::from_millis(1), |name| {
            assert_eq!(name, "db.example");
            match LOOKS.fetch_add(1, Ordering::Relaxed) {
                0 => vec![IpAddr::from([10, 0, 0, 1])],
                1 => vec![IpAddr::from([10, 0, 0, 2])],
                look => {
                    LOOKS.store(look, Ordering::Relaxed);
                    Vec::new()
                }
            }
        });
        let deadline = Instant::now() + Duration::from_secs(20);
        let moved = [IpAddr::from([10, 0, 0, 2])];
        while addresses.of_host(1) != moved || LOOKS.load(Ordering::Relaxed) < 2 {
            assert!(Instant::now() < deadline, "{addresses:?}");
            thread::yield_now();
        }
        assert_eq!(addresses.of_host(0), [] as [IpAddr; 0]);
        assert_eq!(Addresses::of(&"host=127.0.0.1".parse().unwrap()).of_host(0).len(), 1);
    }
}
