//! The unit for systemd and the Dockerfile name what is there: files, settings, the program and its
//! port.

use std::fs;
use std::path::Path;
use std::process::Command;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands behind `key`, in each line that begins with it.
fn values<'a>(text: &'a str, key: &'a str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.strip_prefix(key)).map(str::trim).collect()
}

/// Whether the program itself knows the variable.
fn is_setting(variable: &str) -> bool {
    serve_help().contains(&format!("[env: {variable}="))
}

fn serve_help() -> String {
    let queen = env!("CARGO_BIN_EXE_queen");
    let mut help = Command::new(queen);
    help.args(["serve", "--help"]).env_clear();
    let help = help.output().expect("the built binary can be run");
    assert!(help.status.success(), "{help:?}");
    String::from_utf8_lossy(&help.stdout).into_owned()
}

#[test]
fn the_unit_starts_this_program_with_settings_that_it_knows() {
    let unit = read("scripts/queen.service");
    assert_eq!(values(&unit, "ExecStart="), ["/usr/local/bin/queen serve"]);
    assert_eq!(values(&unit, "ExecReload="), ["kill -HUP $MAINPID"]);
    let set = values(&unit, "Environment=");
    assert!(!set.is_empty());
    for variable in set {
        let (name, _) = variable.split_once('=').expect("a variable has a value");
        assert!(is_setting(name), "{name} is no setting");
    }
    // What a bad setting ends with.
    let status = Command::new(env!("CARGO_BIN_EXE_queen")).args(["serve", "--port", "x"]).output();
    let status = status.expect("the built binary can be run").status.code();
    let prevented = values(&unit, "RestartPreventExitStatus=");
    assert_eq!(prevented, [status.expect("it ends by itself").to_string()]);
}

#[test]
fn the_unit_is_one_that_systemd_understands() {
    let scratch = tempfile::tempdir().expect("a directory can be made");
    // Where the unit says it is, there may be no program.
    let program = env!("CARGO_BIN_EXE_queen");
    let unit = read("scripts/queen.service").replace("/usr/local/bin/queen", program);
    let path = scratch.path().join("queen.service");
    fs::write(&path, unit).expect("it can be written");
    let verify = Command::new("systemd-analyze").arg("verify").arg("--man=no").arg(&path).output();
    // A machine without systemd has no use for the unit.
    let Ok(verify) = verify else { return };
    let said = String::from_utf8_lossy(&verify.stderr);
    let about: Vec<&str> = said.lines().filter(|line| line.contains("queen.service")).collect();
    assert!(about.is_empty(), "{said}");
}

#[test]
fn the_image_is_built_of_what_is_there() {
    let dockerfile = read("scripts/Dockerfile");
    for copied in values(&dockerfile, "COPY ") {
        let mut words: Vec<&str> = copied.split(' ').collect();
        words.pop();
        if let Some(built) = copied.strip_prefix("--from=build ") {
            assert!(built.starts_with("/build/target/release/queen "), "{copied}");
            continue;
        }
        for source in words {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
            assert!(path.exists(), "{source} is not there");
        }
    }
    for variable in values(&dockerfile, "ENV ") {
        let (name, _) = variable.split_once('=').expect("a variable has a value");
        assert!(is_setting(name), "{name} is no setting");
    }
    let port = values(&dockerfile, "EXPOSE ");
    assert_eq!(port.len(), 1);
    let help = serve_help();
    let default = help.lines().skip_while(|line| !line.contains("[env: PORT="));
    let default = default.take(3).any(|line| line.contains(&format!("[default: {}]", port[0])));
    assert!(default, "{port:?} is not the default port");
    let rust = read("Cargo.toml");
    let rust = values(&rust, "rust-version = ")[0].trim_matches('"').to_owned();
    assert!(dockerfile.contains(&format!("FROM rust:{rust}-")), "it builds with Rust {rust}");
}
