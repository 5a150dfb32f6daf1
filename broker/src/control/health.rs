use serde::Serialize;

use super::snapshots::Collected;

/// What `/health` answers.
#[derive(Serialize, PartialEq, Debug)]
pub(super) struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
}

/// A broker is healthy when every shard answers and may write. One that does not serve some of its
/// partitions is degraded: a restart would not help it, so it still answers 200.
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
    let mut reasons: Vec<String> = silent.chain(failed).collect();
    let has_failed = !reasons.is_empty();
    let unusable = collected.shards.iter().filter_map(|snapshot| {
        let shard = snapshot.shard;
        match snapshot.unusable_partitions {
            0 => None,
            1 => Some(format!(
                "shard {shard}: a partition is not served; the log says why"
            )),
            more => Some(format!(
                "shard {shard}: {more} partitions are not served; the log says why"
            )),
        }
    });
    reasons.extend(unusable);
    Health {
        status: match (has_failed, reasons.is_empty()) {
            (true, _) => "failed",
            (false, false) => "degraded",
            (false, true) => "ok",
        },
        reasons,
    }
}

impl Health {
    pub(super) fn is_ok(&self) -> bool {
        self.status != "failed"
    }

    pub(super) fn to_json(&self) -> String {
        let mut json = serde_json::to_string(self).expect("texts always become JSON");
        json.push('\n');
        json
    }
}
