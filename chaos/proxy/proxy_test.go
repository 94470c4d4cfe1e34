package proxy_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"

	"github.com/onceql/onceql/chaos/proxy"
)

// message is one of the protocol's, with its length.
func message(kind byte, body string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4)), body...)
}

// startup begins a connection, whose code is the protocol's version or asks for something.
func startup(code uint32, body string) []byte {
	text := binary.BigEndian.AppendUint32(nil, uint32(len(body)+8))
	return append(binary.BigEndian.AppendUint32(text, code), body...)
}

const version, cancel, key = 196608, 80877102, "pid key "

var (
	// commit stores a key and commits, as one request.
	commit = bytes.Join([][]byte{
		message('P', "i\x00insert into idempotency_keys (execution_id) values (1)\x00\x00\x00"), message('B', "\x00i\x00"),
		message('P', "c\x00commit\x00\x00\x00"), message('B', "\x00c\x00"), message('S', ""),
	}, nil)
	committed = append(message('C', "COMMIT\x00"), message('Z', "I")...)
)

// connect returns both ends of a connection through the proxy at the port that has begun.
func connect(t *testing.T, port int, server net.Listener) (client, backend net.Conn) {
	t.Helper()
	client = dial(t, port)
	send(t, client, startup(version, ""))
	backend, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = backend.Close() })
	receive(t, backend, startup(version, ""))
	begun := append(message('K', key), message('Z', "I")...)
	send(t, backend, begun)
	receive(t, client, begun)
	return client, backend
}

func dial(t *testing.T, port int) net.Conn {
	t.Helper()
	conn, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func send(t *testing.T, to net.Conn, text []byte) {
	t.Helper()
	if _, err := to.Write(text); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, from net.Conn, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(from, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%q, %v, want %q", got, err, want)
	}
}

// rest is what still comes before the connection ends.
func rest(from net.Conn) string {
	text, _ := io.ReadAll(from)
	return string(text)
}

// listen returns a proxy, its port, and the server that it leads to.
func listen(t *testing.T) (*proxy.Proxy, int, net.Listener) {
	t.Helper()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	_ = free.Close()
	p := proxy.New()
	if err := p.Listen(port, server.Addr().(*net.TCPAddr).Port); err != nil {
		t.Fatal(err)
	}
	return p, port, server
}

func TestProxy_LosesACommit(t *testing.T) {
	t.Parallel()
	p, port, server := listen(t)
	client, backend := connect(t, port, server)
	armed := p.Next(proxy.Commit, func([]byte) int { return 0 })
	send(t, client, commit)
	<-armed.Met
	if text := rest(backend); text != "" {
		t.Errorf("the server got %q", text)
	}
	if text := rest(client); text != "" {
		t.Errorf("the client got %q", text)
	}
}

func TestProxy_CutsACommitsAnswer(t *testing.T) {
	t.Parallel()
	p, port, server := listen(t)
	client, backend := connect(t, port, server)
	p.Next(proxy.CommitAnswer, func([]byte) int { return 3 })
	send(t, client, commit)
	receive(t, backend, commit)
	send(t, backend, committed)
	if text := rest(client); text != string(committed[:3]) {
		t.Errorf("the client got %q", text)
	}
}

func TestProxy_NoticesACommitThatIsCancelled(t *testing.T) {
	t.Parallel()
	p, port, server := listen(t)
	client, backend := connect(t, port, server)
	interrupt := func() {
		second := dial(t, port)
		send(t, second, startup(cancel, key))
		other, err := server.Accept()
		if err != nil {
			t.Fatal(err)
		}
		receive(t, other, startup(cancel, key))
		_ = other.Close()
	}
	send(t, client, commit)
	receive(t, backend, commit)
	interrupt()
	if n := p.CommitsCancelled(); n != 1 {
		t.Errorf("%d, want 1", n)
	}
	send(t, backend, committed)
	receive(t, client, committed)
	interrupt()
	if n := p.CommitsCancelled(); n != 1 {
		t.Errorf("%d after its answer, want 1", n)
	}
}
