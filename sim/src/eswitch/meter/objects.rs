//! Meters and what they can do: made, changed, asked and destroyed (`rte_mtr`).

use rte_flow::{
    ActionKind, Color, ColorSource, EBUSY, EEXIST, EINVAL, ENOENT, ENOSPC, ENOTSUP, MeterError,
    MeterErrorKind, MeterParams, MeterStatistics,
};

use super::super::switch::Eswitch;
use super::super::time::Time;
use super::input::Input;
use super::{Meter, MeterStats};

/// What `rte_mtr_capabilities_get` tells of a card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MeterCapabilities {
    /// How many meters there can be.
    pub meters: u64,
    /// How many policies a port can have.
    pub policies: u32,
    /// The highest rate in bytes a second.
    pub highest_rate: u64,
    /// What meters count.
    pub statistics: MeterStatistics,
    /// Whether the colour that packets bring may come from their headers.
    pub color_tables: bool,
    /// How many meters a packet can pass in one rule.
    pub chain: u32,
}

pub(super) fn refuse(
    kind: MeterErrorKind,
    errno: i32,
    message: impl Into<std::borrow::Cow<'static, str>>,
) -> MeterError {
    MeterError::new(kind, errno, message)
}

pub(super) fn missing(what: MeterErrorKind, name: &str, id: u32) -> MeterError {
    refuse(what, ENOENT, format!("there is no {name} {id}; add it first"))
}

pub(super) fn there(what: MeterErrorKind, name: &str, id: u32) -> MeterError {
    refuse(what, EEXIST, format!("{name} {id} is there already; delete it or use another number"))
}

impl Eswitch {
    /// What a port's meters can do.
    ///
    /// # Errors
    /// An unknown port, a card without meters.
    pub fn meter_capabilities(&self, port: u16) -> Result<MeterCapabilities, MeterError> {
        self.meter_port(port)?;
        let rules = &self.profile.meter;
        Ok(MeterCapabilities {
            meters: self.profile.limits.meters.unwrap_or(u64::from(u32::MAX)),
            policies: self.profile.limits.meter_policies.unwrap_or(u32::MAX),
            highest_rate: rules.highest_rate.unwrap_or(u64::MAX),
            statistics: rules.statistics.unwrap_or(MeterStatistics::all()),
            color_tables: rules.color_tables,
            chain: if rules.color_tables { u32::MAX } else { 1 },
        })
    }

    pub(super) fn meter_port(&self, port: u16) -> Result<(), MeterError> {
        let known = self
            .ports
            .known(port)
            .map_err(|error| refuse(MeterErrorKind::Unspecified, error.errno, error.message));
        known?;
        let kinds = [ActionKind::Meter, ActionKind::MeterMark];
        if kinds.iter().any(|kind| self.profile.knows(*kind)) {
            return Ok(());
        }
        let message = "the card has no meters; meter in software";
        Err(refuse(MeterErrorKind::Unspecified, ENOTSUP, message))
    }

    /// Makes a meter; `shared`: for several rules.
    ///
    /// # Errors
    /// `EEXIST` for an identifier in use, `ENOENT` for an unknown profile or policy, `ENOSPC` when the card has no more, `ENOTSUP`
    /// for a card that has only `METER_MARK`, or takes no colours from headers.
    pub fn meter_create(
        &mut self,
        port: u16,
        id: u32,
        params: &MeterParams,
        shared: bool,
        now: Time,
    ) -> Result<(), MeterError> {
        self.meter_port(port)?;
        if !self.profile.knows(ActionKind::Meter) {
            let message = "meters have no numbers here; use the action METER_MARK";
            return Err(refuse(MeterErrorKind::Unspecified, ENOTSUP, message));
        }
        if self.meters.find(port, id).is_some() {
            return Err(there(MeterErrorKind::MeterId, "meter", id));
        }
        let profile = self.meters.profile_id(port, params.profile)?;
        let policy = match self.meters.policy_id(port, params.policy) {
            Err(_) if params.policy == 0 && self.profile.meter.default_policy => {
                self.default_policy(port)?
            }
            found => found?,
        };
        let rules = &self.profile.meter;
        let has_tables = params.dscp_table.is_some() || params.vlan_table.is_some();
        if has_tables && !rules.color_tables {
            let message = "packets bring no colour in their headers; leave the tables out";
            return Err(refuse(MeterErrorKind::Params, ENOTSUP, message));
        }
        if let Some(limit) =
            self.profile.limits.meters.filter(|limit| self.meters.len() as u64 >= *limit)
        {
            let message = format!("all {limit} meters are in use; destroy some");
            return Err(refuse(MeterErrorKind::MeterId, ENOSPC, message));
        }
        let mut input = Input {
            previous: params.uses_previous_color,
            sources: Vec::new(),
            dscp: params.dscp_table.clone(),
            vlan: params.vlan_table.clone(),
            default: params.default_color,
        };
        for (source, is_given) in [
            (ColorSource::OuterVlan, input.vlan.is_some()),
            (ColorSource::OuterIp, input.dscp.is_some()),
        ] {
            if is_given {
                input.set_source(source, 0);
            }
        }
        // Colour-blind, unless something says otherwise: `default_input_color` counts beside sources only.
        if input.sources.is_empty() {
            input.default = Color::Green;
        }
        let supported = rules.statistics.unwrap_or(MeterStatistics::all());
        let kept = params.statistics & supported;
        let Some(meter) = self.meters.meter(profile, Some(policy), input, rules, now) else {
            return Err(missing(MeterErrorKind::ProfileId, "meter profile", params.profile));
        };
        let stats = MeterStats { kept, ..MeterStats::default() };
        let meter = Meter { enabled: params.enabled, shared, stats, ..meter };
        let meter = self.meters.meters.insert(meter);
        self.meters.meter_ids.insert((port, id), meter);
        Ok(())
    }

    /// Destroys a meter.
    ///
    /// # Errors
    /// `ENOENT` for an unknown one, `EBUSY` while rules or policies use it.
    pub fn meter_destroy(&mut self, port: u16, id: u32, now: Time) -> Result<(), MeterError> {
        self.meter_port(port)?;
        // Rules that have left by now no longer use it.
        self.settle(now);
        let meter = self.meters.meter_id(port, id)?;
        if self.meters.meters.get(meter).is_some_and(|meter| meter.users > 0) {
            let message = "rules or policies use the meter; destroy them first";
            return Err(refuse(MeterErrorKind::Unspecified, EBUSY, message));
        }
        self.meters.remove(meter);
        self.meters.meter_ids.remove(&(port, id));
        Ok(())
    }

    /// Lets a meter meter, or give all packets the colour they come with.
    ///
    /// # Errors
    /// `ENOENT` for an unknown one.
    pub fn meter_enable(&mut self, port: u16, id: u32, enabled: bool) -> Result<(), MeterError> {
        self.meter_port(port)?;
        self.meters.meter_mut(port, id)?.enabled = enabled;
        Ok(())
    }

    /// Gives a meter another profile.
    ///
    /// # Errors
    /// `ENOENT` for an unknown meter or profile.
    pub fn meter_set_profile(
        &mut self,
        port: u16,
        id: u32,
        profile: u32,
        now: Time,
    ) -> Result<(), MeterError> {
        self.meter_port(port)?;
        let profile = self.meters.profile_id(port, profile)?;
        let meter = self.meters.meter_id(port, id)?;
        self.meters.set_profile(meter, profile, now);
        Ok(())
    }

    /// Gives a meter another policy.
    ///
    /// # Errors
    /// `ENOENT` for an unknown meter or policy, `EINVAL` for one that leads back to the meter, `EBUSY` while rules use the meter
    /// that could not have this policy.
    pub fn meter_set_policy(&mut self, port: u16, id: u32, policy: u32) -> Result<(), MeterError> {
        self.meter_port(port)?;
        let policy = self.meters.policy_id(port, policy)?;
        let meter = self.meters.meter_id(port, id)?;
        let Some(next) = self.meters.policies.get(policy) else { return Ok(()) };
        let own = self.meters.meters.get(meter).and_then(|meter| meter.policy);
        if self.meters.reaches(&next.meters, meter) {
            let message = "the policy leads back to the meter; use one that does not";
            return Err(refuse(MeterErrorKind::PolicyId, EINVAL, message));
        }
        let in_use = self.meters.meters.get(meter).is_some_and(|meter| meter.users > 0);
        let old = own.and_then(|own| self.meters.policies.get(own));
        let narrower = old.is_some_and(|old| {
            let pairs = old.programs.iter().zip(&next.programs);
            pairs.clone().any(|(old, new)| old.is_some() && new.is_none())
        });
        if in_use && narrower {
            let message = "rules use the meter in domains that the policy is not for; use another";
            return Err(refuse(MeterErrorKind::PolicyId, EBUSY, message));
        }
        self.meters.set_policy(meter, Some(policy));
        Ok(())
    }

    fn colored(&mut self, port: u16, id: u32) -> Result<&mut Input, MeterError> {
        self.meter_port(port)?;
        if !self.profile.meter.color_tables {
            let message = "packets bring no colour in their headers; meter colour-blind";
            return Err(refuse(MeterErrorKind::Params, ENOTSUP, message));
        }
        Ok(&mut self.meters.meter_mut(port, id)?.input)
    }

    /// Sets the colours of DSCPs; `None`: all green.
    ///
    /// # Errors
    /// `ENOENT` for an unknown meter, `ENOTSUP` where headers have no say.
    pub fn meter_set_dscp_table(
        &mut self,
        port: u16,
        id: u32,
        table: Option<Box<[Color; 64]>>,
    ) -> Result<(), MeterError> {
        self.colored(port, id)?.dscp = table;
        Ok(())
    }

    /// Sets the colours of VLAN priorities; `None`: all green.
    ///
    /// # Errors
    /// `ENOENT` for an unknown meter, `ENOTSUP` where headers have no say.
    pub fn meter_set_vlan_table(
        &mut self,
        port: u16,
        id: u32,
        table: Option<Box<[Color; 16]>>,
    ) -> Result<(), MeterError> {
        self.colored(port, id)?.vlan = table;
        Ok(())
    }

    /// Lets a header say the colour that packets bring; of several, the one with the lowest number goes first.
    ///
    /// # Errors
    /// `ENOENT` for an unknown meter, `ENOTSUP` where headers have no say.
    pub fn meter_set_color_source(
        &mut self,
        port: u16,
        id: u32,
        source: ColorSource,
        priority: u32,
    ) -> Result<(), MeterError> {
        self.colored(port, id)?.set_source(source, priority);
        Ok(())
    }

    /// The headers that say the colour, with their priorities.
    ///
    /// # Errors
    /// `ENOENT` for an unknown meter, `ENOTSUP` where headers have no say.
    pub fn meter_color_sources(
        &mut self,
        port: u16,
        id: u32,
    ) -> Result<Vec<(ColorSource, u32)>, MeterError> {
        let sources = &self.colored(port, id)?.sources;
        Ok(sources.iter().map(|entry| (entry.source, entry.priority)).collect())
    }

    /// Changes what a meter counts; numbers that it keeps on counting stay.
    ///
    /// # Errors
    /// `ENOENT` for an unknown meter.
    pub fn meter_set_statistics(
        &mut self,
        port: u16,
        id: u32,
        statistics: MeterStatistics,
    ) -> Result<(), MeterError> {
        self.meter_port(port)?;
        let supported = self.profile.meter.statistics.unwrap_or(MeterStatistics::all());
        self.meters.meter_mut(port, id)?.stats.kept = statistics & supported;
        Ok(())
    }

    /// What a meter has counted; with `clear` it begins at 0 again.
    ///
    /// # Errors
    /// `ENOENT` for an unknown meter.
    pub fn meter_statistics(
        &mut self,
        port: u16,
        id: u32,
        clear: bool,
    ) -> Result<MeterStats, MeterError> {
        self.meter_port(port)?;
        let stats = &mut self.meters.meter_mut(port, id)?.stats;
        let fresh = MeterStats { kept: stats.kept, ..MeterStats::default() };
        Ok(if clear { std::mem::replace(stats, fresh) } else { *stats })
    }
}
