//! The JSON Schema of the file format, for editors and for checks without tidegate.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use serde_json::{Value, json};

use crate::yaml::File;

/// What any value with a form of its own may be instead: a reference that is replaced on reading.
const REFERENCE: &str = r"\$\{|^file:";

/// The JSON Schema of a policy, as pretty JSON with a line feed at its end.
pub fn schema() -> String {
    let settings = SchemaSettings::draft2020_12();
    let settings = settings.with_transform(NoNull).with_transform(Referable);
    let schema = settings.into_generator().into_root_schema_for::<File>();
    format!("{:#}\n", schema.as_value())
}

/// Takes the null out of optional values: a key without a value is an error here.
#[derive(Clone, Debug)]
struct NoNull;

impl Transform for NoNull {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        if let Some(Value::Array(types)) = schema.get_mut("type") {
            types.retain(|it| it != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                schema.insert("type".to_owned(), only);
            }
        }
        let Some(Value::Array(options)) = schema.get_mut("anyOf") else { return };
        options.retain(|it| *it != json!({ "type": "null" }));
        if let [Value::Object(only)] = options.as_slice() {
            let only = only.clone();
            schema.remove("anyOf");
            for (key, value) in only {
                if schema.get(&key).is_none() {
                    schema.insert(key, value);
                }
            }
        }
    }
}

/// Lets numbers, flags, words of a closed set and texts of a certain form be references too.
#[derive(Clone, Debug)]
struct Referable;

impl Transform for Referable {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let reference = Value::from(REFERENCE);
        if let Some(Value::Array(options)) = schema.get_mut("oneOf")
            && options.iter().any(|it| it.get("const").is_some_and(Value::is_string))
        {
            options.push(json!({ "type": "string", "pattern": REFERENCE }));
        }
        match schema.get("type").and_then(Value::as_str) {
            Some(kind @ ("integer" | "boolean")) => {
                let kinds = json!([kind, "string"]);
                schema.insert("type".to_owned(), kinds);
                schema.insert("pattern".to_owned(), reference);
            }
            Some("string") => {
                if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
                    let pattern = format!("{pattern}|{REFERENCE}");
                    schema.insert("pattern".to_owned(), pattern.into());
                }
            }
            _ => {}
        }
    }
}
