//! One probe per database: asks an endpoint what it is and how far it has come.
//!
//! A probe signs in with a library of its own, as a role without privileges, and asks one
//! question. It judges nothing.

pub(crate) mod mysql;
pub(crate) mod postgres;

use crate::board::Sample;
use crate::dial::Route;
use crate::net::Address;
use crate::settings::{Engine, ProbeUser};
use protocol::Gtid;
use std::io;
use std::time::Duration;

/// A signed-in connection that is asked over and over.
pub(crate) enum Control {
    Postgres(Box<postgres::Control>),
    Mysql(Box<mysql::Control>),
}

impl Control {
    /// Connects and signs in.
    pub async fn open(
        engine: Engine,
        address: &Address,
        route: &Route,
        user: &ProbeUser,
    ) -> io::Result<Self> {
        Ok(match engine {
            Engine::Postgres => {
                Self::Postgres(Box::new(postgres::Control::open(address, route, user).await?))
            }
            Engine::Mysql => Self::Mysql(Box::new(mysql::Control::open(address, route, user).await?)),
        })
    }

    /// Whether it can be asked to answer no sooner than it has a transaction.
    pub fn awaits(&self) -> bool {
        matches!(self, Self::Mysql(control) if control.awaits())
    }

    /// Asks once. Where it `awaits`, the answer comes as soon as it has the transaction, and after `most` at the latest.
    pub async fn sample(&mut self, awaited: Option<Gtid>, most: Duration) -> io::Result<Sample> {
        match self {
            Self::Postgres(control) => control.sample().await,
            Self::Mysql(control) => control.sample(awaited.as_ref().map(|gtid| (gtid, most))).await,
        }
    }

    /// Ends when the endpoint closes the connection, if the library can tell without asking.
    pub async fn closed(&mut self) -> io::Error {
        match self {
            Self::Postgres(control) => control.closed().await,
            Self::Mysql(_) => std::future::pending().await,
        }
    }
}
