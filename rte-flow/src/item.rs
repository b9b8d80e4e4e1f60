//! Items: what a rule asks of a packet, one per protocol layer or piece of metadata.

use std::convert::Infallible;

use dpdk_sys::rte_flow_item_type;

use crate::header::{
    Any, ArpEthIpv4, Conntrack, Esp, Eth, EthdevPort, FieldInfo, Geneve, GeneveOption, Gre, GreKey,
    GreOption, Gtp, Header, Icmp, Icmp6, Integrity, Ipv4, Ipv6, Ipv6FragExt, Mark, Meta, Nvgre,
    PortId, Sctp, Tag, Tcp, Udp, Vlan, Vxlan, VxlanGpe,
};

/// What an item asks: `spec` to `last` (inclusive, per field), each under `mask`.
///
/// Without a spec the item only asks that its layer is present, and then `last` has no meaning; in a pattern template
/// there is a mask and no spec. Without a mask the item's default mask holds. `Match::default()` asks nothing further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match<H> {
    /// The wanted values.
    pub spec: Option<H>,
    /// The upper bounds; a field that is 0 here has no range.
    pub last: Option<H>,
    /// Which bits count.
    pub mask: Option<H>,
}

impl<H> Default for Match<H> {
    fn default() -> Self {
        Self { spec: None, last: None, mask: None }
    }
}

impl<H: Header> Match<H> {
    /// Asks for `spec` under `mask`.
    #[must_use]
    pub const fn masked(spec: H, mask: H) -> Self {
        Self { spec: Some(spec), last: None, mask: Some(mask) }
    }

    /// Asks for `spec` under the item's default mask.
    #[must_use]
    pub const fn of(spec: H) -> Self {
        Self { spec: Some(spec), last: None, mask: None }
    }

    /// The mask in force: the given one, or the default where there is a spec, or none at all.
    #[must_use]
    pub fn effective_mask(&self) -> H {
        match (&self.mask, &self.spec) {
            (Some(mask), _) => *mask,
            (None, Some(_)) => H::DEFAULT_MASK,
            (None, None) => H::default(),
        }
    }

    /// Which bits count, without the values.
    fn to_mask(self) -> Self {
        Self { spec: None, last: None, mask: Some(self.effective_mask()) }
    }

    /// Whether a header taken from a packet is what this asks for.
    #[must_use]
    pub fn admits(&self, actual: &H) -> bool {
        self.spec
            .as_ref()
            .is_none_or(|spec| H::admits(spec, self.last.as_ref(), &self.effective_mask(), actual))
    }
}

/// One field of an item, for code that treats all items alike: profiles, text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldMatch {
    /// The position in the item's fields.
    pub index: usize,
    /// Name and width.
    pub info: &'static FieldInfo,
    /// The wanted value, where there is a spec.
    pub spec: Option<u128>,
    /// The upper bound, where a range is asked for: given, not 0 and different from the spec, all under the mask.
    pub last: Option<u128>,
    /// The mask in force.
    pub mask: u128,
}

impl FieldMatch {
    pub(crate) fn new(
        index: usize,
        info: &'static FieldInfo,
        spec: Option<u128>,
        last: Option<u128>,
        mask: u128,
    ) -> Self {
        let is_range = |last: &u128| last & mask != 0 && last & mask != spec.unwrap_or(0) & mask;
        Self { index, info, spec, last: last.filter(is_range), mask }
    }

    /// How many bits of a card's key the field takes: one that is matched in part counts its mask's bits, rounded up to bytes.
    pub(crate) fn match_bits(&self) -> u32 {
        self.info.bits.min(self.mask.count_ones().next_multiple_of(8))
    }

    /// Whether every bit of the field counts.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.mask.count_ones() == self.info.bits
    }
}

/// What an item shall ask of one of its fields, for code that treats all items alike: the probe of NICs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedField {
    /// The position in the item's fields.
    pub index: usize,
    /// The wanted value.
    pub spec: u128,
    /// The upper bound of a range.
    pub last: Option<u128>,
    /// Which bits count.
    pub mask: u128,
}

/// The structures of an item that asks for some fields.
struct Asking<'a>(&'a [AskedField]);

impl MatchSource for Asking<'_> {
    type Error = Infallible;

    fn asked<H: Header>(&self) -> Result<Match<H>, Infallible> {
        if self.0.is_empty() {
            return Ok(Match::default());
        }
        let (mut spec, mut last, mut mask) = (H::default(), H::default(), H::default());
        for field in self.0 {
            spec.set(field.index, field.spec);
            last.set(field.index, field.last.unwrap_or(0));
            mask.set(field.index, field.mask);
        }
        let is_range = self.0.iter().any(|field| field.last.is_some());
        Ok(Match { spec: Some(spec), last: is_range.then_some(last), mask: Some(mask) })
    }
}

impl Item {
    /// The item of a kind that asks for these fields, each of which stands in the list once; without any it has neither
    /// spec nor mask.
    #[must_use]
    pub fn asking(kind: ItemKind, fields: &[AskedField]) -> Self {
        match Self::build(kind, &Asking(fields)) {
            Ok(item) => item,
        }
    }

    /// How many words of 32 bits the matched fields take.
    #[must_use]
    pub fn match_words(&self) -> u32 {
        let mut bits = 0;
        self.for_each_asked_field(&mut |field| {
            if field.mask != 0 {
                bits += field.match_bits();
            }
        });
        bits.div_ceil(32)
    }
}

macro_rules! items {
    ($($(#[$doc:meta])* $kind:ident($held:ty: $header:ty) = $number:ident, $name:literal;)+) => {
        /// One item of a pattern. The END item is implied by the pattern's end.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Item {
            /// Nothing; a place holder (`RTE_FLOW_ITEM_TYPE_VOID`).
            Void,
            $($(#[$doc])* $kind($held),)+
        }

        /// Which item, without what it asks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ItemKind {
            /// A place holder.
            Void,
            $($(#[$doc])* $kind,)+
        }

        impl ItemKind {
            /// Every kind there is.
            pub const ALL: &'static [Self] = &[Self::Void, $(Self::$kind),+];

            /// DPDK's number (`enum rte_flow_item_type`).
            #[must_use]
            pub const fn number(self) -> rte_flow_item_type {
                match self {
                    Self::Void => dpdk_sys::RTE_FLOW_ITEM_TYPE_VOID,
                    $(Self::$kind => dpdk_sys::$number,)+
                }
            }

            /// The kind of DPDK's number.
            #[must_use]
            pub const fn from_number(number: rte_flow_item_type) -> Option<Self> {
                match number {
                    dpdk_sys::RTE_FLOW_ITEM_TYPE_VOID => Some(Self::Void),
                    $(dpdk_sys::$number => Some(Self::$kind),)+
                    _ => None,
                }
            }

            /// testpmd's word, which profiles use too.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    Self::Void => "void",
                    $(Self::$kind => $name,)+
                }
            }

            /// The fields of what the item carries.
            #[must_use]
            pub const fn fields(self) -> &'static [FieldInfo] {
                match self {
                    Self::Void => &[],
                    $(Self::$kind => <$header as Header>::FIELDS,)+
                }
            }
        }

        impl Item {
            /// Which item this is.
            #[must_use]
            pub const fn kind(&self) -> ItemKind {
                match self {
                    Self::Void => ItemKind::Void,
                    $(Self::$kind(_) => ItemKind::$kind,)+
                }
            }

            /// The item as a pattern template has it: what is looked at, without values, but for what says where to look:
            /// a register's number, an option's class, type and length.
            #[must_use]
            pub fn to_template(&self) -> Self {
                match self {
                    Self::Void => Self::Void,
                    Self::Tag(asked) => Self::Tag(Match {
                        spec: asked.spec.map(|tag| Tag { data: 0, index: tag.index }),
                        ..asked.to_mask()
                    }),
                    Self::GeneveOpt(asked) => Self::GeneveOpt(Box::new(Match {
                        spec: asked.spec.map(|option| GeneveOption {
                            data: [0; GeneveOption::MAX_DATA],
                            ..option
                        }),
                        ..asked.to_mask()
                    })),
                    $(#[allow(unreachable_patterns, reason = "two kinds have arms of their own")]
                    Self::$kind(asked) => Self::$kind(asked.to_mask().into()),)+
                }
            }

            /// The same with the mask in force written out.
            #[must_use]
            pub fn with_mask(&self) -> Self {
                match self {
                    Self::Void => Self::Void,
                    $(Self::$kind(asked) => {
                        let mask = Some(asked.effective_mask());
                        Self::$kind(Match { mask, spec: asked.spec, last: asked.last }.into())
                    })+
                }
            }

            /// A rule's item where this is the pattern template's: the mask is the template's, the rest the rule's.
            ///
            /// # Errors
            /// Another kind of item; no spec where the mask looks at something.
            pub fn with_values_of(&self, value: &Self) -> Result<Self, TemplateMismatch> {
                match (self, value) {
                    (Self::Void, Self::Void) => Ok(Self::Void),
                    $((Self::$kind(template), Self::$kind(value)) => {
                        let mask = template.effective_mask();
                        if value.spec.is_none() && mask != Default::default() {
                            return Err(TemplateMismatch::NoSpec);
                        }
                        let (spec, last) = (value.spec, value.last);
                        Ok(Self::$kind(Match { spec, last, mask: Some(mask) }.into()))
                    })+
                    _ => Err(TemplateMismatch::Kind),
                }
            }

            /// Calls `visit` with every field of the item.
            pub fn for_each_field(&self, visit: &mut dyn FnMut(FieldMatch)) {
                match self {
                    Self::Void => {}
                    $(Self::$kind(asked) => <$header>::for_each_field(asked, visit),)+
                }
            }

            /// Calls `visit` with each field of which a bit of mask or spec is set, in order.
            pub fn for_each_asked_field(&self, visit: &mut dyn FnMut(FieldMatch)) {
                match self {
                    Self::Void => {}
                    $(Self::$kind(asked) => <$header>::for_each_asked_field(asked, visit),)+
                }
            }

            /// Calls `visitor` with what the item carries, in its own type.
            pub(crate) fn visit<V: MatchVisitor>(&self, visitor: &mut V) -> V::Output {
                match self {
                    Self::Void => visitor.void(),
                    $(Self::$kind(asked) => visitor.asked(asked),)+
                }
            }

            /// The item of `kind` with what `source` yields for it.
            pub(crate) fn build<S: MatchSource>(kind: ItemKind, source: &S) -> Result<Self, S::Error> {
                Ok(match kind {
                    ItemKind::Void => Self::Void,
                    $(ItemKind::$kind => Self::$kind(source.asked::<$header>()?.into()),)+
                })
            }
        }
    };
}

/// Why a rule's item does not fit its pattern template's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateMismatch {
    /// It is of another kind.
    Kind,
    /// It has no spec, and the template's mask looks at something.
    NoSpec,
}

/// Code over what an item carries, whatever its type; implemented by the encoder.
pub(crate) trait MatchVisitor {
    /// What a visit yields.
    type Output;
    /// The item carries nothing.
    fn void(&mut self) -> Self::Output;
    /// The item carries this.
    fn asked<H: Header>(&mut self, asked: &Match<H>) -> Self::Output;
}

/// Where what an item carries comes from; implemented by the decoder.
pub(crate) trait MatchSource {
    /// Why there is none.
    type Error;
    /// What the item carries.
    fn asked<H: Header>(&self) -> Result<Match<H>, Self::Error>;
}

items! {
    /// Any protocol.
    Any(Match<Any>: Any) = RTE_FLOW_ITEM_TYPE_ANY, "any";
    /// The ethdev port of the packet's origin, deprecated form.
    PortId(Match<PortId>: PortId) = RTE_FLOW_ITEM_TYPE_PORT_ID, "port_id";
    /// Sent by the application through this ethdev port.
    PortRepresentor(Match<EthdevPort>: EthdevPort) = RTE_FLOW_ITEM_TYPE_PORT_REPRESENTOR, "port_representor";
    /// Sent by the entity (VF, wire) that this ethdev port represents.
    RepresentedPort(Match<EthdevPort>: EthdevPort) = RTE_FLOW_ITEM_TYPE_REPRESENTED_PORT, "represented_port";
    /// Ethernet.
    Eth(Match<Eth>: Eth) = RTE_FLOW_ITEM_TYPE_ETH, "eth";
    /// 802.1Q.
    Vlan(Match<Vlan>: Vlan) = RTE_FLOW_ITEM_TYPE_VLAN, "vlan";
    /// ARP for Ethernet and IPv4.
    ArpEthIpv4(Match<ArpEthIpv4>: ArpEthIpv4) = RTE_FLOW_ITEM_TYPE_ARP_ETH_IPV4, "arp_eth_ipv4";
    /// IPv4.
    Ipv4(Match<Ipv4>: Ipv4) = RTE_FLOW_ITEM_TYPE_IPV4, "ipv4";
    /// IPv6.
    Ipv6(Match<Ipv6>: Ipv6) = RTE_FLOW_ITEM_TYPE_IPV6, "ipv6";
    /// IPv6 fragment header.
    Ipv6FragExt(Match<Ipv6FragExt>: Ipv6FragExt) = RTE_FLOW_ITEM_TYPE_IPV6_FRAG_EXT, "ipv6_frag_ext";
    /// TCP.
    Tcp(Match<Tcp>: Tcp) = RTE_FLOW_ITEM_TYPE_TCP, "tcp";
    /// UDP.
    Udp(Match<Udp>: Udp) = RTE_FLOW_ITEM_TYPE_UDP, "udp";
    /// SCTP.
    Sctp(Match<Sctp>: Sctp) = RTE_FLOW_ITEM_TYPE_SCTP, "sctp";
    /// ICMP.
    Icmp(Match<Icmp>: Icmp) = RTE_FLOW_ITEM_TYPE_ICMP, "icmp";
    /// `ICMPv6`.
    Icmp6(Match<Icmp6>: Icmp6) = RTE_FLOW_ITEM_TYPE_ICMP6, "icmp6";
    /// ESP.
    Esp(Match<Esp>: Esp) = RTE_FLOW_ITEM_TYPE_ESP, "esp";
    /// VXLAN.
    Vxlan(Match<Vxlan>: Vxlan) = RTE_FLOW_ITEM_TYPE_VXLAN, "vxlan";
    /// VXLAN-GPE.
    VxlanGpe(Match<VxlanGpe>: VxlanGpe) = RTE_FLOW_ITEM_TYPE_VXLAN_GPE, "vxlan-gpe";
    /// GENEVE.
    Geneve(Match<Geneve>: Geneve) = RTE_FLOW_ITEM_TYPE_GENEVE, "geneve";
    /// An option of GENEVE.
    GeneveOpt(Box<Match<GeneveOption>>: GeneveOption) = RTE_FLOW_ITEM_TYPE_GENEVE_OPT, "geneve-opt";
    /// GRE.
    Gre(Match<Gre>: Gre) = RTE_FLOW_ITEM_TYPE_GRE, "gre";
    /// GRE's key.
    GreKey(Match<GreKey>: GreKey) = RTE_FLOW_ITEM_TYPE_GRE_KEY, "gre_key";
    /// GRE's optional fields.
    GreOption(Match<GreOption>: GreOption) = RTE_FLOW_ITEM_TYPE_GRE_OPTION, "gre_option";
    /// NVGRE.
    Nvgre(Match<Nvgre>: Nvgre) = RTE_FLOW_ITEM_TYPE_NVGRE, "nvgre";
    /// GTP.
    Gtp(Match<Gtp>: Gtp) = RTE_FLOW_ITEM_TYPE_GTP, "gtp";
    /// Metadata.
    Meta(Match<Meta>: Meta) = RTE_FLOW_ITEM_TYPE_META, "meta";
    /// A register.
    Tag(Match<Tag>: Tag) = RTE_FLOW_ITEM_TYPE_TAG, "tag";
    /// A mark.
    Mark(Match<Mark>: Mark) = RTE_FLOW_ITEM_TYPE_MARK, "mark";
    /// The device's integrity checks.
    Integrity(Match<Integrity>: Integrity) = RTE_FLOW_ITEM_TYPE_INTEGRITY, "integrity";
    /// What connection tracking found.
    Conntrack(Match<Conntrack>: Conntrack) = RTE_FLOW_ITEM_TYPE_CONNTRACK, "conntrack";
}
