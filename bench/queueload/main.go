// Command queueload measures a queue over HTTP: each connection sends a batch, receives one and acknowledges it, over and
// over. It speaks to Millstream's own API and to servers of the SQS protocol (JSON), with the same loop.
//
// What is counted is messages that were sent, received and acknowledged. Go's standard library alone, no client library:
// what is measured is the server.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sort"
	"strings"
	"sync"
	"time"
)

// queue is one connection's view of a queue.
type queue interface {
	// send sends a batch.
	send(batch int, body string) error
	// receive returns the receipts of at most batch messages.
	receive(batch int) ([]string, error)
	// ack acknowledges them.
	ack(receipts []string) error
}

type settings struct {
	protocol    string
	address     string
	name        string
	connections int
	batch       int
	bytes       int
	warmup      time.Duration
	duration    time.Duration
}

func main() {
	var s settings
	flag.StringVar(&s.protocol, "protocol", "millstream", "millstream or sqs")
	flag.StringVar(&s.address, "address", "127.0.0.1:8080", "HOST:PORT of the server")
	flag.StringVar(&s.name, "queue", "load", "name of the topic and of the queue on it; both must exist for millstream")
	flag.IntVar(&s.connections, "connections", 16, "connections, each a closed loop")
	flag.IntVar(&s.batch, "batch", 10, "messages in one request")
	flag.IntVar(&s.bytes, "bytes", 1024, "size of a message")
	flag.DurationVar(&s.warmup, "warmup", 5*time.Second, "time that is not counted")
	flag.DurationVar(&s.duration, "duration", 15*time.Second, "time that is counted")
	flag.Parse()
	result, err := run(s)
	if err != nil {
		fmt.Fprintln(os.Stderr, "queueload:", err)
		os.Exit(1)
	}
	json.NewEncoder(os.Stdout).Encode(result)
}

type result struct {
	Protocol   string  `json:"protocol"`
	PerSecond  float64 `json:"messages_per_second"`
	RoundP50Ms float64 `json:"round_p50_ms"`
	RoundP99Ms float64 `json:"round_p99_ms"`
}

func run(s settings) (result, error) {
	body := strings.Repeat("x", s.bytes)
	start := time.Now()
	from, until := start.Add(s.warmup), start.Add(s.warmup+s.duration)
	var (
		mutex  sync.Mutex
		acked  int
		rounds []time.Duration
		failed error
		group  sync.WaitGroup
	)
	for range s.connections {
		group.Add(1)
		go func() {
			defer group.Done()
			count, took, err := loop(s, body, from, until)
			mutex.Lock()
			defer mutex.Unlock()
			acked += count
			rounds = append(rounds, took...)
			if err != nil && failed == nil {
				failed = err
			}
		}()
	}
	group.Wait()
	if failed != nil {
		return result{}, failed
	}
	sort.Slice(rounds, func(a, b int) bool { return rounds[a] < rounds[b] })
	at := func(part float64) float64 {
		if len(rounds) == 0 {
			return 0
		}
		return float64(rounds[int(part*float64(len(rounds)-1))].Microseconds()) / 1000
	}
	return result{s.protocol, float64(acked) / s.duration.Seconds(), at(0.5), at(0.99)}, nil
}

// loop is one connection. It returns how many messages it acknowledged in the time that counts, and how long each round took.
func loop(s settings, body string, from, until time.Time) (int, []time.Duration, error) {
	connection, err := dial(s.address)
	if err != nil {
		return 0, nil, err
	}
	defer connection.socket.Close()
	var q queue = &millstream{connection, s.name}
	if s.protocol == "sqs" {
		if q, err = newSqs(connection, s.name); err != nil {
			return 0, nil, err
		}
	}
	acked, rounds := 0, []time.Duration(nil)
	for {
		begun := time.Now()
		if begun.After(until) {
			return acked, rounds, nil
		}
		if err := q.send(s.batch, body); err != nil {
			return 0, nil, fmt.Errorf("send: %w", err)
		}
		receipts, err := q.receive(s.batch)
		if err != nil {
			return 0, nil, fmt.Errorf("receive: %w", err)
		}
		if len(receipts) > 0 {
			if err := q.ack(receipts); err != nil {
				return 0, nil, fmt.Errorf("acknowledge: %w", err)
			}
		}
		if begun.After(from) {
			acked += len(receipts)
			rounds = append(rounds, time.Since(begun))
		}
	}
}

// conn is one HTTP/1.1 connection that is kept.
type conn struct {
	socket  net.Conn
	reader  *bufio.Reader
	address string
}

func dial(address string) (*conn, error) {
	socket, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &conn{socket, bufio.NewReaderSize(socket, 64<<10), address}, nil
}

// post sends a request and returns the answer's body.
func (c *conn) post(path string, headers string, body []byte) ([]byte, error) {
	var request bytes.Buffer
	fmt.Fprintf(&request, "POST %s HTTP/1.1\r\nHost: %s\r\n%sContent-Length: %d\r\n\r\n", path, c.address, headers, len(body))
	request.Write(body)
	if _, err := c.socket.Write(request.Bytes()); err != nil {
		return nil, err
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= 300 {
		return nil, fmt.Errorf("%s: %s", response.Status, answer)
	}
	return answer, nil
}

// millstream is Millstream's own API.
type millstream struct {
	connection *conn
	name       string
}

const jsonHeader = "Content-Type: application/json\r\n"

func (m *millstream) send(batch int, body string) error {
	type record struct {
		Value string `json:"value"`
	}
	records := make([]record, batch)
	for at := range records {
		records[at].Value = body
	}
	text, _ := json.Marshal(map[string]any{"records": records})
	_, err := m.connection.post("/v1/topics/"+m.name+"/records", jsonHeader, text)
	return err
}

func (m *millstream) receive(batch int) ([]string, error) {
	text, _ := json.Marshal(map[string]any{"max": batch, "visibility_ms": 30000, "wait_ms": 0})
	answer, err := m.connection.post("/v1/queues/"+m.name+"/receive", jsonHeader, text)
	if err != nil {
		return nil, err
	}
	var received struct {
		Messages []struct {
			Receipt string `json:"receipt"`
		} `json:"messages"`
	}
	if err := json.Unmarshal(answer, &received); err != nil {
		return nil, err
	}
	receipts := make([]string, len(received.Messages))
	for at, message := range received.Messages {
		receipts[at] = message.Receipt
	}
	return receipts, nil
}

func (m *millstream) ack(receipts []string) error {
	text, _ := json.Marshal(map[string]any{"receipts": receipts})
	_, err := m.connection.post("/v1/queues/"+m.name+"/ack", jsonHeader, text)
	return err
}

// sqs is the SQS protocol in its JSON form.
type sqs struct {
	connection *conn
	url        string
}

func newSqs(connection *conn, name string) (*sqs, error) {
	s := &sqs{connection: connection}
	var created struct{ QueueUrl string }
	if err := s.call("CreateQueue", map[string]any{"QueueName": name}, &created); err != nil {
		return nil, err
	}
	s.url = created.QueueUrl
	return s, nil
}

func (s *sqs) call(action string, request any, answer any) error {
	text, err := json.Marshal(request)
	if err != nil {
		return err
	}
	headers := "Content-Type: application/x-amz-json-1.0\r\nX-Amz-Target: AmazonSQS." + action + "\r\n"
	body, err := s.connection.post("/", headers, text)
	if err != nil || answer == nil {
		return err
	}
	return json.Unmarshal(body, answer)
}

func (s *sqs) send(batch int, body string) error {
	entries := make([]map[string]string, batch)
	for at := range entries {
		entries[at] = map[string]string{"Id": fmt.Sprint(at), "MessageBody": body}
	}
	return s.call("SendMessageBatch", map[string]any{"QueueUrl": s.url, "Entries": entries}, nil)
}

func (s *sqs) receive(batch int) ([]string, error) {
	var answer struct {
		Messages []struct{ ReceiptHandle string }
	}
	request := map[string]any{"QueueUrl": s.url, "MaxNumberOfMessages": batch, "VisibilityTimeout": 30}
	if err := s.call("ReceiveMessage", request, &answer); err != nil {
		return nil, err
	}
	receipts := make([]string, len(answer.Messages))
	for at, message := range answer.Messages {
		receipts[at] = message.ReceiptHandle
	}
	return receipts, nil
}

func (s *sqs) ack(receipts []string) error {
	entries := make([]map[string]string, len(receipts))
	for at, receipt := range receipts {
		entries[at] = map[string]string{"Id": fmt.Sprint(at), "ReceiptHandle": receipt}
	}
	return s.call("DeleteMessageBatch", map[string]any{"QueueUrl": s.url, "Entries": entries}, nil)
}
