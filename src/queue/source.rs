//! Where a pop looks for messages: in one queue, or in all queues of a namespace and a task.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What filters and the order of serving need to know of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Labels {
    pub queue: Arc<str>,
    pub namespace: Arc<str>,
    pub task: Arc<str>,
    pub priority: i32,
}

/// By name: a poll may wait for a queue that does not exist yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    Queue(Arc<str>),
    /// Each empty where any will do.
    Filter {
        namespace: Arc<str>,
        task: Arc<str>,
    },
}

/// A source and the consumer group that reads from it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey {
    pub source: Source,
    pub group: Arc<str>,
}

impl GroupKey {
    pub fn of_queue(queue: &Arc<str>, group: &Arc<str>) -> Self {
        Self { source: Source::Queue(Arc::clone(queue)), group: Arc::clone(group) }
    }
}

impl Labels {
    /// The sources that this queue is a part of: itself, and the filters that it passes.
    pub fn sources(&self) -> [Source; 5] {
        let any: Arc<str> = Arc::from("");
        let filter = |namespace: &Arc<str>, task: &Arc<str>| Source::Filter {
            namespace: Arc::clone(namespace),
            task: Arc::clone(task),
        };
        [
            Source::Queue(Arc::clone(&self.queue)),
            filter(&self.namespace, &self.task),
            filter(&self.namespace, &any),
            filter(&any, &self.task),
            filter(&any, &any),
        ]
    }
}
