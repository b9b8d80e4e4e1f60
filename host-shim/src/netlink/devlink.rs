//! Cards as devlink has them: the mode of their switch, its ports, rates and health.

use netlink_packet_core::DefaultNla;
use serde::{Deserialize, Serialize};

use super::NetlinkError;
use super::generic::{Family, attributes, number, text, text_attribute, value};

const FAMILY: &str = "devlink";

/// Numbers of `linux/devlink.h`.
mod command {
    pub const GET: u8 = 1;
    pub const PORT_GET: u8 = 5;
    pub const ESWITCH_GET: u8 = 29;
    pub const ESWITCH_SET: u8 = 30;
    pub const HEALTH_REPORTER_GET: u8 = 52;
    pub const RATE_GET: u8 = 74;
}

/// Numbers of `linux/devlink.h`.
mod attribute {
    pub const BUS_NAME: u16 = 1;
    pub const DEV_NAME: u16 = 2;
    pub const PORT_INDEX: u16 = 3;
    pub const PORT_NETDEV_NAME: u16 = 7;
    pub const ESWITCH_MODE: u16 = 25;
    pub const PORT_FLAVOUR: u16 = 77;
    pub const HEALTH_REPORTER: u16 = 114;
    pub const HEALTH_REPORTER_NAME: u16 = 115;
    pub const HEALTH_REPORTER_STATE: u16 = 116;
    pub const HEALTH_REPORTER_ERR_COUNT: u16 = 117;
    pub const PORT_PCI_PF_NUMBER: u16 = 127;
    pub const PORT_PCI_VF_NUMBER: u16 = 128;
    pub const PORT_FUNCTION: u16 = 145;
    pub const FUNCTION_HW_ADDR: u16 = 1;
    pub const RATE_TYPE: u16 = 165;
    pub const RATE_TX_SHARE: u16 = 166;
    pub const RATE_TX_MAX: u16 = 167;
    pub const RATE_NODE_NAME: u16 = 168;
    pub const RATE_PARENT_NODE_NAME: u16 = 169;
}

/// A device as devlink names it: `pci/0000:03:00.0`, `netdevsim/netdevsim1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handle {
    /// Its bus.
    pub bus: String,
    /// Its name there.
    pub name: String,
}

impl std::fmt::Display for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.bus, self.name)
    }
}

/// How a card's switch works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EswitchMode {
    /// By MAC and VLAN, without representors.
    Legacy,
    /// By rules, with a representor for each port.
    Switchdev,
}

/// What a port of a card's switch leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Flavour {
    /// The wire.
    Physical,
    /// A PF.
    PciPf,
    /// A VF.
    PciVf,
    /// A subfunction.
    PciSf,
    /// Anything else.
    Other,
}

/// A port of a card's switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Port {
    /// Its number.
    pub index: u32,
    /// What it leads to.
    pub flavour: Flavour,
    /// Its interface.
    pub net: Option<String>,
    /// Number of the PF.
    pub pf: Option<u16>,
    /// Number of the VF.
    pub vf: Option<u16>,
    /// The address of the function at its other end, where the card says.
    pub function_mac: Option<packet::Mac>,
}

/// A rate object: a VF's (leaf), or a node that several share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rate {
    /// The node's name, or none for a port's.
    pub node: Option<String>,
    /// The port's number, or none for a node.
    pub port: Option<u32>,
    /// Bytes/s that it is sure of.
    pub share: u64,
    /// Bytes/s that it may have; 0: no limit.
    pub max: u64,
    /// The node it is below.
    pub parent: Option<String>,
}

/// A part of a card that says how it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthReporter {
    /// Which part.
    pub name: String,
    /// Whether it works.
    pub healthy: bool,
    /// How often it did not.
    pub errors: u64,
}

/// All that devlink knows of a card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Card {
    /// The card.
    pub handle: Handle,
    /// How its switch works, if it has one.
    pub eswitch: Option<EswitchMode>,
    /// Its switch's ports.
    pub ports: Vec<Port>,
    /// Rate objects.
    pub rates: Vec<Rate>,
    /// Health.
    pub health: Vec<HealthReporter>,
}

/// Asks devlink.
#[derive(Debug)]
pub struct Devlink(Family);

impl Devlink {
    /// Finds it.
    ///
    /// # Errors
    /// When the kernel has none.
    pub fn open() -> Result<Self, NetlinkError> {
        Family::open(FAMILY).map(Self)
    }

    /// All cards.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn cards(&mut self) -> Result<Vec<Card>, NetlinkError> {
        let handles: Vec<Handle> = self
            .0
            .dump("devlink devices", command::GET)?
            .iter()
            .filter_map(|d| handle(d))
            .collect();
        let ports = self.0.dump("devlink ports", command::PORT_GET)?;
        // Older kernels have no rate objects.
        let rates = self.dump_or_none("devlink rates", command::RATE_GET)?;
        let health = self.dump_or_none("devlink health", command::HEALTH_REPORTER_GET)?;
        let mut cards = Vec::new();
        for handle in handles {
            let eswitch = match self.0.get(
                &format!("eswitch of {handle}"),
                command::ESWITCH_GET,
                named(&handle),
            ) {
                Ok(answers) => answers.first().and_then(|answer| mode(answer)),
                Err(NetlinkError::Refused { .. }) => None,
                Err(error) => return Err(error),
            };
            cards.push(Card {
                eswitch,
                ports: of(&handle, &ports, port),
                rates: of(&handle, &rates, rate),
                health: of(&handle, &health, reporter),
                handle,
            });
        }
        Ok(cards)
    }

    fn dump_or_none(
        &mut self,
        what: &str,
        command: u8,
    ) -> Result<Vec<Vec<DefaultNla>>, NetlinkError> {
        match self.0.dump(what, command) {
            Err(NetlinkError::Refused { .. }) => Ok(Vec::new()),
            other => other,
        }
    }

    /// Changes how a card's switch works. Its VFs lose their representors or get them.
    ///
    /// # Errors
    /// When the card does not want to.
    pub fn set_eswitch(&mut self, handle: &Handle, mode: EswitchMode) -> Result<(), NetlinkError> {
        let mut attributes = named(handle);
        let number: u16 = match mode {
            EswitchMode::Legacy => 0,
            EswitchMode::Switchdev => 1,
        };
        attributes.push(DefaultNla::new(attribute::ESWITCH_MODE, number.to_ne_bytes().to_vec()));
        self.0.act(&format!("eswitch of {handle}"), command::ESWITCH_SET, attributes)
    }
}

fn named(handle: &Handle) -> Vec<DefaultNla> {
    vec![
        text_attribute(attribute::BUS_NAME, &handle.bus),
        text_attribute(attribute::DEV_NAME, &handle.name),
    ]
}

fn handle(of: &[DefaultNla]) -> Option<Handle> {
    Some(Handle { bus: text(of, attribute::BUS_NAME)?, name: text(of, attribute::DEV_NAME)? })
}

/// What `read` makes of those messages that are about a card.
fn of<T>(
    card: &Handle,
    messages: &[Vec<DefaultNla>],
    read: fn(&[DefaultNla]) -> Option<T>,
) -> Vec<T> {
    let own = messages.iter().filter(|message| handle(message).as_ref() == Some(card));
    own.filter_map(|message| read(message)).collect()
}

fn small<T: TryFrom<u64>>(of: &[DefaultNla], kind: u16) -> Option<T> {
    number(of, kind)?.try_into().ok()
}

fn mode(of: &[DefaultNla]) -> Option<EswitchMode> {
    match number(of, attribute::ESWITCH_MODE)? {
        0 => Some(EswitchMode::Legacy),
        1 => Some(EswitchMode::Switchdev),
        _ => None,
    }
}

fn port(of: &[DefaultNla]) -> Option<Port> {
    let function = value(of, attribute::PORT_FUNCTION).and_then(|nested| attributes(&nested).ok());
    let mac = function.and_then(|function| value(&function, attribute::FUNCTION_HW_ADDR));
    Some(Port {
        index: small(of, attribute::PORT_INDEX)?,
        flavour: match number(of, attribute::PORT_FLAVOUR) {
            Some(0) => Flavour::Physical,
            Some(3) => Flavour::PciPf,
            Some(4) => Flavour::PciVf,
            Some(7) => Flavour::PciSf,
            _ => Flavour::Other,
        },
        net: text(of, attribute::PORT_NETDEV_NAME),
        pf: small(of, attribute::PORT_PCI_PF_NUMBER),
        vf: small(of, attribute::PORT_PCI_VF_NUMBER),
        function_mac: mac.and_then(|mac| mac.try_into().ok()).map(packet::Mac),
    })
}

fn rate(of: &[DefaultNla]) -> Option<Rate> {
    number(of, attribute::RATE_TYPE)?;
    Some(Rate {
        node: text(of, attribute::RATE_NODE_NAME),
        port: small(of, attribute::PORT_INDEX),
        share: number(of, attribute::RATE_TX_SHARE).unwrap_or(0),
        max: number(of, attribute::RATE_TX_MAX).unwrap_or(0),
        parent: text(of, attribute::RATE_PARENT_NODE_NAME),
    })
}

fn reporter(of: &[DefaultNla]) -> Option<HealthReporter> {
    let nested = attributes(&value(of, attribute::HEALTH_REPORTER)?).ok()?;
    Some(HealthReporter {
        name: text(&nested, attribute::HEALTH_REPORTER_NAME)?,
        healthy: number(&nested, attribute::HEALTH_REPORTER_STATE) == Some(0),
        errors: number(&nested, attribute::HEALTH_REPORTER_ERR_COUNT).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_core::Emitable;

    fn u32(kind: u16, number: u32) -> DefaultNla {
        DefaultNla::new(kind, number.to_ne_bytes().to_vec())
    }

    fn nested(kind: u16, list: &[DefaultNla]) -> DefaultNla {
        let mut bytes = vec![0; list.buffer_len()];
        list.emit(&mut bytes);
        DefaultNla::new(kind, bytes)
    }

    #[test]
    fn messages_of_a_card() {
        let card = Handle { bus: "pci".into(), name: "0000:03:00.0".into() };
        let other = Handle { bus: "pci".into(), name: "0000:04:00.0".into() };
        let with = |handle: &Handle, more: Vec<DefaultNla>| [named(handle), more].concat();
        let representor = vec![
            u32(attribute::PORT_INDEX, 5),
            DefaultNla::new(attribute::PORT_FLAVOUR, 4_u16.to_ne_bytes().to_vec()),
            DefaultNla::new(attribute::PORT_PCI_PF_NUMBER, 0_u16.to_ne_bytes().to_vec()),
            DefaultNla::new(attribute::PORT_PCI_VF_NUMBER, 3_u16.to_ne_bytes().to_vec()),
            text_attribute(attribute::PORT_NETDEV_NAME, "pf0vf3"),
            nested(attribute::PORT_FUNCTION, &[DefaultNla::new(1, vec![2, 0, 0, 0, 0, 7])]),
        ];
        let messages = [with(&card, representor.clone()), with(&other, representor)];
        let expected = Port {
            index: 5,
            flavour: Flavour::PciVf,
            net: Some("pf0vf3".into()),
            pf: Some(0),
            vf: Some(3),
            function_mac: Some("02:00:00:00:00:07".parse().unwrap()),
        };
        assert_eq!(of(&card, &messages, port), [expected]);
        let health = nested(
            attribute::HEALTH_REPORTER,
            &[
                text_attribute(attribute::HEALTH_REPORTER_NAME, "fw"),
                DefaultNla::new(attribute::HEALTH_REPORTER_STATE, vec![1]),
                DefaultNla::new(attribute::HEALTH_REPORTER_ERR_COUNT, 3_u64.to_ne_bytes().to_vec()),
            ],
        );
        let expected = HealthReporter { name: "fw".into(), healthy: false, errors: 3 };
        assert_eq!(of(&card, &[with(&card, vec![health])], reporter), [expected]);
        let leaf = vec![
            DefaultNla::new(attribute::RATE_TYPE, 0_u16.to_ne_bytes().to_vec()),
            u32(attribute::PORT_INDEX, 5),
            DefaultNla::new(attribute::RATE_TX_MAX, 125_000_u64.to_ne_bytes().to_vec()),
            text_attribute(attribute::RATE_PARENT_NODE_NAME, "tenant"),
        ];
        let expected = Rate {
            node: None,
            port: Some(5),
            share: 0,
            max: 125_000,
            parent: Some("tenant".into()),
        };
        assert_eq!(of(&card, &[with(&card, leaf)], rate), [expected]);
    }

    /// A kernel without devlink says so; one with it lists its cards, perhaps none.
    #[test]
    fn this_machine() {
        match Devlink::open() {
            Ok(mut devlink) => {
                devlink.cards().unwrap();
            }
            Err(error) => assert!(matches!(error, NetlinkError::NoFamily("devlink")), "{error}"),
        }
    }
}
