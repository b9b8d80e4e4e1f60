//! Meter profiles: made, found and deleted (`rte_mtr`).

use rte_flow::{
    EBUSY, EINVAL, ENOTSUP, MeterAlgorithm, MeterError, MeterErrorKind, MeterProfile,
    MeterProfileHandle, MeterRules,
};

use super::super::switch::Eswitch;
use super::super::time::Time;
use super::objects::{refuse, there};
use super::{ProfileEntry, rounding};

/// What a packet counts for, in bytes, where a card's limits are about bytes.
const PACKET_BYTES: u64 = 128;

/// What a profile's numbers must be.
fn check_profile(profile: &MeterProfile, rules: &MeterRules) -> Result<(), MeterError> {
    let unit = if profile.packet_mode { PACKET_BYTES } else { 1 };
    let wrong = |message: String| refuse(MeterErrorKind::Params, ENOTSUP, message);
    let within = |name: &str, number: u64, most: Option<u64>, factor: u64| {
        let most = most.map_or(u64::MAX, |most| most.saturating_mul(factor)) / unit;
        if number > most {
            return Err(wrong(format!("{name} {number} is too high; use {most} at most")));
        }
        Ok(())
    };
    let positive = |name: &str, number: u64| {
        if number == 0 { Err(wrong(format!("{name} is 0; use 1 at least"))) } else { Ok(()) }
    };
    let (rate, burst) = (rules.highest_rate, rules.largest_burst);
    match profile.algorithm {
        MeterAlgorithm::None => Ok(()),
        MeterAlgorithm::SingleRate { cir, cbs, ebs } => {
            positive("cir", cir)?;
            positive("cbs", cbs)?;
            within("cir", cir, rate, 1)?;
            within("cbs", cbs, burst, 1)?;
            within("ebs", ebs, burst, 1)
        }
        MeterAlgorithm::TwoRate { cir, pir, cbs, pbs } => {
            positive("cir", cir)?;
            positive("cbs", cbs)?;
            within("cir", cir, rate, 1)?;
            within("pir", pir, rate, 2)?;
            within("cbs", cbs, burst, 1)?;
            within("pbs", pbs, burst, 2)?;
            if pir < cir || pbs < cbs {
                return Err(wrong("pir and pbs must reach cir and cbs; raise them".to_owned()));
            }
            Ok(())
        }
        MeterAlgorithm::TwoRateDifferentiated { cir, eir, cbs, ebs } => {
            positive("cir", cir)?;
            positive("cbs", cbs)?;
            within("cir", cir, rate, 1)?;
            within("eir", eir, rate, 1)?;
            within("cbs", cbs, burst, 1)?;
            within("ebs", ebs, burst, 1)
        }
    }
}

impl Eswitch {
    /// Adds a meter profile.
    ///
    /// # Errors
    /// `EEXIST` for an identifier in use, `EINVAL` for one out of range, `ENOTSUP` for rates and bursts that the card cannot have.
    pub fn meter_profile_add(
        &mut self,
        port: u16,
        id: u32,
        profile: MeterProfile,
    ) -> Result<(), MeterError> {
        self.meter_port(port)?;
        self.has_room_for_profiles(port)?;
        Self::below(self.profile.limits.meter_profiles, id, MeterErrorKind::ProfileId)?;
        if self.meters.profile_ids.contains_key(&(port, id)) {
            return Err(there(MeterErrorKind::ProfileId, "meter profile", id));
        }
        let rules = &self.profile.meter;
        check_profile(&profile, rules)?;
        let profile = if rules.rounded { rounding::round(profile) } else { profile };
        let entry = self.meters.profiles.insert(ProfileEntry { port, profile, users: 0 });
        self.meters.profile_ids.insert((port, id), entry);
        Ok(())
    }

    /// Where a card reserves its meters and has few profiles, it reserves these with the meters.
    fn has_room_for_profiles(&self, port: u16) -> Result<(), MeterError> {
        let comes_with_meters =
            self.profile.pools.reserved && self.profile.limits.meter_profiles.is_some();
        let reserved = self.engines.get(&port).and_then(|engine| engine.config.as_ref());
        if comes_with_meters && reserved.is_none_or(|config| config.meters == 0) {
            let message = "the port reserved no meters, and has no profiles without; give rte_flow_configure nb_meters";
            return Err(refuse(MeterErrorKind::Unspecified, ENOTSUP, message));
        }
        Ok(())
    }

    pub(super) fn below(
        limit: Option<u32>,
        id: u32,
        kind: MeterErrorKind,
    ) -> Result<(), MeterError> {
        match limit {
            Some(limit) if id >= limit => {
                let message = format!("{id} is too high; use 0 to {}", limit.saturating_sub(1));
                Err(refuse(kind, EINVAL, message))
            }
            _ => Ok(()),
        }
    }

    /// Deletes a meter profile.
    ///
    /// # Errors
    /// `ENOENT` for an unknown one, `EBUSY` while meters use it.
    pub fn meter_profile_delete(
        &mut self,
        port: u16,
        id: u32,
        now: Time,
    ) -> Result<(), MeterError> {
        self.meter_port(port)?;
        // Rules that have left by now no longer use it.
        self.settle(now);
        let entry = self.meters.profile_id(port, id)?;
        if self.meters.profiles.get(entry).is_some_and(|profile| profile.users > 0) {
            let message = "meters use the profile; destroy them first";
            return Err(refuse(MeterErrorKind::ProfileId, EBUSY, message));
        }
        self.meters.profiles.remove(entry);
        self.meters.profile_ids.remove(&(port, id));
        Ok(())
    }

    /// The handle of a meter profile.
    ///
    /// # Errors
    /// `ENOENT` for an unknown one.
    pub fn meter_profile(&self, port: u16, id: u32) -> Result<MeterProfileHandle, MeterError> {
        self.meter_port(port)?;
        Ok(MeterProfileHandle(self.meters.profile_id(port, id)?.to_bits() as usize))
    }
}
