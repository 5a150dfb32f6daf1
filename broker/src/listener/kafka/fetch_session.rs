//! Fetch sessions (KIP-227): a client names all partitions once, then only what changed about them, and is told only of
//! partitions that have something new.
//!
//! A session belongs to its connection and ends with it; each connection has one at most. A client whose session is gone
//! is told so and begins another. So a session needs no bound beside that of its partitions, and no eviction.

use std::collections::HashMap;
use std::sync::Arc;

use corelog_protocol::kafka::messages::FetchRequest;
use corelog_protocol::kafka::messages::fetch::{FetchPartition, FetchTopic, ForgottenTopic};
use corelog_protocol::{ErrorCode, TopicId};

/// A larger session is not kept: the client names its partitions each time.
const PARTITIONS_MAX: usize = 64 * 1024;

/// The epochs of requests that are no step of a session: one that begins it, one that ends it or never had one.
const INITIAL_EPOCH: i32 = 0;
const FINAL_EPOCH: i32 = -1;

/// The one session that a connection may have.
#[derive(Debug, Default)]
pub(super) struct FetchSessions(Option<Session>);

#[derive(Debug)]
struct Session {
    id: i32,
    /// Of the request that comes next.
    next_epoch: i32,
    names_topics_by_id: bool,
    /// Those that brought records last stand at the end, so that all have their turn.
    partitions: Vec<Asked>,
}

/// A partition that a fetch is about.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    /// Empty where the topic is named by its id.
    pub(super) topic: Arc<str>,
    pub(super) topic_id: TopicId,
    pub(super) from: FetchPartition,
    /// The marks that the client was told last.
    pub(super) told: Option<Told>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) high_watermark: i64,
    pub(super) log_start_offset: i64,
}

/// What a request comes to.
#[derive(Debug)]
pub(super) struct Fetch {
    /// 0: there is none.
    pub(super) session_id: i32,
    /// Only what is new is told.
    pub(super) is_incremental: bool,
    pub(super) partitions: Vec<Asked>,
}

type Key = (Arc<str>, TopicId, i32);

impl Asked {
    fn key(&self) -> Key {
        (Arc::clone(&self.topic), self.topic_id, self.from.partition)
    }
}

impl FetchSessions {
    /// Understands a request. `new_id` draws the id of a session.
    ///
    /// # Errors
    /// Why the session that it is about cannot go on. The client begins another.
    pub(super) fn begin(
        &mut self,
        request: &FetchRequest<'_>,
        names_topics_by_id: bool,
        new_id: impl FnOnce() -> i32,
    ) -> Result<Fetch, ErrorCode> {
        let asked = || request.topics.iter().flat_map(asked_of_topic);
        if matches!(request.session_epoch, INITIAL_EPOCH | FINAL_EPOCH) {
            if self
                .0
                .as_ref()
                .is_some_and(|it| it.id == request.session_id)
            {
                self.0 = None;
            }
            let partitions: Vec<_> = asked().collect();
            let is_kept = request.session_epoch == INITIAL_EPOCH
                && !partitions.is_empty()
                && partitions.len() <= PARTITIONS_MAX;
            let session_id = if is_kept { new_id() } else { 0 };
            if is_kept {
                self.0 = Some(Session {
                    id: session_id,
                    next_epoch: 1,
                    names_topics_by_id,
                    partitions: partitions.clone(),
                });
            }
            return Ok(Fetch {
                session_id,
                is_incremental: false,
                partitions,
            });
        }
        let session = self
            .0
            .as_mut()
            .filter(|session| session.id == request.session_id)
            .ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.next_epoch != request.session_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.names_topics_by_id != names_topics_by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        session.next_epoch = session.next_epoch.checked_add(1).unwrap_or(1);
        session.forget(&request.forgotten_topics_data);
        session.take(asked());
        if session.partitions.len() > PARTITIONS_MAX {
            self.0 = None;
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        Ok(Fetch {
            session_id: session.id,
            is_incremental: true,
            partitions: session.partitions.clone(),
        })
    }

    /// Notes what the client was told of each of the [`Fetch`]'s partitions; `true`: with records. A fetch without a session
    /// leaves the one that there may be as it is.
    pub(super) fn told(
        &mut self,
        fetch: &Fetch,
        partitions: impl Iterator<Item = (Option<Told>, bool)>,
    ) {
        let session = self.0.as_mut();
        let Some(session) = session.filter(|session| session.id == fetch.session_id) else {
            return;
        };
        let before = std::mem::take(&mut session.partitions);
        let mut with_records = Vec::new();
        for (mut partition, (told, had_records)) in before.into_iter().zip(partitions) {
            partition.told = told;
            match had_records {
                true => with_records.push(partition),
                false => session.partitions.push(partition),
            }
        }
        session.partitions.append(&mut with_records);
    }
}

impl Session {
    fn forget(&mut self, topics: &[ForgottenTopic<'_>]) {
        let forgotten: std::collections::HashSet<_> = topics
            .iter()
            .flat_map(|topic| {
                let partitions = topic.partitions.iter();
                partitions.map(|partition| (topic.topic, topic.topic_id, *partition))
            })
            .collect();
        if !forgotten.is_empty() {
            self.partitions
                .retain(|it| !forgotten.contains(&(&*it.topic, it.topic_id, it.from.partition)));
        }
    }

    /// Adds partitions, or changes where they are read from.
    fn take(&mut self, asked: impl Iterator<Item = Asked>) {
        let mut asked: HashMap<Key, Asked> = asked.map(|it| (it.key(), it)).collect();
        if asked.is_empty() {
            return;
        }
        for partition in &mut self.partitions {
            if let Some(changed) = asked.remove(&partition.key()) {
                partition.from = changed.from;
            }
        }
        let mut new: Vec<_> = asked.into_values().collect();
        new.sort_by_key(Asked::key);
        self.partitions.append(&mut new);
    }
}

fn asked_of_topic(topic: &FetchTopic<'_>) -> impl Iterator<Item = Asked> {
    let name: Arc<str> = Arc::from(topic.topic);
    let topic_id = topic.topic_id;
    topic.partitions.iter().map(move |from| Asked {
        topic: Arc::clone(&name),
        topic_id,
        from: from.clone(),
        told: None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn request(
        (session_id, session_epoch): (i32, i32),
        partitions: &[(i32, i64)],
        forgotten: &[i32],
    ) -> FetchRequest<'static> {
        let partition = |&(partition, fetch_offset): &(i32, i64)| FetchPartition {
            partition,
            fetch_offset,
            ..Default::default()
        };
        FetchRequest {
            session_id,
            session_epoch,
            topics: vec![FetchTopic {
                topic: "orders",
                partitions: partitions.iter().map(partition).collect(),
                ..Default::default()
            }],
            forgotten_topics_data: vec![ForgottenTopic {
                topic: "orders",
                partitions: forgotten.to_vec(),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn positions(fetch: &Fetch) -> Vec<(i32, i64)> {
        let partitions = fetch.partitions.iter();
        partitions
            .map(|it| (it.from.partition, it.from.fetch_offset))
            .collect()
    }

    fn begun() -> FetchSessions {
        let mut sessions = FetchSessions::default();
        let request = request((0, 0), &[(0, 10), (1, 20), (2, 30)], &[]);
        let fetch = sessions.begin(&request, false, || 77).unwrap();
        assert_eq!((fetch.session_id, fetch.is_incremental), (77, false));
        sessions
    }

    fn step(sessions: &mut FetchSessions, request: &FetchRequest<'_>) -> Result<Fetch, ErrorCode> {
        sessions.begin(request, false, || unreachable!("no session is begun"))
    }

    #[test]
    fn a_step_names_only_what_changed() {
        let mut sessions = begun();
        let fetch = step(&mut sessions, &request((77, 1), &[(1, 25), (3, 0)], &[0])).unwrap();
        assert!(fetch.is_incremental);
        assert_eq!(positions(&fetch), [(1, 25), (2, 30), (3, 0)]);
        let fetch = step(&mut sessions, &request((77, 2), &[], &[])).unwrap();
        assert_eq!(positions(&fetch), [(1, 25), (2, 30), (3, 0)]);
    }

    #[test]
    fn partitions_that_brought_records_have_their_next_turn_last() {
        let mut sessions = begun();
        let told = Some(Told {
            high_watermark: 5,
            log_start_offset: 0,
        });
        let fetch = step(&mut sessions, &request((77, 1), &[], &[])).unwrap();
        let marks = [(told, true), (None, false), (told, false)];
        sessions.told(&fetch, marks.into_iter());
        let fetch = step(&mut sessions, &request((77, 2), &[], &[])).unwrap();
        assert_eq!(positions(&fetch), [(1, 20), (2, 30), (0, 10)]);
        assert_eq!(fetch.partitions[2].told, told);
    }

    #[test]
    fn a_fetch_without_a_session_leaves_the_one_that_there_is() {
        let mut sessions = begun();
        let alone = request((0, -1), &[(9, 5)], &[]);
        let fetch = sessions.begin(&alone, false, || 78).unwrap();
        assert_eq!(positions(&fetch), [(9, 5)]);
        sessions.told(&fetch, [(None, true)].into_iter());
        let fetch = step(&mut sessions, &request((77, 1), &[], &[])).unwrap();
        assert_eq!(positions(&fetch), [(0, 10), (1, 20), (2, 30)]);
    }

    #[test]
    fn a_step_that_does_not_follow_is_refused() {
        let mut sessions = begun();
        let refused = |sessions: &mut FetchSessions, id, epoch| {
            step(sessions, &request((id, epoch), &[], &[])).unwrap_err()
        };
        assert_eq!(
            refused(&mut sessions, 77, 2),
            ErrorCode::InvalidFetchSessionEpoch
        );
        assert_eq!(
            refused(&mut sessions, 78, 1),
            ErrorCode::FetchSessionIdNotFound
        );
        let by_id = sessions.begin(&request((77, 1), &[], &[]), true, || 1);
        assert_eq!(by_id.unwrap_err(), ErrorCode::FetchSessionTopicIdError);
    }

    #[test]
    fn a_final_request_ends_the_session() {
        let mut sessions = begun();
        let fetch = step(&mut sessions, &request((77, -1), &[(0, 1)], &[])).unwrap();
        assert_eq!((fetch.session_id, fetch.is_incremental), (0, false));
        assert_eq!(
            step(&mut sessions, &request((77, 1), &[], &[])).unwrap_err(),
            ErrorCode::FetchSessionIdNotFound
        );
    }
}
