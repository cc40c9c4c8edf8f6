//! Many lives on several threads, each from a seed of its own; one that differs from the model is
//! made as short as it goes and told with the command that repeats it.

use std::collections::hash_map::RandomState;
use std::env;
use std::hash::{BuildHasher, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::op::{Life, life};
use super::reference::{Fault, Model};
use super::run::{Difference, Run, Stage};
use crate::harness::Server;

/// A failing life is made shorter for so long.
const SHRINK_MAX: Duration = Duration::from_mins(1);

/// Operations in a life, at most, before those that drain it.
const LENGTH: usize = 80;

/// A life that differed from the model.
pub struct Failure {
    pub seed: u64,
    pub difference: Difference,
    /// Requests and answers of the shortest such life.
    pub story: String,
}

/// The seed to replay, if one is asked for.
pub fn asked_seed() -> Option<u64> {
    env::var("QUEEN_TEST_SEED").ok().map(|seed| seed.parse().expect("a seed is a number"))
}

pub fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A queue that no other life has.
fn fresh_queue() -> String {
    static LIVES: AtomicUsize = AtomicUsize::new(0);
    format!("life-{}", LIVES.fetch_add(1, Ordering::Relaxed))
}

fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// What differs, and what had happened until then.
type Told = (Difference, String);

fn lived(stage: &mut Stage, life: &Life, ages: bool, fault: Option<Fault>) -> Result<(), Told> {
    let model = Model { fault, ..Model::default() };
    let mut run = Run::new(stage, fresh_queue(), model);
    run.live(life, ages).map_err(|difference| (difference, run.story))
}

/// Whether the life from this seed differs from a model with this fault.
pub fn differs(stage: &mut Stage, seed: u64, ages: bool, fault: Fault) -> bool {
    let tree = life(LENGTH, ages).new_tree(&mut runner(seed)).expect("nothing is filtered");
    lived(stage, &tree.current(), ages, Some(fault)).is_err()
}

/// One life from its seed, made short if it fails.
pub fn one(stage: &mut Stage, seed: u64, ages: bool) -> Result<(), Box<Failure>> {
    let mut tree = life(LENGTH, ages).new_tree(&mut runner(seed)).expect("nothing is filtered");
    let Err(mut told) = lived(stage, &tree.current(), ages, None) else { return Ok(()) };
    let until = Instant::now() + SHRINK_MAX;
    let mut fails = true;
    while Instant::now() < until {
        if !(if fails { tree.simplify() } else { tree.complicate() }) {
            break;
        }
        let life = tree.current();
        let again = lived(stage, &life, ages, None);
        fails = again.is_err();
        if let Err(again) = again {
            told = again;
        }
    }
    let (difference, story) = told;
    Err(Box::new(Failure { seed, difference, story }))
}

/// Lives on `threads` threads until `requests` were sent. Answers how many lives there were.
pub fn run(server: &Server, threads: usize, requests: usize, ages: bool) -> usize {
    let failure: Mutex<Option<Box<Failure>>> = Mutex::new(None);
    let (sent, lives) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let base = random_seed();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut stage = Stage::of(server);
                while sent.load(Ordering::Relaxed) < requests {
                    let before = stage.requests();
                    let n = lives.fetch_add(1, Ordering::Relaxed);
                    let seed = base.wrapping_add(n as u64);
                    if let Err(failed) = one(&mut stage, seed, ages) {
                        sent.store(requests, Ordering::Relaxed);
                        failure.lock().expect("nobody panics with it").get_or_insert(failed);
                        return;
                    }
                    sent.fetch_add(stage.requests() - before, Ordering::Relaxed);
                }
            });
        }
    });
    if let Some(failure) = failure.into_inner().expect("nobody panics with it") {
        tell(&failure, ages);
    }
    lives.into_inner()
}

/// Panics with everything that is known about a failure.
pub fn tell(failure: &Failure, ages: bool) -> ! {
    let test = if ages { "that_ages" } else { "that_does_not_age" };
    let Failure { seed, difference, story } = failure;
    panic!(
        "{difference}\n\nWhat happened:\n{story}\nAgain with:\n    \
         QUEEN_TEST_SEED={seed} cargo test --test model {test}\n"
    );
}
