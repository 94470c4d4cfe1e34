package main

import (
	"io"
	"slices"
	"strings"
	"time"

	"github.com/onceql/onceql/bench/load"
)

// An attack is what one tenant sends, over and over.
type attack struct {
	name        string
	tenant      string
	connections int
	// body appends the n-th request's.
	body func(out []byte, n int) []byte
	// send sends the n-th request on the connection, and takes its answer; nil means
	// to wait for it as a client should.
	send func(*attacker, *load.Client, int) error
	// perSecond bounds the requests of all connections; zero means as many as the
	// server takes.
	perSecond int
	// total says that the number of bytes ends it, and not time.
	total bool
}

// largest is the default of MAX_BODY_BYTES.
const largest = 1 << 20

// attacks are those that are measured. All but the one with slow bodies are of requests
// that arrive as fast as the server takes them.
var attacks = []*attack{
	{name: "16 connections, 20 pages each, over 400,000 archived projects", tenant: archivist, connections: 16, body: pages(20, "first: 1", "id")},
	{name: "400 connections, pages of 100", tenant: reader, connections: 400, body: fixed(`{projects(first:100){nodes{id}}}`)},
	{name: "100 connections, 20 look-ups each", tenant: nobody, connections: 100, body: lookUps},
	{name: "64 connections, documents of 8 KB, all different", tenant: nobody, connections: 64, body: documents(slices.Concat(valid, overLimit, invalid)...)},
	{name: "64 connections, bodies of 1 MiB of empty objects", tenant: nobody, connections: 64, body: objects(largest)},
	{name: "400 connections, slow bodies", tenant: nobody, connections: 400, send: drip},
	{name: "256 connections, creates", tenant: nobody, connections: 256, body: creates(1, "")},
	{name: "256 connections, updates of one project", tenant: owner, connections: 256, body: updates},
	{
		name: "64 connections, 10 creates of 10 KB each, 100/s", tenant: nobody, connections: 64, perSecond: 100,
		body: creates(10, strings.Repeat("x", 10_000)),
	},
	{name: "16 connections, 64 queries each in a pipeline", tenant: reader, connections: 16, send: pipeline, body: fixed(`{projects(first:1){nodes{id}}}`)},
	{
		name: "24 connections, answers of 20 MB that are read slowly", tenant: writer, connections: 24, send: unread,
		body: pages(20, "first: 100", "description"),
	},
	{
		name: "64 connections, answers of 7 MB that are read slowly", tenant: writer, connections: 64, send: unread,
		body: pages(7, "first: 100", "description"),
	},
	{name: "memory: documents of 8 KB beyond a limit, all different", tenant: nobody, connections: 64, body: documents(overLimit...), total: true},
	{name: "memory: bodies of 1 MiB of empty objects", tenant: nobody, connections: 64, body: objects(largest), total: true},
}

// named are the attacks with the text in their names.
func named(text string) []*attack {
	var found []*attack
	for _, a := range attacks {
		if strings.Contains(a.name, text) {
			found = append(found, a)
		}
	}
	return found
}

// ask sends a request and waits for its answer.
func ask(a *attacker, c *load.Client, n int) error {
	body := a.body(nil, n)
	status, answer, err := c.Do(a.header, body)
	if err != nil {
		return err
	}
	a.heard(status, answer, len(body))
	return nil
}

// drip announces a body of 1 MiB, of which it sends a byte now and then.
func drip(a *attacker, c *load.Client, _ int) error {
	const head = "POST /graphql HTTP/1.1\r\nHost: flood\r\nContent-Type: application/json\r\nContent-Length: 1048576\r\n"
	if _, err := io.WriteString(c.Conn(), head+string(a.header)+"\r\n{"); err != nil {
		return err
	}
	for range 40 {
		time.Sleep(250 * time.Millisecond)
		if _, err := io.WriteString(c.Conn(), " "); err != nil {
			return err
		}
		a.count(heardNothing)
	}
	return io.EOF // A new connection.
}

// pipeline sends many requests before it takes the first answer.
func pipeline(a *attacker, c *load.Client, n int) error {
	const depth = 64
	body := a.body(nil, n)
	for range depth {
		if err := c.Send(a.header, body); err != nil {
			return err
		}
	}
	for range depth {
		status, answer, err := c.Receive()
		if err != nil {
			return err
		}
		a.heard(status, answer, len(body))
	}
	return nil
}

// unread takes of the answer a little now and then.
func unread(a *attacker, c *load.Client, n int) error {
	if err := c.Send(a.header, a.body(nil, n)); err != nil {
		return err
	}
	var some [4 << 10]byte
	for range 200 {
		got, err := c.Conn().Read(some[:])
		if err != nil {
			return err
		}
		text := string(some[:got])
		if strings.Contains(text, "LIMIT_EXCEEDED") || strings.HasPrefix(text, "HTTP/1.1 ") && !strings.HasPrefix(text, "HTTP/1.1 200") {
			a.count(heardRefusal)
			return io.EOF
		}
		a.count(heardNothing)
		time.Sleep(100 * time.Millisecond)
	}
	return io.EOF
}
