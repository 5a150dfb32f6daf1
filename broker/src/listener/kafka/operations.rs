//! What a client may do, as bits by the numbers of `org.apache.kafka.common.acl.AclOperation`. Without an authorizer that is
//! all there is to do, and it is only said to those who ask.

const READ: i32 = 1 << 3;
const WRITE: i32 = 1 << 4;
const CREATE: i32 = 1 << 5;
const DELETE: i32 = 1 << 6;
const ALTER: i32 = 1 << 7;
const DESCRIBE: i32 = 1 << 8;
const CLUSTER_ACTION: i32 = 1 << 9;
const DESCRIBE_CONFIGS: i32 = 1 << 10;
const ALTER_CONFIGS: i32 = 1 << 11;
const IDEMPOTENT_WRITE: i32 = 1 << 12;

/// Nobody asked.
const UNSAID: i32 = i32::MIN;

pub(super) fn of_topic(is_asked: bool) -> i32 {
    match is_asked {
        true => {
            READ | WRITE | CREATE | DELETE | ALTER | DESCRIBE | DESCRIBE_CONFIGS | ALTER_CONFIGS
        }
        false => UNSAID,
    }
}

pub(super) fn of_group(is_asked: bool) -> i32 {
    match is_asked {
        true => READ | DELETE | DESCRIBE,
        false => UNSAID,
    }
}

pub(super) fn of_cluster(is_asked: bool) -> i32 {
    match is_asked {
        true => {
            CREATE
                | ALTER
                | DESCRIBE
                | CLUSTER_ACTION
                | DESCRIBE_CONFIGS
                | ALTER_CONFIGS
                | IDEMPOTENT_WRITE
        }
        false => UNSAID,
    }
}
