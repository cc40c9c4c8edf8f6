//! An operator moves a group: its leases end, and what it did is forgotten.

use serde_json::json;

use super::op::{GROUPS, PARTITIONS, Seek};
use super::reference::{Fate, Fault, Model, Place};
use super::run::{Difference, Run};
use crate::harness::encode;

impl Model {
    /// Moves a group; answers in how many partitions.
    fn seek(&mut self, group: &str, only: Option<&str>, to_end: bool) -> usize {
        let forgets = !self.has(Fault::SeeksKeepLeases);
        let Some(queue) = &mut self.queue else { return 0 };
        let names: Vec<String> = queue.partitions.keys().cloned().collect();
        let mut moved = 0;
        for name in names.iter().filter(|name| only.is_none_or(|only| only == *name)) {
            let Some(place) = queue.place(group, name) else { continue };
            let fate = if to_end { Fate::Before } else { Fate::Open { failures: 0 } };
            let fates = vec![fate; place.fates.len()];
            let lease = place.lease.take().filter(|_| !forgets);
            *place = Place { fates, lease, ..Place::default() };
            moved += 1;
        }
        moved
    }
}

impl Run<'_> {
    pub fn seek(&mut self, seek: Seek) -> Result<(), Difference> {
        let group = GROUPS[seek.group];
        let body =
            if seek.to_end { json!({ "toEnd": true }) } else { json!({ "toBeginning": true }) };
        let only = seek.partition.map(|partition| PARTITIONS[partition]);
        let in_partition =
            only.map_or(String::new(), |only| format!("/partitions/{}", encode(only)));
        let path = format!(
            "/api/v1/consumer-groups/{}/queues/{}{in_partition}/seek",
            encode(group),
            self.queue
        );
        let known = |only: &str| {
            self.model.queue.as_ref().is_some_and(|queue| queue.partitions.contains_key(only))
        };
        if only.is_some_and(|only| !known(only)) {
            return self.request("POST", &path, Some(&body), 404).map(|_| ());
        }
        let answer = self.request("POST", &path, Some(&body), 200)?;
        let moved = self.model.seek(group, only, seek.to_end);
        let as_promised = match only {
            None => answer["partitionsUpdated"] == moved,
            Some(_) => answer["updated"] == (moved == 1),
        };
        if as_promised { Ok(()) } else { Err(format!("{moved} moved: {answer}")) }
    }
}
