//! What a PF keeps of its VFs, by messages about its interface.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    LinkAttribute, LinkExtentMask, LinkMessage, LinkVfInfo, VfInfo, VfInfoLinkState, VfInfoMac,
    VfInfoRate, VfInfoSpoofCheck, VfInfoTrust, VfInfoVlan, VfLinkState,
};
use packet::Mac;

use super::{Connection, NetlinkError};
use crate::device::{InterfaceName, VfNumber};
use crate::lease::{LinkState, SeenSettings, VfSettings};

/// What a PF is told and says about its VFs. Every call can be made again.
pub trait PfControl: Send + Sync {
    /// What a PF says of a VF; none when it knows of no such VF.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn settings(
        &self,
        pf: &InterfaceName,
        vf: VfNumber,
    ) -> Result<Option<SeenSettings>, NetlinkError>;

    /// Tells a PF what a VF is to have.
    ///
    /// # Errors
    /// When its driver does not want some of it.
    fn configure(
        &self,
        pf: &InterfaceName,
        vf: VfNumber,
        settings: &VfSettings,
    ) -> Result<(), NetlinkError>;

    /// Makes a PF forget what it was told by [`Self::configure`] with these settings.
    ///
    /// # Errors
    /// When its driver does not want some of it.
    fn reset(
        &self,
        pf: &InterfaceName,
        vf: VfNumber,
        settings: &VfSettings,
    ) -> Result<(), NetlinkError>;
}

/// The kernel's own PFs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rtnetlink;

impl PfControl for Rtnetlink {
    fn settings(
        &self,
        pf: &InterfaceName,
        vf: VfNumber,
    ) -> Result<Option<SeenSettings>, NetlinkError> {
        let mut connection = Connection::open(netlink_sys::protocols::NETLINK_ROUTE)?;
        let mut message = of(pf);
        message
            .attributes
            .push(LinkAttribute::ExtMask(vec![LinkExtentMask::Vf, LinkExtentMask::SkipStats]));
        let answers =
            connection.get(&format!("VFs of {pf}"), RouteNetlinkMessage::GetLink(message))?;
        Ok(answers.into_iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(link) => seen(&link, vf),
            _ => None,
        }))
    }

    fn configure(
        &self,
        pf: &InterfaceName,
        vf: VfNumber,
        settings: &VfSettings,
    ) -> Result<(), NetlinkError> {
        set(pf, vf, &wanted(vf, settings))
    }

    fn reset(
        &self,
        pf: &InterfaceName,
        vf: VfNumber,
        settings: &VfSettings,
    ) -> Result<(), NetlinkError> {
        let seen = self.settings(pf, vf)?.unwrap_or_default();
        set(pf, vf, &plain(vf, settings, &seen))
    }
}

/// A setting and what it is called.
type Setting = (&'static str, VfInfo);

/// The settings as messages: one each, so that what is refused is known.
fn wanted(vf: VfNumber, settings: &VfSettings) -> Vec<Setting> {
    let vf = u32::from(vf.0);
    let mut list = vec![("MAC", VfInfo::Mac(VfInfoMac::new(vf, &settings.mac.0)))];
    if let Some(vlan) = settings.vlan {
        list.push(("VLAN", VfInfo::Vlan(VfInfoVlan::new(vf, u16::from(vlan).into(), 0))));
    }
    if let Some(trust) = settings.trust {
        list.push(("trust", VfInfo::Trust(VfInfoTrust::new(vf, trust))));
    }
    if let Some(check) = settings.spoof_check {
        list.push(("spoof check", VfInfo::SpoofCheck(VfInfoSpoofCheck::new(vf, check))));
    }
    if let Some(rate) = settings.max_rate {
        list.push(("rate", VfInfo::Rate(VfInfoRate::new(vf, 0, rate))));
    }
    if let Some(link) = settings.link {
        let link = match link {
            LinkState::Auto => VfLinkState::Auto,
            LinkState::Enable => VfLinkState::Enable,
            LinkState::Disable => VfLinkState::Disable,
        };
        list.push(("link state", VfInfo::LinkState(VfInfoLinkState::new(vf, link))));
    }
    list
}

/// What a VF of nobody has, of those settings that were changed. What is so already is left out: a driver that does not know
/// a setting, or does not take it now, refuses it then as well.
fn plain(vf: VfNumber, settings: &VfSettings, seen: &SeenSettings) -> Vec<Setting> {
    fn changed<T: PartialEq>(wanted: Option<T>, seen: &T, plain: T) -> Option<T> {
        wanted.filter(|_| *seen != plain).map(|_| plain)
    }
    let default = SeenSettings::default();
    let undone = VfSettings {
        mac: default.mac,
        vlan: None,
        trust: changed(settings.trust, &seen.trust, default.trust),
        spoof_check: changed(settings.spoof_check, &seen.spoof_check, default.spoof_check),
        max_rate: changed(settings.max_rate, &seen.max_rate, default.max_rate),
        link: changed(settings.link, &seen.link, default.link),
    };
    let mut list = wanted(vf, &undone);
    if settings.vlan.is_some() && seen.vlan.is_some() {
        list.push(("VLAN", VfInfo::Vlan(VfInfoVlan::new(vf.0.into(), 0, 0))));
    }
    list
}

fn set(pf: &InterfaceName, vf: VfNumber, settings: &[Setting]) -> Result<(), NetlinkError> {
    let mut connection = Connection::open(netlink_sys::protocols::NETLINK_ROUTE)?;
    for (name, setting) in settings {
        let mut message = of(pf);
        message.attributes.push(LinkAttribute::VfInfoList(vec![LinkVfInfo(vec![setting.clone()])]));
        let what = format!("{name} of {pf}'s {vf}");
        connection.act(&what, RouteNetlinkMessage::SetLink(message))?;
    }
    Ok(())
}

fn of(interface: &InterfaceName) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(interface.to_string()));
    message
}

/// What a link's message says of a VF.
fn seen(link: &LinkMessage, vf: VfNumber) -> Option<SeenSettings> {
    let number = u32::from(vf.0);
    let lists = link.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::VfInfoList(list) => Some(list),
        _ => None,
    });
    let own = lists.flatten().find(|LinkVfInfo(info)| {
        info.iter().any(|info| matches!(info, VfInfo::Mac(mac) if mac.vf_id == number))
    })?;
    let mut seen = SeenSettings::default();
    for info in &own.0 {
        match info {
            VfInfo::Mac(info) => {
                let mut mac = [0; 6];
                mac.copy_from_slice(&info.mac[..6]);
                seen.mac = Mac(mac);
            }
            VfInfo::Vlan(info) => {
                seen.vlan = u16::try_from(info.vlan_id).ok().and_then(|id| id.try_into().ok());
            }
            VfInfo::Rate(info) => seen.max_rate = info.max_tx_rate,
            VfInfo::SpoofCheck(info) => seen.spoof_check = info.enabled,
            VfInfo::Trust(info) => seen.trust = info.enabled,
            VfInfo::LinkState(info) => {
                seen.link = match info.state {
                    VfLinkState::Enable => LinkState::Enable,
                    VfLinkState::Disable => LinkState::Disable,
                    _ => LinkState::Auto,
                };
            }
            _ => {}
        }
    }
    Some(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> VfSettings {
        VfSettings {
            mac: "02:00:00:00:00:07".parse().unwrap(),
            vlan: Some(100.try_into().unwrap()),
            trust: Some(true),
            spoof_check: Some(false),
            max_rate: Some(1000),
            link: Some(LinkState::Enable),
        }
    }

    /// A PF that was told so, and asked, through the bytes of both messages.
    #[test]
    fn what_is_told_is_what_is_seen() {
        use netlink_packet_core::{NetlinkHeader, NetlinkMessage, NetlinkPayload};
        let vfs = [VfNumber(0), VfNumber(3)];
        let list = |settings: &dyn Fn(VfNumber, &VfSettings) -> Vec<Setting>| {
            let own = |vf| {
                LinkVfInfo(
                    settings(vf, &self::settings()).into_iter().map(|(_, info)| info).collect(),
                )
            };
            let mut link = LinkMessage::default();
            link.attributes.push(LinkAttribute::VfInfoList(vfs.map(own).to_vec()));
            let message = RouteNetlinkMessage::NewLink(link);
            let mut message = NetlinkMessage::new(
                NetlinkHeader::default(),
                NetlinkPayload::InnerMessage(message),
            );
            message.finalize();
            let mut bytes = vec![0; message.buffer_len()];
            message.serialize(&mut bytes);
            let mut answers = Vec::new();
            assert!(!super::super::take("test", &bytes, 0, &mut answers).unwrap());
            match answers.remove(0) {
                RouteNetlinkMessage::NewLink(link) => link,
                other => panic!("{other:?}"),
            }
        };
        let told = seen(&list(&wanted), VfNumber(3)).unwrap();
        assert!(settings().is_met_by(&told), "{told:?}");
        assert_eq!(seen(&list(&wanted), VfNumber(1)), None);
        let forget = |vf, settings: &VfSettings| plain(vf, settings, &told);
        let forgotten = seen(&list(&forget), VfNumber(3)).unwrap();
        assert!(settings().is_undone_in(&forgotten), "{forgotten:?}");
        assert_eq!(forgotten, SeenSettings::default());
        let names: Vec<&str> =
            plain(VfNumber(3), &settings(), &forgotten).iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["MAC"], "nothing else is to be undone, and a driver may refuse it");
    }

    /// Every machine has `lo`, which has no VFs; asking needs no rights.
    #[test]
    fn real_interfaces() {
        let lo = "lo".parse().unwrap();
        assert_eq!(Rtnetlink.settings(&lo, VfNumber(0)).unwrap(), None);
        let error =
            Rtnetlink.settings(&"none0".parse().unwrap(), VfNumber(0)).unwrap_err().to_string();
        assert!(
            error.contains("VFs of none0: ") && error.ends_with("no such interface or device"),
            "{error}"
        );
        let error = Rtnetlink.configure(&lo, VfNumber(0), &settings()).unwrap_err().to_string();
        assert!(error.starts_with("MAC of lo's vf0: "), "{error}");
    }
}
