//! Among the partitions that have something, the one that waits longest is served first.

mod harness;

use harness::{Server, Settings, text};
use serde_json::Value;

fn partitions(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| text(&message["partition"])).collect()
}

/// Pops one message for a group, so often, and completes it; the partitions in that order.
fn served(server: &Server, group: &str, times: usize) -> Vec<String> {
    let pop = |_| {
        let messages = server.pop("q", &format!("consumerGroup={group}"));
        server.complete_all(&messages);
        partitions(&messages)[0].to_owned()
    };
    (0..times).map(pop).collect()
}

#[test]
fn partitions_are_served_in_the_order_in_which_they_began_to_wait() {
    for workers in 1..=2 {
        let server = Server::with(Settings { workers, ..Settings::default() });
        for group in ["known", "also-known"] {
            assert!(server.pop("q", &format!("consumerGroup={group}")).is_empty());
        }
        let order = ["c", "a", "e", "b", "d"];
        for partition in order {
            server.push_one("q", partition, 1);
        }
        for group in ["known", "also-known", "new-here"] {
            assert_eq!(served(&server, group, 5), order, "{group} on {workers} cores");
        }
    }
}

#[test]
fn a_partition_that_was_served_goes_behind_those_that_were_not() {
    let server = Server::start();
    assert!(server.pop("q", "").is_empty());
    for partition in ["a", "b", "c"] {
        server.push_all("q", partition, 0..3);
    }
    let expected = ["a", "b", "c", "a", "b", "c", "a", "b", "c"];
    assert_eq!(served(&server, "g", 9), expected);
}

/// Of two partitions, `old` has the oldest message and the newest one; whether it comes first.
fn old_before_young(server: &Server, group: &str) -> bool {
    for (n, partition) in ["old", "young", "old"].into_iter().enumerate() {
        server.push_one("q", partition, n);
    }
    let query = format!("consumerGroup={group}&subscriptionMode=all&partitions=9&batch=9");
    partitions(&server.pop("q", &query)) == ["old", "old", "young"]
}

#[test]
fn a_partition_waits_since_its_oldest_message_not_its_newest() {
    let server = Server::start();
    server.configure("q", &serde_json::json!({}));
    assert!(server.pop("q", "consumerGroup=known").is_empty());
    assert!(old_before_young(&server, "known"));
}

#[test]
fn so_it_does_for_a_group_that_comes_later() {
    let server = Server::start();
    assert!(old_before_young(&server, "new-here"));
}
