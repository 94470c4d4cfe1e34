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

// handle does what a message asks for. It says whether the answers are to be sent; its
// error ends the session.
func (s *session) handle(msg pgproto3.FrontendMessage) (send bool, err error) {
	s.link.up.deadline = time.Time{}
	if err := s.pass(); err != nil {
		return false, err
	}
	switch msg := msg.(type) {
	case *pgproto3.Query:
		return true, s.simple(msg.String)
	case *pgproto3.Sync:
		s.skipping = false
		if err := s.sync(); err != nil {
			return false, err
		}
		s.ready()
		return true, nil
	case *pgproto3.Flush:
		return true, nil
	case *pgproto3.Terminate:
		return false, errGone
	}
	if s.skipping {
		return false, nil
	}
	switch msg := msg.(type) {
	case *pgproto3.Parse:
		err = s.parse(msg)
	case *pgproto3.Describe:
		err = s.describe(msg)
	case *pgproto3.Bind:
		err = s.bind(msg)
	case *pgproto3.Execute:
		err = s.execute(s.portals[msg.Portal])
	case *pgproto3.Close:
		if msg.ObjectType == 'S' {
			delete(s.prepared, msg.Name)
		} else {
			delete(s.portals, msg.Name)
		}
		s.backend.Send(&pgproto3.CloseComplete{})
	default:
		panic(fmt.Sprintf("sim: message %T", msg))
	}
	return false, s.refuse(err)
}

// refuse answers with the error, and passes over what follows. Errors that end the session
// are returned.
func (s *session) refuse(err error) error {
	var refused *pgError
	if !errors.As(err, &refused) {
		return err
	}
	s.abort()
	if refused.code[:min(3, len(refused.code))] == "57P" {
		refused.severity = "FATAL"
		return refused
	}
	s.sendError(refused)
	s.skipping = true
	return nil
}

func (s *session) sendError(e *pgError) {
	severity := e.severity
	if severity == "" {
		severity = "ERROR"
	}
	s.backend.Send(&pgproto3.ErrorResponse{
		Severity: severity, SeverityUnlocalized: severity, Code: e.code, Message: e.message, ConstraintName: e.constraint,
	})
}

// ready tells the client that it may go on.
func (s *session) ready() {
	status := byte('I')
	switch {
	case s.failed:
		status = 'E'
	case s.tx != nil:
		status = 'T'
	}
	s.backend.Send(&pgproto3.ReadyForQuery{TxStatus: status})
	s.expectIdle()
}

func (s *session) parse(msg *pgproto3.Parse) error {
	st, err := s.statement(msg.Query)
	if err != nil {
		return err
	}
	if _, there := s.prepared[msg.Name]; there && msg.Name != "" {
		return &pgError{code: "42P05", message: fmt.Sprintf("prepared statement %q already exists", msg.Name)}
	}
	s.prepared[msg.Name] = st
	s.backend.Send(&pgproto3.ParseComplete{})
	return nil
}

// statement finds the statement with the text. In a transaction that has failed only its
// end is known.
func (s *session) statement(sql string) (*statement, error) {
	st, err := find(sql)
	if err != nil {
		if s.c.config.Refused == nil {
			panic("sim: unknown statement: " + sql)
		}
		s.c.config.Refused(sql)
		return nil, &pgError{code: "42601", message: "the simulation does not know the statement"}
	}
	return st, s.checkFailed(st)
}

func (s *session) checkFailed(st *statement) error {
	if s.failed && !st.ends {
		return &pgError{code: "25P02", message: "current transaction is aborted, commands ignored until end of transaction block"}
	}
	return nil
}

func (s *session) describe(msg *pgproto3.Describe) error {
	if msg.ObjectType == 'P' {
		p := s.portals[msg.Name]
		if p == nil {
			return &pgError{code: "34000", message: fmt.Sprintf("portal %q does not exist", msg.Name)}
		}
		s.describeRows(p.statement, p.results)
		return nil
	}
	st := s.prepared[msg.Name]
	if st == nil {
		return noStatement(msg.Name)
	}
	s.backend.Send(&pgproto3.ParameterDescription{ParameterOIDs: st.params})
	s.describeRows(st, nil)
	return nil
}

func noStatement(name string) error {
	return &pgError{code: "26000", message: fmt.Sprintf("prepared statement %q does not exist", name)}
}

func (s *session) describeRows(st *statement, formats []int16) {
	if st.columns == nil {
		s.backend.Send(&pgproto3.NoData{})
		return
	}
	fields := make([]pgproto3.FieldDescription, len(st.columns))
	for i, oid := range st.columns {
		fields[i] = pgproto3.FieldDescription{
			Name: fmt.Appendf(nil, "c%d", i), DataTypeOID: oid, DataTypeSize: -1, TypeModifier: -1, Format: format(formats, i),
		}
	}
	s.backend.Send(&pgproto3.RowDescription{Fields: fields})
}

// format is that of the i-th value: none given means text, and one holds for all.
func format(formats []int16, i int) int16 {
	switch len(formats) {
	case 0:
		return 0
	case 1:
		return formats[0]
	}
	return formats[i]
}

func (s *session) bind(msg *pgproto3.Bind) error {
	st := s.prepared[msg.PreparedStatement]
	if st == nil {
		return noStatement(msg.PreparedStatement)
	}
	if err := s.checkFailed(st); err != nil {
		return err
	}
	p := &portal{
		statement: st,
		formats:   append([]int16(nil), msg.ParameterFormatCodes...),
		results:   append([]int16(nil), msg.ResultFormatCodes...),
	}
	for _, param := range msg.Parameters {
		if param != nil {
			param = append([]byte{}, param...)
		}
		p.params = append(p.params, param)
	}
	s.portals[msg.DestinationPortal] = p
	s.backend.Send(&pgproto3.BindComplete{})
	return nil
}
