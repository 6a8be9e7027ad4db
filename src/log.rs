//! Log lines to stderr: how they look and which are written, both of which a reload may change.

use crate::config::{self, LogFormat, LogLevel};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

type Filtered = Layered<reload::Layer<LevelFilter, Registry>, Registry>;
type Writer = Box<dyn Layer<Filtered> + Send + Sync>;

/// The process's log.
pub struct Log {
    level: reload::Handle<LevelFilter, Registry>,
    writer: reload::Handle<Writer, Filtered>,
}

impl Log {
    /// Begins to write. Only the first in a process is heard.
    pub fn start(config: &config::Log) -> Self {
        let (filter, level) = reload::Layer::new(level(config.level));
        let (writing, writer) = reload::Layer::new(writer(config.format));
        // Fails where another is heard already.
        let _ = tracing_subscriber::registry().with(filter).with(writing).try_init();
        Self { level, writer }
    }

    /// Goes on as another configuration says.
    pub fn apply(&self, config: &config::Log) {
        // Fails only if nobody writes any more.
        let _ = self.level.reload(level(config.level));
        let _ = self.writer.reload(writer(config.format));
    }
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

fn writer(format: LogFormat) -> Writer {
    let to = fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => to.with_target(false).with_ansi(false).boxed(),
        LogFormat::Json => to.json().flatten_event(true).boxed(),
    }
}
