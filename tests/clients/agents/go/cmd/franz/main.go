// Franz is franz-go as an agent; see ../../../protocol.py.
package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"millstream.test/agents/agent"
)

const secondsMax = 30

var bootstrap = os.Args[1]

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
	var broker *kerr.Error
	if errors.As(err, &broker) {
		return int(broker.Code)
	}
	return 0
}

func soon() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), secondsMax*time.Second)
}

func connect(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(options, kgo.SeedBrokers(bootstrap), kgo.RetryBackoffFn(func(int) time.Duration {
		return 100 * time.Millisecond
	}), kgo.MetadataMinAge(100*time.Millisecond))...)
}

var codecs = map[string]kgo.CompressionCodec{
	"":       kgo.NoCompression(),
	"none":   kgo.NoCompression(),
	"gzip":   kgo.GzipCompression(),
	"snappy": kgo.SnappyCompression(),
	"lz4":    kgo.Lz4Compression(),
	"zstd":   kgo.ZstdCompression(),
}

var acks = map[string]kgo.Acks{"": kgo.AllISRAcks(), "all": kgo.AllISRAcks(), "1": kgo.LeaderAck(), "0": kgo.NoAck()}

func produce(wanted agent.Produce) (any, error) {
	options := []kgo.Opt{
		kgo.ProducerBatchCompression(codecs[wanted.Compression]),
		kgo.RequiredAcks(acks[wanted.Acks]),
		kgo.ProducerLinger(5 * time.Millisecond),
		kgo.AllowAutoTopicCreation(),
	}
	if !wanted.Idempotent {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	if wanted.Placed() {
		options = append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	if wanted.RequestBytesMax > 0 {
		options = append(options, kgo.ProducerBatchMaxBytes(int32(wanted.RequestBytesMax)))
	}
	client, err := connect(options...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	records := make([]*kgo.Record, len(wanted.Records))
	for i, record := range wanted.Records {
		records[i] = &kgo.Record{Topic: wanted.Topic, Key: record.Key, Value: record.Value}
		if record.Partition != nil {
			records[i].Partition = *record.Partition
		}
		if record.Timestamp != nil {
			records[i].Timestamp = time.UnixMilli(*record.Timestamp)
		}
		for _, header := range record.Headers {
			records[i].Headers = append(records[i].Headers, kgo.RecordHeader{Key: header.Name, Value: header.Value})
		}
	}
	ctx, cancel := soon()
	defer cancel()
	var places []agent.Place
	for _, result := range client.ProduceSync(ctx, records...) {
		if result.Err != nil {
			return nil, result.Err
		}
	}
	for _, record := range records {
		places = append(places, agent.Place{Partition: record.Partition, Offset: record.Offset})
	}
	return places, nil
}

func offsetOf(start agent.Start) kgo.Offset {
	switch {
	case start.Offset != nil:
		return kgo.NewOffset().At(*start.Offset)
	case start.Time != nil:
		return kgo.NewOffset().AfterMilli(*start.Time)
	case start.Name == "latest":
		return kgo.NewOffset().AtEnd()
	default:
		return kgo.NewOffset().AtStart()
	}
}

func fetch(wanted agent.Fetch) (any, error) {
	client, err := connect(
		kgo.ConsumeTopics(wanted.Topic),
		kgo.ConsumeResetOffset(offsetOf(wanted.Start)),
		kgo.FetchMaxWait(100*time.Millisecond),
	)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if wanted.Seconds == 0 {
		wanted.Seconds = 20
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(wanted.Seconds*float64(time.Second)))
	defer cancel()
	records := []agent.Record{}
	for len(records) < wanted.Count && ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		for _, failure := range fetches.Errors() {
			if !errors.Is(failure.Err, context.DeadlineExceeded) {
				return nil, failure.Err
			}
		}
		fetches.EachRecord(func(record *kgo.Record) { records = append(records, recordOf(record)) })
	}
	return records, nil
}

func recordOf(record *kgo.Record) agent.Record {
	timestamp := record.Timestamp.UnixMilli()
	out := agent.Record{
		Topic:     record.Topic,
		Partition: &record.Partition,
		Offset:    record.Offset,
		Timestamp: &timestamp,
		Key:       record.Key,
		Value:     record.Value,
		Headers:   []agent.Header{},
	}
	for _, header := range record.Headers {
		out.Headers = append(out.Headers, agent.Header{Name: header.Key, Value: header.Value})
	}
	return out
}
