import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** A consumer that polls on a thread of its own and does what it is asked between polls. */
final class Member implements ConsumerRebalanceListener {
    private static final Map<String, String> ASSIGNORS = Map.of(
            "range", "org.apache.kafka.clients.consumer.RangeAssignor",
            "roundrobin", "org.apache.kafka.clients.consumer.RoundRobinAssignor",
            "sticky", "org.apache.kafka.clients.consumer.StickyAssignor",
            "cooperative-sticky", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");

    private final KafkaConsumer<byte[], byte[]> consumer;
    private final Thread thread = new Thread(this::run, "member");
    private final ConcurrentLinkedQueue<Order> orders = new ConcurrentLinkedQueue<>();
    private volatile boolean leaving;

    // Guarded by `this`.
    private final List<Object> received = new ArrayList<>();
    private final List<Object> errors = new ArrayList<>();
    private final TreeSet<TopicPartition> assigned =
            new TreeSet<>((a, b) -> a.topic().equals(b.topic())
                    ? Integer.compare(a.partition(), b.partition())
                    : a.topic().compareTo(b.topic()));
    private int assignments;
    private int revoked;

    private record Order(Runnable what, CompletableFuture<Void> done) {}

    Member(String bootstrap, JsonNode how) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("group.id", how.get("group").asText());
        settings.put("auto.offset.reset", how.path("reset").asText("earliest"));
        settings.put("enable.auto.commit", false);
        settings.put("session.timeout.ms", how.path("session_ms").asInt(6000));
        settings.put("heartbeat.interval.ms", 500);
        settings.put("fetch.max.wait.ms", 100);
        settings.put("reconnect.backoff.max.ms", 500);
        settings.put("partition.assignment.strategy", ASSIGNORS.get(how.path("assignor").asText("range")));
        if (how.hasNonNull("instance")) {
            settings.put("group.instance.id", how.get("instance").asText());
        }
        consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        if (how.hasNonNull("start")) {
            for (JsonNode place : how.get("start")) {
                assigned.add(new TopicPartition(place.get(0).asText(), place.get(1).asInt()));
            }
            consumer.assign(assigned);
            for (JsonNode place : how.get("start")) {
                consumer.seek(
                        new TopicPartition(place.get(0).asText(), place.get(1).asInt()),
                        place.get(2).asLong());
            }
        } else {
            List<String> topics = new ArrayList<>();
            how.get("topics").forEach(topic -> topics.add(topic.asText()));
            consumer.subscribe(topics, this);
        }
    }

    void start() {
        thread.setDaemon(true);
        thread.start();
    }

    private void run() {
        while (!leaving) {
            try {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(50))) {
                    synchronized (this) {
                        received.add(Wire.record(record));
                    }
                }
            } catch (RuntimeException failure) {
                synchronized (this) {
                    errors.add(Agent.describe(failure));
                }
            }
            for (Order order; (order = orders.poll()) != null; ) {
                try {
                    order.what.run();
                    order.done.complete(null);
                } catch (RuntimeException failure) {
                    order.done.completeExceptionally(failure);
                }
            }
        }
        consumer.close();
    }

    void betweenPolls(Runnable what) throws Exception {
        Order order = new Order(what, new CompletableFuture<>());
        orders.add(order);
        order.done.get(60, TimeUnit.SECONDS);
    }

    void commit() {
        consumer.commitSync();
    }

    void pause() {
        consumer.pause(consumer.assignment());
    }

    void resume() {
        consumer.resume(consumer.assignment());
    }

    void seek(String topic, int partition, long offset) {
        consumer.seek(new TopicPartition(topic, partition), offset);
    }

    void leave() throws InterruptedException {
        leaving = true;
        thread.join(30_000);
    }

    synchronized Map<String, Object> state(boolean drain) {
        List<Object> places = new ArrayList<>();
        assigned.forEach(place -> places.add(List.of(place.topic(), place.partition())));
        Map<String, Object> state = Map.of(
                "assigned", places,
                "assignments", assignments,
                "revoked", revoked,
                "received", List.copyOf(received),
                "errors", List.copyOf(errors));
        if (drain) {
            received.clear();
            errors.clear();
        }
        return state;
    }

    @Override
    public synchronized void onPartitionsAssigned(Collection<TopicPartition> partitions) {
        assigned.addAll(partitions);
        assignments++;
    }

    @Override
    public synchronized void onPartitionsRevoked(Collection<TopicPartition> partitions) {
        assigned.removeAll(partitions);
        revoked += partitions.size();
    }
}
