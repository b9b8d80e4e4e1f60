//! Items in a dump: any kind, field by field.

use rte_flow::{AskedField, Item, ItemKind};
use serde::{Deserialize, Serialize};

/// An item: its kind in testpmd's words, and what it asks.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemText {
    item: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    fields: Vec<FieldText>,
}

/// A field that is asked for; numbers are hexadecimal.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldText {
    /// Its name in `rte-flow/src/header/`.
    name: String,
    spec: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<String>,
    /// Absent: all bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mask: Option<String>,
}

fn number(text: &str) -> Result<u128, String> {
    text.strip_prefix("0x")
        .and_then(|digits| u128::from_str_radix(digits, 16).ok())
        .ok_or_else(|| format!("`{text}` is no number; write it like 0x1f"))
}

fn ones(bits: u32) -> u128 {
    1_u128.checked_shl(bits).map_or(u128::MAX, |bit| bit - 1)
}

impl From<&Item> for ItemText {
    fn from(item: &Item) -> Self {
        let mut fields = Vec::new();
        item.for_each_asked_field(&mut |field| {
            let Some(spec) = field.spec else { return };
            fields.push(FieldText {
                name: field.info.name.to_owned(),
                spec: format!("{spec:#x}"),
                last: field.last.map(|last| format!("{last:#x}")),
                mask: (!field.is_full()).then(|| format!("{:#x}", field.mask)),
            });
        });
        Self { item: item.kind().name().to_owned(), fields }
    }
}

impl ItemText {
    /// The item.
    pub fn item(&self) -> Result<Item, String> {
        let kind = ItemKind::ALL
            .iter()
            .find(|kind| kind.name() == self.item)
            .ok_or_else(|| format!("there is no item `{}`", self.item))?;
        let field = |text: &FieldText| {
            let index = kind.fields().iter().position(|info| info.name == text.name);
            let unknown = || format!("item {} has no field `{}`", self.item, text.name);
            let index = index.ok_or_else(unknown)?;
            let bits = kind.fields().get(index).map_or(0, |info| info.bits);
            let fits = |number: u128| {
                let too_wide = || format!("{number:#x} does not fit the field `{}`", text.name);
                if number & !ones(bits) == 0 { Ok(number) } else { Err(too_wide()) }
            };
            let read = |text: &str| number(text).and_then(fits);
            Ok(AskedField {
                index,
                spec: read(&text.spec)?,
                last: text.last.as_deref().map(read).transpose()?,
                mask: text.mask.as_deref().map_or(Ok(ones(bits)), read)?,
            })
        };
        let fields = self.fields.iter().map(field).collect::<Result<Vec<_>, String>>()?;
        Ok(Item::asking(*kind, &fields))
    }
}
