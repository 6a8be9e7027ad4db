//! Fences that an application carries between sessions: given with SET, asked for with SHOW.
//!
//! PostgreSQL: `SET splitpool.token = '..'`, or `set_config`; `SHOW splitpool.token`. MySQL and MariaDB:
//! `SET @splitpool_token = '..'`, `SELECT @splitpool_token`. A SET that stands alone is answered here. What comes
//! in another way goes to the database and is found there. An answer is the database's own: its backend is given
//! the value first, as it is given any setting, and loses it again before others use it.

use super::judge::Judgement;
use super::request::{ERRAND_MAX, Request};
use super::{End, Session};
use pool::{Consistency, Freshness, Token};
use protocol::fault::Cause;
use protocol::settings::TOKEN;
use protocol::tracker::{Tracker, TxnStatus};
use protocol::{Fault, Protocol, Settings};
use router::{Effects, Reason, Target};
use std::time::Instant;

/// The token of a session that has seen nothing.
const NONE: &str = "none";

/// What MySQL's applications call it.
const VARIABLE: &[u8] = b"@splitpool_token";

/// The value in `SET splitpool.token = 'value'`, or MySQL's way to say so, if that is all of the text. A value
/// with anything in it that no token has is left to the database.
pub(super) fn given(text: &[u8]) -> Option<&str> {
    let rest = word(text, b"set")?;
    let rest = match word(rest, b"session") {
        Some(rest) => rest,
        None => rest,
    };
    let rest = word(rest, TOKEN.as_bytes()).or_else(|| word(rest, VARIABLE))?;
    let rest = rest.strip_prefix(b":=").or_else(|| rest.strip_prefix(b"=")).or_else(|| word(rest, b"to"))?;
    let rest = rest.trim_ascii_start().strip_prefix(b"'")?;
    let end = rest.iter().position(|byte| !is_plain(*byte))?;
    let (value, rest) = rest.split_at_checked(end)?;
    let rest = rest.strip_prefix(b"'")?.trim_ascii();
    let ends = rest.is_empty() || rest == b";";
    if ends { std::str::from_utf8(value).ok() } else { None }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.:,_ ".contains(&byte)
}

/// What follows `word`, and spaces behind it.
fn word<'a>(text: &'a [u8], word: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = text.trim_ascii_start().split_at_checked(word.len())?;
    let goes_on = rest.first().is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_.$".contains(byte));
    (head.eq_ignore_ascii_case(word) && !goes_on).then_some(rest.trim_ascii_start())
}

/// Makes `text` what the session knows of others. Under `Token` it replaces what the session has seen itself.
/// False if it is no token: then only the primary is known to have what it may have stood for.
pub(super) fn tell(freshness: &mut Freshness, consistency: Consistency, text: &str, now: Instant) -> bool {
    let anew = consistency == Consistency::Token;
    if text.is_empty() || text.eq_ignore_ascii_case(NONE) {
        if anew {
            freshness.forget();
        }
        return true;
    }
    let token = Token::read(text);
    if anew && token.is_some() {
        freshness.forget();
    }
    let read = token.is_some();
    freshness.tell(token, now);
    read
}

impl<P: Protocol> Session<P> {
    /// Whether a fence is given or asked for, so that more is to be done than to run the request.
    pub(super) fn is_about_fences(&self, judged: &Judgement) -> bool {
        judged.given.is_some() || judged.effects.contains(Effects::TOKEN)
    }

    /// Answers the request if it only gives a fence; otherwise makes ready what it asks for. Returns whether it is
    /// answered.
    pub(super) async fn mind_fence(&mut self, judged: &mut Judgement, request: Request) -> Result<bool, End> {
        let bytes = self.client.inbox.get(..request.len).unwrap_or_default();
        let alone = request.whole && judged.statements == 1 && self.tracker.is_query(bytes);
        if let Some(text) = judged.given.take().filter(|_| alone && self.tracker.txn() != TxnStatus::Failed) {
            self.take_fence(&text, request).await?;
            return Ok(true);
        }
        if !judged.effects.contains(Effects::TOKEN) {
            return Ok(false);
        }
        if judged.effects.contains(Effects::USER_VARIABLES) {
            let fault =
                Fault::error(Cause::NotSupported, "a token is given by SET alone, as a text in the query");
            self.refuse_as_failed(fault, request).await?;
            return Ok(true);
        }
        if self.tracker.txn() != TxnStatus::Idle {
            let message = "the token is known when the transaction is over";
            let fault = Fault::error(Cause::NotSupported, message).code("25001");
            self.refuse_as_failed(fault, request).await?;
            return Ok(true);
        }
        let deadline = Instant::now() + self.service.query_wait_timeout.min(ERRAND_MAX);
        match self.service.access.token(&mut self.freshness, deadline).await {
            Ok(token) => {
                let text = token.map_or_else(|| NONE.to_owned(), |token| token.to_string());
                if text.len() > Token::TEXT_MAX {
                    let message = "the set of transactions has too many gaps for a token";
                    self.refuse(Fault::error(Cause::NotSupported, message), request).await?;
                    return Ok(true);
                }
                let value = vec![(TOKEN.into(), text.into_boxed_str())];
                self.settings = self.settings.overlaid(&Settings::new(value));
            }
            Err(error) => {
                self.refuse(error.fault(), request).await?;
                return Ok(true);
            }
        }
        // Where the fence was seen there is nothing to wait for.
        if judged.target == Target::Replica {
            (judged.target, judged.reason) = (Target::Primary, Reason::Session);
        }
        if self.lease.is_some() && self.restore().await.is_err() {
            let message = "the database was lost while it was told the token";
            return Err(End::Fault(Fault::fatal(Cause::BackendLost, message)));
        }
        Ok(false)
    }

    /// The request that asked for the token is over.
    pub(super) fn end_fence(&mut self) {
        if self.settings.value(TOKEN).is_some() {
            self.settings = self.settings.without(TOKEN);
        }
    }

    async fn take_fence(&mut self, text: &str, request: Request) -> Result<(), End> {
        let mut freshness = self.freshness.clone();
        if !tell(&mut freshness, self.consistency(), text, Instant::now()) {
            let fault =
                Fault::error(Cause::InvalidParameter, "invalid value for parameter \"splitpool.token\"")
                    .hint(
                        "It is what SHOW splitpool.token, or SELECT @splitpool_token, has told, or 'none'.",
                    );
            return self.refuse_as_failed(fault, request).await;
        }
        self.freshness = freshness;
        self.client.consume(request.len);
        self.tracker.carried_out(Ok("SET"), self.client.outbox.space());
        self.client.flush().await.map_err(|_| End::ClientGone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given() {
        for text in [
            "SET splitpool.token = 'pg.0.1.2'",
            "set Splitpool.Token to 'pg.0.1.2' ;",
            " SET SESSION splitpool.token='pg.0.1.2'",
            "SET @splitpool_token = 'pg.0.1.2'",
            "set @splitpool_token:='pg.0.1.2';",
        ] {
            assert_eq!(given(text.as_bytes()), Some("pg.0.1.2"), "{text}");
        }
        for text in [
            "SET splitpool.token = 'a''b'",
            "SET splitpool.token = 'a\\'",
            "SET splitpool.token = 'a'; SELECT 1",
            "SET splitpool.token = 'a",
            "SET splitpool.token = a",
            "SET splitpool.token2 = 'a'",
            "SET splitpool.token.x = 'a'",
            "SET LOCAL splitpool.token = 'a'",
            "SET @splitpool_token = 'a', @x = 1",
            "SETTING splitpool.token = 'a'",
            "SHOW splitpool.token",
            "",
        ] {
            assert_eq!(given(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_token_replaces_what_was_seen_only_where_it_is_asked_to() {
        let now = Instant::now();
        let seen = || {
            let mut freshness = Freshness::default();
            freshness.used_primary(pool::EndpointId(1), None, now);
            freshness
        };
        let mut freshness = seen();
        assert!(tell(&mut freshness, Consistency::Session, NONE, now));
        assert_eq!(freshness, seen());
        assert!(tell(&mut freshness, Consistency::Token, NONE, now) && freshness.is_blank());
        let mut freshness = seen();
        assert!(!tell(&mut freshness, Consistency::Token, "nonsense", now) && freshness != seen());
        let (mut added, mut replaced) = (seen(), seen());
        let text = "pg.0000000000000001.1.2";
        assert!(tell(&mut added, Consistency::Session, text, now));
        assert!(tell(&mut replaced, Consistency::Token, text, now));
        let mut fresh = Freshness::default();
        fresh.tell(Token::read(text), now);
        assert!(replaced == fresh && added != fresh);
    }
}
