//! Where databases list their collations by number. What is looked up there is looked up by the database itself.

/// The table, and its column with the name by which a collation is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collations {
    table: &'static str,
    column: &'static str,
}

impl Collations {
    /// From the version that a database announces. MariaDB has collations for several character sets from 10.10 on:
    /// those have numbers and whole names in another table.
    pub fn of(version: &str) -> Self {
        let mut parts = version.strip_prefix("5.5.5-").unwrap_or(version).split('.');
        let mut number = || parts.next().and_then(|part| part.parse::<u32>().ok()).unwrap_or(0);
        if version.contains("MariaDB") && (number(), number()) >= (10, 10) {
            Self { table: "COLLATION_CHARACTER_SET_APPLICABILITY", column: "FULL_COLLATION_NAME" }
        } else {
            Self { table: "COLLATIONS", column: "COLLATION_NAME" }
        }
    }

    /// The variables that a client's collation stands for, with expressions for their values. A client names it by
    /// number, which may be one of a newer database: like a database we fall back to the default then.
    pub fn values(self, id: &str) -> [(&'static str, String); 3] {
        let id: u32 = id.parse().unwrap_or(0);
        let Self { table, column } = self;
        let known = |column: &str, default: &str| {
            format!(
                "COALESCE((SELECT {column} FROM information_schema.{table} WHERE ID = {id} LIMIT 1), @@global.{default})"
            )
        };
        [
            ("character_set_client", known("CHARACTER_SET_NAME", "character_set_client")),
            ("character_set_results", known("CHARACTER_SET_NAME", "character_set_results")),
            ("collation_connection", known(column, "collation_connection")),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_version() {
        for (version, whole) in [
            ("8.0.36", false),
            ("9.7.0-commercial", false),
            ("5.5.5-10.4.34-MariaDB-log", false),
            ("10.9.8-MariaDB", false),
            ("10.10.1-MariaDB", true),
            ("5.5.5-10.11.6-MariaDB-0+deb12u1", true),
            ("11.4.2-MariaDB-ubu2404", true),
            ("MariaDB", false),
        ] {
            assert_eq!(Collations::of(version).column == "FULL_COLLATION_NAME", whole, "{version}");
        }
    }
}
