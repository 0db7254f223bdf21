import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.ApiException;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Writing with any setting, and reading with assigned partitions, without a group. */
final class ProduceAndFetch {
    private final String bootstrap;

    ProduceAndFetch(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    void offer(Map<String, Agent.Operation> operations) {
        operations.put("produce", this::produce);
        operations.put("fetch", this::fetch);
        operations.put("begin_transactions", this::beginTransactions);
    }

    private Object beginTransactions(JsonNode arguments) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("transactional.id", arguments.get("transactional_id").asText());
        try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            try {
                producer.initTransactions();
                return Map.of("code", 0);
            } catch (ApiException refused) {
                return Map.of(
                        "code", Errors.forException(refused).code(),
                        "retriable", refused instanceof RetriableException,
                        "fatal", refusesAllElse(producer));
            }
        }
    }

    private static boolean refusesAllElse(KafkaProducer<byte[], byte[]> producer) {
        try {
            producer.beginTransaction();
            return false;
        } catch (KafkaException | IllegalStateException refused) {
            return true;
        }
    }

    private Object produce(JsonNode arguments) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("compression.type", arguments.path("compression").asText("none"));
        settings.put("acks", arguments.path("acks").asText("all"));
        settings.put("enable.idempotence", arguments.path("idempotent").asBoolean(false));
        settings.put("linger.ms", 5);
        settings.put("delivery.timeout.ms", 30_000);
        settings.put("request.timeout.ms", 20_000);
        if (arguments.hasNonNull("request_bytes_max")) {
            settings.put("max.request.size", arguments.get("request_bytes_max").asInt());
        }
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (JsonNode record : arguments.get("records")) {
                sent.add(producer.send(new ProducerRecord<>(
                        arguments.get("topic").asText(),
                        record.hasNonNull("partition") ? record.get("partition").asInt() : null,
                        record.hasNonNull("timestamp") ? record.get("timestamp").asLong() : null,
                        Wire.bytes(record.get("key")),
                        Wire.bytes(record.get("value")),
                        Wire.headers(record))));
            }
            producer.flush();
        }
        List<Map<String, Object>> places = new ArrayList<>();
        for (Future<RecordMetadata> future : sent) {
            RecordMetadata place = future.get();
            places.add(Map.of("partition", place.partition(), "offset", place.offset()));
        }
        return places;
    }

    private Object fetch(JsonNode arguments) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("enable.auto.commit", false);
        settings.put("auto.offset.reset", "none");
        settings.put("fetch.max.wait.ms", 100);
        String topic = arguments.get("topic").asText();
        JsonNode start = arguments.get("start");
        int count = arguments.get("count").asInt();
        long deadline = System.currentTimeMillis() + (long) (arguments.path("seconds").asDouble(20) * 1000);
        List<Map<String, Object>> records = new ArrayList<>();
        try (var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> partitions = consumer.partitionsFor(topic).stream()
                    .map(info -> new TopicPartition(topic, info.partition()))
                    .toList();
            consumer.assign(partitions);
            position(consumer, partitions, start);
            while (records.size() < count && System.currentTimeMillis() < deadline) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    records.add(Wire.record(record));
                }
            }
        }
        return records;
    }

    private static void position(
            KafkaConsumer<byte[], byte[]> consumer, List<TopicPartition> partitions, JsonNode start) {
        if (start.asText().equals("earliest")) {
            consumer.seekToBeginning(partitions);
        } else if (start.asText().equals("latest")) {
            consumer.seekToEnd(partitions);
        } else if (start.has("offset")) {
            partitions.forEach(partition -> consumer.seek(partition, start.get("offset").asLong()));
        } else {
            Map<TopicPartition, Long> times = new HashMap<>();
            partitions.forEach(partition -> times.put(partition, start.get("time").asLong()));
            Map<TopicPartition, OffsetAndTimestamp> found = consumer.offsetsForTimes(times);
            for (TopicPartition partition : partitions) {
                if (found.get(partition) == null) {
                    consumer.seekToEnd(List.of(partition));
                } else {
                    consumer.seek(partition, found.get(partition).offset());
                }
            }
        }
    }
}
