//! Damaged messages of every kind and version: no decoder panics, and none takes more memory than its input can justify.
//!
//! `CORELOG_TEST_FUZZ_SECONDS` has it go on for so long, with other damage at each start.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::tests::{DECODERS, Decoder};
use crate::kafka::message::sample::Random;
use crate::kafka::{RequestHeader, Writer};

#[path = "../../../tests/counting_allocator/mod.rs"]
mod counting_allocator;
#[path = "../../../tests/damage/mod.rs"]
mod damage;

use counting_allocator::measure;

/// What a reader may take for elements, twice: a list that grows is there twice for a moment.
const FACTOR: usize = 2 * 16;
/// For a few elements, and the text of an error.
const SLACK: usize = 2 * 64 * 1024;
/// Rounds over all messages and versions where nobody asks for seconds.
const ROUNDS: u32 = 30;

#[test]
fn no_message_takes_more_than_its_bytes_justify() {
    let seconds = std::env::var("CORELOG_TEST_FUZZ_SECONDS").map(|it| it.parse().unwrap());
    let deadline = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut random = match deadline {
        Ok(_) if std::env::var_os("CORELOG_TEST_SEED").is_none() => {
            let seed = rand::rng().random();
            println!("CORELOG_TEST_SEED={seed}");
            StdRng::seed_from_u64(seed)
        }
        _ => damage::seeded(),
    };
    let (mut rounds, mut errors) = (0, 0_u64);
    loop {
        for decoder in DECODERS {
            for version in decoder.versions.clone() {
                let mut contents = Random::new(random.random());
                let whole = (decoder.sample)(&mut contents, version);
                let damaged = damaged(&whole, &mut random);
                errors += u64::from(attempt(decoder, version, &damaged));
            }
        }
        rounds += 1;
        match deadline {
            Ok(deadline) if Instant::now() < deadline => {}
            Err(_) if rounds < ROUNDS => {}
            _ => break,
        }
    }
    println!("{rounds} rounds, {errors} errors");
    assert!(errors > 0, "damage shows");
}

fn damaged(whole: &[u8], random: &mut StdRng) -> Vec<u8> {
    match random.random_range(0..20) {
        0 => many_elements(whole, random),
        1 => (0..random.random_range(0..256))
            .map(|_| random.random())
            .collect(),
        _ => damage::damage(whole, random),
    }
}

/// The message up to somewhere, and from there on the same few bytes again and again behind a large count.
fn many_elements(whole: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = whole[..random.random_range(0..=whole.len())].to_vec();
    let count = random.random_range(1..1 << 22);
    if random.random() {
        let mut varint = Writer::new();
        varint.unsigned_varint(count);
        bytes.extend(varint.finish());
    } else {
        bytes.extend(count.to_be_bytes());
    }
    let element = [[0, 0, 0, 0], [1, 1, 0, 1], [0, 1, 0, 0], [0xff; 4]][random.random_range(0..4)];
    let length = random.random_range(1..=4);
    bytes.extend(element[..length].repeat(random.random_range(1..1 << 16)));
    bytes
}

/// True if it is an error.
fn attempt(decoder: &Decoder, version: i16, bytes: &[u8]) -> bool {
    let (error, taken) = measure(|| (decoder.decode)(bytes, version));
    assert!(
        taken.peak_bytes <= FACTOR * bytes.len() + SLACK,
        "{} version {version} took {} bytes for {}",
        decoder.name,
        taken.peak_bytes,
        bytes.len()
    );
    if let Some(error) = &error {
        assert!(!error.contains('\n'), "one line: {error}");
    }
    // A stranger's first bytes are read as a header, whatever they are.
    let (header, taken) = measure(|| RequestHeader::decode(bytes).is_ok());
    assert!(
        taken.peak_bytes <= SLACK,
        "a header took {} bytes",
        taken.peak_bytes
    );
    error.is_some() || !header
}
