//! A server and a model of its promises live the same random lives, and every answer is compared.
//!
//! `QUEEN_TEST_MODEL_OPS` is the number of requests. A failure prints its seed, the shortest
//! history that was found, and the command that repeats it.

mod harness;
mod model {
    pub mod acks;
    pub mod campaign;
    pub mod op;
    pub mod reference;
    pub mod run;
    pub mod seek;
    pub mod state;
    pub mod transaction;
}

use std::env;

use harness::{Server, Settings};
use model::campaign::{asked_seed, differs, one, run, tell};
use model::reference::Fault;
use model::run::Stage;

/// Requests of both kinds of lives together, unless the environment says otherwise.
const REQUESTS: usize = 200_000;

/// Lives that are lived at once on one server.
const THREADS: usize = 2;

/// Lives within which a model with a fault is found out.
const LIVES_MAX: u64 = 400;

fn requests() -> usize {
    let asked = env::var("QUEEN_TEST_MODEL_OPS").ok();
    asked.map_or(REQUESTS, |asked| asked.parse().expect("QUEEN_TEST_MODEL_OPS is a number"))
}

fn campaign(ages: bool) {
    let server = Server::with(Settings { workers: 2, ..Settings::default() });
    if let Some(seed) = asked_seed() {
        if let Err(failure) = one(&mut Stage::of(&server), seed, ages) {
            tell(&failure, ages);
        }
        return;
    }
    let lives = run(&server, THREADS, requests() / 2, ages);
    assert!(lives > 0);
}

#[test]
fn every_answer_in_a_life_that_does_not_age_is_as_promised() {
    campaign(false);
}

#[test]
fn every_answer_in_a_life_that_ages_is_as_promised() {
    campaign(true);
}

#[test]
fn a_model_with_a_fault_is_found_out() {
    let server = Server::with(Settings { workers: 2, ..Settings::default() });
    let mut stage = Stage::of(&server);
    for fault in Fault::ALL {
        let found = (0..LIVES_MAX).find(|seed| differs(&mut stage, *seed, true, fault));
        assert!(found.is_some(), "{LIVES_MAX} lives agree with {fault:?}");
    }
}
