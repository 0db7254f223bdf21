package main

import (
	"context"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"

	"millstream.test/agents/agent"
)

func administration(operations map[string]agent.Operation) {
	topic := func(run func(context.Context, *kadm.Client, agent.Topic) (any, error)) agent.Operation {
		return agent.Typed(func(wanted agent.Topic) (any, error) {
			return withAdmin(func(ctx context.Context, admin *kadm.Client) (any, error) { return run(ctx, admin, wanted) })
		})
	}
	group := func(run func(context.Context, *kadm.Client, agent.Group) (any, error)) agent.Operation {
		return agent.Typed(func(wanted agent.Group) (any, error) {
			return withAdmin(func(ctx context.Context, admin *kadm.Client) (any, error) { return run(ctx, admin, wanted) })
		})
	}
	operations["create_topic"] = topic(createTopic)
	operations["delete_topic"] = topic(deleteTopic)
	operations["create_partitions"] = topic(createPartitions)
	operations["list_topics"] = topic(listTopics)
	operations["describe_topic"] = topic(describeTopic)
	operations["describe_configs"] = topic(describeConfigs)
	operations["alter_configs"] = topic(alterConfigs)
	operations["replace_configs"] = topic(replaceConfigs)
	operations["delete_records"] = topic(deleteRecords)
	operations["list_offsets"] = topic(listOffsets)
	operations["log_dirs"] = topic(logDirs)
	operations["describe_cluster"] = topic(describeCluster)
	operations["list_groups"] = group(listGroups)
	operations["describe_group"] = group(describeGroup)
	operations["delete_group"] = group(deleteGroup)
	operations["group_offsets"] = group(groupOffsets)
	operations["alter_group_offsets"] = group(alterGroupOffsets)
	operations["delete_group_offsets"] = group(deleteGroupOffsets)
}

func withAdmin(run func(context.Context, *kadm.Client) (any, error)) (any, error) {
	client, err := connect()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := soon()
	defer cancel()
	return run(ctx, kadm.NewClient(client))
}

func createTopic(ctx context.Context, admin *kadm.Client, wanted agent.Topic) (any, error) {
	configs := map[string]*string{}
	for name, value := range wanted.Configs {
		configs[name] = &value
	}
	_, err := admin.CreateTopic(ctx, max(wanted.Partitions, 1), -1, configs, wanted.Topic)
	return nil, err
}

func deleteTopic(ctx context.Context, admin *kadm.Client, wanted agent.Topic) (any, error) {
	_, err := admin.DeleteTopic(ctx, wanted.Topic)
	return nil, err
}

func createPartitions(ctx context.Context, admin *kadm.Client, wanted agent.Topic) (any, error) {
	results, err := admin.UpdatePartitions(ctx, int(wanted.Total), wanted.Topic)
	if err != nil {
		return nil, err
	}
	return nil, results.Error()
}

func listTopics(ctx context.Context, admin *kadm.Client, _ agent.Topic) (any, error) {
	topics, err := admin.ListTopics(ctx)
	return topics.Names(), err
}

func describeTopic(ctx context.Context, admin *kadm.Client, wanted agent.Topic) (any, error) {
	topics, err := admin.ListTopics(ctx, wanted.Topic)
	if err != nil {
		return nil, err
	}
	described := topics[wanted.Topic]
	return map[string]any{"partitions": len(described.Partitions), "id": described.ID.String()}, described.Err
}

func describeConfigs(ctx context.Context, admin *kadm.Client, wanted agent.Topic) (any, error) {
	resources, err := admin.DescribeTopicConfigs(ctx, wanted.Topic)
	if err != nil {
		return nil, err
	}
	values := map[string]*string{}
	for _, config := range resources[0].Configs {
		values[config.Key] = config.Value
	}
	return values, resources[0].Err
}

func alterConfigs(ctx context.Context, admin *kadm.Client, wanted agent.Topic) (any, error) {
	var changes []kadm.AlterConfig
	for name, value := range wanted.Set {
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value})
	}
	for _, name := range wanted.Delete {
		changes = append(changes, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: name})
	}
	results, err := admin.AlterTopicConfigs(ctx, changes, wanted.Topic)
	if err != nil {
		return nil, err
	}
	return nil, results[0].Err
}

func replaceConfigs(ctx context.Context, admin *kadm.Client, wanted agent.Topic) (any, error) {
	var configs []kadm.AlterConfig
	for name, value := range wanted.Configs {
		configs = append(configs, kadm.AlterConfig{Name: name, Value: &value})
	}
	results, err := admin.AlterTopicConfigsState(ctx, configs, wanted.Topic)
	if err != nil {
		return nil, err
	}
	return nil, results[0].Err
}

func deleteRecords(ctx context.Context, admin *kadm.Client, wanted agent.Topic) (any, error) {
	before := kadm.Offsets{}
	for partition, offset := range wanted.Before {
		before.AddOffset(wanted.Topic, partition, offset, -1)
	}
	results, err := admin.DeleteRecords(ctx, before)
	if err != nil {
		return nil, err
	}
	return nil, results.Error()
}

func listOffsets(ctx context.Context, admin *kadm.Client, wanted agent.Topic) (any, error) {
	var listed kadm.ListedOffsets
	var err error
	switch at := wanted.At.(type) {
	case float64:
		listed, err = admin.ListOffsetsAfterMilli(ctx, int64(at), wanted.Topic)
	case string:
		switch at {
		case "latest":
			listed, err = admin.ListEndOffsets(ctx, wanted.Topic)
		case "max_timestamp":
			listed, err = admin.ListMaxTimestampOffsets(ctx, wanted.Topic)
		default:
			listed, err = admin.ListStartOffsets(ctx, wanted.Topic)
		}
	}
	if err == nil {
		err = listed.Error()
	}
	offsets := map[string]int64{}
	listed.Each(func(offset kadm.ListedOffset) { offsets[strconv.Itoa(int(offset.Partition))] = offset.Offset })
	return offsets, err
}

func logDirs(ctx context.Context, admin *kadm.Client, wanted agent.Topic) (any, error) {
	described, err := admin.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		return nil, err
	}
	sizes := map[string]int64{}
	described.Each(func(directory kadm.DescribedLogDir) {
		for partition, replica := range directory.Topics[wanted.Topic] {
			sizes[strconv.Itoa(int(partition))] = replica.Size
		}
	})
	return sizes, nil
}

func describeCluster(ctx context.Context, admin *kadm.Client, _ agent.Topic) (any, error) {
	cluster, err := admin.BrokerMetadata(ctx)
	if err != nil {
		return nil, err
	}
	var brokers []any
	for _, broker := range cluster.Brokers {
		brokers = append(brokers, map[string]any{"id": broker.NodeID, "host": broker.Host, "port": broker.Port})
	}
	return map[string]any{"id": cluster.Cluster, "controller": cluster.Controller, "brokers": brokers}, nil
}

func listGroups(ctx context.Context, admin *kadm.Client, _ agent.Group) (any, error) {
	groups, err := admin.ListGroups(ctx)
	return groups.Groups(), err
}

func describeGroup(ctx context.Context, admin *kadm.Client, wanted agent.Group) (any, error) {
	groups, err := admin.DescribeGroups(ctx, wanted.Group)
	if err != nil {
		return nil, err
	}
	described := groups[wanted.Group]
	members := []any{}
	for _, member := range described.Members {
		assignment := [][2]any{}
		if assigned, ok := member.Assigned.AsConsumer(); ok {
			for _, topic := range assigned.Topics {
				for _, partition := range topic.Partitions {
					assignment = append(assignment, [2]any{topic.Topic, partition})
				}
			}
		}
		members = append(members, map[string]any{
			"client_id": member.ClientID, "instance": member.InstanceID, "assignment": assignment,
		})
	}
	return map[string]any{"state": described.State, "protocol": described.Protocol, "members": members}, described.Err
}

func deleteGroup(ctx context.Context, admin *kadm.Client, wanted agent.Group) (any, error) {
	_, err := admin.DeleteGroup(ctx, wanted.Group)
	return nil, err
}

func groupOffsets(ctx context.Context, admin *kadm.Client, wanted agent.Group) (any, error) {
	found, err := admin.FetchOffsets(ctx, wanted.Group)
	offsets := [][3]any{}
	found.Each(func(offset kadm.OffsetResponse) {
		offsets = append(offsets, [3]any{offset.Topic, offset.Partition, offset.At})
	})
	return offsets, err
}

func alterGroupOffsets(ctx context.Context, admin *kadm.Client, wanted agent.Group) (any, error) {
	offsets := kadm.Offsets{}
	for _, place := range wanted.Offsets {
		topic, partition, offset := agent.At(place)
		offsets.AddOffset(topic, partition, offset, -1)
	}
	return nil, admin.CommitAllOffsets(ctx, wanted.Group, offsets)
}

func deleteGroupOffsets(ctx context.Context, admin *kadm.Client, wanted agent.Group) (any, error) {
	places := kadm.TopicsSet{}
	places.Add(wanted.Topic, wanted.Partitions...)
	results, err := admin.DeleteOffsets(ctx, wanted.Group, places)
	if err != nil {
		return nil, err
	}
	return nil, results.Error()
}
