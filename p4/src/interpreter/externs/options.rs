//! Options, one behind the other: whether each ends where the next begins.

/// IPv4 (RFC 791, section 3.1): 0 ends the list, 1 is alone, all others count type and length.
pub fn ipv4(options: &[u8]) -> bool {
    let mut at = 0;
    while let Some(kind) = options.get(at) {
        at += match (kind, options.get(at + 1)) {
            (0, _) => return true,
            (1, _) => 1,
            (_, Some(length)) if *length >= 2 => usize::from(*length),
            _ => return false,
        };
    }
    at == options.len()
}

/// IPv6 (RFC 8200, section 4.2): 0 is alone, all others have a length that counts neither type nor itself. A jumbogram
/// (RFC 2675) there is none.
pub fn ipv6(options: &[u8]) -> bool {
    let mut at = 0;
    while let Some(kind) = options.get(at) {
        at += match (kind, options.get(at + 1)) {
            (0, _) => 1,
            (0xc2, _) | (_, None) => return false,
            (_, Some(length)) => 2 + usize::from(*length),
        };
    }
    at == options.len()
}

/// An option does not end where the next begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotInOrder;

/// Neighbour discovery (RFC 4861, section 4.6): lengths count 8 bytes and are never 0. The MAC in the first option of a
/// type.
pub fn link_layer(options: &[u8], wanted: u8) -> Result<Option<u64>, NotInOrder> {
    let mut found = None;
    let mut rest = options;
    while !rest.is_empty() {
        let [kind, length, ..] = rest else { return Err(NotInOrder) };
        let length = usize::from(*length) * 8;
        let option = rest.get(2..length).ok_or(NotInOrder)?;
        if *kind == wanted && option.len() == 6 && found.is_none() {
            found = Some(option.iter().fold(0, |mac, byte| mac << 8 | u64::from(*byte)));
        }
        rest = &rest[length..];
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_ipv4() {
        for good in [&[][..], &[0, 9, 9, 9], &[1, 1, 1, 0], &[0x94, 4, 0, 0], &[1, 1, 0x94, 2]] {
            assert!(ipv4(good), "{good:?}");
        }
        for bad in [&[0x94, 4, 0][..], &[0x94, 1, 0, 0], &[0x94, 0, 0, 0], &[1, 1, 1, 0x94]] {
            assert!(!ipv4(bad), "{bad:?}");
        }
    }

    #[test]
    fn options_of_ipv6() {
        for good in [&[][..], &[0, 0], &[1, 4, 0, 0, 0, 0], &[5, 2, 0, 0, 1, 0]] {
            assert!(ipv6(good), "{good:?}");
        }
        for bad in [&[1][..], &[1, 5, 0, 0, 0, 0], &[0xc2, 4, 0, 1, 0, 0]] {
            assert!(!ipv6(bad), "{bad:?}");
        }
    }

    #[test]
    fn options_of_neighbour_discovery() {
        let mac = [1, 1, 2, 0, 0, 0, 0, 9];
        assert_eq!(link_layer(&mac, 1), Ok(Some(0x0200_0000_0009)));
        assert_eq!(link_layer(&mac, 2), Ok(None));
        assert_eq!(link_layer(&[], 1), Ok(None));
        assert_eq!(link_layer(&[5, 1, 0, 0, 0, 0, 5, 220], 1), Ok(None));
        for bad in [&mac[..7], &[1][..], &[1, 0, 2, 0, 0, 0, 0, 9]] {
            assert_eq!(link_layer(bad, 1), Err(NotInOrder), "{bad:?}");
        }
    }
}
