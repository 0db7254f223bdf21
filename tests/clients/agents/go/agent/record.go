package agent

import "encoding/json"

// Header is a record's header: a pair of its name and its value, which may be null.
type Header struct {
	Name  string
	Value []byte
}

// MarshalJSON writes the header as a pair.
func (h Header) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{h.Name, h.Value})
}

// UnmarshalJSON reads the header from a pair.
func (h *Header) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[]any{&h.Name, &h.Value})
}

// Record is a record to write, or one that was read. A nil key or value is null.
type Record struct {
	Topic     string   `json:"topic,omitempty"`
	Partition *int32   `json:"partition,omitempty"`
	Offset    int64    `json:"offset"`
	Timestamp *int64   `json:"timestamp,omitempty"`
	Key       []byte   `json:"key"`
	Value     []byte   `json:"value"`
	Headers   []Header `json:"headers"`
}

// Place is where a record was written.
type Place struct {
	Partition int32 `json:"partition"`
	Offset    int64 `json:"offset"`
}

// Produce is what to write, and how.
type Produce struct {
	Topic           string   `json:"topic"`
	Records         []Record `json:"records"`
	Compression     string   `json:"compression"`
	Acks            string   `json:"acks"`
	Idempotent      bool     `json:"idempotent"`
	RequestBytesMax int      `json:"request_bytes_max"`
}

// Placed says whether the records name their partitions themselves.
func (p Produce) Placed() bool {
	for _, record := range p.Records {
		if record.Partition == nil {
			return false
		}
	}
	return true
}

// Fetch is what to read: from Start until Count records came or Seconds passed.
type Fetch struct {
	Topic   string  `json:"topic"`
	Start   Start   `json:"start"`
	Count   int     `json:"count"`
	Seconds float64 `json:"seconds"`
}

// Start is "earliest", "latest", an offset or a time.
type Start struct {
	Name   string
	Offset *int64 `json:"offset"`
	Time   *int64 `json:"time"`
}

// UnmarshalJSON reads a name, or an object with an offset or a time.
func (s *Start) UnmarshalJSON(text []byte) error {
	if text[0] == '"' {
		return json.Unmarshal(text, &s.Name)
	}
	type plain Start
	return json.Unmarshal(text, (*plain)(s))
}

// Join is how a member joins a group.
type Join struct {
	Member    string   `json:"member"`
	Group     string   `json:"group"`
	Topics    []string `json:"topics"`
	Assignor  string   `json:"assignor"`
	Instance  string   `json:"instance"`
	Reset     string   `json:"reset"`
	SessionMs int      `json:"session_ms"`
}

// Tell is an order to a member.
type Tell struct {
	Member    string `json:"member"`
	What      string `json:"what"`
	Drain     bool   `json:"drain"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

// Topic names a topic, with what a request needs beside it.
type Topic struct {
	Topic      string            `json:"topic"`
	Partitions int32             `json:"partitions"`
	Total      int32             `json:"total"`
	Configs    map[string]string `json:"configs"`
	Set        map[string]string `json:"set"`
	Delete     []string          `json:"delete"`
	Before     map[int32]int64   `json:"before"`
	At         any               `json:"at"`
}

// Group names a group, with what a request needs beside it.
type Group struct {
	Group      string   `json:"group"`
	Topic      string   `json:"topic"`
	Partitions []int32  `json:"partitions"`
	Offsets    [][3]any `json:"offsets"`
}

// At is a partition's offset, as tests write it: topic, partition, offset.
func At(place [3]any) (string, int32, int64) {
	return place[0].(string), int32(place[1].(float64)), int64(place[2].(float64))
}
