// Kafkago is segmentio's kafka-go as an agent, in the oldest of its ways: a Conn to a broker, whose requests have fixed
// old versions, beside the Writer and the Reader; see ../../../protocol.py.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"millstream.test/agents/agent"
)

const secondsMax = 30

var bootstrap = os.Args[1]

func main() {
	agent.Serve(map[string]agent.Operation{
		"produce":        agent.Typed(produce),
		"fetch":          agent.Typed(fetch),
		"join":           agent.Typed(join),
		"tell":           agent.Typed(tell),
		"create_topic":   agent.Typed(createTopic),
		"delete_topic":   agent.Typed(deleteTopic),
		"describe_topic": agent.Typed(describeTopic),
		"list_offsets":   agent.Typed(listOffsets),
	}, codeOf)
}

func codeOf(err error) int {
	var several kafka.WriteErrors
	if errors.As(err, &several) {
		for _, one := range several {
			if one != nil {
				return codeOf(one)
			}
		}
	}
	var tooLarge kafka.MessageTooLargeError
	if errors.As(err, &tooLarge) {
		return int(kafka.MessageSizeTooLarge)
	}
	var broker kafka.Error
	if errors.As(err, &broker) {
		return int(broker)
	}
	return 0
}

func soon() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), secondsMax*time.Second)
}

func withConn(run func(*kafka.Conn) (any, error)) (any, error) {
	ctx, cancel := soon()
	defer cancel()
	conn, err := kafka.DialContext(ctx, "tcp", bootstrap)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(secondsMax * time.Second)); err != nil {
		return nil, err
	}
	return run(conn)
}

func createTopic(wanted agent.Topic) (any, error) {
	config := kafka.TopicConfig{
		Topic: wanted.Topic, NumPartitions: int(max(wanted.Partitions, 1)), ReplicationFactor: 1,
	}
	for name, value := range wanted.Configs {
		config.ConfigEntries = append(config.ConfigEntries, kafka.ConfigEntry{ConfigName: name, ConfigValue: value})
	}
	return withConn(func(conn *kafka.Conn) (any, error) { return nil, conn.CreateTopics(config) })
}

func deleteTopic(wanted agent.Topic) (any, error) {
	return withConn(func(conn *kafka.Conn) (any, error) { return nil, conn.DeleteTopics(wanted.Topic) })
}

func describeTopic(wanted agent.Topic) (any, error) {
	return withConn(func(conn *kafka.Conn) (any, error) {
		partitions, err := conn.ReadPartitions(wanted.Topic)
		return map[string]any{"partitions": len(partitions)}, err
	})
}

func partitionsOf(topic string) ([]int, error) {
	var numbers []int
	_, err := withConn(func(conn *kafka.Conn) (any, error) {
		partitions, err := conn.ReadPartitions(topic)
		for _, partition := range partitions {
			numbers = append(numbers, partition.ID)
		}
		return nil, err
	})
	return numbers, err
}

func listOffsets(wanted agent.Topic) (any, error) {
	partitions, err := partitionsOf(wanted.Topic)
	if err != nil {
		return nil, err
	}
	offsets := map[string]int64{}
	for _, partition := range partitions {
		ctx, cancel := soon()
		defer cancel()
		conn, err := kafka.DialLeader(ctx, "tcp", bootstrap, wanted.Topic, partition)
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		offset := int64(0)
		switch at := wanted.At.(type) {
		case float64:
			offset, err = conn.ReadOffset(time.UnixMilli(int64(at)))
		case string:
			if at == "latest" {
				offset, err = conn.ReadLastOffset()
			} else {
				offset, err = conn.ReadFirstOffset()
			}
		}
		if err != nil {
			return nil, err
		}
		offsets[fmt.Sprint(partition)] = offset
	}
	return offsets, nil
}

var codecs = map[string]kafka.Compression{
	"gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd,
}

var acks = map[string]kafka.RequiredAcks{
	"": kafka.RequireAll, "all": kafka.RequireAll, "1": kafka.RequireOne, "0": kafka.RequireNone,
}

func produce(wanted agent.Produce) (any, error) {
	messages := make([]kafka.Message, len(wanted.Records))
	for i, record := range wanted.Records {
		messages[i] = kafka.Message{Key: record.Key, Value: record.Value}
		if record.Timestamp != nil {
			messages[i].Time = time.UnixMilli(*record.Timestamp)
		}
		if record.Partition != nil {
			messages[i].WriterData = int(*record.Partition)
		}
		for _, header := range record.Headers {
			messages[i].Headers = append(messages[i].Headers, kafka.Header{Key: header.Name, Value: header.Value})
		}
	}
	var mutex sync.Mutex
	places := []agent.Place{}
	writer := &kafka.Writer{
		Addr:                   kafka.TCP(bootstrap),
		Topic:                  wanted.Topic,
		RequiredAcks:           acks[wanted.Acks],
		Compression:            codecs[wanted.Compression],
		BatchTimeout:           5 * time.Millisecond,
		AllowAutoTopicCreation: true,
		Balancer:               kafka.BalancerFunc(balance),
		Completion: func(done []kafka.Message, err error) {
			mutex.Lock()
			defer mutex.Unlock()
			for _, message := range done {
				if err == nil {
					places = append(places, agent.Place{Partition: int32(message.Partition), Offset: message.Offset})
				}
			}
		},
	}
	if wanted.RequestBytesMax > 0 {
		writer.BatchBytes = int64(wanted.RequestBytesMax)
	}
	ctx, cancel := soon()
	defer cancel()
	err := writer.WriteMessages(ctx, messages...)
	// This client has a topic created, and then leaves the wait for it to its caller.
	for errors.Is(err, kafka.UnknownTopicOrPartition) && ctx.Err() == nil {
		time.Sleep(200 * time.Millisecond)
		err = writer.WriteMessages(ctx, messages...)
	}
	if err != nil {
		return nil, err
	}
	return places, writer.Close()
}

// balance puts a record where it says, or else by its key.
func balance(message kafka.Message, partitions ...int) int {
	if partition, placed := message.WriterData.(int); placed {
		return partition
	}
	return (&kafka.Hash{}).Balance(message, partitions...)
}

func recordOf(message kafka.Message) agent.Record {
	partition, timestamp := int32(message.Partition), message.Time.UnixMilli()
	record := agent.Record{
		Topic:     message.Topic,
		Partition: &partition,
		Offset:    message.Offset,
		Timestamp: &timestamp,
		Key:       message.Key,
		Value:     message.Value,
		Headers:   []agent.Header{},
	}
	for _, header := range message.Headers {
		record.Headers = append(record.Headers, agent.Header{Name: header.Key, Value: header.Value})
	}
	return record
}

func fetch(wanted agent.Fetch) (any, error) {
	partitions, err := partitionsOf(wanted.Topic)
	if err != nil {
		return nil, err
	}
	if wanted.Seconds == 0 {
		wanted.Seconds = 20
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(wanted.Seconds*float64(time.Second)))
	defer cancel()
	type result struct {
		message kafka.Message
		err     error
	}
	results := make(chan result)
	for _, partition := range partitions {
		reader := kafka.NewReader(kafka.ReaderConfig{
			Brokers: []string{bootstrap}, Topic: wanted.Topic, Partition: partition, MaxWait: 100 * time.Millisecond,
			MaxBytes: 10 << 20, ReadBackoffMax: 100 * time.Millisecond,
		})
		defer reader.Close()
		if err := place(ctx, reader, wanted.Start); err != nil {
			return nil, err
		}
		go func() {
			for ctx.Err() == nil {
				message, err := reader.ReadMessage(ctx)
				select {
				case results <- result{message, err}:
				case <-ctx.Done():
				}
			}
		}()
	}
	records := []agent.Record{}
	for len(records) < wanted.Count {
		select {
		case next := <-results:
			if next.err != nil {
				return nil, next.err
			}
			records = append(records, recordOf(next.message))
		case <-ctx.Done():
			return records, nil
		}
	}
	return records, nil
}

func place(ctx context.Context, reader *kafka.Reader, start agent.Start) error {
	switch {
	case start.Offset != nil:
		return reader.SetOffset(*start.Offset)
	case start.Time != nil:
		return reader.SetOffsetAt(ctx, time.UnixMilli(*start.Time))
	case start.Name == "latest":
		return reader.SetOffset(kafka.LastOffset)
	default:
		return reader.SetOffset(kafka.FirstOffset)
	}
}
