//! The options of a queue: what the wire calls them, what the columns of `queues` hold.

use serde::{Deserialize, Serialize};

/// The options of a queue. Serialized, it has the names of the wire and no others.
///
/// Numbers are between 0 and `i32::MAX`, which is what a column of the database holds; only
/// `priority` may be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the wire has four independent switches")]
pub struct QueueOptions {
    #[serde(rename = "leaseTime")]
    pub lease_seconds: i32,
    #[serde(rename = "maxSize")]
    pub size_max: i32,
    #[serde(rename = "ttl")]
    pub ttl_seconds: i32,
    /// Whether `ttl` was sent; its default has no effect.
    #[serde(skip)]
    pub ttl_given: bool,
    #[serde(rename = "retryLimit")]
    pub retry_limit: i32,
    #[serde(rename = "retryDelay")]
    pub retry_delay_ms: i32,
    #[serde(rename = "deadLetterQueue")]
    pub dead_letter_queue: bool,
    #[serde(rename = "dlqAfterMaxRetries")]
    pub dead_letter_after_max_retries: bool,
    #[serde(rename = "priority")]
    pub priority: i32,
    #[serde(rename = "delayedProcessing")]
    pub delayed_processing_seconds: i32,
    #[serde(rename = "windowBuffer")]
    pub window_buffer_seconds: i32,
    #[serde(rename = "retentionSeconds")]
    pub retention_seconds: i32,
    #[serde(rename = "completedRetentionSeconds")]
    pub completed_retention_seconds: i32,
    #[serde(rename = "retentionEnabled")]
    pub retention_enabled: bool,
    #[serde(rename = "encryptionEnabled")]
    pub encryption_enabled: bool,
    #[serde(rename = "maxWaitTimeSeconds")]
    pub wait_seconds_max: i32,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self {
            lease_seconds: 300,
            size_max: 0,
            ttl_seconds: 3600,
            ttl_given: false,
            retry_limit: 3,
            retry_delay_ms: 0,
            dead_letter_queue: false,
            dead_letter_after_max_retries: false,
            priority: 0,
            delayed_processing_seconds: 0,
            window_buffer_seconds: 0,
            retention_seconds: 0,
            completed_retention_seconds: 0,
            retention_enabled: false,
            encryption_enabled: false,
            wait_seconds_max: 0,
        }
    }
}
