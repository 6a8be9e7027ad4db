//! Why a statement goes where it goes: the words of metrics and logs.
//!
//! One list for the whole way of a decision, so that a counter per reason is an array. Reasons that only the
//! session can know (a pin, a fence, lag) are named here too but never given by this crate.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a statement goes where it goes.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason, in the order of [`Reason::index`].
            pub const ALL: [Self; [$(Self::$name),*].len()] = [$(Self::$name),*];

            /// The reason's name in metrics and logs.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

reasons! {
    /// There is no statement in the text.
    Empty = "empty",
    /// Provably a read.
    Read = "read",
    /// Changes data, or is not on any list of reads.
    Write = "write",
    /// `BEGIN`, `COMMIT`, `SAVEPOINT` and the like.
    TransactionControl = "transaction_control",
    /// A transaction is open and its backend is bound.
    Transaction = "transaction",
    /// A transaction that began `READ ONLY`.
    ReadOnlyTransaction = "read_only_transaction",
    /// The session keeps its backend.
    Pinned = "pinned",
    /// The operator's rule.
    Rule = "rule",
    /// A hint in a comment.
    Hint = "hint",
    /// `FOR UPDATE` and its kin.
    Locking = "locking",
    /// `SELECT .. INTO` creates a table.
    SelectInto = "select_into",
    /// Data-modifying words inside a query, as in `WITH x AS (DELETE ..)`.
    WriteInQuery = "write_in_query",
    /// A function nobody knows.
    UnknownFunction = "unknown_function",
    /// A function that may write.
    VolatileFunction = "volatile_function",
    /// A built-in function with effects: sequences, large objects, WAL, statistics.
    SideEffect = "side_effect",
    /// A lock by key, which a replica would grant silently.
    AdvisoryLock = "advisory_lock",
    /// A question about the primary's own state.
    ServerState = "server_state",
    /// An operator that is unknown or whose function may write.
    UnsafeOperator = "unsafe_operator",
    /// A view over a volatile function, a foreign, unlogged or temporary table.
    UnsafeRelation = "unsafe_relation",
    /// Names a temporary object.
    Temporary = "temporary",
    /// Nobody could read the text.
    Unparseable = "unparseable",
    /// Longer than the limit.
    TooLong = "too_long",
    /// More tokens, or deeper, than the limit.
    TooComplex = "too_complex",
    /// Several statements of different kinds.
    MultiStatement = "multi_statement",
    /// Reads or changes the state of the session.
    Session = "session",
    /// Assigns a user variable (MySQL).
    UserVariable = "user_variable",
    /// Asks what the statement before it left, such as `LAST_INSERT_ID()` (MySQL).
    LastResult = "last_result",
    /// A cursor of SQL.
    Cursor = "cursor",
    /// A prepared statement of SQL.
    SqlPrepared = "sql_prepared",
    /// `COPY` into a table, or to the server's files.
    Copy = "copy",
    /// Creates, alters or drops.
    Ddl = "ddl",
    /// `VACUUM`, `REINDEX`, `CHECKPOINT` and the like.
    Maintenance = "maintenance",
    /// `DO` and `CALL`.
    Procedure = "procedure",
    /// `LISTEN` and `NOTIFY`.
    Notify = "notify",
    /// A replica refused this text before.
    Learned = "learned",
    /// Quotes may not mean what they seem to.
    UntrustedLexing = "untrusted_lexing",
    /// No replica has replayed this session's own write yet.
    Fence = "fence",
    /// No replica is as far as what this session has already seen.
    Monotonic = "monotonic",
    /// Every replica is too far behind.
    Lag = "lag",
    /// There is no replica to ask.
    NoReplica = "no_replica",
    /// Strong consistency or serializable isolation.
    Consistency = "consistency",
    /// A replica refused it as a write, before a byte of its reply went out.
    SecondChance = "second_chance",
    /// The request is too large to be judged whole.
    LargeRequest = "large_request",
}

impl Reason {
    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The position in [`Reason::ALL`], for arrays of counters.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
