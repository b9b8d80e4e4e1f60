//! Items and actions as C has them, described so that they can be made up, printed and shrunk: types by number, structures as
//! bytes, every pointer perhaps null. What a pointer leads to is as long as DPDK asks; all else may be wrong.

use std::any::Any;
use std::ffi::c_void;
use std::mem::zeroed;
use std::ptr;

use dpdk_sys as c;

/// The bytes behind every pointer whose length another field says: as many as the longest that a driver may believe.
const BEHIND: usize = 8192;

/// How many entries of a list the driver reads before it takes the list for endless.
pub const READ: usize = 128;

/// At least as long as the longest structure without pointers, in bytes.
const LONGEST: usize = 128;

/// The first bytes of a structure, zeros behind them, or a null pointer.
pub type Structure = Option<Vec<u8>>;

/// What lies behind a pointer inside a structure: this byte again and again, or nothing.
pub type Filling = Option<u8>;

/// Bytes that lie as any structure may.
#[repr(align(16))]
struct Aligned<const LENGTH: usize>(#[allow(dead_code, reason = "C reads it")] [u8; LENGTH]);

/// An entry of a pattern.
#[derive(Debug, Clone)]
pub struct RawItem {
    /// `enum rte_flow_item_type`.
    pub kind: u32,
    pub spec: Structure,
    pub last: Structure,
    pub mask: Structure,
    /// Behind the pointers of spec, last and mask of `GENEVE_OPT`.
    pub option: [Filling; 3],
}

/// A list of entries.
#[derive(Debug, Clone)]
pub enum List<T> {
    Null,
    Ended(Vec<T>),
    /// The entry as often as the driver reads, and no END.
    Endless(Box<T>),
}

/// An action.
#[derive(Debug, Clone)]
pub struct RawAction {
    /// `enum rte_flow_action_type`.
    pub kind: u32,
    pub conf: RawConf,
}

/// An action's configuration.
#[derive(Debug, Clone)]
pub enum RawConf {
    Null,
    /// A structure without pointers.
    Bytes(Vec<u8>),
    /// A name instead of a pointer: of one of the shared actions that there are, by its place, or this number.
    Handle(usize),
    Rss {
        function: u32,
        level: u32,
        types: u64,
        key: Filling,
        key_length: u32,
        queues: Filling,
        queue_count: u32,
    },
    Definition(List<RawItem>),
    RawEncap {
        header: Option<Vec<u8>>,
        preserve: Filling,
        size: usize,
    },
    RawDecap {
        header: Option<Vec<u8>>,
        size: usize,
    },
    Sample {
        ratio: u32,
        actions: List<RawAction>,
    },
    Modify {
        operation: u32,
        destination: Part,
        source: Part,
        /// Behind the pointer, where the source is one.
        value: Filling,
        width: u32,
    },
}

/// A side of `MODIFY_FIELD`.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    pub field: u32,
    pub level: u32,
    pub offset: u32,
}

/// What holds the C structures of a call while it lasts.
pub struct Memory<'a> {
    held: Vec<Box<dyn Any>>,
    /// The shared actions that there are.
    shared: &'a [usize],
}

impl<'a> Memory<'a> {
    pub fn new(shared: &'a [usize]) -> Self {
        Self { held: Vec::new(), shared }
    }

    fn put<T: 'static>(&mut self, value: T) -> *const T {
        let place = Box::new(value);
        let pointer = &raw const *place;
        self.held.push(place);
        pointer
    }

    fn list<T: 'static>(&mut self, list: Vec<T>) -> *const T {
        let pointer = list.as_ptr();
        self.held.push(Box::new(list));
        pointer
    }

    fn structure(&mut self, bytes: &[u8]) -> *const c_void {
        let mut whole = [0; LONGEST];
        for (to, from) in whole.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.put(Aligned(whole)).cast()
    }

    fn behind(&mut self, filling: Filling) -> *const u8 {
        filling.map_or(ptr::null(), |byte| self.put(Aligned([byte; BEHIND])).cast())
    }

    /// A pattern, and how many entries it has, END included where there is one.
    pub fn pattern(&mut self, list: &List<RawItem>) -> (*const c::rte_flow_item, usize) {
        self.entries(list, Self::item)
    }

    /// Actions, and how many entries there are, END included where there is one.
    pub fn actions(&mut self, list: &List<RawAction>) -> (*const c::rte_flow_action, usize) {
        self.entries(list, Self::action)
    }

    fn entries<R, T: Copy + 'static>(
        &mut self,
        list: &List<R>,
        entry: impl Fn(&mut Self, &R) -> T,
    ) -> (*const T, usize) {
        let mut entries: Vec<T> = match list {
            List::Null => return (ptr::null(), 0),
            List::Ended(list) => list.iter().map(|raw| entry(self, raw)).collect(),
            List::Endless(raw) => vec![entry(self, raw); READ],
        };
        if matches!(list, List::Ended(_)) {
            // SAFETY: an item or action of numbers and pointers, for which zero is a value: END.
            entries.push(unsafe { zeroed() });
        }
        let count = entries.len();
        (self.list(entries), count)
    }

    fn item(&mut self, raw: &RawItem) -> c::rte_flow_item {
        let mut structure = |bytes: &Structure, filling: Filling| match bytes {
            None => ptr::null(),
            Some(bytes) if raw.kind == c::RTE_FLOW_ITEM_TYPE_GENEVE_OPT => {
                let at = |index: usize| bytes.get(index).copied().unwrap_or(0);
                let option = c::rte_flow_item_geneve_opt {
                    option_class: u16::from_ne_bytes([at(0), at(1)]),
                    option_type: at(2),
                    option_len: at(3),
                    data: self.behind(filling).cast_mut().cast(),
                };
                self.put(option).cast()
            }
            Some(bytes) => self.structure(bytes),
        };
        let [of_spec, of_last, of_mask] = raw.option;
        c::rte_flow_item {
            type_: raw.kind,
            spec: structure(&raw.spec, of_spec),
            last: structure(&raw.last, of_last),
            mask: structure(&raw.mask, of_mask),
        }
    }

    /// An action.
    pub fn action(&mut self, raw: &RawAction) -> c::rte_flow_action {
        let conf = match &raw.conf {
            RawConf::Null => ptr::null(),
            RawConf::Bytes(bytes) => self.structure(bytes),
            RawConf::Handle(number) => {
                let shared = self.shared.get(*number).unwrap_or(number);
                ptr::without_provenance(*shared)
            }
            RawConf::Rss { function, level, types, key, key_length, queues, queue_count } => {
                let conf = c::rte_flow_action_rss {
                    func: *function,
                    level: *level,
                    types: *types,
                    key_len: *key_length,
                    queue_num: *queue_count,
                    key: self.behind(*key),
                    queue: self.behind(*queues).cast(),
                };
                self.put(conf).cast()
            }
            RawConf::Definition(list) => {
                let definition = self.pattern(list).0.cast_mut();
                self.put(c::rte_flow_action_vxlan_encap { definition }).cast()
            }
            RawConf::RawEncap { header, preserve, size } => {
                let data = self.header(header.as_deref());
                let preserve = self.behind(*preserve).cast_mut();
                self.put(c::rte_flow_action_raw_encap { data, preserve, size: *size }).cast()
            }
            RawConf::RawDecap { header, size } => {
                let data = self.header(header.as_deref());
                self.put(c::rte_flow_action_raw_decap { data, size: *size }).cast()
            }
            RawConf::Sample { ratio, actions } => {
                let actions = self.actions(actions).0;
                self.put(c::rte_flow_action_sample { ratio: *ratio, actions }).cast()
            }
            RawConf::Modify { operation, destination, source, value, width } => {
                let mut conf = c::rte_flow_action_modify_field {
                    operation: *operation,
                    dst: destination.data(),
                    src: source.data(),
                    width: *width,
                };
                if source.field == c::RTE_FLOW_FIELD_POINTER {
                    conf.src.__bindgen_anon_1.pvalue = self.behind(*value).cast_mut().cast();
                }
                self.put(conf).cast()
            }
        };
        c::rte_flow_action { type_: raw.kind, conf }
    }

    /// A header that begins with these bytes and goes on with zeros as far as a driver may read.
    fn header(&mut self, bytes: Option<&[u8]>) -> *mut u8 {
        let Some(bytes) = bytes else { return ptr::null_mut() };
        let mut header = bytes.to_vec();
        header.resize(BEHIND, 0);
        self.list(header).cast_mut()
    }
}

impl Part {
    fn data(self) -> c::rte_flow_action_modify_data {
        // SAFETY: a structure of numbers and a pointer, for all of which zero is a value.
        let mut data: c::rte_flow_action_modify_data = unsafe { zeroed() };
        data.field = self.field;
        data.__bindgen_anon_1.__bindgen_anon_1.level = self.level;
        data.__bindgen_anon_1.__bindgen_anon_1.offset = self.offset;
        data
    }
}
