//! What no lint checks: who imports whom, where SQL and glommio may be named, how large a file may
//! grow, that the routes and the protocol page agree, and that no text names what it must not.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Past this a file has swallowed a second subject.
const LINES_MAX: usize = 700;

/// Directories that hold nothing of the project's own text.
const SKIPPED: [&str; 6] = [".git", ".venv", "target", "data", "__pycache__", "corpus"];

/// The rooms, from the wire inwards, each with the rooms that it must not import.
const FORBIDDEN_IMPORTS: [(&str, &[&str]); 7] = [
    ("auth", &["api", "http", "queue", "buffer", "pg"]),
    ("http", &["api", "queue", "pg", "runtime"]),
    ("queue", &["api", "http"]),
    ("metrics", &["api", "queue", "buffer", "pg", "runtime"]),
    ("buffer", &["api", "http", "queue", "pg"]),
    ("pg", &["api", "http", "queue"]),
    ("runtime", &["api", "http", "queue", "pg"]),
];

struct File {
    /// Relative to the repository.
    path: PathBuf,
    text: String,
}

impl File {
    fn is_in(&self, directory: &str) -> bool {
        self.path.starts_with(directory)
    }

    /// The lines that are not comments, numbered from 1.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate();
        lines
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(n, line)| (n + 1, line))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file of the project below a directory, in a stable order.
fn files(directory: &str) -> Vec<File> {
    let mut found = Vec::new();
    let mut pending = vec![root().join(directory)];
    while let Some(directory) = pending.pop() {
        let entries = fs::read_dir(&directory).into_iter().flatten();
        for path in entries.map(|entry| entry.expect("the directory can be read").path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if SKIPPED.contains(&name.as_ref()) {
                continue;
            }
            if path.is_dir() {
                pending.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(root()).expect("it was found below").to_owned();
                found.push(File { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn rust_files(directory: &str) -> Vec<File> {
    let mut files = files(directory);
    files.retain(|file| file.path.extension().is_some_and(|extension| extension == "rs"));
    files
}

fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn no_room_imports_a_room_to_its_left() {
    let mut complaints = Vec::new();
    for (room, forbidden) in FORBIDDEN_IMPORTS {
        for file in rust_files(&format!("src/{room}")) {
            for (n, line) in file.code() {
                for other in forbidden.iter().filter(|other| imports(line, other)) {
                    complaints.push(format!("{}:{n}: {room} imports {other}", file.path.display()));
                }
            }
        }
    }
    assert_none(&complaints);
}

/// Whether a line of code names a room of this crate.
fn imports(line: &str, room: &str) -> bool {
    line.match_indices("crate::").any(|(at, prefix)| {
        let path = &line[at + prefix.len()..];
        if let Some(list) = path.strip_prefix('{') {
            return list.split([',', '}']).any(|name| starts_with_name(name.trim(), room));
        }
        starts_with_name(path, room)
    })
}

fn starts_with_name(path: &str, name: &str) -> bool {
    path.strip_prefix(name)
        .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

#[test]
fn only_the_runtime_names_glommio() {
    let mut complaints = Vec::new();
    for file in rust_files("src").iter().filter(|file| !file.is_in("src/runtime")) {
        for (n, _) in file.code().filter(|(_, line)| line.contains("glommio")) {
            complaints.push(format!("{}:{n}: glommio outside its room", file.path.display()));
        }
    }
    assert_none(&complaints);
}

#[test]
fn sql_stands_in_sql_files_of_its_room() {
    let verbs = ["SELECT ", "INSERT INTO ", "DELETE FROM ", "CREATE TABLE ", "ALTER TABLE "];
    let mut complaints = Vec::new();
    for file in rust_files("src") {
        for (n, line) in file.code() {
            let in_room = file.is_in("src/pg");
            if !in_room && line.contains(".sql\"") {
                complaints.push(format!("{}:{n}: SQL outside its room", file.path.display()));
            }
            // The embedded cluster creates its database before there is a schema to speak of.
            let is_bootstrap = file.is_in("src/embedded") || file.is_in("src/embedded.rs");
            if !in_room && !is_bootstrap && verbs.iter().any(|verb| line.contains(verb)) {
                complaints.push(format!("{}:{n}: SQL in Rust", file.path.display()));
            }
        }
    }
    for file in files("src").iter().filter(|file| !file.is_in("src/pg")) {
        if file.path.extension().is_some_and(|extension| extension == "sql") {
            complaints.push(format!("{}: SQL outside its room", file.path.display()));
        }
    }
    assert_none(&complaints);
}

#[test]
fn files_stay_small() {
    let mut complaints = Vec::new();
    for file in ["src", "tests", "benches"].into_iter().flat_map(rust_files) {
        let lines = file.text.lines().count();
        if lines > LINES_MAX {
            complaints.push(format!("{}: {lines} lines", file.path.display()));
        }
    }
    assert_none(&complaints);
}

#[test]
fn rust_files_of_the_server_say_what_they_own() {
    let silent = rust_files("src").into_iter().filter(|file| !file.text.starts_with("//!"));
    let complaints: Vec<_> =
        silent.map(|file| format!("{}: no //! at its head", file.path.display())).collect();
    assert_none(&complaints);
}

#[test]
fn migrations_are_numbered_without_gaps() {
    let mut names: Vec<String> = files("migrations")
        .iter()
        .filter_map(|file| Some(file.path.file_name()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    for (n, name) in names.iter().enumerate() {
        let number = format!("{:04}_", n + 1);
        let words = name.strip_prefix(&number).and_then(|rest| rest.strip_suffix(".sql"));
        assert!(words.is_some_and(|words| !words.is_empty()), "{name} should be {number}*.sql");
    }
}

#[test]
fn every_dependency_says_why_it_is_there() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("it was built from it");
    let mut section = "";
    let mut previous = "";
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.contains("dependencies") && line.contains('=') {
            // One comment may speak for the lines that follow it directly.
            assert!(!previous.is_empty() && previous != section, "no comment above: {line}");
        }
        previous = line;
    }
}

#[test]
fn the_protocol_page_and_the_routes_agree() {
    let page = fs::read_to_string(root().join("protocol.md")).expect("the contract is there");
    let documented: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'))
        .map(str::to_owned)
        .collect();
    let mut served = BTreeSet::new();
    for file in rust_files("src/api").iter().filter(|file| is_route_table(&file.path)) {
        let code = file.code().map(|(_, line)| line);
        served.extend(code.take_while(|line| *line != "#[cfg(test)]").filter_map(route));
    }
    assert_eq!(documented, served, "left: protocol.md, right: the code");
}

fn is_route_table(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("route"))
}

/// The route in a line of a table such as `(Post, "/api/v1/push", ...)`, as the page writes it.
fn route(line: &str) -> Option<String> {
    let (before, after) = line.split_once("\"/")?;
    let path = after.split('"').next()?;
    let words = before.split(|c: char| !c.is_alphanumeric());
    let method = words.rev().find(|word| !word.is_empty())?.to_uppercase();
    ["GET", "POST", "PUT", "DELETE", "PATCH"]
        .contains(&method.as_str())
        .then(|| format!("{method} /{path}"))
}

/// The names of metrics in a text that stand between two quotes, or before a label.
fn metrics<'t>(text: &'t str, quote: &'static str) -> impl Iterator<Item = &'t str> {
    let pieces = text.split(quote).filter(|piece| piece.starts_with("queen_"));
    pieces.map(|piece| piece.split('{').next().unwrap_or_default()).filter(|name| {
        name.chars().all(|c| c.is_ascii_lowercase() || c == '_') && !name.ends_with('_')
    })
}

#[test]
fn the_protocol_page_and_the_metrics_agree() {
    let read = |name: &str| fs::read_to_string(root().join(name)).expect("it is there");
    let code = read("src/metrics/prometheus.rs");
    let code = code.split("#[cfg(test)]").next().unwrap_or_default();
    let written: BTreeSet<&str> = metrics(code, "\"").collect();
    assert!(written.contains("queen_uptime_seconds"), "names are found");
    let page = read("protocol.md");
    let rows = page.lines().filter(|line| line.starts_with("| `queen_"));
    let documented: BTreeSet<&str> = rows.flat_map(|row| metrics(row, "`")).collect();
    assert_eq!(documented, written, "left: protocol.md, right: the code");
    let advice = read("README.md");
    for name in metrics(&advice, "`") {
        assert!(written.contains(name), "README.md names {name}");
    }
}

/// Split, so that this file does not name them itself.
const FORBIDDEN_TEXTS: [&[&str]; 8] = [
    &["/wo", "rk/"],
    &["/tmp/", "wt"],
    &["/tmp/", "target-"],
    &["crates", ".io"],
    &["pypi", ".org"],
    &["npmjs", ".com"],
    &["proxy.golang", ".org"],
    &["issue", " #"],
];

#[test]
fn no_text_names_a_workplace_or_a_registry() {
    let mut complaints = Vec::new();
    for file in files("").iter().filter(|file| !file.path.ends_with("Cargo.lock")) {
        for (n, line) in file.text.lines().enumerate() {
            for forbidden in FORBIDDEN_TEXTS.map(<[&str]>::concat) {
                if line.to_lowercase().contains(&forbidden) {
                    complaints.push(format!("{}:{}: {forbidden}", file.path.display(), n + 1));
                }
            }
        }
    }
    assert_none(&complaints);
}
