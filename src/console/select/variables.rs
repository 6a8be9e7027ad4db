//! What drivers and shells of MySQL ask of a session when it begins, as far as the console has it. Values only.

use super::Item;
use protocol::answer::Cell;

/// The value of a system variable; `None` if the console has none of this name.
pub(super) fn variable(name: &str) -> Option<Cell> {
    Some(match name {
        "auto_increment_increment" | "autocommit" | "lower_case_table_names" => Cell::Int(1),
        "character_set_client"
        | "character_set_connection"
        | "character_set_database"
        | "character_set_results"
        | "character_set_server" => Cell::from("utf8mb4"),
        "collation_connection" | "collation_database" | "collation_server" => {
            Cell::from("utf8mb4_general_ci")
        }
        "init_connect" | "sql_mode" => Cell::from(""),
        // Nobody is sent away for being idle: the longest time that MySQL knows.
        "interactive_timeout" | "net_read_timeout" | "net_write_timeout" | "wait_timeout" => {
            Cell::Int(31_536_000)
        }
        "license" => Cell::from("Apache-2.0 OR MIT"),
        "max_allowed_packet" => Cell::Int(65_536),
        "performance_schema" | "query_cache_size" | "query_cache_type" => Cell::Int(0),
        "system_time_zone" => Cell::from("UTC"),
        "time_zone" => Cell::from("+00:00"),
        "transaction_isolation" | "tx_isolation" => Cell::from("READ-COMMITTED"),
        "version" => Cell::from(crate::console::show::version()),
        "version_comment" => Cell::from(concat!("Splitpool ", env!("CARGO_PKG_VERSION"))),
        _ => return None,
    })
}

/// What a function without arguments gives; `None` if the console has none of this name.
pub(super) fn function(name: &str) -> Option<Item> {
    Some(match name {
        "current_user" | "session_user" | "system_user" | "user" => Item::User,
        // Whichever of its names the client came by.
        "database" | "schema" => Item::Value(Cell::from(crate::console::NAME)),
        "version" => Item::Value(variable("version")?),
        _ => return None,
    })
}
