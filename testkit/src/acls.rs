//! Who may do what on a cluster with an authorizer: rdkafka wraps nothing of it.
#![expect(unsafe_code, reason = "the calls have no safe wrapper")]

use std::ffi::CString;
use std::time::Duration;

use hookline_service::kafka::KafkaConfig;
use rdkafka::admin::AdminClient;
use rdkafka::bindings::{
    rd_kafka_AclBinding_destroy, rd_kafka_AclBinding_new, rd_kafka_AclOperation_t, rd_kafka_AclPermissionType_t,
    rd_kafka_CreateAcls, rd_kafka_CreateAcls_result_acls, rd_kafka_ResourcePatternType_t, rd_kafka_ResourceType_t,
    rd_kafka_acl_result_error, rd_kafka_error_code, rd_kafka_event_CreateAcls_result, rd_kafka_event_destroy,
    rd_kafka_event_error, rd_kafka_queue_destroy, rd_kafka_queue_new, rd_kafka_queue_poll, rd_kafka_resp_err_t,
};
use rdkafka::client::DefaultClientContext;

const TIMEOUT: Duration = Duration::from_secs(20);

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant<'a> {
    /// Read a topic.
    ReadTopic(&'a str),
    /// Write to a topic.
    WriteTopic(&'a str),
    /// Read as a member of a group, and commit.
    ReadGroup(&'a str),
}

/// Lets `user` do so, as the user that `kafka` connects with, who may change it.
pub async fn grant(kafka: &KafkaConfig, user: &str, grants: &[Grant<'_>]) {
    let admin: AdminClient<DefaultClientContext> =
        kafka.client().expect("a sound configuration").create().expect("an admin client");
    let principal = format!("User:{user}");
    let grants: Vec<_> = grants
        .iter()
        .map(|grant| {
            let (kind, name, operation) = match *grant {
                Grant::ReadTopic(name) => (
                    rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC,
                    name,
                    rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_READ,
                ),
                Grant::WriteTopic(name) => (
                    rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC,
                    name,
                    rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_WRITE,
                ),
                Grant::ReadGroup(name) => (
                    rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_GROUP,
                    name,
                    rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_READ,
                ),
            };
            (kind, name.to_owned(), operation)
        })
        .collect();
    tokio::task::spawn_blocking(move || create(&admin, &principal, &grants)).await.expect("the grants");
}

fn create(
    admin: &AdminClient<DefaultClientContext>,
    principal: &str,
    grants: &[(rd_kafka_ResourceType_t, String, rd_kafka_AclOperation_t)],
) {
    let client = admin.inner().native_ptr();
    let (principal, host) = (CString::new(principal).expect("no NUL"), CString::new("*").expect("no NUL"));
    let mut bindings: Vec<_> = grants
        .iter()
        .map(|(kind, name, operation)| {
            let name = CString::new(&**name).expect("no NUL");
            // SAFETY: the texts live during the call, which copies them; an error's text is not asked for.
            let binding = unsafe {
                rd_kafka_AclBinding_new(
                    *kind,
                    name.as_ptr(),
                    rd_kafka_ResourcePatternType_t::RD_KAFKA_RESOURCE_PATTERN_LITERAL,
                    principal.as_ptr(),
                    host.as_ptr(),
                    *operation,
                    rd_kafka_AclPermissionType_t::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW,
                    std::ptr::null_mut(),
                    0,
                )
            };
            assert!(!binding.is_null(), "a grant that librdkafka takes");
            binding
        })
        .collect();
    let milliseconds = i32::try_from(TIMEOUT.as_millis()).expect("a short timeout");
    // SAFETY: the client lives, and the queue and the bindings are ours until the end of this block, where they are given back
    // together with the event. librdkafka copies the bindings; what is read of the event is read before it goes.
    let errors = unsafe {
        let queue = rd_kafka_queue_new(client);
        rd_kafka_CreateAcls(client, bindings.as_mut_ptr(), bindings.len(), std::ptr::null(), queue);
        let event = rd_kafka_queue_poll(queue, milliseconds);
        assert!(!event.is_null(), "the brokers answer a request for grants");
        let mut errors = vec![rd_kafka_event_error(event)];
        let result = rd_kafka_event_CreateAcls_result(event);
        if !result.is_null() {
            let mut count = 0;
            let results = rd_kafka_CreateAcls_result_acls(result, &mut count);
            errors.extend((0..count).map(|index| rd_kafka_error_code(rd_kafka_acl_result_error(*results.add(index)))));
        }
        rd_kafka_event_destroy(event);
        for binding in bindings {
            rd_kafka_AclBinding_destroy(binding);
        }
        rd_kafka_queue_destroy(queue);
        errors
    };
    let none = rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
    assert!(errors.len() == grants.len() + 1 && errors.iter().all(|error| *error == none), "{errors:?}");
}
