//! What a profile says of actions: where, in which order and company.

use crate::action::ActionKind;
use crate::item::ItemKind;

use super::Place;

/// Actions that stand together in order and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ActionClass {
    /// `VXLAN_DECAP`, `NVGRE_DECAP`, `RAW_DECAP`.
    Decap,
    /// `VXLAN_ENCAP`, `NVGRE_ENCAP`, `RAW_ENCAP`.
    Encap,
    /// Everything that the modify-header engine does.
    Modify,
    /// Everything that decides where the packet goes.
    Fate,
    /// One action.
    One(ActionKind),
}

impl ActionClass {
    pub(crate) const fn contains(self, kind: ActionKind) -> bool {
        match self {
            Self::Decap => kind.is_decap(),
            Self::Encap => kind.is_encap(),
            Self::Modify => kind.is_modify(),
            Self::Fate => kind.is_fate(),
            Self::One(one) => one as usize == kind as usize,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Decap => "decap",
            Self::Encap => "encap",
            Self::Modify => "modify",
            Self::Fate => "fate",
            Self::One(kind) => kind.name(),
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "decap" => Some(Self::Decap),
            "encap" => Some(Self::Encap),
            "modify" => Some(Self::Modify),
            "fate" => Some(Self::Fate),
            _ => {
                ActionKind::ALL.iter().find(|kind| kind.name() == name).map(|kind| Self::One(*kind))
            }
        }
    }
}

/// Some kinds of actions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ActionSet(u64);

const _: () = assert!(ActionKind::ALL.len() <= u64::BITS as usize, "a set has a bit for each");

impl ActionSet {
    pub(crate) const fn insert(&mut self, kind: ActionKind) {
        self.0 |= 1 << kind as u32;
    }

    pub(crate) const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl FromIterator<ActionKind> for ActionSet {
    fn from_iter<I: IntoIterator<Item = ActionKind>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::default(), |mut set, kind| {
            set.insert(kind);
            set
        })
    }
}

/// What is accepted of one action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ActionRule {
    /// Where.
    pub place: Place,
    /// Items of which the pattern must have one.
    pub needs: Vec<ItemKind>,
    /// Those items may stand among any headers; else, behind a decapsulation, among those inside.
    pub anywhere: bool,
    /// Items that the pattern must not have; nor may an IP item ask for their protocol.
    pub without: Vec<ItemKind>,
    /// Classes of actions of which one must stand before, where the pattern has none of those items.
    pub after: Vec<ActionClass>,
    /// The actions that may stand beside it; `None`: all.
    pub with: Option<Vec<ActionKind>>,
}
