//! Errors as a client of either database may see them: one table of codes and severities.
//!
//! The sentences are written by hand where a fault is made, never taken from an inner
//! error, and say which side failed. They hold no host, no password, no statement.

use std::borrow::Cow;

/// Whether the session goes on after a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed, the session goes on.
    Error,
    /// The session ends.
    Fatal,
}

/// What went wrong, by cause. Each has one code in each database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// No backend came free in time, or there are too many clients.
    TooManyConnections,
    /// No endpoint that could serve this is up.
    NoBackend,
    /// The backend was lost while a statement ran on it.
    BackendLost,
    /// A commit, or a write of its own transaction, was sent and its answer was lost.
    OutcomeUnknown,
    /// The backend said something that its protocol does not allow.
    BackendNonsense,
    /// Splitpool is shutting down.
    Shutdown,
    /// The password is wrong, or the user is not known: not to be told apart.
    WrongPassword,
    /// This way to sign in is not allowed.
    NotAllowed,
    /// The database is not known.
    UnknownDatabase,
    /// The client broke the protocol.
    ProtocolViolation,
    /// Splitpool cannot do this.
    NotSupported,
    /// The client took too long.
    Timeout,
    /// The statement was cancelled by its client.
    Canceled,
    /// A value or parameter is not valid.
    InvalidParameter,
    /// The text is no statement that is known.
    Syntax,
    /// Who asks may not do this.
    NotPermitted,
    /// It cannot be done as things stand.
    WrongState,
    /// The configuration that this would lead to has mistakes.
    BadConfiguration,
    /// There is no table of this name.
    UnknownTable,
    /// Nor a column.
    UnknownColumn,
    /// The prepared statement does not exist.
    UnknownStatement,
    /// Something is kept already as often as it may be.
    TooMany,
    /// The administrator ended the session.
    Terminated,
    /// A fault of Splitpool itself.
    Internal,
}

impl Cause {
    /// The PostgreSQL SQLSTATE.
    pub const fn sqlstate(self) -> &'static str {
        match self {
            Self::TooManyConnections => "53300",
            Self::NoBackend | Self::BackendLost => "08006",
            Self::OutcomeUnknown => "08007",
            Self::BackendNonsense | Self::ProtocolViolation => "08P01",
            Self::Shutdown | Self::Terminated => "57P01",
            Self::WrongPassword => "28P01",
            Self::NotAllowed => "28000",
            Self::UnknownDatabase => "3D000",
            Self::NotSupported => "0A000",
            Self::Timeout => "57014",
            Self::Canceled => "57014",
            Self::InvalidParameter => "22023",
            Self::Syntax => "42601",
            Self::NotPermitted => "42501",
            Self::WrongState => "55000",
            Self::BadConfiguration => "F0000",
            Self::UnknownTable => "42P01",
            Self::UnknownColumn => "42703",
            Self::UnknownStatement => "26000",
            Self::TooMany => "54000",
            Self::Internal => "XX000",
        }
    }
}

/// One error for one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Whether the session goes on.
    pub severity: Severity,
    /// What went wrong.
    pub cause: Cause,
    /// The database's own code, where this fault passes on an error of the database.
    pub code: Option<String>,
    /// The sentence for the client.
    pub message: Cow<'static, str>,
    /// What the client may do about it.
    pub hint: Option<Cow<'static, str>>,
}

impl Fault {
    /// A fault of one statement.
    pub fn error(cause: Cause, message: impl Into<Cow<'static, str>>) -> Self {
        Self { severity: Severity::Error, cause, code: None, message: message.into(), hint: None }
    }

    /// A fault that ends the session.
    pub fn fatal(cause: Cause, message: impl Into<Cow<'static, str>>) -> Self {
        Self { severity: Severity::Fatal, ..Self::error(cause, message) }
    }

    /// The same fault with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same fault under a code that the database gave.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// The SQLSTATE that a PostgreSQL client is told.
    pub fn sqlstate(&self) -> &str {
        self.code.as_deref().unwrap_or(self.cause.sqlstate())
    }
}

impl From<crate::ProtocolError> for Fault {
    fn from(error: crate::ProtocolError) -> Self {
        Self::fatal(Cause::ProtocolViolation, error.0)
    }
}
