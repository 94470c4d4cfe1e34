// Package load sends GraphQL requests over HTTP/1.1 as fast as a server answers,
// and checks every answer.
package load

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
)

// A Client is one connection that is kept alive. It writes requests whose heads
// are made beforehand, and reads no more of an answer's head than its status and
// its length, so that it costs little beside the server.
type Client struct {
	conn   net.Conn
	reader *bufio.Reader
	host   string
	path   string
	out    []byte
	body   []byte
}

// Dial connects to the address, for requests to the path.
func Dial(address, path string) (*Client, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &Client{conn: conn, reader: bufio.NewReaderSize(conn, 16<<10), host: address, path: path}, nil
}

// Close closes the connection.
func (c *Client) Close() { _ = c.conn.Close() }

// Conn is the connection, for who breaks the rules.
func (c *Client) Conn() net.Conn { return c.conn }

// Do posts the body, with the header's lines, and returns the answer's, which is valid
// until the next call.
func (c *Client) Do(header, body []byte) (status int, answer []byte, err error) {
	if err := c.Send(header, body); err != nil {
		return 0, nil, err
	}
	return c.Receive()
}

// Send posts the body without waiting for its answer.
func (c *Client) Send(header, body []byte) error {
	c.out = append(c.out[:0], "POST "...)
	c.out = append(c.out, c.path...)
	c.out = append(c.out, " HTTP/1.1\r\nHost: "...)
	c.out = append(c.out, c.host...)
	c.out = append(c.out, "\r\nContent-Type: application/json\r\nContent-Length: "...)
	c.out = strconv.AppendInt(c.out, int64(len(body)), 10)
	c.out = append(c.out, "\r\n"...)
	c.out = append(c.out, header...)
	c.out = append(c.out, "\r\n"...)
	c.out = append(c.out, body...)
	_, err := c.conn.Write(c.out)
	return err
}

var (
	contentLength = []byte("content-length:")
	errHead       = errors.New("the answer's head is not as expected")
)

// Receive reads the next answer, which is valid until the next call.
func (c *Client) Receive() (status int, answer []byte, err error) {
	line, err := c.reader.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if len(line) < len("HTTP/1.1 200") {
		return 0, nil, errHead
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, nil, fmt.Errorf("%w: %q", errHead, line)
	}
	length := -1
	for {
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			return 0, nil, err
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			break
		}
		if len(line) > len(contentLength) && bytes.EqualFold(line[:len(contentLength)], contentLength) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(contentLength):]))); err != nil {
				return 0, nil, fmt.Errorf("%w: %q", errHead, line)
			}
		}
	}
	if length < 0 {
		return 0, nil, fmt.Errorf("%w: no Content-Length", errHead)
	}
	if cap(c.body) < length {
		c.body = make([]byte, length)
	}
	c.body = c.body[:length]
	_, err = io.ReadFull(c.reader, c.body)
	return status, c.body, err
}
