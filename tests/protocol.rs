//! Executes every example of `protocol.md` in order against one fresh server, so that the page
//! says what the server does.
//!
//! A fenced `http` block is a request, or the answer to the request before it if it begins with
//! `HTTP/1.1`. Bodies are compared as JSON, member for member; the headers that an example shows
//! must be there. Placeholders are explained on the page.

mod harness;

use std::collections::HashMap;

use harness::{Answer, Server, Settings};
use serde_json::Value;

/// One fenced block: its first line, its headers and its body.
#[derive(Debug)]
struct Block {
    /// The line of the page that it begins on, for messages.
    line: usize,
    first: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Block {
    fn is_answer(&self) -> bool {
        self.first.starts_with("HTTP/1.1 ")
    }
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        if line != "```http" {
            continue;
        }
        let content: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        let head_end = content.iter().position(|line| line.is_empty()).unwrap_or(content.len());
        let headers = content[1..head_end].iter().map(|line| {
            let (name, value) = line.split_once(": ").expect("a header is `Name: value`");
            (name.to_owned(), value.to_owned())
        });
        blocks.push(Block {
            line: at + 2,
            first: content[0].to_owned(),
            headers: headers.collect(),
            body: content[head_end..].join("\n").trim().to_owned(),
        });
    }
    blocks
}

/// The values that placeholders gave a name to.
#[derive(Default)]
struct Names(HashMap<String, String>);

impl Names {
    /// Puts the value of each `{name}` in its place.
    fn fill_in(&self, template: &str) -> String {
        self.0.iter().fold(template.to_owned(), |filled, (name, value)| {
            filled.replace(&format!("{{{name}}}"), value)
        })
    }

    /// Gives names to the values that the page asks to name. A separate pass, since a name may be
    /// used in front of the placeholder that gives it.
    fn take_names(&mut self, shown: &Value, came: &Value) {
        match (shown, came) {
            (Value::Object(shown), came) => {
                shown.iter().for_each(|(key, shown)| self.take_names(shown, &came[key]));
            }
            (Value::Array(shown), Value::Array(came)) => {
                shown.iter().zip(came).for_each(|(shown, came)| self.take_names(shown, came));
            }
            (Value::String(shown), Value::String(came)) => {
                let Some((_, name)) = placeholder(shown).filter(|(_, name)| !name.is_empty())
                else {
                    return;
                };
                let before = self.0.insert(name.to_owned(), came.clone());
                assert!(before.is_none(), "{name} is named twice on the page");
            }
            _ => (),
        }
    }

    /// Compares what came with what the page shows; an error names the place.
    fn compare(&self, shown: &Value, came: &Value, place: &str) -> Result<(), String> {
        match (shown, came) {
            (Value::Object(shown), Value::Object(came)) => {
                if let Some(extra) = came.keys().find(|key| !shown.contains_key(*key)) {
                    return Err(format!("{place}.{extra} is not on the page"));
                }
                for (key, shown) in shown {
                    let Some(came) = came.get(key) else {
                        return Err(format!("{place}.{key} did not come"));
                    };
                    self.compare(shown, came, &format!("{place}.{key}"))?;
                }
                Ok(())
            }
            (Value::Array(shown), Value::Array(came)) if shown.len() == came.len() => {
                for (n, (shown, came)) in shown.iter().zip(came).enumerate() {
                    self.compare(shown, came, &format!("{place}[{n}]"))?;
                }
                Ok(())
            }
            (Value::String(shown), came) => self.compare_string(shown, came, place),
            _ if shown == came => Ok(()),
            _ => Err(format!("{place}: the page shows {shown}, {came} came")),
        }
    }

    fn compare_string(&self, shown: &str, came: &Value, place: &str) -> Result<(), String> {
        if let Some((kind, _)) = placeholder(shown) {
            let is = is_a(kind, came).then_some(());
            return is.ok_or_else(|| format!("{place}: {came} is not a {kind}"));
        }
        let shown = self.fill_in(shown);
        let same = (*came == shown).then_some(());
        same.ok_or_else(|| format!("{place}: the page shows {shown:?}, {came} came"))
    }
}

/// The kind and the name in `<kind:name>`; the name is empty in `<kind>`.
fn placeholder(shown: &str) -> Option<(&str, &str)> {
    let inner = shown.strip_prefix('<')?.strip_suffix('>')?;
    Some(inner.split_once(':').unwrap_or((inner, "")))
}

fn is_a(kind: &str, value: &Value) -> bool {
    match (kind, value) {
        ("integer", value) => value.is_i64(),
        ("number", value) => value.is_number(),
        ("list", value) => value.is_array(),
        ("text", Value::String(text)) => !text.is_empty(),
        ("uuid", Value::String(text)) => has_shape(text, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"),
        ("timestamp", Value::String(text)) => has_shape(text, "0000-00-00T00:00:00.000000Z"),
        ("text" | "uuid" | "timestamp", _) => false,
        _ => panic!("the page uses an unknown placeholder: {kind}"),
    }
}

/// Whether each character is what the shape asks for: `0` a digit, `x` a lower-case hex digit.
fn has_shape(text: &str, shape: &str) -> bool {
    text.len() == shape.len()
        && text.chars().zip(shape.chars()).all(|(is, should)| match should {
            '0' => is.is_ascii_digit(),
            'x' => is.is_ascii_digit() || ('a'..='f').contains(&is),
            _ => is == should,
        })
}

fn send(server: &Server, request: &Block, names: &Names) -> Answer {
    let (method, path) = request.first.split_once(' ').expect("a request is `METHOD /path`");
    let headers: Vec<(&str, &str)> =
        request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let body = names.fill_in(&request.body);
    let body = (!body.is_empty()).then_some(body.as_str());
    server.send(method, &names.fill_in(path), &headers, body)
}

fn check(shown: &Block, came: &Answer, names: &mut Names) -> Result<(), String> {
    let status = shown.first.split(' ').nth(1).expect("a status line has a status");
    if came.status.to_string() != status {
        return Err(format!("the page shows {status}"));
    }
    for (name, value) in &shown.headers {
        if came.header(name) != Some(value) {
            return Err(format!("the page shows {name}: {value}"));
        }
    }
    if shown.body.is_empty() {
        return if came.body.is_empty() { Ok(()) } else { Err("the page shows no body".into()) };
    }
    if shown.headers.iter().any(|(name, value)| name == "Content-Type" && is_text(value)) {
        return shown.body.lines().try_for_each(|line| has_line(&came.body, line));
    }
    let body: Value = serde_json::from_str(&shown.body).map_err(|error| error.to_string())?;
    let came = came.json();
    names.take_names(&body, &came);
    names.compare(&body, &came, "the body")
}

fn is_text(content_type: &str) -> bool {
    content_type.starts_with("text/plain")
}

/// Of a text the page shows some lines, with `<number>` for any number at the end.
fn has_line(text: &str, shown: &str) -> Result<(), String> {
    let is = |line: &str| match shown.strip_suffix("<number>") {
        Some(start) => line.strip_prefix(start).is_some_and(|rest| rest.parse::<f64>().is_ok()),
        None => line == shown,
    };
    let found = text.lines().any(is).then_some(());
    found.ok_or_else(|| format!("the line {shown:?} did not come"))
}

#[test]
fn every_example_of_the_page_is_true() {
    let page = include_str!("../protocol.md");
    // The history is written when the page asks for it.
    let environment = vec![("METRICS_AGGREGATE_INTERVAL_S", "86400".to_owned())];
    let server = Server::with(Settings { environment, ..Settings::default() });
    let mut names = Names::default();
    let mut blocks = blocks(page).into_iter();
    let mut executed = 0;
    while let Some(request) = blocks.next() {
        assert!(!request.is_answer(), "line {}: an answer without a request", request.line);
        let shown = blocks.next().filter(Block::is_answer);
        let shown = shown.unwrap_or_else(|| panic!("line {}: no answer follows", request.line));
        let came = send(&server, &request, &names);
        if let Err(difference) = check(&shown, &came, &mut names) {
            panic!("protocol.md, line {}: {difference}\nwhat came: {came:#?}", shown.line);
        }
        executed += 1;
    }
    assert!(executed > 15, "only {executed} examples were found");
}

#[test]
fn every_code_of_the_page_is_listed_once() {
    let page = include_str!("../protocol.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let codes: Vec<&str> = rows
        .filter(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()))
        .map(|(code, _)| code)
        .filter(|code| code.contains('_') || *code == "internal")
        .collect();
    let mut unique = codes.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), codes.len());
    assert!(codes.contains(&"no_such_route"));
}
