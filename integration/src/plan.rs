//! What a benchmark is told on its command line: flags that each benchmark has, and a few of its own.

use std::error::Error;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What stands between the clients and the database, by name; the order of the tables.
    pub targets: Vec<String>,
    /// What clients do, by name.
    pub workloads: Vec<String>,
    /// How many clients at a time, one table row each.
    pub clients: Vec<usize>,
    /// How often each combination is measured.
    pub rounds: usize,
    /// The length of the window that is measured.
    pub seconds: u64,
    /// How many clients stay idle while memory is measured; 0 for none.
    pub idle: usize,
}

impl Plan {
    /// A benchmark's own defaults. Lists are separated by commas.
    pub fn new(targets: &str, workloads: &str, rounds: usize, idle: usize) -> Self {
        let (targets, workloads) = (list(targets), list(workloads));
        Self { targets, workloads, clients: vec![1, 16, 64], rounds, seconds: 3, idle }
    }

    /// Reads flags, each followed by its value. What is none of the plan's goes to `other`, which says whether it is
    /// the benchmark's own.
    ///
    /// # Errors
    /// On a flag that nobody knows, and on a value that is none.
    pub fn read(
        &mut self,
        mut arguments: impl Iterator<Item = String>,
        mut other: impl FnMut(&str, &str) -> Result<bool, Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        while let Some(flag) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{flag} wants a value"))?;
            match flag.as_str() {
                "--targets" => self.targets = list(&value),
                "--workloads" => self.workloads = list(&value),
                "--clients" => {
                    self.clients = list(&value).iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
                }
                "--rounds" => self.rounds = value.parse()?,
                "--seconds" => self.seconds = value.parse()?,
                "--idle" => self.idle = value.parse()?,
                flag if other(flag, &value)? => {}
                _ => return Err(format!("unknown flag {flag}").into()),
            }
        }
        Ok(())
    }
}

/// The parts of a list separated by commas.
pub fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Plan, String> {
        let mut plan = Plan::new("a,b", "x", 3, 0);
        let words = line.split_whitespace().map(str::to_owned);
        plan.read(words, |flag, _| Ok(flag == "--engine")).map_err(|error| error.to_string())?;
        Ok(plan)
    }

    #[test]
    fn flags() {
        let plan = read("--clients 1,4 --engine mysql --workloads y,z --rounds 2").expect("flags");
        assert_eq!((plan.clients, plan.rounds), (vec![1, 4], 2));
        assert_eq!((plan.workloads, plan.targets), (list("y,z"), list("a,b")));
        for wrong in ["--clients", "--clients x", "--rounds -1", "--nonsense 1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
