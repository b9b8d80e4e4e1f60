//! Why a rule was refused, as `rte_flow` reports it: kind, errno, the guilty part, a message.

use std::borrow::Cow;
use std::ffi::c_void;

use dpdk_sys::{rte_flow_action, rte_flow_attr, rte_flow_error_type, rte_flow_item};
use thiserror::Error;

/// errno: no such object.
pub const ENOENT: i32 = 2;
/// errno: try again later.
pub const EAGAIN: i32 = 11;
/// errno: out of memory.
pub const ENOMEM: i32 = 12;
/// errno: in use.
pub const EBUSY: i32 = 16;
/// errno: there already.
pub const EEXIST: i32 = 17;
/// errno: wrong by itself.
pub const EINVAL: i32 = 22;
/// errno: no space left.
pub const ENOSPC: i32 = 28;
/// errno: valid, but not supported here.
pub const ENOTSUP: i32 = 95;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $number:ident;)+) => {
        /// What kind of thing is wrong (`enum rte_flow_error_type`).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorKind {
            $($(#[$doc])* $kind,)+
        }

        impl ErrorKind {
            /// DPDK's number.
            #[must_use]
            pub const fn number(self) -> rte_flow_error_type {
                match self {
                    $(Self::$kind => dpdk_sys::$number,)+
                }
            }

            /// The kind of DPDK's number; an unknown one is unspecified.
            #[must_use]
            pub const fn from_number(number: rte_flow_error_type) -> Self {
                match number {
                    $(dpdk_sys::$number => Self::$kind,)+
                    _ => Self::Unspecified,
                }
            }
        }
    };
}

kinds! {
    /// Nothing particular.
    Unspecified = RTE_FLOW_ERROR_TYPE_UNSPECIFIED;
    /// The rule's handle.
    Handle = RTE_FLOW_ERROR_TYPE_HANDLE;
    /// The group.
    Group = RTE_FLOW_ERROR_TYPE_ATTR_GROUP;
    /// The priority.
    Priority = RTE_FLOW_ERROR_TYPE_ATTR_PRIORITY;
    /// The ingress attribute.
    Ingress = RTE_FLOW_ERROR_TYPE_ATTR_INGRESS;
    /// The egress attribute.
    Egress = RTE_FLOW_ERROR_TYPE_ATTR_EGRESS;
    /// The transfer attribute.
    Transfer = RTE_FLOW_ERROR_TYPE_ATTR_TRANSFER;
    /// The attributes together.
    Attributes = RTE_FLOW_ERROR_TYPE_ATTR;
    /// How many items there are.
    ItemNumber = RTE_FLOW_ERROR_TYPE_ITEM_NUM;
    /// An item's spec.
    ItemSpec = RTE_FLOW_ERROR_TYPE_ITEM_SPEC;
    /// An item's last.
    ItemLast = RTE_FLOW_ERROR_TYPE_ITEM_LAST;
    /// An item's mask.
    ItemMask = RTE_FLOW_ERROR_TYPE_ITEM_MASK;
    /// An item.
    Item = RTE_FLOW_ERROR_TYPE_ITEM;
    /// How many actions there are.
    ActionNumber = RTE_FLOW_ERROR_TYPE_ACTION_NUM;
    /// An action's configuration.
    ActionConf = RTE_FLOW_ERROR_TYPE_ACTION_CONF;
    /// An action.
    Action = RTE_FLOW_ERROR_TYPE_ACTION;
    /// The device's state.
    State = RTE_FLOW_ERROR_TYPE_STATE;
}

/// The guilty part of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// None in particular.
    None,
    /// The attributes.
    Attributes,
    /// The item at this position, from 0.
    Item(usize),
    /// The action at this position, from 0.
    Action(usize),
}

/// A refusal (`struct rte_flow_error` and errno).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct FlowError {
    /// What kind of thing is wrong.
    pub kind: ErrorKind,
    /// The errno, positive.
    pub errno: i32,
    /// Where.
    pub cause: Cause,
    /// What is wrong and what to do, in one line.
    pub message: Cow<'static, str>,
}

impl FlowError {
    /// A refusal of the item at `index`.
    #[must_use]
    pub fn item(
        index: usize,
        kind: ErrorKind,
        errno: i32,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { kind, errno, cause: Cause::Item(index), message: message.into() }
    }

    /// A refusal of the action at `index`.
    #[must_use]
    pub fn action(
        index: usize,
        kind: ErrorKind,
        errno: i32,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { kind, errno, cause: Cause::Action(index), message: message.into() }
    }

    /// A refusal because of the attributes.
    #[must_use]
    pub fn attributes(kind: ErrorKind, errno: i32, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, errno, cause: Cause::Attributes, message: message.into() }
    }

    /// A refusal for a reason outside the rule.
    #[must_use]
    pub fn other(kind: ErrorKind, errno: i32, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, errno, cause: Cause::None, message: message.into() }
    }

    /// The pointer that `rte_flow_error` wants as cause, for the arrays the rule was decoded from.
    #[must_use]
    pub fn cause_pointer(
        &self,
        attributes: *const rte_flow_attr,
        pattern: *const rte_flow_item,
        actions: *const rte_flow_action,
    ) -> *const c_void {
        match self.cause {
            Cause::None => std::ptr::null(),
            Cause::Attributes => attributes.cast(),
            Cause::Item(_) if pattern.is_null() => std::ptr::null(),
            Cause::Item(index) => pattern.wrapping_add(index).cast(),
            Cause::Action(_) if actions.is_null() => std::ptr::null(),
            Cause::Action(index) => actions.wrapping_add(index).cast(),
        }
    }
}

/// Why C structures are not a rule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct DecodeError {
    /// Where.
    pub cause: Cause,
    /// What is wrong there.
    pub reason: DecodeReason,
}

/// What is wrong with a C structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum DecodeReason {
    /// A pointer that must not be null.
    #[error("{0} is a null pointer; pass the structure")]
    Null(&'static str),
    /// None or several of ingress, egress and transfer.
    #[error("set exactly one of ingress, egress and transfer")]
    Domain,
    /// No END within the limit.
    #[error("more than {0} entries without END; end the list with END")]
    NoEnd(usize),
    /// An item number that is not known here.
    #[error("item type {0} is not supported; match other layers or leave it to software")]
    UnknownItem(u32),
    /// An action number that is not known here.
    #[error("action type {0} is not supported; choose another or leave it to software")]
    UnknownAction(u32),
    /// A mask without a spec outside a template.
    #[error("an item has a mask but no spec; give the spec or drop the mask")]
    MaskWithoutSpec,
    /// A last without a spec.
    #[error("an item has a last but no spec; give the spec or drop the last")]
    LastWithoutSpec,
    /// A length of an option's data that no option has.
    #[error("the option's length is {0} words; give 0 to 31")]
    OptionLength(u8),
    /// An option in a template without the length of its data.
    #[error("a template's option needs a spec with its class, type and length; give it")]
    OptionWithoutSpec,
    /// An action without the configuration it needs.
    #[error("the action needs a configuration; set conf")]
    MissingConf,
    /// A configuration without an object that it needs.
    #[error("the action names no {0}; give one")]
    Missing(&'static str),
    /// A length or pointer inside a configuration that cannot be.
    #[error("the action's {0} has an impossible length or no data; correct it")]
    BadLength(&'static str),
    /// A number inside a configuration that names nothing.
    #[error("the action's {0} has the unknown value {1}; use one of DPDK 22.11's")]
    UnknownValue(&'static str, u32),
    /// A list of actions inside another such list.
    #[error("the action's sub-actions cannot hold {0} again; flatten them")]
    Nested(&'static str),
    /// A `MODIFY_FIELD` in a template whose mask leaves open what is changed.
    #[error(
        "modify_field's mask must repeat operation and fields, and have all bits of level, offset and width; set them"
    )]
    ModifyMask,
    /// A wrong item inside an encapsulation's definition.
    #[error(
        "the encapsulation's item {0} cannot be understood; define ETH, IPV4 or IPV6, then UDP, VXLAN or NVGRE, END"
    )]
    Definition(usize),
}

impl From<DecodeError> for FlowError {
    fn from(error: DecodeError) -> Self {
        let DecodeError { cause, reason } = error;
        let (kind, errno) = match (reason, cause) {
            (DecodeReason::Domain, _) | (DecodeReason::Null(_), Cause::Attributes) => {
                (ErrorKind::Attributes, EINVAL)
            }
            (DecodeReason::Null(_) | DecodeReason::NoEnd(_), Cause::Item(_)) => {
                (ErrorKind::ItemNumber, EINVAL)
            }
            (DecodeReason::Null(_) | DecodeReason::NoEnd(_), _) => {
                (ErrorKind::ActionNumber, EINVAL)
            }
            (DecodeReason::UnknownItem(_), _) => (ErrorKind::Item, ENOTSUP),
            (DecodeReason::UnknownAction(_), _) => (ErrorKind::Action, ENOTSUP),
            (DecodeReason::MaskWithoutSpec | DecodeReason::LastWithoutSpec, _) => {
                (ErrorKind::Item, EINVAL)
            }
            (DecodeReason::OptionLength(_) | DecodeReason::OptionWithoutSpec, _) => {
                (ErrorKind::Item, ENOTSUP)
            }
            (DecodeReason::ModifyMask, _) => (ErrorKind::Action, EINVAL),
            (DecodeReason::UnknownValue(..), _) => (ErrorKind::ActionConf, ENOTSUP),
            (
                DecodeReason::MissingConf
                | DecodeReason::Missing(_)
                | DecodeReason::Nested(_)
                | DecodeReason::BadLength(_)
                | DecodeReason::Definition(_),
                _,
            ) => (ErrorKind::ActionConf, EINVAL),
        };
        Self { kind, errno, cause, message: Cow::Owned(reason.to_string()) }
    }
}
