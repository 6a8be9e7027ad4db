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
use std::io;

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

    /// Asks once.
    pub async fn sample(&mut self) -> io::Result<Sample> {
        match self {
            Self::Postgres(control) => control.sample().await,
            Self::Mysql(control) => control.sample().await,
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
