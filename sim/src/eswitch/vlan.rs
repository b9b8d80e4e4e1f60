//! VLAN tags on and off the front of a frame, as `OFPAT_PUSH_VLAN`, `OFPAT_POP_VLAN`, `OFPAT_SET_VLAN_VID` and
//! `OFPAT_SET_VLAN_PCP` of `OpenFlow` say (`OpenFlow` Switch Specification 1.5.1, section 5.8).

use packet::wire::ethernet;
use packet::{Frame, NoRoom};

use super::bytes;

/// Both addresses.
const ADDRESSES: usize = 12;
/// A tag: its type and its control information.
const TAG: usize = 4;

/// Where the control information of the outermost tag is.
const CONTROL: usize = ADDRESSES + 2;

/// The VLAN identifier's bits of a tag's control information.
pub const VID: u16 = 0x0fff;
/// The priority's bits.
pub const PCP: u16 = 0xe000;

fn is_tagged(frame: &[u8]) -> bool {
    bytes::u16(frame, ADDRESSES).is_some_and(ethernet::is_vlan)
        && frame.len() >= ADDRESSES + 2 * TAG
}

/// Adds a tag in front of all others. Its identifier and priority are those of the tag that was outermost, or 0.
pub fn push(frame: &mut Frame<'_>, tpid: u16) -> Result<(), NoRoom> {
    let control = match bytes::u16(frame.bytes(), CONTROL) {
        Some(control) if is_tagged(frame.bytes()) => control,
        _ => 0,
    };
    frame.prepend(TAG)?;
    let bytes = frame.bytes_mut();
    bytes.copy_within(TAG..(TAG + ADDRESSES).min(bytes.len()), 0);
    put(bytes, ADDRESSES, tpid);
    put(bytes, CONTROL, control);
    Ok(())
}

/// Removes the outermost tag, if there is one.
pub fn pop(frame: &mut Frame<'_>) {
    if is_tagged(frame.bytes()) {
        frame.bytes_mut().copy_within(..ADDRESSES, TAG);
        frame.trim_front(TAG);
    }
}

/// Sets some bits of the outermost tag's control information, if there is one.
pub fn set(frame: &mut Frame<'_>, value: u16, mask: u16) {
    if let Some(control) = bytes::u16(frame.bytes(), CONTROL)
        && is_tagged(frame.bytes())
    {
        put(frame.bytes_mut(), CONTROL, control & !mask | value & mask);
    }
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(field) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *field = value.to_be_bytes();
    }
}
