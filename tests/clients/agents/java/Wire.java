import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;

/** Records between their JSON form and the client's. */
final class Wire {
    private Wire() {}

    static byte[] bytes(JsonNode value) {
        return value == null || value.isNull() || value.isMissingNode() ? null : Base64.getDecoder().decode(value.asText());
    }

    static String text(byte[] value) {
        return value == null ? null : Base64.getEncoder().encodeToString(value);
    }

    static List<Header> headers(JsonNode record) {
        List<Header> headers = new ArrayList<>();
        for (JsonNode header : record.path("headers")) {
            headers.add(new RecordHeader(header.get(0).asText(), bytes(header.get(1))));
        }
        return headers;
    }

    static Map<String, Object> record(ConsumerRecord<byte[], byte[]> record) {
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("topic", record.topic());
        out.put("partition", record.partition());
        out.put("offset", record.offset());
        out.put("timestamp", record.timestamp());
        out.put("key", text(record.key()));
        out.put("value", text(record.value()));
        List<List<String>> headers = new ArrayList<>();
        for (Header header : record.headers()) {
            List<String> pair = new ArrayList<>();
            pair.add(header.key());
            pair.add(text(header.value()));
            headers.add(pair);
        }
        out.put("headers", headers);
        return out;
    }

    static Map<String, String> strings(JsonNode object) {
        Map<String, String> out = new LinkedHashMap<>();
        object.properties().forEach(entry -> out.put(entry.getKey(), entry.getValue().asText()));
        return out;
    }
}
