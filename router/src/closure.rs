//! What functions and relations come to, with all that they call, fire and refer to.
//!
//! Every source is a node with a name; it has the effects of every node whose name it mentions. Names are compared
//! without their schema and in lower case, so two of one name count as both. Built once a catalog, by going round until nothing
//! changes: effects only grow.

use crate::source::{self, Source};
use crate::{Effects, Mention, mysql};
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

/// What a source belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// A function's body: it runs when the function is called.
    Function,
    /// A view's query, or a policy: it runs when the relation is read or written.
    Read,
    /// A trigger, a default, a check: it runs when the relation is written.
    Write,
}

#[derive(Debug)]
struct Node {
    owner: Owner,
    name: Box<str>,
    effects: Effects,
    mentions: Vec<Box<str>>,
    leaves: Vec<Mention>,
}

/// The sources of one catalog.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    nodes: Vec<Node>,
    settings: HashSet<Box<str>, RandomState>,
}

type Touching = HashMap<Box<str>, Effects, RandomState>;

/// What mentioning a name may leave behind.
#[derive(Debug, Default)]
pub(crate) struct Closure {
    /// Calling a function.
    pub(crate) calls: Touching,
    /// Reading a relation.
    pub(crate) reads: Touching,
    /// Writing it.
    pub(crate) writes: Touching,
    /// Settings with a dot in their name that some source sets.
    pub(crate) settings: Vec<Box<str>>,
    /// By which names something is left, whichever way the name is mentioned (MySQL).
    leaves: HashMap<Box<str>, Vec<Mention>, RandomState>,
}

/// How many settings of sources are asked for at most; more than this is hidden.
const SETTINGS_MAX: usize = 1024;

/// How many names of what it leaves one source hands on; more than this is nameless.
const LEAVES_MAX: usize = 64;

impl Sources {
    pub(crate) fn add(&mut self, owner: Owner, name: &str, text: &[u8]) {
        let Source { effects, settings } = source::read(text);
        let name = &*name.to_ascii_lowercase();
        self.settings.extend(settings);
        let mut mentions: Vec<Box<str>> = Vec::new();
        let mut seen = HashSet::<Box<str>, RandomState>::default();
        source::words(text, |word| {
            if word != name && seen.insert(word.into()) {
                mentions.push(word.into());
            }
        });
        // A name that no word can be, with a blank in it.
        if text.len() < 64
            && let Ok(whole) = std::str::from_utf8(text)
        {
            mentions.push(whole.to_ascii_lowercase().into_boxed_str());
        }
        self.nodes.push(Node { owner, name: name.into(), effects, mentions, leaves: Vec::new() });
    }

    /// A source of MySQL's, which was read by somebody else. `name` is in lower case.
    pub(crate) fn add_body(
        &mut self,
        owner: Owner,
        name: &str,
        text: &[u8],
        effects: Effects,
        leaves: Vec<Mention>,
    ) {
        let mut mentions = HashSet::<Box<str>, RandomState>::default();
        mysql::parts(text, |word| {
            if word != name && !mentions.contains(word) {
                mentions.insert(word.into());
            }
        });
        let mentions = mentions.into_iter().collect();
        self.nodes.push(Node { owner, name: name.into(), effects, mentions, leaves });
    }

    /// A function whose source cannot be read.
    pub(crate) fn add_known(&mut self, name: &str, effects: Effects) {
        let name = name.to_ascii_lowercase().into_boxed_str();
        let (mentions, leaves) = (Vec::new(), Vec::new());
        self.nodes.push(Node { owner: Owner::Function, name, effects, mentions, leaves });
    }

    pub(crate) fn close(mut self) -> Closure {
        // Words that name nothing lead nowhere.
        let names: HashSet<Box<str>, RandomState> = self.nodes.iter().map(|node| node.name.clone()).collect();
        for node in &mut self.nodes {
            node.mentions.retain(|word| names.contains(word));
        }
        let mut closure = Closure::default();
        let mut changed = true;
        while changed {
            changed = false;
            for node in &mut self.nodes {
                let effects =
                    node.mentions.iter().fold(node.effects, |sum, word| sum | closure.of(node.owner, word));
                node.effects = effects;
                if effects.is_empty() {
                    continue;
                }
                let known = closure.map(node.owner).entry(node.name.clone()).or_default();
                changed |= !known.contains(effects);
                *known |= effects;
            }
        }
        closure.hand_on(&self.nodes);
        let hidden = self.settings.len() > SETTINGS_MAX;
        closure.settings = self.settings.into_iter().take(SETTINGS_MAX).collect();
        if hidden {
            for effects in [&mut closure.calls, &mut closure.reads, &mut closure.writes] {
                effects.values_mut().for_each(|effects| *effects |= Effects::HIDDEN_SETTING);
            }
        }
        closure
    }
}

impl Closure {
    /// Names of what is left travel as effects do.
    fn hand_on(&mut self, nodes: &[Node]) {
        let mut changed = nodes.iter().any(|node| !node.leaves.is_empty());
        while changed {
            changed = false;
            for node in nodes {
                let mut leaves = self.leaves.get(&node.name).cloned().unwrap_or_default();
                let before = leaves.len();
                let inherited = node.mentions.iter().filter_map(|word| self.leaves.get(word)).flatten();
                for mention in node.leaves.iter().chain(inherited) {
                    let full = leaves.len() >= LEAVES_MAX;
                    let mention =
                        if full { Mention { name: None, ..mention.clone() } } else { mention.clone() };
                    if !leaves.contains(&mention) {
                        leaves.push(mention);
                    }
                }
                if leaves.len() > before {
                    changed = true;
                    self.leaves.insert(node.name.clone(), leaves);
                }
            }
        }
    }

    /// What is left by name where this is mentioned.
    pub(crate) fn leaves(&self, name: &str) -> &[Mention] {
        self.leaves.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether nothing leaves anything by a name that is known.
    pub(crate) fn leaves_nothing(&self) -> bool {
        self.leaves.is_empty()
    }

    fn map(&mut self, owner: Owner) -> &mut Touching {
        match owner {
            Owner::Function => &mut self.calls,
            Owner::Read => &mut self.reads,
            Owner::Write => &mut self.writes,
        }
    }

    /// What a source of this kind takes over from a name that it mentions. What runs when a relation is read
    /// does not fire the triggers of what it reads.
    fn of(&self, owner: Owner, word: &str) -> Effects {
        let found = |map: &Touching| map.get(word).copied().unwrap_or_default();
        let read = found(&self.calls) | found(&self.reads);
        if owner == Owner::Read { read } else { read | found(&self.writes) }
    }

    /// Whether mentioning any name may leave anything behind.
    pub(crate) fn is_empty(&self) -> bool {
        self.reads.is_empty() && self.writes.is_empty()
    }

    /// What a statement that mentions this relation may leave behind.
    pub(crate) fn touched(&self, name: &str, writes: bool) -> Effects {
        let found = |map: &Touching| map.get(name).copied().unwrap_or_default();
        if writes { found(&self.reads) | found(&self.writes) } else { found(&self.reads) }
    }

    /// What calling a function may leave behind, beyond what the catalog says of its volatility.
    pub(crate) fn called(&self, name: &str) -> Effects {
        if self.calls.is_empty() {
            return Effects::empty();
        }
        let found = |name: &str| self.calls.get(name).copied().unwrap_or_default();
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return found(&name.to_ascii_lowercase());
        }
        found(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effects_travel_along_calls_triggers_and_references() {
        let mut sources = Sources::default();
        sources.add(Owner::Function, "deep", b"SELECT set_config('app.x', 'y', false)");
        sources.add(Owner::Function, "outer", b"BEGIN PERFORM s.deep(); END");
        sources.add(Owner::Function, "plain", b"BEGIN UPDATE t SET a = 1; END");
        sources.add(Owner::Write, "t", b"CREATE TRIGGER x BEFORE INSERT ON t EXECUTE FUNCTION outer()");
        sources.add(Owner::Write, "parent", b"t");
        sources.add(Owner::Read, "v", b"SELECT * FROM t");
        sources.add(Owner::Read, "w", b"SELECT deep()");
        sources.add(Owner::Write, "u", b"nextval('u_id_seq'::regclass)");
        let closure = sources.close();
        let state = Effects::STATE;
        assert_eq!(closure.called("outer"), state);
        assert_eq!(closure.called("plain"), state, "its update fires the trigger");
        assert_eq!((closure.touched("t", true), closure.touched("t", false)), (state, Effects::empty()));
        assert_eq!(closure.touched("parent", true), state);
        assert_eq!((closure.touched("v", false), closure.touched("w", false)), (Effects::empty(), state));
        assert_eq!(closure.touched("u", true), Effects::empty());
        assert_eq!(closure.settings, [Box::from("app.x")]);
    }
}
