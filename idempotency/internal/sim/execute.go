package sim

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// A result is what a statement returns.
type result struct {
	rows [][]any
	// tag is the command's; by default that of a select.
	tag string
}

// execute runs a portal's statement.
func (s *session) execute(p *portal) error {
	if p == nil {
		return &pgError{code: "34000", message: "portal does not exist"}
	}
	if err := s.checkFailed(p.statement); err != nil {
		return err
	}
	s.busy, s.canceled = true, false
	defer func() { s.busy = false }()
	if err := s.work(); err != nil {
		return err
	}
	if err := s.step(p.statement.name); err != nil {
		return err
	}
	if s.terminated {
		return errTerminated
	}
	if s.tx == nil && !p.statement.control {
		s.begin(true)
	}
	s.limit = 0
	if s.tx != nil {
		if limit := milliseconds(s.tx.settings.statement); limit > 0 {
			s.limit = s.c.now() + limit
		}
	}
	found, err := p.statement.run(s, &args{s, p})
	if err != nil {
		return err
	}
	if err := s.sendRows(p, found.rows); err != nil {
		return err
	}
	if found.tag == "" {
		found.tag = fmt.Sprintf("SELECT %d", len(found.rows))
	}
	s.backend.Send(&pgproto3.CommandComplete{CommandTag: []byte(found.tag)})
	return nil
}

func (s *session) sendRows(p *portal, rows [][]any) error {
	for _, row := range rows {
		values := make([][]byte, len(row))
		for i, value := range row {
			oid := p.statement.columns[i]
			if oid == void {
				values[i] = []byte{}
				continue
			}
			encoded, err := s.c.types.Encode(oid, format(p.results, i), value, []byte{})
			if err != nil {
				panic(fmt.Sprintf("sim: column %d of %s: %v", i, p.statement.name, err))
			}
			values[i] = encoded
		}
		s.backend.Send(&pgproto3.DataRow{Values: values})
	}
	return nil
}

// simple runs the statements of one text, which are one transaction when none begins one.
func (s *session) simple(text string) error {
	s.skipping = false
	texts := split(text)
	if len(texts) == 0 {
		if err := s.work(); err != nil {
			return err
		}
		s.backend.Send(&pgproto3.EmptyQueryResponse{})
	}
	for i, sql := range texts {
		st, err := s.statement(sql)
		if err == nil && st.columns != nil {
			s.describeRows(st, nil)
		}
		if err == nil {
			err = s.execute(&portal{statement: st})
		}
		if err == nil && i == len(texts)-1 {
			err = s.sync()
		}
		if err = s.refuse(err); err != nil {
			return err
		}
		if s.skipping {
			break
		}
	}
	s.skipping = false
	s.ready()
	return nil
}

// split returns the statements of a text, without comments.
func split(text string) []string {
	var texts []string
	for sql := range strings.SplitSeq(text, ";") {
		if sql, _, _ = strings.Cut(sql, "--"); strings.TrimSpace(sql) != "" {
			texts = append(texts, strings.TrimSpace(sql))
		}
	}
	return texts
}

// sync ends a transaction that no statement began.
func (s *session) sync() error {
	if s.tx == nil || !s.tx.implicit {
		return nil
	}
	_, err := s.commit()
	return s.refuse(err)
}

func (s *session) begin(implicit bool) {
	s.tx = &txn{session: s, now: s.node.clock(), implicit: implicit}
	s.tx.settings = s.base
}

// abort is what an error does to the transaction: all of it is undone, or what was done
// since its last savepoint.
func (s *session) abort() {
	switch t := s.tx; {
	case t == nil:
	case t.implicit:
		s.rollback()
	case len(t.savepoints) > 0:
		t.undo(t.savepoints[len(t.savepoints)-1].work)
		s.failed = true
	default:
		t.undo(work{settings: s.base})
		s.failed = true
	}
}

func (s *session) rollback() {
	if s.tx != nil {
		s.tx.end()
	}
	s.tx, s.failed = nil, false
}

// commit commits the transaction: flush, standby, visible, locks released, answer.
func (s *session) commit() (string, error) {
	t := s.tx
	if s.failed {
		s.rollback()
		return "ROLLBACK", nil
	}
	if err := t.checkDeferred(); err != nil {
		s.rollback()
		return "", err
	}
	if !t.written {
		s.rollback()
		return "COMMIT", nil
	}
	if err := s.step(StepFlush); err != nil {
		if errors.As(err, new(*pgError)) {
			s.rollback()
		}
		return "", err
	}
	if err := s.work(); err != nil {
		return "", err
	}
	r := &record{ops: t.ops}
	position := s.node.append(r)
	s.note("flushes", fmt.Sprint(position))

	// From here on it is committed, whatever the client hears.
	var told *pgError
	for _, step := range []struct {
		name string
		then func() error
	}{
		{StepStandby, func() error { return s.replicate(position) }},
		{StepVisible, func() error {
			s.node.reveal(t, r)
			return s.work()
		}},
		{StepUnlock, func() error {
			s.rollback() // There is nothing left of it but its locks.
			return nil
		}},
		{StepAnswered, func() error { return nil }},
	} {
		if err := s.step(step.name); err != nil && !errors.As(err, &told) && !errors.Is(err, errDropped) {
			return "", err
		}
		if err := step.then(); err != nil {
			return "", err
		}
	}
	switch {
	case s.terminated:
		return "", errGone
	case told != nil:
		return "", told
	}
	s.note("answers COMMIT")
	return "COMMIT", nil
}

// reveal shows the others what the transaction did.
func (n *node) reveal(t *txn, r *record) {
	n.state.apply(r)
	for _, o := range r.ops {
		if o.kind == insertKey {
			n.inserted(t, o.row.Key)
		}
	}
}

// replicate waits until a standby has the commit, where it has to. To cancel the wait makes
// a warning of it.
func (s *session) replicate(position int) error {
	switch s.tx.settings.synchronousCommit {
	case "off", "local":
		return nil
	}
	s.limit, s.canceled = 0, false // statement_timeout does not hold here.
	_, err := s.await(0, func() bool { return !s.node.synchronous || s.node.confirmed(position) })
	if canceled := (*pgError)(nil); errors.As(err, &canceled) {
		s.note("gives the standby up")
		s.backend.Send(&pgproto3.NoticeResponse{
			Severity: "WARNING", SeverityUnlocalized: "WARNING", Code: "01000",
			Message: "canceling wait for synchronous replication due to user request",
		})
		return nil
	}
	if err != nil {
		return err
	}
	return s.work() // One acknowledgement may free several.
}

// step comes to a step of the session, and returns what goes wrong there.
func (s *session) step(name string) error {
	if err := s.link.step(name); err != nil {
		return err
	}
	return s.pass()
}

// pass waits while the node stands still.
func (s *session) pass() error {
	frozen := false
	for s.node.frozen && !s.gone {
		frozen = true
		s.cond.Wait()
	}
	if frozen && !s.gone {
		s.sleep(s.link.draws.Below(s.c.config.Delay)) // Not all at one instant.
	}
	if s.gone {
		return errGone
	}
	return nil
}

// work takes the time of a statement, or of a part of one.
func (s *session) work() error {
	s.sleep(s.c.config.Delay/100 + s.link.draws.Below(s.c.config.Delay/10))
	return s.pass()
}

func (s *session) sleep(d time.Duration) {
	d = s.c.instant(d)
	s.c.mu.Unlock()
	time.Sleep(d)
	s.c.mu.Lock()
}

// await waits until done, or says that it is late.
func (s *session) await(until time.Duration, done func() bool) (late bool, err error) {
	for {
		if err := s.pass(); err != nil {
			return false, err
		}
		now := s.c.now()
		switch {
		case s.terminated:
			return false, errTerminated
		case done():
			return false, nil
		case s.canceled:
			return false, &pgError{code: "57014", message: "canceling statement due to user request"}
		case s.limit > 0 && now >= s.limit:
			return false, &pgError{code: "57014", message: "canceling statement due to statement timeout"}
		case until > 0 && now >= until:
			return true, nil
		}
		next := until
		if s.limit > 0 {
			next = earlier(next, s.limit)
		}
		if next > 0 {
			s.wake(next - now)
		}
		s.cond.Wait()
	}
}

func (s *session) wake(after time.Duration) {
	if s.timer != nil {
		s.timer.Reset(after)
		return
	}
	s.timer = time.AfterFunc(after, func() {
		s.c.mu.Lock()
		defer s.c.mu.Unlock()
		s.cond.Broadcast()
	})
}
