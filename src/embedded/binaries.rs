//! Finds PostgreSQL's server programs: a directory with both `initdb` and `postgres`.
//!
//! Debian keeps one directory for each major version, outside PATH. A cluster only runs with the
//! major version that made it, so with a cluster the matching directory wins, else the newest.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::start::StartError;

/// What the schema and the statements are written for.
const MAJOR_MIN: u32 = 14;

/// Where Debian and its relatives install, one directory for each major version.
const VERSIONED_ROOT: &str = "/usr/lib/postgresql";

#[derive(Clone, Debug)]
pub(super) struct Binaries {
    pub(super) directory: PathBuf,
    /// As PostgreSQL prints it: `15.18`.
    pub(super) version: String,
    pub(super) major: u32,
}

impl Binaries {
    /// `cluster_major` is the version of the cluster that is already there.
    pub(super) fn find(
        given: Option<&Path>,
        cluster_major: Option<u32>,
    ) -> Result<Binaries, StartError> {
        let places = given.map_or_else(places, |dir| vec![dir.to_owned()]);
        let mut found: Vec<Binaries> = Vec::new();
        for place in &places {
            found.extend(inspect(place).filter(|binaries| binaries.major >= MAJOR_MIN));
        }
        let matching = found.iter().position(|binaries| Some(binaries.major) == cluster_major);
        if found.is_empty() {
            return Err(StartError::PostgresBinaries { searched: describe(&places) });
        }
        Ok(found.swap_remove(matching.unwrap_or(0)))
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

fn describe(places: &[PathBuf]) -> String {
    let mut shown: Vec<String> = places.iter().map(|dir| dir.display().to_string()).collect();
    shown.dedup();
    shown.join(", ")
}

/// In the order of preference.
fn places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    places.extend(versioned(Path::new(VERSIONED_ROOT)));
    places.extend(bindir_of_pg_config());
    if let Some(path) = std::env::var_os("PATH") {
        // The programs look for their shared files beside where they really are.
        places.extend(std::env::split_paths(&path).filter_map(|dir| {
            let initdb = dir.join("initdb").canonicalize().ok()?;
            initdb.parent().map(Path::to_owned)
        }));
    }
    if places.is_empty() {
        places.push(PathBuf::from(VERSIONED_ROOT).join("*/bin"));
        places.push(PathBuf::from("PATH"));
    }
    places
}

/// `<root>/<major>/bin`, newest first.
fn versioned(root: &Path) -> Vec<PathBuf> {
    let mut majors: Vec<u32> = fs::read_dir(root)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    majors.sort_unstable_by(|a, b| b.cmp(a));
    majors.into_iter().map(|major| root.join(major.to_string()).join("bin")).collect()
}

fn bindir_of_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (!text.trim().is_empty()).then(|| PathBuf::from(text.trim()))
}

/// Nothing unless both programs are there and say which version they are.
fn inspect(directory: &Path) -> Option<Binaries> {
    let executable = |name: &str| {
        fs::metadata(directory.join(name))
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if !executable("initdb") || !executable("postgres") {
        return None;
    }
    let output = Command::new(directory.join("postgres")).arg("--version").output().ok()?;
    let (version, major) = parse_version(&String::from_utf8(output.stdout).ok()?)?;
    Some(Binaries { directory: directory.canonicalize().ok()?, version, major })
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, also `17beta1`.
fn parse_version(line: &str) -> Option<(String, u32)> {
    let version = line.split_once("(PostgreSQL) ")?.1.split_whitespace().next()?;
    let digits = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    Some((version.to_owned(), version[..digits].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_postgresql_prints_them() {
        let cases = [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", Some(("15.18", 15))),
            ("postgres (PostgreSQL) 14.0\n", Some(("14.0", 14))),
            ("postgres (PostgreSQL) 19beta2\n", Some(("19beta2", 19))),
            ("postgres (PostgreSQL) devel\n", None),
            ("", None),
        ];
        for (line, expected) in cases {
            let expected = expected.map(|(version, major)| (version.to_owned(), major));
            assert_eq!(parse_version(line), expected, "{line:?}");
        }
    }

    #[test]
    fn newer_versions_come_first_and_ten_is_newer_than_nine() {
        let root = tempfile::tempdir().unwrap();
        for name in ["9", "15", "10", "common"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        let expected: Vec<PathBuf> =
            ["15", "10", "9"].iter().map(|major| root.path().join(major).join("bin")).collect();
        assert_eq!(versioned(root.path()), expected);
    }

    #[test]
    fn a_directory_without_the_programs_is_named_in_the_error() {
        let empty = tempfile::tempdir().unwrap();
        let error = Binaries::find(Some(empty.path()), None).unwrap_err().to_string();
        assert!(error.contains(&empty.path().display().to_string()), "{error}");
    }
}
