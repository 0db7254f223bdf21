/* A queue over HTTP: each connection sends a batch, receives one and acknowledges it, over and over.
 *
 *   queue PROTOCOL HOST PORT QUEUE WARM_UP_SECONDS SECONDS
 *
 * PROTOCOL is millstream (QUEUE is the name of a topic and of the queue on it, which both exist) or sqs (the protocol's JSON
 * form; the queue is made). What is counted is messages that were sent, received and acknowledged. All connections are one
 * thread with epoll, since the time that it takes is the server's to lose: requests are put together once where they are
 * always the same, and answers are looked through for receipts instead of being decoded.
 *
 * Prints one JSON object.
 */
#include "client.h"
#include <stdbool.h>
#include <sys/epoll.h>

enum {
    CONNECTIONS = 16,
    BATCH = 10,
    VALUE_BYTES = 1024,
    REQUEST_BYTES = 64 << 10,
    ANSWER_BYTES = 256 << 10,
    BUCKET_US = 20,
    BUCKETS = 500000, /* up to 10 s */
};

struct text {
    size_t length;
    char bytes[REQUEST_BYTES];
};

/* How a protocol says what is asked. */
struct protocol {
    const char *name;
    struct text sending, receiving;
    char acking_head[1024];   /* the head of a request that acknowledges, up to its length */
    char acking_before[1024]; /* the body's beginning */
    const char *acking_receipt; /* printed for each receipt, with its number and text */
    const char *receipt_mark; /* what stands before a receipt in an answer */
};

enum step { SENDING, RECEIVING, ACKING };

struct connection {
    int fd;
    enum step step;
    int receipts; /* under way to be acknowledged */
    uint64_t begun_us;
    size_t length;
    char answer[ANSWER_BYTES + 1];
};

static struct protocol protocol;
static uint64_t round_us[BUCKETS + 1], rounds, acked, from_us, until_us;

static void append(struct text *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    text->length += vsnprintf(text->bytes + text->length, REQUEST_BYTES - text->length, format, arguments);
    va_end(arguments);
    if (text->length >= REQUEST_BYTES)
        fail("a request is larger than %d bytes", REQUEST_BYTES);
}

/* Puts a request together. */
static void request(struct text *text, const char *head, const struct text *body) {
    text->length = 0;
    append(text, "%s%zu\r\n\r\n", head, body->length);
    append(text, "%s", body->bytes);
}

/* The first value after `mark`, up to the next quote; nothing in it is escaped. */
static char *value_after(const char *text, const char *mark, size_t *length) {
    char *value = strstr(text, mark);
    if (!value)
        return NULL;
    value += strlen(mark);
    *length = strcspn(value, "\"");
    return value;
}

static const char *value(void) {
    static char x[VALUE_BYTES + 1];
    memset(x, 'x', VALUE_BYTES);
    return x;
}

static void speak_millstream(const char *host, const char *queue) {
    static struct text body;
    char head[512];
    const char *format = "POST /v1/%s/%s/%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: ";
    append(&body, "{\"records\":[");
    for (int at = 0; at < BATCH; at++)
        append(&body, "%s{\"value\":\"%s\"}", at ? "," : "", value());
    append(&body, "]}");
    snprintf(head, sizeof head, format, "topics", queue, "records", host);
    request(&protocol.sending, head, &body);
    body.length = 0;
    append(&body, "{\"max\":%d,\"visibility_ms\":30000}", BATCH);
    snprintf(head, sizeof head, format, "queues", queue, "receive", host);
    request(&protocol.receiving, head, &body);
    snprintf(protocol.acking_head, sizeof protocol.acking_head, format, "queues", queue, "ack", host);
    strcpy(protocol.acking_before, "{\"receipts\":[");
    protocol.acking_receipt = "\"%2$.*1$s\"";
    protocol.receipt_mark = "\"receipt\":\"";
}

static void sqs_head(char *head, size_t size, const char *host, const char *action) {
    const char *format = "POST / HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-amz-json-1.0\r\n"
                         "X-Amz-Target: AmazonSQS.%s\r\nContent-Length: ";
    snprintf(head, size, format, host, action);
}

/* Whether an answer is whole; nothing else comes after it. */
static bool is_whole(const struct connection *connection) {
    const char *head_end = strstr(connection->answer, "\r\n\r\n");
    if (!head_end)
        return false;
    const char *told = strcasestr(connection->answer, "\r\ncontent-length:");
    if (!told || told > head_end)
        fail("an answer without its length: %s", connection->answer);
    size_t head_length = head_end + 4 - connection->answer;
    return connection->length >= head_length + strtoul(told + strlen("\r\ncontent-length:"), NULL, 10);
}

/* Takes what has come; says whether the answer is whole now. */
static bool take(struct connection *connection) {
    size_t room = ANSWER_BYTES - connection->length;
    ssize_t got = recv(connection->fd, connection->answer + connection->length, room, 0);
    if (got <= 0)
        fail("the server hung up after: %s", connection->answer);
    connection->length += got;
    connection->answer[connection->length] = 0;
    if (!is_whole(connection))
        return false;
    if (strncmp(connection->answer, "HTTP/1.1 2", 10) != 0)
        fail("refused: %s", connection->answer);
    connection->length = 0;
    return true;
}

static void speak_sqs(const char *host, const char *queue) {
    static struct text asked, body;
    static struct connection connection;
    char head[512], url[512];
    append(&body, "{\"QueueName\":\"%s\"}", queue);
    sqs_head(head, sizeof head, host, "CreateQueue");
    request(&asked, head, &body);
    connection.fd = dial();
    send_all(connection.fd, asked.bytes, asked.length);
    while (!take(&connection))
        ;
    close(connection.fd);
    size_t length;
    char *found = value_after(connection.answer, "\"QueueUrl\":\"", &length);
    if (!found)
        fail("no queue: %s", connection.answer);
    snprintf(url, sizeof url, "%.*s", (int)length, found);

    body.length = 0;
    append(&body, "{\"QueueUrl\":\"%s\",\"Entries\":[", url);
    for (int at = 0; at < BATCH; at++)
        append(&body, "%s{\"Id\":\"%d\",\"MessageBody\":\"%s\"}", at ? "," : "", at, value());
    append(&body, "]}");
    sqs_head(head, sizeof head, host, "SendMessageBatch");
    request(&protocol.sending, head, &body);
    body.length = 0;
    append(&body, "{\"QueueUrl\":\"%s\",\"MaxNumberOfMessages\":%d,\"VisibilityTimeout\":30}", url, BATCH);
    sqs_head(head, sizeof head, host, "ReceiveMessage");
    request(&protocol.receiving, head, &body);
    sqs_head(protocol.acking_head, sizeof protocol.acking_head, host, "DeleteMessageBatch");
    snprintf(protocol.acking_before, sizeof protocol.acking_before, "{\"QueueUrl\":\"%s\",\"Entries\":[", url);
    protocol.acking_receipt = "{\"Id\":\"%3$d\",\"ReceiptHandle\":\"%2$.*1$s\"}";
    protocol.receipt_mark = "\"ReceiptHandle\":\"";
}

static void send_batch(struct connection *connection, uint64_t now) {
    connection->step = SENDING;
    connection->begun_us = now;
    send_all(connection->fd, protocol.sending.bytes, protocol.sending.length);
}

/* Ends a round, in which messages may have been acknowledged, and begins the next. */
static void next_round(struct connection *connection, int count) {
    uint64_t now = now_us(), took = (now - connection->begun_us) / BUCKET_US;
    if (now >= from_us && now < until_us) {
        acked += count;
        rounds++;
        round_us[took < BUCKETS ? took : BUCKETS]++;
    }
    send_batch(connection, now);
}

/* Acknowledges what has been received. */
static void ack(struct connection *connection) {
    static struct text body, whole;
    size_t length;
    int count = 0;
    body.length = 0;
    append(&body, "%s", protocol.acking_before);
    for (char *at = connection->answer; (at = value_after(at, protocol.receipt_mark, &length)); at += length) {
        append(&body, count ? "," : "");
        append(&body, protocol.acking_receipt, (int)length, at, count);
        count++;
    }
    if (count == 0)
        return next_round(connection, 0);
    append(&body, "]}");
    request(&whole, protocol.acking_head, &body);
    connection->step = ACKING;
    connection->receipts = count;
    send_all(connection->fd, whole.bytes, whole.length);
}

static void go_on(struct connection *connection) {
    switch (connection->step) {
    case SENDING:
        connection->step = RECEIVING;
        return send_all(connection->fd, protocol.receiving.bytes, protocol.receiving.length);
    case RECEIVING:
        return ack(connection);
    case ACKING:
        return next_round(connection, connection->receipts);
    }
}

static double percentile_ms(double share) {
    uint64_t wanted = rounds * share, seen = 0;
    for (int bucket = 0; bucket <= BUCKETS; bucket++) {
        seen += round_us[bucket];
        if (seen > wanted)
            return (bucket + 1) * BUCKET_US / 1000.0;
    }
    return 0;
}

int main(int argc, char **argv) {
    static struct connection connections[CONNECTIONS];
    if (argc != 7)
        fail("usage: queue PROTOCOL HOST PORT QUEUE WARM_UP_SECONDS SECONDS");
    int seconds = atoi(argv[6]);
    set_server(argv[2], argv[3]);
    if (strcmp(argv[1], "millstream") == 0)
        speak_millstream(argv[2], argv[4]);
    else if (strcmp(argv[1], "sqs") == 0)
        speak_sqs(argv[2], argv[4]);
    else
        fail("%s is neither millstream nor sqs", argv[1]);
    from_us = now_us() + (uint64_t)atoi(argv[5]) * 1000000;
    until_us = from_us + (uint64_t)seconds * 1000000;
    int epoll = epoll_create1(0);
    for (int at = 0; at < CONNECTIONS; at++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[at]};
        connections[at].fd = dial();
        epoll_ctl(epoll, EPOLL_CTL_ADD, connections[at].fd, &event);
        send_batch(&connections[at], now_us());
    }
    double cpu = 0;
    while (now_us() < until_us) {
        struct epoll_event events[CONNECTIONS];
        int count = epoll_wait(epoll, events, CONNECTIONS, 100);
        if (cpu == 0 && now_us() >= from_us)
            cpu = cpu_seconds();
        for (int at = 0; at < count; at++)
            if (take(events[at].data.ptr))
                go_on(events[at].data.ptr);
    }
    printf("{\"messages_per_second\": %.0f, \"round_p50_ms\": %.2f, \"round_p99_ms\": %.2f, \"load_cpu\": %.2f}\n",
           (double)acked / seconds, percentile_ms(0.50), percentile_ms(0.99), (cpu_seconds() - cpu) / seconds);
    return 0;
}
