//! What a core allows its clients at one time, and how long it waits for them.
//!
//! Each bound protects the clients that keep to it from those that do not. What one request may be is
//! the parser's matter (`http::Limits`). A core counts for itself: the kernel spreads connections over
//! the cores, so bounds are those of one core, except for those of an address.
//!
//! Counting is an addition to a cell of the core. What addresses have is counted by all cores together,
//! and only where a bound on them is set, when a connection or a poll begins and ends.

use std::cell::Cell;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;

use crate::http::{self, Reject};
use crate::metrics::Limit;

/// The bounds of one core. Those for an address are of all cores, and `None` is no bound: behind one
/// address there may be a thousand clients, and a bound that nobody asked for would hit them first.
#[derive(Debug, Clone)]
pub struct Limits {
    pub http: http::Limits,
    /// From the first byte of a head to its end. Protects descriptors and buffers from clients that
    /// send a byte now and then.
    pub head_time: Duration,
    /// What a body may take however small it is; then it must arrive at the rate.
    pub body_time: Duration,
    pub body_bytes_per_second_min: u64,
    /// A connection without a request ends after this.
    pub idle_time: Duration,
    /// Each costs a few kilobytes and a descriptor.
    pub connections_max: usize,
    pub address_connections_max: Option<usize>,
    /// Requests that are worked on, polls apart: each waits for the database with its memory.
    pub requests_max: usize,
    /// What was received of requests that are not answered. A request that has not arrived whole is
    /// given up past it, so a few large bodies cannot take all memory.
    pub request_bytes_max: usize,
    /// Pops that may wait for messages. Each is an entry where messages are handed out.
    pub polls_max: usize,
    pub address_polls_max: Option<usize>,
}

impl Limits {
    /// Whether addresses need to be known.
    pub fn count_addresses(&self) -> bool {
        self.address_connections_max.is_some() || self.address_polls_max.is_some()
    }

    /// How long a request may take that is this long by now.
    pub fn request_time(&self, is_in_body: bool, received_bytes: usize) -> Duration {
        if !is_in_body {
            return self.head_time;
        }
        let seconds = received_bytes as u64 / self.body_bytes_per_second_min;
        self.head_time + self.body_time + Duration::from_secs(seconds)
    }
}

/// What is refused to a connection, and what it is counted under.
pub fn refusal(limit: Limit) -> Reject {
    match limit {
        Limit::AddressConnections => Reject::ADDRESS_CONNECTIONS,
        _ => Reject::CONNECTIONS,
    }
}

/// The bound that a refused request went past, if it was one.
pub fn limit_of(reject: &Reject) -> Option<Limit> {
    Some(match *reject {
        Reject::HEAD_LENGTH => Limit::HeadBytes,
        Reject::HEADER_COUNT => Limit::HeaderCount,
        Reject::TARGET_LENGTH => Limit::TargetBytes,
        Reject::BODY_LENGTH => Limit::BodyBytes,
        Reject::CHUNK_LINE_LENGTH | Reject::CHUNK_FRAMING => Limit::ChunkBytes,
        Reject::TRAILER_LENGTH => Limit::TrailerBytes,
        Reject::HEAD_TIME => Limit::HeadTime,
        Reject::BODY_TIME => Limit::BodyTime,
        Reject::PIPELINE => Limit::PipelinedBytes,
        Reject::REQUEST_BYTES => Limit::RequestBytes,
        Reject::CONNECTIONS => Limit::Connections,
        Reject::ADDRESS_CONNECTIONS => Limit::AddressConnections,
        _ => return None,
    })
}

/// Who may be one client with many addresses counts as one: whoever has an IPv6 address has its /64.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

/// What an address has at one time.
#[derive(Debug, Default, PartialEq, Eq)]
struct Share {
    connections: usize,
    polls: usize,
}

/// Which of them.
type Count = fn(&mut Share) -> &mut usize;
const CONNECTIONS: Count = |share| &mut share.connections;
const POLLS: Count = |share| &mut share.polls;

/// Of the addresses that have something, on all cores. The lock is held for one look-up, so a core
/// hardly ever finds it taken.
#[derive(Debug, Default)]
pub struct Addresses(Mutex<HashMap<IpAddr, Share>>);

impl Addresses {
    /// `None` where there is no bound on them.
    pub fn of(limits: &Limits) -> Option<Arc<Self>> {
        limits.count_addresses().then(Arc::default)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Share>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more, if the bound allows it.
    fn enter(&self, address: IpAddr, count: Count, max: Option<usize>) -> bool {
        let mut shares = self.lock();
        let count = count(shares.entry(address).or_default());
        let may = max.is_none_or(|max| *count < max);
        *count += usize::from(may);
        may
    }

    fn leave(&self, address: IpAddr, count: Count) {
        let mut shares = self.lock();
        if let Some(share) = shares.get_mut(&address) {
            *count(share) -= 1;
            if *share == Share::default() {
                shares.remove(&address);
            }
        }
    }
}

/// What the clients of a core have at one time.
#[derive(Debug)]
pub struct Crowd {
    pub limits: Limits,
    connections: Cell<usize>,
    requests: Cell<usize>,
    request_bytes: Cell<usize>,
    polls: Cell<usize>,
    addresses: Option<Arc<Addresses>>,
}

impl Crowd {
    pub fn new(limits: Limits, addresses: Option<Arc<Addresses>>) -> Rc<Self> {
        Rc::new(Self {
            limits,
            connections: Cell::default(),
            requests: Cell::default(),
            request_bytes: Cell::default(),
            polls: Cell::default(),
            addresses,
        })
    }

    /// Counts one more of an address, if that is known and the bound allows it.
    fn enter_from(&self, address: Option<IpAddr>, count: Count, max: Option<usize>) -> bool {
        let known = self.addresses.as_ref().zip(address);
        known.is_none_or(|(addresses, address)| addresses.enter(address, count, max))
    }

    fn leave_from(&self, address: Option<IpAddr>, count: Count) {
        if let Some((addresses, address)) = self.addresses.as_ref().zip(address) {
            addresses.leave(address, count);
        }
    }

    /// Lets a connection in, if there is room for it.
    pub fn enter(self: &Rc<Self>, address: Option<IpAddr>) -> Result<Guest, Limit> {
        if self.connections.get() >= self.limits.connections_max {
            return Err(Limit::Connections);
        }
        if !self.enter_from(address, CONNECTIONS, self.limits.address_connections_max) {
            return Err(Limit::AddressConnections);
        }
        self.connections.update(|count| count + 1);
        Ok(Guest { crowd: Rc::clone(self), address, bytes: 0 })
    }

    /// Whether requests that have not arrived whole take all the room there is for them.
    pub fn holds_too_much(&self) -> bool {
        self.request_bytes.get() > self.limits.request_bytes_max
    }

    /// Whether there is room for one request more.
    pub fn may_work(&self) -> Result<(), Limit> {
        if self.requests.get() < self.limits.requests_max { Ok(()) } else { Err(Limit::Requests) }
    }

    /// A request is worked on as long as the result lives.
    pub fn work(&self) -> Working<'_> {
        self.requests.update(|count| count + 1);
        Working(&self.requests)
    }
}

/// A request that is worked on, as long as it lives.
pub struct Working<'a>(&'a Cell<usize>);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.update(|count| count - 1);
    }
}

/// A connection that was let in, as long as it lives.
pub struct Guest {
    crowd: Rc<Crowd>,
    address: Option<IpAddr>,
    /// What is held of requests that it sent.
    bytes: usize,
}

impl Guest {
    /// What was received from it and is not answered.
    pub fn hold(&mut self, bytes: usize) {
        let crowd = &self.crowd.request_bytes;
        crowd.set(crowd.get() - self.bytes + bytes);
        self.bytes = bytes;
    }

    /// Lets a poll in, if there is room for it.
    pub fn poll(&self) -> Result<Polling, Limit> {
        let crowd = &self.crowd;
        if crowd.polls.get() >= crowd.limits.polls_max {
            return Err(Limit::Polls);
        }
        if !crowd.enter_from(self.address, POLLS, crowd.limits.address_polls_max) {
            return Err(Limit::AddressPolls);
        }
        crowd.polls.update(|count| count + 1);
        Ok(Polling { crowd: Rc::clone(crowd), address: self.address })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.hold(0);
        self.crowd.connections.update(|count| count - 1);
        self.crowd.leave_from(self.address, CONNECTIONS);
    }
}

/// A poll that was let in, as long as it lives, which is no longer than its connection.
pub struct Polling {
    crowd: Rc<Crowd>,
    address: Option<IpAddr>,
}

impl Drop for Polling {
    fn drop(&mut self) {
        self.crowd.polls.update(|count| count - 1);
        self.crowd.leave_from(self.address, POLLS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
        let mut limits = Limits {
            http: http::Limits::default(),
            head_time: Duration::from_secs(10),
            body_time: Duration::from_secs(30),
            body_bytes_per_second_min: 1000,
            idle_time: Duration::from_secs(75),
            connections_max: 100,
            address_connections_max: None,
            requests_max: 100,
            request_bytes_max: 100,
            polls_max: 100,
            address_polls_max: None,
        };
        change(&mut limits);
        limits
    }

    fn crowd(change: impl FnOnce(&mut Limits)) -> Rc<Crowd> {
        Crowd::new(limits(change), None)
    }

    fn address(text: &str) -> IpAddr {
        network(text.parse().unwrap())
    }

    #[test]
    fn a_connection_is_let_in_when_another_one_has_left() {
        let crowd = crowd(|limits| limits.connections_max = 2);
        let first = crowd.enter(None).ok().unwrap();
        let _second = crowd.enter(None).ok().unwrap();
        assert_eq!(crowd.enter(None).err(), Some(Limit::Connections));
        drop(first);
        assert!(crowd.enter(None).is_ok());
    }

    #[test]
    fn an_address_has_its_own_bounds_on_all_cores_and_leaves_nothing_behind() {
        let limits = limits(|limits| {
            limits.address_connections_max = Some(2);
            limits.address_polls_max = Some(1);
        });
        let addresses = Addresses::of(&limits).unwrap();
        let [crowd, elsewhere] =
            [(); 2].map(|()| Crowd::new(limits.clone(), Some(Arc::clone(&addresses))));
        let (here, there) = (Some(address("10.0.0.1")), Some(address("10.0.0.2")));
        let first = crowd.enter(here).ok().unwrap();
        let second = elsewhere.enter(here).ok().unwrap();
        for crowd in [&crowd, &elsewhere] {
            assert_eq!(crowd.enter(here).err(), Some(Limit::AddressConnections));
        }
        let other = crowd.enter(there).ok().unwrap();
        let poll = first.poll().ok().unwrap();
        assert_eq!(second.poll().err(), Some(Limit::AddressPolls));
        assert!(other.poll().is_ok());
        drop(poll);
        assert!(second.poll().is_ok());
        drop((first, second, other));
        assert!(addresses.lock().is_empty());
        for crowd in [crowd, elsewhere] {
            assert_eq!((crowd.connections.get(), crowd.polls.get()), (0, 0));
        }
    }

    #[test]
    fn what_is_held_is_given_back_with_the_connection() {
        let crowd = crowd(|limits| limits.request_bytes_max = 10);
        let (mut first, mut second) =
            (crowd.enter(None).ok().unwrap(), crowd.enter(None).ok().unwrap());
        first.hold(8);
        second.hold(2);
        assert!(!crowd.holds_too_much());
        second.hold(3);
        assert!(crowd.holds_too_much());
        drop(first);
        assert!(!crowd.holds_too_much());
        drop(second);
        assert_eq!(crowd.request_bytes.get(), 0);
    }

    #[test]
    fn polls_and_requests_are_counted_apart() {
        let crowd = crowd(|limits| (limits.requests_max, limits.polls_max) = (1, 1));
        let guest = crowd.enter(None).ok().unwrap();
        let (work, poll) = (crowd.work(), guest.poll().ok().unwrap());
        assert_eq!(crowd.may_work(), Err(Limit::Requests));
        assert_eq!(guest.poll().err(), Some(Limit::Polls));
        drop((work, poll));
        assert!(crowd.may_work().is_ok() && guest.poll().is_ok());
    }

    #[test]
    fn a_body_has_time_by_its_length() {
        let crowd = crowd(|_| ());
        for (is_in_body, bytes, seconds) in
            [(false, 0, 10), (false, 90_000, 10), (true, 100, 40), (true, 60_000, 100)]
        {
            let time = crowd.limits.request_time(is_in_body, bytes);
            assert_eq!(time, Duration::from_secs(seconds));
        }
    }

    #[test]
    fn a_network_of_ipv6_and_an_address_of_ipv4_are_one_client() {
        assert_eq!(address("2001:db8:1:2:3::4"), address("2001:db8:1:2:ffff::"));
        assert_ne!(address("2001:db8:1:2::"), address("2001:db8:1:3::"));
        assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
        assert_ne!(address("10.0.0.1"), address("10.0.0.2"));
    }
}
