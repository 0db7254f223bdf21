// Package agent is the Go clients' side of the agents' protocol; see ../../protocol.py.
package agent

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
)

// Operation answers one request.
type Operation func(arguments json.RawMessage) (any, error)

// CodeOf finds the broker's error code in a client's error, or 0.
type CodeOf func(error) int

// Failure is an error as it is answered: Kafka's code, if the broker gave one, and words.
type Failure struct {
	Code    *int   `json:"code"`
	Message string `json:"message"`
}

// Describe turns a client's error into its answer.
func Describe(err error, codeOf CodeOf) Failure {
	failure := Failure{Message: fmt.Sprintf("%T: %v", err, err)}
	if code := codeOf(err); code > 0 {
		failure.Code = &code
	}
	return failure
}

// Typed makes an operation of a function that takes its arguments decoded.
func Typed[A any](run func(A) (any, error)) Operation {
	return func(raw json.RawMessage) (any, error) {
		var arguments A
		if len(raw) > 0 {
			if err := json.Unmarshal(raw, &arguments); err != nil {
				return nil, err
			}
		}
		return run(arguments)
	}
}

// Serve answers requests, one at a time, until stdin ends.
func Serve(operations map[string]Operation, codeOf CodeOf) {
	requests := bufio.NewReaderSize(os.Stdin, 1<<20)
	answers := json.NewEncoder(os.Stdout)
	for {
		line, err := requests.ReadBytes('\n')
		if err != nil {
			return
		}
		var request struct {
			Op   string          `json:"op"`
			Args json.RawMessage `json:"args"`
		}
		if err := json.Unmarshal(line, &request); err != nil {
			panic(err)
		}
		answer := map[string]any{}
		operation, known := operations[request.Op]
		if !known {
			answer["error"] = Failure{Message: "this agent has no operation " + request.Op}
		} else if result, err := operation(request.Args); err != nil {
			fmt.Fprintln(os.Stderr, err)
			answer["error"] = Describe(err, codeOf)
		} else {
			answer["ok"] = result
		}
		if err := answers.Encode(answer); err != nil {
			panic(err)
		}
	}
}
