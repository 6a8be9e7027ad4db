//! Listens to one operator and answers.

use super::commands::{self, Command, Show};
use super::show::row;
use super::{Console, config_rows, own, shapes, show, sockets};
use crate::session::Slot;
use crate::session::wire::{AHEAD_MAX, Client};
use protocol::answer::{Answer, Column, Columns, Kind};
use protocol::fault::Cause;
use protocol::served::{Served, Step};
use protocol::{Fault, Protocol, Severity};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
/// The columns of `SELECT 1`.
const ONE: &[Column] = &[Column::of("?column?", Kind::Int4)];

/// How one operator is to be treated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner<'a> {
    /// Who it is.
    pub(crate) user: &'a str,
    /// Whether its tools expect the columns of PgBouncer 1.7, as Debian's exporter does.
    pub(crate) old: bool,
    /// What was agreed on with it, as in a `Greeting`.
    pub(crate) abilities: u64,
}

/// Serves an operator until one of both goes.
///
/// # Errors
/// Those of the socket.
pub(crate) async fn serve<P: Protocol>(
    console: &Console,
    mut client: Client,
    slot: &Slot<P>,
    manner: Manner<'_>,
) -> io::Result<()> {
    let describe = |text: &str| describe(text, manner);
    slot.adopt().await;
    let mut served = P::Served::new(manner.abilities);
    loop {
        let step = match served.feed(&client.inbox, &describe, client.outbox.space()) {
            Ok((used, step)) => {
                client.consume(used);
                step
            }
            Err(fault) => return say_goodbye::<P>(&mut client, &mut served, &fault).await,
        };
        match step {
            Step::Bye => return Ok(()),
            Step::More => {
                client.flush().await?;
                if client.ended {
                    return Ok(());
                }
                if let Some(fault) = poll_fn(|cx| poll_next(cx, &mut client, slot)).await? {
                    return say_goodbye::<P>(&mut client, &mut served, &fault).await;
                }
            }
            Step::Run(text) => {
                let (answers, fault) = {
                    let mut running = pin!(run(console, &text, manner));
                    let outcome = poll_fn(|cx| match running.as_mut().poll(cx) {
                        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                        Poll::Pending => poll_interrupted(cx, &mut client, slot).map(|()| None),
                    });
                    outcome.await.unwrap_or_else(|| (Vec::new(), Some(interrupted())))
                };
                if let Some(fault) = fault.as_ref().filter(|fault| fault.severity == Severity::Fatal) {
                    return say_goodbye::<P>(&mut client, &mut served, fault).await;
                }
                served.ran(answers, fault.as_ref(), client.outbox.space());
            }
        }
    }
}

/// Waits for what the operator says next, or why it should say no more.
fn poll_next<P: Protocol>(
    cx: &mut Context<'_>,
    client: &mut Client,
    slot: &Slot<P>,
) -> Poll<io::Result<Option<Fault>>> {
    if let Some(fault) = slot.last_word(|| true) {
        return Poll::Ready(Ok(Some(fault)));
    }
    // A cancel that comes while nothing runs means nothing.
    slot.is_canceled();
    client.poll_receive(cx).map(|received| received.map(|_| None))
}

/// Ready when the operator cancels what it waits for, or goes.
fn poll_interrupted<P: Protocol>(cx: &mut Context<'_>, client: &mut Client, slot: &Slot<P>) -> Poll<()> {
    if slot.is_canceled() || slot.is_killed() || slot.is_stopping() || client.ended {
        return Poll::Ready(());
    }
    while client.inbox.len() < AHEAD_MAX {
        match client.poll_receive(cx) {
            Poll::Ready(Ok(read)) if read > 0 => {}
            Poll::Ready(_) => return Poll::Ready(()),
            Poll::Pending => break,
        }
    }
    Poll::Pending
}

fn interrupted() -> Fault {
    Fault::error(Cause::Canceled, "canceling the command due to user request")
}

async fn say_goodbye<P: Protocol>(
    client: &mut Client,
    served: &mut P::Served,
    fault: &Fault,
) -> io::Result<()> {
    served.refuse(fault, client.outbox.space());
    client.flush().await?;
    tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await
}

/// The columns that a text will have.
fn describe(text: &str, manner: Manner<'_>) -> Result<Option<Columns>, Fault> {
    let mut all = commands::read(text)?;
    if all.len() > 1 {
        return Err(Fault::error(Cause::Syntax, "cannot run multiple commands here, only one"));
    }
    Ok(all.pop().and_then(|(_, command)| match command {
        Command::Show(show) if manner.old => shapes::columns(show.of_old()).map(Into::into),
        Command::Show(show) => shapes::columns(show).map(Into::into),
        Command::Fake(columns, _) => Some(columns.into()),
        Command::One => Some(ONE.into()),
        Command::Select(select) => Some(select.columns().into()),
        _ => None,
    }))
}

/// Runs a text: the answers up to the first statement that fails, and what that one failed with.
async fn run(console: &Console, text: &str, manner: Manner<'_>) -> (Vec<Answer>, Option<Fault>) {
    let mut answers = Vec::new();
    let commands = match commands::read(text) {
        Ok(commands) => commands,
        Err(fault) => return (answers, Some(fault)),
    };
    for (needs, command) in commands {
        // Asked each time: a reload may have taken the right away.
        let allowed = console.right(manner.user).and_then(|right| commands::allow(right, needs));
        let outcome = match (allowed, command) {
            (Ok(()), Command::Show(show)) if manner.old => Ok(shown(console, show.of_old())),
            (Ok(()), command) => answer(console, command, manner.user).await,
            (Err(refusal), _) => Err(refusal),
        };
        match outcome {
            Ok(answer) => answers.push(answer),
            Err(fault) => return (answers, Some(fault)),
        }
    }
    (answers, None)
}

async fn answer(console: &Console, command: Command, user: &str) -> Result<Answer, Fault> {
    match command {
        Command::Show(show) => Ok(shown(console, show)),
        Command::Fake(columns, value) => Ok(Answer::table(columns, vec![row![value]])),
        Command::One => Ok(Answer { tag: "SELECT 1".to_owned(), ..Answer::table(ONE, vec![row![1_u32]]) }),
        Command::Select(select) => {
            let rows = select.table().map(|table| table.rows(&console.facts()));
            let rows = select.run(rows.unwrap_or_default(), user);
            Ok(Answer { tag: format!("SELECT {}", rows.len()), ..Answer::table(select.columns(), rows) })
        }
        Command::Use(name) if super::is_known_as(&name) => Ok(Answer::done("USE")),
        Command::Use(name) => {
            Err(Fault::error(Cause::UnknownDatabase, format!("the console has no schema \"{name}\"")))
        }
        Command::Ignored("SET") => Ok(Answer::done("SET").notice("SET ignored")),
        Command::Ignored(tag) => Ok(Answer::done(tag)),
        command => {
            tracing::info!(user, command = command.name(), "console");
            Box::pin(console.carry_out(command)).await
        }
    }
}

fn shown(console: &Console, show: Show) -> Answer {
    let Some(columns) = shapes::columns(show) else {
        return Answer::done("SHOW").notice(commands::help());
    };
    let facts = console.facts();
    let rows = show::rows(show, &facts)
        .or_else(|| sockets::rows(show, &facts))
        .or_else(|| own::rows(show, &facts))
        .unwrap_or_else(|| config_rows::rows(&facts.snapshot));
    Answer::table(columns, rows)
}
