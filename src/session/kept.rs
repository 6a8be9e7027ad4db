//! What a session's statements have named that its backend may hold, where the database gives no list of it.
//!
//! Decides only. Tables, locks and variables are asked for by their names, and are kept as long as the database says
//! that they are there. Of SQL's own prepared statements, open handlers and locks on everything no question tells:
//! they are gone when a statement that says so has succeeded. What was left without a name stays to the end.

use protocol::Held;
use protocol::own::{Inspection, Named};
use router::{Effects, Mention};

/// Names that are kept. What has more is kept without names.
const NAMES_MAX: usize = 64;

/// What a statement may leave that is known by its name.
const KINDS: [(Effects, Held); 6] = [
    (Effects::TEMP_TABLE, Held::TEMP_TABLE),
    (Effects::ADVISORY_LOCK, Held::SESSION_LOCK),
    (Effects::TABLE_LOCK, Held::SESSION_LOCK),
    (Effects::SQL_PREPARE, Held::SQL_PREPARE),
    (Effects::HANDLER, Held::HOLD_CURSOR),
    (Effects::USER_VARIABLES, Held::USER_VARIABLE),
];

/// Whether names in a text with these effects matter.
pub(super) fn reads(effects: Effects) -> bool {
    let kinds = KINDS.iter().fold(Effects::DDL, |all, (kind, _)| all.union(*kind));
    effects.intersects(kinds.union(Effects::DISCARD).union(Effects::UNKNOWN))
}

#[derive(Debug)]
struct Thing {
    what: Effects,
    schema: Box<str>,
    name: Box<str>,
}

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Kept {
    things: Vec<Thing>,
    /// Kinds of which something was left that nobody has named.
    nameless: Effects,
    /// The database said that there is something, and no statement has said what.
    doubt: Held,
}

impl Kept {
    /// A request with these effects that mentions these things has been answered; `failed`: with an error. Names
    /// without a schema belong to `place`.
    pub(super) fn note(&mut self, mentions: &[Mention], effects: Effects, failed: bool, place: &str) {
        let alone = mentions.len() == 1;
        let mentioned = mentions.iter().fold(Effects::empty(), |all, mention| all.union(mention.what));
        for (kind, _) in KINDS {
            // Locks on tables that are named are told by the transaction's state; and what is only read is asked for.
            let told = Effects::TABLE_LOCK.union(Effects::HANDLER);
            if effects.without(mentioned).without(told).contains(kind) {
                self.nameless |= kind;
            }
        }
        for mention in mentions {
            let schema = mention.schema.as_deref().unwrap_or(place);
            match &mention.name {
                Some(name) if mention.gone => {
                    if !failed {
                        self.leave(mention.what, name);
                    }
                }
                // A PREPARE that fails takes away the one before it.
                Some(name) if failed && alone && is_followed(mention.what) => self.leave(mention.what, name),
                Some(_) if mention.what == Effects::TEMP_TABLE && schema.is_empty() => {
                    self.nameless |= Effects::TEMP_TABLE;
                }
                Some(name) => self.come(mention.what, schema, name),
                None if mention.gone && !failed => self.nameless = self.nameless.without(mention.what),
                None if mention.gone => {}
                None if mention.what == Effects::DDL => {
                    if self.things.iter().any(|thing| thing.what == Effects::TEMP_TABLE) {
                        self.nameless |= Effects::TEMP_TABLE;
                    }
                }
                None => self.nameless |= mention.what,
            }
        }
    }

    fn come(&mut self, what: Effects, schema: &str, name: &str) {
        let schema = if what == Effects::TEMP_TABLE { schema } else { "" };
        let is = |thing: &Thing| thing.what == what && *thing.name == *name && *thing.schema == *schema;
        if self.things.iter().any(is) {
            return;
        }
        if self.things.len() < NAMES_MAX {
            self.things.push(Thing { what, schema: schema.into(), name: name.into() });
        } else {
            self.nameless |= what;
        }
    }

    fn leave(&mut self, what: Effects, name: &str) {
        if is_followed(what) {
            self.things.retain(|thing| thing.what != what || *thing.name != *name);
        }
    }

    /// The database has said of `doubt` that something changed, behind a request with these effects; `writes`: one
    /// that may have set off triggers.
    pub(super) fn doubt(&mut self, doubt: Held, effects: Effects, writes: bool) {
        let named =
            KINDS.iter().fold(Effects::DISCARD.union(Effects::DDL), |all, (kind, _)| all.union(*kind));
        if effects.contains(Effects::UNKNOWN) {
            self.doubt = self.doubt.union(doubt);
        } else if writes || !effects.intersects(named) {
            self.doubt = self.doubt.union(doubt.intersection(Held::USER_VARIABLE));
        }
    }

    /// What is to be asked for.
    pub(super) fn asked(&self) -> Vec<Named<'_>> {
        self.things.iter().filter_map(Thing::asked).collect()
    }

    /// What the database told of that. Variables go with the settings.
    pub(super) fn found(&mut self, found: &Inspection) {
        let mut there = found.there.iter();
        self.things.retain(|thing| match thing.asked() {
            Some(Named::Variable(_)) => {
                there.next();
                false
            }
            Some(_) => there.next().copied().unwrap_or(true),
            None => true,
        });
        if found.sure.contains(Held::USER_VARIABLE) {
            self.nameless = self.nameless.without(Effects::USER_VARIABLES);
            if self.doubt == Held::USER_VARIABLE && found.held.contains(Held::USER_VARIABLE) {
                self.doubt = Held::empty();
            }
        }
    }

    /// What the session is bound by.
    pub(super) fn held(&self) -> Held {
        let mut held = self.doubt;
        if self.nameless.contains(Effects::UNKNOWN) {
            held = held.union(Held::UNKNOWN);
        }
        for (kind, of_kind) in KINDS {
            if self.nameless.contains(kind) || self.things.iter().any(|thing| thing.what == kind) {
                held = held.union(of_kind);
            }
        }
        held
    }
}

/// Whether nobody can be asked about things of this kind.
fn is_followed(what: Effects) -> bool {
    Effects::SQL_PREPARE.union(Effects::HANDLER).union(Effects::TABLE_LOCK).contains(what)
}

impl Thing {
    fn asked(&self) -> Option<Named<'_>> {
        match self.what {
            Effects::TEMP_TABLE => Some(Named::TempTable { schema: &self.schema, name: &self.name }),
            Effects::ADVISORY_LOCK => Some(Named::Lock(&self.name)),
            Effects::USER_VARIABLES => Some(Named::Variable(&self.name)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use router::mysql::mentions;
    use router::{Lexing, Router};

    /// The session runs these, one request each; those that begin with `!` fail. What the database has then is `there`.
    fn after(texts: &[&str], there: &[Named<'_>]) -> Held {
        let router = Router::new(router::Dialect::Mysql, router::Limits::default(), Vec::new());
        let mut kept = Kept::default();
        for text in texts {
            let (failed, text) = text.strip_prefix('!').map_or((false, *text), |text| (true, text));
            let effects = router.plan(text.as_bytes(), Lexing::TRUSTED).effects;
            kept.note(&mentions(text.as_bytes(), Lexing::TRUSTED), effects, failed, "app");
            let there = kept.asked().iter().map(|thing| there.contains(thing)).collect();
            kept.found(&Inspection { there, ..Inspection::default() });
        }
        kept.held()
    }

    #[test]
    fn what_is_kept_and_until_when() {
        let table = Named::TempTable { schema: "app", name: "t" };
        let lock = Named::Lock("a");
        let cases: &[(&[&str], &[Named<'_>], Held)] = &[
            (&["SELECT 1"], &[], Held::empty()),
            (&["CREATE TEMPORARY TABLE t (n int)"], &[table], Held::TEMP_TABLE),
            (&["!CREATE TEMPORARY TABLE t (n int)"], &[], Held::empty()),
            (&["CREATE TEMPORARY TABLE t (n int)", "DROP TABLE t"], &[], Held::empty()),
            (&["CREATE TEMPORARY TABLE t (n int)", "RENAME TABLE t TO u"], &[table], Held::TEMP_TABLE),
            (&["CREATE TEMPORARY TABLE `a``b` (n int)", "DROP TABLE `a``b`"], &[], Held::TEMP_TABLE),
            (&["SELECT get_lock('a', 1)"], &[lock], Held::SESSION_LOCK),
            (&["SELECT get_lock('a', 1)"], &[], Held::empty()),
            (&["SELECT get_lock(n, 1) FROM t"], &[], Held::SESSION_LOCK),
            (&["SELECT get_lock(n, 1) FROM t", "SELECT release_all_locks()"], &[], Held::empty()),
            (&["SELECT get_lock(n, 1) FROM t", "!SELECT release_all_locks()"], &[], Held::SESSION_LOCK),
            (&["PREPARE p FROM 'SELECT 1'"], &[], Held::SQL_PREPARE),
            (&["PREPARE p FROM 'SELECT 1'", "DEALLOCATE PREPARE p"], &[], Held::empty()),
            (&["PREPARE p FROM 'SELECT 1'", "!DEALLOCATE PREPARE p"], &[], Held::SQL_PREPARE),
            (&["PREPARE p FROM 'SELECT 1'", "!PREPARE p FROM 'x'"], &[], Held::empty()),
            (&["PREPARE p FROM 'SELECT 1'", "!PREPARE p FROM 'x'; SELECT @a := 1"], &[], Held::SQL_PREPARE),
            (&["PREPARE p FROM @x", "DEALLOCATE PREPARE p"], &[], Held::UNKNOWN),
            (&["HANDLER t OPEN"], &[], Held::HOLD_CURSOR),
            (&["HANDLER t OPEN", "HANDLER t CLOSE"], &[], Held::empty()),
            (&["FLUSH TABLES WITH READ LOCK"], &[], Held::SESSION_LOCK),
            (&["FLUSH TABLES WITH READ LOCK", "UNLOCK TABLES"], &[], Held::empty()),
            (&["LOCK TABLES t READ"], &[], Held::empty()),
            (&["SET @a = 1"], &[], Held::empty()),
            (&["SELECT 1 INTO @`a b`"], &[], Held::USER_VARIABLE),
        ];
        for (texts, there, held) in cases {
            assert_eq!(after(texts, there), *held, "{texts:?}");
        }
    }

    #[test]
    fn names_have_a_bound() {
        let mut kept = Kept::default();
        for n in 0..=NAMES_MAX {
            let text = format!("DO get_lock('{n}', 1)");
            kept.note(&mentions(text.as_bytes(), Lexing::TRUSTED), Effects::ADVISORY_LOCK, false, "app");
        }
        assert_eq!(kept.asked().len(), NAMES_MAX);
        let there = vec![false; NAMES_MAX];
        kept.found(&Inspection { there, ..Inspection::default() });
        assert_eq!(kept.held(), Held::SESSION_LOCK);
    }

    #[test]
    fn what_the_database_says_of_changes() {
        let something = Held::USER_VARIABLE.union(Held::UNKNOWN);
        for (effects, writes, held) in [
            (Effects::USER_VARIABLES, false, Held::empty()),
            (Effects::USER_VARIABLES, true, Held::USER_VARIABLE),
            (Effects::empty(), true, Held::USER_VARIABLE),
            (Effects::UNKNOWN, false, something),
            (Effects::DISCARD, false, Held::empty()),
        ] {
            let mut kept = Kept::default();
            kept.doubt(something, effects, writes);
            kept.found(&Inspection::default());
            assert_eq!(kept.held(), held, "{effects:?} {writes}");
            let told =
                Inspection { sure: Held::USER_VARIABLE, held: Held::USER_VARIABLE, ..Inspection::default() };
            kept.found(&told);
            let left = if held == Held::USER_VARIABLE { Held::empty() } else { held };
            assert_eq!(kept.held(), left, "{effects:?} {writes}: the database lists them");
        }
    }
}
