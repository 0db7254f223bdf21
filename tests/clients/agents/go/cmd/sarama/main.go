// Sarama is IBM's sarama as an agent; see ../../../protocol.py.
//
// It speaks as old a protocol as its own default says, unless a second argument names another version of Kafka:
// programs that were written years ago never set it.
package main

import (
	"errors"
	"os"
	"time"

	"github.com/IBM/sarama"

	"millstream.test/agents/agent"
)

const secondsMax = 30

var bootstrap = []string{os.Args[1]}

func main() {
	operations := map[string]agent.Operation{
		"produce": agent.Typed(produce),
		"fetch":   agent.Typed(fetch),
		"join":    agent.Typed(join),
		"tell":    agent.Typed(tell),
	}
	administration(operations)
	agent.Serve(operations, codeOf)
}

func codeOf(err error) int {
	var several sarama.ProducerErrors
	if errors.As(err, &several) && len(several) > 0 {
		err = several[0].Err
	}
	var topic *sarama.TopicError
	if errors.As(err, &topic) {
		return int(topic.Err)
	}
	var partition *sarama.TopicPartitionError
	if errors.As(err, &partition) {
		return int(partition.Err)
	}
	var broker sarama.KError
	if errors.As(err, &broker) {
		return int(broker)
	}
	return 0
}

func settings() *sarama.Config {
	config := sarama.NewConfig()
	config.ClientID = "sarama"
	config.Metadata.Retry.Backoff = 100 * time.Millisecond
	config.Admin.Timeout = secondsMax * time.Second
	if len(os.Args) > 2 {
		version, err := sarama.ParseKafkaVersion(os.Args[2])
		if err != nil {
			panic(err)
		}
		config.Version = version
	}
	return config
}

var codecs = map[string]sarama.CompressionCodec{
	"":       sarama.CompressionNone,
	"none":   sarama.CompressionNone,
	"gzip":   sarama.CompressionGZIP,
	"snappy": sarama.CompressionSnappy,
	"lz4":    sarama.CompressionLZ4,
	"zstd":   sarama.CompressionZSTD,
}

var acks = map[string]sarama.RequiredAcks{
	"": sarama.WaitForAll, "all": sarama.WaitForAll, "1": sarama.WaitForLocal, "0": sarama.NoResponse,
}

func produce(wanted agent.Produce) (any, error) {
	config := settings()
	config.Producer.Return.Successes = true
	config.Producer.Compression = codecs[wanted.Compression]
	config.Producer.RequiredAcks = acks[wanted.Acks]
	config.Producer.Flush.Frequency = 5 * time.Millisecond
	config.Producer.Retry.Backoff = 100 * time.Millisecond
	config.Producer.Partitioner = sarama.NewHashPartitioner
	if wanted.Placed() {
		config.Producer.Partitioner = sarama.NewManualPartitioner
	}
	if wanted.Idempotent {
		config.Producer.Idempotent = true
		config.Net.MaxOpenRequests = 1
	}
	if wanted.RequestBytesMax > 0 {
		config.Producer.MaxMessageBytes = wanted.RequestBytesMax
	}
	producer, err := sarama.NewSyncProducer(bootstrap, config)
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	messages := make([]*sarama.ProducerMessage, len(wanted.Records))
	for i, record := range wanted.Records {
		message := &sarama.ProducerMessage{Topic: wanted.Topic}
		// A nil slice in the interface would not be null.
		if record.Key != nil {
			message.Key = sarama.ByteEncoder(record.Key)
		}
		if record.Value != nil {
			message.Value = sarama.ByteEncoder(record.Value)
		}
		if record.Partition != nil {
			message.Partition = *record.Partition
		}
		if record.Timestamp != nil {
			message.Timestamp = time.UnixMilli(*record.Timestamp)
		}
		for _, header := range record.Headers {
			message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(header.Name), Value: header.Value})
		}
		messages[i] = message
	}
	if err := producer.SendMessages(messages); err != nil {
		return nil, err
	}
	places := make([]agent.Place, len(messages))
	for i, message := range messages {
		places[i] = agent.Place{Partition: message.Partition, Offset: message.Offset}
	}
	return places, nil
}

func fetch(wanted agent.Fetch) (any, error) {
	config := settings()
	config.Consumer.MaxWaitTime = 100 * time.Millisecond
	config.Consumer.Return.Errors = true
	client, err := sarama.NewClient(bootstrap, config)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	partitions, err := consumer.Partitions(wanted.Topic)
	if err != nil {
		return nil, err
	}
	messages := make(chan *sarama.ConsumerMessage)
	failures := make(chan error)
	done := make(chan struct{})
	defer close(done)
	for _, partition := range partitions {
		start, err := offsetOf(client, wanted.Topic, partition, wanted.Start)
		if err != nil {
			return nil, err
		}
		reader, err := consumer.ConsumePartition(wanted.Topic, partition, start)
		if err != nil {
			return nil, err
		}
		defer reader.AsyncClose()
		go forward(reader, messages, failures, done)
	}
	if wanted.Seconds == 0 {
		wanted.Seconds = 20
	}
	deadline := time.After(time.Duration(wanted.Seconds * float64(time.Second)))
	records := []agent.Record{}
	for len(records) < wanted.Count {
		select {
		case message := <-messages:
			records = append(records, recordOf(message))
		case err := <-failures:
			return nil, err
		case <-deadline:
			return records, nil
		}
	}
	return records, nil
}

func forward(
	reader sarama.PartitionConsumer, messages chan<- *sarama.ConsumerMessage, failures chan<- error, done <-chan struct{},
) {
	for {
		select {
		case message, open := <-reader.Messages():
			if !open {
				return
			}
			select {
			case messages <- message:
			case <-done:
				return
			}
		case failure, open := <-reader.Errors():
			if !open {
				return
			}
			select {
			case failures <- failure.Err:
			case <-done:
				return
			}
		case <-done:
			return
		}
	}
}

func offsetOf(client sarama.Client, topic string, partition int32, start agent.Start) (int64, error) {
	switch {
	case start.Offset != nil:
		return *start.Offset, nil
	case start.Time != nil:
		offset, err := client.GetOffset(topic, partition, *start.Time)
		if err == nil && offset < 0 {
			offset = sarama.OffsetNewest
		}
		return offset, err
	case start.Name == "latest":
		return sarama.OffsetNewest, nil
	default:
		return sarama.OffsetOldest, nil
	}
}

func recordOf(message *sarama.ConsumerMessage) agent.Record {
	timestamp := message.Timestamp.UnixMilli()
	record := agent.Record{
		Topic:     message.Topic,
		Partition: &message.Partition,
		Offset:    message.Offset,
		Timestamp: &timestamp,
		Key:       message.Key,
		Value:     message.Value,
		Headers:   []agent.Header{},
	}
	for _, header := range message.Headers {
		record.Headers = append(record.Headers, agent.Header{Name: string(header.Key), Value: header.Value})
	}
	return record
}
