//! What librdkafka can do and rdkafka does not wrap: headers whose names are any bytes, the ids of topics, and commits that are
//! not waited for and whose answer is told.
#![expect(unsafe_code, reason = "the calls have no safe wrapper")]

use std::ffi::{CStr, CString, c_char};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::TopicPartitionList;
use rdkafka::bindings::{
    rd_kafka_AdminOptions_destroy, rd_kafka_AdminOptions_new, rd_kafka_AdminOptions_set_request_timeout,
    rd_kafka_DescribeTopics, rd_kafka_DescribeTopics_result_topics, rd_kafka_TopicCollection_destroy,
    rd_kafka_TopicCollection_of_topic_names, rd_kafka_TopicDescription_error, rd_kafka_TopicDescription_name,
    rd_kafka_TopicDescription_t, rd_kafka_TopicDescription_topic_id, rd_kafka_Uuid_base64str, rd_kafka_admin_op_t,
    rd_kafka_commit_queue, rd_kafka_error_code, rd_kafka_event_DescribeTopics_result, rd_kafka_event_destroy,
    rd_kafka_event_error, rd_kafka_header_add, rd_kafka_header_get_all, rd_kafka_headers_t, rd_kafka_message_headers,
    rd_kafka_queue_destroy, rd_kafka_queue_get_consumer, rd_kafka_queue_new, rd_kafka_queue_poll, rd_kafka_resp_err_t,
};
use rdkafka::client::Client;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, OwnedHeaders};

/// The headers of a consumed record, in their order: names and values are any bytes, and a value may be null.
///
/// A name ends at its first NUL: librdkafka gives names as C strings.
pub fn header_bytes<'m>(message: &'m BorrowedMessage<'_>) -> HeaderBytes<'m> {
    let mut headers = std::ptr::null_mut();
    // SAFETY: the message lives, and keeps the headers for as long as it lives. Nobody else uses it now, which matters because
    // the first call parses what came from the broker.
    let error = unsafe { rd_kafka_message_headers(message.ptr(), &mut headers) };
    let headers = (error == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| NonNull::new(headers)).flatten();
    HeaderBytes { headers, index: 0, message: std::marker::PhantomData }
}

/// See [`header_bytes`].
#[derive(Clone, Debug)]
pub struct HeaderBytes<'m> {
    headers: Option<NonNull<rd_kafka_headers_t>>,
    index: usize,
    message: std::marker::PhantomData<&'m [u8]>,
}

impl<'m> Iterator for HeaderBytes<'m> {
    type Item = (&'m [u8], Option<&'m [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let headers = self.headers?;
        let (mut name, mut value, mut length) = (std::ptr::null(), std::ptr::null(), 0);
        // SAFETY: the headers belong to the message, which outlives 'm; an index behind the last one is an error and no more.
        let error =
            unsafe { rd_kafka_header_get_all(headers.as_ptr(), self.index, &mut name, &mut value, &mut length) };
        if error != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        self.index += 1;
        // SAFETY: librdkafka ends every name with a NUL and leaves it where it is until the message goes.
        let name = unsafe { CStr::from_ptr(name) }.to_bytes();
        // SAFETY: a value that is not null has this many bytes, which stay where they are until the message goes.
        let value = (!value.is_null()).then(|| unsafe { std::slice::from_raw_parts(value.cast(), length) });
        Some((name, value))
    }
}

/// Adds a header whose name is any bytes.
pub fn add_header(headers: OwnedHeaders, name: &[u8], value: Option<&[u8]>) -> OwnedHeaders {
    let native = std::ptr::from_ref(headers.as_borrowed()).cast_mut().cast::<rd_kafka_headers_t>();
    let (bytes, length) = value.map_or((std::ptr::null(), 0), |value| (value.as_ptr(), value.len()));
    // SAFETY: rdkafka's borrowed headers are librdkafka's own list, of which `headers` is the only owner. Name and value are
    // slices with these lengths, and librdkafka copies them. It fails only for lists that a message owns.
    unsafe { rd_kafka_header_add(native, name.as_ptr().cast(), name.len() as isize, bytes.cast(), length as isize) };
    headers
}

/// Sends a commit of these offsets; a later poll calls the commit callback of the consumer's context with what the brokers answered.
/// rdkafka's own asynchronous commit tells nobody when it fails.
pub fn commit_async<C: ConsumerContext>(consumer: &BaseConsumer<C>, offsets: &TopicPartitionList) -> KafkaResult<()> {
    let client = consumer.client().native_ptr();
    // SAFETY: the client lives as long as the consumer. It has a queue since it has a group, and the call gives a reference of our own,
    // which is given back below; librdkafka takes another one for the answer. The offsets are copied.
    let error = unsafe {
        let queue = rd_kafka_queue_get_consumer(client);
        let error = rd_kafka_commit_queue(client, offsets.ptr(), queue, None, std::ptr::null_mut());
        rd_kafka_queue_destroy(queue);
        error
    };
    if error == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        Ok(())
    } else {
        Err(KafkaError::ConsumerCommit(error.into()))
    }
}

/// Asks the brokers for the id of each topic (KIP-516) as Kafka's own tools print it, in the order of the names, which are
/// different. A topic that is deleted and created again has another id, and no id comes back.
pub fn topic_ids<C: ClientContext>(
    client: &Client<C>,
    names: &[&str],
    timeout: Duration,
) -> KafkaResult<Vec<KafkaResult<String>>> {
    let names: Vec<CString> = names.iter().map(|name| CString::new(*name)).collect::<Result<_, _>>()?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let milliseconds = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let failed = || KafkaError::AdminOpCreation("DescribeTopics".to_owned());
    // SAFETY: the names live during the call, which copies them; nobody else has the collection.
    let topics = unsafe {
        let topics = rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        Owned::new(topics, rd_kafka_TopicCollection_destroy).ok_or_else(failed)?
    };
    // SAFETY: the client lives; nobody else has the options.
    let options = unsafe {
        let options =
            rd_kafka_AdminOptions_new(client.native_ptr(), rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        Owned::new(options, rd_kafka_AdminOptions_destroy).ok_or_else(failed)?
    };
    // SAFETY: the options are ours. Where there is no room for its text, librdkafka leaves an error out.
    unsafe { rd_kafka_AdminOptions_set_request_timeout(options.pointer(), milliseconds, std::ptr::null_mut(), 0) };
    // SAFETY: the client lives; nobody else has the queue, which goes after the event that is taken from it.
    let queue =
        unsafe { Owned::new(rd_kafka_queue_new(client.native_ptr()), rd_kafka_queue_destroy).ok_or_else(failed)? };
    // SAFETY: all four live, and librdkafka copies what it needs of topics and options.
    unsafe { rd_kafka_DescribeTopics(client.native_ptr(), topics.pointer(), options.pointer(), queue.pointer()) };
    // SAFETY: the queue is ours, and so is the event. librdkafka answers within the request's own timeout.
    let event = unsafe {
        let event = rd_kafka_queue_poll(queue.pointer(), milliseconds.saturating_add(1_000));
        Owned::new(event, rd_kafka_event_destroy)
            .ok_or(KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut))?
    };
    // SAFETY: the event is ours.
    check(unsafe { rd_kafka_event_error(event.pointer()) })?;
    // SAFETY: the event is ours. What is read of it lives as long as it does.
    let described = unsafe {
        let (result, mut count) = (rd_kafka_event_DescribeTopics_result(event.pointer()), 0);
        if result.is_null() {
            return Err(failed());
        }
        let topics = rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if topics.is_null() { &[] } else { std::slice::from_raw_parts(topics, count) }
    };
    let id = |name: &CString| {
        // SAFETY: the descriptions live as long as the event, and librdkafka ends the names with a NUL.
        let is_it = |topic: &&*const rd_kafka_TopicDescription_t| unsafe {
            CStr::from_ptr(rd_kafka_TopicDescription_name(**topic)) == name.as_c_str()
        };
        let unknown = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
        let topic = *described.iter().find(is_it).ok_or(unknown)?;
        // SAFETY: the description lives as long as the event. Of a topic without an error the id is there, and librdkafka keeps
        // its text, if there is memory for it, in the id itself.
        let text = unsafe {
            check(rd_kafka_error_code(rd_kafka_TopicDescription_error(topic)))?;
            let text = rd_kafka_Uuid_base64str(rd_kafka_TopicDescription_topic_id(topic));
            if text.is_null() {
                return Err(failed());
            }
            CStr::from_ptr(text).to_string_lossy()
        };
        // librdkafka's text has the two characters of base64 that have a meaning in paths; Kafka's own has those of base64url.
        Ok(text.replace('+', "-").replace('/', "_"))
    };
    Ok(names.iter().map(id).collect())
}

fn check(code: rd_kafka_resp_err_t) -> KafkaResult<()> {
    let is_error = code != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
    if is_error { Err(KafkaError::MetadataFetch(code.into())) } else { Ok(()) }
}

/// An object of librdkafka that is given back when this is dropped.
struct Owned<T> {
    pointer: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// Takes what librdkafka returned, if it is not null.
    ///
    /// # Safety
    /// The object belongs to nobody else, and `destroy` is how it is given back.
    unsafe fn new(pointer: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        NonNull::new(pointer).map(|pointer| Self { pointer, destroy })
    }

    fn pointer(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the object is ours, as `new` demands, and not used after this.
        unsafe { (self.destroy)(self.pointer.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::message::Headers as _;

    use super::*;

    #[test]
    fn a_header_may_have_any_name_and_any_value() {
        let headers = add_header(OwnedHeaders::new(), b"name", Some(b"value"));
        let headers = add_header(headers, b"\xff", None);
        let headers = add_header(headers, b"empty", Some(b""));
        assert_eq!(headers.count(), 3);
        assert_eq!(headers.get(0).value, Some(&b"value"[..]));
        assert_eq!((headers.get(2).key, headers.get(2).value), ("empty", Some(&b""[..])));
    }
}
