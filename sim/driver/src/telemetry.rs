//! What DPDK's telemetry socket answers about the driver's cards (`dpdk-telemetry.py`): `/penstock_eswitch/...`.

use std::ffi::{CStr, CString, c_char, c_int};
use std::sync::{Arc, Mutex, Weak};

use dpdk_sys::{
    RTE_TEL_STRING_VAL, rte_tel_data, rte_tel_data_add_array_string,
    rte_tel_data_add_dict_container, rte_tel_data_add_dict_string, rte_tel_data_add_dict_u64,
    rte_tel_data_alloc, rte_tel_data_start_array, rte_tel_data_start_dict,
    rte_telemetry_register_cmd,
};

use crate::device::PortIndex;
use crate::lock;
use crate::registration::Card;

/// Rules in one answer: what fits the library's 16 KiB.
const RULES: usize = 100;

/// The cards, as long as they are there.
static CARDS: Mutex<Vec<Weak<Card>>> = Mutex::new(Vec::new());

/// Lets the socket know a card.
pub fn add(card: &Arc<Card>) {
    let mut cards = lock(&CARDS);
    cards.retain(|card| card.strong_count() > 0);
    cards.push(Arc::downgrade(card));
}

fn cards() -> Vec<Arc<Card>> {
    lock(&CARDS).iter().filter_map(Weak::upgrade).collect()
}

/// What a question names: a card, and what stands behind the comma.
struct Asked<'a> {
    card: Arc<Card>,
    rest: Option<&'a str>,
}

impl<'a> Asked<'a> {
    fn of(parameters: &'a str) -> Option<Self> {
        let (name, rest) = match parameters.split_once(',') {
            Some((name, rest)) => (name, Some(rest)),
            None => (parameters, None),
        };
        let card = cards().into_iter().find(|card| card.name.to_bytes() == name.as_bytes())?;
        Some(Self { card, rest })
    }
}

/// An answer that is being written.
struct Answer(*mut rte_tel_data);

impl Answer {
    fn is_dictionary(&mut self) {
        // SAFETY: the library's own structure.
        unsafe { rte_tel_data_start_dict(self.0) };
    }

    fn is_list(&mut self) {
        // SAFETY: as above.
        unsafe { rte_tel_data_start_array(self.0, RTE_TEL_STRING_VAL) };
    }

    fn line(&mut self, text: &str) {
        if let Ok(text) = CString::new(text) {
            // SAFETY: as above; the text is copied, and cut where it is too long.
            unsafe { rte_tel_data_add_array_string(self.0, text.as_ptr()) };
        }
    }

    fn number(&mut self, name: &str, value: u64) {
        if let Ok(name) = CString::new(name) {
            // SAFETY: as above; the name is copied.
            unsafe { rte_tel_data_add_dict_u64(self.0, name.as_ptr(), value) };
        }
    }

    fn text(&mut self, name: &str, value: &str) {
        if let (Ok(name), Ok(value)) = (CString::new(name), CString::new(value)) {
            // SAFETY: as above; both are copied.
            unsafe { rte_tel_data_add_dict_string(self.0, name.as_ptr(), value.as_ptr()) };
        }
    }

    /// An answer within this one.
    fn part(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        let Ok(name) = CString::new(name) else { return };
        // SAFETY: the library's own structures; it frees the part with the whole, or at once when it does not take it.
        unsafe {
            let part = rte_tel_data_alloc();
            if !part.is_null() {
                write(&mut Self(part));
                if rte_tel_data_add_dict_container(self.0, name.as_ptr(), part, 0) != 0 {
                    dpdk_sys::rte_tel_data_free(part);
                }
            }
        }
    }
}

fn list(parameters: &str, answer: &mut Answer) -> Option<()> {
    if !parameters.is_empty() {
        return None;
    }
    answer.is_list();
    for card in cards() {
        answer.line(&card.name.to_string_lossy());
    }
    Some(())
}

fn info(parameters: &str, answer: &mut Answer) -> Option<()> {
    let device = Arc::clone(&Asked::of(parameters)?.card.device);
    let (profile, usage) = device.with_switch(|switch, now| {
        (switch.eswitch.profile().name.clone(), switch.eswitch.usage(now))
    });
    answer.is_dictionary();
    answer.text("profile", &profile);
    answer.number("vfs", device.vfs().into());
    for (name, number) in [
        ("rules", usage.rules),
        ("groups", usage.groups),
        ("counters", usage.counters),
        ("ages", usage.ages),
        ("indirect_actions", usage.indirect_actions),
        ("pattern_templates", usage.pattern_templates),
        ("actions_templates", usage.actions_templates),
        ("template_tables", usage.template_tables),
    ] {
        answer.number(name, number as u64);
    }
    Some(())
}

fn ports(parameters: &str, answer: &mut Answer) -> Option<()> {
    let device = Arc::clone(&Asked::of(parameters)?.card.device);
    answer.is_dictionary();
    for (name, index) in named_ports(device.vfs()) {
        let Some(port) = device.port(index) else { continue };
        answer.part(&name, |answer| {
            answer.is_dictionary();
            answer.text("link", if port.link_is_up() { "up" } else { "down" });
            if let Some(id) = port.ethdev() {
                answer.number("ethdev", id.into());
            }
        });
    }
    Some(())
}

/// The ports of a card by the names that its arguments use.
fn named_ports(vfs: u16) -> impl Iterator<Item = (String, PortIndex)> {
    let uplink = std::iter::once(("uplink".to_owned(), PortIndex::UPLINK));
    uplink.chain((0..vfs).map(|vf| (format!("vf{vf}"), PortIndex::vf(vf))))
}

fn counters(parameters: &str, answer: &mut Answer) -> Option<()> {
    let asked = Asked::of(parameters)?;
    let device = &asked.card.device;
    let counters = match asked.rest? {
        "kernel" => &device.kernel()?.counters,
        wanted => {
            let (_, index) = named_ports(device.vfs()).find(|(name, _)| name == wanted)?;
            &device.port(index)?.counters
        }
    };
    answer.is_dictionary();
    counters.for_each(|name, counter| answer.number(name, counter.get()));
    Some(())
}

fn tables(parameters: &str, answer: &mut Answer) -> Option<()> {
    let device = Arc::clone(&Asked::of(parameters)?.card.device);
    let sizes = device.with_switch(|switch, _| switch.eswitch.group_sizes());
    answer.is_dictionary();
    for (group, rules) in sizes {
        let domain = group.domain.name();
        let name = match group.port {
            None => format!("{domain}_group_{}", group.group),
            Some(port) => format!("{domain}_port_{port}_group_{}", group.group),
        };
        answer.number(&name, rules as u64);
    }
    Some(())
}

fn rules(parameters: &str, answer: &mut Answer) -> Option<()> {
    let asked = Asked::of(parameters)?;
    let skipped = asked.rest.map_or(Some(0), |rest| rest.parse().ok())?;
    let (total, rules) = asked.card.device.with_switch(|switch, now| {
        (switch.eswitch.rule_count(), switch.eswitch.summaries(skipped, RULES, now))
    });
    answer.is_dictionary();
    answer.number("total", total as u64);
    answer.number("skipped", skipped as u64);
    answer.part("rules", |answer| {
        answer.is_list();
        for rule in &rules {
            answer.line(&rule.to_string());
        }
    });
    Some(())
}

fn trace(parameters: &str, answer: &mut Answer) -> Option<()> {
    let asked = Asked::of(parameters)?;
    let tracer = &asked.card.device.tracer;
    match asked.rest {
        None => {}
        Some("on") => tracer.switch(true),
        Some("off") => tracer.switch(false),
        Some(_) => return None,
    }
    answer.is_dictionary();
    answer.text("trace", if tracer.is_on() { "on" } else { "off" });
    for (number, line) in tracer.lines().iter().enumerate() {
        // A text of the library's has 127 characters.
        for (part, text) in line.as_bytes().chunks(127).enumerate() {
            answer.text(&format!("frame_{number:02}_{part}"), &String::from_utf8_lossy(text));
        }
    }
    Some(())
}

/// Answers a question with `write`; `EINVAL` when it names something that is not there.
///
/// # Safety
/// `parameters` is null or a C string, `data` the library's answer.
unsafe fn answer(
    parameters: *const c_char,
    data: *mut rte_tel_data,
    write: fn(&str, &mut Answer) -> Option<()>,
) -> c_int {
    // SAFETY: by the caller's promise.
    let parameters = if parameters.is_null() { c"" } else { unsafe { CStr::from_ptr(parameters) } };
    match write(&parameters.to_string_lossy(), &mut Answer(data)) {
        Some(()) => 0,
        None => -libc::EINVAL,
    }
}

macro_rules! questions {
    ($($name:ident: $help:literal;)+) => {
        /// Registers all questions; before EAL starts.
        pub fn register() {
            $({
                unsafe extern "C" fn callback(
                    _: *const c_char,
                    parameters: *const c_char,
                    data: *mut rte_tel_data,
                ) -> c_int {
                    // SAFETY: the library passes a C string or null, and an answer to fill.
                    unsafe { answer(parameters, data, $name) }
                }
                let path = concat!("/penstock_eswitch/", stringify!($name), "\0");
                let help = concat!($help, "\0");
                // SAFETY: both are C strings, which the library copies; the function is static. A refusal (no memory) leaves the
                // question unanswered.
                unsafe {
                    rte_telemetry_register_cmd(path.as_ptr().cast(), Some(callback), help.as_ptr().cast())
                };
            })+
        }
    };
}
questions! {
    list: "Lists the cards. Takes no parameters";
    info: "Shows a card's profile and what is in use. Parameters: card";
    ports: "Shows a card's ports. Parameters: card";
    counters: "Shows what a port counted. Parameters: card,port (uplink, kernel, vf0, ...)";
    tables: "Shows how many rules each group has. Parameters: card";
    rules: "Shows rules, at most 100. Parameters: card[,how many to skip]";
    trace: "Shows the way of the last 64 frames through the rules. Parameters: card[,on|off]";
}
