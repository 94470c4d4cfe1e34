package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// A session is a connection as its node sees it.
type session struct {
	c       *Cluster
	node    *node
	link    *link
	conn    *conn
	backend *pgproto3.Backend
	cond    sync.Cond
	timer   *time.Timer

	pid      uint32
	secret   []byte
	prepared map[string]*statement
	portals  map[string]*portal
	// base are the session's settings, which a transaction begins with.
	base settings
	tx   *txn
	// failed says that the transaction can only be rolled back, skipping that all is passed
	// over up to the next Sync.
	failed, skipping bool
	// gone says that the node is; woken, that what the session waits for may be over;
	// canceled, that a client asked for the statement's end; busy, that there is one.
	gone, woken, canceled, busy bool
	// terminated says that the session is to end as soon as it may.
	terminated bool
	// blocked is what the session waits for.
	blocked *txn
	// limit is when statement_timeout ends the statement; zero means never.
	limit time.Duration
}

type portal struct {
	statement *statement
	params    [][]byte
	formats   []int16
	results   []int16
}

// A pgError is what Postgres answers.
type pgError struct{ severity, code, message, constraint string }

// Error implements error.
func (e *pgError) Error() string { return e.code + " " + e.message }

var (
	// errGone ends a session without a word.
	errGone = errors.New("the session is over")
	// errDropped says that the node does not get what it was about to do.
	errDropped = errors.New("the request is lost")
	// errInterrupted ends a wait for the client.
	errInterrupted = errors.New("there is something else to do")
	errTerminated  = &pgError{severity: "FATAL", code: "57P01", message: "terminating connection due to administrator command"}
)

func newSession(n *node, l *link) *session {
	c := n.c
	c.pids++
	s := &session{
		c: c, node: n, link: l, pid: c.pids,
		secret:   binary.BigEndian.AppendUint32(nil, uint32(l.draws.Uint64())),
		prepared: map[string]*statement{}, portals: map[string]*portal{},
		base: settings{
			role: "none", rowSecurity: "on", searchPath: `"$user", public`, synchronousCommit: "on", readOnly: "off",
			lock: "0", statement: "0", idle: "0",
		},
	}
	s.cond.L = &c.mu
	s.conn = &conn{link: l, in: &l.up, out: &l.down, server: true, addr: address(l.name)}
	l.session = s
	l.up.interrupted = func() bool { return s.terminated }
	s.backend = pgproto3.NewBackend(s.conn, s.conn)
	n.sessions = append(n.sessions, s)
	return s
}

// serve answers the client until the connection ends.
func (s *session) serve() {
	defer s.end()
	if !s.startup() {
		return
	}
	for {
		msg, err := s.backend.Receive()
		if err != nil {
			s.idledOut(err)
			return
		}
		s.c.mu.Lock()
		send, err := s.handle(msg)
		if errors.Is(err, errDropped) {
			err = s.deaf()
		}
		s.c.mu.Unlock()
		if fatal := (*pgError)(nil); errors.As(err, &fatal) {
			s.sendError(fatal)
			_ = s.flush()
			return
		}
		if err != nil || send && s.flush() != nil {
			return
		}
	}
}

// end rolls back what is open, as the end of a connection does.
func (s *session) end() {
	s.c.mu.Lock()
	if !s.gone {
		s.gone = true
		if s.tx != nil {
			s.note("ends, rolls back")
			s.tx.end()
		}
		for i, other := range s.node.sessions {
			if other == s {
				s.node.sessions = append(s.node.sessions[:i:i], s.node.sessions[i+1:]...)
				break
			}
		}
	}
	s.c.mu.Unlock()
	_ = s.conn.Close()
}

// deaf waits until the connection ends, or the time-out of an idle transaction does it.
func (s *session) deaf() error {
	s.expectIdle()
	for {
		if _, err := s.link.up.read(make([]byte, 1)); err != nil {
			return s.idled(err)
		}
	}
}

// expectIdle bounds how long the client of a transaction may be silent.
func (s *session) expectIdle() {
	s.link.up.deadline = time.Time{}
	if s.tx != nil && !s.tx.implicit {
		if idle := milliseconds(s.tx.settings.idle); idle > 0 {
			s.link.up.deadline = time.Now().Add(idle)
		}
	}
}

func (s *session) idledOut(err error) {
	s.c.mu.Lock()
	err = s.idled(err)
	s.c.mu.Unlock()
	if fatal := (*pgError)(nil); errors.As(err, &fatal) {
		s.sendError(fatal)
		_ = s.flush()
	}
}

// idled is what the end of the input means.
func (s *session) idled(err error) error {
	if errors.Is(err, errInterrupted) && !s.gone {
		return errTerminated
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() && !s.gone {
		s.note("was idle in its transaction for too long")
		return &pgError{severity: "FATAL", code: "25P03", message: "terminating connection due to idle-in-transaction timeout"}
	}
	return errGone
}

func (s *session) note(what ...string) { s.c.note(s.link.name, what...) }

// flush sends what was answered.
func (s *session) flush() error {
	s.c.mu.Lock()
	err := s.pass()
	if err == nil {
		err = s.link.step(StepReply)
	}
	s.c.mu.Unlock()
	if err != nil {
		return err
	}
	return s.backend.Flush()
}

// startup lets the client in, or cancels what another does.
func (s *session) startup() bool {
	msg, err := s.backend.ReceiveStartupMessage()
	if err != nil {
		return false
	}
	s.c.mu.Lock()
	switch msg := msg.(type) {
	case *pgproto3.CancelRequest:
		if s.pass() == nil {
			s.node.cancel(msg.ProcessID, msg.SecretKey)
		}
		s.c.mu.Unlock()
		return false
	case *pgproto3.StartupMessage:
		s.configure(msg.Parameters)
	default:
		panic(fmt.Sprintf("sim: startup with %T", msg))
	}
	err = s.link.step(StepStartup)
	if err == nil {
		err = s.work()
	}
	standby := s.node.upstream != nil
	s.c.mu.Unlock()
	if fatal := (*pgError)(nil); errors.As(err, &fatal) {
		fatal.severity = "FATAL"
		s.sendError(fatal)
		_ = s.flush()
	}
	if err != nil {
		return false
	}
	s.backend.Send(&pgproto3.AuthenticationOk{})
	for _, status := range [][2]string{
		{"client_encoding", "UTF8"},
		{"DateStyle", "ISO, MDY"},
		{"default_transaction_read_only", "off"},
		{"in_hot_standby", onOff(standby)},
		{"integer_datetimes", "on"},
		{"server_encoding", "UTF8"},
		{"server_version", "15.0"},
		{"standard_conforming_strings", "on"},
		{"TimeZone", "UTC"},
	} {
		s.backend.Send(&pgproto3.ParameterStatus{Name: status[0], Value: status[1]})
	}
	s.backend.Send(&pgproto3.BackendKeyData{ProcessID: s.pid, SecretKey: s.secret})
	s.backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	return s.flush() == nil
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// configure takes the settings that a connection begins with.
func (s *session) configure(parameters map[string]string) {
	for name, setting := range map[string]*string{
		"synchronous_commit": &s.base.synchronousCommit, "lock_timeout": &s.base.lock,
		"statement_timeout": &s.base.statement, "idle_in_transaction_session_timeout": &s.base.idle,
	} {
		if value, ok := parameters[name]; ok {
			*setting = value
		}
	}
}

// cancel ends what the session with the key does, if anything.
func (n *node) cancel(pid uint32, secret []byte) {
	for _, s := range n.sessions {
		if s.pid == pid && string(s.secret) == string(secret) && s.busy {
			s.note("is canceled")
			s.canceled = true
			s.cond.Broadcast()
		}
	}
}
