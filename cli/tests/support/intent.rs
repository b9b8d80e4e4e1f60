//! Intent as cases write it: `Kind/name` to `spec`.

use std::fmt::Write;

use serde_json::Value;

/// The text an operator would write: one JSON document an object.
pub fn documents(intent: &Value) -> Result<String, String> {
    let mut text = String::new();
    for (id, spec) in intent.as_object().into_iter().flatten() {
        let (kind, name) = id.split_once('/').ok_or_else(|| format!("`{id}` is not Kind/name"))?;
        let object = serde_json::json!({
            "apiVersion": "penstock.dev/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec,
        });
        let _ = writeln!(text, "---\n{object}");
    }
    Ok(text)
}
