// What an operator does, through kafkajs' admin client.

export function administration(kafka, { AssignerProtocol, ConfigResourceTypes }) {
  const withAdmin = async (call) => {
    const admin = kafka.admin()
    await admin.connect()
    try {
      return await call(admin)
    } finally {
      await admin.disconnect()
    }
  }
  const numbered = (entries, field) =>
    Object.fromEntries(entries.map((entry) => [String(entry.partition), Number(entry[field])]))

  return {
    create_topic: ({ topic, partitions = 1, configs = {} }) =>
      withAdmin((admin) =>
        admin.createTopics({
          topics: [
            {
              topic,
              numPartitions: partitions,
              replicationFactor: 1,
              configEntries: Object.entries(configs).map(([name, value]) => ({ name, value })),
            },
          ],
        }),
      ),
    delete_topic: ({ topic }) => withAdmin((admin) => admin.deleteTopics({ topics: [topic] })),
    create_partitions: ({ topic, total }) =>
      withAdmin((admin) => admin.createPartitions({ topicPartitions: [{ topic, count: total }] })),
    list_topics: () => withAdmin((admin) => admin.listTopics()),
    describe_topic: ({ topic }) =>
      withAdmin(async (admin) => {
        const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
        return { partitions: topics[0].partitions.length }
      }),
    describe_configs: ({ topic }) =>
      withAdmin(async (admin) => {
        const { resources } = await admin.describeConfigs({
          includeSynonyms: false,
          resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }],
        })
        return Object.fromEntries(resources[0].configEntries.map(({ configName, configValue }) => [configName, configValue]))
      }),
    replace_configs: ({ topic, configs }) =>
      withAdmin((admin) =>
        admin.alterConfigs({
          validateOnly: false,
          resources: [
            {
              type: ConfigResourceTypes.TOPIC,
              name: topic,
              configEntries: Object.entries(configs).map(([name, value]) => ({ name, value })),
            },
          ],
        }),
      ).then(() => null),
    delete_records: ({ topic, before }) =>
      withAdmin(async (admin) => {
        // The call below takes the topic's leaders from what the client knows by then, and does not ask for them.
        await admin.fetchTopicOffsets(topic)
        await admin.deleteTopicRecords({
          topic,
          partitions: Object.entries(before).map(([partition, offset]) => ({
            partition: Number(partition),
            offset: String(offset),
          })),
        })
      }),
    list_offsets: ({ topic, at }) =>
      withAdmin(async (admin) => {
        if (at === 'earliest') return numbered(await admin.fetchTopicOffsets(topic), 'low')
        if (at === 'latest') return numbered(await admin.fetchTopicOffsets(topic), 'high')
        return numbered(await admin.fetchTopicOffsetsByTimestamp(topic, at), 'offset')
      }),
    list_groups: () =>
      withAdmin(async (admin) => (await admin.listGroups()).groups.map(({ groupId }) => groupId)),
    describe_group: ({ group }) =>
      withAdmin(async (admin) => {
        const [described] = (await admin.describeGroups([group])).groups
        return {
          state: described.state,
          protocol: described.protocol,
          members: described.members.map(({ clientId, memberAssignment }) => ({
            client_id: clientId,
            instance: null,
            assignment: assignmentOf(AssignerProtocol, memberAssignment),
          })),
        }
      }),
    delete_group: ({ group }) => withAdmin((admin) => admin.deleteGroups([group])),
    group_offsets: ({ group }) =>
      withAdmin(async (admin) =>
        (await admin.fetchOffsets({ groupId: group })).flatMap(({ topic, partitions }) =>
          partitions.map(({ partition, offset }) => [topic, partition, Number(offset)]),
        ),
      ),
    alter_group_offsets: ({ group, offsets }) =>
      withAdmin((admin) =>
        admin.setOffsets({
          groupId: group,
          topic: offsets[0][0],
          partitions: offsets.map(([, partition, offset]) => ({ partition, offset: String(offset) })),
        }),
      ),
    describe_cluster: () =>
      withAdmin(async (admin) => {
        const { clusterId, controller, brokers } = await admin.describeCluster()
        return {
          id: clusterId,
          controller,
          brokers: brokers.map(({ nodeId, host, port }) => ({ id: nodeId, host, port })),
        }
      }),
  }
}

function assignmentOf({ MemberAssignment }, bytes) {
  const decoded = bytes.length > 0 ? MemberAssignment.decode(bytes) : null
  return Object.entries(decoded?.assignment ?? {}).flatMap(([topic, partitions]) =>
    partitions.map((partition) => [topic, partition]),
  )
}
