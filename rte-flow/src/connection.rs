//! `CONNTRACK`: a TCP connection as `rte_flow` describes it to a NIC, and as the NIC describes it back.

use std::ffi::c_void;
use std::fmt;

use dpdk_sys as c;

use crate::conf::{Conf, at};
use crate::encode::Arena;
use crate::error::DecodeReason;

macro_rules! numbered {
    (
        $(#[$doc:meta])* $name:ident: $number:ty {
            $($(#[$value_doc:meta])* $value:ident = $c:ident,)+
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$value_doc])* $value,)+
        }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$value),+];

            /// DPDK's number.
            #[must_use]
            pub const fn number(self) -> $number {
                match self {
                    $(Self::$value => c::$c,)+
                }
            }

            /// The value of DPDK's number.
            #[must_use]
            pub const fn from_number(number: $number) -> Option<Self> {
                match number {
                    $(c::$c => Some(Self::$value),)+
                    _ => None,
                }
            }
        }
    };
}

numbered! {
    /// Where a connection stands (`enum rte_flow_conntrack_state`).
    ConnectionState: c::rte_flow_conntrack_state {
        /// SYN and SYN-ACK were seen.
        SynReceived = RTE_FLOW_CONNTRACK_STATE_SYN_RECV,
        /// The handshake is complete.
        Established = RTE_FLOW_CONNTRACK_STATE_ESTABLISHED,
        /// One end sent a FIN.
        FinWait = RTE_FLOW_CONNTRACK_STATE_FIN_WAIT,
        /// The first FIN was acknowledged.
        CloseWait = RTE_FLOW_CONNTRACK_STATE_CLOSE_WAIT,
        /// The other end sent its FIN.
        LastAck = RTE_FLOW_CONNTRACK_STATE_LAST_ACK,
        /// The second FIN was acknowledged, or a RST came.
        TimeWait = RTE_FLOW_CONNTRACK_STATE_TIME_WAIT,
    }
}

numbered! {
    /// What the last tracked segment was (`enum rte_flow_conntrack_tcp_last_index`).
    LastSegment: c::rte_flow_conntrack_tcp_last_index {
        /// There was none yet.
        None = RTE_FLOW_CONNTRACK_FLAG_NONE,
        /// A SYN.
        Syn = RTE_FLOW_CONNTRACK_FLAG_SYN,
        /// A SYN-ACK.
        SynAck = RTE_FLOW_CONNTRACK_FLAG_SYNACK,
        /// A FIN.
        Fin = RTE_FLOW_CONNTRACK_FLAG_FIN,
        /// An ACK, with or without data.
        Ack = RTE_FLOW_CONNTRACK_FLAG_ACK,
        /// A RST.
        Rst = RTE_FLOW_CONNTRACK_FLAG_RST,
    }
}

/// One of the two directions of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the end that opened it.
    Original,
    /// Towards that end.
    Reply,
}

impl Direction {
    /// The other one.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }

    fn of(is_original: u32) -> Self {
        if is_original == 0 { Self::Reply } else { Self::Original }
    }

    fn bit(self) -> u32 {
        u32::from(self == Self::Original)
    }
}

/// A TCP window scale of four bits, of which the largest value says that windows are not scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WindowScale(u8);

impl WindowScale {
    /// Windows are not scaled.
    pub const DISABLED: Self = Self(15);

    /// A scale of 0 to 14 (RFC 7323), or [`Self::DISABLED`]'s 15.
    #[must_use]
    pub const fn new(scale: u8) -> Option<Self> {
        if scale <= 15 { Some(Self(scale)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// By how many bits windows are shifted.
    #[must_use]
    pub const fn shift(self) -> u32 {
        if self.0 == Self::DISABLED.0 { 0 } else { self.0 as u32 }
    }
}

/// What is known of the segments of one direction (`struct rte_flow_tcp_dir_param`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TcpDirection {
    /// The scale of this direction's windows.
    pub scale: WindowScale,
    /// This direction sent a FIN.
    pub close_initiated: bool,
    /// This direction sent an ACK: `max_ack` has a meaning.
    pub last_ack_seen: bool,
    /// This direction sent something that is not acknowledged.
    pub data_unacked: bool,
    /// The highest sequence number sent, and one; what the other direction acknowledges at most.
    pub sent_end: u32,
    /// The highest sequence number that this direction may send, and one: acknowledgment and window of the other.
    pub reply_end: u32,
    /// The largest window this direction offered, in bytes.
    pub max_win: u32,
    /// The highest acknowledgment number this direction sent.
    pub max_ack: u32,
}

/// A tracked TCP connection (`struct rte_flow_action_conntrack`). All numbers are in host byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the C structure by itself")]
pub struct Connection {
    /// The ethdev port of the other direction's rules; may be the same.
    pub peer_port: u16,
    /// The direction that rules made from now on see.
    pub direction: Direction,
    /// Whether segments are tracked at all.
    pub enable: bool,
    /// An ACK was seen after the handshake.
    pub live_connection: bool,
    /// Both ends agreed to selective acknowledgments (RFC 2018).
    pub selective_ack: bool,
    /// A challenge ACK (RFC 5961) has passed.
    pub challenge_ack_passed: bool,
    /// The direction of the last tracked segment.
    pub last_direction: Direction,
    /// Follow the state only, and check nothing else.
    pub liberal_mode: bool,
    /// Where the connection stands.
    pub state: ConnectionState,
    /// How far below what was sent an acknowledgment may lie: 65,535 bytes shifted by this, at least.
    pub max_ack_window: u8,
    /// How often a segment may be repeated; 0 for any number of times.
    pub retransmission_limit: u8,
    /// From the end that opened the connection.
    pub original: TcpDirection,
    /// Towards it.
    pub reply: TcpDirection,
    /// The unscaled window of the last tracked segment.
    pub last_window: u16,
    /// What the last tracked segment was.
    pub last_segment: LastSegment,
    /// Its sequence number.
    pub last_seq: u32,
    /// Its acknowledgment number.
    pub last_ack: u32,
    /// The sequence number after it.
    pub last_end: u32,
}

impl TcpDirection {
    fn to_c(self) -> c::rte_flow_tcp_dir_param {
        c::rte_flow_tcp_dir_param {
            _bitfield_1: c::rte_flow_tcp_dir_param::new_bitfield_1(
                self.scale.get().into(),
                self.close_initiated.into(),
                self.last_ack_seen.into(),
                self.data_unacked.into(),
            ),
            sent_end: self.sent_end,
            reply_end: self.reply_end,
            max_win: self.max_win,
            max_ack: self.max_ack,
        }
    }

    fn from_c(direction: &c::rte_flow_tcp_dir_param) -> Self {
        Self {
            // A field of four bits.
            scale: WindowScale(direction.scale() as u8),
            close_initiated: direction.close_initiated() != 0,
            last_ack_seen: direction.last_ack_seen() != 0,
            data_unacked: direction.data_unacked() != 0,
            sent_end: direction.sent_end,
            reply_end: direction.reply_end,
            max_win: direction.max_win,
            max_ack: direction.max_ack,
        }
    }
}

impl Connection {
    /// The C form, as `rte_flow_action_handle_query` returns it.
    #[must_use]
    pub fn to_c(&self) -> c::rte_flow_action_conntrack {
        // SAFETY: a structure of numbers, for which zero is a value; padding included.
        let mut conf: c::rte_flow_action_conntrack = unsafe { std::mem::zeroed() };
        conf.peer_port = self.peer_port;
        conf.set_is_original_dir(self.direction.bit());
        conf.set_enable(self.enable.into());
        conf.set_live_connection(self.live_connection.into());
        conf.set_selective_ack(self.selective_ack.into());
        conf.set_challenge_ack_passed(self.challenge_ack_passed.into());
        conf.set_last_direction(self.last_direction.bit());
        conf.set_liberal_mode(self.liberal_mode.into());
        conf.state = self.state.number();
        conf.max_ack_window = self.max_ack_window;
        conf.retransmission_limit = self.retransmission_limit;
        conf.original_dir = self.original.to_c();
        conf.reply_dir = self.reply.to_c();
        conf.last_window = self.last_window;
        conf.last_index = self.last_segment.number();
        conf.last_seq = self.last_seq;
        conf.last_ack = self.last_ack;
        conf.last_end = self.last_end;
        conf
    }

    fn from_c(conf: &c::rte_flow_action_conntrack) -> Result<Self, DecodeReason> {
        Ok(Self {
            peer_port: conf.peer_port,
            direction: Direction::of(conf.is_original_dir()),
            enable: conf.enable() != 0,
            live_connection: conf.live_connection() != 0,
            selective_ack: conf.selective_ack() != 0,
            challenge_ack_passed: conf.challenge_ack_passed() != 0,
            last_direction: Direction::of(conf.last_direction()),
            liberal_mode: conf.liberal_mode() != 0,
            state: ConnectionState::from_number(conf.state)
                .ok_or(DecodeReason::UnknownValue("state", conf.state))?,
            max_ack_window: conf.max_ack_window,
            retransmission_limit: conf.retransmission_limit,
            original: TcpDirection::from_c(&conf.original_dir),
            reply: TcpDirection::from_c(&conf.reply_dir),
            last_window: conf.last_window,
            last_segment: LastSegment::from_number(conf.last_index)
                .ok_or(DecodeReason::UnknownValue("last_index", conf.last_index))?,
            last_seq: conf.last_seq,
            last_ack: conf.last_ack,
            last_end: conf.last_end,
        })
    }
}

impl Conf<c::rte_flow_action_conntrack> for Connection {
    fn encode(&self, arena: &mut Arena) -> *const c_void {
        arena.put(self.to_c())
    }
    unsafe fn decode(conf: *const c_void) -> Result<Self, DecodeReason> {
        // SAFETY: the caller's promise.
        Self::from_c(unsafe { at(conf) }?)
    }
    fn text(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        // testpmd takes the connection from `set conntrack` commands before; see `text.rs`.
        Ok(())
    }
}

/// What changes of a tracked connection (`struct rte_flow_modify_conntrack`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionUpdate {
    /// The direction that rules made from now on see.
    pub direction: Option<Direction>,
    /// Everything else.
    pub connection: Option<Connection>,
}

impl ConnectionUpdate {
    /// Reads the C form.
    ///
    /// # Errors
    /// A null pointer, and unknown numbers in a state that is to be set.
    ///
    /// # Safety
    /// `update` is null or points to a valid structure.
    pub unsafe fn decode(
        update: *const c::rte_flow_modify_conntrack,
    ) -> Result<Self, DecodeReason> {
        // SAFETY: the caller's promise.
        let update = unsafe { at::<c::rte_flow_modify_conntrack>(update.cast()) }?;
        Ok(Self {
            direction: (update.direction() != 0)
                .then(|| Direction::of(update.new_ct.is_original_dir())),
            // Without its flag, the rest may be anything.
            connection: (update.state() != 0)
                .then(|| Connection::from_c(&update.new_ct))
                .transpose()?,
        })
    }
}
