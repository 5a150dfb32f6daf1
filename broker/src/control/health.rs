use serde::Serialize;

use super::snapshots::Collected;

/// What `/health` answers.
#[derive(Serialize, PartialEq, Debug)]
pub(super) struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
}

/// A broker is healthy when every shard answers and may write.
pub(super) fn judge(collected: &Collected) -> Health {
    let silent = collected
        .silent
        .iter()
        .map(|shard| format!("shard {shard} does not answer"));
    let failed = collected.shards.iter().filter_map(|snapshot| {
        let failure = snapshot.failure.as_ref()?;
        Some(format!(
            "shard {}: the log directory refuses writes: {failure}",
            snapshot.shard
        ))
    });
    let reasons: Vec<String> = silent.chain(failed).collect();
    Health {
        status: if reasons.is_empty() { "ok" } else { "failed" },
        reasons,
    }
}

impl Health {
    pub(super) fn is_ok(&self) -> bool {
        self.reasons.is_empty()
    }

    pub(super) fn to_json(&self) -> String {
        let mut json = serde_json::to_string(self).expect("texts always become JSON");
        json.push('\n');
        json
    }
}
