// Command queueload measures a queue over HTTP: each connection sends a batch, receives one and acknowledges it, over and
// over. It speaks to Millstream's own API and to servers of the SQS protocol (JSON), with the same loop.
//
// What is counted is messages that were sent, received and acknowledged. The client shares the processors with the server,
// so it does no more than it must: requests are put together once where they are always the same, and answers are looked
// through for receipts instead of being decoded. Go's standard library alone.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

// queue is one connection's view of a queue.
type queue interface {
	// send sends a batch.
	send() error
	// receive returns the receipts of at most a batch of messages. They are valid until the next request.
	receive() ([][]byte, error)
	// ack acknowledges them.
	ack(receipts [][]byte) error
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
	var q queue = newMillstream(connection, s, body)
	if s.protocol == "sqs" {
		if q, err = newSqs(connection, s, body); err != nil {
			return 0, nil, err
		}
	}
	acked, rounds := 0, []time.Duration(nil)
	for {
		begun := time.Now()
		if begun.After(until) {
			return acked, rounds, nil
		}
		if err := q.send(); err != nil {
			return 0, nil, fmt.Errorf("send: %w", err)
		}
		receipts, err := q.receive()
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
	socket net.Conn
	reader *bufio.Reader
	host   string
	// What the last request and the last answer were written to.
	request, answer []byte
	receipts        [][]byte
}

func dial(address string) (*conn, error) {
	socket, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &conn{socket: socket, reader: bufio.NewReaderSize(socket, 64<<10), host: address}, nil
}

// begin puts the head of a request together, but for the length of its body.
func (c *conn) begin(path, headers string) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\n%sContent-Length: ", path, c.host, headers)
}

// whole puts a request together.
func (c *conn) whole(path, headers string, body any) []byte {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return finish(c.begin(path, headers), text)
}

// finish appends a body, and its length before it, to the head of a request.
func finish(request, body []byte) []byte {
	request = strconv.AppendInt(request, int64(len(body)), 10)
	request = append(request, "\r\n\r\n"...)
	return append(request, body...)
}

// call sends a whole request and returns the answer's body, which is valid until the next call.
func (c *conn) call(request []byte) ([]byte, error) {
	if _, err := c.socket.Write(request); err != nil {
		return nil, err
	}
	line, err := c.reader.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	if len(line) < len("HTTP/1.1 200") {
		return nil, fmt.Errorf("no HTTP: %q", line)
	}
	status := string(line[9:12])
	length, chunked := 0, false
	for {
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch {
		case bytes.EqualFold(name, []byte("content-length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return nil, err
			}
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		}
	}
	if err := c.body(length, chunked); err != nil {
		return nil, err
	}
	if status[0] != '2' {
		return nil, fmt.Errorf("%s: %s", status, c.answer)
	}
	return c.answer, nil
}

func (c *conn) body(length int, chunked bool) (err error) {
	if chunked {
		c.answer, err = io.ReadAll(httputil.NewChunkedReader(c.reader))
		if err == nil {
			// The line after the last chunk.
			_, err = c.reader.Discard(len("\r\n"))
		}
		return err
	}
	if cap(c.answer) < length {
		c.answer = make([]byte, length)
	}
	c.answer = c.answer[:length]
	_, err = io.ReadFull(c.reader, c.answer)
	return err
}

// values are the texts that stand after mark in an answer, up to the next quote: receipts have nothing to be escaped.
func (c *conn) values(answer []byte, mark string) [][]byte {
	c.receipts = c.receipts[:0]
	for {
		at := bytes.Index(answer, []byte(mark))
		if at < 0 {
			return c.receipts
		}
		answer = answer[at+len(mark):]
		end := bytes.IndexByte(answer, '"')
		c.receipts = append(c.receipts, answer[:end])
		answer = answer[end:]
	}
}

// millstream is Millstream's own API.
type millstream struct {
	*conn
	sending, receiving, acking []byte
}

func newMillstream(c *conn, s settings, body string) *millstream {
	const headers = "Content-Type: application/json\r\n"
	type record struct {
		Value string `json:"value"`
	}
	records := make([]record, s.batch)
	for at := range records {
		records[at].Value = body
	}
	queue := "/v1/queues/" + s.name
	return &millstream{
		conn:    c,
		sending: c.whole("/v1/topics/"+s.name+"/records", headers, map[string]any{"records": records}),
		receiving: c.whole(queue+"/receive", headers,
			map[string]any{"max": s.batch, "visibility_ms": 30000, "wait_ms": 0}),
		acking: c.begin(queue+"/ack", headers),
	}
}

func (m *millstream) send() error {
	_, err := m.call(m.sending)
	return err
}

func (m *millstream) receive() ([][]byte, error) {
	answer, err := m.call(m.receiving)
	return m.values(answer, `"receipt":"`), err
}

func (m *millstream) ack(receipts [][]byte) error {
	body := []byte(`{"receipts":["`)
	body = append(body, bytes.Join(receipts, []byte(`","`))...)
	body = append(body, `"]}`...)
	m.request = finish(append(m.request[:0], m.acking...), body)
	_, err := m.call(m.request)
	return err
}

// sqs is the SQS protocol in its JSON form.
type sqs struct {
	*conn
	url                        string
	sending, receiving, acking []byte
}

func newSqs(c *conn, s settings, body string) (*sqs, error) {
	answer, err := c.call(c.whole("/", sqsHeaders("CreateQueue"), map[string]any{"QueueName": s.name}))
	if err != nil {
		return nil, err
	}
	var created struct{ QueueUrl string }
	if err := json.Unmarshal(answer, &created); err != nil {
		return nil, err
	}
	entries := make([]map[string]string, s.batch)
	for at := range entries {
		entries[at] = map[string]string{"Id": fmt.Sprint(at), "MessageBody": body}
	}
	url := created.QueueUrl
	return &sqs{
		conn:    c,
		url:     url,
		sending: c.whole("/", sqsHeaders("SendMessageBatch"), map[string]any{"QueueUrl": url, "Entries": entries}),
		receiving: c.whole("/", sqsHeaders("ReceiveMessage"),
			map[string]any{"QueueUrl": url, "MaxNumberOfMessages": s.batch, "VisibilityTimeout": 30}),
		acking: c.begin("/", sqsHeaders("DeleteMessageBatch")),
	}, nil
}

func sqsHeaders(action string) string {
	return "Content-Type: application/x-amz-json-1.0\r\nX-Amz-Target: AmazonSQS." + action + "\r\n"
}

func (s *sqs) send() error {
	_, err := s.call(s.sending)
	return err
}

func (s *sqs) receive() ([][]byte, error) {
	answer, err := s.call(s.receiving)
	return s.values(answer, `"ReceiptHandle":"`), err
}

func (s *sqs) ack(receipts [][]byte) error {
	body := fmt.Appendf(nil, `{"QueueUrl":%q,"Entries":[`, s.url)
	for at, receipt := range receipts {
		if at > 0 {
			body = append(body, ',')
		}
		body = fmt.Appendf(body, `{"Id":"%d","ReceiptHandle":"%s"}`, at, receipt)
	}
	body = append(body, "]}"...)
	s.request = finish(append(s.request[:0], s.acking...), body)
	_, err := s.call(s.request)
	return err
}
