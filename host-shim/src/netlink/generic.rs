//! Generic netlink: families that are found by name, messages that are a command and attributes.

use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable,
    Nla, NlasIterator,
};

use super::{Connection, NetlinkError};

const CONTROLLER: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// Command, version, two bytes of nothing.
const HEADER: usize = 4;

/// A message of a family.
#[derive(Clone, Debug)]
pub(super) struct Generic {
    family: u16,
    command: u8,
    pub(super) attributes: Vec<DefaultNla>,
}

impl NetlinkSerializable for Generic {
    fn message_type(&self) -> u16 {
        self.family
    }

    fn buffer_len(&self) -> usize {
        HEADER + self.attributes.as_slice().buffer_len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer[..HEADER].copy_from_slice(&[self.command, 1, 0, 0]);
        self.attributes.as_slice().emit(&mut buffer[HEADER..]);
    }
}

impl NetlinkDeserializable for Generic {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        let Some((own, rest)) = payload.split_first_chunk::<HEADER>() else {
            return Err(DecodeError::from("shorter than its header"));
        };
        Ok(Self { family: header.message_type, command: own[0], attributes: attributes(rest)? })
    }
}

/// Reads attributes.
pub(super) fn attributes(bytes: &[u8]) -> Result<Vec<DefaultNla>, DecodeError> {
    NlasIterator::new(bytes)
        .map(|attribute| {
            let attribute = attribute?;
            Ok(DefaultNla::new(attribute.kind(), attribute.value().to_vec()))
        })
        .collect()
}

/// The value of an attribute.
pub(super) fn value(attributes: &[DefaultNla], kind: u16) -> Option<Vec<u8>> {
    let attribute = attributes.iter().find(|attribute| attribute.kind() == kind)?;
    let mut value = vec![0; attribute.value_len()];
    attribute.emit_value(&mut value);
    Some(value)
}

/// An attribute that is a text.
pub(super) fn text(attributes: &[DefaultNla], kind: u16) -> Option<String> {
    let value = value(attributes, kind)?;
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    Some(String::from_utf8_lossy(&value[..end]).into_owned())
}

/// An attribute that is a number, of whatever size the kernel writes it in.
pub(super) fn number(attributes: &[DefaultNla], kind: u16) -> Option<u64> {
    let value = value(attributes, kind)?;
    match value.len() {
        1 => value.first().copied().map(u64::from),
        2 => value.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes).into()),
        4 => value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes).into()),
        8 => value.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes)),
        _ => None,
    }
}

/// A text as an attribute.
pub(super) fn text_attribute(kind: u16, text: &str) -> DefaultNla {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    DefaultNla::new(kind, bytes)
}

/// A family that the kernel has.
#[derive(Debug)]
pub(super) struct Family {
    connection: Connection,
    id: u16,
}

impl Family {
    /// Finds a family.
    pub(super) fn open(name: &'static str) -> Result<Self, NetlinkError> {
        const ENOENT: i32 = 2;
        let mut connection = Connection::open(netlink_sys::protocols::NETLINK_GENERIC)?;
        let attributes = vec![text_attribute(FAMILY_NAME, name)];
        let ask = Generic { family: CONTROLLER, command: GET_FAMILY, attributes };
        let answers = connection.get(name, ask).map_err(|error| match error {
            NetlinkError::Refused { error, .. } if error.raw_os_error() == Some(ENOENT) => {
                NetlinkError::NoFamily(name)
            }
            other => other,
        })?;
        let id = answers.first().and_then(|answer| number(&answer.attributes, FAMILY_ID));
        let id = id.and_then(|id| u16::try_from(id).ok()).ok_or(NetlinkError::NoFamily(name))?;
        Ok(Self { connection, id })
    }

    fn message(&self, command: u8, attributes: Vec<DefaultNla>) -> Generic {
        Generic { family: self.id, command, attributes }
    }

    pub(super) fn act(
        &mut self,
        what: &str,
        command: u8,
        attributes: Vec<DefaultNla>,
    ) -> Result<(), NetlinkError> {
        let message = self.message(command, attributes);
        self.connection.act(what, message)
    }

    pub(super) fn get(
        &mut self,
        what: &str,
        command: u8,
        attributes: Vec<DefaultNla>,
    ) -> Result<Vec<Vec<DefaultNla>>, NetlinkError> {
        let message = self.message(command, attributes);
        let answers = self.connection.get(what, message)?;
        Ok(answers.into_iter().map(|answer| answer.attributes).collect())
    }

    pub(super) fn dump(
        &mut self,
        what: &str,
        command: u8,
    ) -> Result<Vec<Vec<DefaultNla>>, NetlinkError> {
        let message = self.message(command, Vec::new());
        let answers = self.connection.dump(what, message)?;
        Ok(answers.into_iter().map(|answer| answer.attributes).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The controller knows itself on every kernel; it needs no rights.
    #[test]
    fn families() {
        assert_eq!(Family::open("nlctrl").unwrap().id, CONTROLLER);
        let error = Family::open("penstock-none").unwrap_err().to_string();
        assert!(error.starts_with("the kernel knows no penstock-none"), "{error}");
    }

    #[test]
    fn attributes_of_every_size() {
        let list = [
            DefaultNla::new(1, vec![7]),
            DefaultNla::new(2, 300_u16.to_ne_bytes().to_vec()),
            text_attribute(3, "pf0vf3"),
            DefaultNla::new(4, vec![1, 2, 3]),
        ];
        assert_eq!((number(&list, 1), number(&list, 2)), (Some(7), Some(300)));
        assert_eq!(
            (text(&list, 3).as_deref(), number(&list, 4), number(&list, 5)),
            (Some("pf0vf3"), None, None)
        );
        let mut bytes = vec![0; list.as_slice().buffer_len()];
        list.as_slice().emit(&mut bytes);
        assert_eq!(attributes(&bytes).unwrap().len(), 4);
        assert!(attributes(&[3, 0, 0, 0]).is_err());
    }
}
