import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.GroupListing;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;

/** What an operator does, through the Java client's Admin. */
final class Administration {
    private final Map<String, Object> settings;
    private Admin shared;

    Administration(String bootstrap) {
        settings = Map.of("bootstrap.servers", bootstrap, "reconnect.backoff.max.ms", 500);
    }

    void offer(Map<String, Agent.Operation> operations) {
        operations.put("create_topic", this::createTopic);
        operations.put("delete_topic", this::deleteTopic);
        operations.put("create_partitions", this::createPartitions);
        operations.put("list_topics", arguments -> admin().listTopics().names().get());
        operations.put("describe_topic", this::describeTopic);
        operations.put("describe_configs", this::describeConfigs);
        operations.put("alter_configs", this::alterConfigs);
        operations.put("delete_records", this::deleteRecords);
        operations.put("list_offsets", this::listOffsets);
        operations.put("list_groups", arguments -> admin().listGroups().all().get().stream()
                .map(GroupListing::groupId)
                .toList());
        operations.put("describe_group", this::describeGroup);
        operations.put("delete_group", arguments ->
                admin().deleteConsumerGroups(List.of(text(arguments, "group"))).all().get());
        operations.put("group_offsets", this::groupOffsets);
        operations.put("alter_group_offsets", this::alterGroupOffsets);
        operations.put("delete_group_offsets", this::deleteGroupOffsets);
        operations.put("log_dirs", this::logDirs);
        operations.put("describe_cluster", this::describeCluster);
    }

    private Admin admin() {
        if (shared == null) {
            shared = Admin.create(settings);
        }
        return shared;
    }

    private static String text(JsonNode arguments, String name) {
        return arguments.get(name).asText();
    }

    private Object createTopic(JsonNode arguments) throws Exception {
        NewTopic topic = new NewTopic(
                text(arguments, "topic"),
                Optional.of(arguments.path("partitions").asInt(1)),
                Optional.empty());
        topic.configs(Wire.strings(arguments.path("configs")));
        return admin().createTopics(List.of(topic)).all().get();
    }

    private Object deleteTopic(JsonNode arguments) throws Exception {
        return admin().deleteTopics(List.of(text(arguments, "topic"))).all().get();
    }

    private Object createPartitions(JsonNode arguments) throws Exception {
        NewPartitions total = NewPartitions.increaseTo(arguments.get("total").asInt());
        return admin().createPartitions(Map.of(text(arguments, "topic"), total)).all().get();
    }

    private TopicDescription description(String topic) throws Exception {
        return admin().describeTopics(List.of(topic)).allTopicNames().get().get(topic);
    }

    private List<TopicPartition> partitions(String topic) throws Exception {
        return description(topic).partitions().stream()
                .map(info -> new TopicPartition(topic, info.partition()))
                .toList();
    }

    private Object describeTopic(JsonNode arguments) throws Exception {
        TopicDescription description = description(text(arguments, "topic"));
        return Map.of(
                "partitions", description.partitions().size(),
                "id", description.topicId().toString());
    }

    private static ConfigResource resource(JsonNode arguments) {
        return new ConfigResource(ConfigResource.Type.TOPIC, text(arguments, "topic"));
    }

    private Object describeConfigs(JsonNode arguments) throws Exception {
        ConfigResource topic = resource(arguments);
        Map<String, String> values = new TreeMap<>();
        admin().describeConfigs(List.of(topic)).all().get().get(topic).entries()
                .forEach(entry -> values.put(entry.name(), entry.value()));
        return values;
    }

    private Object alterConfigs(JsonNode arguments) throws Exception {
        Collection<AlterConfigOp> changes = new ArrayList<>();
        Wire.strings(arguments.path("set")).forEach((name, value) ->
                changes.add(new AlterConfigOp(new ConfigEntry(name, value), AlterConfigOp.OpType.SET)));
        arguments.path("delete").forEach(name ->
                changes.add(new AlterConfigOp(new ConfigEntry(name.asText(), null), AlterConfigOp.OpType.DELETE)));
        return admin().incrementalAlterConfigs(Map.of(resource(arguments), changes)).all().get();
    }

    private Object deleteRecords(JsonNode arguments) throws Exception {
        Map<TopicPartition, RecordsToDelete> wanted = new HashMap<>();
        arguments.get("before").properties().forEach(entry -> wanted.put(
                new TopicPartition(text(arguments, "topic"), Integer.parseInt(entry.getKey())),
                RecordsToDelete.beforeOffset(entry.getValue().asLong())));
        return admin().deleteRecords(wanted).all().get();
    }

    private Object listOffsets(JsonNode arguments) throws Exception {
        JsonNode at = arguments.get("at");
        OffsetSpec spec = switch (at.asText()) {
            case "earliest" -> OffsetSpec.earliest();
            case "latest" -> OffsetSpec.latest();
            case "max_timestamp" -> OffsetSpec.maxTimestamp();
            default -> OffsetSpec.forTimestamp(at.asLong());
        };
        Map<TopicPartition, OffsetSpec> wanted = new HashMap<>();
        partitions(text(arguments, "topic")).forEach(partition -> wanted.put(partition, spec));
        Map<Integer, Long> offsets = new TreeMap<>();
        admin().listOffsets(wanted).all().get().forEach((partition, found) ->
                offsets.put(partition.partition(), found.offset()));
        return offsets;
    }

    private Object describeGroup(JsonNode arguments) throws Exception {
        String group = text(arguments, "group");
        var described = admin().describeConsumerGroups(List.of(group)).all().get().get(group);
        List<Object> members = new ArrayList<>();
        described.members().forEach(member -> {
            List<Object> assignment = new ArrayList<>();
            member.assignment().topicPartitions().forEach(place ->
                    assignment.add(List.of(place.topic(), place.partition())));
            Map<String, Object> out = new HashMap<>();
            out.put("client_id", member.clientId());
            out.put("instance", member.groupInstanceId().orElse(null));
            out.put("assignment", assignment);
            members.add(out);
        });
        return Map.of(
                "state", described.groupState().toString(),
                "protocol", described.partitionAssignor(),
                "members", members);
    }

    private Object groupOffsets(JsonNode arguments) throws Exception {
        List<Object> out = new ArrayList<>();
        admin().listConsumerGroupOffsets(text(arguments, "group")).partitionsToOffsetAndMetadata().get()
                .forEach((place, offset) ->
                        out.add(List.of(place.topic(), place.partition(), offset.offset())));
        return out;
    }

    private Object alterGroupOffsets(JsonNode arguments) throws Exception {
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        for (JsonNode place : arguments.get("offsets")) {
            offsets.put(
                    new TopicPartition(place.get(0).asText(), place.get(1).asInt()),
                    new OffsetAndMetadata(place.get(2).asLong()));
        }
        return admin().alterConsumerGroupOffsets(text(arguments, "group"), offsets).all().get();
    }

    private Object deleteGroupOffsets(JsonNode arguments) throws Exception {
        Set<TopicPartition> places = new HashSet<>();
        arguments.get("partitions").forEach(partition ->
                places.add(new TopicPartition(text(arguments, "topic"), partition.asInt())));
        return admin().deleteConsumerGroupOffsets(text(arguments, "group"), places).all().get();
    }

    private Object logDirs(JsonNode arguments) throws Exception {
        Map<Integer, Long> sizes = new TreeMap<>();
        for (Node node : admin().describeCluster().nodes().get()) {
            admin().describeLogDirs(List.of(node.id())).allDescriptions().get().get(node.id()).values()
                    .forEach(directory -> directory.replicaInfos().forEach((place, info) -> {
                        if (place.topic().equals(text(arguments, "topic"))) {
                            sizes.put(place.partition(), info.size());
                        }
                    }));
        }
        return sizes;
    }

    private Object describeCluster(JsonNode arguments) throws Exception {
        var cluster = admin().describeCluster();
        List<Object> brokers = new ArrayList<>();
        cluster.nodes().get().forEach(node ->
                brokers.add(Map.of("id", node.id(), "host", node.host(), "port", node.port())));
        return Map.of(
                "id", cluster.clusterId().get(),
                "controller", cluster.controller().get().id(),
                "brokers", brokers);
    }
}
