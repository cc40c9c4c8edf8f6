//! `POST /api/v1/transaction`: acknowledgments and pushes that stand or fall together.
//!
//! An operation is read with the fields of both kinds, because its `type` may stand behind them;
//! then it is judged by the rules of its kind. What a client sends for features that this server
//! does not have is refused, not ignored: it would be missing from what must be done as a whole.

use std::borrow::Cow;
use std::cell::Cell;

use serde::de::MapAccess;
use serde_json::value::RawValue;

use super::ack::{self, group_name};
use super::object::{List, ListFrom, ListRead, Record, Value, Values, skip};
use super::{AckEntry, BadRequest, Place, PushItem, check_name, push, read_body, required_text};

/// The size of a small operation, from which the length of a list is guessed.
const OPERATION_BYTES_GUESS: usize = 160;

/// The most operations that memory is set aside for on a guess; a longer list grows.
const OPERATIONS_GUESS_MAX: usize = 1024;

/// What clients may add to a transaction elsewhere.
const NOT_SUPPORTED: [&str; 2] = ["kv", "timers"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation<'a> {
    Ack { consumer_group: Cow<'a, str>, entry: AckEntry<'a> },
    Push(Vec<PushItem<'a>>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction<'a> {
    /// At least one.
    pub operations: Vec<Operation<'a>>,
    /// 1 to 255 characters each, not parsed.
    pub required_leases: Vec<Cow<'a, str>>,
}

/// What bounds the memory of one transaction, and the rows that it locks.
#[derive(Debug, Clone, Copy)]
pub struct TransactionLimits {
    pub operations: usize,
    /// Pushed messages of all operations.
    pub items: usize,
    pub leases: usize,
}

/// Reads the body of a transaction.
pub fn transaction(body: &[u8], limits: TransactionLimits) -> Result<Transaction<'_>, BadRequest> {
    let guess = (body.len() / OPERATION_BYTES_GUESS + 1).min(OPERATIONS_GUESS_MAX);
    let items_left = Cell::new(limits.items);
    let envelope = Envelope {
        limits,
        operations_guess: guess.min(limits.operations),
        items_left: &items_left,
        operations: None,
        required_leases: None,
        unsupported: None,
    };
    let envelope = read_body(body, envelope)?;
    if let Some(name) = envelope.unsupported {
        return Err(BadRequest::field(Place::Top, name, "is not supported by this server"));
    }
    let problem = match envelope.operations {
        Some(Some(operations)) => {
            let operations = operations?;
            if !operations.is_empty() {
                check_items(&operations, limits.items)?;
                let required_leases = leases(envelope.required_leases)?;
                return Ok(Transaction { operations, required_leases });
            }
            "must not be empty"
        }
        Some(None) => "must be an array",
        None => "is missing; it must be an array",
    };
    Err(BadRequest::field(Place::Top, "operations", problem))
}

/// Operations that push one item without a list are only seen here.
fn check_items(operations: &[Operation<'_>], items_max: usize) -> Result<(), BadRequest> {
    let items = operations.iter().map(|operation| match operation {
        Operation::Push(items) => items.len(),
        Operation::Ack { .. } => 0,
    });
    if items.sum::<usize>() > items_max { Err(too_many_items(items_max)) } else { Ok(()) }
}

fn too_many_items(items_max: usize) -> BadRequest {
    let message = format!("operations must not push more than {items_max} items together");
    BadRequest::new("too_many_items", message)
}

fn leases(list: Option<ListRead<Value<'_>>>) -> Result<Vec<Cow<'_, str>>, BadRequest> {
    let values = match list {
        None => return Ok(Vec::new()),
        Some(None) => {
            return Err(BadRequest::field(Place::Top, "requiredLeases", "must be an array"));
        }
        Some(Some(values)) => values?,
    };
    let texts = values.into_iter().enumerate().map(|(index, value)| {
        let problem = match value {
            Value::Text(text) => match check_name(&text) {
                Ok(()) => return Ok(text),
                Err(error) => error.to_string(),
            },
            _ => "must be a string".to_owned(),
        };
        Err(BadRequest::field(Place::Top, &format!("requiredLeases[{index}]"), &problem))
    });
    texts.collect()
}

struct Envelope<'a, 'l> {
    limits: TransactionLimits,
    operations_guess: usize,
    items_left: &'l Cell<usize>,
    operations: Option<ListRead<Operation<'a>>>,
    required_leases: Option<ListRead<Value<'a>>>,
    unsupported: Option<&'static str>,
}

impl<'de> Record<'de> for Envelope<'de, '_> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        if let Some(name) = NOT_SUPPORTED.into_iter().find(|known| *known == name) {
            let value: &RawValue = map.next_value()?;
            if !is_nothing(value) {
                self.unsupported = Some(name);
            }
            return Ok(());
        }
        match name {
            "operations" => {
                let list = List {
                    name: "operations",
                    items_max: self.limits.operations,
                    capacity: self.operations_guess,
                    item: |index, fields: Fields<'de, '_>| {
                        fields.into_operation(Place::Element { list: "operations", index }, index)
                    },
                };
                let items_left = self.items_left;
                let record = || Fields::new(items_left);
                self.operations = Some(map.next_value_seed(ListFrom { list, record })?);
            }
            "requiredLeases" => {
                let values = Values { name: "requiredLeases", items_max: self.limits.leases };
                self.required_leases = Some(map.next_value_seed(values)?);
            }
            _ => skip(map)?,
        }
        Ok(())
    }
}

/// Whether a list has no elements, or is null in the place of one.
fn is_nothing(value: &RawValue) -> bool {
    let text = value.get().bytes().filter(|byte| !byte.is_ascii_whitespace());
    text.clone().eq(*b"[]") || text.eq(*b"null")
}

struct Fields<'a, 'l> {
    kind: Option<Value<'a>>,
    /// Belongs to whichever kind it is.
    transaction_id: Option<Value<'a>>,
    ack: ack::Fields<'a>,
    item: Item<'a>,
    items: Option<ListRead<PushItem<'a>>>,
    /// Items that operations may still have.
    items_left: &'l Cell<usize>,
}

impl<'de> Record<'de> for Fields<'de, '_> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "type" => self.kind = Some(map.next_value()?),
            "transactionId" => self.transaction_id = Some(map.next_value()?),
            "items" => {
                let list = List {
                    name: "items",
                    items_max: self.items_left.get(),
                    capacity: 0,
                    item: |index, item: Item<'de>| {
                        item.into_item(Place::Element { list: "items", index })
                    },
                };
                let items = map.next_value_seed(list)?;
                if let Some(Ok(items)) = &items {
                    self.items_left.update(|left| left.saturating_sub(items.len()));
                }
                self.items = Some(items);
            }
            "queue" | "partition" | "payload" | "data" | "traceId" => self.item.read(name, map)?,
            _ => self.ack.read(name, map)?,
        }
        Ok(())
    }
}

impl<'a, 'l> Fields<'a, 'l> {
    fn new(items_left: &'l Cell<usize>) -> Self {
        Self {
            kind: None,
            transaction_id: None,
            ack: ack::Fields::default(),
            item: Item::default(),
            items: None,
            items_left,
        }
    }

    fn into_operation(mut self, place: Place, index: usize) -> Result<Operation<'a>, BadRequest> {
        let kind = required_text(place, "type", self.kind.take())?;
        match &*kind {
            "ack" => {
                self.ack.transaction_id = self.transaction_id;
                let consumer_group = group_name(place, self.ack.consumer_group.take())?;
                Ok(Operation::Ack { consumer_group, entry: self.ack.into_entry(place)? })
            }
            "push" => match self.items {
                None => {
                    self.item.fields.transaction_id = self.transaction_id;
                    Ok(Operation::Push(vec![self.item.into_item(place)?]))
                }
                Some(None) => Err(BadRequest::field(place, "items", "must be an array")),
                Some(Some(Ok(items))) => Ok(Operation::Push(items)),
                Some(Some(Err(bad))) => {
                    let message = format!("operations[{index}].{}", bad.message);
                    Err(BadRequest { message, ..bad })
                }
            },
            _ => Err(BadRequest::field(place, "type", "must be ack or push")),
        }
    }
}

/// An item of a push; some clients call the payload `data`.
#[derive(Default)]
struct Item<'a> {
    fields: push::Fields<'a>,
    data: Option<&'a RawValue>,
}

impl<'de> Record<'de> for Item<'de> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        if name != "data" {
            return self.fields.read(name, map);
        }
        self.data = Some(map.next_value()?);
        Ok(())
    }
}

impl<'a> Item<'a> {
    fn into_item(mut self, place: Place) -> Result<PushItem<'a>, BadRequest> {
        self.fields.payload = self.fields.payload.or(self.data);
        self.fields.into_item(place)
    }
}
