//! One record as one line: a JSON object, or LTSV. Decides only.

use super::Record;
use crate::clock;
use crate::config::StatementFormat;
use serde_json::{Value, json};

/// The record's line, with its end. No record makes two lines.
pub(super) fn line(record: &Record, format: StatementFormat) -> String {
    let fields = fields(record);
    let mut line = String::new();
    match format {
        StatementFormat::Json => {
            line.push('{');
            for (at, (name, value)) in fields.iter().enumerate() {
                line.push_str(if at > 0 { "," } else { "" });
                line.push_str(&format!("{}:{value}", Value::from(*name)));
            }
            line.push('}');
        }
        StatementFormat::Ltsv => {
            for (at, (name, value)) in fields.iter().enumerate() {
                line.push_str(if at > 0 { "\t" } else { "" });
                line.push_str(name);
                line.push(':');
                match value {
                    Value::String(text) => line.extend(text.chars().map(plain)),
                    other => line.push_str(&other.to_string()),
                }
            }
        }
    }
    line.push('\n');
    line
}

/// LTSV has no escapes: what would end a field or a line is a space.
fn plain(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

/// Names and values in their order; what there is nothing to say of is left out.
fn fields(record: &Record) -> Vec<(&'static str, Value)> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let fields = [
        ("time", json!(clock::rfc3339_ms(record.at))),
        ("because", json!(record.because.name())),
        ("user", json!(record.user)),
        ("cluster", json!(record.cluster)),
        ("database", json!(record.database)),
        ("client", json!(record.client)),
        ("target", json!(if record.on_primary { "primary" } else { "replica" })),
        ("endpoint", json!(record.endpoint)),
        ("reason", json!(record.reason.as_str())),
        ("transaction", json!(record.transaction)),
        ("micros", json!(record.micros)),
        ("statements", json!(record.statements)),
        ("rows", json!(record.rows)),
        ("bytes", json!(record.bytes)),
        ("error", json!(record.error)),
        ("trace", record.trace.map_or(Value::Null, |trace| json!(hex(&trace)))),
        ("digest", json!(format!("{:016x}", record.digest))),
        ("text", json!(record.text)),
    ];
    fields.into_iter().filter(|(_, value)| !value.is_null()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement_log::Because;
    use router::Reason;
    use std::time::{Duration, UNIX_EPOCH};

    fn record() -> Record {
        Record {
            at: UNIX_EPOCH + Duration::from_millis(951_782_399_123),
            because: Because::Slow,
            user: "app".to_owned(),
            cluster: "main".to_owned(),
            database: "a\tb".to_owned(),
            client: "127.0.0.1:5".to_owned(),
            on_primary: false,
            endpoint: "127.0.0.1:5432".to_owned(),
            reason: Reason::Read,
            transaction: "idle",
            micros: 1500,
            statements: 1,
            rows: 3,
            bytes: 77,
            error: None,
            trace: None,
            digest: 255,
            text: "select \"a\nb\"".to_owned(),
        }
    }

    #[test]
    fn json() {
        assert_eq!(
            line(&record(), StatementFormat::Json),
            concat!(
                r#"{"time":"2000-02-28T23:59:59.123Z","because":"slow","user":"app","cluster":"main","database":"a\tb","#,
                r#""client":"127.0.0.1:5","target":"replica","endpoint":"127.0.0.1:5432","reason":"read","#,
                r#""transaction":"idle","micros":1500,"statements":1,"rows":3,"bytes":77,"digest":"00000000000000ff","#,
                r#""text":"select \"a\nb\""}"#,
                "\n"
            )
        );
    }

    #[test]
    fn ltsv_is_one_line_whatever_is_in_it() {
        let record = Record { error: Some("42P01".to_owned()), trace: Some([0xab; 16]), ..record() };
        let line = line(&record, StatementFormat::Ltsv);
        assert!(line.starts_with("time:2000-02-28T23:59:59.123Z\tbecause:slow\tuser:app\t"), "{line}");
        assert!(line.contains("\tdatabase:a b\t") && line.ends_with("\ttext:select \"a b\"\n"), "{line}");
        assert!(line.contains("\terror:42P01\ttrace:abababababababababababababababab\t"), "{line}");
        assert_eq!((line.matches('\n').count(), line.matches('\t').count()), (1, 17));
    }
}
