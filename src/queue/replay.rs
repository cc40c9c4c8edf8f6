//! Stores what is in the file buffer, in the order in which it was kept.
//!
//! Runs on the core that keeps the files. A file goes only when all of it is stored or set aside;
//! what a crash or a lost reply leaves in doubt is stored again, and its transactionIds make that
//! nothing. A record is set aside only when the database refuses it while it takes others.

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::line::{self, LineParts};
use super::push::{Batch, GONE_ATTEMPTS, PushItem, PushPlan, PushRequest, Stored, store};
use super::{Engine, Error};
use crate::buffer::frame::{FRAME_HEADER_BYTES, Piece, Scan};
use crate::buffer::{Append, Keeper, Record, Sealed};
use crate::ids::TransactionName;
use crate::pg::Verdict;
use crate::runtime;
use crate::runtime::mailbox::Mailbox;

/// Bytes that are stored in one statement, unless one record has more.
const REPLAY_BYTES_MAX: usize = 4 << 20;
/// Between two warnings about the same trouble.
const WARNING_INTERVAL: Duration = Duration::from_secs(5);

/// A record and where its frame is.
struct Found {
    start: usize,
    end: usize,
    record: Record,
}

/// Why a file is not stored to its end now.
#[derive(Debug, thiserror::Error)]
enum Pause {
    #[error(transparent)]
    Store(#[from] Error),
    #[error("the file buffer cannot be read: {0}")]
    Disk(#[from] io::Error),
    #[error("push maintenance is on")]
    Maintenance,
}

impl Engine {
    /// Keeps the file buffer on this core.
    pub fn keep_buffer(self: &Rc<Self>, keeper: &Rc<Keeper>, mailbox: Mailbox<Append>) {
        runtime::spawn(Rc::clone(keeper).run(mailbox));
        runtime::spawn(Rc::clone(self).replay(Rc::clone(keeper)));
    }

    async fn replay(self: Rc<Self>, keeper: Rc<Keeper>) {
        let mut warned: Option<Instant> = None;
        while !self.stopping.get() {
            runtime::sleep(keeper.settings().replay_interval).await;
            if self.spill.switches.holds_pushes() {
                continue;
            }
            if self.connections() == 0 {
                keeper.backlog().set_healthy(false);
                continue;
            }
            let outcome = self.replay_all(&keeper).await;
            match &outcome {
                Ok(()) | Err(Pause::Maintenance) => {}
                Err(pause) => {
                    if warned.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL) {
                        warned = Some(Instant::now());
                        tracing::warn!(%pause, "the file buffer waits");
                    }
                }
            }
            keeper.backlog().set_healthy(matches!(outcome, Ok(()) | Err(Pause::Maintenance)));
        }
    }

    async fn replay_all(&self, keeper: &Rc<Keeper>) -> Result<(), Pause> {
        while let Some(file) = keeper.oldest().await {
            if keeper.is_last(&file) {
                keeper.hold();
            }
            let outcome = self.replay_file(keeper, &file).await;
            if outcome.is_ok() {
                keeper.done().await;
            }
            keeper.release();
            outcome?;
        }
        Ok(())
    }

    async fn replay_file(&self, keeper: &Keeper, file: &Sealed) -> Result<(), Pause> {
        let bytes = runtime::read_file(&file.path, file.end).await?;
        let mut pieces = Scan::new(&bytes).from(file.stored_until).peekable();
        let mut start = file.stored_until;
        while pieces.peek().is_some() {
            let mut found = Vec::new();
            let mut bad = None;
            let (mut messages, mut size) = (0, 0);
            while messages < keeper.settings().replay_messages_max
                && size < REPLAY_BYTES_MAX
                && let Some(piece) = pieces.next()
            {
                let (begins, ends) = (begin(&piece), piece.end());
                start = ends;
                match piece {
                    Piece::Record(range) => match Record::decode(&bytes[range]) {
                        Ok(record) => {
                            messages += record.items.len();
                            size += record.lines.len();
                            found.push(Found { start: begins, end: ends, record });
                        }
                        Err(malformed) => bad = Some((begins, malformed.to_string())),
                    },
                    Piece::Damaged(_, damage) => bad = Some((begins, damage.to_string())),
                    Piece::Torn(_) => {
                        let path = file.path.display();
                        tracing::info!(file = %path, "an unfinished write ends the file");
                    }
                }
                if bad.is_some() {
                    break;
                }
            }
            self.store_found(keeper, &file.path, &bytes, &found).await?;
            if let Some((at, why)) = bad {
                keeper.set_aside(&file.path, at, &bytes[at..start], &why).await?;
            }
            keeper.stored(start);
        }
        Ok(())
    }

    /// All at once, and one by one when that is refused.
    async fn store_found(
        &self,
        keeper: &Keeper,
        path: &Path,
        bytes: &[u8],
        found: &[Found],
    ) -> Result<(), Pause> {
        self.check_switch()?;
        match self.store_records(found).await {
            Ok(()) => return Ok(()),
            Err(error) if !is_of_record(&error) => return Err(error.into()),
            Err(error) => tracing::debug!(%error, "records are stored one by one"),
        }
        for one in found {
            self.check_switch()?;
            match self.store_records(std::slice::from_ref(one)).await {
                Ok(()) => {}
                Err(error) if is_of_record(&error) => {
                    let bytes = &bytes[one.start..one.end];
                    keeper.set_aside(path, one.start, bytes, &error.to_string()).await?;
                }
                Err(error) => return Err(error.into()),
            }
            keeper.stored(one.end);
        }
        Ok(())
    }

    fn check_switch(&self) -> Result<(), Pause> {
        if self.spill.switches.holds_pushes() { Err(Pause::Maintenance) } else { Ok(()) }
    }

    async fn store_records(&self, found: &[Found]) -> Result<(), Error> {
        if found.is_empty() {
            return Ok(());
        }
        for _ in 0..GONE_ATTEMPTS {
            let mut request = self.prepare(self.plan_of(found)).await?;
            self.unseal(&mut request);
            let request = Rc::new(request);
            let batch = Batch::of(vec![Rc::clone(&request)]);
            let stored = self
                .run(async move |session| {
                    let stored = store(session, &batch).await?;
                    Ok(batch.answers(stored).pop().unwrap_or_default())
                })
                .await?;
            self.announce(&request, &stored, Instant::now()).await;
            let gone = request.items.iter().zip(&stored);
            let mut gone = gone.filter(|(_, stored)| **stored == Stored::Gone).peekable();
            if gone.peek().is_none() {
                return Ok(());
            }
            for (item, _) in gone {
                self.catalog.forget(&request.targets[item.target].queue.name);
            }
        }
        Err(Error::Overloaded)
    }

    fn plan_of(&self, found: &[Found]) -> PushPlan {
        let mut plan = PushPlan::default();
        for Found { record, .. } in found {
            let (lines_at, targets_at) = (plan.lines.len(), plan.targets.len());
            plan.lines.extend_from_slice(&record.lines);
            for (queue, partition) in &record.targets {
                plan.targets.push(self.push_target(queue, partition));
            }
            plan.items.extend(record.items.iter().map(|item| {
                let start = lines_at + item.line.start;
                let bytes = &record.lines[item.line.clone()];
                let data = line::data(bytes).unwrap_or(0..0);
                PushItem {
                    target: targets_at + item.target,
                    transaction: Some(TransactionName::of_key(item.key)),
                    parts: LineParts {
                        line: start..start + bytes.len(),
                        transaction_id: None,
                        trace_id: None,
                        data: start + data.start..start + data.end,
                        encrypted: item.encrypted,
                    },
                }
            }));
        }
        plan
    }

    /// What was encrypted because nobody knew its queue is stored as it came. Without the key it is
    /// stored as it is.
    fn unseal(&self, request: &mut PushRequest) {
        let PushRequest { lines, items, targets, .. } = request;
        for item in items.iter_mut().filter(|item| item.parts.encrypted) {
            if targets[item.target].queue.options.encryption_enabled {
                continue;
            }
            if let Ok(plain) = self.keys.decrypt_line(&lines[item.parts.line.clone()]) {
                let start = lines.len();
                lines.extend_from_slice(&plain);
                item.parts.line = start..lines.len();
                item.parts.encrypted = false;
            }
        }
    }
}

fn begin(piece: &Piece) -> usize {
    match piece {
        Piece::Record(range) => range.start - FRAME_HEADER_BYTES,
        Piece::Damaged(range, _) | Piece::Torn(range) => range.start,
    }
}

/// Whether the record is to blame, and not the state of the database.
fn is_of_record(error: &Error) -> bool {
    match error {
        Error::EncryptionUnavailable => true,
        Error::Database(error) => error.verdict() == Verdict::Refuse,
        _ => false,
    }
}
