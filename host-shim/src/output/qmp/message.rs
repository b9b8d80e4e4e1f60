//! What a VM's process says.

use serde::Deserialize;
use serde_json::Value;

/// A line.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Message {
    /// The first.
    Greeting,
    /// A command is done.
    Returned {
        /// Which, if it is one of ours.
        id: Option<u64>,
        /// What it returns.
        value: Value,
    },
    /// A command is refused.
    Failed {
        /// Which; none also when it could not be read.
        id: Option<u64>,
        /// Why.
        message: String,
    },
    /// A device is gone.
    Deleted(String),
    /// An event of no interest.
    Event,
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "QMP")]
    greeting: Option<Value>,
    #[serde(rename = "return", default, deserialize_with = "present")]
    returned: Option<Value>,
    error: Option<Failure>,
    event: Option<String>,
    data: Option<Value>,
    id: Option<Value>,
}

#[derive(Deserialize)]
struct Failure {
    desc: String,
}

/// `null` is a value, too.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Reads a line.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read_message(line: &[u8]) -> Result<Message, String> {
    let line: Line = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let id = line.id.as_ref().and_then(Value::as_u64);
    if line.greeting.is_some() {
        Ok(Message::Greeting)
    } else if let Some(value) = line.returned {
        Ok(Message::Returned { id, value })
    } else if let Some(failure) = line.error {
        let message = failure.desc.chars().take(400).flat_map(|c| match c {
            ' ' => vec![' '],
            other if other.is_control() => other.escape_debug().collect(),
            other => vec![other],
        });
        Ok(Message::Failed { id, message: message.collect() })
    } else if let Some(event) = line.event {
        let device = line.data.as_ref().and_then(|data| data.get("device")?.as_str());
        Ok(match device {
            Some(device) if event == "DEVICE_DELETED" => Message::Deleted(device.to_owned()),
            _ => Message::Event,
        })
    } else {
        Err("neither an answer nor an event".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn lines() {
        let read = |line: &str| read_message(line.as_bytes());
        assert_eq!(read(r#"{"QMP": {"version": {}, "capabilities": []}}"#), Ok(Message::Greeting));
        assert_eq!(
            read(r#"{"return": null, "id": 3}"#),
            Ok(Message::Returned { id: Some(3), value: Value::Null })
        );
        assert_eq!(
            read(r#"{"error": {"class": "GenericError", "desc": "no\nsuch"}, "id": "x"}"#),
            Ok(Message::Failed { id: None, message: "no\\nsuch".into() })
        );
        assert_eq!(
            read(
                r#"{"event": "DEVICE_DELETED", "data": {"device": "d", "path": "/p"}, "timestamp": {}}"#
            ),
            Ok(Message::Deleted("d".into()))
        );
        assert_eq!(
            read(r#"{"event": "DEVICE_DELETED", "data": {"path": "/p"}}"#),
            Ok(Message::Event)
        );
        for wrong in ["", "{}", "[]", "7", r#"{"error": 1}"#, r#"{"event": 1}"#, "{\"return\""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(read(&"[".repeat(100_000)).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_message(&bytes);
        }

        /// JSON of the right shape, with anything in it.
        #[test]
        fn any_values(key in "QMP|return|error|event|data|id", text in "\\PC{0,10}", number: i64, other in "return|error|event") {
            let value = json!({"desc": text, "device": number});
            for value in [value, json!(number), json!([text]), Value::Null] {
                let line = json!({key.as_str(): value, other.as_str(): "DEVICE_DELETED"});
                let _ = read_message(line.to_string().as_bytes());
            }
        }
    }
}
