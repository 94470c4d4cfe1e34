package fidelity_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
)

// A wire is a connection whose messages are recorded, once it is ready. What the client
// sends is held back until the session is let go on.
type wire struct {
	net.Conn
	session *session

	// The session's mutex guards these.
	pid    uint32
	ready  bool
	closed bool
	// short is the session's, as the connection was cut.
	short    bool
	received []byte
	// asked is what the client has sent and the server not answered yet.
	asked []request
	// columns are those of prepared statements; result are those of the rows that come.
	columns map[string][]pgproto3.FieldDescription
	result  []pgproto3.FieldDescription
}

// A request is one message of the client's.
type request struct {
	kind      byte
	statement string
	formats   []int16
}

// Write sends messages, a round trip.
func (w *wire) Write(p []byte) (int, error) {
	w.session.mu.Lock()
	ready, cancels := w.ready, w.session.canceled
	w.session.mu.Unlock()
	if !ready && !cancels && len(p) == 16 && binary.BigEndian.Uint32(p[4:]) == cancelRequest {
		return 0, net.ErrClosed // pgx cancels what a lost connection did, at a time of its own.
	}
	if ready && p[0] != 'X' { // Terminate
		if executes(p) {
			w.session.hold()
		}
		w.session.mu.Lock()
		w.ask(p)
		w.session.mu.Unlock()
	}
	return w.Conn.Write(p)
}

// cancelRequest is the code of a CancelRequest.
const cancelRequest = 80877102

// executes says whether messages do more than prepare statements.
func executes(p []byte) bool {
	for len(p) >= 5 {
		if p[0] == 'Q' || p[0] == 'E' {
			return true
		}
		p = p[1+binary.BigEndian.Uint32(p[1:]):]
	}
	return false
}

// Read receives messages.
func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	w.session.mu.Lock()
	defer w.session.mu.Unlock()
	w.received = append(w.received, p[:n]...)
	for len(w.received) >= 5 {
		end := 1 + int(binary.BigEndian.Uint32(w.received[1:]))
		if len(w.received) < end {
			break
		}
		w.answer(w.received[0], slices.Clone(w.received[5:end]))
		w.received = w.received[end:]
	}
	return n, err
}

// Close closes the connection.
func (w *wire) Close() error {
	w.session.mu.Lock()
	w.closed = true
	w.session.mu.Unlock()
	return w.Conn.Close()
}

// ask notes what the client sends.
func (w *wire) ask(p []byte) {
	var sent []string
	for len(p) >= 5 {
		kind, end := p[0], 1+int(binary.BigEndian.Uint32(p[1:]))
		body := slices.Clone(p[5:end])
		p = p[end:]
		r := request{kind: kind}
		switch kind {
		case 'Q':
			var m pgproto3.Query
			mustDecode(&m, body)
			sent = append(sent, "Query "+brief(m.String))
		case 'P':
			var m pgproto3.Parse
			mustDecode(&m, body)
			sent = append(sent, "Parse "+brief(m.Query))
		case 'B':
			var m pgproto3.Bind
			mustDecode(&m, body)
			r.statement, r.formats = m.PreparedStatement, m.ResultFormatCodes
			sent = append(sent, "Bind")
		case 'D':
			var m pgproto3.Describe
			mustDecode(&m, body)
			r.statement = m.Name
			if m.ObjectType == 'P' {
				r.kind = 'd'
			}
		}
		w.asked = append(w.asked, r)
	}
	w.session.lines = append(w.session.lines, line{text: "> " + strings.Join(sent, ", ")})
}

// answer notes what the server sends.
func (w *wire) answer(kind byte, body []byte) {
	if !w.ready {
		if kind == 'K' {
			w.pid = binary.BigEndian.Uint32(body)
		}
		w.ready = kind == 'Z'
		return
	}
	l := line{text: "< " + string(kind)}
	switch kind {
	case '1', '3':
		w.answered(1)
	case '2':
		r := w.answered(1)
		w.result = slices.Clone(w.columns[r.statement])
		for i := range w.result {
			switch len(r.formats) {
			case 0:
			case 1:
				w.result[i].Format = r.formats[0]
			default:
				w.result[i].Format = r.formats[i]
			}
		}
	case 't':
		var m pgproto3.ParameterDescription
		mustDecode(&m, body)
		l.text += fmt.Sprint(m.ParameterOIDs)
	case 'T':
		var m pgproto3.RowDescription
		mustDecode(&m, body)
		l.text += w.describe(m.Fields)
	case 'n':
		w.describe(nil)
	case 'D':
		var m pgproto3.DataRow
		mustDecode(&m, body)
		l.columns, l.values = w.result, m.Values
		for i, value := range m.Values {
			l.values[i] = slices.Clone(value)
		}
	case 'C':
		var m pgproto3.CommandComplete
		mustDecode(&m, body)
		l.text += " " + string(m.CommandTag)
		if w.asked[0].kind == 'E' {
			w.answered(1)
		}
	case 'E':
		var m pgproto3.ErrorResponse
		mustDecode(&m, body)
		l.text += fmt.Sprintf(" %s %s %s", m.Severity, m.Code, m.ConstraintName)
		l.message = m.Message
		w.answered(slices.IndexFunc(w.asked, func(r request) bool { return r.kind == 'S' || r.kind == 'Q' }))
	case 'N':
		var m pgproto3.NoticeResponse
		mustDecode(&m, body)
		l.text += fmt.Sprintf(" %s %s", m.Severity, m.Code)
		l.message = m.Message
	case 'Z':
		l.text += " " + string(body)
		w.answered(1)
	case 'S':
		l.text += " " + strings.Replace(strings.TrimRight(string(body), "\x00"), "\x00", " = ", 1)
	}
	w.session.lines = append(w.session.lines, l)
}

// answered removes requests that are answered, and returns the first.
func (w *wire) answered(n int) (r request) {
	if n > 0 && len(w.asked) >= n {
		r, w.asked = w.asked[0], w.asked[n:]
	}
	return r
}

// describe takes the columns of what was asked for.
func (w *wire) describe(fields []pgproto3.FieldDescription) string {
	fields = slices.Clone(fields)
	var text strings.Builder
	for i := range fields {
		fmt.Fprintf(&text, " %d:%d", fields[i].DataTypeOID, fields[i].Format)
	}
	w.result = fields
	if len(w.asked) > 0 && w.asked[0].kind != 'Q' {
		if r := w.answered(1); r.kind == 'D' {
			w.columns[r.statement] = fields
		}
	}
	return text.String()
}

func mustDecode(m pgproto3.Message, body []byte) {
	if err := m.Decode(body); err != nil {
		panic(err)
	}
}

// brief is the statement's first words.
func brief(sql string) string {
	text := strings.Join(strings.Fields(sql), " ")
	return savepoint.ReplaceAllString(text[:min(70, len(text))], "onceql_…")
}

// savepoint is the name of a savepoint, which is made of the connection's id.
var savepoint = regexp.MustCompile(`onceql_[0-9a-f]+`)

// A line is one message, or what a call returned.
type line struct {
	text string
	// message is an error's text, which is not compared.
	message string
	columns []pgproto3.FieldDescription
	values  [][]byte
}

// Times are named by the transaction whose they are, and by how far they are from its
// now: offsets are whole hours.
type times []time.Time

func (t *times) name(at time.Time) string {
	for i, base := range *t {
		if offset := at.Sub(base); offset%time.Hour == 0 {
			return fmt.Sprintf("now%d%+dh", i, int(offset.Hours()))
		}
	}
	*t = append(*t, at)
	return fmt.Sprintf("now%d", len(*t)-1)
}

// render writes the line in a form that two servers have in common.
func (t *times) render(l line) string {
	text := l.text
	for i, value := range l.values {
		var column pgproto3.FieldDescription
		if i < len(l.columns) {
			column = l.columns[i]
		}
		text += " " + t.value(column, value)
	}
	return text
}

const pgLSN = 3220

func (t *times) value(column pgproto3.FieldDescription, value []byte) string {
	switch {
	case value == nil:
		return "null"
	case column.DataTypeOID == pgLSN:
		return "lsn"
	case column.DataTypeOID == pgtype.TimestamptzOID:
		var at time.Time
		if err := pgtype.NewMap().Scan(column.DataTypeOID, column.Format, value, &at); err != nil {
			return err.Error()
		}
		return t.name(at)
	case column.Format == 0 || column.DataTypeOID == pgtype.TextOID:
		return fmt.Sprintf("%q", value)
	}
	return fmt.Sprintf("%x", value)
}
