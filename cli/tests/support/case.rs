//! A case: intent, packets in, what must come of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use dpu_app::datapath::settings::Settings;
use serde::Deserialize;
use serde_json::Value;

/// A case as its file says it; `README.md` beside the cases describes it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Case {
    /// What it shows, for people.
    pub about: String,
    /// A file in `cases/base/` that gives what is not given here.
    pub base: Option<String>,
    /// The node whose datapath runs.
    pub node: Option<String>,
    /// `Kind/name` to `spec`.
    pub intent: Value,
    /// Pieces of packets.
    pub names: BTreeMap<String, String>,
    /// NICs for which `forward` events say `by hardware` where that carried the packet.
    pub profiles: Vec<String>,
    /// The difference of `docs/reference/offload-differences.md` that it shows, of `profiles`; or that keeps it from holding
    /// with any NIC, where it names no profiles.
    pub window: Option<String>,
    /// The datapath's settings.
    pub settings: Settings,
    /// What happens.
    pub steps: Vec<Step>,
}

/// Something that happens at a time: a packet, a change of intent, or only time passing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Seconds.
    pub at: f64,
    /// Changes of intent, as a JSON merge patch of what held before.
    #[serde(default)]
    pub intent: Option<Value>,
    /// The port at which a packet arrives.
    #[serde(default)]
    pub from: Option<String>,
    /// That packet.
    #[serde(default)]
    pub send: Option<String>,
    /// All events.
    #[serde(default)]
    pub events: Vec<String>,
    /// All frames that leave: port to packet.
    #[serde(default)]
    pub out: Vec<BTreeMap<String, String>>,
}

impl Case {
    /// Reads a case and its base.
    pub fn read(file: &Path, cases: &Path) -> Result<Self, String> {
        let mut case = parse(file)?;
        if let Some(name) = &case.base {
            let base = parse(&cases.join("base").join(format!("{name}.yaml")))?;
            let mut intent = base.intent;
            merge(&mut intent, &case.intent);
            case.intent = intent;
            case.node = case.node.or(base.node);
            for (name, text) in base.names {
                case.names.entry(name).or_insert(text);
            }
        }
        if case.steps.is_empty() {
            return Err("a case without steps shows nothing".to_owned());
        }
        Ok(case)
    }

    /// A packet's text with names replaced, also those within names.
    pub fn expand(&self, text: &str) -> Result<String, String> {
        let mut text = text.to_owned();
        for _ in 0..8 {
            let Some((before, rest)) = text.split_once('{') else {
                return Ok(text);
            };
            let (name, after) =
                rest.split_once('}').ok_or_else(|| format!("`{{{rest}` is not closed"))?;
            let value = self.names.get(name).ok_or_else(|| format!("`{name}` is not in names"))?;
            text = format!("{before}{value}{after}");
        }
        Err("names lead to each other without end".to_owned())
    }
}

fn parse(file: &Path) -> Result<Case, String> {
    let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    serde_saphyr::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))
}

/// JSON merge patch (RFC 7396): maps are merged, null removes, all else replaces.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        if !patch.is_null() {
            target.clone_from(patch);
        }
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    if let Value::Object(target) = target {
        for (key, value) in patch {
            if value.is_null() {
                target.remove(key);
            } else {
                merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
    }
}
