//! Which cores the broker and its clients run on.
//!
//! The figures mean something only while server and client do not share a
//! core, so each gets its own where the machine has two or more.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail, ensure};
use core_affinity::CoreId;

/// `--cores` and `--client-cores`: `2` asks for two cores, `0,2-3` or `1,` names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CoreChoice {
    Count(usize),
    Named(Vec<usize>),
}

impl FromStr for CoreChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            text.parse::<usize>()
                .ok()
                .filter(|&number| number < 4096)
                .ok_or_else(|| format!("`{text}` is not a core number"))
        };
        if !text.contains([',', '-']) {
            return match number(text)? {
                0 => Err("at least one core is needed".into()),
                count => Ok(Self::Count(count)),
            };
        }
        let mut named = Vec::new();
        for part in text.strip_suffix(',').unwrap_or(text).split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("`{part}` runs backwards"));
            }
            named.extend(first..=last);
        }
        named.sort_unstable();
        if named.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(format!("`{text}` names a core twice"));
        }
        Ok(Self::Named(named))
    }
}

/// Who runs where. An empty list means not pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CoreLayout {
    pub(crate) broker: Vec<usize>,
    pub(crate) clients: Vec<usize>,
    /// Broker and clients may get in each other's way.
    pub(crate) shared: bool,
}

impl CoreLayout {
    /// Chooses among `available`: the broker takes the first cores, the
    /// clients the last ones of those left.
    pub(crate) fn choose(
        available: &[usize],
        broker: Option<&CoreChoice>,
        clients: Option<&CoreChoice>,
    ) -> Result<Self> {
        ensure!(
            !available.is_empty(),
            "this process may run on no core at all"
        );
        let broker = match broker {
            None => vec![available[0]],
            Some(CoreChoice::Count(count)) => {
                ensure!(
                    *count <= available.len(),
                    "--cores {count}: this process may use {} cores",
                    available.len()
                );
                available[..*count].to_vec()
            }
            Some(CoreChoice::Named(named)) => within("--cores", named, available)?,
        };
        let left: Vec<usize> = available
            .iter()
            .copied()
            .filter(|core| !broker.contains(core))
            .collect();
        let clients = match clients {
            None if left.is_empty() => Vec::new(),
            None => left[left.len() - broker.len().min(left.len())..].to_vec(),
            Some(CoreChoice::Count(count)) if *count <= left.len() => {
                left[left.len() - count..].to_vec()
            }
            Some(CoreChoice::Count(count)) => bail!(
                "--client-cores {count}: {} cores are left beside the broker's",
                left.len()
            ),
            Some(CoreChoice::Named(named)) => within("--client-cores", named, available)?,
        };
        let shared = clients.is_empty() || clients.iter().any(|core| broker.contains(core));
        Ok(Self {
            broker,
            clients,
            shared,
        })
    }

    /// The core of the client thread with this index, if clients are pinned.
    pub(crate) fn client_core(&self, thread: usize) -> Option<usize> {
        pick(&self.clients, thread)
    }

    /// The core of the broker's shard with this index.
    pub(crate) fn broker_core(&self, shard: usize) -> Option<usize> {
        pick(&self.broker, shard)
    }

    /// Client threads: one per client core, one when they float.
    pub(crate) fn client_threads(&self) -> usize {
        self.clients.len().max(1)
    }
}

impl fmt::Display for CoreLayout {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "broker on {}, ", list(&self.broker))?;
        if self.clients.is_empty() {
            write!(out, "clients not pinned")
        } else {
            write!(out, "clients on {}", list(&self.clients))
        }
    }
}

fn list(cores: &[usize]) -> String {
    let numbers: Vec<String> = cores.iter().map(usize::to_string).collect();
    let noun = if cores.len() == 1 { "core" } else { "cores" };
    format!("{noun} {}", numbers.join(","))
}

fn pick(cores: &[usize], index: usize) -> Option<usize> {
    cores.get(index % cores.len().max(1)).copied()
}

fn within(flag: &str, named: &[usize], available: &[usize]) -> Result<Vec<usize>> {
    if let Some(absent) = named.iter().find(|core| !available.contains(core)) {
        bail!(
            "{flag}: this process may not use core {absent}, only {}",
            list(available)
        );
    }
    Ok(named.to_vec())
}

/// The cores that this process may use.
pub(crate) fn available() -> Vec<usize> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    cores.into_iter().map(|core| core.id).collect()
}

/// Keeps the calling thread on one core; does nothing for `None`.
pub(crate) fn pin_this_thread(core: Option<usize>) {
    if let Some(id) = core {
        // A refusal leaves the thread floating; the numbers get worse, not wrong.
        let _pinned = core_affinity::set_for_current(CoreId { id });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn choice(text: &str) -> Option<CoreChoice> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_number_is_a_count_and_a_list_names_cores() {
        assert_eq!(choice("2"), Some(CoreChoice::Count(2)));
        assert_eq!(choice("5,0-2"), Some(CoreChoice::Named(vec![0, 1, 2, 5])));
        assert_eq!(choice("1,"), Some(CoreChoice::Named(vec![1])));
        for refused in ["", "0", "x", "3-1", "1,1", "0-99999", ","] {
            assert!(
                refused.parse::<CoreChoice>().is_err(),
                "{refused:?} was accepted"
            );
        }
    }

    #[test]
    fn broker_and_clients_get_different_cores_where_there_are_two() {
        let layout = CoreLayout::choose(&[0, 1], None, None).unwrap();
        assert_eq!((layout.broker, layout.clients), (vec![0], vec![1]));
        assert!(!layout.shared);
        let layout = CoreLayout::choose(&[0, 1, 2, 3, 4], choice("2").as_ref(), None).unwrap();
        assert_eq!((layout.broker, layout.clients), (vec![0, 1], vec![3, 4]));
    }

    #[test]
    fn clients_float_when_the_broker_takes_every_core() {
        let layout = CoreLayout::choose(&[0, 1], choice("2").as_ref(), None).unwrap();
        assert!(layout.shared);
        assert_eq!(layout.client_core(0), None);
        assert_eq!(layout.client_threads(), 1);
    }

    #[test]
    fn cores_that_do_not_exist_are_refused_by_name() {
        let error = CoreLayout::choose(&[0, 1], choice("3").as_ref(), None).unwrap_err();
        assert!(error.to_string().contains("--cores 3"), "{error}");
        let error = CoreLayout::choose(&[0, 1], None, choice("1,7").as_ref()).unwrap_err();
        assert!(error.to_string().contains("core 7"), "{error}");
    }
}
