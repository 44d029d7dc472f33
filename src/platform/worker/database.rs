//! D1. Integers are bound as floating point numbers, because D1 refuses a BigInt. Rows come back as objects in column order.

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use wasm_bindgen::JsValue;
use worker::Env;

use crate::platform::{DatabaseError, Row, Statement, Value};

/// The binding's name in `wrangler.toml`.
const BINDING: &str = "DB";

fn database_error(error: worker::Error) -> DatabaseError {
    DatabaseError(error.to_string())
}

pub(super) async fn run(env: &Env, batch: Vec<Statement>) -> Result<Vec<Vec<Row>>, DatabaseError> {
    let database = env.d1(BINDING).map_err(database_error)?;
    let mut statements = Vec::with_capacity(batch.len());
    for Statement { sql, parameters } in batch {
        let values: Vec<JsValue> = parameters
            .into_iter()
            .map(|value| match value {
                Value::Null => JsValue::NULL,
                Value::Integer(number) => JsValue::from_f64(number as f64),
                Value::Text(text) => JsValue::from_str(&text),
            })
            .collect();
        statements.push(database.prepare(sql).bind(&values).map_err(database_error)?);
    }
    let mut answers = Vec::with_capacity(statements.len());
    for answer in database.batch(statements).await.map_err(database_error)? {
        if let Some(error) = answer.error() {
            return Err(DatabaseError(error));
        }
        if tracing::enabled!(tracing::Level::DEBUG) {
            // The plans of D1 bill and limit these.
            let meta = answer.meta().ok().flatten();
            let count = |rows: fn(&worker::D1ResultMeta) -> Option<usize>| meta.as_ref().and_then(rows).unwrap_or(0);
            let (read, written) = (count(|meta| meta.rows_read), count(|meta| meta.rows_written));
            tracing::debug!(rows_read = read, rows_written = written, "d1 query");
        }
        answers
            .push(answer.results::<Columns>().map_err(database_error)?.into_iter().map(|columns| columns.0).collect());
    }
    Ok(answers)
}

struct Columns(Row);

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Columns;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a row")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut columns: A) -> Result<Columns, A::Error> {
                let mut row = Row::new();
                while let Some((_, value)) = columns.next_entry::<String, Column>()? {
                    row.push(value.into());
                }
                Ok(Columns(row))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Column {
    Integer(i64),
    Real(f64),
    Text(String),
    Null(()),
}

impl From<Column> for Value {
    fn from(column: Column) -> Self {
        match column {
            Column::Integer(number) => Self::Integer(number),
            Column::Real(number) => Self::Integer(number as i64),
            Column::Text(text) => Self::Text(text),
            Column::Null(()) => Self::Null,
        }
    }
}
