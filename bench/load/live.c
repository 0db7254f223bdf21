/* One publisher to many readers of Server-Sent Events, over sockets: how many deliveries a second, and how late they are.
 *
 *   live HOST PORT TOPIC READERS SECONDS RATE VALUE_BYTES
 *
 * RATE is in records a second; with 0 the publisher goes as fast as the readers follow, with at most WINDOW records under
 * way. All readers are one thread with epoll, which looks for values in what comes and does nothing else with it: the time
 * that it takes is the server's to lose. A value begins with the microsecond in which it was published.
 *
 * Prints one JSON object.
 */
#include "client.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/epoll.h>

enum {
    WINDOW = 100,
    READ_BYTES = 256 << 10,
    REST_BYTES = 4 << 10,
    EVENTS = 256,
    BUCKET_US = 50,
    BUCKETS = 200000, /* up to 10 s */
    STAMP_DIGITS = 16,
};

static const char MARK[] = "\"value\":\"";

struct reader {
    int fd;
    int rest_length;
    uint64_t got;
    char rest[REST_BYTES]; /* the beginning of a line that is not whole yet */
};

static const char *host, *topic;
static int reader_count, seconds, rate, value_bytes;
static atomic_uint_fast64_t delivered, published;
static atomic_bool measuring, publishing_done;
static uint64_t late_us[BUCKETS + 1];
static uint64_t measured;

/* Reads until `end` has come; returns what was read. */
static char *read_until(int fd, const char *end) {
    static _Thread_local char answer[16 << 10];
    size_t length = 0;
    answer[0] = 0;
    while (!strstr(answer, end)) {
        ssize_t got = recv(fd, answer + length, sizeof answer - 1 - length, 0);
        if (got <= 0)
            fail("the server hung up: %s", answer);
        length += got;
        answer[length] = 0;
    }
    return answer;
}

static void follow(struct reader *reader) {
    char request[512];
    int length = snprintf(request, sizeof request, "GET /v1/live?topic=%s HTTP/1.1\r\nHost: %s\r\n\r\n", topic, host);
    reader->fd = dial();
    send_all(reader->fd, request, length);
    /* Subscribed: whatever is published from now on comes. */
    if (strncmp(read_until(reader->fd, "\r\n\r\n"), "HTTP/1.1 200", 12) != 0)
        fail("the feed is refused");
}

/* Counts the values in whole lines, and how late each is. Returns how many bytes that were. */
static size_t look(struct reader *reader, const char *bytes, size_t length, uint64_t now) {
    const char *last_line = memrchr(bytes, '\n', length);
    if (!last_line)
        return 0;
    size_t whole = last_line - bytes;
    const char *at = bytes, *end = bytes + whole;
    uint64_t count = 0;
    while ((at = memmem(at, end - at, MARK, sizeof MARK - 1))) {
        at += sizeof MARK - 1;
        count++;
        if (atomic_load_explicit(&measuring, memory_order_relaxed) && end - at >= STAMP_DIGITS) {
            uint64_t stamp = 0;
            for (int digit = 0; digit < STAMP_DIGITS; digit++)
                stamp = stamp * 10 + (at[digit] - '0');
            uint64_t bucket = now > stamp ? (now - stamp) / BUCKET_US : 0;
            late_us[bucket < BUCKETS ? bucket : BUCKETS]++;
            measured++;
        }
    }
    reader->got += count;
    atomic_fetch_add_explicit(&delivered, count, memory_order_relaxed);
    return whole;
}

static void take(struct reader *reader, char *buffer) {
    memcpy(buffer, reader->rest, reader->rest_length);
    ssize_t got = recv(reader->fd, buffer + reader->rest_length, READ_BYTES, 0);
    if (got <= 0)
        fail("a feed has ended after %lu records", (unsigned long)reader->got);
    size_t length = reader->rest_length + got;
    size_t whole = look(reader, buffer, length, now_us());
    reader->rest_length = length - whole;
    if (reader->rest_length > REST_BYTES)
        fail("a line is longer than %d bytes", REST_BYTES);
    memcpy(reader->rest, buffer + whole, reader->rest_length);
}

static void *read_all(void *arguments) {
    struct reader *readers = arguments;
    struct epoll_event events[EVENTS];
    char *buffer = malloc(READ_BYTES + REST_BYTES);
    int epoll = epoll_create1(0);
    for (int at = 0; at < reader_count; at++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &readers[at]};
        epoll_ctl(epoll, EPOLL_CTL_ADD, readers[at].fd, &event);
    }
    while (!atomic_load(&publishing_done) || atomic_load(&delivered) < atomic_load(&published) * reader_count) {
        int count = epoll_wait(epoll, events, EVENTS, 100);
        for (int at = 0; at < count; at++)
            take(events[at].data.ptr, buffer);
    }
    free(buffer);
    return NULL;
}

static void publish(int fd) {
    char request[8192], body[4096], value[2048];
    memset(value, 'x', value_bytes);
    value[value_bytes] = 0;
    int stamped = snprintf(value, sizeof value, "%016lu", (unsigned long)now_us());
    value[stamped] = ' ';
    int body_length = snprintf(body, sizeof body, "{\"value\":\"%s\"}", value);
    int length = snprintf(request, sizeof request,
                          "POST /v1/topics/%s/records HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
                          "Content-Length: %d\r\n\r\n%s",
                          topic, host, body_length, body);
    send_all(fd, request, length);
    if (strncmp(read_until(fd, "]}"), "HTTP/1.1 200", 12) != 0)
        fail("a publish is refused");
    atomic_fetch_add(&published, 1);
}

/* Publishes until the time is over; in the first second nothing is measured. Returns for how long that was, in seconds. */
static double publish_all(uint64_t *counted, double *cpu) {
    int fd = dial();
    uint64_t began = now_us(), start = began + 1000000, end = start + (uint64_t)seconds * 1000000;
    uint64_t delivered_before = 0, count = 0, now;
    while ((now = now_us()) < end) {
        if (now >= start && !atomic_load(&measuring)) {
            delivered_before = atomic_load(&delivered);
            *cpu = cpu_seconds();
            atomic_store(&measuring, true);
        }
        uint64_t under_way = count * reader_count - atomic_load(&delivered);
        bool is_due = rate > 0 ? count < (now - began) * rate / 1000000 : under_way < (uint64_t)WINDOW * reader_count;
        if (!is_due) {
            usleep(100);
            continue;
        }
        publish(fd);
        count++;
    }
    *counted = atomic_load(&delivered) - delivered_before;
    *cpu = cpu_seconds() - *cpu;
    close(fd);
    return (now_us() - start) / 1e6;
}

static double percentile_ms(double share) {
    uint64_t wanted = measured * share, seen = 0;
    for (int bucket = 0; bucket <= BUCKETS; bucket++) {
        seen += late_us[bucket];
        if (seen > wanted)
            return (bucket + 1) * BUCKET_US / 1000.0;
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 8)
        fail("usage: live HOST PORT TOPIC READERS SECONDS RATE VALUE_BYTES");
    host = argv[1], topic = argv[3];
    reader_count = atoi(argv[4]), seconds = atoi(argv[5]), rate = atoi(argv[6]), value_bytes = atoi(argv[7]);
    if (value_bytes <= STAMP_DIGITS || value_bytes > 1024)
        fail("a value has from %d to 1024 bytes", STAMP_DIGITS + 1);
    set_server(host, argv[2]);
    struct reader *readers = calloc(reader_count, sizeof *readers);
    for (int at = 0; at < reader_count; at++)
        follow(&readers[at]);
    pthread_t reading;
    pthread_create(&reading, NULL, read_all, readers);
    uint64_t counted = 0;
    double cpu = 0, took = publish_all(&counted, &cpu);
    atomic_store(&measuring, false);
    atomic_store(&publishing_done, true);
    pthread_join(reading, NULL);
    for (int at = 0; at < reader_count; at++)
        if (readers[at].got != atomic_load(&published))
            fail("a reader got %lu records of %lu", (unsigned long)readers[at].got, (unsigned long)published);
    printf("{\"deliveries_per_second\": %.0f, \"p50_ms\": %.2f, \"p99_ms\": %.2f, \"p999_ms\": %.2f, \"load_cpu\": %.2f}\n",
           counted / took, percentile_ms(0.50), percentile_ms(0.99), percentile_ms(0.999), cpu / took);
    return 0;
}
