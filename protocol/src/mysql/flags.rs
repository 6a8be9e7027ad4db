//! Capability flags, status flags, commands: numbers of the protocol.
//!
//! "Capabilities Flags", "SERVER_STATUS_flags_enum", "Command Phase".

/// What two sides agree on when a connection begins; the upper half is MariaDB's alone.
pub mod capability {
    pub const LONG_PASSWORD: u64 = 1;
    pub const FOUND_ROWS: u64 = 1 << 1;
    pub const LONG_FLAG: u64 = 1 << 2;
    pub const CONNECT_WITH_DB: u64 = 1 << 3;
    pub const NO_SCHEMA: u64 = 1 << 4;
    pub const ODBC: u64 = 1 << 6;
    pub const COMPRESS: u64 = 1 << 5;
    pub const LOCAL_FILES: u64 = 1 << 7;
    pub const IGNORE_SPACE: u64 = 1 << 8;
    pub const PROTOCOL_41: u64 = 1 << 9;
    pub const INTERACTIVE: u64 = 1 << 10;
    pub const SSL: u64 = 1 << 11;
    pub const TRANSACTIONS: u64 = 1 << 13;
    pub const SECURE_CONNECTION: u64 = 1 << 15;
    pub const MULTI_STATEMENTS: u64 = 1 << 16;
    pub const MULTI_RESULTS: u64 = 1 << 17;
    pub const PS_MULTI_RESULTS: u64 = 1 << 18;
    pub const PLUGIN_AUTH: u64 = 1 << 19;
    pub const CONNECT_ATTRS: u64 = 1 << 20;
    pub const PLUGIN_AUTH_LENENC: u64 = 1 << 21;
    pub const SESSION_TRACK: u64 = 1 << 23;
    pub const DEPRECATE_EOF: u64 = 1 << 24;
    pub const ZSTD: u64 = 1 << 26;
    pub const QUERY_ATTRIBUTES: u64 = 1 << 27;
    /// MariaDB's own. Those from here on go in a place apart, where the lowest bit is not set.
    ///
    /// CACHE_METADATA (bit 36) is not among them and is never agreed on: with it a database leaves the definitions of
    /// columns out of the reply to an EXECUTE if they are those that it sent last for this statement on this
    /// connection. Here another client may have been given those, and who has not would read rows by what it was told
    /// before a table changed. Definitions are always sent instead.
    pub const PROGRESS: u64 = 1 << 32;
    /// STMT_BULK_OPERATIONS.
    pub const BULK: u64 = 1 << 34;
    /// One more text in each definition of a column.
    pub const EXTENDED_METADATA: u64 = 1 << 35;

    /// Those that change what statements mean or how they or replies are written, so that a client
    /// can only be served by a backend that agreed on the same.
    pub const FLAVOUR: u64 = FOUND_ROWS
        | NO_SCHEMA
        | LOCAL_FILES
        | IGNORE_SPACE
        | MULTI_RESULTS
        | PS_MULTI_RESULTS
        | DEPRECATE_EOF
        | QUERY_ATTRIBUTES
        | PROGRESS
        | BULK
        | EXTENDED_METADATA;

    /// Those of them that every database has.
    pub const FLAVOUR_OF_ALL: u64 = FLAVOUR & !QUERY_ATTRIBUTES & !PROGRESS & !BULK & !EXTENDED_METADATA;

    /// Those that have no bearing on a backend: both sides may differ.
    pub const OURS: u64 = LONG_PASSWORD
        | LONG_FLAG
        | CONNECT_WITH_DB
        | COMPRESS
        | ODBC
        | PROTOCOL_41
        | INTERACTIVE
        | TRANSACTIONS
        | SECURE_CONNECTION
        | MULTI_STATEMENTS
        | PLUGIN_AUTH
        | CONNECT_ATTRS
        | PLUGIN_AUTH_LENENC
        | SESSION_TRACK
        | ZSTD;
}

/// What a reply says of the session.
pub mod status {
    pub const IN_TRANSACTION: u16 = 1;
    pub const AUTOCOMMIT: u16 = 1 << 1;
    pub const MORE_RESULTS: u16 = 1 << 3;
    pub const CURSOR_EXISTS: u16 = 1 << 6;
    pub const LAST_ROW_SENT: u16 = 1 << 7;
    pub const OUT_PARAMETERS: u16 = 1 << 12;
    pub const READ_ONLY_TRANSACTION: u16 = 1 << 13;
    pub const STATE_CHANGED: u16 = 1 << 14;
}

/// The first byte of a request.
pub mod command {
    pub const QUIT: u8 = 0x01;
    pub const INIT_DB: u8 = 0x02;
    pub const QUERY: u8 = 0x03;
    pub const FIELD_LIST: u8 = 0x04;
    /// FLUSH, in MariaDB and in MySQL up to 8.
    pub const REFRESH: u8 = 0x07;
    pub const STATISTICS: u8 = 0x09;
    pub const PROCESS_KILL: u8 = 0x0c;
    pub const PING: u8 = 0x0e;
    pub const CHANGE_USER: u8 = 0x11;
    pub const STMT_PREPARE: u8 = 0x16;
    pub const STMT_EXECUTE: u8 = 0x17;
    pub const STMT_SEND_LONG_DATA: u8 = 0x18;
    pub const STMT_CLOSE: u8 = 0x19;
    pub const STMT_RESET: u8 = 0x1a;
    pub const SET_OPTION: u8 = 0x1b;
    pub const STMT_FETCH: u8 = 0x1c;
    pub const RESET_CONNECTION: u8 = 0x1f;
    pub const STMT_BULK_EXECUTE: u8 = 0xfa;
}

/// How a packet of a reply begins.
pub mod mark {
    pub const OK: u8 = 0x00;
    pub const MORE_DATA: u8 = 0x01;
    pub const LOCAL_FILE: u8 = 0xfb;
    pub const EOF: u8 = 0xfe;
    pub const ERROR: u8 = 0xff;
    /// How a report of progress begins, which is an ERR packet with a code that no error has.
    pub const PROGRESS: [u8; 3] = [ERROR, 0xff, 0xff];
}
