//! The search: all cores, each with its share of the candidates 0, 1, 2, …
//!
//! What the candidates share is hashed once: whole blocks of a long challenge become a state, the
//! rest a block with padding, in which only the digits change. Threads take chunks of candidates
//! from one counter, so one thread alone finds the first solution.

use std::{
    num::NonZeroUsize,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use sha2::block_api::compress256;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    challenge::Challenge,
    kernel::{Kernel, ZERO},
};

/// Leading zero bits beyond which a search is not begun: 2^40 tries take hours.
pub const WORK_BITS_MAX: u32 = 40;
/// Candidates that differ in their last digit only.
const DECADE: u64 = 10;
/// Decades between two looks at the clock: some milliseconds.
const CHUNK_DECADES: u64 = 2_000;
/// SHA-256's initial state: FIPS 180-4 §5.3.3.
#[rustfmt::skip]
const INITIAL: [u32; 8] = [
    0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a,
    0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19,
];
const BLOCK: usize = 64;
/// The end mark and the length, which follow every message.
const PADDING_BYTES: usize = 9;

/// How long and how hard to search.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Wall time from the call.
    pub wall: Duration,
    /// Threads, one a core.
    pub threads: NonZeroUsize,
}

impl Budget {
    /// All cores, for so long.
    #[must_use]
    pub fn all_cores(wall: Duration) -> Self {
        let threads = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self { wall, threads }
    }
}

/// A candidate that solves the challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Solution {
    /// To be sent as a JSON string.
    pub nonce: String,
    /// Hashes made, by all threads.
    pub hashes: u64,
    /// Time it took.
    pub elapsed: Duration,
}

/// Why there is no solution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsolved {
    /// The budget is used up. A fresh challenge may be luckier.
    #[error("the proof of work was not solved in time; {hashes} hashes were made")]
    TimedOut {
        /// By all threads.
        hashes: u64,
    },
    /// The caller does not want it any more.
    #[error("the proof of work was cancelled")]
    Cancelled,
    /// It would take more than 2^40 tries; nothing was tried.
    #[error("the proof of work demands {bits} zero bits, more than 40: it is beyond reach")]
    Infeasible {
        /// Leading zero bits demanded.
        bits: u32,
    },
}

/// Searches, with the caller's thread waiting.
///
/// With one thread it finds the first solution counting from 0, with more it may be another one.
///
/// # Errors
///
/// [`Unsolved`].
pub fn solve(
    challenge: &Challenge,
    budget: &Budget,
    cancel: &CancellationToken,
) -> Result<Solution, Unsolved> {
    let begun = Instant::now();
    let search = Search::new(challenge, begun.checked_add(budget.wall), cancel)?;
    thread::scope(|scope| {
        let spawn = || thread::Builder::new().name("proof-of-work".into());
        for _ in 1..budget.threads.get() {
            // Fewer threads than wished for are slower, not wrong.
            drop(spawn().spawn_scoped(scope, || search.work()));
        }
        search.work();
    });
    let hashes = search.hashes.load(Ordering::Relaxed);
    let found = search.found.lock().unwrap_or_else(PoisonError::into_inner).take();
    match found {
        Some(nonce) => Ok(Solution { nonce, hashes, elapsed: begun.elapsed() }),
        None if cancel.is_cancelled() => Err(Unsolved::Cancelled),
        None => Err(Unsolved::TimedOut { hashes }),
    }
}

/// Searches on threads of its own. Dropping the future cancels the search.
///
/// # Errors
///
/// [`Unsolved`].
pub async fn solve_async(
    challenge: Challenge,
    budget: Budget,
    cancel: &CancellationToken,
) -> Result<Solution, Unsolved> {
    let token = cancel.child_token();
    let _dropped_with_the_future = token.clone().drop_guard();
    let (sender, receiver) = oneshot::channel();
    let work = move || drop(sender.send(solve(&challenge, &budget, &token)));
    let spawned = thread::Builder::new().name("proof-of-work".into()).spawn(work);
    match spawned {
        Ok(_) => receiver.await.unwrap_or(Err(Unsolved::Cancelled)),
        Err(_) => Err(Unsolved::TimedOut { hashes: 0 }),
    }
}

/// What the threads share.
struct Search<'a> {
    challenge: &'a Challenge,
    ceiling: u32,
    deadline: Option<Instant>,
    cancel: &'a CancellationToken,
    kernel: Option<Kernel>,
    next_chunk: AtomicU64,
    done: AtomicBool,
    hashes: AtomicU64,
    found: Mutex<Option<String>>,
}

impl<'a> Search<'a> {
    fn new(
        challenge: &'a Challenge,
        deadline: Option<Instant>,
        cancel: &'a CancellationToken,
    ) -> Result<Self, Unsolved> {
        let ceiling = challenge.rule.ceiling();
        let zeros = |bits: u32, byte: &u8| bits + byte.leading_zeros();
        let whole = ceiling.iter().take_while(|byte| **byte == 0).fold(0, zeros);
        let partial =
            ceiling.iter().find(|byte| **byte != 0).map_or(0, |byte| byte.leading_zeros());
        let bits = whole + partial;
        if bits > WORK_BITS_MAX {
            return Err(Unsolved::Infeasible { bits });
        }
        let [b0, b1, b2, b3, ..] = ceiling;
        Ok(Self {
            challenge,
            ceiling: u32::from_be_bytes([b0, b1, b2, b3]),
            deadline,
            cancel,
            kernel: Kernel::detect(),
            next_chunk: AtomicU64::new(0),
            done: AtomicBool::new(false),
            hashes: AtomicU64::new(0),
            found: Mutex::new(None),
        })
    }

    fn is_over(&self) -> bool {
        self.done.load(Ordering::Relaxed)
            || self.cancel.is_cancelled()
            || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// One thread's work: chunk after chunk until somebody is done.
    fn work(&self) {
        let prefix = Prefix::new(self.challenge.text.as_bytes());
        while !self.is_over() {
            let chunk = self.next_chunk.fetch_add(1, Ordering::Relaxed);
            let (tried, found) = self.search_chunk(&prefix, chunk * CHUNK_DECADES);
            self.hashes.fetch_add(tried, Ordering::Relaxed);
            if let Some(nonce) = found {
                self.found.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(nonce);
                self.done.store(true, Ordering::Relaxed);
            }
        }
    }

    fn search_chunk(&self, prefix: &Prefix, first: u64) -> (u64, Option<String>) {
        let mut message = Message::new(prefix, first);
        for tried in 1..=CHUNK_DECADES {
            let mut hits = message.scan(&prefix.state, self.ceiling, self.kernel);
            while hits != 0 {
                let digit = hits.trailing_zeros();
                hits &= hits - 1;
                let nonce = ((first + tried - 1) * DECADE + u64::from(digit)).to_string();
                // The scan looked at the first word alone.
                if self.challenge.is_solved_by(&nonce) {
                    return (tried * DECADE, Some(nonce));
                }
            }
            if !message.next_decade() {
                message = Message::new(prefix, first + tried);
            }
        }
        (CHUNK_DECADES * DECADE, None)
    }
}

/// The challenge: what is hashed once, and what is left for the candidates' block.
pub(super) struct Prefix {
    pub(super) state: [u32; 8],
    rest: Vec<u8>,
    bytes: usize,
}

impl Prefix {
    pub(super) fn new(text: &[u8]) -> Self {
        let (blocks, rest) = text.as_chunks::<BLOCK>();
        let mut state = INITIAL;
        compress256(&mut state, blocks);
        Self { state, rest: rest.to_vec(), bytes: text.len() }
    }
}

/// The rest of the challenge, the digits of ten candidates and the padding: one block or two.
pub(super) struct Message {
    bytes: [u8; 2 * BLOCK],
    blocks: usize,
    /// Where the digits begin, and where the last one is.
    begin: usize,
    last: usize,
}

impl Message {
    /// The candidates `10 * decade` and the nine after it.
    pub(super) fn new(prefix: &Prefix, decade: u64) -> Self {
        let digits = if decade == 0 { "0".to_owned() } else { format!("{decade}0") };
        let begin = prefix.rest.len();
        let used = begin + digits.len();
        let blocks = if used + PADDING_BYTES <= BLOCK { 1 } else { 2 };
        let bits = u64::try_from(prefix.bytes + digits.len()).unwrap_or(u64::MAX).wrapping_mul(8);
        let zeros = blocks * BLOCK - used - PADDING_BYTES;
        let content = prefix
            .rest
            .iter()
            .copied()
            .chain(digits.bytes())
            .chain([0x80])
            .chain(std::iter::repeat_n(0, zeros))
            .chain(bits.to_be_bytes());
        let mut bytes = [0; 2 * BLOCK];
        for (byte, value) in bytes.iter_mut().zip(content) {
            *byte = value;
        }
        Self { bytes, blocks, begin, last: used - 1 }
    }

    /// Which of the ten have a digest whose first word is at most `ceiling`, a bit each.
    pub(super) fn scan(&mut self, state: &[u32; 8], ceiling: u32, kernel: Option<Kernel>) -> u16 {
        let (blocks, _) = self.bytes.as_chunks::<BLOCK>();
        match (kernel, blocks.get(..self.blocks)) {
            (Some(kernel), Some(blocks)) => kernel.scan(state, blocks, self.last, ceiling),
            _ => self.scan_plainly(state, ceiling),
        }
    }

    /// The same with the library's function, one after the other.
    pub(super) fn scan_plainly(&mut self, state: &[u32; 8], ceiling: u32) -> u16 {
        let mut found = 0;
        for digit in 0..10_u8 {
            if let Some(byte) = self.bytes.get_mut(self.last) {
                *byte = ZERO + digit;
            }
            let (blocks, _) = self.bytes.as_chunks::<BLOCK>();
            let mut state = *state;
            compress256(&mut state, blocks.get(..self.blocks).unwrap_or_default());
            let [first, ..] = state;
            found |= u16::from(first <= ceiling) << digit;
        }
        found
    }

    /// Counts the digits before the last one up by one; `false` where they become one more.
    pub(super) fn next_decade(&mut self) -> bool {
        let digits = self.bytes.get_mut(self.begin..self.last).unwrap_or_default();
        for digit in digits.iter_mut().rev() {
            if *digit < b'9' {
                *digit += 1;
                return true;
            }
            *digit = ZERO;
        }
        false
    }
}
