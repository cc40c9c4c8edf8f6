//! What happens to a push before it joins a batch: its queues and partitions are found or created,
//! and what goes to encrypted queues is encrypted.

use std::rc::Rc;

use hashbrown::HashMap;

use super::catalog::Queue;
use super::push::{PushPlan, PushRequest, PushTarget, Target};
use super::seal::seal;
use super::{Engine, Error};
use crate::encryption::NoKey;

/// A plan whose partitions could not be looked up.
pub(super) struct Unprepared {
    pub error: Error,
    /// Empty when that was not the reason.
    pub plan: PushPlan,
}

impl From<Box<Unprepared>> for Error {
    fn from(unprepared: Box<Unprepared>) -> Self {
        unprepared.error
    }
}

impl Engine {
    /// Makes what is stored of a plan: finds or creates its partitions, and encrypts what goes to
    /// encrypted queues.
    pub(super) async fn prepare(&self, plan: PushPlan) -> Result<PushRequest, Box<Unprepared>> {
        let PushPlan { lines, items, targets, arrived } = plan;
        let queues = match self.look_up_unknown(&targets).await {
            Ok(queues) => queues,
            Err(error) => {
                let plan = PushPlan { lines, items, targets, arrived };
                return Err(Box::new(Unprepared { error, plan }));
            }
        };
        let targets =
            resolve(targets, &queues).map_err(Unprepared::without_plan).map_err(Box::new)?;
        let mut request = PushRequest { lines, items, targets, arrived };
        let sealed = seal(&self.keys, &mut request).await;
        sealed.map_err(|NoKey| Box::new(Unprepared::without_plan(Error::EncryptionUnavailable)))?;
        Ok(request)
    }

    /// The queues of unknown partitions, with those partitions.
    async fn look_up_unknown(
        &self,
        targets: &[PushTarget],
    ) -> Result<HashMap<String, Rc<Queue>>, Error> {
        // All unknown partitions of a queue are asked for together.
        let mut unknown: HashMap<String, Vec<String>> = HashMap::new();
        for target in targets {
            if let PushTarget::Named { queue, partition } = target {
                unknown.entry_ref(queue).or_default().push(partition.clone());
            }
        }
        let mut queues: HashMap<String, Rc<Queue>> = HashMap::new();
        for (queue, partitions) in unknown {
            let partitions: Vec<&str> = partitions.iter().map(String::as_str).collect();
            let found = self.patiently(self.ensure_partitions(&queue, &partitions)).await?;
            queues.insert(queue, found);
        }
        Ok(queues)
    }
}

impl Unprepared {
    fn without_plan(error: Error) -> Self {
        Self { error, plan: PushPlan::default() }
    }
}

fn resolve(
    targets: Vec<PushTarget>,
    queues: &HashMap<String, Rc<Queue>>,
) -> Result<Vec<Target>, Error> {
    let resolved = targets.into_iter().map(|target| match target {
        PushTarget::Known(target) => Ok(target),
        PushTarget::Named { queue, partition } => {
            let queue = queues.get(&queue).ok_or(Error::Overloaded)?;
            let (partition_name, partition) =
                queue.partition(&partition).ok_or(Error::Overloaded)?;
            Ok(Target { queue: Rc::clone(queue), partition, partition_name })
        }
    });
    resolved.collect()
}
