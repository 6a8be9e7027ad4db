//! As much of HTTP as a scrape needs, and Prometheus' text as numbers.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::until::PATIENCE;

/// Status and body of a GET on loopback.
///
/// # Errors
/// When nothing answers there.
pub fn read(port: u16, path: &str) -> io::Result<(u16, String)> {
    ask(port, "GET", path)
}

/// Status and body of a POST on loopback.
///
/// # Errors
/// When nothing answers there.
pub fn post(port: u16, path: &str) -> io::Result<(u16, String)> {
    ask(port, "POST", path)
}

fn ask(port: u16, method: &str, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Ok((status, if is_chunked { dechunk(body) } else { body.to_owned() }))
}

fn dechunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let Some(size @ 1..) = usize::from_str_radix(size.trim(), 16).ok() else { break };
        let Some((chunk, rest)) = rest.split_at_checked(size) else { break };
        whole.push_str(chunk);
        body = rest.trim_start_matches("\r\n");
    }
    whole
}

/// One line of Prometheus' text.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name of the metric.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// All samples of a scrape.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<Sample>);

impl Samples {
    /// Reads Prometheus' text; lines that are none are left out.
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(sample).collect())
    }

    /// The samples of a metric that have these labels.
    pub fn of<'a>(&'a self, name: &'a str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| {
            sample.name == name
                && labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|seen| seen == value))
        })
    }

    /// Their sum; 0 when there are none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.of(name, labels).map(|sample| sample.value).sum()
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (head, value) = line.trim().rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
    let value = value.parse().ok()?;
    let (name, mut rest) = head.split_once('{').unwrap_or((head, ""));
    let mut labels = BTreeMap::new();
    while let Some((key, quoted)) = rest.split_once("=\"") {
        let end = quoted.match_indices('"').map(|(at, _)| at).find(|at| !quoted[..*at].ends_with('\\'))?;
        labels.insert(key.trim_start_matches(',').to_owned(), quoted[..end].replace("\\\"", "\""));
        rest = &quoted[end + 1..];
    }
    Some(Sample { name: name.to_owned(), labels, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_labels_and_values() {
        let text = "# TYPE a counter\na{x=\"1\",y=\"b, \\\"c\\\"\"} 3\na{x=\"2\"} 4.5\nb 1\nnot a sample\n";
        let samples = Samples::parse(text);
        assert_eq!(samples.sum("a", &[]), 7.5);
        assert_eq!(samples.sum("a", &[("x", "1"), ("y", "b, \"c\"")]), 3.0);
        assert_eq!(samples.sum("b", &[]), 1.0);
        assert_eq!(samples.sum("c", &[]), 0.0);
    }

    #[test]
    fn joins_chunks() {
        assert_eq!(dechunk("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), "abcde");
    }
}
