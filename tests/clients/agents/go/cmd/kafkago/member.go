package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"millstream.test/agents/agent"
)

// member reads as part of a group until it is told to leave. This client does not say what it was assigned.
type member struct {
	reader   *kafka.Reader
	progress *agent.Progress
	leave    context.CancelFunc
	left     chan struct{}

	mutex sync.Mutex
	read  []kafka.Message
}

var members = map[string]*member{}

func join(how agent.Join) (any, error) {
	start := kafka.FirstOffset
	if how.Reset == "latest" {
		start = kafka.LastOffset
	}
	if how.SessionMs == 0 {
		how.SessionMs = 6000
	}
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers:           []string{bootstrap},
		GroupID:           how.Group,
		GroupTopics:       how.Topics,
		StartOffset:       start,
		MaxWait:           100 * time.Millisecond,
		HeartbeatInterval: 500 * time.Millisecond,
		SessionTimeout:    time.Duration(how.SessionMs) * time.Millisecond,
		RebalanceTimeout:  10 * time.Second,
		JoinGroupBackoff:  200 * time.Millisecond,
	})
	ctx, cancel := context.WithCancel(context.Background())
	joined := &member{reader: reader, progress: agent.NewProgress(), leave: cancel, left: make(chan struct{})}
	members[how.Member] = joined
	go joined.consume(ctx)
	return nil, nil
}

func (m *member) consume(ctx context.Context) {
	defer close(m.left)
	for ctx.Err() == nil {
		message, err := m.reader.FetchMessage(ctx)
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				m.progress.Failed(agent.Describe(err, codeOf))
			}
			continue
		}
		m.progress.Received(recordOf(message))
		m.mutex.Lock()
		m.read = append(m.read, message)
		m.mutex.Unlock()
	}
}

func tell(order agent.Tell) (any, error) {
	m := members[order.Member]
	switch order.What {
	case "state":
		return m.progress.State(order.Drain), nil
	case "commit":
		ctx, cancel := soon()
		defer cancel()
		m.mutex.Lock()
		defer m.mutex.Unlock()
		return nil, m.reader.CommitMessages(ctx, m.read...)
	case "leave":
		m.leave()
		<-m.left
		delete(members, order.Member)
		return nil, m.reader.Close()
	default:
		return nil, fmt.Errorf("no order %q", order.What)
	}
}
