//! The checks of the fuzz targets, for a few seconds: each over its seeds and over random
//! mutations of them. `fuzz/README.md` says how to search for longer with coverage.
//!
//! `QUEEN_TEST_FUZZ_INPUTS` is the number of mutated inputs for each parser and `QUEEN_TEST_SEED`
//! where they begin. A failure prints the input, and the command that repeats it.

#[path = "fuzz/checks/mod.rs"]
mod checks;
#[path = "harness/dice.rs"]
mod dice;

use std::path::Path;
use std::{env, fs, panic};

use checks::http_request::stricter;
use checks::recipient::Stricter;
use dice::Dice;

/// For each parser, unless the environment says otherwise.
const INPUTS: u64 = 20_000;

/// Mutations of one input.
const MUTATIONS_MAX: u64 = 8;

/// Bytes of one input; the checks of some take time by its square.
const INPUT_BYTES_MAX: usize = 4096;

/// Bytes that mean something to one of the parsers.
const TELLING: &[u8] = b"\r\n\t \0\x7f\x80\xff:;,.-+%=&/?#*\"\\{}[]019afgxz";

fn asked(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// The seeds of a target, in a stable order.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(target);
    let entries = fs::read_dir(&directory).expect("each target has seeds");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no seeds in {}", directory.display());
    paths.iter().map(|path| fs::read(path).expect("it can be read")).collect()
}

fn index(dice: &mut Dice, below: usize) -> usize {
    usize::try_from(dice.roll(below as u64)).expect("it is below a length")
}

/// A part of it, often a short one.
fn part(dice: &mut Dice, bytes: &[u8]) -> std::ops::Range<usize> {
    let start = index(dice, bytes.len() + 1);
    let longest = if dice.chance(70) { 8 } else { bytes.len() };
    let length = index(dice, longest.min(bytes.len() - start) + 1);
    start..start + length
}

fn mutate(dice: &mut Dice, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let at = index(dice, input.len() + 1);
    match dice.roll(8) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << dice.roll(8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = *dice.pick(TELLING);
            }
        }
        2 => input.insert(at, *dice.pick(TELLING)),
        3 => input.insert(at, u8::try_from(dice.roll(256)).expect("it is below 256")),
        4 => {
            input.drain(part(dice, &input.clone()));
        }
        5 => {
            let again = input[part(dice, input)].to_vec();
            input.splice(at..at, again);
        }
        6 => {
            let other = dice.pick(seeds);
            let piece = other[part(dice, other)].to_vec();
            input.splice(at..at, piece);
        }
        _ => {
            let other = dice.pick(seeds);
            let piece = other[part(dice, other)].to_vec();
            let end = (at + piece.len()).min(input.len());
            input.splice(at..end, piece);
        }
    }
    input.truncate(INPUT_BYTES_MAX);
}

fn mutated(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut input = dice.pick(seeds).clone();
    for _ in 0..=dice.roll(MUTATIONS_MAX) {
        mutate(dice, &mut input, seeds);
    }
    input
}

/// Runs a check over the seeds and their mutations.
fn search(target: &str, check: fn(&[u8])) {
    let seeds = seeds(target);
    let seed = asked("QUEEN_TEST_SEED").unwrap_or(1);
    let inputs = asked("QUEEN_TEST_FUZZ_INPUTS").unwrap_or(INPUTS);
    let run = |input: &[u8]| {
        if let Err(cause) = panic::catch_unwind(|| check(input)) {
            eprintln!(
                "{target} fails for b\"{}\"\nThe same search again with:\n    \
                 QUEEN_TEST_SEED={seed} QUEEN_TEST_FUZZ_INPUTS={inputs} \
                 cargo test --test fuzzing {target}",
                input.escape_ascii()
            );
            panic::resume_unwind(cause);
        }
    };
    for input in &seeds {
        run(input);
    }
    for number in 0..inputs {
        run(&mutated(&mut Dice::new(seed, number), &seeds));
    }
}

macro_rules! targets {
    ($($target:ident: $statement:ident,)*) => {
        $(
            #[test]
            fn $statement() {
                search(stringify!($target), checks::$target::check);
            }
        )*

        const TARGETS: &[&str] = &[$(stringify!($target)),*];
    };
}

targets! {
    http_request: http_request_is_read_as_another_reader_reads_it,
    chunks: chunks_are_read_as_another_reader_reads_them,
    percent_decoding: percent_decoding_is_what_a_simple_decoder_does,
    push: push_is_what_a_plain_json_reader_sees,
    ack: ack_is_what_a_plain_json_reader_sees,
    transaction: transaction_is_what_a_plain_json_reader_sees,
    configure: configure_is_what_a_plain_json_reader_sees,
    buffer_file: buffer_file_loses_only_what_was_damaged,
    ids: ids_lead_back_to_what_they_were_made_of,
}

#[test]
fn every_fuzz_target_is_searched_here_too() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/targets");
    let mut found: Vec<String> = fs::read_dir(directory)
        .expect("the targets are there")
        .map(|entry| entry.expect("it can be listed").path().with_extension(""))
        .map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    found.sort();
    let mut searched = TARGETS.to_vec();
    searched.sort_unstable();
    assert_eq!(found, searched);
}

/// The list of what we are stricter about has nothing in it that does not happen.
#[test]
fn every_reason_to_be_stricter_is_met() {
    let seeds = seeds("http_request");
    let mut inputs = seeds.clone();
    inputs.extend((0..INPUTS).map(|number| mutated(&mut Dice::new(1, number), &seeds)));
    let met: Vec<Stricter> = inputs.iter().flat_map(|input| stricter(input)).collect();
    let missing: Vec<_> = Stricter::ALL.iter().filter(|reason| !met.contains(reason)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
