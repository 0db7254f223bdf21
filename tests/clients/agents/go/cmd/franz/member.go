package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"millstream.test/agents/agent"
)

// member polls until it is told to leave.
type member struct {
	client   *kgo.Client
	topics   []string
	progress *agent.Progress
	leave    context.CancelFunc
	left     chan struct{}
}

var members = map[string]*member{}

var balancers = map[string]kgo.GroupBalancer{
	"":                   kgo.RangeBalancer(),
	"range":              kgo.RangeBalancer(),
	"roundrobin":         kgo.RoundRobinBalancer(),
	"sticky":             kgo.StickyBalancer(),
	"cooperative-sticky": kgo.CooperativeStickyBalancer(),
}

func join(how agent.Join) (any, error) {
	progress := agent.NewProgress()
	reset := kgo.NewOffset().AtStart()
	if how.Reset == "latest" {
		reset = kgo.NewOffset().AtEnd()
	}
	if how.SessionMs == 0 {
		how.SessionMs = 6000
	}
	options := []kgo.Opt{
		kgo.ConsumerGroup(how.Group),
		kgo.ConsumeTopics(how.Topics...),
		kgo.Balancers(balancers[how.Assignor]),
		kgo.ConsumeResetOffset(reset),
		kgo.DisableAutoCommit(),
		kgo.SessionTimeout(time.Duration(how.SessionMs) * time.Millisecond),
		kgo.HeartbeatInterval(500 * time.Millisecond),
		kgo.FetchMaxWait(100 * time.Millisecond),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, given map[string][]int32) {
			progress.Assigned(given)
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, taken map[string][]int32) {
			progress.Revoked(taken)
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, taken map[string][]int32) {
			progress.Revoked(taken)
		}),
	}
	if how.Instance != "" {
		options = append(options, kgo.InstanceID(how.Instance))
	}
	client, err := connect(options...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	joined := &member{client, how.Topics, progress, cancel, make(chan struct{})}
	members[how.Member] = joined
	go joined.poll(ctx)
	return nil, nil
}

func (m *member) poll(ctx context.Context) {
	defer close(m.left)
	for ctx.Err() == nil {
		fetches := m.client.PollFetches(ctx)
		for _, failure := range fetches.Errors() {
			if !errors.Is(failure.Err, context.Canceled) {
				m.progress.Failed(agent.Describe(failure.Err, codeOf))
			}
		}
		fetches.EachRecord(func(record *kgo.Record) { m.progress.Received(recordOf(record)) })
	}
}

func tell(order agent.Tell) (any, error) {
	m := members[order.Member]
	ctx, cancel := soon()
	defer cancel()
	switch order.What {
	case "state":
		return m.progress.State(order.Drain), nil
	case "commit":
		return nil, m.client.CommitUncommittedOffsets(ctx)
	case "pause":
		m.client.PauseFetchTopics(m.topics...)
	case "resume":
		m.client.ResumeFetchTopics(m.topics...)
	case "seek":
		m.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{
			order.Topic: {order.Partition: {Epoch: -1, Offset: order.Offset}},
		})
	case "leave":
		m.leave()
		<-m.left
		m.client.Close()
		delete(members, order.Member)
	default:
		return nil, fmt.Errorf("no order %q", order.What)
	}
	return nil, nil
}
