package agent

import (
	"sort"
	"sync"
)

// Progress is what a member of a group has seen; every method may be called from any goroutine.
type Progress struct {
	mutex       sync.Mutex
	received    []Record
	errors      []Failure
	assigned    map[[2]any]bool
	assignments int
	revoked     int
}

// NewProgress starts with nothing assigned and nothing received.
func NewProgress() *Progress {
	return &Progress{assigned: map[[2]any]bool{}}
}

// Received notes a record.
func (p *Progress) Received(record Record) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.received = append(p.received, record)
}

// Failed notes an error.
func (p *Progress) Failed(failure Failure) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.errors = append(p.errors, failure)
}

// Assigned notes partitions that the member was given.
func (p *Progress) Assigned(partitions map[string][]int32) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.assignments++
	for topic, numbers := range partitions {
		for _, number := range numbers {
			p.assigned[[2]any{topic, number}] = true
		}
	}
}

// Revoked notes partitions that the member has lost or given up.
func (p *Progress) Revoked(partitions map[string][]int32) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for topic, numbers := range partitions {
		p.revoked += len(numbers)
		for _, number := range numbers {
			delete(p.assigned, [2]any{topic, number})
		}
	}
}

// State answers what was seen, and forgets what was received if it is asked to.
func (p *Progress) State(drain bool) map[string]any {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	assigned := make([][2]any, 0, len(p.assigned))
	for place := range p.assigned {
		assigned = append(assigned, place)
	}
	sort.Slice(assigned, func(i, j int) bool {
		a, b := assigned[i], assigned[j]
		if a[0] != b[0] {
			return a[0].(string) < b[0].(string)
		}
		return a[1].(int32) < b[1].(int32)
	})
	state := map[string]any{
		"assigned":    assigned,
		"assignments": p.assignments,
		"revoked":     p.revoked,
		"received":    append([]Record{}, p.received...),
		"errors":      append([]Failure{}, p.errors...),
	}
	if drain {
		p.received, p.errors = nil, nil
	}
	return state
}
