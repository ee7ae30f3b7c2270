//! What answers are made of: bodies and headers.

use serde_json::{Map, Value, json};

use crate::{
    catalogue::{Column, Panel, Question, Unit},
    format::Format,
};

/// A whole answer: in JSON as `schema` says, in other formats the rows alone.
pub(super) fn ok(schema: &Value, formats: &[Format], headers: &Value) -> Value {
    let content: Map<String, Value> = formats
        .iter()
        .map(|format| {
            let schema = match format {
                Format::Json => schema.clone(),
                Format::Ndjson | Format::Csv | Format::Prometheus => json!({ "type": "string" }),
                Format::Arrow | Format::Parquet => json!({}),
            };
            let content_type = format.content_type();
            (content_type.split(';').next().unwrap_or(content_type).to_owned(), json!({ "schema": schema }))
        })
        .collect();
    let suffixes: Vec<String> = formats.iter().map(|format| format!("`.{}`", format.suffix())).collect();
    let description = format!("The answer. The path may end in {} instead of `Accept`.", suffixes.join(", "));
    json!({ "description": description, "headers": headers, "content": content })
}

/// The headers of every answer.
pub(super) fn headers() -> Value {
    json!({ "Shardlake-Query-Id": { "required": true, "schema": { "type": "string" },
        "description": "Finds the query in ClickHouse's `system.query_log`" } })
}

/// The headers of an answer to a question: what its JSON says in `meta`, for formats that have no place for it.
pub(super) fn headers_of_question() -> Value {
    let header = |description: &str, required: bool, schema: Value| json!({ "description": description, "required": required, "schema": schema });
    let mut headers = headers();
    headers["Shardlake-Table"] = header("The table that was read", true, json!({ "type": "string" }));
    headers["Shardlake-From"] = header("Start of the range", false, moment());
    headers["Shardlake-To"] = header("End of the range", false, moment());
    headers["Shardlake-Limit"] = header("The limit of the answer", false, json!({ "type": "integer", "minimum": 1 }));
    let complete = json!({ "type": "string", "enum": ["true", "false", "unknown"] });
    headers["Shardlake-Complete"] = header("Whether no batch is missing in the range", true, complete);
    let count = json!({ "type": "integer", "minimum": 0 });
    headers["Shardlake-Missing-Batches"] = header("How many are missing", true, count);
    let behind = "How far the cluster is behind that is furthest behind; without any that sent something, absent";
    headers["Shardlake-Behind-Ms"] = header(behind, false, json!({ "type": "integer", "minimum": 0 }));
    headers["ETag"] = header("Of an answer that will not change", false, json!({ "type": "string" }));
    headers
}

/// The document that answers `question`.
pub(super) fn question(question: &Question) -> Value {
    let row = row(&question.columns);
    let rows = json!({ "type": "array", "items": row });
    let meta = json!({ "$ref": "#/components/schemas/Meta" });
    let mut schema = json!({
        "type": "object",
        "required": ["question", "columns", "rows", "meta"],
        "additionalProperties": false,
        "properties": {
            "question": { "const": question.id() },
            "columns": { "$ref": "#/components/schemas/Columns" },
            "rows": rows,
            "meta": meta,
        },
    });
    if question.parameter(crate::resolution::COMPARE).is_some() {
        schema["properties"]["previous"] = json!({
            "type": "object",
            "description": "With `compare=previous`: the answer for the range before",
            "required": ["rows", "meta"],
            "additionalProperties": false,
            "properties": { "rows": rows, "meta": meta },
        });
    }
    schema
}

fn row(columns: &[Column]) -> Value {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let properties: Map<String, Value> =
        columns.iter().map(|declared| (declared.name.clone(), column(declared))).collect();
    json!({ "type": "object", "required": names, "additionalProperties": false, "properties": properties })
}

fn column(column: &Column) -> Value {
    let mut schema = match column.unit {
        Unit::Time => json!({ "type": ["string", "null"], "format": "date-time" }),
        Unit::Id | Unit::Text => json!({ "type": ["string", "null"] }),
        Unit::Count
        | Unit::Ratio
        | Unit::Milliseconds
        | Unit::Seconds
        | Unit::Bytes
        | Unit::PerSecond
        | Unit::BytesPerSecond => json!({ "type": ["number", "null"] }),
    };
    schema["description"] = json!(column.doc);
    schema["x-unit"] = json!(column.unit);
    schema
}

/// The document that answers a statement.
pub(super) fn statement() -> Value {
    json!({
        "type": "object",
        "required": ["columns", "rows", "meta"],
        "additionalProperties": false,
        "properties": {
            "columns": { "$ref": "#/components/schemas/Columns" },
            "rows": { "type": "array", "items": { "type": "object" } },
            "meta": object(&[
                ("rows_read", count()),
                ("bytes_read", count()),
                ("elapsed_ms", json!({ "type": "number" })),
                ("query_id", json!({ "type": "string" })),
            ]),
        },
    })
}

/// The document at `/v1`.
pub(super) fn catalogue() -> Value {
    let text = || json!({ "type": "string" });
    let parameter = object(&[
        ("name", text()),
        ("type", json!({ "type": "string", "description": "In ClickHouse" })),
        ("default", json!({ "type": ["string", "null"], "description": "null: it is required" })),
        ("doc", text()),
    ]);
    let column = object(&[("name", text()), ("unit", words(Unit::ALL, Unit::as_str)), ("doc", text())]);
    let question = object(&[
        ("path", text()),
        ("noun", text()),
        ("name", text()),
        ("title", text()),
        ("description", text()),
        ("panel", words(Panel::ALL, Panel::as_str)),
        ("table", text()),
        ("min_step_s", json!({ "type": "integer", "minimum": 1 })),
        ("parameters", json!({ "type": "array", "items": parameter })),
        ("columns", json!({ "type": "array", "items": column })),
    ]);
    object(&[("questions", json!({ "type": "array", "items": question }))])
}

/// What many paths share.
pub(super) fn shared() -> Value {
    let text = || json!({ "type": "string" });
    json!({
        "Error": object(&[("error", json!({
            "type": "object",
            "required": ["code", "message"],
            "additionalProperties": false,
            "properties": {
                "code": { "type": "string", "description": "For programs: stays what it is" },
                "message": { "type": "string", "description": "For people: what is wrong" },
                "parameter": { "type": "string", "description": "Which parameter is wrong" },
                "expected": { "type": "string", "description": "What would be right" },
                "nearest": { "type": "array", "items": text(), "description": "Names that may have been meant" },
            },
        }))]),
        "Columns": { "type": "array", "items": object(&[
            ("name", text()),
            ("type", json!({ "type": "string", "description": "In ClickHouse" })),
        ]) },
        "Meta": meta(),
        "Freshness": object(&[
            ("cluster", text()),
            ("newest_landed_at", moment()),
            ("newest_in_table_at", or_null(moment())),
            ("behind_ms", json!({ "type": "integer", "description": "A cluster that is behind is spooling, dead or cut off" })),
        ]),
        "Gap": object(&[
            ("cluster", text()),
            ("boot", text()),
            ("table", text()),
            ("first_batch", count()),
            ("last_batch", count()),
            ("missing", count()),
        ]),
    })
}

fn meta() -> Value {
    let list = |of: &str| json!({ "type": "array", "items": { "$ref": format!("#/components/schemas/{of}") } });
    object(&[
        ("from", or_null(moment())),
        ("to", or_null(moment())),
        (
            "step",
            json!({ "type": ["string", "null"], "description": "Width of a bucket, as a request may ask for it" }),
        ),
        ("step_s", json!({ "type": ["integer", "null"], "description": "The same in seconds, a month as 30 days" })),
        ("time_zone", json!({ "type": "string" })),
        ("table", json!({ "type": "string", "description": "The table that was read" })),
        (
            "limited",
            json!({ "type": "boolean", "description": "Whether there may be more than the limit let through" }),
        ),
        ("next_cursor", json!({ "type": ["string", "null"], "description": "The `cursor` of the next page" })),
        ("freshness", list("Freshness")),
        (
            "complete",
            json!({ "type": ["boolean", "null"], "description": "Whether no batch is missing; null: not known" }),
        ),
        ("missing_batches", count()),
        ("gaps", list("Gap")),
        ("rows_read", count()),
        ("bytes_read", count()),
        ("elapsed_ms", json!({ "type": "number" })),
        ("query_id", json!({ "type": "string" })),
    ])
}

/// An object with these properties and no others.
fn object(properties: &[(&str, Value)]) -> Value {
    let names: Vec<&str> = properties.iter().map(|(name, _)| *name).collect();
    let properties: Map<String, Value> =
        properties.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({ "type": "object", "required": names, "additionalProperties": false, "properties": properties })
}

fn moment() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn or_null(mut schema: Value) -> Value {
    schema["type"] = json!([schema["type"], "null"]);
    schema
}

fn words<T: Copy>(all: &[T], as_str: fn(T) -> &'static str) -> Value {
    json!({ "type": "string", "enum": all.iter().map(|word| as_str(*word)).collect::<Vec<_>>() })
}
