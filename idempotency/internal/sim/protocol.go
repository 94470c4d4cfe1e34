package sim

import (
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

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
		if err := s.sync(); err != nil {
			return false, err
		}
		s.skipping = false
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
