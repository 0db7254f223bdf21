package main

import (
	"net"
	"strconv"

	"github.com/IBM/sarama"

	"millstream.test/agents/agent"
)

func administration(operations map[string]agent.Operation) {
	topic := func(run func(sarama.ClusterAdmin, agent.Topic) (any, error)) agent.Operation {
		return agent.Typed(func(wanted agent.Topic) (any, error) {
			return withAdmin(func(admin sarama.ClusterAdmin) (any, error) { return run(admin, wanted) })
		})
	}
	group := func(run func(sarama.ClusterAdmin, agent.Group) (any, error)) agent.Operation {
		return agent.Typed(func(wanted agent.Group) (any, error) {
			return withAdmin(func(admin sarama.ClusterAdmin) (any, error) { return run(admin, wanted) })
		})
	}
	operations["create_topic"] = topic(createTopic)
	operations["delete_topic"] = topic(func(admin sarama.ClusterAdmin, wanted agent.Topic) (any, error) {
		return nil, admin.DeleteTopic(wanted.Topic)
	})
	operations["create_partitions"] = topic(func(admin sarama.ClusterAdmin, wanted agent.Topic) (any, error) {
		return nil, admin.CreatePartitions(wanted.Topic, wanted.Total, nil, false)
	})
	operations["list_topics"] = topic(listTopics)
	operations["describe_topic"] = topic(describeTopic)
	operations["describe_configs"] = topic(describeConfigs)
	operations["alter_configs"] = topic(alterConfigs)
	operations["replace_configs"] = topic(replaceConfigs)
	operations["delete_records"] = topic(func(admin sarama.ClusterAdmin, wanted agent.Topic) (any, error) {
		return nil, admin.DeleteRecords(wanted.Topic, wanted.Before)
	})
	operations["log_dirs"] = topic(logDirs)
	operations["list_offsets"] = agent.Typed(listOffsets)
	operations["describe_cluster"] = topic(describeCluster)
	operations["list_groups"] = group(listGroups)
	operations["describe_group"] = group(describeGroup)
	operations["delete_group"] = group(func(admin sarama.ClusterAdmin, wanted agent.Group) (any, error) {
		return nil, admin.DeleteConsumerGroup(wanted.Group)
	})
	operations["group_offsets"] = group(groupOffsets)
	operations["delete_group_offsets"] = group(deleteGroupOffsets)
}

func withAdmin(run func(sarama.ClusterAdmin) (any, error)) (any, error) {
	admin, err := sarama.NewClusterAdmin(bootstrap, settings())
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	return run(admin)
}

func pointers(values map[string]string) map[string]*string {
	out := map[string]*string{}
	for name, value := range values {
		out[name] = &value
	}
	return out
}

func createTopic(admin sarama.ClusterAdmin, wanted agent.Topic) (any, error) {
	return nil, admin.CreateTopic(wanted.Topic, &sarama.TopicDetail{
		NumPartitions:     max(wanted.Partitions, 1),
		ReplicationFactor: 1,
		ConfigEntries:     pointers(wanted.Configs),
	}, false)
}

func listTopics(admin sarama.ClusterAdmin, _ agent.Topic) (any, error) {
	topics, err := admin.ListTopics()
	names := []string{}
	for name := range topics {
		names = append(names, name)
	}
	return names, err
}

func describeTopic(admin sarama.ClusterAdmin, wanted agent.Topic) (any, error) {
	topics, err := admin.DescribeTopics([]string{wanted.Topic})
	if err != nil {
		return nil, err
	}
	if topics[0].Err != sarama.ErrNoError {
		return nil, topics[0].Err
	}
	return map[string]any{"partitions": len(topics[0].Partitions)}, nil
}

func describeConfigs(admin sarama.ClusterAdmin, wanted agent.Topic) (any, error) {
	entries, err := admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: wanted.Topic})
	values := map[string]string{}
	for _, entry := range entries {
		values[entry.Name] = entry.Value
	}
	return values, err
}

func alterConfigs(admin sarama.ClusterAdmin, wanted agent.Topic) (any, error) {
	changes := map[string]sarama.IncrementalAlterConfigsEntry{}
	for name, value := range wanted.Set {
		changes[name] = sarama.IncrementalAlterConfigsEntry{
			Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value,
		}
	}
	for _, name := range wanted.Delete {
		changes[name] = sarama.IncrementalAlterConfigsEntry{Operation: sarama.IncrementalAlterConfigsOperationDelete}
	}
	return nil, admin.IncrementalAlterConfig(sarama.TopicResource, wanted.Topic, changes, false)
}

func replaceConfigs(admin sarama.ClusterAdmin, wanted agent.Topic) (any, error) {
	return nil, admin.AlterConfig(sarama.TopicResource, wanted.Topic, pointers(wanted.Configs), false)
}

func logDirs(admin sarama.ClusterAdmin, wanted agent.Topic) (any, error) {
	brokers, _, err := admin.DescribeCluster()
	if err != nil {
		return nil, err
	}
	described, err := admin.DescribeLogDirs([]int32{brokers[0].ID()})
	if err != nil {
		return nil, err
	}
	sizes := map[string]int64{}
	for _, directory := range described[brokers[0].ID()] {
		for _, topic := range directory.Topics {
			for _, partition := range topic.Partitions {
				if topic.Topic == wanted.Topic {
					sizes[strconv.Itoa(int(partition.PartitionID))] = partition.Size
				}
			}
		}
	}
	return sizes, nil
}

func listOffsets(wanted agent.Topic) (any, error) {
	client, err := sarama.NewClient(bootstrap, settings())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	partitions, err := client.Partitions(wanted.Topic)
	if err != nil {
		return nil, err
	}
	offsets := map[string]int64{}
	for _, partition := range partitions {
		at := sarama.OffsetOldest
		if time, ok := wanted.At.(float64); ok {
			at = int64(time)
		} else if wanted.At == "latest" {
			at = sarama.OffsetNewest
		}
		offset, err := client.GetOffset(wanted.Topic, partition, at)
		if err != nil {
			return nil, err
		}
		offsets[strconv.Itoa(int(partition))] = offset
	}
	return offsets, nil
}

func describeCluster(admin sarama.ClusterAdmin, _ agent.Topic) (any, error) {
	nodes, controller, err := admin.DescribeCluster()
	if err != nil {
		return nil, err
	}
	var brokers []any
	for _, node := range nodes {
		host, port, err := splitAddress(node.Addr())
		if err != nil {
			return nil, err
		}
		brokers = append(brokers, map[string]any{"id": node.ID(), "host": host, "port": port})
	}
	return map[string]any{"id": nil, "controller": controller, "brokers": brokers}, nil
}

func listGroups(admin sarama.ClusterAdmin, _ agent.Group) (any, error) {
	groups, err := admin.ListConsumerGroups()
	names := []string{}
	for name := range groups {
		names = append(names, name)
	}
	return names, err
}

func describeGroup(admin sarama.ClusterAdmin, wanted agent.Group) (any, error) {
	groups, err := admin.DescribeConsumerGroups([]string{wanted.Group})
	if err != nil {
		return nil, err
	}
	described := groups[0]
	if described.Err != sarama.ErrNoError {
		return nil, described.Err
	}
	members := []any{}
	for _, member := range described.Members {
		assignment := [][2]any{}
		if assigned, err := member.GetMemberAssignment(); err == nil && assigned != nil {
			for topic, partitions := range assigned.Topics {
				for _, partition := range partitions {
					assignment = append(assignment, [2]any{topic, partition})
				}
			}
		}
		members = append(members, map[string]any{
			"client_id": member.ClientId, "instance": member.GroupInstanceId, "assignment": assignment,
		})
	}
	return map[string]any{"state": described.State, "protocol": described.Protocol, "members": members}, nil
}

func groupOffsets(admin sarama.ClusterAdmin, wanted agent.Group) (any, error) {
	found, err := admin.ListConsumerGroupOffsets(wanted.Group, nil)
	if err != nil {
		return nil, err
	}
	offsets := [][3]any{}
	for topic, partitions := range found.Blocks {
		for partition, block := range partitions {
			offsets = append(offsets, [3]any{topic, partition, block.Offset})
		}
	}
	return offsets, nil
}

func deleteGroupOffsets(admin sarama.ClusterAdmin, wanted agent.Group) (any, error) {
	for _, partition := range wanted.Partitions {
		if err := admin.DeleteConsumerGroupOffset(wanted.Group, wanted.Topic, partition); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func splitAddress(address string) (string, int, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.Atoi(text)
	return host, port, err
}
