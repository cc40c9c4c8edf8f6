//! Lines of encrypted queues: sealed before they are stored, opened when they are delivered.
//!
//! Only the data of a line is encrypted; what stands in front of it is copied byte for byte. A
//! sealed line is never sealed again, whatever its queue says meanwhile.

use super::line;
use super::push::PushRequest;
use crate::encryption::{DecryptError, ENVELOPE_BYTES, Keys, NoKey};
use crate::runtime;

/// Plaintext that is encrypted before other tasks of the core have their turn, unless one message
/// has more. Bounds how long they wait.
const SEAL_BYTES_AT_ONCE: usize = 256 << 10;

/// Encrypts the messages of a request that go to encrypted queues. Most have none, and stay as they
/// are.
pub(super) async fn seal(keys: &Keys, request: &mut PushRequest) -> Result<(), NoKey> {
    let PushRequest { lines, items, targets, .. } = request;
    if !targets.iter().any(|target| target.queue.options.encryption_enabled) {
        return Ok(());
    }
    let room = lines.len() / 3 * 4 + items.len() * ENVELOPE_BYTES;
    let plain = std::mem::replace(lines, Vec::with_capacity(room));
    let mut bytes_since_yield = 0;
    for item in items {
        let mut parts = item.parts.moved_to(lines.len());
        let encrypt = targets[item.target].queue.options.encryption_enabled;
        if encrypt && !parts.encrypted {
            lines.extend_from_slice(&plain[item.parts.line.start..item.parts.data.start]);
            keys.encrypt_payload(&plain[item.parts.data.clone()], lines)?;
            parts.data.end = lines.len();
            lines.push(b'}');
            parts.line.end = lines.len();
            parts.encrypted = true;
        } else {
            lines.extend_from_slice(&plain[item.parts.line.clone()]);
        }
        bytes_since_yield += item.parts.line.len();
        item.parts = parts;
        if bytes_since_yield >= SEAL_BYTES_AT_ONCE {
            bytes_since_yield = 0;
            runtime::yield_now().await;
        }
    }
    Ok(())
}

/// Here and not in `encryption`, which knows no lines.
impl Keys {
    /// The line that was sealed as `line`.
    pub fn decrypt_line(&self, line: &[u8]) -> Result<Vec<u8>, DecryptError> {
        if !self.can_decrypt() {
            return Err(DecryptError::NoKey);
        }
        let data = line::data(line).ok_or(DecryptError::Malformed)?;
        let payload = self.decrypt_payload(&line[data.clone()])?;
        let mut out = Vec::with_capacity(data.start + payload.len() + 1);
        out.extend_from_slice(&line[..data.start]);
        line::write_payload(&mut out, &payload);
        out.push(b'}');
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;

    use futures_util::future::FutureExt;

    use super::*;
    use crate::encryption::Key;
    use crate::ids::{PartitionId, QueueId};
    use crate::pg::QueueRow;
    use crate::queue::{PushItem, Queue, Target};
    use crate::queue_options::QueueOptions;

    const TRACE_ID: &str = "0b3e2f52-53f5-4f0a-a5a5-0a86c29a7d10";

    fn keys() -> Keys {
        Keys::new(Key::from_hex(&"a7".repeat(32)), None)
    }

    fn target(encryption_enabled: bool) -> Target {
        let options = QueueOptions { encryption_enabled, ..QueueOptions::default() };
        let queue = Rc::new(Queue::new(
            "q",
            &QueueRow { id: QueueId(1), namespace: String::new(), task: String::new(), options },
        ));
        Target { queue, partition: PartitionId(1), partition_name: Arc::from("p") }
    }

    /// Messages with these transactionIds, to a plain and an encrypted queue in turn.
    fn request(transaction_ids: &[Option<&str>]) -> PushRequest {
        let mut request = PushRequest {
            lines: Vec::new(),
            items: Vec::new(),
            targets: Vec::new(),
            arrived: None,
        };
        request.targets = vec![target(false), target(true)];
        for (n, id) in transaction_ids.iter().enumerate() {
            let trace_id = n.is_multiple_of(3).then_some(TRACE_ID);
            let payload = format!("{{\"secret\":\n{n}}}");
            let producer_sub = n.is_multiple_of(4).then_some(r#""me""#);
            let origin = line::Origin { producer_sub, traceparent: None };
            let parts = line::write(&mut request.lines, *id, trace_id, origin, &payload);
            request.items.push(PushItem { target: n % 2, transaction: None, parts });
        }
        request
    }

    fn sealed(request: &mut PushRequest) {
        seal(&keys(), request).now_or_never().unwrap().unwrap();
    }

    fn ids_of(request: &PushRequest, parts: &line::LineParts) -> [Option<Vec<u8>>; 2] {
        [&parts.transaction_id, &parts.trace_id]
            .map(|at| at.clone().map(|at| request.lines[at].to_vec()))
    }

    #[test]
    fn messages_of_encrypted_queues_are_sealed_and_open_again_as_they_were() {
        let ids = [Some("a"), Some("\"data\":"), None, None, Some("é"), Some("b\\")];
        let plain = request(&ids);
        let mut request = request(&ids);
        sealed(&mut request);
        for (before, after) in plain.items.iter().zip(&request.items) {
            let was = &plain.lines[before.parts.line.clone()];
            let line = &request.lines[after.parts.line.clone()];
            assert_eq!(ids_of(&request, &after.parts), ids_of(&plain, &before.parts));
            assert_eq!(after.parts.encrypted, after.target == 1);
            assert_eq!(line::held(line), line::held(was));
            let data = &request.lines[after.parts.data.clone()];
            assert_eq!(data, &line[line::data(line).unwrap()]);
            if after.parts.encrypted {
                assert!(memchr::memmem::find(line, b"secret").is_none());
                assert_eq!(keys().decrypt_line(line).unwrap(), was);
            } else {
                assert_eq!(line, was);
            }
        }
    }

    #[test]
    fn a_sealed_message_is_not_sealed_again() {
        let mut request = request(&[None, None]);
        sealed(&mut request);
        let once = request.lines.clone();
        sealed(&mut request);
        assert_eq!(request.lines, once);
    }

    #[test]
    fn without_a_key_nothing_is_sealed() {
        let mut request = request(&[None, None]);
        let refused = seal(&Keys::default(), &mut request).now_or_never().unwrap();
        assert_eq!(refused, Err(NoKey));
        assert_eq!(Keys::default().decrypt_line(b""), Err(DecryptError::NoKey));
    }

    #[test]
    fn newlines_between_tokens_of_a_plaintext_do_not_split_its_line() {
        let mut line = b"{\"traceparent\":\"x\",\"data\":".to_vec();
        keys().encrypt_payload(b"[1,\n2]", &mut line).unwrap();
        line.push(b'}');
        let open = keys().decrypt_line(&line).unwrap();
        assert_eq!(open, b"{\"traceparent\":\"x\",\"data\":[1, 2]}");
    }

    #[test]
    fn a_line_that_is_damaged_is_an_error() {
        let mut request = request(&[None, Some("t")]);
        sealed(&mut request);
        let line = request.lines[request.items[1].parts.line.clone()].to_vec();
        for end in 0..line.len() {
            assert!(keys().decrypt_line(&line[..end]).is_err());
        }
        let plain = &request.lines[request.items[0].parts.line.clone()];
        assert_eq!(keys().decrypt_line(plain), Err(DecryptError::Malformed));
    }
}
