//! The command line: flags, the runtime, the exit code. Nothing else.

use clap::{Parser, Subcommand};
use splitpool::config;
use std::path::PathBuf;
use std::process::ExitCode;

/// A read/write-splitting, connection-pooling proxy for PostgreSQL, MySQL and MariaDB.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  splitpool --config splitpool.toml\n  splitpool check --config splitpool.toml\n  splitpool route --config splitpool.toml \"SELECT now()\""
)]
struct Arguments {
    /// The configuration file.
    #[arg(long, short, global = true, default_value = "splitpool.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Check the configuration: exit 0, or 1 with every mistake.
    Check,
    /// Ask a running process how it is: exit 0, or 1 with what it says. For images without a shell.
    Healthcheck {
        /// Where it serves HTTP (host:port); without it `listen.http` of the configuration.
        #[arg(long)]
        address: Option<config::Address>,
        /// Ask only whether it runs, not whether it can serve clients.
        #[arg(long)]
        live: bool,
    },
    /// Print the configuration reference: every key with what it takes and its default.
    Reference,
    /// Print a configuration of Splitpool for one of PgBouncer, and what does not carry over.
    Import {
        /// The pgbouncer.ini.
        file: PathBuf,
    },
    /// Explain where a statement goes, without connecting to anything.
    Route {
        /// The statement.
        sql: String,
        /// The cluster whose rules apply; needed only if there are several.
        #[arg(long)]
        cluster: Option<String>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        None => splitpool::program::run(&arguments.config),
        Some(Command::Check) => check(&arguments.config),
        Some(Command::Healthcheck { address, live }) => healthcheck(&arguments.config, address, live),
        Some(Command::Reference) => {
            print!("{}", config::reference());
            ExitCode::SUCCESS
        }
        Some(Command::Import { file }) => import(&file),
        Some(Command::Route { sql, cluster }) => route(&arguments.config, &sql, cluster.as_deref()),
    }
}

fn check(path: &std::path::Path) -> ExitCode {
    let checked = config::load(path).map_err(|mistakes| mistakes.to_string()).and_then(|snapshot| {
        splitpool::program::try_out(&snapshot).map_err(|error| format!("{}: {error}", path.display()))
    });
    tell(checked.map(|()| format!("{}: ok\n", path.display())))
}

fn healthcheck(path: &std::path::Path, address: Option<config::Address>, live: bool) -> ExitCode {
    let configured = || {
        let found = config::http_address(path).map_err(|error| format!("{}: {error}", path.display()))?;
        found.ok_or_else(|| format!("{}: listen.http is not set", path.display()))
    };
    let asked = address.map_or_else(configured, Ok).and_then(|address| match address {
        config::Address::Tcp { host, port } => {
            splitpool::healthcheck::ask(&host, port, if live { "/live" } else { "/ready" })
        }
        config::Address::Unix(_) => Err("HTTP is served on TCP".to_owned()),
    });
    tell(asked.map(|said| said + "\n"))
}

fn import(path: &std::path::Path) -> ExitCode {
    tell(splitpool::import::pgbouncer(path))
}

fn route(path: &std::path::Path, sql: &str, cluster: Option<&str>) -> ExitCode {
    let explained = config::load(path)
        .map_err(|mistakes| mistakes.to_string())
        .and_then(|snapshot| splitpool::explain::explain(&snapshot, cluster, sql));
    tell(explained)
}

/// Prints what a command found out, or why it did not.
fn tell(outcome: Result<String, impl std::fmt::Display>) -> ExitCode {
    match outcome {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
