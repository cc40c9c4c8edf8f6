//! Objects and lists as serde reads them, without a document in between.
//!
//! A [`Record`] takes the fields that it knows and leaves the rest. Values of a wrong type are not
//! errors here: a [`Value`] says what came, and the envelope judges it when the whole body is
//! known to be JSON and it is known which of several equal names came last.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::BadRequest;

/// A JSON value as far as a field needs to know it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Boolean(bool),
    /// An integer of 64 bits, signed or not.
    Integer(i128),
    Float(f64),
    Text(Cow<'a, str>),
    List,
    Object,
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue(Plain))
    }
}

/// The fields of one kind of object.
pub(super) trait Record<'de> {
    /// Reads the value that belongs to `name` from `map`, wanted or not.
    fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error>;
}

/// Reads a value that nobody asked for.
pub(super) fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(|_| ())
}

/// Reads an object into the record. None for a value that is no object.
pub(super) struct Object<R>(pub(super) R);

/// Reads a list of objects, each into a fresh record, and makes items of them.
pub(super) struct List<R, T> {
    pub(super) name: &'static str,
    /// Past it the request is refused, before memory is spent on what follows.
    pub(super) items_max: usize,
    /// A guess that saves the list from growing.
    pub(super) capacity: usize,
    pub(super) item: fn(usize, R) -> Result<T, BadRequest>,
}

/// The same with records that begin with something other than nothing.
pub(super) struct ListFrom<R, T, F> {
    pub(super) list: List<R, T>,
    pub(super) record: F,
}

/// Reads a list of values that are no objects. Null is a list without values.
pub(super) struct Values {
    pub(super) name: &'static str,
    /// As in [`List`].
    pub(super) items_max: usize,
}

/// A list that was read, or what is wrong with its first bad element. None for a value that is no
/// list.
pub(super) type ListRead<T> = Option<Result<Vec<T>, BadRequest>>;

impl<'de, R: Record<'de>> DeserializeSeed<'de> for Object<R> {
    type Value = Option<R>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(AnyValue(self))
    }
}

impl<'de, R: Record<'de> + Default, T> DeserializeSeed<'de> for List<R, T> {
    type Value = ListRead<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(AnyValue(ListFrom { list: self, record: R::default }))
    }
}

impl<'de, R: Record<'de>, T, F: Fn() -> R> DeserializeSeed<'de> for ListFrom<R, T, F> {
    type Value = ListRead<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(AnyValue(self))
    }
}

impl<'de> DeserializeSeed<'de> for Values {
    type Value = ListRead<Value<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(AnyValue(self))
    }
}

/// What is made of a JSON value whose type is not known before.
trait Shape<'de>: Sized {
    type Out;

    fn other(self, value: Value<'de>) -> Self::Out;

    fn object<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Out, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(self.other(Value::Object))
    }

    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Out, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.other(Value::List))
    }
}

struct Plain;

impl<'de> Shape<'de> for Plain {
    type Out = Value<'de>;

    fn other(self, value: Value<'de>) -> Self::Out {
        value
    }
}

impl<'de, R: Record<'de>> Shape<'de> for Object<R> {
    type Out = Option<R>;

    fn other(self, _: Value<'de>) -> Self::Out {
        None
    }

    fn object<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Out, A::Error> {
        while let Some(Name(name)) = map.next_key()? {
            self.0.read(&name, &mut map)?;
        }
        Ok(Some(self.0))
    }
}

impl<'de, R: Record<'de>, T, F: Fn() -> R> Shape<'de> for ListFrom<R, T, F> {
    type Out = ListRead<T>;

    fn other(self, _: Value<'de>) -> Self::Out {
        None
    }

    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Out, A::Error> {
        let Self { list: List { name, items_max, capacity, item }, record } = self;
        let mut items = Vec::with_capacity(capacity);
        while items.len() < items_max {
            let index = items.len();
            let item = match list.next_element_seed(Object(record()))? {
                None => return Ok(Some(Ok(items))),
                Some(Some(record)) => item(index, record),
                Some(None) => Err(BadRequest::new(
                    "invalid_field",
                    format!("{name}[{index}] must be an object"),
                )),
            };
            match item {
                Ok(item) => items.push(item),
                Err(bad) => {
                    while list.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(Some(Err(bad)));
                }
            }
        }
        end_of_list(list, name, items_max, items).map(Some)
    }
}

impl<'de> Shape<'de> for Values {
    type Out = ListRead<Value<'de>>;

    fn other(self, value: Value<'de>) -> Self::Out {
        (value == Value::Null).then(|| Ok(Vec::new()))
    }

    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Out, A::Error> {
        let mut values = Vec::new();
        while values.len() < self.items_max {
            match list.next_element()? {
                None => return Ok(Some(Ok(values))),
                Some(value) => values.push(value),
            }
        }
        end_of_list(list, self.name, self.items_max, values).map(Some)
    }
}

/// What a list comes to that is as long as it may be: nothing may follow.
fn end_of_list<'de, A: SeqAccess<'de>, T>(
    mut list: A,
    name: &str,
    items_max: usize,
    items: Vec<T>,
) -> Result<Result<Vec<T>, BadRequest>, A::Error> {
    let mut too_many = false;
    while list.next_element::<IgnoredAny>()?.is_some() {
        too_many = true;
    }
    if !too_many {
        return Ok(Ok(items));
    }
    let message = format!("{name} must not have more than {items_max} elements");
    Ok(Err(BadRequest::new("too_many_items", message)))
}

/// Serde's side of a [`Shape`].
struct AnyValue<S>(S);

impl<'de, S: Shape<'de>> Visitor<'de> for AnyValue<S> {
    type Value = S::Out;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<S::Out, E> {
        Ok(self.0.other(Value::Null))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<S::Out, E> {
        Ok(self.0.other(Value::Boolean(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<S::Out, E> {
        Ok(self.0.other(Value::Integer(value.into())))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<S::Out, E> {
        Ok(self.0.other(Value::Integer(value.into())))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<S::Out, E> {
        Ok(self.0.other(Value::Float(value)))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<S::Out, E> {
        Ok(self.0.other(Value::Text(Cow::Borrowed(value))))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<S::Out, E> {
        Ok(self.0.other(Value::Text(Cow::Owned(value.to_owned()))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<S::Out, A::Error> {
        self.0.list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<S::Out, A::Error> {
        self.0.object(map)
    }
}

/// The name of a field, borrowed unless it has escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Name(Cow::Borrowed(name)))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Name(Cow::Owned(name.to_owned())))
    }
}
