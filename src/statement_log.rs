//! The statement log: slow statements, and some of the others, a line each.
//!
//! A session hands a record over and goes on; a thread writes. What it cannot take is dropped and counted. A file is
//! opened anew for each lot of lines, so it may be moved away at any time. Lines hold digests: what a client sent
//! itself only if the configuration asks for that.

mod line;

use crate::config::{StatementLog as Config, StatementTarget};
use crate::metrics::Metrics;
use router::Reason;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::SystemTime;

/// Records that wait for the thread.
const WAITING_MAX: usize = 1024;

/// Records that are written at once.
const LOT_MAX: usize = 256;

/// Why a statement is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// It took long.
    Slow,
    /// It was drawn.
    Sampled,
}

impl Because {
    /// Its name in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Sampled => "sample",
        }
    }
}

/// What a line tells.
#[derive(Debug, Clone)]
pub struct Record {
    pub(crate) at: SystemTime,
    pub(crate) because: Because,
    pub(crate) user: String,
    pub(crate) cluster: String,
    pub(crate) database: String,
    pub(crate) client: String,
    pub(crate) on_primary: bool,
    pub(crate) endpoint: String,
    pub(crate) reason: Reason,
    /// Of the transaction behind it: `idle`, `open` or `failed`.
    pub(crate) transaction: &'static str,
    pub(crate) micros: u32,
    pub(crate) statements: u32,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// SQLSTATE or errno.
    pub(crate) error: Option<String>,
    pub(crate) trace: Option<[u8; 16]>,
    pub(crate) digest: u64,
    /// The digest, or what the client sent where that is asked for.
    pub(crate) text: String,
}

/// See the file's head.
pub struct StatementLog {
    config: Config,
    sender: SyncSender<Record>,
    metrics: Arc<Metrics>,
}

impl StatementLog {
    /// Starts a thread that ends when the log is dropped. `None` if nothing is to be logged; `before` again if it
    /// writes the same.
    pub fn start(config: &Config, before: Option<&Arc<Self>>, metrics: &Arc<Metrics>) -> Option<Arc<Self>> {
        if !config.is_on() {
            return None;
        }
        if let Some(same) = before.filter(|before| before.config == *config) {
            return Some(Arc::clone(same));
        }
        let (sender, records) = sync_channel(WAITING_MAX);
        let writer = Writer { config: config.clone(), metrics: Arc::clone(metrics), failed: false };
        let thread = std::thread::Builder::new().name("statement-log".to_owned());
        if let Err(error) = thread.spawn(move || writer.run(&records)) {
            tracing::error!(%error, "the statement log cannot be written");
            return None;
        }
        Some(Arc::new(Self { config: config.clone(), sender, metrics: Arc::clone(metrics) }))
    }

    /// Whether a statement that took so long is logged, and why. `random` is anything.
    pub fn wants(&self, micros: u32, random: u32) -> Option<Because> {
        if self.config.slow.is_some_and(|slow| u128::from(micros) >= slow.as_micros()) {
            return Some(Because::Slow);
        }
        let every = self.config.sample_every;
        (every > 0 && random.is_multiple_of(every)).then_some(Because::Sampled)
    }

    /// Whether statements are logged as they were sent; of so many bytes at most.
    pub fn literals(&self) -> Option<usize> {
        self.config.literals.then_some(self.config.text_max)
    }

    /// Logs it.
    pub fn log(&self, record: Record) {
        if self.sender.try_send(record).is_err() {
            self.metrics.logged("dropped", 1);
        }
    }
}

/// What the thread has.
struct Writer {
    config: Config,
    metrics: Arc<Metrics>,
    /// The last lot could not be written, which was said.
    failed: bool,
}

impl Writer {
    fn run(mut self, records: &Receiver<Record>) {
        while let Ok(first) = records.recv() {
            let lot: Vec<Record> =
                std::iter::once(first).chain(records.try_iter().take(LOT_MAX - 1)).collect();
            let written = self.write(&lot);
            self.metrics.logged(if written.is_ok() { "written" } else { "failed" }, lot.len());
            if let (Err(error), false) = (&written, self.failed) {
                tracing::error!(%error, "the statement log cannot be written");
            }
            self.failed = written.is_err();
        }
    }

    fn write(&self, lot: &[Record]) -> io::Result<()> {
        let lines = || lot.iter().map(|record| line::line(record, self.config.format)).collect::<String>();
        match &self.config.to {
            StatementTarget::Log => {
                for record in lot {
                    tracing::info!(target: "statement", "{}", line::line(record, self.config.format).trim_end());
                }
                Ok(())
            }
            StatementTarget::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(lines().as_bytes())?;
                out.flush()
            }
            StatementTarget::File(path) => {
                let mut file = OpenOptions::new().create(true).append(true).open(path)?;
                file.write_all(lines().as_bytes())
            }
        }
    }
}
