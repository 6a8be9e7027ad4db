use super::{Status, is_on, place_of_mariadb, status_of};
use crate::gtid::Gtids;
use crate::ledger::Place;

#[test]
fn what_a_promoted_mariadb_hands_on() {
    let cases = [
        ("0-1-5", "", "0-1-5"),
        // Without a log of what it applied, it still has it.
        ("", "0-1-5", "0-1-5"),
        ("0-2-7", "0-1-5", "0-2-7"),
        ("0-1-5,1-1-2", "0-1-5,2-3-9", "0-1-5,1-1-2,2-3-9"),
    ];
    for (binlog, replicated, written) in cases {
        let Some(Place::Gtids { written: found, applied, .. }) = place_of_mariadb(binlog, replicated, true)
        else {
            panic!("{binlog} {replicated}")
        };
        assert_eq!(Some(&*found), Gtids::mariadb(written).as_ref(), "{binlog} {replicated}");
        assert_eq!(Some(&*applied), Gtids::mariadb(replicated).as_ref(), "{binlog} {replicated}");
    }
    assert!(place_of_mariadb("nonsense", "", true).is_none());
}

#[test]
fn several_threads_keep_order_in_one_domain_only() {
    for (replicated, serial, expected) in [
        ("0-1-5", false, true),
        ("0-1-5,7-1-2", false, false),
        ("0-1-5,7-1-2", true, true),
        ("", false, true),
    ] {
        let place = place_of_mariadb("", replicated, serial);
        let Some(Place::Gtids { in_order, .. }) = place else { panic!("{replicated}") };
        assert_eq!(in_order, expected, "{replicated} {serial}");
    }
}

#[test]
fn on_by_any_name() {
    for (value, on) in
        [("0", false), ("1", true), ("ON", true), ("OFF", false), ("", false), ("NO_LOCK", true)]
    {
        assert_eq!(is_on(value), on, "{value}");
    }
}

/// Names and values of one row.
type Columns = Vec<(&'static str, &'static str)>;

/// Columns as `SHOW SLAVE STATUS` and `SHOW REPLICA STATUS` have them, by version.
#[test]
fn the_status_of_replication_by_every_name() {
    let status = |follows, seconds_behind| Status { follows, seconds_behind };
    let old = [("Master_Host", "a"), ("Slave_IO_Running", "Yes"), ("Slave_SQL_Running", "Yes")];
    let new = [("Source_Host", "a"), ("Replica_IO_Running", "Yes"), ("Replica_SQL_Running", "Yes")];
    let stopped = [("Slave_IO_Running", "No"), ("Slave_SQL_Running", "No")];
    let half = [("Replica_IO_Running", "No"), ("Replica_SQL_Running", "Yes")];
    let connecting = [("Slave_IO_Running", "Connecting"), ("Slave_SQL_Running", "No")];
    let behind =
        |columns: &[(&'static str, &'static str)], name, seconds| [columns, &[(name, seconds)]].concat();
    let cases: [(&str, Vec<Columns>, Status); 9] = [
        ("a primary", vec![], status(false, None)),
        ("5.7 and 8.0.21", vec![behind(&old, "Seconds_Behind_Master", "3")], status(true, Some(3))),
        ("8.0.22, 8.4 and 9", vec![behind(&new, "Seconds_Behind_Source", "3")], status(true, Some(3))),
        ("a replica that does not know", vec![new.to_vec()], status(true, None)),
        ("stopped, 8.0.21", vec![stopped.to_vec()], status(false, None)),
        ("half stopped, 8.4", vec![half.to_vec()], status(true, None)),
        ("without its primary", vec![connecting.to_vec()], status(true, None)),
        ("no number", vec![behind(&old, "Seconds_Behind_Master", "NULL")], status(true, None)),
        (
            "two sources of MariaDB",
            vec![behind(&stopped, "Seconds_Behind_Master", "0"), behind(&old, "Seconds_Behind_Master", "7")],
            status(true, Some(7)),
        ),
    ];
    for (what, rows, expected) in cases {
        let column = |row: &[(&str, &str)], name: &str| {
            row.iter().find(|(have, _)| *have == name).map(|(_, value)| (*value).to_owned())
        };
        let found = status_of(rows.iter().map(|row| |name: &str| column(row, name)));
        assert_eq!(found, expected, "{what}");
    }
}
