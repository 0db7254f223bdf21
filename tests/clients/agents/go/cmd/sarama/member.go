package main

import (
	"context"
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"millstream.test/agents/agent"
)

// member consumes, session after session, until it is told to leave.
type member struct {
	group    sarama.ConsumerGroup
	progress *agent.Progress
	leave    context.CancelFunc
	left     chan struct{}
	session  chan sarama.ConsumerGroupSession
}

var members = map[string]*member{}

var strategies = map[string]func() sarama.BalanceStrategy{
	"":           sarama.NewBalanceStrategyRange,
	"range":      sarama.NewBalanceStrategyRange,
	"roundrobin": sarama.NewBalanceStrategyRoundRobin,
	"sticky":     sarama.NewBalanceStrategySticky,
}

func join(how agent.Join) (any, error) {
	config := settings()
	config.Consumer.Return.Errors = true
	config.Consumer.MaxWaitTime = 100 * time.Millisecond
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	if how.Reset == "latest" {
		config.Consumer.Offsets.Initial = sarama.OffsetNewest
	}
	if how.SessionMs == 0 {
		how.SessionMs = 6000
	}
	config.Consumer.Group.Session.Timeout = time.Duration(how.SessionMs) * time.Millisecond
	config.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{strategies[how.Assignor]()}
	config.Consumer.Group.InstanceId = how.Instance
	group, err := sarama.NewConsumerGroup(bootstrap, how.Group, config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	joined := &member{group, agent.NewProgress(), cancel, make(chan struct{}), make(chan sarama.ConsumerGroupSession, 1)}
	members[how.Member] = joined
	go func() {
		for failure := range group.Errors() {
			joined.progress.Failed(agent.Describe(failure, codeOf))
		}
	}()
	go joined.consume(ctx, how.Topics)
	return nil, nil
}

func (m *member) consume(ctx context.Context, topics []string) {
	defer close(m.left)
	for ctx.Err() == nil {
		if err := m.group.Consume(ctx, topics, m); err != nil {
			m.progress.Failed(agent.Describe(err, codeOf))
			time.Sleep(100 * time.Millisecond)
		}
	}
}

// Setup is the start of a generation.
func (m *member) Setup(session sarama.ConsumerGroupSession) error {
	m.progress.Assigned(session.Claims())
	m.session <- session
	return nil
}

// Cleanup is its end.
func (m *member) Cleanup(session sarama.ConsumerGroupSession) error {
	<-m.session
	m.progress.Revoked(session.Claims())
	return nil
}

// ConsumeClaim reads one partition until the generation ends.
func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			m.progress.Received(recordOf(message))
			session.MarkMessage(message, "")
		case <-session.Context().Done():
			return nil
		}
	}
}

func tell(order agent.Tell) (any, error) {
	m := members[order.Member]
	switch order.What {
	case "state":
		return m.progress.State(order.Drain), nil
	case "commit":
		session := <-m.session
		session.Commit()
		m.session <- session
	case "pause":
		m.group.PauseAll()
	case "resume":
		m.group.ResumeAll()
	case "leave":
		m.leave()
		<-m.left
		delete(members, order.Member)
		return nil, m.group.Close()
	default:
		return nil, fmt.Errorf("no order %q", order.What)
	}
	return nil, nil
}
