//! Which brokers are measured, and in which protocol.

use std::fmt;
use std::str::FromStr;

/// Bootstrap servers, `HOST:PORT,...`; behind `kafka://` those of any broker that speaks Kafka's protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Servers {
    Native(String),
    #[cfg(feature = "kafka")]
    Kafka(String),
}

const KAFKA: &str = "kafka://";

impl FromStr for Servers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, list) = match text.split_once("://") {
            Some((scheme, list)) => (Some(scheme), list),
            None => (None, text),
        };
        if list.is_empty() {
            return Err(format!("`{text}` names no broker: HOST:PORT,... is needed"));
        }
        match scheme {
            None => Ok(Self::Native(list.to_owned())),
            #[cfg(feature = "kafka")]
            Some("kafka") => Ok(Self::Kafka(list.to_owned())),
            #[cfg(not(feature = "kafka"))]
            Some("kafka") => Err(format!(
                "`{text}`: this corelog-bench was built without librdkafka; build it with \
                 `--features kafka`, which needs gcc and make"
            )),
            Some(other) => Err(format!(
                "`{other}://` is no protocol of this bench: HOST:PORT,... speaks Corelog's own, {KAFKA} Kafka's"
            )),
        }
    }
}

impl Servers {
    /// For `bootstrap.servers`.
    pub(crate) fn list(&self) -> &str {
        match self {
            Self::Native(list) => list,
            #[cfg(feature = "kafka")]
            Self::Kafka(list) => list,
        }
    }

    /// They speak Corelog's own protocol.
    pub(crate) fn are_native(&self) -> bool {
        matches!(self, Self::Native(_))
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native(list) => out.write_str(list),
            #[cfg(feature = "kafka")]
            Self::Kafka(list) => write!(out, "{KAFKA}{list}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_stands_before_the_brokers() {
        assert_eq!("a:1,b:2".parse(), Ok(Servers::Native("a:1,b:2".to_owned())));
        let told = |text: &str| text.parse::<Servers>().map(|it| it.to_string());
        assert!(told("nats://a:1").is_err_and(|error| error.contains("nats://")));
        assert!(told("").is_err());
        #[cfg(feature = "kafka")]
        assert_eq!(told("kafka://a:1"), Ok("kafka://a:1".to_owned()));
        #[cfg(not(feature = "kafka"))]
        assert!(told("kafka://a:1").is_err_and(|error| error.contains("--features kafka")));
    }
}
