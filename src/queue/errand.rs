//! What operators ask of the database: it may read much, so it runs on a connection of its own, of
//! the maintenance core, and no push waits behind it.

use std::fmt;
use std::pin::Pin;

use futures_channel::oneshot;

use super::mesh::Notice;
use super::{Engine, Error, lanes};
use crate::pg::{self, Session};

/// Errands of one core that are under way or wait. They are run one at a time; past this the
/// operators get an error at once, not an answer that nobody waits for any more.
const ERRANDS_MAX: usize = 64;

type Job = Box<dyn for<'s> FnOnce(&'s Session) -> Pin<Box<dyn Future<Output = ()> + 's>> + Send>;

/// Work on its way to the maintenance core. Whoever waits for it hears when it is dropped.
pub struct Errand(Job);

impl fmt::Debug for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Errand")
    }
}

impl Errand {
    pub async fn run(self, session: &Session) {
        (self.0)(session).await;
    }
}

impl Engine {
    /// Runs one operation on the connection for operators.
    pub async fn errand<T: Send + 'static>(
        &self,
        work: impl AsyncFnOnce(&Session) -> Result<T, pg::Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.lanes.check()?;
        if self.errands.get() >= ERRANDS_MAX {
            return Err(Error::Overloaded);
        }
        let (reply, answer) = oneshot::channel();
        let errand = Errand(Box::new(move |session: &Session| {
            Box::pin(async move {
                // Whoever asked may have gone.
                let _ = reply.send(work(session).await);
            })
        }));
        self.errands.update(|count| count + 1);
        // Counted down also when the request is given up.
        let _under_way = UnderWay(self);
        if self.notices.send(Notice::Errand(errand)).await.is_err() {
            return Err(lanes::connection_lost().into());
        }
        Ok(answer.await.unwrap_or_else(|_| Err(lanes::connection_lost()))?)
    }
}

struct UnderWay<'a>(&'a Engine);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.errands.update(|count| count - 1);
    }
}
