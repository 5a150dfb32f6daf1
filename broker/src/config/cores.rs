use std::fmt;

use super::Allowed;
use super::value::ConfigValue;

/// The most shards one broker runs.
const MAX_SHARDS: usize = 1024;

/// The cores that run a shard each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cores {
    /// Every core that the process may use.
    All,
    /// The first so many of them.
    Count(usize),
    /// Exactly these. A core named twice runs two shards, which tests on small machines use.
    List(Vec<usize>),
}

/// The machine does not have the cores that were asked for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CoresError {
    #[error(
        "`cores` asks for {wanted} cores, but this process may use {}: {}",
        available.len(),
        ListedCores(available)
    )]
    TooMany {
        wanted: usize,
        available: Vec<usize>,
    },
    #[error(
        "`cores` names core {core}, but this process may use only {}",
        ListedCores(available)
    )]
    NotAvailable { core: usize, available: Vec<usize> },
}

impl Cores {
    /// The core of each shard, in the order of the shards, out of those `available`.
    pub fn choose(&self, available: &[usize]) -> Result<Vec<usize>, CoresError> {
        match self {
            Self::All => Ok(available.iter().copied().take(MAX_SHARDS).collect()),
            Self::Count(wanted) => {
                available
                    .get(..*wanted)
                    .map(<[usize]>::to_vec)
                    .ok_or_else(|| CoresError::TooMany {
                        wanted: *wanted,
                        available: available.to_vec(),
                    })
            }
            Self::List(cores) => match cores.iter().find(|core| !available.contains(core)) {
                Some(&core) => Err(CoresError::NotAvailable {
                    core,
                    available: available.to_vec(),
                }),
                None => Ok(cores.clone()),
            },
        }
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Count(count) => count.fmt(f),
            // The trailing comma tells a list of one core from a number of cores.
            Self::List(cores) => match cores.as_slice() {
                [core] => write!(f, "{core},"),
                cores => ListedCores(cores).fmt(f),
            },
        }
    }
}

/// `all`, a number of cores, or a list such as `0,2-3`; `0,` is a list of one core.
impl ConfigValue for Cores {
    fn parse(text: &str, _: &Allowed) -> Option<Self> {
        let text = text.trim();
        if text == "all" {
            return Some(Self::All);
        }
        if !text.contains([',', '-']) {
            let count: usize = text.parse().ok()?;
            return (1..=MAX_SHARDS)
                .contains(&count)
                .then_some(Self::Count(count));
        }
        let mut cores = Vec::new();
        for item in text.strip_suffix(',').unwrap_or(text).split(',') {
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            let first: usize = first.trim().parse().ok()?;
            let last: usize = last.trim().parse().ok()?;
            if first > last || last - first >= MAX_SHARDS {
                return None;
            }
            cores.extend(first..=last);
            if cores.len() > MAX_SHARDS {
                return None;
            }
        }
        Some(Self::List(cores))
    }

    fn text(&self, _: &Allowed) -> String {
        self.to_string()
    }
}

/// Shows `0,2,3`.
struct ListedCores<'a>(&'a [usize]);

impl fmt::Display for ListedCores<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, core) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            core.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn parse(text: &str) -> Option<Cores> {
        Cores::parse(text, &Allowed::Text(""))
    }

    #[test]
    fn cores_are_a_number_a_list_or_all() {
        assert_eq!(parse("all"), Some(Cores::All));
        assert_eq!(parse("2"), Some(Cores::Count(2)));
        assert_eq!(parse("0,2-3"), Some(Cores::List(vec![0, 2, 3])));
        assert_eq!(parse("1,"), Some(Cores::List(vec![1])));
        for refused in [
            "",
            "0",
            "-1",
            "1-",
            "3-1",
            "0-99999999999",
            "a",
            "1,,2",
            "1025",
        ] {
            assert_eq!(parse(refused), None, "{refused:?}");
        }
    }

    #[test]
    fn cores_that_the_machine_lacks_are_refused_by_name() {
        let available = [0, 1, 4];
        assert_eq!(Cores::All.choose(&available).unwrap(), [0, 1, 4]);
        assert_eq!(Cores::Count(2).choose(&available).unwrap(), [0, 1]);
        assert_eq!(Cores::List(vec![4, 4]).choose(&available).unwrap(), [4, 4]);
        assert_eq!(
            Cores::Count(4).choose(&available).unwrap_err().to_string(),
            "`cores` asks for 4 cores, but this process may use 3: 0,1,4"
        );
        assert_eq!(
            Cores::List(vec![0, 2])
                .choose(&available)
                .unwrap_err()
                .to_string(),
            "`cores` names core 2, but this process may use only 0,1,4"
        );
    }
}
